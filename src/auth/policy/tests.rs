//! Policies against oslo.policy, by what it answered (`tests/fixtures/policy/generate.py`), and
//! what is ours: circles, names that are not there, old defaults, scopes.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::*;

fn fixture(name: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/policy");
    serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

/// A target of a vector, whose values print as in Python.
struct Fields<'a>(&'a Map<String, Value>);

impl Target for Fields<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        Some(match self.0.get(name)? {
            Value::Null => NONE.into(),
            Value::Bool(is_set) => flag(*is_set).into(),
            Value::String(text) => text.into(),
            other => other.to_string().into(),
        })
    }
}

fn caller(json: &Value) -> Identity {
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    let list = |key: &str| {
        json[key].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    Identity {
        user_id: text("user_id"),
        project_id: text("project_id"),
        domain_id: text("domain_id"),
        user_domain_id: text("user_domain_id"),
        project_domain_id: text("project_domain_id"),
        system_scope: text("system_scope"),
        roles: list("roles"),
        service_roles: list("service_roles"),
        is_beside_admin_project: json["is_admin_project"] == false,
        is_admin: json["is_admin_project"] == true,
        ..Identity::default()
    }
}

fn parsed(rule: &Value) -> parse::Parsed<Check<String>> {
    let words = |value: &Value| match value {
        Value::String(text) => vec![text.clone()],
        list => list.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect(),
    };
    match rule {
        Value::String(text) => parse::rule(text),
        list => parse::lists(&list.as_array().unwrap().iter().map(words).collect::<Vec<_>>()),
    }
}

fn link(rules: &Value) -> Result<Policies, PolicyError> {
    let own = rules.as_object().unwrap().iter().map(|(name, rule)| FileRule {
        name: name.clone(),
        check: parsed(rule).unwrap_or_else(|error| panic!("{rule}: {error}")),
    });
    Policies::link(&config::Policy::default(), own.collect())
}

#[test]
fn po_18_rules_answer_as_oslo_policy_does() {
    let (mut asked, mut circles) = (0, 0);
    for group in fixture("vectors.json").iter().filter(|vector| vector["rules"].is_object()) {
        let linked = link(&group["rules"]);
        if group["circle"] == true {
            circles += 1;
            assert!(matches!(linked, Err(PolicyError::Cycle(_))), "{group}");
            continue;
        }
        let policies = linked.unwrap_or_else(|error| panic!("{group}: {error}"));
        for case in group["cases"].as_array().unwrap() {
            let name = case["rule"].as_str().unwrap();
            let target = Fields(case["target"].as_object().unwrap());
            let ours = policies.allows_by_name(name, &caller(&case["caller"]), &target);
            assert_eq!(ours, case["allowed"], "{}\n{case}", group["rules"]);
            asked += 1;
        }
    }
    assert!(asked > 500 && circles > 0, "{asked} questions, {circles} circles");
}

#[test]
fn po_18_what_oslo_policy_can_not_read_is_refused() {
    let (mut counts, mut errors) = ([0, 0], 0);
    for vector in fixture("vectors.json").iter().filter(|vector| vector["text"].is_string()) {
        let ours = parsed(&vector["text"]);
        // What is an error of every request there is refused here, too.
        errors += usize::from(vector["raises"] == true);
        let is_broken = vector["is_broken"] == true || vector["raises"] == true;
        assert_eq!(ours.is_err(), is_broken, "{vector}: {ours:?}");
        counts[usize::from(ours.is_ok())] += 1;
    }
    assert!(counts.iter().all(|&count| count > 15) && errors > 3, "{counts:?} {errors}");
}

#[test]
fn po_01_to_po_17_the_table_is_glances() {
    let theirs = fixture("defaults.json");
    assert_eq!(Action::ALL.len(), theirs.len());
    for default in theirs {
        let name = default["name"].as_str().unwrap();
        let ours = Action::ALL.iter().find(|action| action.name() == name).unwrap();
        let check = |text: &str| parse::rule(text).unwrap();
        let formerly = ours.default().formerly.map(check);
        assert_eq!(check(ours.default().check), parsed(&default["check"]).unwrap(), "{name}");
        assert_eq!(formerly, default["formerly"].as_str().map(check), "{name}");
        assert_eq!(ours.needs_project(), default["scope"].is_array(), "{name}");
    }
}

#[test]
fn po_18_circles_are_refused_by_name() {
    let own = |pairs: &[(&str, &str)]| {
        let rules = pairs.iter().map(|(name, text)| ((*name).to_owned(), Value::from(*text)));
        link(&Value::Object(rules.collect())).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(
        own(&[("a", "role:x or rule:b"), ("b", "not (rule:c and @)"), ("c", "rule:b")]),
        "rules lead to themselves: b -> c -> b; take one of them out"
    );
    assert!(own(&[("a", "rule:a")]).contains("a -> a"));
    assert!(own(&[("default", "rule:nowhere")]).contains("default -> default"));
    let names: Vec<_> = (0..200).map(|n| (format!("r{n}"), format!("rule:r{}", n + 1))).collect();
    let chain: Vec<_> = names.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert!(own(&chain).contains("leads through more than 64 others"));
    let backwards: Vec<_> = chain.into_iter().rev().collect();
    assert!(own(&backwards).contains("leads through more than 64 others"));
}

#[test]
fn po_18_the_default_rule_stands_in_for_what_is_not_there() {
    let rules = serde_json::json!({ "copy_image": "rule:misspelt" });
    let policies = link(&rules).unwrap();
    assert_eq!(policies.undefined, ["copy_image"]);
    let nobody = Identity::default();
    assert!(policies.allows(Action::CopyImage, &nobody, &()));
    let own = vec![FileRule { name: "copy_image".into(), check: parse::rule("rule:x").unwrap() }];
    let settings = config::Policy { default_rule: None, ..config::Policy::default() };
    let policies = Policies::link(&settings, own).unwrap();
    assert!(!policies.allows(Action::CopyImage, &nobody, &()));
    assert!(!policies.allows_by_name("x", &nobody, &()));
}

#[test]
fn cf_12_old_defaults_count_where_the_new_ones_are_not_enforced() {
    let settings = config::Policy { enforces_new_defaults: false, ..config::Policy::default() };
    let policies = Policies::link(&settings, Vec::new()).unwrap();
    let nobody = Identity::default();
    assert!(policies.allows(Action::ModifyImage, &nobody, &()), "rule:default was enough");
    assert!(!policies.allows(Action::CopyImage, &nobody, &()), "this has not changed");
    let own = vec![FileRule { name: "modify_image".into(), check: Check::Deny }];
    let policies = Policies::link(&settings, own).unwrap();
    assert!(!policies.allows(Action::ModifyImage, &nobody, &()), "the operator has the last word");
}

#[test]
fn po_20_tokens_of_the_system_or_a_domain_are_refused() {
    let roles = vec!["admin".to_owned()];
    let of_project =
        Identity { project_id: Some("p".into()), roles: roles.clone(), ..Identity::default() };
    let of_system =
        Identity { system_scope: Some("all".into()), roles: roles.clone(), ..Identity::default() };
    let of_domain = Identity { domain_id: Some("d".into()), roles, ..Identity::default() };
    let policies = Policies::link(&config::Policy::default(), Vec::new()).unwrap();
    let may = |caller| policies.allows(Action::GetImages, caller, &());
    assert_eq!([&of_project, &of_system, &of_domain].map(may), [true, false, false]);
    assert!(policies.allows(Action::ContextIsAdmin, &of_system, &()), "a part of other rules");
    let settings = config::Policy { enforces_scope: false, ..config::Policy::default() };
    let policies = Policies::link(&settings, Vec::new()).unwrap();
    assert!(policies.allows(Action::GetImages, &of_system, &()));
}
