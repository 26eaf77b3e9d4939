//! The AVX-512 tier: every kernel fused. Rotations and functions of three operands are one
//! instruction each, and 32 registers hold both hashes.

use super::super::words::{Block, Half, MD5_K, SHA512_K, Words, md5_rotation, md5_word};
use super::pair::pair_kernel;
use super::vertical::{fused_kernel, md5_kernel};

pair_kernel! {
    /// MD5 and SHA-512 of one stream.
    x1, 1, "avx512f,avx512bw,avx512vl,avx512dq,bmi1,bmi2", pair
}
pair_kernel! {
    /// MD5 and SHA-512 of two streams.
    x2, 2, "avx512f,avx512bw,avx512vl,avx512dq,bmi1,bmi2", pair
}
fused_kernel! {
    /// MD5 and SHA-512 of four streams.
    x4, 4, "avx512f,avx512bw,avx512vl,avx512dq,bmi1,bmi2", four
}
fused_kernel! {
    /// MD5 and SHA-512 of eight streams.
    x8, 8, "avx512f,avx512bw,avx512vl,avx512dq,bmi1,bmi2", eight
}
md5_kernel! {
    /// MD5 of eight streams.
    md5_x8, 8, "avx512f,avx512bw,avx512vl,avx512dq,bmi1,bmi2", eight
}

/// Truth tables of `vpternlog`: exclusive or, choice and majority of three, and MD5's I.
const XOR: i32 = 0b1001_0110;
const CHOOSE: i32 = 0b1100_1010;
const MAJORITY: i32 = 0b1110_1000;
/// `g(b, c, d)` is the choice by `d` of `b` or `c`.
const CHOOSE_BY_LAST: i32 = 0b1110_0100;
const MD5_I: i32 = 0b0011_1001;
/// `a ^ !b` where `c` has ones, else `a`.
const XOR_NOT_IF: i32 = 0b1101_0010;

/// Operations on lanes of 64 bits in vectors `$v`.
macro_rules! lanes_of_64 {
    ($v:ident, $register:ident, $add:ident, $splat:ident, $rotate:ident, $shift:ident,
     $ternary:ident) => {
        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(in super::super) fn add64(a: $v, b: $v) -> $v {
            $add(a, b)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(in super::super) fn splat64(k: u64) -> $v {
            $splat(k.cast_signed())
        }

        /// Makes a value opaque to the compiler.
        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(in super::super) fn pin64(mut v: $v) -> $v {
            // SAFETY: the assembly is empty, so it keeps every promise of its options.
            unsafe {
                asm!("/* {0} */", inout($register) v, options(pure, nomem, nostack, preserves_flags));
            }
            v
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(in super::super) fn big0(a: $v) -> $v {
            $ternary::<XOR>($rotate::<28>(a), $rotate::<34>(a), $rotate::<39>(a))
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(in super::super) fn big1(e: $v) -> $v {
            $ternary::<XOR>($rotate::<14>(e), $rotate::<18>(e), $rotate::<41>(e))
        }

        /// A later word of the schedule.
        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(in super::super) fn expand(w0: $v, w1: $v, w9: $v, w14: $v) -> $v {
            let small0 = $ternary::<XOR>($rotate::<1>(w1), $rotate::<8>(w1), $shift::<7>(w1));
            let small1 = $ternary::<XOR>($rotate::<19>(w14), $rotate::<61>(w14), $shift::<6>(w14));
            $add($add(w0, w9), $add(small0, small1))
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(in super::super) fn choose(e: $v, f: $v, g: $v) -> $v {
            $ternary::<CHOOSE>(e, f, g)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(in super::super) fn majority(a: $v, b: $v, c: $v) -> $v {
            $ternary::<MAJORITY>(a, b, c)
        }
    };
}

/// Operations on lanes of 32 bits in vectors `$v`, and the tie to those of 64 in `$wide`.
macro_rules! lanes_of_32 {
    ($v:ident, $register:ident, $wide:ident, $wide_register:ident, $add:ident, $splat:ident,
     $rotate:ident, $ternary:ident) => {
        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(super) fn add32(a: $v, b: $v) -> $v {
            $add(a, b)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(super) fn splat32(k: u32) -> $v {
            $splat(k.cast_signed())
        }

        /// Makes a value opaque to the compiler.
        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(super) fn pin32(mut v: $v) -> $v {
            // SAFETY: the assembly is empty, so it keeps every promise of its options.
            unsafe {
                asm!("/* {0} */", inout($register) v, options(pure, nomem, nostack, preserves_flags));
            }
            v
        }

        /// Makes what follows on either side depend on both.
        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(super) fn tie(m: &mut $v, s: &mut $wide) {
            // SAFETY: the assembly is empty, so it keeps every promise of its options.
            unsafe {
                asm!("/* {0} {1} */", inout($register) *m, inout($wide_register) *s,
                    options(pure, nomem, nostack, preserves_flags));
            }
        }

        /// Rotates left by `LEFT`.
        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(super) fn rotate32<const LEFT: i32, const RIGHT: i32>(x: $v) -> $v {
            $rotate::<LEFT>(x)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(super) fn f(b: $v, c: $v, d: $v) -> $v {
            $ternary::<CHOOSE>(b, c, d)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(super) fn g(b: $v, c: $v, d: $v) -> $v {
            $ternary::<CHOOSE_BY_LAST>(b, c, d)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(super) fn h(b: $v, c: $v, d: $v) -> $v {
            $ternary::<XOR>(b, c, d)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512vl")]
        pub(super) fn i(b: $v, c: $v, d: $v) -> $v {
            $ternary::<MD5_I>(b, c, d)
        }
    };
}

/// Operations on four lanes.
mod four {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::super::super::words::Half;
    pub(super) use super::super::avx2::sha512::{join64, load64, split64};
    use super::super::load16;
    use super::{CHOOSE, CHOOSE_BY_LAST, MAJORITY, MD5_I, XOR};

    lanes_of_64!(
        __m256i,
        ymm_reg,
        _mm256_add_epi64,
        _mm256_set1_epi64x,
        _mm256_ror_epi64,
        _mm256_srli_epi64,
        _mm256_ternarylogic_epi64
    );
    lanes_of_32!(
        __m128i,
        xmm_reg,
        __m256i,
        ymm_reg,
        _mm_add_epi32,
        _mm_set1_epi32,
        _mm_rol_epi32,
        _mm_ternarylogic_epi32
    );

    /// The 16 words of four blocks, one block to a lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn load32(blocks: [&Half; 4]) -> [__m128i; 16] {
        let mut x = [_mm_setzero_si128(); 16];
        for four in 0..4 {
            let [r0, r1, r2, r3] = blocks.map(|block| load16(block, four));
            let (a, b) = (_mm_unpacklo_epi32(r0, r1), _mm_unpackhi_epi32(r0, r1));
            let (c, d) = (_mm_unpacklo_epi32(r2, r3), _mm_unpackhi_epi32(r2, r3));
            x[4 * four] = _mm_unpacklo_epi64(a, c);
            x[4 * four + 1] = _mm_unpackhi_epi64(a, c);
            x[4 * four + 2] = _mm_unpacklo_epi64(b, d);
            x[4 * four + 3] = _mm_unpackhi_epi64(b, d);
        }
        x
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn join32(md5: &[[u32; 4]; 4]) -> [__m128i; 4] {
        let word = |lane: usize, i: usize| md5[lane][i].cast_signed();
        std::array::from_fn(|i| _mm_set_epi32(word(3, i), word(2, i), word(1, i), word(0, i)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn split32(m: [__m128i; 4]) -> [[u32; 4]; 4] {
        let rows = m.map(|m| {
            [
                _mm_extract_epi32::<0>(m),
                _mm_extract_epi32::<1>(m),
                _mm_extract_epi32::<2>(m),
                _mm_extract_epi32::<3>(m),
            ]
        });
        std::array::from_fn(|lane| std::array::from_fn(|i| rows[i][lane].cast_unsigned()))
    }
}

/// Operations on eight lanes.
mod eight {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::super::super::words::Block;
    pub(super) use super::super::avx2::md5::{join32, load32, split32};
    use super::super::avx2::sha512;
    use super::{CHOOSE, CHOOSE_BY_LAST, MAJORITY, MD5_I, XOR};

    lanes_of_64!(
        __m512i,
        zmm_reg,
        _mm512_add_epi64,
        _mm512_set1_epi64,
        _mm512_ror_epi64,
        _mm512_srli_epi64,
        _mm512_ternarylogic_epi64
    );
    lanes_of_32!(
        __m256i,
        ymm_reg,
        __m512i,
        zmm_reg,
        _mm256_add_epi32,
        _mm256_set1_epi32,
        _mm256_rol_epi32,
        _mm256_ternarylogic_epi32
    );

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    fn both<const N: usize>(low: [__m256i; N], high: [__m256i; N]) -> [__m512i; N] {
        std::array::from_fn(|i| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low[i]), high[i]))
    }

    /// The 16 words of eight blocks, one block to a lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn load64(blocks: [&Block; 8]) -> [__m512i; 16] {
        let [b0, b1, b2, b3, b4, b5, b6, b7] = blocks;
        both(sha512::load64([b0, b1, b2, b3]), sha512::load64([b4, b5, b6, b7]))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn join64(sha: &[[u64; 8]; 8]) -> [__m512i; 8] {
        let [s0, s1, s2, s3, s4, s5, s6, s7] = *sha;
        both(sha512::join64(&[s0, s1, s2, s3]), sha512::join64(&[s4, s5, s6, s7]))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn split64(s: [__m512i; 8]) -> [[u64; 8]; 8] {
        let low = sha512::split64(s.map(|s| _mm512_castsi512_si256(s)));
        let high = sha512::split64(s.map(|s| _mm512_extracti64x4_epi64::<1>(s)));
        std::array::from_fn(|lane| if lane < 4 { low[lane] } else { high[lane - 4] })
    }
}

/// Operations of the pair shape.
mod pair {
    use std::arch::x86_64::*;

    pub(super) use super::super::pair::ops::*;
    pub(super) use super::four::expand;
    use super::{CHOOSE, XOR, XOR_NOT_IF};

    /// Both sums of a round: of `e` in the low, of `a` in the high half.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn sums<const N: usize>(ea: __m256i) -> __m256i {
        let rotated = |e: i64, a: i64| _mm256_rorv_epi64(ea, _mm256_set_epi64x(a, e, a, e));
        _mm256_ternarylogic_epi64::<XOR>(rotated(14, 28), rotated(18, 34), rotated(41, 39))
    }

    /// Choice of `e` in the low, majority of `a` in the high half: the majority is `b` where `a`
    /// equals it, else `c`, so it is a choice too.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn choose_majority(ea: __m256i, fb: __m256i, gc: __m256i) -> __m256i {
        let high = _mm256_set_epi64x(-1, 0, -1, 0);
        let by = _mm256_ternarylogic_epi64::<XOR_NOT_IF>(ea, fb, high);
        _mm256_ternarylogic_epi64::<CHOOSE>(by, fb, gc)
    }

    /// Adds a row's low words to the low half, and clears the high one.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn add_row(hd: __m256i, row: &[u64; 4]) -> __m256i {
        _mm256_maskz_add_epi64(0b0101, hd, load_row(row))
    }
}
