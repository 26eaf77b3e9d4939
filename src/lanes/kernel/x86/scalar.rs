//! MD5 on the scalar registers: a chain of 4.5 cycles a step, which nothing can make shorter and
//! which leaves the vector unit free.
//!
//! The steps are instructions and not Rust. The compiler would add the constants last, on the
//! critical path, turn the `+` of G back into `|`, spill the message to the stack and gather the
//! four words in a vector at the end of each block: measured, a tenth of MD5's time. It still
//! chooses the registers, and puts the steps where `tie` lets it.

use std::arch::asm;

use super::super::words::{Half, MD5_K, md5_rotation, md5_word};

/// The instructions of step `$step` with constant `$k`. The word and the constant are added early;
/// `$line`s add the function, and need the newest word `b` as late as they can.
macro_rules! step {
    ($step:ident, $k:expr, $words:expr, $block:ident, $($line:literal),+) => {{
        let (a, b, c, d) = $words;
        // SAFETY: the instructions write only operands that are declared as written, use no stack,
        // and read 4 bytes at a multiple of 4 below 64, which `block` has.
        unsafe {
            asm!(
                "mov {t:e}, dword ptr [{block} + {at}]",
                "lea {a:e}, [{a:r} + {t:r} + {k}]",
                $($line,)+
                "rorx {a:e}, {a:e}, {right}",
                "add {a:e}, {b:e}",
                a = inout(reg) *a,
                b = in(reg) b,
                c = in(reg) c,
                d = in(reg) d,
                t = out(reg) _,
                block = in(reg) $block.as_ptr(),
                at = const 4 * md5_word($step),
                k = const $k.cast_signed(),
                right = const 32 - md5_rotation($step),
                options(pure, readonly, nostack),
            );
        }
    }};
}

/// Step `STEP` of 64.
#[inline]
#[target_feature(enable = "bmi1,bmi2")]
pub(super) fn step<const STEP: usize>(words: &mut [u32; 4], block: &Half) {
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| (64 + at - STEP) % 4);
    let (b, c, d) = (words[b], words[c], words[d]);
    let words = (&mut words[a], b, c, d);
    match STEP / 16 {
        // ((c ^ d) & b) ^ d
        0 => step!(
            STEP,
            MD5_K[STEP],
            words,
            block,
            "mov {t:e}, {c:e}",
            "xor {t:e}, {d:e}",
            "and {t:e}, {b:e}",
            "xor {t:e}, {d:e}",
            "add {a:e}, {t:e}"
        ),
        // (c & !d) + (b & d): the halves share no bit, and the one without `b` is added early.
        1 => step!(
            STEP,
            MD5_K[STEP],
            words,
            block,
            "andn {t:e}, {d:e}, {c:e}",
            "add {a:e}, {t:e}",
            "mov {t:e}, {d:e}",
            "and {t:e}, {b:e}",
            "add {a:e}, {t:e}"
        ),
        // c ^ d ^ b
        2 => step!(
            STEP,
            MD5_K[STEP],
            words,
            block,
            "mov {t:e}, {c:e}",
            "xor {t:e}, {d:e}",
            "xor {t:e}, {b:e}",
            "add {a:e}, {t:e}"
        ),
        // c ^ (b | !d) is the complement of c ^ (!b & d); to add it is to subtract that and one.
        _ => step!(
            STEP,
            MD5_K[STEP].wrapping_sub(1),
            words,
            block,
            "andn {t:e}, {b:e}, {d:e}",
            "xor {t:e}, {c:e}",
            "sub {a:e}, {t:e}"
        ),
    }
}

/// All words of `words` plus those of `before`: what ends a block.
#[inline]
#[target_feature(enable = "bmi1,bmi2")]
pub(super) fn feed_forward(words: &mut [u32; 4], before: &[u32; 4]) {
    for (word, before) in words.iter_mut().zip(before) {
        *word = pin(word.wrapping_add(*before));
    }
}

/// Makes a value opaque to the compiler, which would else add all four in a vector.
#[inline(always)]
fn pin(mut value: u32) -> u32 {
    // SAFETY: the assembly is empty, so it keeps every promise of its options.
    unsafe {
        asm!("/* {0:e} */", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
    }
    value
}
