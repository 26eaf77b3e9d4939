//! Why policies can't be used.

use std::io;
use std::path::PathBuf;

use crate::client::ClientError;

/// Each names the file, and what the operator does about it.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file or directory can't be read.
    #[error("can't read {path}; let this user read it, or take it out of [oslo_policy]")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A file is no mapping of names to rules.
    #[error("{path}:{line}: {remedy}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// What to do.
        remedy: String,
    },
    /// A rule can't be read.
    #[error("{path}:{line}: rule {name}: {remedy}")]
    Rule {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// The rule.
        name: String,
        /// What to do.
        remedy: String,
    },
    /// A rule asks another server, and that can't be done with the options for it.
    #[error("[oslo_policy]: {0}")]
    Remote(#[source] ClientError),
    /// A rule that names one that names one, and so on.
    #[error("rule {name} leads through more than {maximum} others; write some of them out")]
    TooDeep {
        /// The rule.
        name: String,
        /// How many there may be.
        maximum: usize,
    },
    /// Rules that name each other in a circle, the first once more at the end.
    #[error("rules lead to themselves: {}; take one of them out", .0.join(" -> "))]
    Cycle(Vec<String>),
}
