//! `image_decompression`: unpacks what comes packed (`PI-04`).
//!
//! What comes out takes the way of an upload: into slots, through the lanes that hash it and the
//! inspector that notes what it is, into a draft beside the archive. So it is bounded as an upload
//! is, by `image_size_cap` and the quota of the owner, and by the room of the staging area besides;
//! a deleted image or a lost task ends it at the next piece. It has no name before it is whole and
//! synced, and a failure or a crash leaves nothing. What was noted of the archive gives way to what
//! was noted of its content, which is all that the gate will judge. The archive stays for the next
//! try.
//!
//! An archive's member has a name, too; nobody here reads it.

mod archive;
mod source;
mod zip;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;

use self::archive::Archive;
use self::source::Unpacking;
use super::plugin::{Material, Plugin, Tools, remove_made};
use super::reason;
use super::run::Watched;
use crate::image::Expected;
use crate::limits::CONVERT_GRACE;
use crate::store::file::FileStore;
use crate::store::{SizeHint, Staged, Store};
use crate::upload::{Arrived, Ending, Poured, Target, UploadError};

/// As Glance calls a file that it unpacks.
const EXTENSION: &str = "uc";

/// Names of the archives that are unpacked.
pub fn archive_formats() -> impl Iterator<Item = String> {
    archive::Kind::ALL.iter().map(ToString::to_string)
}

/// The plugin.
#[derive(Debug)]
pub(super) struct ImageDecompression {
    tools: Tools,
    /// What unpacking may take beside what is read and what comes out are worth.
    grace: Duration,
}

impl ImageDecompression {
    pub(super) fn new(tools: Tools) -> Self {
        Self { tools, grace: CONVERT_GRACE }
    }

    /// The same with less time.
    #[cfg(test)]
    pub(super) fn within(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Unpacks a staged archive, and answers what came out.
    async fn unpack(
        &self,
        material: &Material,
        staging: &FileStore,
        (staged, archive): (&Staged, Archive),
    ) -> Result<Arrived, UploadError> {
        let (image, watch, uploads) = (&material.image, &material.watch, &self.tools.uploads);
        let room = uploads.reserve(image, SizeHint::Unknown).await?;
        let draft = staging.begin_beside(&image.id, staged, EXTENSION).await?;
        let store: Arc<dyn Store> = Arc::new(staging.clone());
        let source = Unpacking::new(archive, staged, staging, self.grace, Handle::current());
        let (source, gate) = (Watched::new(source, watch), uploads.noting_gate());
        let pouring = uploads.pouring(
            source,
            vec![Target { store, draft }],
            SizeHint::Unknown,
            Expected::default(),
            gate,
        );
        let pouring = pouring.within(room);
        let poured = uploads.engines.run(move || pouring.run(|_, _| {})).await;
        let Poured { arrived, stores, .. } = poured.map_err(|_| UploadError::EngineGone)?;
        match stores.into_iter().next().map(|outcome| outcome.ending) {
            Some(Ending::Failed(error)) => Err(error.into()),
            _ => arrived,
        }
    }
}

#[async_trait]
impl Plugin for ImageDecompression {
    fn name(&self) -> &'static str {
        "image_decompression"
    }

    fn needs_file(&self) -> bool {
        true
    }

    async fn run(&self, material: &mut Material) -> Result<(), String> {
        if material.container_format() == Some("compressed") {
            return Ok(());
        }
        let staged = material.file()?;
        let path = staged.path.clone();
        let opened = tokio::task::spawn_blocking(move || Archive::open(&path)).await;
        let opened = opened.map_err(std::io::Error::other).and_then(|opened| opened);
        let Some(archive) = opened.map_err(|error| {
            tracing::error!(%error, "staged data can't be read");
            "The staged data can't be read; try again later".to_owned()
        })?
        else {
            return Ok(());
        };
        tracing::debug!(image_id = %material.image.id, ?archive, "an archive is unpacked");
        let unpacking = self.unpack(material, self.tools.staging()?, (&staged, archive));
        let arrived = unpacking.await.map_err(|error| {
            tracing::info!(%error, "an archive is not unpacked");
            reason::of(&error)
        })?;
        let path = FileStore::beside(&staged, EXTENSION);
        let is_synced = self.tools.staging()?.syncs();
        material.staged = Some(Staged { path, size: arrived.size, is_synced });
        material.known = Some(arrived);
        Ok(())
    }

    async fn revert(&self, material: &Material) {
        remove_made(material, EXTENSION);
    }
}
