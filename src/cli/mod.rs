//! Stub.

pub mod db;
