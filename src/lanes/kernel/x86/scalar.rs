//! MD5 on the scalar registers: a chain of 4.5 cycles a step, which nothing can make shorter and
//! which leaves the vector unit free.

use std::arch::asm;

use super::super::words::{Half, MD5_K, md5_rotation, md5_word};

/// Makes a value opaque to the compiler. It would else add the constants last, on the critical
/// path, and turn the `+` of G back into `|`.
#[inline(always)]
fn pin(mut value: u32) -> u32 {
    // SAFETY: the assembly is empty, so it keeps every promise of its options.
    unsafe {
        asm!("/* {0:e} */", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
    }
    value
}

/// Step `STEP` of 64.
#[inline(always)]
pub(super) fn step<const STEP: usize>(words: &mut [u32; 4], block: &Half) {
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| (64 + at - STEP) % 4);
    let (b, c, d) = (words[b], words[c], words[d]);
    let at = 4 * const { md5_word(STEP) };
    let word = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let sum = words[a].wrapping_add(const { MD5_K[STEP] }).wrapping_add(word);
    let sum = match STEP / 16 {
        0 => pin(sum).wrapping_add(((c ^ d) & b) ^ d),
        // The halves of G share no bit: the one without `b`, the newest word, is added early.
        1 => pin(sum.wrapping_add(!d & c)).wrapping_add(d & b),
        2 => pin(sum).wrapping_add(pin(c ^ d) ^ b),
        _ => pin(sum).wrapping_add(c ^ (b | !d)),
    };
    words[a] = sum.rotate_left(const { md5_rotation(STEP) }).wrapping_add(b);
}

/// All words of `words` plus those of `before`: what ends a block.
#[inline(always)]
pub(super) fn feed_forward(words: &mut [u32; 4], before: &[u32; 4]) {
    for (word, before) in words.iter_mut().zip(before) {
        *word = word.wrapping_add(*before);
    }
}
