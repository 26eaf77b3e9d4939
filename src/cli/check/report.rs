//! What `glissade check` prints. The names of the JSON document are an interface: fields may be
//! added, none is renamed.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use super::probes::{Outcome, Probe};
use crate::cli::serve::ServeError;
use crate::config::{Examined, Finding, Place, Why};

/// The whole document.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether a server would start.
    starts: bool,
    /// Why it would not.
    error: Option<String>,
    options: Vec<OptionLine>,
    probes: Vec<ProbeLine>,
    warnings: Vec<String>,
}

/// One assignment.
#[derive(Debug, Serialize)]
struct OptionLine {
    #[serde(flatten)]
    place: PlaceFields,
    section: String,
    key: String,
    standing: Standing,
    /// For `ignored`: retired, elsewhere, later, needless or superseded.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Where it stands.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum PlaceFields {
    Line { file: String, line: usize },
    Variable { variable: String },
}

impl PlaceFields {
    fn of(place: &Place) -> Self {
        let name = place.path.display().to_string();
        match place.line {
            0 => Self::Variable { variable: name },
            line => Self::Line { file: name, line },
        }
    }
}

impl fmt::Display for PlaceFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::Variable { variable } => f.write_str(variable),
        }
    }
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Honoured,
    Met,
    Ignored,
    Overridden,
    Unknown,
    Refused,
}

/// One thing that a server needs.
#[derive(Debug, Serialize)]
struct ProbeLine {
    name: String,
    outcome: &'static str,
    detail: String,
}

impl Report {
    pub(super) fn new(
        options: &[Examined],
        probes: &[Probe],
        warnings: &[String],
        error: Option<&ServeError>,
    ) -> Self {
        Self {
            starts: error.is_none(),
            error: error.map(ToString::to_string),
            options: options.iter().map(option_line).collect(),
            probes: probes.iter().map(ProbeLine::of).collect(),
            warnings: warnings.to_vec(),
        }
    }

    pub(super) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    pub(super) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        for option in &self.options {
            writeln!(out, "{option}")?;
        }
        for probe in &self.probes {
            writeln!(out, "{:<10} {}: {}", probe.outcome, probe.name, probe.detail)?;
        }
        let count = |standing| self.options.iter().filter(|o| o.standing == standing).count();
        let verdict = if self.starts { "would start" } else { "would not start" };
        writeln!(
            out,
            "{} options: {} honoured, {} as it is anyway, {} without effect, {} overridden, {} \
             unknown, {} refused; a server {verdict}",
            self.options.len(),
            count(Standing::Honoured),
            count(Standing::Met),
            count(Standing::Ignored),
            count(Standing::Overridden),
            count(Standing::Unknown),
            count(Standing::Refused),
        )
    }
}

fn option_line(examined: &Examined) -> OptionLine {
    let (standing, why, reason) = match &examined.finding {
        Finding::Honoured => (Standing::Honoured, None, None),
        Finding::Renamed(section, key) => {
            let reason = format!("an old name; write it as {key} in [{section}]");
            (Standing::Honoured, None, Some(reason))
        }
        Finding::Met => (Standing::Met, None, None),
        Finding::Ignored(why, reason) => {
            (Standing::Ignored, Some(word(*why)), Some((*reason).to_owned()))
        }
        Finding::Overridden(place) => (Standing::Overridden, None, Some(format!("by {place}"))),
        Finding::PutIn(reason) => (Standing::Honoured, None, Some(reason.clone())),
        Finding::Unknown(hint) => (Standing::Unknown, None, Some(hint.clone())),
        Finding::Refused(message) => (Standing::Refused, None, Some(message.clone())),
    };
    OptionLine {
        place: PlaceFields::of(&examined.place),
        section: examined.section.clone(),
        key: examined.key.clone(),
        standing,
        why,
        reason,
    }
}

fn word(why: Why) -> &'static str {
    match why {
        Why::Retired => "retired",
        Why::Elsewhere => "elsewhere",
        Why::Later => "later",
        Why::Needless => "needless",
        Why::Superseded => "superseded",
    }
}

impl fmt::Display for OptionLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, section, key, standing, reason, .. } = self;
        let word = match standing {
            Standing::Honoured => "honoured",
            Standing::Met => "anyway",
            Standing::Ignored => "ignored",
            Standing::Overridden => "overridden",
            Standing::Unknown => "unknown",
            Standing::Refused => "refused",
        };
        match (standing, reason) {
            // A refusal names its place itself.
            (Standing::Refused, Some(message)) => write!(f, "{word:<10} {message}"),
            (_, Some(reason)) => write!(f, "{word:<10} {place}: [{section}] {key}: {reason}"),
            (_, None) => write!(f, "{word:<10} {place}: [{section}] {key}"),
        }
    }
}

impl ProbeLine {
    fn of(probe: &Probe) -> Self {
        let (outcome, detail) = match &probe.outcome {
            Outcome::Fine(detail) => ("ok", detail.clone()),
            Outcome::Doubtful(detail) => ("doubtful", detail.clone()),
            Outcome::Failed(error) => ("failed", in_full(error)),
        };
        Self { name: probe.name.clone(), outcome, detail }
    }
}

/// An error with what stands behind it, for one line.
pub(super) fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
