//! Tests from outside: a real server on loopback, raw bytes on its sockets, real file systems.
//!
//! One binary, because linking is dear. Every module opens with what it shows and how. Tests that
//! move much data or measure memory take [`common::alone`], so that the suite may run with
//! several threads without two of them at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods
)]

mod api;
mod bench;
mod beside;
mod bytes;
mod ceph;
mod check;
mod clients;
mod common;
mod crash;
mod databases;
mod drain;
#[path = "../env/mod.rs"]
mod env;
mod faults;
mod file_store;
mod formats;
mod full_disk;
mod fuzz;
mod import;
mod keystone;
mod keystone_faults;
mod limits;
mod locations;
mod memory;
mod nodes;
mod peers;
mod plugins;
mod policies;
mod proxies;
mod reading;
mod s3;
mod scrub;
mod stage_host;
mod startup;
mod steps;
mod tidy;
mod web;
mod wire;
