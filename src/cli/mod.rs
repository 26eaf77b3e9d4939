//! Stub.

pub mod bench;
