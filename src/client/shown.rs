//! URLs as people may see them.

use url::Url;

/// A URL for a message: what a user, password, query or fragment could give away is left out.
#[must_use]
pub fn shown(url: &Url) -> String {
    let mut out = format!("{}://", url.scheme());
    if !url.username().is_empty() || url.password().is_some() {
        out.push_str("***@");
    }
    out.push_str(url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        out.push_str(&format!(":{port}"));
    }
    out.push_str(url.path());
    out
}

/// A text that may be a URL, with whatever may be credentials masked: everything between `://` and
/// the last `@`, because old locations hold keys that have slashes in them.
#[must_use]
pub fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    match rest.rsplit_once('@') {
        Some((_, rest)) => format!("{scheme}://***@{rest}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_hides_is_shown() {
        for (url, seen) in [
            ("http://h/a?sig=s#f", "http://h/a"),
            ("https://me:secret@h:8443/a", "https://***@h:8443/a"),
            ("https://:secret@h/", "https://***@h/"),
            ("http://[::1]:80/x", "http://[::1]/x"),
        ] {
            assert_eq!(shown(&Url::parse(url).unwrap()), seen);
        }
        for (text, seen) in [
            ("s3://key:a/b+c@host/bucket/id", "s3://***@host/bucket/id"),
            ("swift+http://t:u:p@h/c/o", "swift+http://***@h/c/o"),
            ("file:///a", "file:///a"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(without_credentials(text), seen);
        }
    }
}
