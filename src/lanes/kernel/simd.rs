//! Packs the blocks of several streams into the kernels of one instruction set.
//!
//! Streams of different lengths run together until the shortest ends; idle lanes repeat the first
//! stream, and what they compute is thrown away.

use super::words::{Block, Half, Words};
pub(super) use super::x86::sha256::Words256;
use super::x86::{avx2, avx512, sha256};

/// A set of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Simd {
    Avx512,
    Avx2,
}

/// One stream's chaining values and its next blocks.
#[derive(Debug)]
pub(super) struct Lane<'a, W, B> {
    pub(super) words: &'a mut W,
    pub(super) blocks: &'a [B],
}

/// Names of the features that this CPU lacks.
macro_rules! missing {
    ($($feature:tt),*) => {{
        let all = [$(($feature, std::arch::is_x86_feature_detected!($feature))),*];
        all.into_iter().filter(|(_, is_there)| !is_there).map(|(name, _)| name).collect()
    }};
}

impl Simd {
    /// Best first.
    pub(super) const ALL: [Self; 2] = [Self::Avx512, Self::Avx2];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
        }
    }

    /// What this CPU has not and the kernels need.
    pub(super) fn lacks(self) -> Vec<&'static str> {
        match self {
            Self::Avx512 => {
                missing!("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx2", "bmi1", "bmi2")
            }
            Self::Avx2 => missing!("avx2", "bmi1", "bmi2"),
        }
    }

    /// Whether the CPU has SHA-256 in instructions.
    pub(super) fn has_sha256(self) -> bool {
        let missing: Vec<_> = missing!("sha", "ssse3", "sse4.1", "bmi1", "bmi2");
        missing.is_empty()
    }

    /// Streams that are better packed on one core than spread over two. AVX-512 is about six times
    /// as fast with eight as with one. AVX2 gains a quarter from the second four, and another core
    /// doubles.
    pub(super) fn pack(self) -> usize {
        match self {
            Self::Avx512 => 8,
            Self::Avx2 => 4,
        }
    }

    /// Nanoseconds in which `lanes` streams advance MD5 and SHA-512 by a KiB each: what the kernels
    /// take that [`run_avx512`] and [`run_avx2`] choose for so many, on a Xeon of the fifth
    /// generation at 2.5 GHz, the slower of the two that they were measured on.
    pub(super) fn nanos_per_kib(self, lanes: usize) -> usize {
        match (self, lanes) {
            (Self::Avx512, 0 | 1) => 1850,
            (Self::Avx512, 2) => 2350,
            (Self::Avx512, 3 | 4) => 3000,
            (Self::Avx512, 5) => 4900,
            (Self::Avx512, _) => 4700,
            (Self::Avx2, 0 | 1) => 2750,
            (Self::Avx2, 2) => 3150,
            (Self::Avx2, 3 | 4) => 6800,
            (Self::Avx2, 5) => 9600,
            (Self::Avx2, 6) => 9900,
            (Self::Avx2, _) => 11_100,
        }
    }

    /// Stops before an instruction that this CPU has not. The standard library remembers what the
    /// CPU has, so this costs a few loads a slice.
    fn require(self) {
        assert!(self.lacks().is_empty(), "{} kernels on another CPU", self.name());
    }

    /// Advances MD5 and SHA-512 of every lane by all of its blocks.
    pub(super) fn fused512(self, lanes: Vec<Lane<'_, Words, Block>>) {
        self.require();
        drain(lanes, |lanes, count| match self {
            Self::Avx512 => run_avx512(lanes, count),
            Self::Avx2 => run_avx2(lanes, count),
        });
    }

    /// Advances MD5 and SHA-256 of one stream by all of its blocks.
    pub(super) fn fused256(self, lane: Lane<'_, Words256, Half>) {
        assert!(self.has_sha256(), "no SHA instructions");
        // SAFETY: the kernel needs the features that `has_sha256` has just seen.
        unsafe { sha256::x1(lane.words, lane.blocks) }
    }

    /// Advances MD5 of every lane by all of its blocks.
    pub(super) fn md5(self, lanes: Vec<Lane<'_, [u32; 4], Half>>) {
        self.require();
        drain(lanes, |lanes, count| pack(lanes, count, |words, data| self.md5_x8(words, data)));
    }

    fn md5_x8(self, words: &mut [[u32; 4]; 8], data: [&[Half]; 8]) {
        match self {
            // SAFETY: the kernel needs AVX-512, which `require` has seen.
            Self::Avx512 => unsafe { avx512::md5_x8(words, data) },
            // SAFETY: the kernel needs AVX2, which `require` has seen.
            Self::Avx2 => unsafe { avx2::md5_x8(words, data) },
        }
    }
}

/// Up to eight lanes. Five run as four and one, which is cheaper than eight with three idle.
fn run_avx512(lanes: &mut [Lane<'_, Words, Block>], count: usize) {
    match lanes.len() {
        // SAFETY: the kernel needs AVX-512, which `require` has seen.
        1 => pack(lanes, count, |words, data| unsafe { avx512::x1(words, data) }),
        // SAFETY: as above.
        2 => pack(lanes, count, |words, data| unsafe { avx512::x2(words, data) }),
        // SAFETY: as above.
        3 | 4 => pack(lanes, count, |words, data| unsafe { avx512::x4(words, data) }),
        5 => split(lanes, count, run_avx512),
        // SAFETY: as above.
        _ => pack(lanes, count, |words, data| unsafe { avx512::x8(words, data) }),
    }
}

/// Up to eight lanes. Five and six run as four and the rest.
fn run_avx2(lanes: &mut [Lane<'_, Words, Block>], count: usize) {
    match lanes.len() {
        // SAFETY: the kernel needs AVX2, BMI1 and BMI2, which `require` has seen.
        1 => pack(lanes, count, |words, data| unsafe { avx2::x1(words, data) }),
        // SAFETY: as above.
        2 => pack(lanes, count, |words, data| unsafe { avx2::x2(words, data) }),
        // SAFETY: as above.
        3 | 4 => pack(lanes, count, |words, data| unsafe { avx2::x4(words, data) }),
        5 | 6 => split(lanes, count, run_avx2),
        // SAFETY: as above.
        _ => pack(lanes, count, |words, data| unsafe { avx2::x8(words, data) }),
    }
}

/// Four lanes, then the others.
fn split<'a>(
    lanes: &mut [Lane<'a, Words, Block>],
    count: usize,
    run: fn(&mut [Lane<'a, Words, Block>], usize),
) {
    let (four, rest) = lanes.split_at_mut(4);
    run(four, count);
    run(rest, count);
}

/// Lanes that the widest kernel takes.
const WIDTH: usize = 8;

/// Runs lanes together until each is at its end.
fn drain<W, B>(mut lanes: Vec<Lane<'_, W, B>>, run: impl Fn(&mut [Lane<'_, W, B>], usize)) {
    loop {
        lanes.retain(|lane| !lane.blocks.is_empty());
        let Some(count) = lanes.iter().map(|lane| lane.blocks.len()).min() else { return };
        lanes.chunks_mut(WIDTH).for_each(|together| run(together, count));
        for lane in &mut lanes {
            lane.blocks = &lane.blocks[count..];
        }
    }
}

/// Gathers at most `N` lanes, runs a kernel over `count` blocks of each, and scatters.
fn pack<W: Copy, B, const N: usize>(
    lanes: &mut [Lane<'_, W, B>],
    count: usize,
    kernel: impl FnOnce(&mut [W; N], [&[B]; N]),
) {
    let at = |n: usize| if n < lanes.len() { n } else { 0 };
    let mut words: [W; N] = std::array::from_fn(|n| *lanes[at(n)].words);
    kernel(&mut words, std::array::from_fn(|n| &lanes[at(n)].blocks[..count]));
    for (lane, words) in lanes.iter_mut().zip(words) {
        *lane.words = words;
    }
}
