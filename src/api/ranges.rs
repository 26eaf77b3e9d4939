//! Byte ranges of a download (`DD-03`, `DD-04`), judged as Glance does.

use http::StatusCode;
use http::header::{HeaderMap, IF_RANGE};

use super::fault::Fault;

/// A part of the data, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// The part that a request asks for; `None` for everything. The legacy request header
/// `Content-Range: bytes a-b/*` counts where there is no `Range`. Under `If-Range` it is everything:
/// no answer of ours has a validator, so that none can match (RFC 9110, section 13.1.5). Glance does
/// not look at it, and joins parts of what may be two images.
pub(super) fn wanted(headers: &HeaderMap, size: u64) -> Result<Option<Part>, Fault> {
    if headers.contains_key(IF_RANGE) {
        return Ok(None);
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    match (text("range"), text("content-range")) {
        (Some(range), _) => parse_range(range, size).map(Some),
        (None, Some(legacy)) => parse_legacy(legacy, size).map(Some),
        (None, None) => Ok(None),
    }
}

fn parse_range(range: &str, size: u64) -> Result<Part, Fault> {
    if range.contains(',') {
        return Err(Fault::bad_request(
            "Requests with multiple ranges are not supported in Glance. You may make multiple \
             single-range requests instead.",
        ));
    }
    let bytes = range.trim().strip_prefix("bytes=").ok_or_else(invalid)?;
    match bytes.split_once('-').ok_or_else(invalid)? {
        ("", suffix) => {
            let last = number(suffix)?;
            // Glance gives the whole image for `-0` and for more than there is.
            let len = if last == 0 { size } else { last.min(size) };
            part(size - len, None, size)
        }
        (start, "") => part(number(start)?, None, size),
        (start, end) => part(number(start)?, Some(number(end)?), size),
    }
}

fn parse_legacy(range: &str, size: u64) -> Result<Part, Fault> {
    let bytes = range.trim().strip_prefix("bytes ").ok_or_else(invalid)?;
    let (part_of, _) = bytes.split_once('/').ok_or_else(invalid)?;
    let (start, end) = part_of.split_once('-').ok_or_else(invalid)?;
    part(number(start)?, Some(number(end)?), size)
}

fn number(text: &str) -> Result<u64, Fault> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten().ok_or_else(invalid)
}

/// The bytes from `start` to `end` inclusive, clipped to the data.
fn part(start: u64, end: Option<u64>, size: u64) -> Result<Part, Fault> {
    if end.is_some_and(|end| end < start) {
        return Err(invalid());
    }
    let Some(last) = size.checked_sub(1).filter(|last| start <= *last) else {
        return Err(unsatisfiable(format!(
            "Invalid start position in Range header. Start position MUST be in the inclusive \
             range [0, {}].",
            i128::from(size) - 1
        )));
    };
    let end = end.unwrap_or(last).min(last);
    Ok(Part { offset: start, len: end - start + 1 })
}

fn invalid() -> Fault {
    unsatisfiable("Invalid Range header.".to_owned())
}

fn unsatisfiable(detail: String) -> Fault {
    let message = "The Range requested is not available.";
    Fault::new(StatusCode::RANGE_NOT_SATISFIABLE, message).with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str, size: u64) -> Result<(u64, u64), u16> {
        parse_range(text, size)
            .map(|part| (part.offset, part.len))
            .map_err(|fault| fault.status().as_u16())
    }

    #[test]
    fn dd_03_every_form() {
        for (text, answer) in [
            ("bytes=0-9", Ok((0, 10))),
            ("bytes=10-19", Ok((10, 10))),
            ("bytes=90-", Ok((90, 10))),
            ("bytes=-5", Ok((95, 5))),
            ("bytes=-0", Ok((0, 100))),
            ("bytes=-1000", Ok((0, 100))),
            ("bytes=90-1000", Ok((90, 10))),
            ("bytes=0-99", Ok((0, 100))),
            ("bytes=99-99", Ok((99, 1))),
            ("bytes=100-", Err(416)),
            ("bytes=9-5", Err(416)),
            ("bytes=x-y", Err(416)),
            ("bytes=-", Err(416)),
            ("bytes=+1-5", Err(416)),
            ("items=0-5", Err(416)),
            ("bytes=99999999999999999999-", Err(416)),
            ("bytes=0-1,5-6", Err(400)),
        ] {
            assert_eq!(range(text, 100), answer, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), Err(416));
    }

    #[test]
    fn dd_04_the_legacy_header_counts() {
        let mut headers = HeaderMap::new();
        headers.insert("content-range", http::HeaderValue::from_static("bytes 0-9/*"));
        assert_eq!(wanted(&headers, 100).unwrap(), Some(Part { offset: 0, len: 10 }));
    }
}
