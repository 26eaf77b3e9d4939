//! Goal: the house stays as it was drawn: layers, fences around `unsafe` and around crates, sizes,
//! headers, and a reason for every dependency.
//!
//! Method: the source itself, read as text. rustfmt has been over it, so indentation can be
//! trusted. What had outgrown a line when the line was drawn stands in [`LARGE`] with its size
//! then; it may shrink and not grow.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module's layer and the modules of the same layer that it may use all the same.
const LAYERS: &[(&str, u8, &[&str])] = &[
    ("image", 0, &[]),
    ("limits", 0, &[]),
    ("observe", 0, &["config"]),
    ("config", 0, &["image", "limits"]),
    ("buffer", 0, &["limits", "observe"]),
    ("ring", 1, &[]),
    ("rbd", 1, &[]),
    ("lanes", 1, &[]),
    ("client", 1, &[]),
    ("inspect", 1, &[]),
    ("store", 2, &[]),
    ("meta", 2, &[]),
    ("auth", 3, &[]),
    ("quota", 3, &["auth"]),
    ("upload", 3, &["quota"]),
    ("download", 3, &[]),
    ("import", 4, &[]),
    ("api", 5, &[]),
    ("cli", 6, &[]),
    ("main", 7, &[]),
    ("lib", 7, &[]),
];

/// Where `unsafe` may stand.
const UNSAFE: &[&str] = &["src/buffer/", "src/rbd/", "src/ring/", "src/lanes/kernel/"];

/// Crates that only some modules may name.
const FENCED: &[(&str, &[&str])] = &[
    ("io_uring", &["ring"]),
    ("tokio_uring", &["ring"]),
    ("libloading", &["rbd", "lanes"]),
    ("sqlx", &["meta"]),
    ("hyper", &["api", "client"]),
    ("hyper_util", &["api", "client"]),
    ("hyper_rustls", &["client"]),
    ("rustls", &["client"]),
];

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 90;

/// Files and functions (`path` or `path::function`) above the lines, with the size they may have.
const LARGE: &[(&str, usize)] = &[];

/// A source file: its path in the repository, its module, its text.
struct Source {
    path: String,
    module: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(directory), &mut found);
    assert!(!found.is_empty(), "no source in {directory}");
    found.into_iter().map(read).collect()
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read(path: PathBuf) -> Source {
    let relative = path.strip_prefix(root()).unwrap().display().to_string();
    let below = relative.split_once('/').unwrap().1;
    let module = below.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
    Source { path: relative, module, text: fs::read_to_string(path).unwrap() }
}

/// Lines of code without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// A file without its unit tests, which come last and may name what they like.
fn without_tests(text: &str) -> &str {
    text.split("\nmod tests {").next().unwrap_or(text)
}

/// Names that follow `prefix` in a line, such as `store` and `meta` after `crate::`.
fn names_after<'a>(line: &'a str, prefix: &'a str) -> Vec<&'a str> {
    let name = |text: &'a str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        &text[..end]
    };
    let starts_a_word =
        |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    let places = line.match_indices(prefix).filter(|(at, _)| starts_a_word(*at));
    places
        .flat_map(|(at, _)| match line[at + prefix.len()..].strip_prefix('{') {
            Some(group) => group.split(',').map(|part| name(part.trim())).collect(),
            None => vec![name(&line[at + prefix.len()..])],
        })
        .collect()
}

/// Items spread over lines (`use crate::{` and its braces) put on one, so that lines can be read.
fn joined(text: &str) -> String {
    let mut out = String::new();
    let mut open = false;
    for line in text.lines() {
        open |= line.contains("crate::{") && !line.contains('}');
        out.push_str(if open { line.trim() } else { line });
        open &= !line.contains("};");
        if !open {
            out.push('\n');
        }
    }
    out
}

#[track_caller]
fn assert_none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

fn layer_of(module: &str) -> u8 {
    let known = LAYERS.iter().find(|(name, ..)| *name == module);
    known.unwrap_or_else(|| panic!("module {module} has no layer in tests/it/tidy.rs")).1
}

fn may_use(user: &str, used: &str) -> bool {
    let (_, layer, siblings) = LAYERS.iter().find(|(name, ..)| *name == user).unwrap();
    user == used || layer_of(used) < *layer || siblings.contains(&used)
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let modules: BTreeSet<&str> = LAYERS.iter().map(|(name, ..)| *name).collect();
    let mut wrong = Vec::new();
    for source in sources("src") {
        layer_of(&source.module);
        let prefix = if source.module == "main" { "glissade::" } else { "crate::" };
        for (number, line) in code_lines(&joined(&source.text)) {
            for used in names_after(line, prefix) {
                if modules.contains(used) && !may_use(&source.module, used) {
                    wrong.push(format!("{} uses {used} (about line {number})", source.path));
                }
            }
        }
    }
    assert_none("uses against the layers", &wrong);
}

#[test]
fn crates_stay_behind_their_fences() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        for (name, homes) in FENCED.iter().filter(|(_, homes)| !homes.contains(&&*source.module)) {
            let path = format!("{name}::");
            for (number, line) in code_lines(without_tests(&source.text)) {
                let is_named = names_after(line, &path).into_iter().next().is_some();
                if is_named || line.trim() == format!("use {name};") {
                    wrong.push(format!(
                        "{}:{number} names {name}, which is for {homes:?}",
                        source.path
                    ));
                }
            }
        }
    }
    assert_none("crates outside their fence", &wrong);
}

/// The fences above are about names, this one is about memory.
#[test]
fn unsafe_stays_behind_its_fence() {
    let mut wrong = Vec::new();
    let is_fenced = |source: &&Source| UNSAFE.iter().any(|place| source.path.starts_with(place));
    for source in sources("src").iter().filter(|source| !is_fenced(source)) {
        for (number, line) in code_lines(&source.text) {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let is_declared = source.path == "src/lib.rs" && line.contains("allow(unsafe_code)");
            if words.into_iter().any(|w| w == "unsafe" || w == "unsafe_code") && !is_declared {
                wrong.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none("unsafe outside of its fences", &wrong);
}

#[test]
fn files_say_what_they_are_for() {
    let all = ["src", "tests", "benches"].into_iter().filter(|dir| root().join(dir).is_dir());
    let all = all.flat_map(sources);
    let mute = all.filter(|source| !source.text.starts_with("//! ")).map(|source| source.path);
    assert_none("files without a header", &mute.collect::<Vec<_>>());
}

#[test]
fn source_is_ascii() {
    let mut wrong = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        let lines = source.text.lines().enumerate().filter(|(_, line)| !line.is_ascii());
        wrong.extend(lines.map(|(index, _)| format!("{}:{}", source.path, index + 1)));
    }
    assert_none("characters beyond ASCII", &wrong);
}

#[test]
fn files_and_functions_stay_small() {
    let allowed: BTreeMap<&str, usize> = LARGE.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut judge = |what: String, lines: usize, limit: usize| {
        if lines > *allowed.get(what.as_str()).unwrap_or(&limit) {
            wrong.push(format!("{what} has {lines} lines, at most {limit}"));
        }
    };
    for source in sources("src").into_iter().chain(sources("tests")) {
        judge(source.path.clone(), source.text.lines().count(), FILE_LINES_MAX);
        for (name, lines) in functions(&source.text) {
            judge(format!("{}::{name}", source.path), lines, FUNCTION_LINES_MAX);
        }
    }
    assert_none("too large; find the second noun", &wrong);
}

/// Functions with their lengths, by the indentation that rustfmt gives them.
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let close = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| **line == close);
        if let Some(length) = end {
            found.push((name.to_owned(), length + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let is_item = ["fn ", "pub", "async ", "const fn ", "unsafe "];
    if !is_item.iter().any(|start| line.starts_with(start)) || line.ends_with(['}', ';']) {
        return None;
    }
    let after = line.split_once("fn ")?.1;
    after.split(['(', '<']).next()
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let reasons = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (mut section, mut named, mut wrong) = (String::new(), BTreeSet::new(), Vec::new());
    for line in manifest.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            section = line.to_owned();
        } else if let Some((name, _)) = line.split_once(" = ")
            && section.contains("dependencies")
        {
            named.insert(name.to_owned());
            let row = format!("| `{name}` |");
            if !reasons.lines().any(|line| line.starts_with(&row) && line.len() > row.len() + 20) {
                wrong.push(name.to_owned());
            }
        }
    }
    assert!(named.len() > 20, "{named:?}");
    assert_none("dependencies without a line in CONTRIBUTING.md", &wrong);
    let rows = reasons.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let stale = rows.filter(|(name, _)| !named.contains(*name)).map(|(name, _)| name.to_owned());
    assert_none("reasons without a dependency", &stale.collect::<Vec<_>>());
}

/// A metric that nothing moves is a lie on a dashboard, and so is a label that never comes.
#[test]
fn every_metric_is_moved() {
    let (watch, rest): (Vec<_>, Vec<_>) =
        sources("src").into_iter().partition(|source| source.module == "observe");
    let used: String = rest.iter().map(|source| without_tests(&source.text)).collect();
    let text = |file| &watch.iter().find(|source| source.path.ends_with(file)).unwrap().text;
    let declared = [mutators(text("metrics.rs")), label_values(text("labels.rs"))].concat();
    assert!(declared.len() >= 20, "metrics not found: {declared:?}");
    let idle = declared.into_iter().filter(|name| !used.contains(name.as_str()));
    assert_none("metrics that nothing outside of observe moves", &idle.collect::<Vec<_>>());
}

/// Public methods of `Metrics`, as they look where they are called: `metrics.upload_bytes(`.
fn mutators(text: &str) -> Vec<String> {
    let methods = text.split("\nimpl Metrics {").nth(1).unwrap().split("\n}").next().unwrap();
    let names = methods.lines().filter_map(|line| line.strip_prefix("    pub fn "));
    let names = names.map(|name| name.split(['(', '<']).next().unwrap());
    names.filter(|name| *name != "new").map(|name| format!("metrics.{name}(")).collect()
}

/// Values of labels, as they are named elsewhere: `Stage::Seal`.
fn label_values(text: &str) -> Vec<String> {
    let (mut label, mut values) = (None, Vec::new());
    for line in text.lines() {
        if line.starts_with("label! {") {
            label = Some(String::new());
        } else if line.starts_with('}') {
            label = None;
        } else if let Some(label) = &mut label {
            let line = line.trim();
            if let Some(name) = line.strip_suffix(" {") {
                *label = name.to_owned();
            } else if let Some((value, _)) = line.split_once(" = \"") {
                values.push(format!("{label}::{value}"));
            }
        }
    }
    values
}

/// Fuzz targets are built by `cargo fuzz` alone and would rot unseen: each is declared, and what it
/// calls is a function of the crate that a unit test calls too.
#[test]
fn every_fuzz_target_does_what_a_unit_test_does() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let crate_sources = sources("src");
    let named = |text: &str| -> usize {
        crate_sources.iter().map(|source| source.text.matches(text).count()).sum()
    };
    for target in sources("fuzz/fuzz_targets") {
        let name = Path::new(&target.path).file_stem().unwrap().to_str().unwrap();
        let declared = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&declared), "{} has no [[bin]] in fuzz/Cargo.toml", target.path);
        assert!(contributing.contains(&format!("cargo fuzz run {name} ")), "{name} is not told of");
        let call = target.text.split_once(" fuzzing::").and_then(|(_, call)| call.split_once('('));
        let (call, _) = call.unwrap_or_else(|| panic!("{} calls nothing of ours", target.path));
        assert_eq!(named(&format!("pub fn {call}(")), 1, "what {} calls", target.path);
        assert!(named(&format!("{call}(")) > 1, "no unit test calls {call}");
    }
}

/// Nothing that is built or run names a place on somebody's machine.
#[test]
fn no_machine_is_named() {
    let places = ["/home/", "/root/"];
    let mut wrong = Vec::new();
    for source in sources("src") {
        for (number, line) in source.text.lines().enumerate() {
            if places.iter().any(|place| line.contains(place)) {
                wrong.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert_none("machine paths", &wrong);
}

#[test]
fn the_scanner_sees_what_it_should() {
    assert_eq!(names_after("use crate::store::Draft;", "crate::"), ["store"]);
    assert_eq!(names_after("use crate::{meta::Repo, image};", "crate::"), ["meta", "image"]);
    assert_eq!(names_after("x(crate::limits::MIB, crate::api::y)", "crate::"), ["limits", "api"]);
    assert_eq!(names_after("my_crate::store", "crate::"), [""; 0]);
    assert_eq!(names_after("tokio_uring::start", "io_uring::"), [""; 0]);
    let text = "use crate::{\n    meta,\n    store::Draft,\n};\nfn a() {\n    b();\n}\n";
    assert_eq!(joined(text).lines().next().unwrap(), "use crate::{meta,store::Draft,};");
    assert_eq!(functions(text), [("a".to_owned(), 3)]);
    assert!(may_use("store", "ring") && may_use("config", "image") && may_use("observe", "config"));
    assert!(!may_use("ring", "store") && !may_use("image", "limits") && !may_use("meta", "store"));
}
