//! What hashes: chains of digests, and tiers of kernels that advance them.
//!
//! A worker hands over a *batch* of chains of one [`Kind`] with a slice for each. SIMD tiers
//! advance up to eight streams in one sequence of instructions and compute MD5 beside SHA-2 in the
//! time of MD5 alone; the portable tier takes one chain at a time from `md-5` and `ring`.
//!
//! ```text
//! chain      cuts a stream into blocks, pads its end        tier      which instructions, checked
//!   +-> simd   packs the blocks of several chains             +-> known answers before it is used
//!         +-> x86   the kernels
//! ```

mod chain;
#[allow(unsafe_code)] // calls of a C library
mod openssl;
mod pad;
mod tier;
mod words;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // loads, stores, assembly, and calls behind a check of the CPU
mod x86;

#[cfg(not(target_arch = "x86_64"))]
#[path = "none.rs"]
mod simd;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod simd;

pub(super) use chain::{Chain, Digest, Kind, advance, chains, finish};
pub use openssl::OpenSsl;
pub use tier::{Tier, TierError};
pub(super) use tier::{VARIABLE, collect};

#[cfg(test)]
mod tests;
