//! Times as the API writes and reads them: ISO 8601, UTC.

use std::fmt::Write;

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// `YYYY-MM-DDTHH:MM:SSZ`: whole seconds.
pub(super) fn seconds(at: OffsetDateTime) -> String {
    let mut text = without_zone(at);
    text.push('Z');
    text
}

/// `YYYY-MM-DDTHH:MM:SS.ffffff`: as Glance shows records that no serializer has touched (`SL-05`).
pub(super) fn micros(at: OffsetDateTime) -> String {
    format!("{}.{:06}", without_zone(at), at.microsecond())
}

/// Digit by digit: a long page of images has two thousand of these.
fn without_zone(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    let mut text = String::with_capacity("YYYY-MM-DDTHH:MM:SS.ffffff".len());
    // A String takes everything.
    let _ = write!(text, "{year:04}");
    for (mark, part) in [('-', month), ('-', day), ('T', hour), (':', minute), (':', second)] {
        text.extend([mark, char::from(b'0' + part / 10), char::from(b'0' + part % 10)]);
    }
    text
}

/// Reads what Python's `iso8601` reads: a date down to the year, month or day, a time of day down
/// to the hour or further, a zone. What is missing is the first of its kind, and UTC.
pub(super) fn parse(text: &str) -> Option<OffsetDateTime> {
    if !text.is_ascii() {
        return None;
    }
    let (day, clock) = text.split_once(['T', ' ']).unwrap_or((text, "00"));
    let zone = clock.find(['Z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone);
    PrimitiveDateTime::new(date(day)?, time(clock)?)
        .assume_offset(offset(zone)?)
        .checked_to_offset(UtcOffset::UTC)
}

/// `YYYY`, `YYYY-MM`, `YYYY-MM-DD` or `YYYYMMDD`.
fn date(text: &str) -> Option<Date> {
    let parts = match text.len() {
        8 if !text.contains('-') => vec![&text[..4], &text[4..6], &text[6..]],
        _ => text.split('-').collect(),
    };
    let first = 1;
    let (year, month, day) = match parts[..] {
        [year] => (year, first, first),
        [year, month] => (year, digits(month, 2)?, first),
        [year, month, day] => (year, digits(month, 2)?, digits(day, 2)?),
        _ => return None,
    };
    let year = Some(year).filter(|year| year.len() == 4).and_then(|year| digits(year, 4))?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()
}

/// `HH`, `HH:MM` or `HH:MM:SS`, the colons or not, the seconds with a fraction or not.
fn time(text: &str) -> Option<Time> {
    let (whole, fraction) = match text.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let parts: Vec<u8> = pairs(whole)?;
    let (hour, minute, second) = match parts[..] {
        [hour] if fraction.is_none() => (hour, 0, 0),
        [hour, minute] if fraction.is_none() => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    Time::from_hms_nano(hour, minute, second, fraction.map_or(Some(0), nanos)?).ok()
}

/// `Z`, a sign with `HH`, `HHMM` or `HH:MM`, or nothing.
fn offset(text: &str) -> Option<UtcOffset> {
    let sign = match text.as_bytes().first() {
        None => return Some(UtcOffset::UTC),
        Some(b'Z') => return (text.len() == 1).then_some(UtcOffset::UTC),
        Some(b'-') => -1,
        Some(_) => 1,
    };
    let (hours, minutes) = match pairs(&text[1..])?[..] {
        [hours] => (hours, 0),
        [hours, minutes] => (hours, minutes),
        _ => return None,
    };
    let signed = |part: u8| i8::try_from(part).ok().map(|part| sign * part);
    UtcOffset::from_hms(signed(hours)?, signed(minutes)?, 0).ok()
}

/// Pairs of digits, with a colon between them or without.
fn pairs(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &str| Some(pair).filter(|p| p.len() == 2).and_then(|p| digits(p, 2));
    let parts: Vec<Option<u16>> = match text.contains(':') {
        true => text.split(':').map(pair).collect(),
        false => text.as_bytes().chunks(2).map(|c| pair(str::from_utf8(c).ok()?)).collect(),
    };
    parts.into_iter().map(|part| u8::try_from(part?).ok()).collect()
}

/// A number of one digit or more, up to `most`.
fn digits(text: &str, most: usize) -> Option<u16> {
    let is_number = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// A fraction of a second; what is finer than a nanosecond is dropped.
fn nanos(fraction: &str) -> Option<u32> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nine: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    nine.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use time::macros::datetime;

    use super::*;

    #[test]
    fn li_06_times_are_read_as_iso8601_reads_them() {
        let noon = datetime!(2020-03-04 12:00:00 UTC);
        for text in [
            "2020-03-04T12:00:00Z",
            "2020-03-04 12:00:00",
            "20200304T120000Z",
            "2020-03-04T12",
            "2020-03-04T12:00",
            "2020-3-4T12:00Z",
            "2020-03-04T13:30:00+01:30",
            "2020-03-04T07:00:00.000-0500",
            "2020-03-04T13+01",
        ] {
            assert_eq!(parse(text), Some(noon), "{text}");
        }
        assert_eq!(parse("2020"), Some(datetime!(2020-01-01 0:00 UTC)));
        assert_eq!(parse("2020-02"), Some(datetime!(2020-02-01 0:00 UTC)));
        let fine = datetime!(2020-01-01 0:00:01.25 UTC);
        assert_eq!(parse("2020-01-01T00:00:01,25"), Some(fine));
    }

    #[test]
    fn li_06_what_is_no_time_is_refused() {
        for text in [
            "",
            "T",
            "x",
            "20",
            "202003",
            "2020-13-01",
            "2020-02-30",
            "2020-01-01T",
            "2020-01-01T25:00",
            "2020-01-01T1:00",
            "2020-01-01T00:00:00ZZ",
            "2020-01-01T00:00:00+",
            "2020-01-01T00:00:00+99:00",
            "2020-01-01T00.5",
            "2020-01-01T00:00:00.",
            "2020-01-01T00:00:00:00",
            "0000-01-01T00:00:00+23:00",
            "9999-12-31T23:59:59-23:00",
            "2020-01-01T00:00:00\u{e9}",
            "+020-01-01",
        ] {
            let read = parse(text);
            assert!(read.is_none_or(|at| !(1..=9999).contains(&at.year())), "{text}: {read:?}");
        }
    }

    #[test]
    fn times_are_written_in_two_forms() {
        let at = datetime!(2020-03-04 13:00:00.000089 +01:00);
        assert_eq!(seconds(at), "2020-03-04T12:00:00Z");
        assert_eq!(micros(at), "2020-03-04T12:00:00.000089");
    }
}
