//! What an operator has done to images on their way in: one step after another, in the order of
//! `image_import_plugins`, each with its own way back (`PI-01`).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::conversion::ImageConversion;
use super::decompression::ImageDecompression;
use super::external::{self, ExternalCommand};
use super::run::Watch;
use crate::auth::{Enforcer, PropertyRules};
use crate::config::{self, Settings};
use crate::image::Image;
use crate::meta::ImageChange;
use crate::store::file::FileStore;
use crate::store::{Registry, Staged};
use crate::upload::{Arrived, Uploads};

/// What a plugin works on, and what it has made of it.
#[derive(Clone, Debug)]
pub struct Material {
    /// The image as it is recorded.
    pub image: Image,
    /// Its data, where a plugin needs a file. A plugin that makes another file puts it beside this
    /// one (`FileStore::beside`) and names it here; the original stays for the next try.
    pub staged: Option<Staged>,
    /// A client has staged the data. What was fetched is fetched anew by the next import.
    pub was_staged: bool,
    /// What is known of the data; a plugin that changes the data forgets it.
    pub known: Option<Arrived>,
    /// What becomes of the record with the import: properties set, formats changed.
    pub change: ImageChange,
    /// Roles of the user who asked for the import.
    pub roles: Vec<String>,
    /// Whether the import is to end.
    pub watch: Arc<Watch>,
}

impl Material {
    /// The file. The error is a sentence for whoever asked for the import.
    pub(super) fn file(&self) -> Result<Staged, String> {
        self.staged.clone().ok_or_else(|| "There is no file".to_owned())
    }

    /// What the data is called, as the import will leave the record.
    #[must_use]
    pub fn disk_format(&self) -> Option<&str> {
        self.change.disk_format.as_deref().or(self.image.disk_format.as_deref())
    }

    /// What it is wrapped in, likewise.
    #[must_use]
    pub fn container_format(&self) -> Option<&str> {
        self.change.container_format.as_deref().or(self.image.container_format.as_deref())
    }
}

/// What plugins of a server work with.
#[derive(Clone, Debug)]
pub struct Tools {
    /// How bytes move, and who may have how many.
    pub uploads: Arc<Uploads>,
    /// Where data is staged.
    pub stores: Arc<Registry>,
    /// Who may do what.
    pub enforcer: Arc<Enforcer>,
    /// And to which properties.
    pub property_rules: Arc<PropertyRules>,
}

impl Tools {
    /// The staging area. The error is a sentence for whoever asked for the import.
    pub(super) fn staging(&self) -> Result<&FileStore, String> {
        self.stores.staging().ok_or_else(|| "This server stages nothing".to_owned())
    }
}

/// One step.
#[async_trait]
pub trait Plugin: Send + Sync + fmt::Debug {
    /// Its name in `image_import_plugins`.
    fn name(&self) -> &'static str;

    /// Whether it reads the data, which then has to be a file.
    fn needs_file(&self) -> bool {
        false
    }

    /// Does it. The error is a sentence for whoever asked for the import.
    async fn run(&self, material: &mut Material) -> Result<(), String>;

    /// Removes what it has made, because it or a later step has failed.
    async fn revert(&self, _material: &Material) {}
}

/// A configured plugin that can't do its work.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The command is not there, or can't be trusted.
    #[error("[glissade] external_command: {0}")]
    ExternalCommand(String),
    /// It is not said which command.
    #[error(
        "image_import_plugins: external_command needs the path of a program; set external_command \
         in [glissade], or take it out"
    )]
    NoCommand,
}

/// The plugins of a server, in order.
#[derive(Clone, Debug, Default)]
pub struct Plugins(Vec<Arc<dyn Plugin>>);

impl Plugins {
    /// Those that the configuration names. [`Plugins::check`] looks at them first, before anything
    /// else is begun.
    ///
    /// # Errors
    /// [`PluginError`]: skipping one in silence would be worse than not starting (`CF-17`).
    pub fn new(settings: &Settings, tools: &Tools) -> Result<Self, PluginError> {
        let options = &settings.import;
        let plugin = |plugin: &config::Plugin| -> Result<Arc<dyn Plugin>, PluginError> {
            match plugin {
                config::Plugin::NoOp => Ok(Arc::new(NoOp)),
                config::Plugin::InjectImageMetadata => Ok(Arc::new(InjectImageMetadata {
                    properties: options.inject.clone(),
                    ignored_roles: options.inject_ignored_roles.clone(),
                })),
                config::Plugin::ImageConversion => {
                    Ok(Arc::new(ImageConversion::new(settings, tools.clone())))
                }
                config::Plugin::ImageDecompression => {
                    Ok(Arc::new(ImageDecompression::new(tools.clone())))
                }
                config::Plugin::ExternalCommand => Ok(Arc::new(ExternalCommand {
                    options: options.external_command.clone().ok_or(PluginError::NoCommand)?,
                    property_rules: Arc::clone(&tools.property_rules),
                    enforcer: Arc::clone(&tools.enforcer),
                    properties_max: settings.api.image_property_quota,
                })),
            }
        };
        Ok(Self(options.plugins.iter().map(plugin).collect::<Result<_, _>>()?))
    }

    /// Whether those that the configuration names can do their work, as far as can be seen before
    /// there is any.
    ///
    /// # Errors
    /// [`PluginError`], as for [`Plugins::new`].
    pub fn check(settings: &Settings) -> Result<(), PluginError> {
        let options = &settings.import;
        if !options.plugins.contains(&config::Plugin::ExternalCommand) {
            return Ok(());
        }
        let command = options.external_command.as_ref().ok_or(PluginError::NoCommand)?;
        external::check(command).map_err(PluginError::ExternalCommand)
    }

    /// Whether one of them needs the data as a file.
    #[must_use]
    pub fn need_file(&self) -> bool {
        self.0.iter().any(|plugin| plugin.needs_file())
    }

    /// Runs them all. When one fails, it and those before it are undone.
    ///
    /// # Errors
    /// The plugin's sentence.
    pub async fn run(&self, material: &mut Material) -> Result<(), String> {
        for (index, plugin) in self.0.iter().enumerate() {
            tracing::debug!(image_id = %material.image.id, plugin = plugin.name(), "a plugin runs");
            if let Err(reason) = plugin.run(material).await {
                self.revert_before(index + 1, material).await;
                return Err(format!("{}: {reason}", plugin.name()));
            }
        }
        Ok(())
    }

    /// Undoes them all, because the import has failed after them.
    pub async fn revert(&self, material: &Material) {
        self.revert_before(self.0.len(), material).await;
    }

    /// Just this one.
    #[cfg(test)]
    pub(super) fn only(plugin: impl Plugin + 'static) -> Self {
        Self(vec![Arc::new(plugin)])
    }

    async fn revert_before(&self, end: usize, material: &Material) {
        for plugin in self.0[..end].iter().rev() {
            plugin.revert(material).await;
        }
    }
}

/// Removes the file that a plugin has made with this extension, whatever others have made of it
/// since. What was staged is left for the next try.
pub(super) fn remove_made(material: &Material, extension: &str) {
    let Some(staged) = &material.staged else { return };
    let mut path = staged.path.clone();
    while let Some(last) = path.extension() {
        if last == extension {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %path.display(), "a file is left over");
                }
                _ => {}
            }
        }
        path.set_extension("");
    }
}

/// `no_op`: shows that plugins run (`PI-05`).
#[derive(Debug)]
struct NoOp;

#[async_trait]
impl Plugin for NoOp {
    fn name(&self) -> &'static str {
        "no_op"
    }

    async fn run(&self, _: &mut Material) -> Result<(), String> {
        Ok(())
    }
}

/// `inject_image_metadata`: properties for the images of ordinary users, in place of theirs
/// (`PI-02`).
#[derive(Debug)]
struct InjectImageMetadata {
    properties: Vec<(String, String)>,
    ignored_roles: Vec<String>,
}

#[async_trait]
impl Plugin for InjectImageMetadata {
    fn name(&self) -> &'static str {
        "inject_image_metadata"
    }

    async fn run(&self, material: &mut Material) -> Result<(), String> {
        let is_ignored =
            |role: &String| self.ignored_roles.iter().any(|own| own.eq_ignore_ascii_case(role));
        if material.roles.iter().any(is_ignored) {
            return Ok(());
        }
        material.change.set.extend(self.properties.iter().cloned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;

    use super::*;
    use crate::image::ImageId;

    fn material(roles: &[&str]) -> Material {
        Material {
            image: Image::queued(ImageId::random()),
            staged: None,
            was_staged: false,
            known: None,
            change: ImageChange::default(),
            watch: Arc::default(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        }
    }

    #[tokio::test]
    async fn pi_02_properties_are_injected_for_ordinary_users() {
        let inject = InjectImageMetadata {
            properties: vec![("a".into(), "1".into())],
            ignored_roles: vec!["admin".into()],
        };
        let mut user = material(&["member"]);
        inject.run(&mut user).await.unwrap();
        assert_eq!(user.change.set, [("a".to_owned(), "1".to_owned())].into());
        let mut admin = material(&["member", "Admin"]);
        inject.run(&mut admin).await.unwrap();
        assert!(admin.change.set.is_empty());
    }

    /// Notes what is asked of it, and fails when told to.
    #[derive(Debug)]
    struct Noted(&'static str, bool, Arc<Mutex<Vec<String>>>);

    #[async_trait]
    impl Plugin for Noted {
        fn name(&self) -> &'static str {
            self.0
        }

        async fn run(&self, _: &mut Material) -> Result<(), String> {
            self.2.lock().unwrap().push(format!("run {}", self.0));
            if self.1 { Err("no".into()) } else { Ok(()) }
        }

        async fn revert(&self, _: &Material) {
            self.2.lock().unwrap().push(format!("revert {}", self.0));
        }
    }

    #[tokio::test]
    async fn pi_01_plugins_run_in_order_and_go_back_in_reverse() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let plugin = |name, fails| Arc::new(Noted(name, fails, notes.clone())) as Arc<dyn Plugin>;
        let plugins = Plugins(vec![plugin("a", false), plugin("b", true), plugin("c", false)]);
        assert_eq!(plugins.run(&mut material(&[])).await.unwrap_err(), "b: no");
        let noted = std::mem::take(&mut *notes.lock().unwrap());
        assert_eq!(noted, ["run a", "run b", "revert b", "revert a"]);
    }
}
