//! Lanes against the loop that they replace: MD5, then SHA-512, of each block in turn, by OpenSSL
//! on one core. Rates are per second of the thread's CPU time.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;

use glissade::cli::bench::{LanesBench, Serial};
use glissade::limits::KIB;
use openssl::hash::{Hasher, MessageDigest};

/// As glance_store does it: 64 KiB at a time.
fn openssl(bytes: &[u8]) {
    let mut md5 = Hasher::new(MessageDigest::md5()).unwrap();
    let mut sha512 = Hasher::new(MessageDigest::sha512()).unwrap();
    for block in bytes.chunks(64 * KIB) {
        md5.update(block).unwrap();
        sha512.update(block).unwrap();
    }
    black_box((md5.finish().unwrap(), sha512.finish().unwrap()));
}

fn main() {
    let bench = LanesBench { streams: vec![1, 2, 4, 8, 16], json: false };
    print!("{}", bench.run(Serial { name: "OpenSSL", hash: openssl }));
}
