//! Which kernels: chosen once at start, by what the CPU has and by known answers.

use super::chain::{self, Chain, Digest, Kind};
use super::simd::Simd;
use crate::image::{Digests, HashAlgo};

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

    /// The tier of a set of kernels, which the CPU may not have.
    #[cfg(test)]
    pub(super) fn of(simd: Simd) -> Self {
        Self(Some(simd))
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
        usable(Self::all().map(|tier| (tier, tier.check())))
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
    pub(super) fn check(self) -> Result<(), TierError> {
        self.judge(|algo, streams| self.digests(algo, streams))
    }

    /// [`Tier::check`] of kernels that compute what `digests` does.
    pub(super) fn judge(
        self,
        digests: impl Fn(HashAlgo, &[&[u8]]) -> Vec<Digests>,
    ) -> Result<(), TierError> {
        let lacks = self.0.map(Simd::lacks).unwrap_or_default();
        if !lacks.is_empty() {
            return Err(TierError::Lacking { name: self.name(), lacks: lacks.join(", ") });
        }
        if are_known(digests) { Ok(()) } else { Err(TierError::Wrong(self.name())) }
    }

    /// Digests of whole byte strings, computed in lanes on the calling thread, slice by slice as
    /// the workers do.
    #[must_use]
    pub fn digests(self, algo: HashAlgo, streams: &[&[u8]]) -> Vec<Digests> {
        let mut chains: Vec<Vec<Chain>> =
            streams.iter().map(|_| chain::chains(self, algo)).collect();
        for together in 0..streams.len().div_ceil(LANES) {
            let of = together * LANES..streams.len().min((together + 1) * LANES);
            self.advance_all(&mut chains[of.clone()], &streams[of]);
        }
        let ended = chains.into_iter().map(|chains| chains.into_iter().flat_map(chain::finish));
        ended.map(|digests| collect(algo, digests)).collect()
    }

    /// Advances each stream's chains to its end, a slice at a time.
    fn advance_all(self, chains: &mut [Vec<Chain>], streams: &[&[u8]]) {
        let longest = streams.iter().map(|stream| stream.len()).max().unwrap_or_default();
        let Some(kinds) = chains.first().map(|chains| chains.iter().map(Chain::kind)) else {
            return;
        };
        let (parts, slices) =
            (kinds.len(), kinds.map(|kind| kind.slice_bytes(self, streams.len())));
        let step = slices.min().unwrap_or(usize::MAX);
        for from in (0..longest).step_by(step) {
            for part in 0..parts {
                let slice = |stream: &'_ [u8]| {
                    let len = stream.len();
                    from.min(len)..len.min(from + step)
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

    /// Bytes that a worker hashes at once while there are so many streams, all of them together.
    #[must_use]
    pub fn slice_bytes(self, algo: HashAlgo, streams: usize) -> usize {
        let kind = chain::chains(self, algo).first().map_or(Kind::Alone, Chain::kind);
        let lanes = streams.min(kind.width());
        lanes * kind.slice_bytes(self, lanes)
    }
}

/// Whether these are the answers of every kernel that there is: any number of lanes from one to
/// eight, over lengths that carry, pad, and end at different times.
fn are_known(digests: impl Fn(HashAlgo, &[&[u8]]) -> Vec<Digests>) -> bool {
    let portable = |algo, streams: &[&[u8]]| Tier::PORTABLE.digests(algo, streams);
    let noise: Vec<u8> = (0..1500_u32).map(|at| ((at * at) >> 3).to_le_bytes()[0]).collect();
    let same = [HashAlgo::Sha384, HashAlgo::Sha512_256]
        .into_iter()
        .all(|algo| digests(algo, &[&noise]) == portable(algo, &[&noise]));
    same && [HashAlgo::Sha512, HashAlgo::Sha256, HashAlgo::Sha3_256].into_iter().all(|algo| {
        (1..=8).all(|lanes: usize| {
            let streams: Vec<&[u8]> = (0..lanes).map(|n| &noise[n..1401 + 13 * n]).collect();
            digests(algo, &streams) == portable(algo, &streams)
        }) && digests(algo, &[b"abc"]) == [abc(algo)]
    })
}

/// Those that may be used.
pub(super) fn usable(
    checked: impl IntoIterator<Item = (Tier, Result<(), TierError>)>,
) -> Vec<Tier> {
    let checked = checked.into_iter();
    checked.filter(|(_, checked)| is_usable(checked)).map(|(tier, _)| tier).collect()
}

/// Whether a tier may be used; warns of one that computes wrong digests.
fn is_usable(checked: &Result<(), TierError>) -> bool {
    if let Err(TierError::Wrong(name)) = checked {
        tracing::warn!(tier = name, "these hashing kernels gave a wrong digest; not used");
    }
    checked.is_ok()
}

/// Streams that [`Tier::digests`] advances together.
const LANES: usize = 8;

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
