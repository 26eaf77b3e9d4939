//! How an image is cut into requests (`S3-02`, `S3-03`).
//!
//! A request to S3 has to announce its length. Where the size of the image is known, that of every
//! request is, and data may be sent as it comes. Where it is not, a part is held until it is whole.
//! Parts that can be held are held in either case: a part at hand can be sent again.

use crate::config::S3Store as Options;
use crate::limits::{
    LANE_DEPTH, MIB, S3_PART_BYTES_MIN, S3_PART_HELD_SLOTS_MAX, S3_PARTS_MAX, SLOT_BYTES,
    SLOTS_PER_S3_UPLOAD_MAX,
};
use crate::store::SizeHint;

/// The longest part that is held. A slot may not be quite full, so it can take one more.
const HELD_BYTES_MAX: u64 = (S3_PART_HELD_SLOTS_MAX - 1) as u64 * SLOT_BYTES as u64;

/// Least bytes of a chunk that is held in its slot.
pub(super) const SLOT_FILL_MIN: usize = SLOT_BYTES / 16 * 15;

/// How an image is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// One request of this length, sent as the data comes.
    One(u64),
    /// Held parts of this length; what is no longer than one is a request of its own.
    Held(u64),
    /// Parts of this length, sent as the data comes; the image has so many bytes.
    Streamed { part: u64, size: u64 },
}

impl Plan {
    pub(super) fn new(options: &Options, hint: SizeHint) -> Self {
        let held = options.part_size_bytes.clamp(S3_PART_BYTES_MIN, HELD_BYTES_MAX);
        let SizeHint::Known(size) = hint else { return Self::Held(held) };
        let least = size.div_ceil(S3_PARTS_MAX).next_multiple_of(MIB as u64);
        let part = options.part_size_bytes.max(least);
        if size <= options.large_object_size_bytes && size <= HELD_BYTES_MAX {
            Self::Held(HELD_BYTES_MAX)
        } else if size <= options.large_object_size_bytes && !options.checks_requests {
            Self::One(size)
        } else if part <= HELD_BYTES_MAX {
            Self::Held(part)
        } else if options.checks_requests && least <= HELD_BYTES_MAX {
            // Checksums stand before the data.
            Self::Held(HELD_BYTES_MAX)
        } else {
            Self::Streamed { part, size }
        }
    }

    /// Length of a part, of which there may be no more than 10000. The later half of an image whose
    /// size is not known is cut into longer ones.
    pub(super) fn part_bytes(self, number: u64) -> u64 {
        match self {
            Self::One(size) => size,
            Self::Held(len) if number <= S3_PARTS_MAX / 2 => len,
            Self::Held(len) => len.max(2 * HELD_BYTES_MAX),
            Self::Streamed { part, size } => part.min(size.saturating_sub((number - 1) * part)),
        }
    }

    /// Slots that a draft keeps until more data has come.
    pub(super) fn slots_kept(self, hint: SizeHint) -> usize {
        let all = match (self, hint) {
            (Self::One(_) | Self::Streamed { .. }, _) => return 0,
            (Self::Held(_), SizeHint::Unknown) => return SLOTS_PER_S3_UPLOAD_MAX,
            (Self::Held(_), SizeHint::Known(size)) => size.div_ceil(SLOT_FILL_MIN as u64),
        };
        let all = usize::try_from(all).unwrap_or(usize::MAX);
        all.saturating_add(1 + LANE_DEPTH).min(SLOTS_PER_S3_UPLOAD_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{S3Addressing, Secret};

    fn options() -> Options {
        Options {
            host: "h".into(),
            region: None,
            access_key: "a".into(),
            secret_key: Secret::new("s"),
            bucket: "b".into(),
            create_bucket_on_put: false,
            addressing: S3Addressing::Auto,
            large_object_size_bytes: 100 << 20,
            part_size_bytes: 10 << 20,
            parts_in_flight: 10,
            ca_file: None,
            checks_requests: false,
        }
    }

    fn plan(size: u64) -> Plan {
        Plan::new(&options(), SizeHint::Known(size))
    }

    #[test]
    fn s3_02_one_request_up_to_the_large_object_size_and_parts_beyond() {
        let all = [0, 1, HELD_BYTES_MAX].map(plan);
        assert_eq!(all, [Plan::Held(HELD_BYTES_MAX); 3]);
        assert_eq!(plan(HELD_BYTES_MAX + 1), Plan::One(HELD_BYTES_MAX + 1));
        assert_eq!(plan(100 << 20), Plan::One(100 << 20));
        assert_eq!(plan((100 << 20) + 1), Plan::Held(10 << 20));
        let always = Options { large_object_size_bytes: 0, ..options() };
        assert_eq!(Plan::new(&always, SizeHint::Known(1)), Plan::Held(10 << 20));
        let checks = Options { checks_requests: true, ..options() };
        assert_eq!(Plan::new(&checks, SizeHint::Known(100 << 20)), Plan::Held(10 << 20));
    }

    #[test]
    fn s3_02_an_image_of_any_size_has_at_most_10000_parts() {
        for size in [(100 << 20) + 1, 98 << 30, 1 << 40, 1 << 42] {
            let plan = plan(size);
            let whole: u64 = (1..=S3_PARTS_MAX).map(|n| plan.part_bytes(n)).sum();
            assert!(whole >= size, "{size}");
            if let Plan::Streamed { .. } = plan {
                assert_eq!(whole, size);
            }
        }
        let unknown = Plan::new(&options(), SizeHint::Unknown);
        let whole: u64 = (1..=S3_PARTS_MAX).map(|n| unknown.part_bytes(n)).sum();
        assert!(whole > 150 << 30, "{whole}");
    }

    #[test]
    fn what_is_kept_fits_what_an_upload_may_hold() {
        let kept = |hint| Plan::new(&options(), hint).slots_kept(hint);
        assert_eq!(kept(SizeHint::Unknown), SLOTS_PER_S3_UPLOAD_MAX);
        assert_eq!(kept(SizeHint::Known(50 << 20)), 0);
        assert_eq!(kept(SizeHint::Known(1)), 2 + LANE_DEPTH);
        assert_eq!(kept(SizeHint::Known(1 << 30)), SLOTS_PER_S3_UPLOAD_MAX);
        // A late part, the chunk that makes it whole, and the one being received.
        let slots = (2 * HELD_BYTES_MAX).div_ceil(SLOT_FILL_MIN as u64) + 2;
        assert!(slots <= SLOTS_PER_S3_UPLOAD_MAX as u64, "{slots}");
    }
}
