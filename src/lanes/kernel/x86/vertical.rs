//! Shape of the kernels with one stream to a lane: MD5 in lanes of 32 bits, SHA-512 in lanes of
//! 64, and both in one sequence of instructions.

/// SHA-512's round `$t`; the schedule is a ring of 16 words.
macro_rules! sha512_round {
    ($ops:ident, $s:ident, $w:ident, $k:expr, $t:expr) => {{
        let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| (80 + at - $t) % 8);
        let early = $ops::add64($s[h], $ops::add64($w[$t % 16], $ops::splat64($k)));
        let chosen = $ops::choose($s[e], $s[f], $s[g]);
        let sum = $ops::add64($ops::add64($ops::pin64(early), chosen), $ops::big1($s[e]));
        let rest = $ops::add64($ops::big0($s[a]), $ops::majority($s[a], $s[b], $s[c]));
        $s[d] = $ops::add64($s[d], sum);
        $s[h] = $ops::add64(sum, rest);
    }};
}

/// Replaces the schedule's word `$t` by word `$t + 16`.
macro_rules! sha512_expand {
    ($ops:ident, $w:ident, $t:expr) => {
        $w[$t % 16] =
            $ops::expand($w[$t % 16], $w[($t + 1) % 16], $w[($t + 9) % 16], $w[($t + 14) % 16])
    };
}

/// MD5's step `$step` with its function `$f`.
macro_rules! md5_step {
    ($ops:ident, $f:ident, $m:ident, $x:ident, $step:expr) => {{
        const STEP: usize = $step;
        const LEFT: i32 = md5_rotation(STEP).cast_signed();
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| (64 + at - STEP) % 4);
        let word = $ops::add32($x[md5_word(STEP)], $ops::splat32(MD5_K[STEP]));
        let early = $ops::pin32($ops::add32($m[a], word));
        let sum = $ops::add32(early, $ops::$f($m[b], $m[c], $m[d]));
        $m[a] = $ops::add32($ops::rotate32::<LEFT, { 32 - LEFT }>(sum), $m[b]);
    }};
}

/// Sixteen rounds from `$k` on, or steps from `16 * $q` on: the macro `$one` of each.
macro_rules! sixteen {
    ($one:ident) => {{
        $one!(0);
        $one!(1);
        $one!(2);
        $one!(3);
        $one!(4);
        $one!(5);
        $one!(6);
        $one!(7);
        $one!(8);
        $one!(9);
        $one!(10);
        $one!(11);
        $one!(12);
        $one!(13);
        $one!(14);
        $one!(15);
    }};
}

macro_rules! md5_quarter {
    ($ops:ident, $f:ident, $m:ident, $x:ident, $q:literal) => {{
        macro_rules! one {
            ($at:literal) => {
                md5_step!($ops, $f, $m, $x, 16 * $q + $at)
            };
        }
        sixteen!(one);
    }};
}

/// A kernel for MD5 of `$n` streams.
macro_rules! md5_kernel {
    ($(#[$doc:meta])* $name:ident, $n:literal, $features:literal, $ops:ident) => {
        $(#[$doc])*
        #[target_feature(enable = $features)]
        pub(in crate::lanes::kernel) fn $name(md5: &mut [[u32; 4]; $n], data: [&[Half]; $n]) {
            use crate::lanes::kernel::x86::equally_long;
            use crate::lanes::kernel::x86::vertical::{md5_quarter, md5_step, sixteen};
            let mut m = $ops::join32(md5);
            for at in 0..equally_long(&data) {
                let x = $ops::load32(data.map(|blocks| &blocks[at]));
                let before = m;
                md5_quarter!($ops, f, m, x, 0);
                md5_quarter!($ops, g, m, x, 1);
                md5_quarter!($ops, h, m, x, 2);
                md5_quarter!($ops, i, m, x, 3);
                for i in 0..4 {
                    m[i] = $ops::add32(m[i], before[i]);
                }
            }
            *md5 = $ops::split32(m);
        }
    };
}

/// A kernel for SHA-512 of `$n` streams.
macro_rules! sha512_kernel {
    ($(#[$doc:meta])* $name:ident, $n:literal, $features:literal, $ops:ident) => {
        $(#[$doc])*
        #[target_feature(enable = $features)]
        pub(in crate::lanes::kernel) fn $name(sha: &mut [[u64; 8]; $n], data: [&[Block]; $n]) {
            use crate::lanes::kernel::x86::equally_long;
            use crate::lanes::kernel::x86::vertical::{sha512_expand, sha512_round, sixteen};
            let mut s = $ops::join64(sha);
            let (first, last) = SHA512_K.split_at(64);
            for at in 0..equally_long(&data) {
                let mut w = $ops::load64(data.map(|blocks| &blocks[at]));
                let before = s;
                for k in first.as_chunks::<16>().0 {
                    macro_rules! one {
                        ($t:literal) => {{
                            sha512_round!($ops, s, w, k[$t], $t);
                            sha512_expand!($ops, w, $t);
                        }};
                    }
                    sixteen!(one);
                }
                macro_rules! one {
                    ($t:literal) => {
                        sha512_round!($ops, s, w, last[$t], $t)
                    };
                }
                sixteen!(one);
                for i in 0..8 {
                    s[i] = $ops::add64(s[i], before[i]);
                }
            }
            *sha = $ops::split64(s);
        }
    };
}

/// Round `$t` of a block, what it leaves for a later one, and a tie to MD5.
macro_rules! fused_round {
    ($ops:ident, $s:ident, $w:ident, $m:ident, $t:expr) => {{
        sha512_round!($ops, $s, $w, SHA512_K[$t], $t);
        if $t < 64 {
            sha512_expand!($ops, $w, $t);
        }
        $ops::tie(&mut $m[0], &mut $s[(79 - $t) % 8]);
    }};
}

/// A sixteenth of a block: five rounds and eight steps.
macro_rules! fused_unit {
    ($ops:ident, $f:ident, $s:ident, $w:ident, $m:ident, $x:ident, $u:literal) => {{
        fused_round!($ops, $s, $w, $m, (5 * $u));
        md5_step!($ops, $f, $m, $x, 8 * ($u % 8));
        md5_step!($ops, $f, $m, $x, 8 * ($u % 8) + 1);
        fused_round!($ops, $s, $w, $m, (5 * $u + 1));
        md5_step!($ops, $f, $m, $x, 8 * ($u % 8) + 2);
        md5_step!($ops, $f, $m, $x, 8 * ($u % 8) + 3);
        fused_round!($ops, $s, $w, $m, (5 * $u + 2));
        md5_step!($ops, $f, $m, $x, 8 * ($u % 8) + 4);
        fused_round!($ops, $s, $w, $m, (5 * $u + 3));
        md5_step!($ops, $f, $m, $x, 8 * ($u % 8) + 5);
        md5_step!($ops, $f, $m, $x, 8 * ($u % 8) + 6);
        fused_round!($ops, $s, $w, $m, (5 * $u + 4));
        md5_step!($ops, $f, $m, $x, 8 * ($u % 8) + 7);
    }};
}

/// A kernel for MD5 and SHA-512 of `$n` streams.
macro_rules! fused_kernel {
    ($(#[$doc:meta])* $name:ident, $n:literal, $features:literal, $ops:ident) => {
        $(#[$doc])*
        #[target_feature(enable = $features)]
        pub(in crate::lanes::kernel) fn $name(words: &mut [Words; $n], data: [&[Block]; $n]) {
            use crate::lanes::kernel::x86::vertical::{
                fused_round, fused_unit, md5_step, sha512_expand, sha512_round,
            };
            use crate::lanes::kernel::x86::{equally_long, window};
            let mut m = $ops::join32(&words.map(|words| words.md5));
            let mut s = $ops::join64(&words.map(|words| words.sha));
            for at in 0..equally_long(&data) {
                let blocks = data.map(|blocks| &blocks[at]);
                let mut w = $ops::load64(blocks);
                let (s_before, m_before) = (s, m);
                let x = $ops::load32(blocks.map(|block| window(block, 0)));
                fused_unit!($ops, f, s, w, m, x, 0);
                fused_unit!($ops, f, s, w, m, x, 1);
                fused_unit!($ops, g, s, w, m, x, 2);
                fused_unit!($ops, g, s, w, m, x, 3);
                fused_unit!($ops, h, s, w, m, x, 4);
                fused_unit!($ops, h, s, w, m, x, 5);
                fused_unit!($ops, i, s, w, m, x, 6);
                fused_unit!($ops, i, s, w, m, x, 7);
                for i in 0..4 {
                    m[i] = $ops::add32(m[i], m_before[i]);
                }
                let m_before = m;
                let x = $ops::load32(blocks.map(|block| window(block, 64)));
                fused_unit!($ops, f, s, w, m, x, 8);
                fused_unit!($ops, f, s, w, m, x, 9);
                fused_unit!($ops, g, s, w, m, x, 10);
                fused_unit!($ops, g, s, w, m, x, 11);
                fused_unit!($ops, h, s, w, m, x, 12);
                fused_unit!($ops, h, s, w, m, x, 13);
                fused_unit!($ops, i, s, w, m, x, 14);
                fused_unit!($ops, i, s, w, m, x, 15);
                for i in 0..4 {
                    m[i] = $ops::add32(m[i], m_before[i]);
                }
                for i in 0..8 {
                    s[i] = $ops::add64(s[i], s_before[i]);
                }
            }
            let (md5, sha) = ($ops::split32(m), $ops::split64(s));
            *words = std::array::from_fn(|i| Words { md5: md5[i], sha: sha[i] });
        }
    };
}

pub(super) use {
    fused_kernel, fused_round, fused_unit, md5_kernel, md5_quarter, md5_step, sha512_expand,
    sha512_kernel, sha512_round, sixteen,
};
