//! `glissade scrub`: what glance-scrubber does, without a server.

use std::sync::Arc;

use super::serve::{ConfigArgs, ServeError, Signals};
use crate::config::Settings;
use crate::image::ImageId;
use crate::limits::SCRUB_LEASE;
use crate::meta::SqlRepo;
use crate::observe::{Metrics, log};
use crate::store::Registry;
use crate::upload::{NotRestored, Scrubbed, Scrubber};

/// What to scrub, and how often.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ScrubArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Go on until SIGTERM, with a pass every `wakeup_time` seconds
    #[arg(short = 'D', long)]
    daemon: bool,
    /// Bring a deleted image back whose data has not been removed
    #[arg(short = 'R', long, value_name = "IMAGE_ID", conflicts_with = "daemon",
        value_parser = image_id)]
    restore: Option<ImageId>,
}

fn image_id(text: &str) -> Result<ImageId, &'static str> {
    ImageId::parse(text).ok_or("an image's id is a UUID")
}

/// Why nothing was scrubbed.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// A server would not start either.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The image stays deleted.
    #[error(transparent)]
    NotRestored(#[from] NotRestored),
}

/// Scrubs once, or until told to stop, or brings an image back; returns what to print.
///
/// # Errors
/// [`ScrubError`].
pub async fn run(args: &ScrubArgs) -> Result<String, ScrubError> {
    let settings = args.config.load().map_err(ServeError::from)?;
    log::init(&settings.log).map_err(ServeError::from)?;
    let scrubber = scrubber(&settings).await?;
    if let Some(id) = &args.restore {
        let image = scrubber.restore(id).await?;
        return Ok(format!("image {id} is {} again", image.status));
    }
    if args.daemon || settings.scrub.is_daemon {
        let mut signals = Signals::new()?;
        tokio::select! {
            () = scrubber.run(SCRUB_LEASE) => {}
            () = signals.stop() => {}
        }
        return Ok("stopped".to_owned());
    }
    // Whoever asks for one pass wants everything done that there is.
    let scrubbed = scrubber.pass(std::time::Duration::ZERO).await.map_err(ServeError::from)?;
    let Scrubbed { removed, kept } = scrubbed;
    Ok(format!("{removed} images scrubbed, {kept} kept for the next pass"))
}

async fn scrubber(settings: &Settings) -> Result<Scrubber, ServeError> {
    let (durability, metrics) = (settings.glissade.durability, Metrics::new());
    let repo = SqlRepo::open(&settings.database, durability, &metrics).await?;
    let stores = Registry::open(settings)?;
    Ok(Scrubber::new(Arc::new(repo), Arc::new(stores), settings.scrub.clone(), metrics))
}
