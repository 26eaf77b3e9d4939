//! `glissade bench lanes`: what one core hashes in a second of its own time.
//!
//! Every tier that the CPU has, over numbers of streams, beside the loop that it replaces: MD5,
//! then SHA-512, of each block. Time is the thread's CPU time, so that other work on the machine
//! disturbs little, and ratios are taken within rounds. The loop is OpenSSL's where the host has
//! its library, as Python's hashlib has; the program itself does not link it.

use std::fmt;
use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::report::{median, ratio};
use crate::image::HashAlgo;
use crate::lanes::{OpenSsl, Tier};
use crate::limits::{BENCH_STREAMS_MAX, MIB};

/// Arguments of `glissade bench lanes`.
#[derive(Clone, Debug, clap::Args)]
pub struct LanesBench {
    /// Numbers of streams hashed together on one core
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16],
        value_parser = clap::value_parser!(u32).range(1..=BENCH_STREAMS_MAX))]
    pub streams: Vec<u32>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Hashes bytes and throws the digests away.
pub type HashBytes = Box<dyn Fn(&[u8])>;

/// What the lanes are compared with.
#[allow(missing_debug_implementations, reason = "a function has nothing to show")]
pub struct Serial {
    /// For the report.
    pub name: String,
    /// Whether it is the loop for which [`FUSED_GAINS_MIN`] is meant.
    pub is_openssl: bool,
    /// Computes MD5 and SHA-512 of some bytes, one after the other.
    pub hash: HashBytes,
}

impl Serial {
    /// OpenSSL where it can be opened, else what this program hashes with on other processors.
    #[must_use]
    pub fn of_this_host() -> Self {
        match OpenSsl::load() {
            Some(openssl) => Self {
                name: format!("OpenSSL, {}", openssl.name()),
                is_openssl: true,
                hash: Box::new(move |bytes| {
                    black_box(openssl.digests(bytes));
                }),
            },
            None => Self {
                name: "the crates md-5 and ring, as no libcrypto could be opened".to_owned(),
                is_openssl: false,
                hash: Box::new(|bytes| {
                    black_box(Tier::PORTABLE.digests(HashAlgo::Sha512, &[bytes]));
                }),
            },
        }
    }
}

/// What the fused kernels must gain over OpenSSL's loop, by tier and streams; less means that the
/// compiler took their interleaving apart. Each stands between the gain with the interleaving and
/// without it, on the slower of a Zen 4 and a Xeon of the fifth generation. AVX2's kernels for
/// more than two streams are not fused.
const FUSED_GAINS_MIN: [(&str, u32, f64); 6] = [
    ("avx512", 1, 1.6),
    ("avx512", 2, 2.1),
    ("avx512", 4, 4.2),
    ("avx512", 8, 5.2),
    ("avx2", 1, 1.15),
    ("avx2", 2, 1.6),
];
/// Rounds; the report has their medians.
const ROUNDS: usize = 11;
/// Bytes hashed at a time, over all streams.
const BYTES: usize = 8 * MIB;

impl LanesBench {
    /// Measures against `serial`.
    #[must_use]
    pub fn run(&self, serial: &Serial) -> LanesReport {
        let noise: Vec<u8> =
            (0..BYTES).map(|at| at.wrapping_mul(0x9e37_79b9).to_le_bytes()[2]).collect();
        let mut rates = vec![Vec::new(); 1 + Tier::available().len() * self.streams.len()];
        for _ in 0..ROUNDS {
            let baseline = rate(|| (serial.hash)(&noise));
            let lanes = self.subjects().map(|(tier, streams)| hash_rate(tier, streams, &noise));
            for (rates, rate) in rates.iter_mut().zip(std::iter::once(baseline).chain(lanes)) {
                rates.push(rate);
            }
        }
        self.report(serial, &rates)
    }

    /// Every tier with every number of streams.
    fn subjects(&self) -> impl Iterator<Item = (Tier, u32)> {
        let streams = self.streams.clone();
        Tier::available()
            .into_iter()
            .flat_map(move |tier| streams.clone().into_iter().map(move |streams| (tier, streams)))
    }

    fn report(&self, serial: &Serial, rates: &[Vec<f64>]) -> LanesReport {
        let (baseline, lanes) = rates.split_first().unwrap_or((const { &Vec::new() }, &[]));
        let row = |((tier, streams), rates): ((Tier, u32), &Vec<f64>)| {
            let gains = rates.iter().zip(baseline).map(|(ours, theirs)| ratio(*ours, *theirs));
            let gb_per_cpu_sec = median(rates.iter().copied());
            let slice = tier.slice_bytes(HashAlgo::Sha512, streams as usize) as f64;
            let slice_micros = ratio(slice / 1e3, gb_per_cpu_sec);
            Row { tier: tier.name(), streams, gb_per_cpu_sec, gain: median(gains), slice_micros }
        };
        LanesReport {
            serial: serial.name.clone(),
            serial_is_openssl: serial.is_openssl,
            serial_gb_per_cpu_sec: median(baseline.iter().copied()),
            rounds: ROUNDS,
            rows: self.subjects().zip(lanes).map(row).collect(),
        }
    }
}

/// GB hashed in a second of this thread's time.
fn rate(hash: impl FnOnce()) -> f64 {
    let before = cpu_time();
    hash();
    ratio(BYTES as f64 / 1e9, (cpu_time() - before).as_secs_f64())
}

/// [`rate`] of a tier over equal parts of `noise`.
fn hash_rate(tier: Tier, streams: u32, noise: &[u8]) -> f64 {
    let parts: Vec<&[u8]> = noise.chunks(BYTES.div_ceil(streams as usize)).collect();
    rate(|| {
        black_box(tier.digests(HashAlgo::Sha512, &parts));
    })
}

/// CPU time of this thread so far.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// One tier with one number of streams.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Row {
    /// `avx512`, `avx2` or `portable`.
    pub tier: &'static str,
    /// Hashed together.
    pub streams: u32,
    /// 1e9 bytes of all streams in a second of CPU time.
    pub gb_per_cpu_sec: f64,
    /// Over the serial loop; the median of the ratios of each round.
    pub gain: f64,
    /// Microseconds until a worker that hashes so many looks for other streams.
    pub slice_micros: f64,
}

/// A run's outcome; `Display` is a table for people.
#[derive(Clone, Debug, Serialize)]
pub struct LanesReport {
    /// What the lanes are compared with.
    pub serial: String,
    /// Whether that is OpenSSL.
    pub serial_is_openssl: bool,
    /// Its 1e9 bytes in a second of CPU time.
    pub serial_gb_per_cpu_sec: f64,
    /// Rounds of which the figures are medians.
    pub rounds: usize,
    /// Best tier first.
    pub rows: Vec<Row>,
}

impl LanesReport {
    /// The report as one JSON document.
    #[must_use]
    pub fn json(&self) -> String {
        // Only maps with keys that are no strings can fail, and there are none.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Rows of fused kernels that gain too little, with what they should.
    fn undone(&self) -> impl Iterator<Item = (&Row, f64)> {
        let rows = self.rows.iter().filter(|_| self.serial_is_openssl);
        rows.filter_map(|row| {
            let is_it = |(tier, streams, _): &&_| (*tier, *streams) == (row.tier, row.streams);
            let least = FUSED_GAINS_MIN.iter().find(is_it)?.2;
            (row.gain < least).then_some((row, least))
        })
    }
}

impl fmt::Display for LanesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { serial, serial_is_openssl: _, serial_gb_per_cpu_sec, rounds, rows } = self;
        writeln!(f, "MD5 and SHA-512 on one core; medians of {rounds} rounds, interleaved")?;
        writeln!(f, "serial: {serial}, {serial_gb_per_cpu_sec:.3} GB per CPU-second")?;
        writeln!(
            f,
            "\n{:<10}{:>8}{:>14}{:>10}{:>11}",
            "tier", "streams", "GB/CPU-s", "/ serial", "slice, us"
        )?;
        for Row { tier, streams, gb_per_cpu_sec, gain, slice_micros } in rows {
            writeln!(
                f,
                "{tier:<10}{streams:>8}{gb_per_cpu_sec:>14.3}{gain:>10.2}{slice_micros:>11.0}"
            )?;
        }
        for (Row { tier, streams, gain, .. }, least) in self.undone() {
            writeln!(
                f,
                "warning: {tier} gains {gain:.2} with {streams} streams, and should gain \
                 {least}: did the compiler take the interleaving apart?"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn serial(is_openssl: bool) -> Serial {
        Serial { name: "a loop".to_owned(), is_openssl, hash: Box::new(|_| ()) }
    }

    fn report(gains: &[(&'static str, u32, f64)]) -> LanesReport {
        let bench = LanesBench { streams: vec![1], json: false };
        let mut report = bench.report(&serial(true), &[]);
        report.rows = gains
            .iter()
            .map(|&(tier, streams, gain)| {
                let (gb_per_cpu_sec, slice_micros) = (gain / 2.0, 60.0);
                Row { tier, streams, gb_per_cpu_sec, gain, slice_micros }
            })
            .collect();
        report
    }

    #[test]
    fn ratios_are_paired_by_round() {
        let bench = LanesBench { streams: vec![1], json: false };
        let tiers = Tier::available().len();
        let mut rates = vec![vec![1.0, 10.0, 100.0]];
        rates.extend(vec![vec![2.0, 20.0, 300.0]; tiers]);
        let report = bench.report(&serial(true), &rates);
        assert_eq!(report.rows.len(), tiers);
        for row in &report.rows {
            assert!((row.gain - 2.0).abs() < 1e-9, "{row:?}");
            assert!((row.gb_per_cpu_sec - 20.0).abs() < 1e-9, "{row:?}");
            let tier = Tier::available().into_iter().find(|tier| tier.name() == row.tier);
            let slice = tier.unwrap().slice_bytes(HashAlgo::Sha512, 1) as f64;
            assert!((row.slice_micros - slice / 20e3).abs() < 1e-9, "{row:?}");
        }
    }

    #[test]
    fn a_fused_kernel_that_gains_too_little_is_named() {
        let mut report = report(&[
            ("avx512", 1, 1.5),
            ("avx512", 4, 4.3),
            ("avx2", 1, 1.2),
            ("avx2", 4, 1.0),
            ("portable", 1, 0.8),
        ]);
        let text = report.to_string();
        assert_eq!(text.matches("warning").count(), 1, "{text}");
        assert!(text.contains("warning: avx512 gains 1.50 with 1 streams, and should gain 1.6"));
        report.serial_is_openssl = false;
        assert!(!report.to_string().contains("warning"), "judged by another loop");
    }

    #[test]
    fn the_json_has_every_row() {
        let json = report(&[("avx2", 8, 3.0)]).json();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["rows"][0]["streams"], 8);
        assert_eq!(json["serial"], "a loop");
    }
}
