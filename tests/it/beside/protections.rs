//! Goal: a file of property protections, by roles and by policies, protects what it protects in a
//! Glance, against the same callers and with the same words (`PP-01`).
//!
//! Method: each side is asked about an image of its own that has every property, and both answers
//! are compared; of what is shown, the properties.

use super::judging::{Caller, headers_of};
use super::*;

/// By policies: a rule, one that asks for what no property has, one that is not there, one of
/// Glance's own, and none.
const POLICIES: &str = "\
[^keep_.*]
create = keeper
read = everybody
update = keeper
delete = !
[_scoped$]
create = of_the_project
read = of_the_project
update = nowhere
delete = modify_image
[^secret]
create = context_is_admin
read = context_is_admin
update = context_is_admin
delete = context_is_admin
[^empty]
create = @
read = @
update =
delete =
[^free.*]
create = @
read = @
update = @
delete = @
";

const RULES: &str = "\
keeper: \"role:keeper\"
everybody: \"@\"
of_the_project: \"project_id:%(project_id)s or role:keeper\"
";

/// By roles, some of them for all.
const ROLES: &str = "\
[^keep_.*]
create = Keeper, admin
delete = !
[_scoped$]
create = other
update = member
[DEFAULT]
create = admin
read = @
update = KEEPER
delete = admin,keeper
[^secret]
read = admin
[^(empty|free)]
create = @
update = member
";

const PROPERTIES: [&str; 6] = ["keep_a", "a_scoped", "secret", "empty", "free_a", "unnamed"];

const CALLERS: [Caller; 3] = [
    ("owners", "member,reader"),
    ("owners", "member,reader,keeper"),
    ("strangers", "admin,member,reader"),
];

fn requests(name: &str) -> Vec<(&'static str, &'static str, String)> {
    let change = |op: &str| {
        let change = json!([{"op": op, "path": format!("/{name}"), "value": "new"}]);
        ("PATCH", PATCH, change.to_string())
    };
    let made = json!({ name: "x" }).to_string();
    vec![("POST", JSON, made), change("add"), change("replace"), change("remove")]
}

impl Pair {
    /// The answer as far as both have to agree: an image's properties, or the words of a refusal.
    fn properties(
        &self,
        side: Side,
        who: Caller,
        method: &str,
        target: &str,
        body: (&str, &str),
    ) -> (u16, String) {
        let headers = headers_of(who, body.0);
        let answer = self.conn(side).call(method, target, &headers, body.1.as_bytes());
        let text = match answer.status() {
            200 | 201 => {
                let image = answer.json();
                let shown = |name: &&str| image.get(name).map(|value| format!("{name}={value}"));
                PROPERTIES.iter().chain(&["later"]).filter_map(shown).collect::<Vec<_>>().join(" ")
            }
            _ => answer.text(),
        };
        (answer.status(), text)
    }

    /// An image with every property but one, if the sides have let an administrator make it; they
    /// have not where nobody may.
    fn with_properties(&self, but: &str) -> String {
        let image = self.create(Side::Ours, &raw("protected"));
        let names = PROPERTIES.iter().filter(|name| **name != but);
        for name in names {
            let add = json!([{"op": "add", "path": format!("/{name}"), "value": "x"}]);
            let headers = headers_of(("owners", "admin,keeper,other,member,reader"), PATCH);
            let path = format!("/v2/images/{image}");
            self.conn(Side::Ours).call("PATCH", &path, &headers, add.to_string().as_bytes());
        }
        image
    }
}

fn protected_alike(name: &str, format: &str, protections: &str) {
    let configured = |setup: Setup| {
        let write = |name: &str, text: &str| {
            let path = setup.root().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (file, rules) = (write("protections.conf", protections), write("policy.yaml", RULES));
        setup
            .set("DEFAULT", "property_protection_file", &file)
            .set("DEFAULT", "property_protection_rule_format", format)
            .set("oslo_policy", "policy_file", &rules)
    };
    let Some(pair) = Pair::with("postgres", name, configured) else { return };
    let (mut differences, mut statuses) = (Vec::new(), Vec::new());
    let mut compare = |who: Caller, what: String, answers: [(u16, String); 2]| {
        let [ours, theirs] = answers;
        statuses.push(ours.0);
        if ours != theirs {
            differences.push(format!("{what} by {who:?}:\n  {ours:?}\n  {theirs:?}"));
        }
    };
    for who in CALLERS {
        for property in PROPERTIES {
            for (method, media, body) in requests(property) {
                let but = if body.contains("\"add\"") { property } else { "" };
                let answers = [Side::Ours, Side::Theirs].map(|side| {
                    let image = pair.with_properties(but);
                    let target = match method {
                        "POST" => "/v2/images".to_owned(),
                        _ => format!("/v2/images/{image}"),
                    };
                    let (status, text) =
                        pair.properties(side, who, method, &target, (media, &body));
                    (status, text.replace(&image, "ID"))
                });
                compare(who, format!("{method} {body}"), answers);
            }
        }
        let image = pair.with_properties("");
        let target = format!("/v2/images/{image}");
        let shown = [Side::Ours, Side::Theirs]
            .map(|side| pair.properties(side, who, "GET", &target, ("", "")));
        compare(who, "GET".to_owned(), shown);
    }
    super::judging::assert_alike(&differences);
    for status in [200, 201, 403, 409] {
        assert!(statuses.contains(&status), "nobody was answered {status}");
    }
}

#[test]
fn pp_01_properties_are_protected_by_policies_as_by_glance() {
    protected_alike("policies", "policies", POLICIES);
}

#[test]
fn pp_01_properties_are_protected_by_roles_as_by_glance() {
    protected_alike("roles", "roles", ROLES);
}
