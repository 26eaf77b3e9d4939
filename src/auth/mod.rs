//! Who calls, and what they may do.
//!
//! An [`Identity`] is made once for each request, from whoever vouches for it: Keystone for a
//! token, a trusted proxy for its headers, nobody in the embedded default. Everything above asks
//! an identity, never a header.

mod identity;
pub mod keystone;
pub mod trusted;

pub use identity::Identity;
pub use keystone::{Keystone, Refusal};
