//! Sizes as people write them: `64MiB`, `1GiB`, `1G`, `4096`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// Units with their power of two, largest first.
const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// A size that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size; write whole numbers of bytes, KiB, MiB, GiB or TiB, like 64MiB")]
pub struct BadSize(String);

impl FromStr for ByteSize {
    type Err = BadSize;

    /// `1G` and `1GiB` are the same; `1GB` is refused, because people disagree about it.
    fn from_str(text: &str) -> Result<Self, BadSize> {
        let bad = || BadSize(text.to_owned());
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: u64 = digits.parse().map_err(|_| bad())?;
        let power = power_of(&text[digits.len()..]).ok_or_else(bad)?;
        number.checked_mul(1 << power).map(Self).ok_or_else(bad)
    }
}

fn power_of(unit: &str) -> Option<u32> {
    if unit.is_empty() {
        return Some(0);
    }
    let found = UNITS.iter().find(|(name, _)| *name == unit || name[..1] == *unit);
    found.map(|(_, power)| *power)
}

impl fmt::Display for ByteSize {
    /// In the largest unit that it fills, with one decimal unless it fills it evenly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        match UNITS.iter().find(|(_, power)| bytes >> power > 0) {
            None => write!(f, "{bytes} bytes"),
            Some((name, power)) if bytes.is_multiple_of(1 << power) => {
                write!(f, "{} {name}", bytes >> power)
            }
            Some((name, power)) => {
                write!(f, "{:.1} {name}", bytes as f64 / (1_u64 << power) as f64)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        let read = |text: &str| text.parse::<ByteSize>().map(|size| size.0);
        assert_eq!(read("64MiB"), Ok(64 << 20));
        assert_eq!(read("1GiB"), Ok(1 << 30));
        assert_eq!(read("1G"), Ok(1 << 30));
        assert_eq!(read("16K"), Ok(16 << 10));
        assert_eq!(read("2TiB"), Ok(2 << 40));
        assert_eq!(read("4097"), Ok(4097));
    }

    #[test]
    fn what_is_no_size_is_refused_with_its_text() {
        for text in ["", "MiB", "1GB", "1g", "1.5G", "-1", "1 GiB", "99999999999T", "1i", "1\u{e9}"]
        {
            let refusal = text.parse::<ByteSize>().unwrap_err().to_string();
            assert!(refusal.contains(&format!("{text:?}")), "{refusal}");
        }
    }

    #[test]
    fn sizes_print_in_their_own_unit() {
        let text = |bytes| ByteSize(bytes).to_string();
        assert_eq!(text(1 << 30), "1 GiB");
        assert_eq!(text(1536 << 20), "1.5 GiB");
        assert_eq!(text((1 << 30) + 1), "1.0 GiB");
        assert_eq!(text(0), "0 bytes");
        assert_eq!(text(1001), "1001 bytes");
    }
}
