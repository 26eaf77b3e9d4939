//! The AVX2 tier: fused kernels for one and two streams, lanes for more.
//!
//! With 16 registers and rotations of three instructions there is no room to fuse the lanes: eight
//! lanes of MD5 run after four of SHA-512, slice by slice.

use super::super::words::{Block, Half, MD5_K, SHA512_K, Words, md5_rotation, md5_word};
use super::pair::pair_kernel;
use super::vertical::{md5_kernel, sha512_kernel};

pair_kernel! {
    /// MD5 and SHA-512 of one stream.
    x1, 1, "avx2,bmi1,bmi2", pair
}
pair_kernel! {
    /// MD5 and SHA-512 of two streams.
    x2, 2, "avx2,bmi1,bmi2", pair
}
md5_kernel! {
    /// MD5 of eight streams.
    md5_x8, 8, "avx2", md5
}
sha512_kernel! {
    /// SHA-512 of four streams.
    sha512_x4, 4, "avx2", sha512
}

/// MD5 and SHA-512 of four streams, one hash after the other.
#[target_feature(enable = "avx2,bmi1,bmi2")]
pub(in crate::lanes::kernel) fn x4(words: &mut [Words; 4], data: [&[Block]; 4]) {
    let mut md5 = std::array::from_fn(|i| words[i % 4].md5);
    let mut sha = words.map(|words| words.sha);
    md5_x8(&mut md5, std::array::from_fn(|i| halves(data[i % 4])));
    sha512_x4(&mut sha, data);
    *words = std::array::from_fn(|i| Words { md5: md5[i], sha: sha[i] });
}

/// MD5 and SHA-512 of eight streams, one hash after the other.
#[target_feature(enable = "avx2,bmi1,bmi2")]
pub(in crate::lanes::kernel) fn x8(words: &mut [Words; 8], data: [&[Block]; 8]) {
    let mut md5 = words.map(|words| words.md5);
    md5_x8(&mut md5, data.map(halves));
    let mut sha = [0, 4].map(|from| std::array::from_fn(|i| words[from + i].sha));
    sha512_x4(&mut sha[0], std::array::from_fn(|i| data[i]));
    sha512_x4(&mut sha[1], std::array::from_fn(|i| data[4 + i]));
    *words = std::array::from_fn(|i| Words { md5: md5[i], sha: sha[i / 4][i % 4] });
}

/// SHA-512's blocks as MD5's.
fn halves(blocks: &[Block]) -> &[Half] {
    blocks.as_flattened().as_chunks().0
}

/// Operations of the pair shape.
mod pair {
    use std::arch::x86_64::*;

    pub(super) use super::super::pair::ops::*;
    pub(super) use super::sha512::expand;

    /// Both sums of a round: of `e` in the low, of `a` in the high half.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn sums<const N: usize>(ea: __m256i) -> __m256i {
        let rotated = |e: i64, a: i64| {
            let right = _mm256_srlv_epi64(ea, _mm256_set_epi64x(a, e, a, e));
            let left = _mm256_set_epi64x(64 - a, 64 - e, 64 - a, 64 - e);
            _mm256_xor_si256(right, _mm256_sllv_epi64(ea, left))
        };
        let two = _mm256_xor_si256(rotated(14, 28), rotated(18, 34));
        let two = if N == 1 { pin(two) } else { two };
        _mm256_xor_si256(two, rotated(41, 39))
    }

    /// Choice of `e` in the low, majority of `a` in the high half.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn choose_majority(ea: __m256i, fb: __m256i, gc: __m256i) -> __m256i {
        let low = _mm256_set_epi64x(0, -1, 0, -1);
        let rest = _mm256_and_si256(gc, _mm256_or_si256(fb, low));
        _mm256_xor_si256(_mm256_and_si256(ea, _mm256_xor_si256(fb, gc)), rest)
    }

    /// Adds a row's low words to the low half, and clears the high one.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn add_row(hd: __m256i, row: &[u64; 4]) -> __m256i {
        let sum = _mm256_add_epi64(hd, load_row(row));
        _mm256_blend_epi32::<0b1100_1100>(sum, _mm256_setzero_si256())
    }
}

/// Operations on four lanes of 64 bits.
pub(super) mod sha512 {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::super::super::words::Block;
    use super::super::pair::ops::two_words;
    use super::super::store;

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn add64(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi64(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn splat64(k: u64) -> __m256i {
        _mm256_set1_epi64x(k.cast_signed())
    }

    /// Makes a value opaque to the compiler.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn pin64(mut v: __m256i) -> __m256i {
        // SAFETY: the assembly is empty, so it keeps every promise of its options.
        unsafe {
            asm!("/* {0} */", inout(ymm_reg) v, options(pure, nomem, nostack, preserves_flags));
        }
        v
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        _mm256_xor_si256(_mm256_xor_si256(a, b), c)
    }

    /// Rotates right by `RIGHT`; `LEFT` is the rest to 64.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn rotate<const RIGHT: i32, const LEFT: i32>(x: __m256i) -> __m256i {
        _mm256_or_si256(_mm256_srli_epi64::<RIGHT>(x), _mm256_slli_epi64::<LEFT>(x))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn big0(a: __m256i) -> __m256i {
        xor3(rotate::<28, 36>(a), rotate::<34, 30>(a), rotate::<39, 25>(a))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn big1(e: __m256i) -> __m256i {
        xor3(rotate::<14, 50>(e), rotate::<18, 46>(e), rotate::<41, 23>(e))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn small0(w: __m256i) -> __m256i {
        let by_8 = _mm256_set_epi64x(
            0x080f0e0d0c0b0a09,
            0x0007060504030201,
            0x080f0e0d0c0b0a09,
            0x0007060504030201,
        );
        xor3(rotate::<1, 63>(w), _mm256_shuffle_epi8(w, by_8), _mm256_srli_epi64::<7>(w))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn small1(w: __m256i) -> __m256i {
        xor3(rotate::<19, 45>(w), rotate::<61, 3>(w), _mm256_srli_epi64::<6>(w))
    }

    /// A later word of the schedule.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn expand(w0: __m256i, w1: __m256i, w9: __m256i, w14: __m256i) -> __m256i {
        add64(add64(w0, w9), add64(small0(w1), small1(w14)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn choose(e: __m256i, f: __m256i, g: __m256i) -> __m256i {
        _mm256_xor_si256(_mm256_and_si256(e, _mm256_xor_si256(f, g)), g)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn majority(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        let either = _mm256_xor_si256(a, b);
        _mm256_xor_si256(_mm256_and_si256(either, _mm256_xor_si256(b, c)), b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn load64(blocks: [&Block; 4]) -> [__m256i; 16] {
        let mut w = [_mm256_setzero_si256(); 16];
        for two in 0..8 {
            (w[2 * two], w[2 * two + 1]) = two_words(blocks, two);
        }
        w
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn join64(sha: &[[u64; 8]; 4]) -> [__m256i; 8] {
        let word = |lane: usize, i: usize| sha[lane][i].cast_signed();
        std::array::from_fn(|i| _mm256_set_epi64x(word(3, i), word(2, i), word(1, i), word(0, i)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn split64(s: [__m256i; 8]) -> [[u64; 8]; 4] {
        let mut rows = [[0; 4]; 8];
        for (row, word) in rows.iter_mut().zip(s) {
            store(word, row);
        }
        std::array::from_fn(|lane| std::array::from_fn(|i| rows[i][lane]))
    }
}

/// Operations on eight lanes of 32 bits.
pub(super) mod md5 {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::super::super::words::Half;
    use super::super::{load16, store};

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn add32(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn splat32(k: u32) -> __m256i {
        _mm256_set1_epi32(k.cast_signed())
    }

    /// Makes a value opaque to the compiler.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn pin32(mut v: __m256i) -> __m256i {
        // SAFETY: the assembly is empty, so it keeps every promise of its options.
        unsafe {
            asm!("/* {0} */", inout(ymm_reg) v, options(pure, nomem, nostack, preserves_flags));
        }
        v
    }

    /// Rotates left by `LEFT`; `RIGHT` is the rest to 32.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn rotate32<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
        if LEFT == 16 {
            let by_16 = _mm256_set_epi64x(
                0x0d0c0f0e09080b0a,
                0x0504070601000302,
                0x0d0c0f0e09080b0a,
                0x0504070601000302,
            );
            return _mm256_shuffle_epi8(x, by_16);
        }
        _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn f(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
        _mm256_xor_si256(_mm256_and_si256(_mm256_xor_si256(c, d), b), d)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn g(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
        _mm256_xor_si256(_mm256_and_si256(_mm256_xor_si256(b, c), d), c)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn h(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
        _mm256_xor_si256(_mm256_xor_si256(c, d), b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn i(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
        let not_d = _mm256_xor_si256(d, _mm256_set1_epi32(-1));
        _mm256_xor_si256(c, _mm256_or_si256(b, not_d))
    }

    /// The 16 words of eight blocks, one block to a lane.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn load32(blocks: [&Half; 8]) -> [__m256i; 16] {
        let mut x = [_mm256_setzero_si256(); 16];
        for four in 0..4 {
            let joined = |lane: usize| {
                let low = _mm256_castsi128_si256(load16(blocks[lane], four));
                _mm256_inserti128_si256::<1>(low, load16(blocks[lane + 4], four))
            };
            let (r0, r1, r2, r3) = (joined(0), joined(1), joined(2), joined(3));
            let (a, b) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
            let (c, d) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
            x[4 * four] = _mm256_unpacklo_epi64(a, c);
            x[4 * four + 1] = _mm256_unpackhi_epi64(a, c);
            x[4 * four + 2] = _mm256_unpacklo_epi64(b, d);
            x[4 * four + 3] = _mm256_unpackhi_epi64(b, d);
        }
        x
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn join32(md5: &[[u32; 4]; 8]) -> [__m256i; 4] {
        let word = |lane: usize, i: usize| {
            (u64::from(md5[lane + 1][i]) << 32 | u64::from(md5[lane][i])).cast_signed()
        };
        std::array::from_fn(|i| _mm256_set_epi64x(word(6, i), word(4, i), word(2, i), word(0, i)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    #[allow(clippy::cast_possible_truncation, reason = "the low half of a pair is what is meant")]
    pub(in super::super) fn split32(m: [__m256i; 4]) -> [[u32; 4]; 8] {
        let mut rows = [[0; 4]; 4];
        for (row, word) in rows.iter_mut().zip(m) {
            store(word, row);
        }
        let word = |lane: usize, i: usize| (rows[i][lane / 2] >> (32 * (lane % 2))) as u32;
        std::array::from_fn(|lane| std::array::from_fn(|i| word(lane, i)))
    }
}
