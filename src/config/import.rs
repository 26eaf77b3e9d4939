//! Options of imports: how many run, what may be fetched, what is done to images on their way in.

use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::known;
use super::options::Options;
use super::value::{self, Parsed};
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
    /// `[inject_metadata_properties] inject`.
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
        inject: options.need(&known::INJECT, value::dict)?,
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

/// A command that is set and never run is worth a warning: somebody believes that images are looked
/// at.
pub(super) fn warnings(import: &Import) -> Option<String> {
    let is_idle =
        import.external_command.is_some() && !import.plugins.contains(&Plugin::ExternalCommand);
    is_idle.then(|| {
        "[glissade] external_command: never run; name external_command in image_import_plugins"
            .to_owned()
    })
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
    fn cf_17_plugins_keep_their_order_and_unknown_ones_are_refused() {
        let both = plugins("[inject_image_metadata, no_op]").map_err(|_| ());
        assert_eq!(both, Ok(vec![Plugin::InjectImageMetadata, Plugin::NoOp]));
        assert!(plugins("no_op,acme_scanner").is_err_and(|why| why.starts_with("acme_scanner is")));
    }
}
