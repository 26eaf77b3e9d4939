//! The language of policies, read (`PO-18`).
//!
//! ```text
//! rule  := (nothing) | any                 nothing allows everybody
//! any   := all ("or" all)*
//! all   := one ("and" one)*
//! one   := "not" one | "(" any ")" | check
//! check := "@" | "!" | kind ":" text       kind: rule, role, 'literal', or an attribute
//! ```
//!
//! What oslo.policy can't read it logs, and then denies; here it is refused when the file is read,
//! with what to do about it.

use super::check::{Check, Piece, Template};
use crate::limits::POLICY_DEPTH_MAX;

/// A rule as it has been read, or what to do about it.
pub(super) type Parsed<T> = Result<T, String>;

/// Reads a rule.
pub(super) fn rule(text: &str) -> Parsed<Check<String>> {
    if text.is_empty() {
        return Ok(Check::Allow);
    }
    let mut rest = Tokens { tokens: tokens(text)?, at: 0, depth: 0 };
    let check = rest.any()?;
    match rest.next() {
        None => Ok(check),
        Some(token) => Err(format!("nothing may follow here, yet there is {}", token.shown())),
    }
}

/// Reads the old form, lists of lists: the outer ones joined by `or`, the inner ones by `and`.
pub(super) fn lists(any: &[Vec<String>]) -> Parsed<Check<String>> {
    if any.is_empty() {
        return Ok(Check::Allow);
    }
    let full = any.iter().filter(|all| !all.is_empty());
    let checks = full.map(|all| {
        let checks = all.iter().map(|text| check(text)).collect::<Parsed<Vec<_>>>()?;
        Ok(joined(checks, Check::All))
    });
    Ok(joined(checks.collect::<Parsed<Vec<_>>>()?, Check::Any))
}

/// One check as it is, several joined. None is `Any([])`, which denies.
fn joined(
    mut checks: Vec<Check<String>>,
    join: fn(Vec<Check<String>>) -> Check<String>,
) -> Check<String> {
    match checks.pop() {
        Some(only) if checks.is_empty() => only,
        Some(last) => {
            checks.push(last);
            join(checks)
        }
        None => Check::Deny,
    }
}

enum Token<'a> {
    Open,
    Close,
    And,
    Or,
    Not,
    Check(&'a str),
}

impl Token<'_> {
    fn shown(&self) -> &str {
        match self {
            Self::Open => "(",
            Self::Close => ")",
            Self::And => "and",
            Self::Or => "or",
            Self::Not => "not",
            Self::Check(text) => text,
        }
    }
}

/// Splits at white space; parentheses are their own tokens at a word's ends, and part of it in
/// between, as in `%(owner)s`.
fn tokens(text: &str) -> Parsed<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let opened = word.trim_start_matches('(');
        tokens.extend((opened.len()..word.len()).map(|_| Token::Open));
        let bare = opened.trim_end_matches(')');
        match bare.to_lowercase().as_str() {
            "" => {}
            "and" => tokens.push(Token::And),
            "or" => tokens.push(Token::Or),
            "not" => tokens.push(Token::Not),
            _ if is_quoted(opened) => {
                return Err(format!("{opened} is a text alone; write {opened}:%(attribute)s"));
            }
            _ => tokens.push(Token::Check(bare)),
        }
        tokens.extend((bare.len()..opened.len()).map(|_| Token::Close));
    }
    Ok(tokens)
}

fn is_quoted(word: &str) -> bool {
    word.len() >= 2 && ['"', '\''].iter().any(|&q| word.starts_with(q) && word.ends_with(q))
}

struct Tokens<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: usize,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Option<&Token<'a>> {
        self.at += 1;
        self.tokens.get(self.at - 1)
    }

    /// Takes the next token when it is of this sort.
    fn take(&mut self, is_it: fn(&Token<'a>) -> bool) -> bool {
        let found = self.tokens.get(self.at).is_some_and(is_it);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> Parsed<Check<String>> {
        let mut checks = vec![self.all()?];
        while self.take(|token| matches!(token, Token::Or)) {
            checks.push(self.all()?);
        }
        Ok(joined(checks, Check::Any))
    }

    fn all(&mut self) -> Parsed<Check<String>> {
        let mut checks = vec![self.one()?];
        while self.take(|token| matches!(token, Token::And)) {
            checks.push(self.one()?);
        }
        Ok(joined(checks, Check::All))
    }

    fn one(&mut self) -> Parsed<Check<String>> {
        self.depth += 1;
        if self.depth > POLICY_DEPTH_MAX {
            return Err(format!("it is nested more than {POLICY_DEPTH_MAX} deep; name its parts"));
        }
        let read = match self.next() {
            Some(Token::Not) => Ok(Check::Not(Box::new(self.one()?))),
            Some(Token::Open) => self.group(),
            Some(Token::Check(text)) => check(text),
            Some(token) => Err(format!("a check is missing before {}", token.shown())),
            None => Err("a check is missing at its end".to_owned()),
        };
        self.depth -= 1;
        read
    }

    fn group(&mut self) -> Parsed<Check<String>> {
        let check = self.any()?;
        match self.take(|token| matches!(token, Token::Close)) {
            true => Ok(check),
            false => Err("a closing parenthesis is missing".to_owned()),
        }
    }
}

/// Reads a check.
fn check(text: &str) -> Parsed<Check<String>> {
    match text {
        "@" => return Ok(Check::Allow),
        "!" => return Ok(Check::Deny),
        _ => {}
    }
    let no_kind = || format!("{text} is no check; write a kind and a value, such as role:{text}");
    let (kind, wanted) = text.split_once(':').ok_or_else(no_kind)?;
    match kind {
        "rule" => Ok(Check::Rule(wanted.to_owned())),
        "role" => Ok(Check::Role(template(wanted)?)),
        "http" | "https" if wanted.starts_with("//") => Ok(Check::Remote(template(text)?)),
        "http" | "https" => Err(format!("{text} is no URL; write {kind}://host/path")),
        _ => Ok(match literal(kind)? {
            Some(literal) => Check::Literal(literal, template(wanted)?),
            None => {
                Check::Attribute(kind.split('.').map(str::to_owned).collect(), template(wanted)?)
            }
        }),
    }
}

/// A value in Python's notation, as Python prints it; `None` for what names an attribute. What is
/// neither is mostly an error of every request to oslo.policy.
fn literal(kind: &str) -> Parsed<Option<String>> {
    if ["True", "False", "None"].contains(&kind) {
        return Ok(Some(kind.to_owned()));
    }
    let unsigned = kind.strip_prefix(['+', '-']).unwrap_or(kind);
    if unsigned.starts_with(|c: char| c.is_ascii_digit()) {
        return number(kind, unsigned).map(Some);
    }
    let is_of_a_name = |c: char| c.is_alphanumeric() || "_.-".contains(c);
    if !kind.is_empty() && kind.chars().all(is_of_a_name) {
        return Ok(None);
    }
    let inner = kind.get(1..kind.len().saturating_sub(1)).filter(|inner| {
        is_quoted(kind) && !inner.contains(['\\', kind.chars().next().unwrap_or_default()])
    });
    let inner = inner.ok_or_else(|| format!("{kind} is no text; write it as 'text'"))?;
    Ok(Some(inner.to_owned()))
}

/// A number as Python prints it; one that it prints in another way than digits has to be written
/// as it is printed.
fn number(kind: &str, unsigned: &str) -> Parsed<String> {
    let plainly = || format!("{kind} is no plain number; write it as '{kind}' or in digits");
    let is_digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    match unsigned.split_once('.') {
        None if is_digits(unsigned) => {
            let value: i128 = kind.parse().map_err(|_| plainly())?;
            // Python takes them for numbers of another base, and refuses them.
            let has_leading_zeros = value != 0 && unsigned.starts_with('0');
            if has_leading_zeros { Err(plainly()) } else { Ok(value.to_string()) }
        }
        Some((whole, part)) if is_digits(whole) && is_digits(part) => {
            let value: f64 = kind.parse().map_err(|_| plainly())?;
            let is_in_digits = value == 0.0 || (1e-4..1e16).contains(&value.abs());
            let text = value.to_string();
            match (is_in_digits, text.contains('.')) {
                (false, _) => Err(plainly()),
                (true, true) => Ok(text),
                (true, false) => Ok(format!("{text}.0")),
            }
        }
        _ => Err(plainly()),
    }
}

/// Reads text with `%(attribute)s` in it; `%%` is a per cent sign.
fn template(text: &str) -> Parsed<Template> {
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            plain.push('%');
            rest = after;
            continue;
        }
        let named = after.strip_prefix('(').and_then(|after| after.split_once(")s"));
        let (name, after) =
            named.filter(|(name, _)| !name.contains([')', '%'])).ok_or_else(|| {
                format!("{text} has a % that names no attribute; write %(attribute)s, or %%")
            })?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Attribute(name.to_owned()));
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(Template(pieces))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn po_18_not_binds_before_and_before_or() {
        let same = |a: &str, b: &str| assert_eq!(rule(a).unwrap(), rule(b).unwrap(), "{a}");
        same("a:1 or b:2 and not c:3", "a:1 or (b:2 and (not c:3))");
        same("not a:1 and b:2", "(not a:1) and b:2");
        same("NOT not a:1 OR b:2", "(not (not a:1)) or b:2");
        same("((a:1))", "a:1");
    }

    #[test]
    fn po_18_what_is_no_rule_is_refused_with_a_remedy() {
        for (text, remedy) in [
            ("role", "role is no check; write a kind and a value, such as role:role"),
            ("a:1 b:2", "nothing may follow here, yet there is b:2"),
            ("a:1 and", "a check is missing at its end"),
            ("a:1 or )", "a check is missing before )"),
            ("(a:1", "a closing parenthesis is missing"),
            ("()", "a check is missing before )"),
            ("   ", "a check is missing at its end"),
            ("'public'", "'public' is a text alone; write 'public':%(attribute)s"),
            ("a:%(b)d", "%(b)d has a % that names no attribute; write %(attribute)s, or %%"),
            ("a:50%", "50% has a % that names no attribute; write %(attribute)s, or %%"),
            ("'a:%(b)s", "'a is no text; write it as 'text'"),
            (":%(b)s", " is no text; write it as 'text'"),
            ("u'a':%(b)s", "u'a' is no text; write it as 'text'"),
            ("07:%(b)s", "07 is no plain number; write it as '07' or in digits"),
        ] {
            assert_eq!(rule(text).unwrap_err(), remedy, "{text}");
        }
        assert!(rule("role:a or http:x/y").unwrap_err().contains("write http://host/path"));
        let deep = format!("{}a:1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(rule(&deep).unwrap_err().contains("nested more than"));
    }

    #[test]
    fn po_18_other_servers_are_named_by_url() {
        let Ok(Check::Any(checks)) = rule("role:a or https://host:8080/%(project_id)s/x") else {
            panic!("two checks");
        };
        let url = template("https://host:8080/%(project_id)s/x").unwrap();
        assert_eq!(checks[1], Check::Remote(url));
        assert!(rule("http://x/%(a)d").is_err());
    }

    #[test]
    fn po_18_templates_mix_text_and_attributes() {
        let text = |text: &str| Piece::Text(text.into());
        let named = |name: &str| Piece::Attribute(name.into());
        assert_eq!(template("a%%b").unwrap(), Template(vec![text("a%b")]));
        assert_eq!(
            template("x-%(a)s%(b)s").unwrap(),
            Template(vec![text("x-"), named("a"), named("b")])
        );
        assert_eq!(template("").unwrap(), Template(vec![text("")]));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([a-z:@!()%' \"]|and |or |not |role:|%\\(a\\)s){0,40}") {
            let _ = rule(&text);
        }
    }
}
