//! `external_command`: a program of the operator's that looks at images on their way in (`PI-01`).
//!
//! It is run as every program of others is ([`super::child`]), reads one JSON record and answers
//! with one verdict:
//!
//! ```text
//! {"version": 1,
//!  "image": {"id", "name", "owner", "visibility", "disk_format", "container_format", "min_disk",
//!            "min_ram", "tags", "properties"},
//!  "data": {"path", "size", "checksum", "os_hash_algo", "os_hash_value", "formats", "dangers"}}
//!
//! {"verdict": "accept" | "refuse", "reason": "for the user",
//!  "properties": {"name": "text" | null}}
//! ```
//!
//! Only a verdict with exit status 0 is one. Whatever else happens is a failure of the check, and
//! an image that nobody has judged is not taken. The command acts as an administrator where
//! properties are protected, so that it may set what users may not forge. It has no business with
//! the data: its file must be the same one afterwards, not written to. If it is not, it is removed,
//! because what is known of it is not true any more.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::child::{self, Bounds, Ran};
use super::plugin::{Material, Plugin};
use crate::auth::{Enforcer, Identity, Operation, PropertyRules};
use crate::config::ExternalCommand as Options;
use crate::image::{Image, property};
use crate::limits::{EXTERNAL_COMMAND_WRITTEN_BYTES, EXTERNAL_REASON_CHARS_MAX};
use crate::meta::ImageChange;
use crate::upload::Arrived;

/// What users are told of whatever the operator has to see to.
const FAILED: &str = "The check of the image failed; ask the operator of the service";

/// The plugin.
#[derive(Debug)]
pub(super) struct ExternalCommand {
    pub(super) options: Options,
    pub(super) property_rules: Arc<PropertyRules>,
    pub(super) enforcer: Arc<Enforcer>,
    /// `image_property_quota`.
    pub(super) properties_max: Option<u64>,
}

/// What the command answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    verdict: Verdict,
    reason: Option<String>,
    #[serde(default)]
    properties: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Accept,
    Refuse,
}

/// A file as it lies: whoever writes to it, replaces it or changes its mode changes one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Imprint([u64; 3], [i64; 4]);

impl Imprint {
    fn of(path: &Path) -> io::Result<Self> {
        let found = path.symlink_metadata()?;
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        Ok(Self([found.dev(), found.ino(), found.len()], times))
    }
}

impl ExternalCommand {
    async fn ask(&self, material: &Material, path: &Path) -> Result<Answer, String> {
        let Options { path: program, arguments, timeout, memory_bytes } = &self.options;
        let bounds = Bounds {
            cpu_secs: 2 * timeout.as_secs(),
            memory_bytes: *memory_bytes,
            written_bytes: EXTERNAL_COMMAND_WRITTEN_BYTES,
            wait: *timeout,
        };
        let record = record(material, path).to_string();
        let ran = child::run(program, arguments, record.as_bytes(), bounds, &material.watch).await;
        let Ran { status, printed, complaints } = ran.map_err(|error| {
            tracing::error!(program = %program.display(), %error, "the external command failed");
            FAILED.to_owned()
        })?;
        let complaints = String::from_utf8_lossy(&complaints);
        if !status.success() {
            let program = program.display();
            tracing::error!(%program, %status, %complaints, "the external command failed");
            return Err(FAILED.to_owned());
        }
        if !complaints.is_empty() {
            tracing::info!(%complaints, "the external command says");
        }
        serde_json::from_slice(&printed).map_err(|error| {
            tracing::error!(%error, "the external command has printed no verdict");
            FAILED.to_owned()
        })
    }

    /// What becomes of the properties, if the command may have it so. The error is for the log.
    fn change(
        &self,
        material: &Material,
        wanted: Map<String, Value>,
    ) -> Result<ImageChange, String> {
        let mut change = material.change.clone();
        for (name, value) in wanted {
            check_name(&name)?;
            self.check_protection(&material.image, &name, &value)?;
            match value {
                Value::Null => {
                    change.set.remove(&name);
                    change.dropped.insert(name);
                }
                Value::String(text) => {
                    check_value(&name, &text)?;
                    change.dropped.remove(&name);
                    change.set.insert(name, text);
                }
                _ => return Err(format!("property {name}: give a text or null")),
            }
        }
        let mut after = material.image.properties.clone();
        after.retain(|name, _| !change.dropped.contains(name));
        after.extend(change.set.clone());
        let count = after.keys().filter(|name| !property::is_the_services(name)).count();
        match self.properties_max {
            Some(most) if count as u64 > most => {
                Err(format!("{count} properties are more than image_property_quota, {most}"))
            }
            _ => Ok(change),
        }
    }

    fn check_protection(&self, image: &Image, name: &str, value: &Value) -> Result<(), String> {
        let operation = match (image.properties.contains_key(name), value) {
            (_, Value::Null) => Operation::Delete,
            (true, _) => Operation::Update,
            (false, _) => Operation::Create,
        };
        let caller = Identity::unauthenticated();
        match self.property_rules.allows(name, operation, &caller, &self.enforcer) {
            true => Ok(()),
            false => Err(format!(
                "property {name}: property_protection_file lets no administrator do this \
                 ({operation:?})"
            )),
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if property::is_reserved(name) {
        return Err(format!("property {name}: the name is reserved"));
    }
    match property::can_be_named(name) {
        true => Ok(()),
        false => Err(format!("property {name}: no name for a property")),
    }
}

fn check_value(name: &str, text: &str) -> Result<(), String> {
    match property::can_hold(text) {
        true => Ok(()),
        false => Err(format!("property {name}: its value is too long or has 4 byte letters")),
    }
}

/// A reason as it may be shown.
fn reason(text: Option<&str>) -> String {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    let shown = |letter: char| match letter.is_control() || letter.len_utf8() > 3 {
        true => ' ',
        false => letter,
    };
    let text = text.unwrap_or("The image is refused");
    text.chars().take(EXTERNAL_REASON_CHARS_MAX).map(shown).collect()
}

/// What the command reads.
fn record(material: &Material, path: &Path) -> Value {
    let Material { image, known, .. } = material;
    let size = material.staged.as_ref().map(|staged| staged.size);
    let is_open = |name: &&String| !property::is_the_services(name);
    let mut properties: Map<String, Value> = Map::new();
    for name in image.properties.keys().filter(is_open) {
        properties.insert(name.clone(), image.properties[name].clone().into());
    }
    for name in material.change.set.keys().filter(is_open) {
        properties.insert(name.clone(), material.change.set[name].clone().into());
    }
    let digests = known.as_ref().map(|known| &known.digests);
    let finding = known.as_ref().and_then(|Arrived { passed, .. }| passed.finding.as_ref());
    json!({
        "version": 1,
        "image": {
            "id": image.id.as_str(),
            "name": image.name,
            "owner": image.owner,
            "visibility": image.visibility.as_str(),
            "disk_format": material.disk_format(),
            "container_format": material.container_format(),
            "min_disk": image.min_disk,
            "min_ram": image.min_ram,
            "tags": image.tags,
            "properties": properties,
        },
        "data": {
            "path": path,
            "size": size,
            "checksum": digests.map(|digests| &digests.checksum),
            "os_hash_algo": digests.map(|digests| digests.os_hash_algo.name()),
            "os_hash_value": digests.map(|digests| &digests.os_hash_value),
            "formats": finding.map(|finding| &finding.formats),
            "dangers": finding.map(|finding| &finding.dangers),
        },
    })
}

#[async_trait]
impl Plugin for ExternalCommand {
    fn name(&self) -> &'static str {
        "external_command"
    }

    fn needs_file(&self) -> bool {
        true
    }

    async fn run(&self, material: &mut Material) -> Result<(), String> {
        let staged = material.file()?;
        let before = imprint(&staged.path).await?;
        let answer = self.ask(material, &staged.path).await;
        if imprint(&staged.path).await.ok() != Some(before) {
            discard(&staged.path).await;
            return Err(lost(material, &staged.path));
        }
        let Answer { verdict, reason: why, properties } = answer?;
        if verdict == Verdict::Refuse {
            return Err(reason(why.as_deref()));
        }
        material.change = self.change(material, properties).map_err(|error| {
            tracing::error!(error, "the external command wants what it may not have");
            FAILED.to_owned()
        })?;
        Ok(())
    }
}

/// Removes data that is not what was noted of it any more.
async fn discard(path: &Path) {
    let shown = path.display();
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::error!(
            path = %shown, %error, "the external command has changed image data; remove it by hand"
        ),
        _ => {
            tracing::error!(path = %shown, "the external command has changed image data; it is removed");
        }
    }
}

/// What is left to do for whoever asked for the import: the data itself is lost only where it was
/// staged, and not where the file was made of it (it has an extension then).
fn lost(material: &Material, path: &Path) -> String {
    match material.was_staged && path.extension().is_none() {
        true => format!("{FAILED}, and stage the data in a new image"),
        false => format!("{FAILED}, and import the image again"),
    }
}

async fn imprint(path: &Path) -> Result<Imprint, String> {
    let path = path.to_owned();
    let looked = tokio::task::spawn_blocking(move || Imprint::of(&path)).await;
    looked.map_err(io::Error::other).and_then(|looked| looked).map_err(|error| {
        tracing::error!(%error, "staged data can't be looked at");
        "The staged data can't be read; try again later".to_owned()
    })
}

/// Whether a command can be run and is nobody else's to change. The error says what to do.
pub(super) fn check(options: &Options) -> Result<(), String> {
    let shown = options.path.display();
    let found = options.path.metadata();
    let found = found.map_err(|error| format!("{shown} can't be looked at ({error})"))?;
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        return Err(format!("{shown} is no program; name an executable file"));
    }
    if rustix::fs::access(&options.path, rustix::fs::Access::EXEC_OK).is_err() {
        return Err(format!("{shown} may not be run by this user"));
    }
    for place in options.path.ancestors() {
        let mode = place.metadata().map_or(0, |found| found.permissions().mode());
        // In a sticky directory nobody replaces what is another's.
        let is_sticky = place != options.path && mode & 0o1000 != 0;
        if mode & 0o002 != 0 && !is_sticky {
            let place = place.display();
            return Err(format!("{shown}: everybody may write to {place}; chmod o-w it"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
