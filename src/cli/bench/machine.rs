//! Who kept the machine's cores busy while something was measured, so that what bounds it is seen
//! and not believed: all cores busy, or a core that one thread has for itself, or something that
//! is waited for.
//!
//! `/proc/stat` counts in clock ticks over all cores; what belongs to nobody we know is everything
//! else, the kernel's own threads among it.

use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::limit::cpu_time;
use super::report::ratio;
use super::usage::cpu_of_named;

/// What a store's daemon is called that may run on this machine.
const DAEMON: &str = "ceph-osd";

/// CPU time so far, summed over the cores.
#[derive(Clone, Copy, Debug)]
pub(super) struct MachineSample {
    at: Instant,
    total: Ticks,
    client: Duration,
    daemon: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    busy: Duration,
    /// Nothing to do, or waiting for a disk.
    idle: Duration,
    /// Waiting for a disk.
    waiting: Duration,
    /// Taken by whoever runs this machine.
    stolen: Duration,
}

/// Cores, on average over the time of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Cores that worked.
    pub busy: f64,
    /// For the server that is measured.
    pub server: f64,
    /// For the bench, which is the client.
    pub client: f64,
    /// For OSDs of Ceph on this machine.
    pub osd: f64,
    /// For everything else, the kernel's own threads among it.
    pub others: f64,
    /// Cores with nothing to do.
    pub idle: f64,
    /// Those of them that waited for a disk.
    pub waiting: f64,
    /// Cores that the host did not give.
    pub stolen: f64,
}

impl Machine {
    /// Where nothing is known.
    pub(super) const UNKNOWN: Self = Self {
        busy: f64::NAN,
        server: f64::NAN,
        client: f64::NAN,
        osd: f64::NAN,
        others: f64::NAN,
        idle: f64::NAN,
        waiting: f64::NAN,
        stolen: f64::NAN,
    };
}

impl MachineSample {
    pub(super) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let total = Ticks::of_stat(&stat).unwrap_or_default();
        Self { at: Instant::now(), total, client: cpu_time(), daemon: cpu_of_named(DAEMON) }
    }

    /// What was done since `earlier`, in which a server used so much.
    pub(super) fn since(&self, earlier: &Self, server: Duration) -> Machine {
        let (now, before) = (self.total, earlier.total);
        let wall = self.at.duration_since(earlier.at);
        let cores = |spent: Duration| ratio(spent.as_secs_f64(), wall.as_secs_f64());
        let busy = now.busy.saturating_sub(before.busy);
        let client = self.client.saturating_sub(earlier.client);
        // A daemon that has ended takes its figure along.
        let daemon = self.daemon.saturating_sub(earlier.daemon);
        Machine {
            busy: cores(busy),
            server: cores(server),
            client: cores(client),
            osd: cores(daemon),
            others: cores(busy.saturating_sub(server + client + daemon)),
            idle: cores(now.idle.saturating_sub(before.idle)),
            waiting: cores(now.waiting.saturating_sub(before.waiting)),
            stolen: cores(now.stolen.saturating_sub(before.stolen)),
        }
    }
}

impl Ticks {
    /// The first line: `cpu user nice system idle iowait irq softirq steal ...`.
    fn of_stat(stat: &str) -> Option<Self> {
        let ticks = rustix::param::clock_ticks_per_second();
        let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let fields: Option<Vec<Duration>> = fields
            .map(|field| {
                let field: u64 = field.parse().ok()?;
                Some(Duration::from_nanos(field * (1_000_000_000 / ticks)))
            })
            .collect();
        let fields = fields?;
        let [user, nice, system, idle, waiting, irq, softirq, stolen] = *fields.first_chunk()?;
        let busy = user + nice + system + irq + softirq;
        Some(Self { busy, idle: idle + waiting, waiting, stolen })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_kernels_line_is_told_apart() {
        let ticks = rustix::param::clock_ticks_per_second();
        let line: Vec<String> = (1..=10).map(|field| (field * ticks).to_string()).collect();
        let stat = format!("cpu  {}\ncpu0 1 2 3 4 5 6 7 8 9 10\n", line.join(" "));
        let busy = secs(1 + 2 + 3 + 6 + 7);
        let expected = Ticks { busy, idle: secs(4 + 5), waiting: secs(5), stolen: secs(8) };
        assert_eq!(Ticks::of_stat(&stat), Some(expected));
        assert_eq!(Ticks::of_stat("cpu 1 2 3"), None);
        assert_eq!(Ticks::of_stat("intr 1"), None);
    }

    #[test]
    fn cores_are_shared_out_among_all_who_used_them() {
        let began = Instant::now();
        let before =
            MachineSample { at: began, total: Ticks::default(), client: secs(1), daemon: secs(5) };
        let total = Ticks { busy: secs(16), idle: secs(4), waiting: secs(1), stolen: secs(2) };
        let after = MachineSample { at: began + secs(10), total, client: secs(3), daemon: secs(9) };
        let machine = after.since(&before, secs(7));
        let expected = Machine {
            busy: 1.6,
            server: 0.7,
            client: 0.2,
            osd: 0.4,
            others: 0.3,
            idle: 0.4,
            waiting: 0.1,
            stolen: 0.2,
        };
        assert_eq!(machine, expected);
    }

    /// Burns CPU until the kernel has charged this process, and the machine with it.
    #[test]
    fn this_machine_can_be_sampled() {
        let before = MachineSample::now();
        let machine = loop {
            let machine = MachineSample::now().since(&before, Duration::ZERO);
            if machine.client > 0.0 && machine.busy > 0.0 {
                break machine;
            }
        };
        assert!(machine.idle.is_finite() && machine.osd >= 0.0, "{machine:?}");
    }
}
