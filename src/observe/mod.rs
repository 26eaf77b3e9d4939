//! What an operator can see of a running server: metrics, logs and spans.
//!
//! Every metric is declared once, in [`metrics`]; [`log`] sets up the log lines, and [`span`]
//! names their fields, so that one upload reads the same in every line it causes.

pub mod log;
pub mod metrics;
pub mod span;

pub use metrics::Metrics;

/// This build: the package's version, with the commit it was made from where that is known.
pub const VERSION: &str = env!("GLISSADE_VERSION");
