//! Options of the scrubber, by the names that `glance-scrubber.conf` gives them.

use std::time::Duration;

use super::error::ConfigError;
use super::known::{self, Opt};
use super::options::Options;
use super::value;

/// How the data of images goes that were deleted under `delayed_delete` (`CF-05`, `PG-02`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// `scrub_time`: how long after its deletion an image can be brought back.
    pub delay: Duration,
    /// `scrub_pool_size`: images that are scrubbed at the same time.
    pub at_once: usize,
    /// `wakeup_time`: the pause between two passes.
    pub every: Duration,
    /// `daemon`: `glissade scrub` goes on until it is told to stop.
    pub is_daemon: bool,
    /// `[glissade] scrubber`: the server itself scrubs as it serves.
    pub in_server: bool,
}

/// Glance's.
impl Default for Scrub {
    fn default() -> Self {
        let every = Duration::from_secs(300);
        Self { delay: Duration::ZERO, at_once: 1, every, is_daemon: false, in_server: false }
    }
}

/// Reads the options.
///
/// # Errors
/// The first value that can't be used.
pub(super) fn scrub(options: &Options) -> Result<Scrub, ConfigError> {
    let secs = |opt: &Opt, least: i128| {
        let secs =
            options.need_number(opt, value::number(least..=1 << 31, "a number of seconds"))?;
        Ok(Duration::from_secs(secs))
    };
    Ok(Scrub {
        delay: secs(&known::SCRUB_TIME, 0)?,
        at_once: options
            .need_number(&known::SCRUB_POOL_SIZE, value::number(1..=1024, "a number of images"))?,
        every: secs(&known::WAKEUP_TIME, 1)?,
        is_daemon: options.need(&known::DAEMON, value::boolean)?,
        in_server: options.need(&known::SCRUBBER, value::boolean)?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(text: &str) -> Result<Scrub, String> {
        scrub(&Options::of(&[text]).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn cf_05_a_scrubbers_options_have_glances_defaults() {
        assert_eq!(of("").unwrap(), Scrub::default());
        let text = "[DEFAULT]\nscrub_time = 86400\nscrub_pool_size = 4\nwakeup_time = 60\n\
             daemon = true\n[glissade]\nscrubber = yes";
        let all = of(text).unwrap();
        assert_eq!((all.delay, all.at_once), (Duration::from_secs(86400), 4));
        assert!(all.is_daemon && all.in_server && all.every == Duration::from_secs(60));
    }

    #[test]
    fn cf_05_what_would_never_end_or_never_begin_is_refused() {
        for option in ["scrub_time = -1", "scrub_pool_size = 0", "wakeup_time = 0"] {
            let refusal = of(&format!("[DEFAULT]\n{option}")).unwrap_err();
            let name = option.split(' ').next().unwrap();
            assert!(refusal.contains(name), "{refusal}");
        }
    }
}
