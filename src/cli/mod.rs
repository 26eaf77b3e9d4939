//! The commands: `serve` and what an operator does beside it.

pub mod bench;
pub mod check;
pub mod db;
mod named;
pub mod scrub;
pub mod serve;
mod unix;
