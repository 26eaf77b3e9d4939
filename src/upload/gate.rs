//! The gate: every byte that is to become an image's data passes by here, on every path.
//!
//! It asks the inspector what comes in and compares that with what the record says (`FI-01` to
//! `FI-06`). Glance does the same after the last byte; this refuses as soon as it is certain, which
//! for most images is within their first 64 KiB. Whoever pours shows it each chunk and asks at the
//! end; it keeps nothing of a chunk.
//!
//! Where Glance is told to let pass what isn't what it is called (`require_image_format_match`), it
//! does so without looking for dangers; here only a partition table is forgiven then.

use crate::config::FormatRules;
use crate::inspect::{Danger, Format, Inspector, VirtualSize};

/// Why data is not taken, in Glance's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is of another format than the record says.
    #[error("Image disk_format {declared} does not match stream data {found}")]
    Mismatch {
        /// What the record says.
        declared: String,
        /// What came.
        found: Format,
    },
    /// It is of several formats at once.
    #[error("Multiple formats detected: {}", names(.0))]
    Several(Vec<Format>),
    /// It could harm who opens it.
    #[error("Image failed safety checks")]
    Dangerous(Vec<Danger>),
    /// It ends before it can be judged.
    #[error("Incomplete file cannot be safety checked")]
    Incomplete,
    /// Its size can't be read.
    #[error("Image format inspection failed")]
    Unreadable,
}

/// What data of one image has to be, and what has been seen of it. Images that are something else
/// than bare disks pass unseen.
#[derive(Debug)]
pub struct Gate(Option<Watch>);

#[derive(Debug)]
struct Watch {
    inspector: Inspector,
    declared: String,
    rules: FormatRules,
    /// How what was found fits, once it is known.
    fit: Option<Fit>,
    dangers_judged: usize,
}

/// How what was found fits to what the record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Same,
    /// Nothing was recognised, and the format is none that could be.
    Opaque,
    /// Something was recognised in what is only called raw.
    CalledRaw,
    /// It doesn't, which has been forgiven.
    Not,
}

impl Gate {
    /// A gate for an image of these formats.
    #[must_use]
    pub fn new(container: Option<&str>, disk: Option<&str>, rules: &FormatRules) -> Self {
        let declared = disk.filter(|_| container == Some("bare"));
        Self(declared.map(|declared| Watch {
            inspector: Inspector::new(&rules.vmdk_allowed_types),
            declared: declared.to_owned(),
            rules: rules.clone(),
            fit: None,
            dangers_judged: 0,
        }))
    }

    /// A gate that nothing is refused at, for bytes that are looked at later.
    #[must_use]
    pub fn open() -> Self {
        Self(None)
    }

    /// Memory that is held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |watch| watch.inspector.held_bytes())
    }

    /// Looks at what comes next.
    ///
    /// # Errors
    /// The refusal, as soon as it is certain.
    pub fn see(&mut self, chunk: &[u8]) -> Result<(), Unfit> {
        match &mut self.0 {
            Some(watch) => watch.see(chunk),
            None => Ok(()),
        }
    }

    /// All has come. Answers the virtual size, where there is one.
    ///
    /// # Errors
    /// The refusal of what could only be judged now.
    pub fn end(&mut self) -> Result<Option<u64>, Unfit> {
        match &mut self.0 {
            Some(watch) => watch.end(),
            None => Ok(None),
        }
    }
}

impl Watch {
    fn see(&mut self, chunk: &[u8]) -> Result<(), Unfit> {
        self.inspector.feed(chunk);
        self.judge()
    }

    /// Judges what is new: the format once, each danger once.
    fn judge(&mut self) -> Result<(), Unfit> {
        let Some(formats) = self.inspector.formats() else {
            return Ok(());
        };
        let fit = match self.fit {
            Some(fit) => fit,
            None => self.fit(formats)?,
        };
        self.fit = Some(fit);
        let known = self.inspector.dangers();
        if known.len() > self.dangers_judged {
            self.dangers_judged = known.len();
            self.judge_dangers(fit)?;
        }
        Ok(())
    }

    fn fit(&self, formats: &[Format]) -> Result<Fit, Unfit> {
        let unfit = match *formats {
            [found] | [found @ Format::Iso, Format::Gpt] => {
                let declared = self.declared.as_str();
                match Format::parse(declared) {
                    Some(same) if same == found => return Ok(Fit::Same),
                    None if found == Format::Raw => return Ok(Fit::Opaque),
                    Some(Format::Raw) => return Ok(Fit::CalledRaw),
                    _ => Unfit::Mismatch { declared: declared.to_owned(), found },
                }
            }
            _ => Unfit::Several(formats.to_vec()),
        };
        match self.rules.requires_match {
            true => Err(unfit),
            false => {
                tracing::info!(reason = %unfit, "the format of the data is forgiven");
                Ok(Fit::Not)
            }
        }
    }

    fn judge_dangers(&self, fit: Fit) -> Result<(), Unfit> {
        let dangers = self.inspector.dangers();
        let is_forgiven = |danger: &Danger| {
            let nonfatal = &self.rules.gpt_checks_nonfatal;
            *danger == Danger::Mbr
                && (fit == Fit::Not || nonfatal.iter().any(|name| name == danger.name()))
        };
        let names: Vec<&str> = dangers.iter().map(|danger| danger.name()).collect();
        match dangers.iter().all(is_forgiven) {
            true => {
                tracing::info!(checks = ?names, "failed safety checks are forgiven");
                Ok(())
            }
            false => {
                tracing::info!(checks = ?names, "the data fails safety checks");
                Err(Unfit::Dangerous(dangers.to_vec()))
            }
        }
    }

    fn end(&mut self) -> Result<Option<u64>, Unfit> {
        let ending = self.inspector.finish();
        self.judge()?;
        let is_required = self.rules.requires_match;
        match (self.fit, ending.virtual_size) {
            (Some(Fit::Same), VirtualSize::Unreadable) if is_required => Err(Unfit::Unreadable),
            _ if is_required && !ending.is_whole => Err(Unfit::Incomplete),
            (Some(Fit::Same), VirtualSize::Bytes(bytes)) => Ok(Some(bytes)),
            (Some(Fit::CalledRaw), _) => Ok(Some(self.inspector.seen_bytes())),
            _ => Ok(None),
        }
    }
}

fn names(formats: &[Format]) -> String {
    formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
