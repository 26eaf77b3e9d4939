//! Interoperable import: data that is staged, fetched or copied becomes an image's data, in any
//! number of stores.
//!
//! A request becomes a task in the database, which holds its image's lock, before it is answered; a
//! [`Runner`] works on tasks, so many at a time, and whatever it has not ended goes on after a
//! restart, or elsewhere when the server has died ([`runner`]). What a task does is a [`Job`]: it
//! changes nothing that is recorded by itself. It answers what is to be recorded, and the runner
//! records image, lists, task and lock in one transaction.
//!
//! ```text
//! begin_task --> pending --> processing --------------------> success
//!    lock          |            | fetch --> plugins --> place    |  locations, active, lists
//!                  |            |                         |      |  lock given back
//!                  +------------+--- any failure ---------+--> failure: status, lists as before
//! ```

mod child;
mod conversion;
mod decompression;
mod external;
mod fetch;
mod flow;
mod lists;
mod locate;
mod order;
mod place;
pub mod places;
mod plugin;
mod qemu;
mod reason;
mod remote;
mod run;
pub mod runner;

pub use decompression::archive_formats;
pub use fetch::Fetcher;
pub use flow::ImageImport;
pub use lists::lists_cleared;
pub use locate::{LocationImport, LocationOrder, LocationRules};
pub use order::{Method, Order};
pub use plugin::{Material, Plugin, PluginError, Plugins, Tools};
pub use run::{Done, Job, Object, Run, Secret, Stop, Watch, Watched};
pub use runner::{Imports, Runner};

/// The kind of task that imports an image's data.
pub const IMAGE_IMPORT: &str = "api_image_import";

/// The kind of task that makes data of a location an image's.
pub const LOCATION_IMPORT: &str = "location_import";

#[cfg(test)]
mod tests;
