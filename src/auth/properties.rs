//! Property protections: who may make, read, change and remove which custom property (`PP-01`).
//!
//! ```text
//! [^x_owner_.*]            a regular expression, found anywhere in the name
//! create = admin, member   roles; or the name of one policy
//! read = @                 everybody
//! update = admin
//! delete = !               nobody
//! ```
//!
//! The first section that matches counts, and what matches none is nobody's. What `[DEFAULT]` says
//! counts for sections that say nothing. The service's own properties come before all sections and
//! are nobody's business here.

use std::path::{Path, PathBuf};
use std::{fs, io};

use regex::Regex;

use super::{Enforcer, Identity};
use crate::config::PropertyRuleFormat;
use crate::image::property;

/// What somebody would do to a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Give it to an image that lacks it.
    Create,
    /// See it.
    Read,
    /// Give it another value.
    Update,
    /// Take it away.
    Delete,
}

/// Names of the operations, in the order of their places.
const OPERATIONS: [&str; 4] = ["create", "read", "update", "delete"];

/// Why a file of protections can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PropertyRulesError {
    /// It can't be read.
    #[error("can't read property_protection_file {path}; name a file that this user may read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It says what makes no sense.
    #[error("{path}:{line}: {remedy}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// What to do.
        remedy: String,
    },
}

/// Protections in the order of the file. The default has none, and lets everybody do everything.
#[derive(Debug, Default)]
pub struct PropertyRules {
    sections: Option<Vec<Section>>,
}

#[derive(Debug)]
struct Section {
    names: Regex,
    /// By place of the operation.
    allowed: [Allowed; 4],
}

/// Who may.
#[derive(Clone, Debug, PartialEq)]
enum Allowed {
    All,
    Nobody,
    /// Whoever has one of these, in lower case.
    Roles(Vec<String>),
    Policy(String),
}

impl PropertyRules {
    /// Reads a file of protections.
    ///
    /// # Errors
    /// What of it can't be used, with its line.
    pub fn load(path: &Path, format: PropertyRuleFormat) -> Result<Self, PropertyRulesError> {
        let text = fs::read_to_string(path)
            .map_err(|source| PropertyRulesError::Unreadable { path: path.to_owned(), source })?;
        let sections = parse(&text, format).map_err(|(line, remedy)| {
            PropertyRulesError::Syntax { path: path.to_owned(), line, remedy }
        })?;
        Ok(Self { sections: Some(sections) })
    }

    /// Whether there are none, so that nobody need be asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sections.is_none()
    }

    /// Whether the caller may do this to the property.
    #[must_use]
    pub fn allows(
        &self,
        property: &str,
        operation: Operation,
        caller: &Identity,
        enforcer: &Enforcer,
    ) -> bool {
        let Some(sections) = &self.sections else { return true };
        if property::is_the_services(property) {
            return true;
        }
        let section = sections.iter().find(|section| section.names.is_match(property));
        section.is_some_and(|section| match &section.allowed[operation as usize] {
            Allowed::All => true,
            Allowed::Nobody => false,
            Allowed::Roles(roles) => roles.iter().any(|role| {
                caller.has_role(role) || caller.service_roles.iter().any(|own| own == role)
            }),
            Allowed::Policy(name) => enforcer.policies().allows_by_name(name, caller, &()),
        })
    }
}

type Refused = (usize, String);

/// The section whose options count in all others.
const FOR_ALL: &str = "DEFAULT";

/// A section while it is read: its line, its name, and its options with their lines.
struct Raw<'a> {
    line: usize,
    name: &'a str,
    options: Vec<(usize, String, String)>,
}

fn parse(text: &str, format: PropertyRuleFormat) -> Result<Vec<Section>, Refused> {
    let mut raws: Vec<Raw<'_>> = Vec::new();
    for (line, content) in (1..).zip(text.lines().map(str::trim_end)) {
        let start = content.trim_start();
        if start.is_empty() || start.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = start.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            if name != FOR_ALL && raws.iter().any(|raw| raw.name == name) {
                return Err((line, format!("[{name}] is there already; join the two")));
            }
            raws.push(Raw { line, name, options: Vec::new() });
            continue;
        }
        let Some(raw) = raws.last_mut() else {
            return Err((line, "an option before any section; write [property] above it".into()));
        };
        match (content.starts_with([' ', '\t']), raw.options.last_mut()) {
            (true, Some((_, _, value))) => *value = format!("{value} {start}"),
            _ => {
                let (key, value) = start.split_once(['=', ':']).ok_or_else(|| {
                    (line, "neither section nor option; write read = role".into())
                })?;
                let key = key.trim().to_lowercase();
                if raw.options.iter().any(|(_, known, _)| *known == key) {
                    return Err((line, format!("{key} is there already; take one of them out")));
                }
                raw.options.push((line, key, value.trim().to_owned()));
            }
        }
    }
    let (for_all, own): (Vec<_>, Vec<_>) = raws.into_iter().partition(|raw| raw.name == FOR_ALL);
    let for_all: Vec<_> = for_all.into_iter().flat_map(|raw| raw.options).collect();
    let own = own.into_iter().filter(|raw| !property::is_the_services(raw.name));
    own.map(|raw| section(&raw, &for_all, format)).collect()
}

fn section(
    raw: &Raw<'_>,
    for_all: &[(usize, String, String)],
    format: PropertyRuleFormat,
) -> Result<Section, Refused> {
    let names = Regex::new(raw.name).map_err(|error| {
        let reason = error.to_string().lines().last().unwrap_or_default().to_owned();
        (raw.line, format!("[{}] is no regular expression that can be used: {reason}", raw.name))
    })?;
    let mut allowed = [const { Allowed::Nobody }; 4];
    for (place, operation) in allowed.iter_mut().zip(OPERATIONS) {
        let mut options = raw.options.iter().chain(for_all.iter().rev());
        let found = options.find(|(_, key, _)| key == operation);
        let (line, _, value) = found.ok_or_else(|| {
            (raw.line, format!("[{}] lacks {operation}; write ! for nobody", raw.name))
        })?;
        *place = allowance(value, format).map_err(|remedy| (*line, remedy))?;
    }
    Ok(Section { names, allowed })
}

fn allowance(value: &str, format: PropertyRuleFormat) -> Result<Allowed, String> {
    if format == PropertyRuleFormat::Policies && value.contains(',') {
        return Err("more than one policy; join them by a rule of the policy file".to_owned());
    }
    let words: Vec<&str> =
        value.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    match (words.contains(&"@"), words.contains(&"!")) {
        (true, true) => return Err("@ and ! exclude each other; choose one".to_owned()),
        (true, false) => return Ok(Allowed::All),
        (false, true) => return Ok(Allowed::Nobody),
        (false, false) => {}
    }
    Ok(match format {
        _ if words.is_empty() => Allowed::Nobody,
        PropertyRuleFormat::Roles => {
            Allowed::Roles(words.iter().map(|role| role.to_lowercase()).collect())
        }
        PropertyRuleFormat::Policies => Allowed::Policy(value.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config;

    fn caller(role: &str) -> Identity {
        Identity { roles: vec![role.into()], ..Identity::default() }
    }

    fn rules(text: &str, format: PropertyRuleFormat) -> PropertyRules {
        PropertyRules { sections: Some(parse(text, format).unwrap()) }
    }

    #[test]
    fn pp_01_the_first_section_that_matches_counts() {
        let text = "# c\n[^x_.*]\ncreate = Admin, member\nread: @\nupdate = admin\ndelete = !\n\
                    [os_glance.*]\nread = !\n[_y]\ncreate = spl_role\nread = spl_role\nupdate =\n\
                    delete = @\n";
        let rules = rules(text, PropertyRuleFormat::Roles);
        let enforcer = Enforcer::built_in().unwrap();
        let may = |role: &str, property: &str| {
            use Operation::{Create, Delete, Read, Update};
            [Create, Read, Update, Delete]
                .map(|operation| rules.allows(property, operation, &caller(role), &enforcer))
        };
        assert_eq!(may("admin", "x_y"), [true, true, true, false]);
        assert_eq!(may("member", "x_a"), [true, true, false, false]);
        assert_eq!(may("reader", "x_a"), [false, true, false, false]);
        assert_eq!(may("spl_role", "a_y"), [true, true, false, true]);
        assert_eq!(may("admin", "other"), [false; 4], "what matches nothing is nobody's");
        assert_eq!(may("reader", "os_glance_import_task"), [true; 4]);
        assert!(PropertyRules::default().allows("a", Operation::Delete, &caller("x"), &enforcer));
        let service = Identity { service_roles: vec!["spl_role".into()], ..caller("member") };
        assert!(rules.allows("a_y", Operation::Read, &service, &enforcer));
    }

    #[test]
    fn pp_01_what_is_said_for_all_counts_where_nothing_is_said() {
        let text = "[a]\nread = a\n[DEFAULT]\ncreate = !\nread = b\nupdate = !\ndelete = @\n[.*]\n";
        let rules = rules(text, PropertyRuleFormat::Roles);
        let enforcer = Enforcer::built_in().unwrap();
        let may = |property, operation| rules.allows(property, operation, &caller("b"), &enforcer);
        assert!(!may("a", Operation::Read) && may("x", Operation::Read));
        assert!(may("a", Operation::Delete) && !may("x", Operation::Update));
    }

    #[test]
    fn pp_01_policies_are_asked_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.yaml");
        fs::write(&file, "keeper: 'role:keeper'").unwrap();
        let enforcer =
            Enforcer::load(config::Policy { file: Some(file), ..config::Policy::default() });
        let text = "[a]\ncreate = keeper\nread = @\nupdate = context_is_admin\ndelete = !\n";
        let (rules, enforcer) = (rules(text, PropertyRuleFormat::Policies), enforcer.unwrap());
        let may = |role, operation| rules.allows("a", operation, &caller(role), &enforcer);
        assert!(may("keeper", Operation::Create) && !may("member", Operation::Create));
        assert!(may("admin", Operation::Update) && !may("keeper", Operation::Update));
        assert!(may("x", Operation::Read) && !may("admin", Operation::Delete));
    }

    #[test]
    fn pp_01_what_can_not_be_used_is_refused_with_its_line() {
        let whole = "create=@\nread=@\nupdate=@\ndelete=@";
        for (text, format, line, word) in [
            ("read = @", PropertyRuleFormat::Roles, 1, "before any section"),
            ("[a]\nread = @", PropertyRuleFormat::Roles, 1, "lacks create"),
            (&format!("\n[a(]\n{whole}"), PropertyRuleFormat::Roles, 2, "no regular expression"),
            (&format!("[(?=a)]\n{whole}"), PropertyRuleFormat::Roles, 1, "no regular expression"),
            ("[a]\ncreate=@,!", PropertyRuleFormat::Roles, 2, "exclude each other"),
            ("[a]\ncreate=a,b", PropertyRuleFormat::Policies, 2, "more than one policy"),
            ("[a]\ncreate=@,a", PropertyRuleFormat::Policies, 2, "more than one policy"),
            ("[a]\n[b]\n[a]", PropertyRuleFormat::Roles, 3, "[a] is there already"),
            ("[a]\nread=a\nRead=b", PropertyRuleFormat::Roles, 3, "read is there already"),
            ("[a]\nnonsense", PropertyRuleFormat::Roles, 2, "neither section"),
        ] {
            let (at, remedy) = parse(text, format).unwrap_err();
            assert!(at == line && remedy.contains(word), "{text}: {at}: {remedy}");
        }
    }
}
