//! What a client accepts: the form of an error body, and the API version in a media type.
//!
//! Follows WebOb, whose answers Glance's clients know: a header that can't be read accepts
//! everything, an absent or empty one accepts nothing that is offered and gets plain text (`PR-08`).

use http::HeaderMap;
use http::header::ACCEPT;

/// Form of an error body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `text/html`: preferred when the client has no preference.
    Html,
    /// `application/json`.
    Json,
    /// `text/plain`: the last resort.
    Text,
}

/// The `Accept` header, several lines joined into one.
pub(super) fn header(headers: &HeaderMap) -> String {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    lines.collect::<Vec<_>>().join(", ")
}

/// The form that a client prefers for an error body.
pub(super) fn error_media(accept: &str) -> Media {
    let Some(ranges) = ranges(accept) else { return Media::Html };
    let html = quality(&ranges, "text", "html");
    let json = quality(&ranges, "application", "json");
    if html > 0.0 && html >= json {
        Media::Html
    } else if json > 0.0 {
        Media::Json
    } else {
        Media::Text
    }
}

/// The version in `application/vnd.openstack.images-<version>`, which must come first.
pub(super) fn version(accept: &str) -> Option<&str> {
    let rest = accept.strip_prefix("application/vnd.openstack.images-")?;
    Some(rest.split([',', ';']).next().unwrap_or(rest).trim())
}

/// One media range with its quality.
struct Range {
    main: String,
    sub: String,
    has_parameters: bool,
    quality: f32,
}

/// The ranges of a header; none when it can't be read.
fn ranges(accept: &str) -> Option<Vec<Range>> {
    if accept.trim().is_empty() {
        return Some(Vec::new());
    }
    accept.split(',').map(range).collect()
}

fn range(text: &str) -> Option<Range> {
    let mut parts = text.split(';').map(str::trim);
    let (main, sub) = parts.next()?.split_once('/')?;
    if main.is_empty() || sub.is_empty() {
        return None;
    }
    let mut range = Range {
        main: main.to_ascii_lowercase(),
        sub: sub.to_ascii_lowercase(),
        has_parameters: false,
        quality: 1.0,
    };
    for parameter in parts {
        // What stands before `q` belongs to the media type, what follows it is an extension.
        if let Some(quality) = parameter.strip_prefix("q=").or(parameter.strip_prefix("Q=")) {
            range.quality = quality.parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
            break;
        }
        range.has_parameters = true;
    }
    Some(range)
}

/// Quality of a media type without parameters: that of the most specific range that names it.
fn quality(ranges: &[Range], main: &str, sub: &str) -> f32 {
    let rank = |range: &Range| match (range.main.as_str(), range.sub.as_str()) {
        _ if range.has_parameters => None,
        (m, s) if m == main && s == sub => Some(2),
        (m, "*") if m == main => Some(1),
        ("*", "*") => Some(0),
        _ => None,
    };
    let ranked = ranges.iter().filter_map(|range| Some((rank(range)?, range.quality)));
    ranked.max_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))).map_or(0.0, |(_, q)| q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pr_08_form_of_errors_is_what_webob_chooses() {
        // The expected choices were made by WebOb 1.8.11.
        for (accept, media) in [
            ("", Media::Text),
            ("*/*", Media::Html),
            ("application/json", Media::Json),
            ("APPLICATION/JSON", Media::Json),
            ("text/plain", Media::Text),
            ("text/*", Media::Html),
            ("application/*", Media::Json),
            ("text/html, application/json", Media::Html),
            ("application/json, text/html;q=0.5", Media::Json),
            ("*/*;q=0.1, application/json;q=0.1", Media::Html),
            ("*/*, application/json;q=0.9", Media::Html),
            ("text/html;q=0, */*", Media::Json),
            ("application/json;q=0", Media::Text),
            ("application/json;charset=utf-8", Media::Text),
            ("application/json;version=1, */*;q=0.2", Media::Html),
            ("application/json;q=1.0;x=y", Media::Json),
            ("garbage", Media::Html),
            (",application/json", Media::Html),
        ] {
            assert_eq!(error_media(accept), media, "{accept:?}");
        }
    }

    #[test]
    fn pr_04_version_comes_from_the_vendor_type() {
        assert_eq!(version("application/vnd.openstack.images-v2"), Some("v2"));
        assert_eq!(version("application/vnd.openstack.images-v2.3;q=1, */*"), Some("v2.3"));
        assert_eq!(version("application/json"), None);
    }
}
