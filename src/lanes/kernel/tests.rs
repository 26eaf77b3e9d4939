//! Goal: every kernel of every tier that this CPU has gives OpenSSL's digests.
//!
//! Method: random lengths, numbers of lanes and pieces against libcrypto. A tier that the CPU
//! lacks is named on standard error and not tested.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::simd::Simd;
use super::tier::{Tier, TierError, usable};
use super::*;
use crate::image::{Digests, HashAlgo};
use crate::lanes::fuzzing::come_and_go;
use crate::lanes::oracle::{noise, oracle};
use crate::limits::{KIB, LANE_SLICE_BYTES_MAX, LANE_SLICE_NANOS};
use crate::observe::log::logged;

fn tiers() -> Vec<Tier> {
    let available = Tier::available();
    for simd in Simd::ALL.into_iter().filter(|simd| !simd.lacks().is_empty()) {
        eprintln!("not tested: {}; this CPU lacks {:?}", simd.name(), simd.lacks());
    }
    available
}

#[test]
fn every_tier_that_the_cpu_has_passes_its_self_test() {
    let here = Simd::ALL.into_iter().filter(|simd| simd.lacks().is_empty()).map(Simd::name);
    let expected: Vec<_> = here.chain(["portable"]).collect();
    assert_eq!(tiers().iter().map(|tier| tier.name()).collect::<Vec<_>>(), expected);
}

#[test]
fn every_length_up_to_three_blocks_for_every_algorithm() {
    let data = noise(1, 385);
    for tier in tiers() {
        for algo in HashAlgo::ALL {
            for len in 0..data.len() {
                let digests = tier.digests(algo, &[&data[..len]]);
                assert_eq!(digests, [oracle(algo, &data[..len])], "{tier:?} {algo} {len}");
            }
        }
    }
}

#[test]
fn every_number_of_lanes_for_every_algorithm() {
    let data: Vec<_> = (40_000..).step_by(4099).take(9).map(|len| noise(len as u64, len)).collect();
    for tier in tiers() {
        for algo in HashAlgo::ALL {
            let expected: Vec<_> = data.iter().map(|data| oracle(algo, data)).collect();
            for lanes in 1..=data.len() {
                let streams: Vec<_> = data[..lanes].iter().map(Vec::as_slice).collect();
                let digests = tier.digests(algo, &streams);
                assert_eq!(digests, expected[..lanes], "{tier:?} {algo} {lanes} lanes");
            }
        }
    }
}

/// A lane's words must not depend on who runs beside it, whatever place it has.
#[test]
fn equal_streams_have_equal_digests_in_every_lane() {
    let data = noise(3, 5000);
    for tier in tiers() {
        let digests = tier.digests(HashAlgo::Sha512, &[data.as_slice(); 8]);
        assert_eq!(digests, vec![oracle(HashAlgo::Sha512, &data); 8], "{tier:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// What the fuzz target does, with scripts that nothing guides.
    #[test]
    fn random_streams_that_come_and_go(
        script in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        come_and_go(&script, oracle);
    }

    /// Streams of random lengths, fed in random pieces, advanced in random company.
    #[test]
    fn random_pieces_in_random_company(
        seed in any::<u64>(),
        algo in prop::sample::select(&HashAlgo::ALL[..]),
        lens in prop::collection::vec(0_usize..6000, 1..12),
        pieces in prop::collection::vec((1_usize..2000, 1_u16..4096), 1..60),
    ) {
        let data: Vec<_> = lens.iter().map(|len| noise(seed ^ *len as u64, *len)).collect();
        for tier in tiers() {
            let mut streams: Vec<_> =
                data.iter().map(|data| (chains(tier, algo), data.as_slice())).collect();
            // Each turn a piece of each stream whose bit is set; then what is left, together.
            for (piece, who) in pieces.iter().copied().chain([(usize::MAX, u16::MAX)]) {
                for part in 0..streams[0].0.len() {
                    let mut batch: Vec<_> = streams
                        .iter_mut()
                        .enumerate()
                        .filter(|(n, _)| (who >> n) & 1 == 1)
                        .map(|(_, (chains, data))| {
                            (&mut chains[part], &data[..data.len().min(piece)])
                        })
                        .collect();
                    advance(&mut batch);
                }
                for (_, (_, data)) in
                    streams.iter_mut().enumerate().filter(|(n, _)| (who >> n) & 1 == 1)
                {
                    *data = &data[data.len().min(piece)..];
                }
            }
            for ((chains, _), data) in streams.into_iter().zip(&data) {
                let digests = collect(algo, chains.into_iter().flat_map(finish));
                prop_assert_eq!(digests, oracle(algo, data), "{:?}", tier);
            }
        }
    }
}

#[test]
fn a_forced_tier_is_taken_or_refused_with_a_reason() {
    assert_eq!(Tier::choose(None), Ok(Tier::available()[0]));
    assert_eq!(Tier::choose(Some("")), Ok(Tier::available()[0]));
    assert_eq!(Tier::choose(Some("portable")), Ok(Tier::PORTABLE));
    let unknown = Tier::choose(Some("neon")).unwrap_err().to_string();
    assert!(unknown.contains("neon") && unknown.contains("avx2, portable"), "{unknown}");
    for simd in Simd::ALL {
        match Tier::choose(Some(simd.name())) {
            Ok(tier) => assert_eq!(tier.name(), simd.name()),
            Err(TierError::Lacking { name, lacks }) => {
                assert_eq!((name, lacks), (simd.name(), simd.lacks().join(", ")));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// The best tier's digests, but those of the last of so many streams are spoiled.
fn spoiled(algo: HashAlgo, lanes: usize) -> impl Fn(HashAlgo, &[&[u8]]) -> Vec<Digests> {
    move |asked, streams| {
        let mut digests = Tier::available()[0].digests(asked, streams);
        if asked == algo && streams.len() == lanes {
            let value = &mut digests[lanes - 1].os_hash_value;
            value.replace_range(.., &"0".repeat(value.len()));
        }
        digests
    }
}

#[test]
fn a_single_wrong_lane_fails_the_self_test() {
    let best = Tier::available()[0];
    assert_eq!(best.check(), Ok(()));
    for lanes in 1..=8 {
        for algo in [HashAlgo::Sha512, HashAlgo::Sha256] {
            let wrong = best.judge(spoiled(algo, lanes));
            assert_eq!(wrong, Err(TierError::Wrong(best.name())), "{algo} {lanes}");
        }
    }
    for algo in [HashAlgo::Sha384, HashAlgo::Sha512_256] {
        assert_eq!(best.judge(spoiled(algo, 1)), Err(TierError::Wrong(best.name())), "{algo}");
    }
}

#[test]
fn a_tier_that_fails_its_self_test_is_not_used_and_says_so_at_warn() {
    let best = Tier::available()[0];
    let lacking = TierError::Lacking { name: "avx2", lacks: "bmi2".into() };
    let checked = [
        (best, best.judge(spoiled(HashAlgo::Sha512, 6))),
        (best, Err(lacking)),
        (Tier::PORTABLE, Tier::PORTABLE.check()),
    ];
    let mut left = Vec::new();
    let text = logged(false, false, || left = usable(checked));
    assert_eq!(left, [Tier::PORTABLE]);
    // What the CPU lacks is nobody's fault.
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("WARN") && text.contains("wrong digest; not used"), "{text}");
    assert!(text.contains(&format!("tier=\"{}\"", best.name())), "{text}");
}

#[test]
fn a_slice_takes_no_longer_than_its_time_and_no_shorter_than_needed() {
    for simd in Simd::ALL {
        let tier = Tier::of(simd);
        for lanes in 1..=8 {
            let kibibytes = Kind::Fused512.slice_bytes(tier, lanes) / KIB;
            assert!(kibibytes * simd.nanos_per_kib(lanes) <= LANE_SLICE_NANOS, "{tier:?} {lanes}");
            let is_longest = (kibibytes + 1) * simd.nanos_per_kib(lanes) > LANE_SLICE_NANOS;
            assert!(is_longest || kibibytes * KIB == LANE_SLICE_BYTES_MAX, "{tier:?} {lanes}");
        }
        assert_eq!(tier.slice_bytes(HashAlgo::Sha512, 20), 8 * Kind::Fused512.slice_bytes(tier, 8));
    }
    assert_eq!(Tier::PORTABLE.slice_bytes(HashAlgo::Sha512, 8), LANE_SLICE_BYTES_MAX);
}
