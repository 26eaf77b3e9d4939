//! Glance's own code, asked through a pipe.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::config::FormatRules;
use crate::env;

pub(super) struct Oracle {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// An image, what its record says, and what the operator does.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub base: PathBuf,
    pub edits: Vec<(usize, Vec<u8>)>,
    pub length: usize,
    pub container: String,
    pub disk: String,
    pub require: bool,
    pub nonfatal: Vec<String>,
}

impl Question {
    /// What the operator does, as the gate is told.
    pub(super) fn rules(&self) -> FormatRules {
        FormatRules {
            requires_match: self.require,
            gpt_checks_nonfatal: self.nonfatal.clone(),
            ..FormatRules::default()
        }
    }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub refused: Option<String>,
    pub virtual_size: Option<i128>,
    /// What became of the safety checks.
    pub safety: String,
    /// What it is, sorted.
    pub formats: Vec<String>,
    /// What is dangerous in it, whether Glance looked for that or not.
    pub dangers: Vec<String>,
    /// Whose inspectors stopped looking, and counting.
    pub gave_up: Vec<String>,
    /// On what Glance failed, so that it let everything pass. The rest is what it would have said.
    pub crash: Option<String>,
    /// The size of the disk where the end is that of a fixed VHD.
    pub fixed_vhd: Option<u64>,
}

impl Oracle {
    /// `None` where there is no Glance.
    pub(super) fn start() -> Option<Self> {
        let glance = env::directory("glance")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/env/glance/oracle.py");
        let mut child = Command::new(glance.join("bin/python3"))
            .arg("-Wignore")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, questions, answers })
    }

    pub(super) fn ask(&mut self, question: &Question) -> Answer {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let edits = question.edits.iter().map(|(at, new)| json!([at, hex(new)]));
        let line = json!({
            "base": question.base, "edits": edits.collect::<Vec<_>>(), "length": question.length,
            "container": question.container, "disk": question.disk,
            "require": question.require, "nonfatal": question.nonfatal,
        });
        writeln!(self.questions, "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "the oracle has ended on {question:?}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        let list = |name: &str| -> Vec<String> {
            let words = answer[name].as_array().unwrap().iter();
            words.map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        Answer {
            refused: text("refused"),
            virtual_size: text("virtual_size").map(|number| number.parse().unwrap()),
            safety: text("safety").unwrap(),
            formats: list("formats"),
            dangers: list("dangers"),
            gave_up: list("gave_up"),
            crash: text("crash"),
            fixed_vhd: text("fixed_vhd").map(|number| number.parse().unwrap()),
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
