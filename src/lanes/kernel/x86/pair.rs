//! Shape of the fused kernels for one and two streams.
//!
//! SHA-512's state stands in four vectors, `(e, a) (f, b) (g, c) (h, d)`, low half first, one
//! 128-bit part to a stream. Both sums of a round are then one sequence of instructions, and so
//! are the choice and the majority; the round's two additions are one to `(d, t1)`. MD5's 128
//! steps over the same block stand between the 80 rounds, on the scalar registers.
//!
//! For one stream MD5's chain is the limit, and every vector instruction less lets it come nearer:
//! on processors of Intel both share their ports.
//!
//! The message schedule of four blocks (four of one stream, or two of each) is made in the lanes
//! of one vector, while the four blocks before are hashed.

/// Words of schedule plus constant, four blocks to a row, and what a load may touch behind them.
pub(super) const ROWS: usize = 4 * 80 + 4;

/// A schedule. Aligned, as every other row would else lie across two cache lines.
#[repr(align(64))]
pub(super) struct Schedule(pub(super) [u64; ROWS]);

/// Round `$t` of a half, with `$kw` starting at the half's first row.
macro_rules! pair_round {
    ($ops:ident, $n:literal, $v:ident, $kw:ident, $t:expr) => {{
        let [ea, fb, gc, hd] = [0, 1, 2, 3].map(|at| (40 + at - $t) % 4);
        let h = $ops::add_row($v[hd], window($kw, 4 * $t));
        let chosen = $ops::choose_majority($v[ea], $v[fb], $v[gc]);
        // The low half is t1, the high half t2: the second sum and the majority.
        let sum = $ops::add($ops::sums::<$n>($v[ea]), $ops::pin($ops::add(chosen, h)));
        $v[hd] = $ops::add(sum, $ops::high_and_low($v[hd], sum));
    }};
}

/// MD5's step `$step` of unit `$u`, of each stream.
macro_rules! pair_step {
    ($ops:ident, $n:literal, $v:ident, $md5:ident, $m:ident, $u:literal, $step:literal) => {
        for i in 0..$n {
            scalar::step::<{ 8 * $u + $step }>(&mut $md5[i], $m[i]);
            $ops::tie(
                &mut $md5[i][(64 - (8 * $u + $step)) % 4],
                &mut $v[(40 - (5 * $u + $step * 5 / 8)) % 4],
            );
        }
    };
}

/// Makes word 16 and later ones of the schedule: `$at` counts from the window's start.
macro_rules! expand {
    ($ops:ident, $at:expr, $w:ident, $kw:ident, $k:ident) => {{
        let word = $ops::expand($w[$at], $w[$at + 1], $w[$at + 9], $w[$at + 14]);
        $w[$at + 16] = word;
        store($ops::add_k(word, $k[$at]), window_mut($kw, 4 * ($at)));
    }};
}

/// An eighth of a half block: five rounds, eight steps, `$n` words of the next schedule.
macro_rules! pair_unit {
    ($ops:ident, $n:literal, $u:literal, $v:ident, $kw:ident, $md5:ident, $m:ident,
     $w:ident, $next:ident, $k:ident) => {{
        pair_round!($ops, $n, $v, $kw, (5 * $u));
        pair_step!($ops, $n, $v, $md5, $m, $u, 0);
        pair_step!($ops, $n, $v, $md5, $m, $u, 1);
        pair_round!($ops, $n, $v, $kw, (5 * $u + 1));
        pair_step!($ops, $n, $v, $md5, $m, $u, 2);
        pair_step!($ops, $n, $v, $md5, $m, $u, 3);
        pair_round!($ops, $n, $v, $kw, (5 * $u + 2));
        pair_step!($ops, $n, $v, $md5, $m, $u, 4);
        expand!($ops, $n * $u, $w, $next, $k);
        pair_round!($ops, $n, $v, $kw, (5 * $u + 3));
        pair_step!($ops, $n, $v, $md5, $m, $u, 5);
        pair_step!($ops, $n, $v, $md5, $m, $u, 6);
        pair_round!($ops, $n, $v, $kw, (5 * $u + 4));
        pair_step!($ops, $n, $v, $md5, $m, $u, 7);
        if $n == 2 {
            expand!($ops, $n * $u + 1, $w, $next, $k);
        }
    }};
}

/// A kernel for `$n` streams, 1 or 2.
macro_rules! pair_kernel {
    ($(#[$doc:meta])* $name:ident, $n:literal, $features:literal, $ops:ident) => {
        $(#[$doc])*
        #[target_feature(enable = $features)]
        pub(in crate::lanes::kernel) fn $name(words: &mut [Words; $n], data: [&[Block]; $n]) {
            use crate::lanes::kernel::x86::pair::{ROWS, Schedule, expand, pair_round, pair_step, pair_unit};
            use crate::lanes::kernel::x86::{equally_long, scalar, store, window, window_mut};
            const TOGETHER: usize = 4 / $n;
            let count = equally_long(&data);
            if count == 0 {
                return;
            }
            // Behind the end the last block stands in, and is not used.
            let rows = |first: usize| -> [&Block; 4] {
                std::array::from_fn(|row| {
                    &data[row / TOGETHER][(first + row % TOGETHER).min(count - 1)]
                })
            };
            let mut md5: [[u32; 4]; $n] = std::array::from_fn(|i| words[i].md5);
            let mut v = $ops::join(std::array::from_fn::<_, $n, _>(|i| words[i].sha));
            let mut w = $ops::zeros();
            let (mut now, mut next) = (Schedule([0; ROWS]), Schedule([0; ROWS]));
            let (mut now, mut next) = (&mut now.0, &mut next.0);
            $ops::first_words(rows(0), &mut w, now);
            for t in 0..64 {
                let (w, k) = (window_mut::<_, 17>(&mut w, t), &SHA512_K[16 + t..]);
                let now = window_mut::<_, 4>(now, 64 + 4 * t);
                expand!($ops, 0, w, now, k);
            }
            for first in (0..count).step_by(TOGETHER) {
                $ops::first_words(rows(first + TOGETHER), &mut w, next);
                for b in 0..TOGETHER.min(count - first) {
                    let v_before = v;
                    for half in 0..2 {
                        let m: [&Half; $n] =
                            std::array::from_fn(|i| window(&data[i][first + b], 64 * half));
                        let kw = window::<u64, { ROWS / 2 - 1 }>(now, 160 * half + b);
                        let t = 8 * $n * (2 * b + half);
                        let w = window_mut::<_, { 16 + 8 * $n }>(&mut w, t);
                        let next = window_mut::<u64, { 32 * $n }>(next, 64 + 4 * t);
                        let k = window::<u64, { 8 * $n }>(&SHA512_K, 16 + t);
                        let md5_before = md5;
                        pair_unit!($ops, $n, 0, v, kw, md5, m, w, next, k);
                        pair_unit!($ops, $n, 1, v, kw, md5, m, w, next, k);
                        pair_unit!($ops, $n, 2, v, kw, md5, m, w, next, k);
                        pair_unit!($ops, $n, 3, v, kw, md5, m, w, next, k);
                        pair_unit!($ops, $n, 4, v, kw, md5, m, w, next, k);
                        pair_unit!($ops, $n, 5, v, kw, md5, m, w, next, k);
                        pair_unit!($ops, $n, 6, v, kw, md5, m, w, next, k);
                        pair_unit!($ops, $n, 7, v, kw, md5, m, w, next, k);
                        for i in 0..$n {
                            scalar::feed_forward(&mut md5[i], &md5_before[i]);
                        }
                    }
                    for i in 0..4 {
                        v[i] = $ops::add(v[i], v_before[i]);
                    }
                }
                std::mem::swap(&mut now, &mut next);
            }
            let sha: [[u64; 8]; $n] = $ops::split(v);
            *words = std::array::from_fn(|i| Words { md5: md5[i], sha: sha[i] });
        }
    };
}

/// The operations of the shape that are AVX2's on either tier. What `pair_kernel` needs besides
/// are `sums`, `choose_majority`, `add_row` and `expand`.
pub(super) mod ops {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::super::super::words::{Block, SHA512_K};
    use super::super::{load16, store, window_mut};
    use super::ROWS;

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn add(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi64(a, b)
    }

    /// The high half of one, then the low half of another.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn high_and_low(high: __m256i, low: __m256i) -> __m256i {
        _mm256_alignr_epi8::<8>(low, high)
    }

    /// Four words of schedule plus constant.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn load_row(row: &[u64; 4]) -> __m256i {
        // SAFETY: loadu reads 32 bytes of any alignment; `row` has them.
        unsafe { _mm256_loadu_si256(row.as_ptr().cast()) }
    }

    /// Makes a value opaque to the compiler.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn pin(mut v: __m256i) -> __m256i {
        // SAFETY: the assembly is empty, so it keeps every promise of its options.
        unsafe {
            asm!("/* {0} */", inout(ymm_reg) v, options(pure, nomem, nostack, preserves_flags));
        }
        v
    }

    /// Makes what follows on either side depend on both.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn tie(word: &mut u32, v: &mut __m256i) {
        // SAFETY: the assembly is empty, so it keeps every promise of its options.
        unsafe {
            asm!(
                "/* {0:e} {1} */",
                inout(reg) * word,
                inout(ymm_reg) * v,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
    }

    /// Chaining values of one or two streams into the four vectors.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn join<const N: usize>(sha: [[u64; 8]; N]) -> [__m256i; 4] {
        let (first, last) = (sha[0].map(u64::cast_signed), sha[N - 1].map(u64::cast_signed));
        std::array::from_fn(|i| _mm256_set_epi64x(last[i], last[i + 4], first[i], first[i + 4]))
    }

    /// The reverse of [`join`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn split<const N: usize>(v: [__m256i; 4]) -> [[u64; 8]; N] {
        let mut rows = [[0; 4]; 4];
        for (row, v) in rows.iter_mut().zip(v) {
            store(v, row);
        }
        std::array::from_fn(|n| std::array::from_fn(|i| rows[i % 4][2 * n + 1 - i / 4]))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn zeros() -> [__m256i; 80] {
        [_mm256_setzero_si256(); 80]
    }

    /// Adds a round constant to a word of each of four blocks.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn add_k(word: __m256i, k: u64) -> __m256i {
        _mm256_add_epi64(word, _mm256_set1_epi64x(k.cast_signed()))
    }

    /// The first 16 words of the schedules of four blocks, without and with their constants.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn first_words(
        blocks: [&Block; 4],
        w: &mut [__m256i; 80],
        kw: &mut [u64; ROWS],
    ) {
        for two in 0..8 {
            let (even, odd) = two_words(blocks, two);
            for (t, word) in [(2 * two, even), (2 * two + 1, odd)] {
                w[t] = word;
                store(add_k(word, SHA512_K[t]), window_mut(kw, 4 * t));
            }
        }
    }

    /// Words `2 * two` and `2 * two + 1` of four blocks, one block to a lane.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn two_words(blocks: [&Block; 4], two: usize) -> (__m256i, __m256i) {
        let reverse = _mm256_set_epi64x(
            0x08090a0b0c0d0e0f,
            0x0001020304050607,
            0x08090a0b0c0d0e0f,
            0x0001020304050607,
        );
        let joined = |low: usize, high: usize| {
            let low = _mm256_castsi128_si256(load16(blocks[low], two));
            let both = _mm256_inserti128_si256::<1>(low, load16(blocks[high], two));
            _mm256_shuffle_epi8(both, reverse)
        };
        let (even, odd) = (joined(0, 2), joined(1, 3));
        (_mm256_unpacklo_epi64(even, odd), _mm256_unpackhi_epi64(even, odd))
    }
}

pub(super) use {expand, pair_kernel, pair_round, pair_step, pair_unit};
