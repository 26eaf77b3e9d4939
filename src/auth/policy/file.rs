//! `policy.yaml`: names and rules, in YAML or JSON, each with the line it stands on.
//!
//! The file is one mapping. A rule is text, or a list in the old form; anything else is refused,
//! because a rule that was lost would let somebody do what the operator had forbidden.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use super::check::Check;
use super::error::PolicyError;
use super::parse;

/// A rule as it stands in a file.
#[derive(Debug)]
pub(super) struct FileRule {
    pub(super) name: String,
    pub(super) check: Check<String>,
}

/// Reads a file; a name that comes twice counts the last time, as it does to oslo.policy.
///
/// # Errors
/// The first thing that can't be read, with its line.
pub(super) fn read(path: &Path) -> Result<Vec<FileRule>, PolicyError> {
    let text = fs::read_to_string(path)
        .map_err(|source| PolicyError::Unreadable { path: path.to_owned(), source })?;
    rules(&text).map_err(|Refused { line, name, remedy }| match name {
        Some(name) => PolicyError::Rule { path: path.to_owned(), line, name, remedy },
        None => PolicyError::Syntax { path: path.to_owned(), line, remedy },
    })
}

/// Why a file is refused.
#[derive(Debug)]
struct Refused {
    line: usize,
    name: Option<String>,
    remedy: String,
}

fn refused(line: usize, remedy: impl Into<String>) -> Refused {
    Refused { line, name: None, remedy: remedy.into() }
}

/// What the file may hold.
#[derive(Clone, Debug)]
enum Node {
    Text(String),
    List(Vec<Node>),
    Map(Vec<(usize, String, Node)>),
}

fn rules(text: &str) -> Result<Vec<FileRule>, Refused> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), line: 1, depth: 0 };
    let fields = match reader.document()? {
        None => return Ok(Vec::new()),
        Some(Node::Map(fields)) => fields,
        Some(_) => {
            return Err(refused(1, "the file is no mapping; write lines like name: \"rule\""));
        }
    };
    let rule = |(line, name, node): (usize, String, Node)| match check(&node) {
        Ok(check) => Ok(FileRule { name, check }),
        Err(remedy) => Err(Refused { line, name: Some(name), remedy }),
    };
    fields.into_iter().map(rule).collect()
}

fn check(node: &Node) -> Result<Check<String>, String> {
    match node {
        Node::Text(text) => parse::rule(text),
        Node::List(any) => parse::lists(&any.iter().map(words).collect::<Result<Vec<_>, _>>()?),
        Node::Map(_) => Err("a rule is text or a list of lists, not a mapping".to_owned()),
    }
}

/// The checks of an inner list, which may be a single text.
fn words(node: &Node) -> Result<Vec<String>, String> {
    let word = |node: &Node| match node {
        Node::Text(text) => Ok(text.clone()),
        _ => Err("a rule in the old form is a list of lists of text".to_owned()),
    };
    match node {
        Node::List(all) => all.iter().map(word).collect(),
        Node::Text(text) if text.is_empty() => Ok(Vec::new()),
        node => Ok(vec![word(node)?]),
    }
}

/// Deep enough for a mapping of lists of lists.
const DEPTH_MAX: usize = 4;

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// Nodes that have been given a name, for those who repeat them.
    anchors: HashMap<usize, Node>,
    /// Line of the last event.
    line: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// The file's document; `None` for an empty one.
    fn document(&mut self) -> Result<Option<Node>, Refused> {
        loop {
            match self.next()? {
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
                Event::StreamEnd | Event::DocumentEnd => return Ok(None),
                Event::Scalar(text, ScalarStyle::Plain, ..) if is_null(&text) => return Ok(None),
                event => {
                    let node = self.node(event)?;
                    return self.end().map(|()| Some(node));
                }
            }
        }
    }

    /// Nothing may follow the document.
    fn end(&mut self) -> Result<(), Refused> {
        loop {
            match self.next()? {
                Event::StreamEnd => return Ok(()),
                Event::DocumentEnd | Event::Nothing => {}
                _ => return Err(refused(self.line, "a second document; put all rules in one")),
            }
        }
    }

    fn next(&mut self) -> Result<Event<'a>, Refused> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => {
                Err(refused(error.marker().line(), format!("no YAML: {}", error.info())))
            }
            None => Ok(Event::StreamEnd),
        }
    }

    /// The node that begins with this event.
    fn node(&mut self, event: Event<'a>) -> Result<Node, Refused> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(refused(self.line, "nested too deep; a rule is text or a list of lists"));
        }
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() || (style == ScalarStyle::Plain && is_null(&text)) {
                    let remedy = "a rule without text; write \"!\" for nobody, \"@\" for everybody";
                    return Err(refused(self.line, remedy));
                }
                (anchor, Node::Text(text.into_owned()))
            }
            Event::SequenceStart(anchor, _) => (anchor, self.list()?),
            Event::MappingStart(anchor, _) => (anchor, self.map()?),
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => (0, node.clone()),
                None => return Err(refused(self.line, "an alias for nothing; write the rule out")),
            },
            _ => return Err(refused(self.line, "neither text nor a list; write name: \"rule\"")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.depth -= 1;
        Ok(node)
    }

    fn list(&mut self) -> Result<Node, Refused> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Node::List(nodes)),
                event => nodes.push(self.node(event)?),
            }
        }
    }

    fn map(&mut self) -> Result<Node, Refused> {
        let mut fields = Vec::new();
        loop {
            let event = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Node::Map(fields));
            }
            let line = self.line;
            let Node::Text(name) = self.node(event)? else {
                return Err(refused(line, "a name that is no text; write name: \"rule\""));
            };
            let event = self.next()?;
            let value = self.node(event).map_err(|refused| Refused {
                name: refused.name.or_else(|| Some(name.clone())),
                ..refused
            })?;
            fields.push((line, name, value));
        }
    }
}

/// What YAML takes for nothing.
fn is_null(text: &str) -> bool {
    ["", "~", "null", "Null", "NULL"].contains(&text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Vec<(String, Check<String>)> {
        rules(text).unwrap().into_iter().map(|rule| (rule.name, rule.check)).collect()
    }

    #[test]
    fn po_18_yaml_and_json_are_the_same() {
        let yaml = "# comment\n\"a\": \"role:x\"\nb: role:y or rule:a\nc: \"\"\n'd:e': '!'\n";
        let json = "{\n\t\"a\": \"role:x\",\n\t\"b\": \"role:y or rule:a\",\n\t\"c\": \"\",\n\t\
                    \"d:e\": \"!\"\n}\n";
        assert_eq!(read(yaml), read(json));
        assert_eq!(read(yaml).len(), 4);
    }

    #[test]
    fn po_18_lists_are_the_old_form() {
        let old =
            "a: []\nb: [[]]\nc: [[\"role:x\", \"p:%(q)s\"], [\"role:y\"]]\nd:\n- role:x\n- '@'";
        let new = "a: \"\"\nb: \"!\"\nc: \"role:x and p:%(q)s or role:y\"\nd: \"role:x or @\"";
        assert_eq!(read(old), read(new));
    }

    #[test]
    fn an_empty_file_has_no_rules() {
        for text in ["", "# nothing\n", "---\n", "{}", "~"] {
            assert!(read(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_rule_may_be_repeated_by_alias() {
        assert_eq!(read("a: &x \"role:r\"\nb: *x"), read("a: \"role:r\"\nb: \"role:r\""));
    }

    #[test]
    fn what_is_no_rule_is_refused_with_its_line() {
        for (text, line, name, word) in [
            ("a: \"!\"\nb: role\n", 2, Some("b"), "is no check"),
            ("\na:\n", 2, Some("a"), "without text"),
            ("a: !\n", 1, Some("a"), "without text"),
            ("a: @\n", 1, None, "no YAML"),
            ("a: b: c", 1, None, "no YAML"),
            ("- a\n", 1, None, "no mapping"),
            ("text", 1, None, "no mapping"),
            ("a: {b: c}", 1, Some("a"), "not a mapping"),
            ("a: [[[[b]]]]", 1, Some("a"), "too deep"),
            ("[a]: b", 1, None, "no text"),
            ("a: \"!\"\n---\nb: \"!\"", 2, None, "second document"),
            ("a: \"x", 1, None, "no YAML"),
        ] {
            let refused = rules(text).unwrap_err();
            assert!(refused.remedy.contains(word), "{text:?}: {refused:?}");
            assert_eq!(refused.name.as_deref(), name, "{text:?}: {refused:?}");
            assert!(refused.line == line || word == "no YAML", "{text:?}: {refused:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-z:@!&*\\[\\]{}'\" \n-]{0,60}") {
            let _ = rules(&text);
        }
    }
}
