//! Glissade: an image data plane for OpenStack.
//!
//! Uploads stream from the socket through recycled, page-aligned slots into a store while
//! hashing lanes read the same memory; a thin control plane keeps Glance's records. The modules
//! stand in layers, and a module may use only what stands below it (`tests/it/tidy.rs` checks):
//!
//! ```text
//! 6  main, cli                      wiring: settings -> serve -> drain; the other commands
//! 5  api                            HTTP and nothing but HTTP
//! 4  import                         tasks, and how images are imported
//! 3  upload  download  auth  quota  the data plane's two stories; who may; how much
//! 2  store  meta                    image data at rest; records in SQL
//! 1  ring  rbd  lanes  client       the only code that knows io_uring; librbd; hashing; HTTP to others
//!    inspect                        and the formats of images
//! 0  image limits observe config buffer   nouns, bounds, numbers, options, memory
//! ```

// Layer 0
#[allow(unsafe_code)]
pub mod buffer;
pub mod config;
pub mod image;
pub mod limits;
pub mod observe;

// Layer 1
pub mod client;
pub mod inspect;
pub mod lanes;
#[allow(unsafe_code)]
pub mod rbd;
#[allow(unsafe_code)]
pub mod ring;

// Layer 2
pub mod meta;
pub mod store;

// Layer 3
pub mod auth;
pub mod download;
pub mod quota;
pub mod upload;

// Layer 4
pub mod import;

// Layer 5
pub mod api;

// Layer 6
pub mod cli;

#[cfg(test)]
#[path = "../tests/env/mod.rs"]
pub(crate) mod env;
