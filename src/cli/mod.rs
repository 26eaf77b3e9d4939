//! Stub.

pub mod bench;
pub mod db;
