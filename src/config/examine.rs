//! What becomes of every option that the operator has set, for `glissade check`.
//!
//! Loading ends at the first refusal, as a server must. To find the others, the refused assignment
//! is taken out and the rest is loaded again, until it loads or something is missing.

use super::error::{ConfigError, Place};
use super::file::Entry;
use super::ignored::Why;
use super::known::{self, ENABLED_BACKENDS, HONOURED, Standing};
use super::load::configured;
use super::options::Options;
use super::sections::Sections;
use super::stores::DATADIRS;
use super::{Settings, Sources, load};

/// A configuration, taken apart.
#[derive(Debug)]
pub struct Examination {
    /// Every assignment, in the order read; empty where a file can't be read.
    pub options: Vec<Examined>,
    /// What a server would be given.
    pub loaded: Result<Settings, ConfigError>,
}

/// An assignment and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// Where it stands.
    pub place: Place,
    /// Its section.
    pub section: String,
    /// Its name.
    pub key: String,
    /// What becomes of it.
    pub finding: Finding,
}

/// What becomes of an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It has its effect.
    Honoured,
    /// It has its effect, under a name that should be replaced by this one.
    Renamed(&'static str, &'static str),
    /// It has no effect, and its value asks for what happens anyway.
    Met,
    /// It has no effect.
    Ignored(Why, &'static str),
    /// A later one counts.
    Overridden(Place),
    /// It is no option, and stands for its value in others, which are named.
    PutIn(String),
    /// Nobody knows it; what may be meant.
    Unknown(String),
    /// A server does not start with it.
    Refused(String),
}

/// Takes the configuration apart that [`load()`] would read.
#[must_use]
pub fn examine(sources: &Sources) -> Examination {
    let loaded = load(sources);
    let options = load::options(sources).unwrap_or_default();
    let refusals = loaded.as_ref().err().map_or_else(Vec::new, |_| refusals(sources, &options));
    Examination { options: findings(&options, &refusals), loaded }
}

/// Every refusal that can be found, with its place.
fn refusals(sources: &Sources, options: &Options) -> Vec<(Place, String)> {
    let mut found = Vec::new();
    let mut options = options.clone();
    while let Err(ConfigError::Option(refusal)) = configured(sources, &options) {
        let message = refusal.to_string();
        let Some(place) = refusal.place else { break };
        let fewer = options.clone().without(&place);
        if fewer.entries().len() == options.entries().len() {
            // It stands in a pipeline's file.
            break;
        }
        options = fewer;
        found.push((place, message));
        if (refusal.section.as_str(), refusal.key.as_str())
            == (ENABLED_BACKENDS.section, ENABLED_BACKENDS.key)
        {
            // Without it the rest would mean something else.
            break;
        }
    }
    found
}

fn findings(options: &Options, refusals: &[(Place, String)]) -> Vec<Examined> {
    let sections = Sections::of(options);
    let finding = |entry: &Entry| {
        let refusal = refusals.iter().find(|(place, _)| *place == entry.place);
        match (refusal, overridden_at(options, entry)) {
            (Some((_, message)), _) => Finding::Refused(message.clone()),
            (None, Some(place)) => Finding::Overridden(place),
            (None, None) => standing(entry, &sections),
        }
    };
    let examined = |entry: Entry| Examined {
        finding: finding(&entry),
        place: entry.place,
        section: entry.section,
        key: entry.key,
    };
    options.entries().into_iter().map(examined).collect()
}

/// Where the assignment stands that counts in place of this one.
fn overridden_at(options: &Options, entry: &Entry) -> Option<Place> {
    if entry.key == DATADIRS {
        return None;
    }
    let own = (entry.section.as_str(), entry.key.as_str());
    let opt =
        HONOURED.iter().find(|opt| (opt.section, opt.key) == own || opt.formerly.contains(&own));
    let names: Vec<_> = match opt {
        Some(opt) => {
            std::iter::once((opt.section, opt.key)).chain(opt.formerly.iter().copied()).collect()
        }
        None => vec![own],
    };
    let newest = options.newest(&names)?;
    (newest.place != entry.place).then(|| newest.place.clone())
}

fn standing(entry: &Entry, sections: &Sections) -> Finding {
    match known::standing(entry, sections) {
        Standing::Honoured => Finding::Honoured,
        Standing::Renamed(opt) => Finding::Renamed(opt.section, opt.key),
        Standing::Ignored(ignored) if ignored.is_met_by(&entry.value) => Finding::Met,
        Standing::Ignored(ignored) => Finding::Ignored(ignored.why, ignored.reason),
        Standing::NoStore => Finding::Ignored(Why::Needless, known::NO_STORE),
        Standing::Unknown => match sections.put_in(entry) {
            Some(user) => Finding::PutIn(known::put_in(entry, user)),
            None => Finding::Unknown(known::unknown(entry)),
        },
    }
}

#[cfg(test)]
mod tests;
