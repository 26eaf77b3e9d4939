//! The portable tier: MD5 from `md-5`, SHA-2 from `ring`, each a strand of its own so that two
//! cores work on one stream.
//!
//! The worker hands over a *batch* of chains of one kind with equally long slices. This tier
//! advances them one after the other; a SIMD tier takes 1, 4 or 8 of them in one instruction
//! stream, which is why batches exist.

use md5::Digest as _;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, SHA512_256};

use crate::image::HashAlgo;

/// Name of the tier.
pub(super) const TIER: &str = "portable";
/// Chains that one worker advances together. More would only delay the others here.
pub(super) const BATCH_MAX: usize = 1;

/// One digest under way.
pub(super) enum Chain {
    Md5(Box<md5::Md5>),
    Multihash(Box<Context>),
}

/// One finished digest.
#[derive(Debug)]
pub(super) enum Digest {
    Md5(Vec<u8>),
    Multihash(Vec<u8>),
}

/// The chains of a new stream.
pub(super) fn chains(algo: HashAlgo) -> Vec<Chain> {
    let algorithm = match algo {
        HashAlgo::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
        HashAlgo::Sha256 => &SHA256,
        HashAlgo::Sha384 => &SHA384,
        HashAlgo::Sha512 => &SHA512,
        HashAlgo::Sha512_256 => &SHA512_256,
    };
    vec![Chain::Md5(Box::new(md5::Md5::new())), Chain::Multihash(Box::new(Context::new(algorithm)))]
}

/// Advances every chain by its slice.
pub(super) fn advance(batch: &mut [(&mut Chain, &[u8])]) {
    for (chain, slice) in batch {
        match chain {
            Chain::Md5(state) => state.update(slice),
            Chain::Multihash(state) => state.update(slice),
        }
    }
}

/// Ends a chain.
pub(super) fn finish(chain: Chain) -> Digest {
    match chain {
        Chain::Md5(state) => Digest::Md5(state.finalize().to_vec()),
        Chain::Multihash(state) => Digest::Multihash(state.finish().as_ref().to_vec()),
    }
}

impl Chain {
    /// Whether this chain counts the stream's bytes; one of them does.
    pub(super) fn counts_bytes(&self) -> bool {
        matches!(self, Self::Md5(_))
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Md5(_) => "md5",
            Self::Multihash(_) => "multihash",
        })
    }
}
