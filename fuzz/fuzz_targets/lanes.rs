//! Streams that come and go, on every tier of hashing kernels that the CPU has.
#![no_main]

use glissade::lanes::{Tier, fuzzing};

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    fuzzing::come_and_go(script, |algo, data| Tier::PORTABLE.digests(algo, &[data]).remove(0));
});
