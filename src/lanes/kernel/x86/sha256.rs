//! MD5 with SHA-256: the SHA instructions beside scalar MD5, for one stream. SHA-256 is hidden
//! behind MD5 wholly, so lanes would gain nothing before there are many streams.

use std::arch::x86_64::*;

use super::super::words::{Half, SHA256_K};
use super::{load16, scalar, window};

/// Chaining values of MD5 and SHA-256.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Words256 {
    pub(in super::super) md5: [u32; 4],
    pub(in super::super) sha: [u32; 8],
}

/// Four rounds and four steps, group `$g` of 16.
macro_rules! group {
    ($g:literal, $s:ident, $w:ident, $md5:ident, $block:ident) => {{
        if $g >= 4 {
            let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|at| $w[($g + at) % 4]);
            let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
            $w[$g % 4] = _mm_sha256msg2_epu32(sum, w3);
        }
        let words = _mm_add_epi32($w[$g % 4], constants($g));
        $s.1 = _mm_sha256rnds2_epu32($s.1, $s.0, words);
        scalar::step::<{ 4 * $g }>($md5, $block);
        scalar::step::<{ 4 * $g + 1 }>($md5, $block);
        $s.0 = _mm_sha256rnds2_epu32($s.0, $s.1, _mm_shuffle_epi32::<0b00_00_11_10>(words));
        scalar::step::<{ 4 * $g + 2 }>($md5, $block);
        scalar::step::<{ 4 * $g + 3 }>($md5, $block);
    }};
}

/// MD5 and SHA-256 of one stream.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1,bmi1,bmi2")]
pub(in super::super) fn x1(words: &mut Words256, blocks: &[Half]) {
    let mut s = join(&words.sha);
    let md5 = &mut words.md5;
    for block in blocks {
        let before = (s, *md5);
        let mut w = [0, 1, 2, 3].map(|at| swap_bytes(load16(block, at)));
        group!(0, s, w, md5, block);
        group!(1, s, w, md5, block);
        group!(2, s, w, md5, block);
        group!(3, s, w, md5, block);
        group!(4, s, w, md5, block);
        group!(5, s, w, md5, block);
        group!(6, s, w, md5, block);
        group!(7, s, w, md5, block);
        group!(8, s, w, md5, block);
        group!(9, s, w, md5, block);
        group!(10, s, w, md5, block);
        group!(11, s, w, md5, block);
        group!(12, s, w, md5, block);
        group!(13, s, w, md5, block);
        group!(14, s, w, md5, block);
        group!(15, s, w, md5, block);
        s = (_mm_add_epi32(s.0, before.0.0), _mm_add_epi32(s.1, before.0.1));
        scalar::feed_forward(md5, &before.1);
    }
    words.sha = split(s);
}

/// The constants of group `g`.
#[inline]
#[target_feature(enable = "sse2")]
fn constants(g: usize) -> __m128i {
    let [k0, k1, k2, k3] = window(&SHA256_K, 4 * g).map(u32::cast_signed);
    _mm_set_epi32(k3, k2, k1, k0)
}

/// Big-endian words from memory.
#[inline]
#[target_feature(enable = "ssse3")]
fn swap_bytes(words: __m128i) -> __m128i {
    _mm_shuffle_epi8(words, _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203))
}

/// The state as the instructions take it: `(abef, cdgh)`, first word highest.
#[inline]
#[target_feature(enable = "sse2")]
fn join(sha: &[u32; 8]) -> (__m128i, __m128i) {
    let [a, b, c, d, e, f, g, h] = sha.map(u32::cast_signed);
    (_mm_set_epi32(a, b, e, f), _mm_set_epi32(c, d, g, h))
}

/// The reverse of [`join`].
#[inline]
#[target_feature(enable = "sse4.1")]
fn split((abef, cdgh): (__m128i, __m128i)) -> [u32; 8] {
    [
        _mm_extract_epi32::<3>(abef),
        _mm_extract_epi32::<2>(abef),
        _mm_extract_epi32::<3>(cdgh),
        _mm_extract_epi32::<2>(cdgh),
        _mm_extract_epi32::<1>(abef),
        _mm_extract_epi32::<0>(abef),
        _mm_extract_epi32::<1>(cdgh),
        _mm_extract_epi32::<0>(cdgh),
    ]
    .map(i32::cast_unsigned)
}
