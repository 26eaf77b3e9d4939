//! A rule as a tree of checks, and whether it lets a caller do something to a target.
//!
//! Values are compared as Python prints them, because that is what the operator's rules were
//! written against: nothing is `None`, and two of them are equal.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::super::Identity;
use super::remote::Question;

/// What a rule asks of its target: the attributes of an image, mostly.
pub trait Target {
    /// An attribute as Python prints it; `None` when there is no such attribute, which fulfils no
    /// check.
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>>;

    /// All of them, for other servers that are asked.
    fn document(&self) -> Map<String, Value> {
        Map::new()
    }
}

/// No target at all.
impl Target for () {
    fn attribute(&self, _name: &str) -> Option<Cow<'_, str>> {
        None
    }
}

/// A rule. `R` is how it names another rule: in words when it has been read, by place when all
/// rules are known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Check<R> {
    /// `@`, or nothing.
    Allow,
    /// `!`.
    Deny,
    /// `not`.
    Not(Box<Self>),
    /// `and`.
    All(Vec<Self>),
    /// `or`.
    Any(Vec<Self>),
    /// `rule:name`.
    Rule(R),
    /// `role:name`.
    Role(Template),
    /// `'literal':%(target)s`.
    Literal(String, Template),
    /// `attribute:%(target)s`.
    Attribute(Vec<String>, Template),
    /// `http://...` and `https://...`: a whole URL.
    Remote(Template),
}

impl<R> Check<R> {
    /// The same tree with every named rule replaced; where there is none, nothing is allowed.
    pub(super) fn linked<S>(&self, find: &mut impl FnMut(&R) -> Option<S>) -> Check<S> {
        match self {
            Self::Allow => Check::Allow,
            Self::Deny => Check::Deny,
            Self::Not(check) => Check::Not(Box::new(check.linked(find))),
            Self::All(all) => Check::All(all.iter().map(|check| check.linked(find)).collect()),
            Self::Any(any) => Check::Any(any.iter().map(|check| check.linked(find)).collect()),
            Self::Rule(name) => find(name).map_or(Check::Deny, Check::Rule),
            Self::Role(role) => Check::Role(role.clone()),
            Self::Literal(text, wanted) => Check::Literal(text.clone(), wanted.clone()),
            Self::Attribute(path, wanted) => Check::Attribute(path.clone(), wanted.clone()),
            Self::Remote(url) => Check::Remote(url.clone()),
        }
    }
}

impl Check<usize> {
    /// Whether the caller may, where `rules` are those that checks name by place.
    pub(super) fn allows(&self, rules: &[Self], question: &Question<'_>) -> bool {
        let Question { caller, target, .. } = *question;
        match self {
            Self::Allow => true,
            Self::Deny => false,
            Self::Not(check) => !check.allows(rules, question),
            Self::All(all) => all.iter().all(|check| check.allows(rules, question)),
            Self::Any(any) => any.iter().any(|check| check.allows(rules, question)),
            Self::Rule(at) => rules.get(*at).is_some_and(|it| it.allows(rules, question)),
            Self::Role(role) => role.fill(target).is_some_and(|role| caller.has_role(&role)),
            Self::Literal(text, wanted) => {
                wanted.fill(target).is_some_and(|wanted| wanted == text.as_str())
            }
            Self::Attribute(path, wanted) => {
                wanted.fill(target).is_some_and(|wanted| has_attribute(caller, path, &wanted))
            }
            Self::Remote(url) => question.ask(url),
        }
    }

    /// Whether another server may have to be asked.
    pub(super) fn asks_others(&self) -> bool {
        match self {
            Self::Remote(_) => true,
            Self::Not(check) => check.asks_others(),
            Self::All(checks) | Self::Any(checks) => checks.iter().any(Self::asks_others),
            _ => false,
        }
    }

    /// The rules that this one names.
    pub(super) fn names(&self, found: &mut Vec<usize>) {
        match self {
            Self::Rule(at) => found.push(*at),
            Self::Not(check) => check.names(found),
            Self::All(checks) | Self::Any(checks) => {
                checks.iter().for_each(|check| check.names(found));
            }
            _ => {}
        }
    }
}

/// Whether the caller has this attribute with this value; lists have each of their values.
fn has_attribute(caller: &Identity, path: &[String], wanted: &str) -> bool {
    let [name] = path else { return false };
    let is = |own: &Option<String>| own.as_deref().unwrap_or(NONE) == wanted;
    match name.as_str() {
        "user_id" => is(&caller.user_id),
        "project_id" => is(&caller.project_id),
        "domain_id" => is(&caller.domain_id),
        "user_domain_id" => is(&caller.user_domain_id),
        "project_domain_id" => is(&caller.project_domain_id),
        "system_scope" => is(&caller.system_scope),
        "system" => caller.system_scope.as_deref().is_some_and(|scope| scope == wanted),
        "is_admin_project" => flag(!caller.is_beside_admin_project) == wanted,
        "roles" => caller.roles.iter().any(|role| role == wanted),
        "service_roles" => caller.service_roles.iter().any(|role| role == wanted),
        _ => false,
    }
}

/// How Python prints nothing.
pub(in super::super) const NONE: &str = "None";

/// How Python prints yes and no.
pub(in super::super) fn flag(is_set: bool) -> &'static str {
    if is_set { "True" } else { "False" }
}

/// Text with `%(attribute)s` in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template(pub(super) Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Attribute(String),
}

impl Template {
    /// The text for this target; `None` when the target lacks an attribute.
    pub(super) fn fill<'a>(&'a self, target: &'a dyn Target) -> Option<Cow<'a, str>> {
        if let [only] = self.0.as_slice() {
            return only.fill(target);
        }
        let pieces: Option<Vec<_>> = self.0.iter().map(|piece| piece.fill(target)).collect();
        Some(pieces?.concat().into())
    }
}

impl Piece {
    fn fill<'a>(&'a self, target: &'a dyn Target) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text.as_str().into()),
            Self::Attribute(name) => target.attribute(name),
        }
    }
}
