//! `image_conversion`: makes the format that the operator wants of whatever came (`PI-03`).
//!
//! An image is converted only when our own inspector knows it as what it is called and finds no
//! danger in it, and qemu-img agrees. What comes out is another file beside the staged one; it is
//! looked at again, because a disk may hold the beginning of another format, and passes the gate on
//! its way into the stores like everything else. An ISO stays what it is.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::plugin::{Material, Plugin, Tools, remove_made};
use super::run::Watch;
use super::{qemu, reason};
use crate::config::{FormatRules, Settings};
use crate::inspect::{Finding, Format};
use crate::limits::{INSPECT_WINDOW_BYTES, MIB};
use crate::quota::Reservation;
use crate::store::file::{FileStore, Room};
use crate::store::{SizeHint, Staged};
use crate::upload::Gate;

/// The plugin.
#[derive(Debug)]
pub(super) struct ImageConversion {
    tools: Tools,
    target: String,
    rules: FormatRules,
    size_cap_bytes: u64,
}

impl ImageConversion {
    /// As the operator wants it. That a name fits is required here whatever
    /// `require_image_format_match` says: qemu-img is told to read the image as what it is called.
    pub(super) fn new(settings: &Settings, tools: Tools) -> Self {
        Self {
            tools,
            target: settings.import.conversion_format.clone(),
            rules: FormatRules { requires_match: true, ..settings.api.format_rules.clone() },
            size_cap_bytes: settings.api.image_size_cap_bytes,
        }
    }

    /// Whether an image that is called so may be given to qemu-img; false for one that is left
    /// alone. A disk with partitions is raw.
    fn judge(&self, declared: &str, finding: &Finding) -> Result<bool, String> {
        let found = match *finding.formats.as_slice() {
            [Format::Raw | Format::Gpt] if self.is_fixed_vhd(declared, finding) => Format::Vhd,
            [Format::Gpt] => Format::Raw,
            [one] | [one @ Format::Iso, Format::Gpt] => one,
            _ => return Err("Image format detection failed".to_owned()),
        };
        if found.name() != declared {
            let found = found.name();
            return Err(format!(
                "Image format mismatch: disk_format is {declared}, the data is {found}; import it \
                 into an image of that format"
            ));
        }
        if found == Format::Iso {
            return Ok(false);
        }
        let gate = Gate::new(Some("bare"), Some(declared), &self.rules);
        match gate.judge(finding) {
            Ok(_) => Ok(true),
            Err(unfit) => {
                tracing::info!(%unfit, "an image is not converted");
                Err("Image has disallowed configuration".to_owned())
            }
        }
    }

    fn is_fixed_vhd(&self, declared: &str, finding: &Finding) -> bool {
        let is_taken = self.rules.takes_fixed_vhd && declared == Format::Vhd.name();
        is_taken && finding.fixed_vhd_bytes.is_some()
    }

    /// What qemu-img says must be what we have found.
    async fn info(&self, path: &Path, declared: &str, watch: &Watch) -> Result<qemu::Info, String> {
        let info = qemu::info(path, declared, watch).await?;
        if declared == Format::Vmdk.name() {
            let kind = info.create_type.as_ref();
            let kind = kind.ok_or_else(|| "Unable to determine VMDK create-type".to_owned())?;
            if !self.rules.vmdk_allowed_types.contains(kind) {
                return Err("Invalid VMDK create-type specified".to_owned());
            }
        }
        match info.virtual_size > self.size_cap_bytes {
            true => Err("The disk in the image is larger than image_size_cap".to_owned()),
            false => Ok(info),
        }
    }

    /// Room for what comes out: in the staging area, beside what others were promised, and of a
    /// raw image, whose size is known, in the owner's quota. It is kept while it is being made.
    async fn reserve(
        &self,
        material: &Material,
        staged: &Staged,
        virtual_size: u64,
    ) -> Result<(Room, Option<Arc<Reservation>>), String> {
        let declared = material.disk_format().unwrap_or_default();
        let needed = qemu::needed_bytes(&staged.path, declared, &material.watch).await?;
        let room = self.tools.staging()?.room(staged, needed).await.map_err(|error| {
            tracing::warn!(%error, "an image is not converted");
            "The server has no room to convert the image; try again later".to_owned()
        })?;
        let hint = match self.target == Format::Raw.name() {
            true => SizeHint::Known(virtual_size),
            false => SizeHint::Unknown,
        };
        let reserved = self.tools.uploads.reserve(&material.image, hint).await;
        Ok((room, reserved.map_err(|error| reason::of(&error))?))
    }

    /// Converts, and looks at what came out.
    async fn convert(
        &self,
        source: (&Path, &str),
        made: &Path,
        virtual_size: u64,
        watch: &Watch,
    ) -> Result<u64, String> {
        qemu::convert(source, (made, &self.target), virtual_size, watch).await?;
        let finding = look(made.to_owned(), INSPECT_WINDOW_BYTES, self.rules.clone()).await?;
        let is_it = match *finding.formats.as_slice() {
            [Format::Gpt] => self.target == Format::Raw.name(),
            [one] => self.target == one.name(),
            _ => false,
        };
        if !is_it {
            return Err("Converted image in unexpected format".to_owned());
        }
        let size = std::fs::metadata(made).map_err(unreadable)?;
        Ok(size.len())
    }
}

#[async_trait]
impl Plugin for ImageConversion {
    fn name(&self) -> &'static str {
        "image_conversion"
    }

    fn needs_file(&self) -> bool {
        true
    }

    async fn run(&self, material: &mut Material) -> Result<(), String> {
        let staged = material.file()?;
        let declared = material.disk_format().unwrap_or_default().to_owned();
        let known = material.known.clone().and_then(|known| known.passed.finding);
        let finding = match known {
            Some(finding) => finding,
            None => look(staged.path.clone(), usize::MAX, self.rules.clone()).await?,
        };
        if !self.judge(&declared, &finding)? {
            return Ok(());
        }
        let info = self.info(&staged.path, &declared, &material.watch).await?;
        if declared == self.target {
            return Ok(());
        }
        let room = self.reserve(material, &staged, info.virtual_size).await?;
        let made = FileStore::beside(&staged, &self.target);
        let source = (staged.path.as_path(), declared.as_str());
        let converted = self.convert(source, &made, info.virtual_size, &material.watch).await;
        drop(room);
        match converted {
            Ok(size) => {
                material.staged = Some(Staged { path: made, size, is_synced: false });
                material.known = None;
                material.change.disk_format = Some(self.target.clone());
                material.change.container_format = Some("bare".to_owned());
                Ok(())
            }
            Err(reason) => {
                let _ = std::fs::remove_file(&made);
                Err(reason)
            }
        }
    }

    async fn revert(&self, material: &Material) {
        remove_made(material, &self.target);
    }
}

/// What a file is, by as many of its bytes.
async fn look(path: PathBuf, bytes_max: usize, rules: FormatRules) -> Result<Finding, String> {
    let looking = move || -> io::Result<Option<Finding>> {
        let mut gate = Gate::noting(&rules);
        let mut file = File::open(path)?.take(bytes_max as u64);
        let mut piece = vec![0; MIB.min(bytes_max)];
        loop {
            match file.read(&mut piece)? {
                0 => break,
                read => gate.see(&piece[..read]).map_err(io::Error::other)?,
            }
        }
        Ok(gate.end().map_err(io::Error::other)?.finding)
    };
    let looked = tokio::task::spawn_blocking(looking).await;
    let looked = looked.map_err(|error| unreadable(io::Error::other(error)))?;
    looked.map_err(unreadable)?.ok_or_else(|| "Unable to inspect image".to_owned())
}

fn unreadable(error: io::Error) -> String {
    tracing::error!(%error, "staged data can't be read");
    "Unable to inspect image".to_owned()
}
