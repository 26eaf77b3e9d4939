//! What libcrypto computes, and bytes to compute it of: what the tests here compare with.
#![allow(clippy::unwrap_used)]

use openssl::hash::{MessageDigest, hash};

use super::kernel::{Digest, collect};
use crate::image::{Digests, HashAlgo};

/// What libcrypto computes.
pub(super) fn oracle(algo: HashAlgo, data: &[u8]) -> Digests {
    let name = match algo {
        HashAlgo::Sha512_256 => "SHA512-256",
        HashAlgo::Sha3_224 => "SHA3-224",
        HashAlgo::Sha3_256 => "SHA3-256",
        HashAlgo::Sha3_384 => "SHA3-384",
        HashAlgo::Sha3_512 => "SHA3-512",
        HashAlgo::Blake2b => "BLAKE2b512",
        HashAlgo::Blake2s => "BLAKE2s256",
        other => other.name(),
    };
    let multihash = hash(MessageDigest::from_name(name).unwrap(), data).unwrap();
    let digests = [
        Digest::Md5(hash(MessageDigest::md5(), data).unwrap().to_vec()),
        Digest::Multihash(multihash.to_vec()),
    ];
    collect(algo, digests)
}

/// Bytes without a pattern that a kernel could hide behind, different for each seed.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e3779b97f4a7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}
