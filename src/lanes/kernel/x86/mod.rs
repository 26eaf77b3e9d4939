//! Kernels for x86-64, in two shapes whose logic is written once and instantiated for each
//! instruction set.
//!
//! - [`pair`]: one or two streams. SHA-512's `(e, a)`, `(f, b)`, `(g, c)`, `(h, d)` are the halves
//!   of four vectors, MD5 runs beside them on the scalar registers, which are free.
//! - [`vertical`]: one stream to a lane, four or eight of them; fused with AVX-512, MD5 after
//!   SHA-512 with AVX2, which has too few registers for both.
//!
//! [`sha256`] is the fused kernel for MD5 with SHA-256.
//!
//! A shape takes its operations from a module of small functions, `ops`. All of them carry
//! `#[target_feature]`, so calling them from a kernel with the same features is safe, and what is
//! left of `unsafe` are loads, stores, MD5's scalar step and empty assembly.
//!
//! Empty assembly keeps two habits of the compiler away, each measured: adding round constants
//! last, on the critical path (`pin`, a tenth), and undoing the interleaving of the two hashes
//! (`tie`, a quarter). It emits no instruction.

pub(super) mod avx2;
pub(super) mod avx512;
mod pair;
mod scalar;
pub(super) mod sha256;
mod vertical;

use std::arch::x86_64::{__m128i, __m256i, _mm_loadu_si128, _mm256_storeu_si256};

/// The `at`th 16 bytes of a block.
#[inline]
#[target_feature(enable = "sse2")]
fn load16(block: &[u8], at: usize) -> __m128i {
    let bytes = window::<u8, 16>(block, 16 * at);
    // SAFETY: loadu reads 16 bytes of any alignment; `bytes` has them.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Stores four words.
#[inline]
#[target_feature(enable = "avx")]
fn store(words: __m256i, to: &mut [u64; 4]) {
    // SAFETY: storeu writes 32 bytes of any alignment; `to` has them and is borrowed for this.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), words) }
}

/// `N` items from `at` on; the compiler then knows their number and checks no index.
#[inline(always)]
fn window<T, const N: usize>(items: &[T], at: usize) -> &[T; N] {
    let Some(window) = items[at..].first_chunk() else { outside() };
    window
}

/// As [`window`].
#[inline(always)]
fn window_mut<T, const N: usize>(items: &mut [T], at: usize) -> &mut [T; N] {
    let Some(window) = items[at..].first_chunk_mut() else { outside() };
    window
}

#[cold]
fn outside() -> ! {
    panic!("a window outside of its items")
}

/// Panics unless every lane has as many blocks as the first, and answers how many.
fn equally_long<T>(data: &[&[T]]) -> usize {
    let count = data[0].len();
    assert!(data.iter().all(|blocks| blocks.len() == count), "lanes of different lengths");
    count
}
