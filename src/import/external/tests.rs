//! What a command may say and do.

#![allow(clippy::unwrap_used)]
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::config::{self, Policy};
use crate::image::{Digests, HashAlgo, ImageId};
use crate::limits::MIB;
use crate::store::Staged;
use crate::upload::Passed;

/// A command that is this script, and staged data for it.
struct Bench {
    dir: TempDir,
    plugin: ExternalCommand,
    material: Material,
}

impl Bench {
    fn new(script: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let (path, data) = (dir.path().join("command"), dir.path().join("data"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(&data, "data").unwrap();
        let options = Options {
            path,
            arguments: vec![data.display().to_string()],
            timeout: Duration::from_secs(60),
            memory_bytes: 1024 * MIB as u64,
        };
        let plugin = ExternalCommand {
            options,
            property_rules: Arc::default(),
            enforcer: Arc::new(Enforcer::load(Policy::default()).unwrap()),
            properties_max: Some(3),
        };
        let mut image = Image::queued(ImageId::random());
        image.properties.insert("old".into(), "1".into());
        image.properties.insert("os_glance_import_roles".into(), "member".into());
        let material = Material {
            image,
            staged: Some(Staged { path: data, size: 4, is_synced: false }),
            was_staged: true,
            known: None,
            change: ImageChange::default(),
            roles: Vec::new(),
            watch: Arc::default(),
        };
        Self { dir, plugin, material }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    async fn run(&mut self) -> Result<(), String> {
        self.plugin.run(&mut self.material).await
    }
}

/// A script that answers this.
fn says(answer: &str) -> Bench {
    Bench::new(&format!("cat > /dev/null; printf %s '{answer}'"))
}

#[tokio::test]
async fn pi_01_the_command_accepts_and_changes_properties() {
    let answer = r#"{"verdict": "accept", "properties": {"scanned": "yes", "old": null}}"#;
    let mut bench = says(answer);
    bench.run().await.unwrap();
    let change = &bench.material.change;
    assert_eq!(change.set, [("scanned".to_owned(), "yes".to_owned())].into());
    assert_eq!(change.dropped, ["old".to_owned()].into());
    assert_eq!(std::fs::read(bench.data()).unwrap(), b"data");
}

#[tokio::test]
async fn pi_01_a_refusal_has_its_reason() {
    for (answer, told) in [
        (r#"{"verdict": "refuse", "reason": "a\nvirus \ud83d\ude00"}"#, "a virus  "),
        (r#"{"verdict": "refuse", "properties": {"x": "1"}}"#, "The image is refused"),
    ] {
        let mut bench = says(answer);
        assert_eq!(bench.run().await.unwrap_err().trim_end(), told.trim_end());
        assert_eq!(bench.material.change, ImageChange::default());
    }
}

#[tokio::test]
async fn pi_01_what_is_no_verdict_fails() {
    let verdict = r#"{"verdict": "accept"}"#;
    for script in [
        "cat > /dev/null".to_owned(),
        format!("echo '{verdict}'; exit 1"),
        format!("echo '{verdict}'; kill -9 $$"),
        format!("echo '{verdict} {verdict}'"),
        "echo '{\"verdict\": \"maybe\"}'".to_owned(),
        "echo '{\"verdict\": \"accept\", \"propertys\": {}}'".to_owned(),
        "exec /no/such/program".to_owned(),
        "head -c 3000000 /dev/zero".to_owned(),
    ] {
        let mut bench = Bench::new(&script);
        assert_eq!(bench.run().await.unwrap_err(), FAILED, "{script}");
    }
    let mut bench = Bench::new("sleep 300");
    bench.plugin.options.timeout = Duration::from_millis(200);
    assert_eq!(bench.run().await.unwrap_err(), FAILED);
    let mut bench = Bench::new("sleep 300");
    bench.material.watch.stop();
    assert_eq!(bench.run().await.unwrap_err(), FAILED);
}

#[tokio::test]
async fn pi_01_properties_are_held_to_the_rules() {
    let long = "x".repeat(256);
    for properties in [
        r#""os_glance_x": "1""#,
        r#""owner": "me""#,
        r#""deleted": "1""#,
        r#""os_hidden": "true""#,
        r#""": "1""#,
        r#""a": 1"#,
        r#""a": "\ud83d\ude00""#,
        r#""a": "1", "b": "2", "c": "3""#,
        &format!(r#""{long}": "1""#),
    ] {
        let mut bench =
            says(&format!(r#"{{"verdict": "accept", "properties": {{{properties}}}}}"#));
        assert_eq!(bench.run().await.unwrap_err(), FAILED, "{properties}");
        assert_eq!(bench.material.change, ImageChange::default());
    }
}

/// It may do what administrators may.
#[tokio::test]
async fn pi_01_protected_properties_are_an_administrators() {
    let text = "[mine]\ncreate = admin\nread = @\nupdate = admin\ndelete = admin\n[.*]\n\
                create = !\nread = @\nupdate = !\ndelete = !\n";
    for (name, is_taken) in [("mine", true), ("theirs", false), ("old", false)] {
        let answer = format!(r#"{{"verdict": "accept", "properties": {{"{name}": "1"}}}}"#);
        let mut bench = says(&answer);
        let file = bench.dir.path().join("rules");
        std::fs::write(&file, text).unwrap();
        let rules = PropertyRules::load(&file, config::PropertyRuleFormat::Roles);
        bench.plugin.property_rules = Arc::new(rules.unwrap());
        assert_eq!(bench.run().await.is_ok(), is_taken, "{name}");
    }
}

/// Data that was touched is gone, so that nobody takes it for what was noted of it.
#[tokio::test]
async fn pi_01_a_command_that_changes_data_loses_it() {
    for deed in [
        "echo more >> \"$1\"",
        "echo evil | dd of=\"$1\" conv=notrunc 2> /dev/null; touch -d @0 \"$1\"",
        "cp -p \"$1\" \"$1.new\"; mv \"$1.new\" \"$1\"",
        "chmod 666 \"$1\"",
        "rm \"$1\"",
    ] {
        let mut bench = Bench::new(&format!("{deed}; echo '{{\"verdict\": \"accept\"}}'"));
        let refused = bench.run().await.unwrap_err();
        assert_eq!(refused, format!("{FAILED}, and stage the data in a new image"), "{deed}");
        assert!(!bench.data().exists(), "{deed}");
    }
}

/// What was fetched, or made of an archive that is still there, is no loss.
#[tokio::test]
async fn pi_01_who_has_lost_nothing_imports_again() {
    let deed = "echo more >> \"$1\"; echo '{\"verdict\": \"accept\"}'";
    let again = format!("{FAILED}, and import the image again");
    let mut fetched = Bench::new(deed);
    fetched.material.was_staged = false;
    assert_eq!(fetched.run().await.unwrap_err(), again);
    let mut unpacked = Bench::new(deed);
    let (archive, made) = (unpacked.data(), unpacked.dir.path().join("data.uc"));
    std::fs::copy(&archive, &made).unwrap();
    unpacked.plugin.options.arguments = vec![made.display().to_string()];
    let staged = Staged { path: made.clone(), size: 4, is_synced: false };
    unpacked.material.staged = Some(staged);
    assert_eq!(unpacked.run().await.unwrap_err(), again);
    assert!(archive.exists() && !made.exists());
}

#[tokio::test]
async fn pi_01_the_record_says_what_is_known() {
    let mut bench = Bench::new("cat > \"$1.seen\"; echo '{\"verdict\": \"accept\"}'");
    let digests =
        Digests { checksum: "c".into(), os_hash_algo: HashAlgo::Sha512, os_hash_value: "h".into() };
    bench.material.known = Some(Arrived { size: 4, digests, passed: Passed::default() });
    bench.material.change.disk_format = Some("raw".into());
    bench.material.change.set.insert("new".into(), "2".into());
    bench.run().await.unwrap();
    let seen = std::fs::read(bench.dir.path().join("data.seen")).unwrap();
    let seen: Value = serde_json::from_slice(&seen).unwrap();
    assert_eq!(seen["version"], 1);
    assert_eq!(seen["image"]["id"], bench.material.image.id.as_str());
    assert_eq!(seen["image"]["disk_format"], "raw");
    assert_eq!(seen["image"]["properties"], json!({"old": "1", "new": "2"}));
    assert_eq!(seen["data"]["path"], bench.data().display().to_string());
    assert_eq!((&seen["data"]["size"], &seen["data"]["checksum"]), (&json!(4), &json!("c")));
    assert_eq!(
        (&seen["data"]["os_hash_algo"], &seen["data"]["formats"]),
        (&json!("sha512"), &Value::Null)
    );
}

#[test]
fn pi_01_a_command_that_others_can_change_is_not_run() {
    let bench = Bench::new("");
    let mut options = bench.plugin.options.clone();
    check(&options).unwrap();
    for (mode, remedy) in [(0o757, "everybody may write"), (0o644, "is no program")] {
        std::fs::set_permissions(&options.path, PermissionsExt::from_mode(mode)).unwrap();
        assert!(check(&options).unwrap_err().contains(remedy), "{mode:o}");
    }
    std::fs::set_permissions(&options.path, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(bench.dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    assert!(check(&options).unwrap_err().contains("chmod o-w it"));
    options.path = "/no/such/program".into();
    assert!(check(&options).unwrap_err().contains("can't be looked at"));
    options.path = "/".into();
    assert!(check(&options).unwrap_err().contains("is no program"));
}
