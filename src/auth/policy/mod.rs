//! Policies: who may do what, in oslo.policy's language (`PO-01` to `PO-20`).
//!
//! Glance's own rules are a table; an operator's files replace single ones by name and add others
//! for these to name. Everything is read once, checked, and linked, so that a question costs a walk
//! through a few nodes. What can't be read is refused with file and line, and never allows
//! anything.

mod check;
mod defaults;
mod error;
mod file;
mod parse;
mod remote;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use self::check::Check;
use self::file::FileRule;
use self::remote::{Question, Remote};
use super::Identity;
use crate::config;
use crate::limits::POLICY_DEPTH_MAX;

pub use check::Target;
pub use defaults::Action;
pub use error::PolicyError;

pub(super) use check::{NONE, flag};

/// Every rule, linked.
#[derive(Debug)]
pub struct Policies {
    /// Those of [`Action`] at their places, then the operator's own.
    rules: Vec<Check<usize>>,
    places: HashMap<String, usize>,
    /// The rule that stands in for those that are named and not there.
    default_rule: Option<usize>,
    enforces_scope: bool,
    /// Where some rule needs it.
    remote: Option<Remote>,
    /// Rules that name rules that are not there.
    pub(super) undefined: Vec<String>,
}

impl Policies {
    /// Reads the operator's files, where there are any.
    ///
    /// # Errors
    /// The first thing that can't be used.
    pub fn load(settings: &config::Policy) -> Result<Self, PolicyError> {
        let mut own = Vec::new();
        for path in files(settings)? {
            own.extend(file::read(&path)?);
        }
        Self::link(settings, own)
    }

    /// Puts an operator's rules over Glance's, and every name in its place.
    fn link(settings: &config::Policy, own: Vec<FileRule>) -> Result<Self, PolicyError> {
        let mut places = HashMap::new();
        let mut named = Vec::new();
        for action in Action::ALL {
            places.insert(action.name().to_owned(), named.len());
            named.push((action.name().to_owned(), built_in(*action, settings)));
        }
        for FileRule { name, check } in own {
            match places.get(&name) {
                Some(&at) => named[at].1 = check,
                None => {
                    places.insert(name.clone(), named.len());
                    named.push((name, check));
                }
            }
        }
        let default_rule =
            settings.default_rule.as_ref().and_then(|name| places.get(name)).copied();
        let mut undefined = Vec::new();
        let rules = named.iter().map(|(name, check)| {
            check.linked(&mut |wanted: &String| {
                let found = places.get(wanted).copied();
                if found.is_none() {
                    undefined.push(name.clone());
                }
                found.or(default_rule)
            })
        });
        let rules: Vec<_> = rules.collect();
        undefined.dedup();
        refuse_cycles(&named, &rules)?;
        let enforces_scope = settings.enforces_scope;
        let remote = match rules.iter().any(Check::asks_others) {
            true => Some(Remote::new(&settings.remote).map_err(PolicyError::Remote)?),
            false => None,
        };
        Ok(Self { rules, places, default_rule, enforces_scope, remote, undefined })
    }

    /// Whether the caller may do this to the target.
    #[must_use]
    pub fn allows(&self, action: Action, caller: &Identity, target: &dyn Target) -> bool {
        let is_in_scope = !self.enforces_scope || !action.needs_project() || caller.is_in_project();
        is_in_scope && self.answer(action as usize, action.name(), caller, target)
    }

    /// Whether a rule of the operator's own lets the caller through, by its name.
    #[must_use]
    pub fn allows_by_name(&self, rule: &str, caller: &Identity, target: &dyn Target) -> bool {
        let at = self.places.get(rule).copied().or(self.default_rule);
        at.is_some_and(|at| self.answer(at, rule, caller, target))
    }

    fn answer(&self, at: usize, rule: &str, caller: &Identity, target: &dyn Target) -> bool {
        let (remote, has_failed) = (self.remote.as_ref(), Cell::new(false));
        let question = Question { rule, caller, target, remote, has_failed };
        self.rules[at].allows(&self.rules, &question) && !question.has_failed.get()
    }
}

/// Glance's own rule, with what it allowed before where the operator still wants that.
fn built_in(action: Action, settings: &config::Policy) -> Check<String> {
    let read = |text| parse::rule(text).unwrap_or(Check::Deny);
    let default = action.default();
    match default.formerly.filter(|_| !settings.enforces_new_defaults) {
        Some(old) => Check::Any(vec![read(default.check), read(old)]),
        None => read(default.check),
    }
}

/// The operator's files that exist, in the order in which they count.
///
/// # Errors
/// A directory that can't be listed.
pub(super) fn files(settings: &config::Policy) -> Result<Vec<PathBuf>, PolicyError> {
    let mut paths: Vec<PathBuf> =
        settings.file.iter().filter(|path| path.exists()).cloned().collect();
    for dir in &settings.dirs {
        match in_directory(dir) {
            Ok(found) => paths.extend(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(PolicyError::Unreadable { path: dir.clone(), source }),
        }
    }
    Ok(paths)
}

/// Files of a directory by name; hidden ones and what lies deeper is left out.
fn in_directory(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") && entry.path().is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// A circle of rules would never come to an answer, and a long chain of them comes to an end of the
/// stack first.
fn refuse_cycles(
    named: &[(String, Check<String>)],
    rules: &[Check<usize>],
) -> Result<(), PolicyError> {
    let name = |at: usize| named[at].0.clone();
    let mut heights = vec![0; rules.len()];
    for at in 0..rules.len() {
        let mut path = vec![at];
        follow(rules, &mut path, &mut heights)
            .map_err(|circle| PolicyError::Cycle(circle.into_iter().map(name).collect()))?;
        if heights[at] > POLICY_DEPTH_MAX || path.len() > POLICY_DEPTH_MAX {
            return Err(PolicyError::TooDeep { name: name(at), maximum: POLICY_DEPTH_MAX });
        }
    }
    Ok(())
}

/// Follows every way from the end of the path, and notes how far the longest goes; one that comes
/// back to the path is the error. Where the path grows too long it is left as it is.
fn follow(
    rules: &[Check<usize>],
    path: &mut Vec<usize>,
    heights: &mut [usize],
) -> Result<(), Vec<usize>> {
    let Some(&at) = path.last() else { return Ok(()) };
    if heights[at] > 0 || path.len() > POLICY_DEPTH_MAX {
        return Ok(());
    }
    let mut named = Vec::new();
    rules[at].names(&mut named);
    let mut height = 0;
    for next in named {
        let start = path.iter().position(|&passed| passed == next);
        path.push(next);
        if let Some(start) = start {
            return Err(path.split_off(start));
        }
        follow(rules, path, heights)?;
        if path.len() > POLICY_DEPTH_MAX {
            return Ok(());
        }
        path.pop();
        height = height.max(heights[next]);
    }
    heights[at] = height + 1;
    Ok(())
}
