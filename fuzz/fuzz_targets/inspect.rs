//! Images of every format, broken in every way, cut anywhere.
#![no_main]

use glissade::inspect::fuzzing;

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    fuzzing::pass_by(script);
});
