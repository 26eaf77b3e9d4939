//! Which kernels: chosen once at start, by what the CPU has and by known answers.

use super::chain::{self, Chain, Digest};
use super::simd::Simd;
use crate::image::{Digests, HashAlgo};
use crate::limits::LANE_SLICE_BYTES;

/// Environment variable that forces a tier, for tests and comparisons.
pub(in crate::lanes) const VARIABLE: &str = "GLISSADE_LANES";

/// A tier of kernels that this CPU has and that gave the known answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier(Option<Simd>);

/// Why a tier can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
    /// No such tier.
    #[error("GLISSADE_LANES={0}: there is no such tier; take one of {known}, or unset it",
        known = Tier::names())]
    Unknown(String),
    /// The CPU can't run it.
    #[error("GLISSADE_LANES={name}: this CPU lacks {lacks}; take another tier, or unset it")]
    Lacking {
        /// Of the tier.
        name: &'static str,
        /// CPU features, separated by commas.
        lacks: String,
    },
    /// It computes wrong digests.
    #[error(
        "the hashing kernels {0} gave a wrong digest on this CPU; \
         take another tier with GLISSADE_LANES, and report it"
    )]
    Wrong(&'static str),
}

impl Tier {
    /// The tier that every CPU has.
    pub const PORTABLE: Self = Self(None);

    /// The kernels, if it has some.
    pub(super) fn simd(self) -> Option<Simd> {
        self.0
    }

    /// `avx512`, `avx2` or `portable`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.map_or("portable", Simd::name)
    }

    fn names() -> String {
        Self::all().map(Self::name).collect::<Vec<_>>().join(", ")
    }

    /// Every tier of this build, best first.
    fn all() -> impl Iterator<Item = Self> {
        Simd::ALL.into_iter().map(|simd| Self(Some(simd))).chain([Self::PORTABLE])
    }

    /// The tiers that can be used here, best first. One that gives a wrong answer is left out
    /// with a warning.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::all().filter(|tier| is_usable(&tier.check())).collect()
    }

    /// The best tier, or the one that `GLISSADE_LANES` names.
    ///
    /// # Errors
    /// When the named one can't be used.
    pub fn choose(forced: Option<&str>) -> Result<Self, TierError> {
        let Some(name) = forced.filter(|name| !name.is_empty()) else {
            return Ok(Self::available().first().copied().unwrap_or(Self::PORTABLE));
        };
        let named = Self::all().find(|tier| tier.name() == name);
        let tier = named.ok_or_else(|| TierError::Unknown(name.to_owned()))?;
        tier.check().map(|()| tier)
    }

    /// Whether the CPU has the tier and the tier gives the known answers.
    fn check(self) -> Result<(), TierError> {
        let lacks = self.0.map(Simd::lacks).unwrap_or_default();
        if !lacks.is_empty() {
            return Err(TierError::Lacking { name: self.name(), lacks: lacks.join(", ") });
        }
        if self.gives_known_answers() { Ok(()) } else { Err(TierError::Wrong(self.name())) }
    }

    /// Runs every kernel of the tier: any number of lanes from one to eight, over lengths that
    /// carry, pad, and end at different times.
    fn gives_known_answers(self) -> bool {
        let noise: Vec<u8> = (0..1500_u32).map(|at| ((at * at) >> 3).to_le_bytes()[0]).collect();
        let same = [HashAlgo::Sha384, HashAlgo::Sha512_256]
            .into_iter()
            .all(|algo| self.digests(algo, &[&noise]) == Self::PORTABLE.digests(algo, &[&noise]));
        same && [HashAlgo::Sha512, HashAlgo::Sha256, HashAlgo::Sha3_256].into_iter().all(|algo| {
            (1..=8).all(|lanes: usize| {
                let streams: Vec<&[u8]> = (0..lanes).map(|n| &noise[n..1401 + 13 * n]).collect();
                self.digests(algo, &streams) == Self::PORTABLE.digests(algo, &streams)
            }) && self.digests(algo, &[b"abc"]) == [abc(algo)]
        })
    }

    /// Digests of whole byte strings, computed in lanes on the calling thread, slice by slice as
    /// the workers do.
    #[must_use]
    pub fn digests(self, algo: HashAlgo, streams: &[&[u8]]) -> Vec<Digests> {
        let mut chains: Vec<Vec<Chain>> =
            streams.iter().map(|_| chain::chains(self, algo)).collect();
        for together in 0..streams.len().div_ceil(LANES) {
            let of = together * LANES..streams.len().min((together + 1) * LANES);
            advance_all(&mut chains[of.clone()], &streams[of]);
        }
        let ended = chains.into_iter().map(|chains| chains.into_iter().flat_map(chain::finish));
        ended.map(|digests| collect(algo, digests)).collect()
    }
}

/// Whether a tier may be used; warns of one that computes wrong digests.
pub(super) fn is_usable(checked: &Result<(), TierError>) -> bool {
    if let Err(TierError::Wrong(name)) = checked {
        tracing::warn!(tier = name, "these hashing kernels gave a wrong digest; not used");
    }
    checked.is_ok()
}

/// Streams that [`Tier::digests`] advances together.
const LANES: usize = 8;

/// Advances each stream's chains to its end, a slice at a time.
fn advance_all(chains: &mut [Vec<Chain>], streams: &[&[u8]]) {
    let longest = streams.iter().map(|stream| stream.len()).max().unwrap_or_default();
    let parts = chains.iter().map(Vec::len).max().unwrap_or_default();
    for from in (0..longest).step_by(LANE_SLICE_BYTES) {
        for part in 0..parts {
            let slice = |stream: &'_ [u8]| {
                let len = stream.len();
                from.min(len)..len.min(from + LANE_SLICE_BYTES)
            };
            let mut batch: Vec<_> = chains
                .iter_mut()
                .zip(streams)
                .map(|(chains, stream)| (&mut chains[part], &stream[slice(stream)]))
                .collect();
            chain::advance(&mut batch);
        }
    }
}

/// Puts the digests of a stream together.
pub(in crate::lanes) fn collect(
    algo: HashAlgo,
    digests: impl IntoIterator<Item = Digest>,
) -> Digests {
    let mut all =
        Digests { checksum: String::new(), os_hash_algo: algo, os_hash_value: String::new() };
    for digest in digests {
        match digest {
            Digest::Md5(bytes) => all.checksum = hex(&bytes),
            Digest::Multihash(bytes) => all.os_hash_value = hex(&bytes),
        }
    }
    if algo == HashAlgo::Md5 {
        all.os_hash_value.clone_from(&all.checksum);
    }
    all
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Digests of `abc`, from RFC 1321, FIPS 180-4 and FIPS 202.
pub(super) fn abc(algo: HashAlgo) -> Digests {
    let os_hash_value = match algo {
        HashAlgo::Sha256 => "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        HashAlgo::Sha3_256 => "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
        _ => {
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        }
    };
    Digests {
        checksum: "900150983cd24fb0d6963f7d28e17f72".into(),
        os_hash_algo: algo,
        os_hash_value: os_hash_value.into(),
    }
}
