//! The gate: every byte that is to become an image's data passes by here, on every path.
//!
//! It asks the inspector what comes in and compares that with what the record says (`FI-01` to
//! `FI-06`). Glance does the same after the last byte; this refuses as soon as it is certain, which
//! for most images is within their first 64 KiB. Whoever pours shows it each chunk and asks at the
//! end; it keeps nothing of a chunk. Data that is staged has no name yet: what it is, is noted then,
//! and judged by its import without being read again.
//!
//! Where Glance is told to let pass what isn't what it is called (`require_image_format_match`), it
//! does so without looking for dangers; here only a partition table is forgiven then.

use crate::config::FormatRules;
use crate::inspect::{Danger, Finding, Format, Inspector, VirtualSize};

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

/// What data of one image has to be, and what has been seen of it.
#[derive(Debug)]
pub struct Gate(Kind);

#[derive(Debug)]
enum Kind {
    /// Images that are something else than bare disks pass unseen.
    Open,
    /// Data without a name yet: what it is, is noted.
    Noting(Inspector),
    Watching(Inspector, Judge),
}

/// Compares what is found with what the record says.
#[derive(Debug)]
struct Judge {
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
    /// The end may show that it does.
    PerhapsFixedVhd(Format),
    /// The end has shown it.
    FixedVhd,
    /// It doesn't, which has been forgiven.
    Not,
}

impl Gate {
    /// A gate for an image of these formats.
    #[must_use]
    pub fn new(container: Option<&str>, disk: Option<&str>, rules: &FormatRules) -> Self {
        match disk.filter(|_| container == Some("bare")) {
            Some(declared) => {
                Self(Kind::Watching(inspector(rules), Judge::new(declared.to_owned(), rules)))
            }
            None => Self(Kind::Open),
        }
    }

    /// A gate at which nothing is refused, for data that is staged before its image has to have a
    /// format: what it is, is noted, so that nobody has to read it again ([`Gate::judge`]).
    #[must_use]
    pub fn noting(rules: &FormatRules) -> Self {
        Self(Kind::Noting(inspector(rules)))
    }

    /// A gate that nothing is refused at.
    #[cfg(test)]
    pub(crate) fn open() -> Self {
        Self(Kind::Open)
    }

    /// Memory that is held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.0 {
            Kind::Open => 0,
            Kind::Noting(inspector) | Kind::Watching(inspector, _) => inspector.held_bytes(),
        }
    }

    /// Looks at what comes next.
    ///
    /// # Errors
    /// The refusal, as soon as it is certain.
    pub fn see(&mut self, chunk: &[u8]) -> Result<(), Unfit> {
        match &mut self.0 {
            Kind::Open => Ok(()),
            Kind::Noting(inspector) => {
                inspector.feed(chunk);
                Ok(())
            }
            Kind::Watching(inspector, judge) => {
                inspector.feed(chunk);
                match inspector.formats() {
                    Some(formats) => judge.judge(formats, inspector.dangers()),
                    None => Ok(()),
                }
            }
        }
    }

    /// All has come.
    ///
    /// # Errors
    /// The refusal of what could only be judged now.
    pub fn end(self) -> Result<Passed, Unfit> {
        match self.0 {
            Kind::Open => Ok(Passed::default()),
            Kind::Noting(mut inspector) => {
                Ok(Passed { virtual_size: None, finding: Some(inspector.finding()) })
            }
            Kind::Watching(mut inspector, judge) => {
                Ok(Passed { virtual_size: judge.judge_all(&inspector.finding())?, finding: None })
            }
        }
    }

    /// Judges data that has been noted before, as if it passed here. Answers the virtual size,
    /// where there is one.
    ///
    /// # Errors
    /// The refusal.
    pub fn judge(self, finding: &Finding) -> Result<Option<u64>, Unfit> {
        match self.0 {
            Kind::Open | Kind::Noting(_) => Ok(None),
            Kind::Watching(_, judge) => judge.judge_all(finding),
        }
    }
}

/// What there is to say of data that was not refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// How many bytes a guest will see, where that is known.
    pub virtual_size: Option<u64>,
    /// What was noted, where the gate was one for noting.
    pub finding: Option<Finding>,
}

fn inspector(rules: &FormatRules) -> Inspector {
    Inspector::new(&rules.vmdk_allowed_types)
}

impl Judge {
    fn new(declared: String, rules: &FormatRules) -> Self {
        Self { declared, rules: rules.clone(), fit: None, dangers_judged: 0 }
    }

    /// Judges what is new: the format once, each danger once.
    fn judge(&mut self, formats: &[Format], dangers: &[Danger]) -> Result<(), Unfit> {
        let fit = match self.fit {
            Some(fit) => fit,
            None => self.fit(formats)?,
        };
        self.fit = Some(fit);
        // Where a name that does not fit is forgiven, so may dangers be.
        let waits = matches!(fit, Fit::PerhapsFixedVhd(_)) && !self.rules.requires_match;
        if dangers.len() > self.dangers_judged && !waits {
            self.dangers_judged = dangers.len();
            self.judge_dangers(fit, dangers)?;
        }
        Ok(())
    }

    fn fit(&self, formats: &[Format]) -> Result<Fit, Unfit> {
        let unfit = match *formats {
            // Glance takes a disk that boots from both as an ISO, and refuses it as a raw disk.
            [Format::Iso, Format::Gpt] if self.declared == "raw" => {
                Unfit::Several(formats.to_vec())
            }
            [found] | [found @ Format::Iso, Format::Gpt] => {
                let declared = self.declared.as_str();
                match Format::parse(declared) {
                    Some(same) if same == found => return Ok(Fit::Same),
                    None if found == Format::Raw => return Ok(Fit::Opaque),
                    Some(Format::Raw) => return Ok(Fit::CalledRaw),
                    Some(Format::Vhd)
                        if self.rules.takes_fixed_vhd
                            && [Format::Raw, Format::Gpt].contains(&found) =>
                    {
                        return Ok(Fit::PerhapsFixedVhd(found));
                    }
                    _ => Unfit::Mismatch { declared: declared.to_owned(), found },
                }
            }
            _ => Unfit::Several(formats.to_vec()),
        };
        self.forgive(unfit)
    }

    /// What does not fit passes where the operator wants that.
    fn forgive(&self, unfit: Unfit) -> Result<Fit, Unfit> {
        match self.rules.requires_match {
            true => Err(unfit),
            false => {
                tracing::info!(reason = %unfit, "the format of the data is forgiven");
                Ok(Fit::Not)
            }
        }
    }

    fn judge_dangers(&self, fit: Fit, dangers: &[Danger]) -> Result<(), Unfit> {
        let is_forgiven = |danger: &Danger| {
            let nonfatal = &self.rules.gpt_checks_nonfatal;
            (*danger == Danger::ExtendedL2 && self.rules.takes_extended_l2)
                || *danger == Danger::Mbr
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

    /// The judgement of all that was found, and the virtual size, where there is one.
    fn judge_all(mut self, finding: &Finding) -> Result<Option<u64>, Unfit> {
        self.judge(&finding.formats, &finding.dangers)?;
        if let Some(Fit::PerhapsFixedVhd(found)) = self.fit {
            let declared = self.declared.clone();
            self.fit = Some(match finding.fixed_vhd_bytes {
                Some(_) => Fit::FixedVhd,
                None => self.forgive(Unfit::Mismatch { declared, found })?,
            });
            self.judge(&finding.formats, &finding.dangers)?;
        }
        let is_required = self.rules.requires_match;
        match (self.fit, finding.ending.virtual_size) {
            (Some(Fit::Same), VirtualSize::Unreadable) if is_required => Err(Unfit::Unreadable),
            _ if is_required && !finding.ending.is_whole => Err(Unfit::Incomplete),
            (Some(Fit::Same), VirtualSize::Bytes(bytes)) => Ok(Some(bytes)),
            (Some(Fit::CalledRaw), _) => Ok(Some(finding.seen_bytes)),
            (Some(Fit::FixedVhd), _) => Ok(finding.fixed_vhd_bytes),
            _ => Ok(None),
        }
    }
}

fn names(formats: &[Format]) -> String {
    formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
