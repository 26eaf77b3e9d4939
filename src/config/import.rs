//! Options of imports: how many run, what may be fetched, what is done to images on their way in.

use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::known;
use super::options::Options;
use super::value::{self, Parsed};
use crate::image::property;
use crate::limits;

/// Plugins by the names that `image_import_plugins` gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// Does nothing.
    NoOp,
    /// Sets properties.
    InjectImageMetadata,
    /// Makes the format that the operator wants.
    ImageConversion,
    /// Unpacks.
    ImageDecompression,
    /// Asks a program of the operator's.
    ExternalCommand,
}

impl Plugin {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        PLUGINS.iter().find(|(_, plugin)| *plugin == self).map_or("", |(name, _)| name)
    }
}

/// Every plugin by its name.
pub(super) const PLUGINS: [(&str, Plugin); 5] = [
    ("no_op", Plugin::NoOp),
    ("inject_image_metadata", Plugin::InjectImageMetadata),
    ("image_conversion", Plugin::ImageConversion),
    ("image_decompression", Plugin::ImageDecompression),
    ("external_command", Plugin::ExternalCommand),
];

/// A program of the operator's that looks at images on their way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalCommand {
    /// Where it is.
    pub path: PathBuf,
    /// What it is given.
    pub arguments: Vec<String>,
    /// `external_command_timeout_secs`.
    pub timeout: Duration,
    /// `external_command_memory_bytes`, for each of its processes.
    pub memory_bytes: u64,
}

/// Options of imports.
#[derive(Clone, Debug)]
pub struct Import {
    /// `[taskflow_executor] max_workers`: imports that run at the same time.
    pub workers: usize,
    /// `[task] task_time_to_live`: how long the record of a task stays after its end.
    pub task_life: Duration,
    /// `image_import_plugins`, in order.
    pub plugins: Vec<Plugin>,
    /// `[glissade] external_command`.
    pub external_command: Option<ExternalCommand>,
    /// `[image_conversion] output_format`.
    pub conversion_format: String,
    /// `[inject_metadata_properties] inject`, without names that are reserved.
    pub inject: Vec<(String, String)>,
    /// `[inject_metadata_properties] ignore_user_roles`.
    pub inject_ignored_roles: Vec<String>,
    /// `[glance_download_properties] extra_properties`: beginnings of names.
    pub download_properties: Vec<String>,
}

/// Reads the options.
///
/// # Errors
/// The first value that can't be used.
pub(super) fn import(options: &Options) -> Result<Import, ConfigError> {
    let hours: u64 = options.need_number(
        &known::TASK_TIME_TO_LIVE,
        value::number(0..=1_000_000, "a number of hours"),
    )?;
    Ok(Import {
        workers: options
            .need_number(&known::MAX_WORKERS, value::number(1..=1024, "a number of tasks"))?,
        task_life: Duration::from_secs(hours * 3600),
        plugins: options.need(&known::IMPORT_PLUGINS, plugins)?,
        external_command: external_command(options)?,
        conversion_format: options.need(&known::CONVERSION_FORMAT, conversion_format)?,
        inject: options.need(&known::INJECT, inject)?,
        inject_ignored_roles: options.need(&known::IGNORE_USER_ROLES, value::list)?,
        download_properties: options.need(&known::EXTRA_PROPERTIES, value::list)?,
    })
}

fn external_command(options: &Options) -> Result<Option<ExternalCommand>, ConfigError> {
    let Some((path, arguments)) = options.need(&known::EXTERNAL_COMMAND, command)? else {
        return Ok(None);
    };
    let secs = value::number(1..=86_400, "a number of seconds");
    let bytes = value::number(1 << 20..=1 << 46, "a number of bytes such as 4294967296");
    let secs = options.number(&known::EXTERNAL_COMMAND_TIMEOUT_SECS, secs)?;
    let memory_bytes = options.number(&known::EXTERNAL_COMMAND_MEMORY_BYTES, bytes)?;
    Ok(Some(ExternalCommand {
        path,
        arguments,
        timeout: secs.map_or(limits::EXTERNAL_COMMAND_WAIT, Duration::from_secs),
        memory_bytes: memory_bytes.unwrap_or(limits::EXTERNAL_COMMAND_MEMORY_BYTES),
    }))
}

/// What is set and has no effect is worth a warning: somebody believes that it has.
pub(super) fn warnings(options: &Options, import: &Import) -> Result<Vec<String>, ConfigError> {
    Ok(idle_command(import).into_iter().chain(reserved_names(options)?).collect())
}

/// Glance drops the service's own names, with a line in its log at every import, and hides
/// properties that are called like an attribute; so both are told, once, and not set.
fn reserved_names(options: &Options) -> Result<Option<String>, ConfigError> {
    let Some(found) = options.find(&known::INJECT)? else { return Ok(None) };
    let mut names: Vec<_> = found.parse(pairs)?.into_iter().map(|(name, _)| name).collect();
    names.retain(|name| property::is_reserved(name));
    Ok((!names.is_empty()).then(|| {
        let (at, names) = (found.at(), names.join(", "));
        format!("{at}: not set on images: {names}: these names are the service's; take them out")
    }))
}

fn idle_command(import: &Import) -> Option<String> {
    let is_idle =
        import.external_command.is_some() && !import.plugins.contains(&Plugin::ExternalCommand);
    is_idle.then(|| {
        "[glissade] external_command: never run; name external_command in image_import_plugins"
            .to_owned()
    })
}

/// Properties that every database takes.
fn pairs(text: &str) -> Parsed<Vec<(String, String)>> {
    let pairs = value::dict(text)?;
    for (name, text) in &pairs {
        if !property::can_be_named(name) {
            return Err(format!("{name} can be no name; give up to 255 letters of up to 3 bytes"));
        }
        if !property::can_hold(text) {
            return Err(format!(
                "{name} has a value that databases refuse; give up to 65535 bytes \
                                in letters of up to 3"
            ));
        }
    }
    Ok(pairs)
}

/// Those that may be set.
fn inject(text: &str) -> Parsed<Vec<(String, String)>> {
    let mut pairs = pairs(text)?;
    pairs.retain(|(name, _)| !property::is_reserved(name));
    Ok(pairs)
}

/// A program by its absolute path, and arguments between blanks. There is no shell, hence nothing
/// to quote.
fn command(text: &str) -> Parsed<Option<(PathBuf, Vec<String>)>> {
    let mut words = text.split_ascii_whitespace().map(str::to_owned);
    match words.next() {
        None => Ok(None),
        Some(path) if path.starts_with('/') => Ok(Some((path.into(), words.collect()))),
        Some(_) => Err("give the absolute path of a program, and its arguments".to_owned()),
    }
}

/// Formats that images are converted to.
fn conversion_format(text: &str) -> Parsed<String> {
    let format = text.trim().to_ascii_lowercase();
    match ["qcow2", "raw", "vmdk"].contains(&format.as_str()) {
        true => Ok(format),
        false => Err("give qcow2, raw or vmdk".to_owned()),
    }
}

/// A site's own plugin may be a virus scanner, and skipping that in silence is worse than not
/// starting (`CF-17`).
fn plugins(text: &str) -> Parsed<Vec<Plugin>> {
    let known = |name: &String| {
        let plugin = PLUGINS.iter().find(|(known, _)| known == name).map(|(_, plugin)| *plugin);
        plugin.ok_or_else(|| {
            format!(
                "{name} is no plugin of this server, which has {}; take it out, or let glance-api \
                 keep serving imports beside this server",
                PLUGINS.map(|(name, _)| name).join(", ")
            )
        })
    };
    value::list(text)?.iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pi_01_a_command_is_a_path_with_arguments() {
        let parsed = command(" /opt/scan --fast  a\tb").map_err(|_| ());
        let words = ["--fast", "a", "b"].map(str::to_owned).to_vec();
        assert_eq!(parsed, Ok(Some((PathBuf::from("/opt/scan"), words))));
        assert_eq!(command(" "), Ok(None));
        assert!(command("scan").is_err() && command("./scan").is_err());
    }

    #[test]
    fn cf_19_reserved_names_are_not_injected_and_told() {
        let text = "[inject_metadata_properties]\ninject = a:1,os_glance_x:2,owner:me,\"b\":3\n";
        let options = Options::of(&[text]).unwrap();
        let read = import(&options).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read.inject, [pair("a", "1"), pair("b", "3")]);
        let told = "0.conf:2: [inject_metadata_properties] inject: not set on images: \
                    os_glance_x, owner: these names are the service's; take them out";
        assert_eq!(warnings(&options, &read).unwrap(), [told]);
        let none = Options::default();
        assert!(warnings(&none, &import(&none).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn cf_19_what_no_import_could_record_is_refused() {
        let long = "n".repeat(256);
        for text in ["a:1,a:2", "a", ":1", &format!("{long}:1"), "a:\u{1f600}"] {
            assert!(inject(text).is_err(), "{text}");
        }
        assert!(inject(&format!("{}:1", &long[1..])).is_ok());
    }

    #[test]
    fn cf_17_plugins_keep_their_order_and_unknown_ones_are_refused() {
        let both = plugins("[inject_image_metadata, no_op]").map_err(|_| ());
        assert_eq!(both, Ok(vec![Plugin::InjectImageMetadata, Plugin::NoOp]));
        assert!(plugins("no_op,acme_scanner").is_err_and(|why| why.starts_with("acme_scanner is")));
    }
}
