//! Who calls, and what they may do.
//!
//! An [`Identity`] is made once for each request, from whoever vouches for it: Keystone for a
//! token, a trusted proxy for its headers, nobody in the embedded default. Everything above asks
//! an identity, never a header. What it may do is a question to the [`Enforcer`], and what it may
//! do to single properties one to the [`PropertyRules`].

mod enforcer;
mod identity;
pub mod keystone;
mod policy;
mod properties;
mod target;
pub mod trusted;

pub use enforcer::Enforcer;
pub use identity::Identity;
pub use keystone::{Keystone, Limits, LimitsError, ProjectLimits, Refusal};
pub use policy::{Action, Policies, PolicyError, Target};
pub use properties::{Operation, PropertyRules, PropertyRulesError};
pub use target::{ImageTarget, Project, Proposed};
