//! Digests under way, of every algorithm on every tier.
//!
//! A chain computes one digest, or two at once where a kernel does. The workers know of a chain
//! only its [`Kind`]: chains of one kind may be advanced together.

use md5::Digest as _;
use md5::digest::DynDigest;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, SHA512_256};

use super::pad::{self, Cut};
use super::simd::{Lane, Simd, Words256};
use super::tier::Tier;
use super::words::{MD5_IV, SHA256_IV, SHA384_IV, SHA512_256_IV, SHA512_IV, Words};
use crate::image::HashAlgo;
use crate::limits::{KIB, LANE_SLICE_BYTES_MAX, LANE_SLICE_NANOS};

/// One digest under way, or a pair of them.
pub(in crate::lanes) enum Chain {
    /// MD5 and one of the SHA-512 family.
    Fused512(Box<Fused512>),
    /// MD5 and SHA-256.
    Fused256(Box<Fused256>),
    /// MD5 in lanes, beside a multihash that has none.
    Md5Lane(Box<Md5Lane>),
    /// MD5 without kernels of ours.
    Md5(Box<md5::Md5>),
    /// SHA-1 and SHA-2 without kernels of ours.
    Ring(Box<Context>),
    /// The other algorithms.
    Rare(Box<dyn DynDigest + Send>),
}

/// See [`Chain::Fused512`].
pub(in crate::lanes) struct Fused512 {
    simd: Simd,
    cut: Cut<Words, 128>,
    digest_bytes: usize,
}

/// See [`Chain::Fused256`].
pub(in crate::lanes) struct Fused256 {
    simd: Simd,
    cut: Cut<Words256, 64>,
}

/// See [`Chain::Md5Lane`].
pub(in crate::lanes) struct Md5Lane {
    simd: Simd,
    cut: Cut<[u32; 4], 64>,
}

/// One finished digest.
#[derive(Debug)]
pub(in crate::lanes) enum Digest {
    Md5(Vec<u8>),
    Multihash(Vec<u8>),
}

/// What can be advanced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lanes) enum Kind {
    /// MD5 and SHA-512 in lanes.
    Fused512,
    /// MD5 in lanes.
    Md5Lane,
    /// One chain at a time.
    Alone,
}

impl Kind {
    /// Every kind, in the order of their numbers (`as usize`).
    pub(in crate::lanes) const ALL: [Self; 3] = [Self::Fused512, Self::Md5Lane, Self::Alone];

    /// Most chains that one worker advances together.
    pub(in crate::lanes) fn width(self) -> usize {
        match self {
            Self::Fused512 | Self::Md5Lane => 8,
            Self::Alone => 1,
        }
    }

    /// Chains that one worker takes on before a second is woken.
    pub(in crate::lanes) fn pack(self, tier: Tier) -> usize {
        match self {
            Self::Fused512 => tier.simd().map_or(1, Simd::pack),
            Self::Md5Lane => 8,
            Self::Alone => 1,
        }
    }

    /// Bytes by which each of so many chains is advanced before others get their turn: what takes
    /// [`LANE_SLICE_NANOS`]. A single digest does not take as long for the longest of slices.
    pub(in crate::lanes) fn slice_bytes(self, tier: Tier, lanes: usize) -> usize {
        match (self, tier.simd()) {
            (Self::Fused512, Some(simd)) => {
                let kibibytes = LANE_SLICE_NANOS / simd.nanos_per_kib(lanes);
                (kibibytes * KIB).clamp(KIB, LANE_SLICE_BYTES_MAX)
            }
            _ => LANE_SLICE_BYTES_MAX,
        }
    }
}

/// The chains of a new stream.
pub(in crate::lanes) fn chains(tier: Tier, algo: HashAlgo) -> Vec<Chain> {
    let Some(simd) = tier.simd() else {
        let md5 = Chain::Md5(Box::new(md5::Md5::new()));
        return std::iter::once(md5).chain(multihash(algo)).collect();
    };
    let fused512 = |sha, digest_bytes| {
        let cut = Cut::new(Words { md5: MD5_IV, sha });
        vec![Chain::Fused512(Box::new(Fused512 { simd, cut, digest_bytes }))]
    };
    match algo {
        HashAlgo::Sha512 => fused512(SHA512_IV, 64),
        HashAlgo::Sha384 => fused512(SHA384_IV, 48),
        HashAlgo::Sha512_256 => fused512(SHA512_256_IV, 32),
        HashAlgo::Sha256 if simd.has_sha256() => {
            let cut = Cut::new(Words256 { md5: MD5_IV, sha: SHA256_IV });
            vec![Chain::Fused256(Box::new(Fused256 { simd, cut }))]
        }
        other => {
            let md5 = Md5Lane { simd, cut: Cut::new(MD5_IV) };
            std::iter::once(Chain::Md5Lane(Box::new(md5))).chain(multihash(other)).collect()
        }
    }
}

/// A multihash that no kernel of ours computes; none when it is the checksum once more.
fn multihash(algo: HashAlgo) -> Option<Chain> {
    let ring = |algorithm| Chain::Ring(Box::new(Context::new(algorithm)));
    Some(match algo {
        HashAlgo::Md5 => return None,
        HashAlgo::Sha1 => ring(&SHA1_FOR_LEGACY_USE_ONLY),
        HashAlgo::Sha256 => ring(&SHA256),
        HashAlgo::Sha384 => ring(&SHA384),
        HashAlgo::Sha512 => ring(&SHA512),
        HashAlgo::Sha512_256 => ring(&SHA512_256),
        HashAlgo::Sha224 => Chain::Rare(Box::new(sha2::Sha224::new())),
        HashAlgo::Sha3_224 => Chain::Rare(Box::new(sha3::Sha3_224::new())),
        HashAlgo::Sha3_256 => Chain::Rare(Box::new(sha3::Sha3_256::new())),
        HashAlgo::Sha3_384 => Chain::Rare(Box::new(sha3::Sha3_384::new())),
        HashAlgo::Sha3_512 => Chain::Rare(Box::new(sha3::Sha3_512::new())),
        HashAlgo::Blake2b => Chain::Rare(Box::new(blake2::Blake2b512::new())),
        HashAlgo::Blake2s => Chain::Rare(Box::new(blake2::Blake2s256::new())),
    })
}

/// Advances every chain by its slice. Chains of one kind and tier are the fast case.
pub(in crate::lanes) fn advance(batch: &mut [(&mut Chain, &[u8])]) {
    let (mut fused, mut md5) = (Vec::new(), Vec::new());
    for (chain, slice) in batch {
        match chain {
            Chain::Fused512(state) => {
                let (full, blocks) = state.cut.append(slice);
                fused.push((state.simd, &mut state.cut.words, full, blocks));
            }
            Chain::Md5Lane(state) => {
                let (full, blocks) = state.cut.append(slice);
                md5.push((state.simd, &mut state.cut.words, full, blocks));
            }
            Chain::Fused256(state) => advance_256(state, slice),
            Chain::Md5(state) => md5::Digest::update(&mut **state, slice),
            Chain::Ring(state) => state.update(slice),
            Chain::Rare(state) => state.update(slice),
        }
    }
    run(fused, Simd::fused512);
    run(md5, Simd::md5);
}

/// A chain's kernels and state, the carried block that has become full, and the blocks after it.
type Ready<'a, W, B> = (Simd, &'a mut W, Option<B>, &'a [B]);

/// Runs what was carried, then the rest.
fn run<W, B>(mut ready: Vec<Ready<'_, W, B>>, kernel: impl Fn(Simd, Vec<Lane<'_, W, B>>)) {
    let Some(simd) = ready.first().map(|(simd, ..)| *simd) else { return };
    let carried = ready.iter_mut().filter_map(|(_, words, full, _)| {
        full.as_ref().map(|block| Lane { words: &mut **words, blocks: std::slice::from_ref(block) })
    });
    kernel(simd, carried.collect());
    let lanes = ready.into_iter().map(|(_, words, _, blocks)| Lane { words, blocks });
    kernel(simd, lanes.collect());
}

fn advance_256(state: &mut Fused256, slice: &[u8]) {
    let (full, blocks) = state.cut.append(slice);
    let words = &mut state.cut.words;
    state.simd.fused256(Lane { words: &mut *words, blocks: full.as_slice() });
    state.simd.fused256(Lane { words, blocks });
}

/// Ends a chain.
pub(in crate::lanes) fn finish(chain: Chain) -> Vec<Digest> {
    match chain {
        Chain::Fused512(state) => {
            let Words { md5, sha } = state.cut.words;
            let multihash = pad::sha512(sha, &state.cut, state.digest_bytes);
            vec![Digest::Md5(pad::md5(md5, &state.cut)), Digest::Multihash(multihash)]
        }
        Chain::Fused256(state) => {
            let Words256 { md5, sha } = state.cut.words;
            let multihash = pad::sha256(sha, &state.cut);
            vec![Digest::Md5(pad::md5(md5, &state.cut)), Digest::Multihash(multihash)]
        }
        Chain::Md5Lane(state) => vec![Digest::Md5(pad::md5(state.cut.words, &state.cut))],
        Chain::Md5(state) => vec![Digest::Md5(md5::Digest::finalize(*state).to_vec())],
        Chain::Ring(state) => vec![Digest::Multihash(state.finish().as_ref().to_vec())],
        Chain::Rare(state) => vec![Digest::Multihash(state.finalize().into_vec())],
    }
}

impl Chain {
    /// What it can be advanced with.
    pub(in crate::lanes) fn kind(&self) -> Kind {
        match self {
            Self::Fused512(_) => Kind::Fused512,
            Self::Md5Lane(_) => Kind::Md5Lane,
            Self::Fused256(_) | Self::Md5(_) | Self::Ring(_) | Self::Rare(_) => Kind::Alone,
        }
    }

    /// Whether this chain counts the stream's bytes; one of them does.
    pub(in crate::lanes) fn counts_bytes(&self) -> bool {
        !matches!(self, Self::Ring(_) | Self::Rare(_))
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fused512(_) => "md5 and sha512",
            Self::Fused256(_) => "md5 and sha256",
            Self::Md5Lane(_) | Self::Md5(_) => "md5",
            Self::Ring(_) | Self::Rare(_) => "multihash",
        })
    }
}
