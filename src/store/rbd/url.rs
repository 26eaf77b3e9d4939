//! `rbd://` URLs, byte for byte as Glance writes them (`RB-01`).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::image::Location;
use crate::store::{StoreError, StoreErrorKind};

const SCHEME: &str = "rbd://";

/// What Python's `urllib.parse.quote(text, safe='')` leaves alone beside letters and digits.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// Where an image's data lies.
///
/// The cluster's id is not kept: like Glance we read from the cluster that is configured, so that
/// a cloud which has moved to another cluster finds its images there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `None` in the short form: the store's own pool.
    pub(super) pool: Option<String>,
    pub(super) image: String,
    /// `None` in the short form: the image itself is read.
    pub(super) snapshot: Option<String>,
}

/// The URL of a snapshot.
pub(super) fn url(fsid: &str, pool: &str, image: &str, snapshot: &str) -> String {
    let parts = [fsid, pool, image, snapshot];
    let quoted = parts.map(|part| utf8_percent_encode(part, QUOTED).to_string());
    format!("{SCHEME}{}", quoted.join("/"))
}

/// How the URLs of a pool's snapshots begin.
pub(super) fn prefix(fsid: &str, pool: &str) -> String {
    let [fsid, pool] = [fsid, pool].map(|part| utf8_percent_encode(part, QUOTED));
    format!("{SCHEME}{fsid}/{pool}/")
}

impl Place {
    /// Reads `rbd://fsid/pool/image/snapshot` or, from old clouds, `rbd://image`.
    pub(super) fn of(location: &Location) -> Result<Self, StoreError> {
        Self::parse(&location.url).ok_or_else(|| {
            let url = &location.url;
            let context =
                format!("{url} is neither rbd://fsid/pool/image/snapshot nor rbd://image");
            StoreError::new(StoreErrorKind::BadLocation, context)
        })
    }

    fn parse(url: &str) -> Option<Self> {
        let path = url.strip_prefix(SCHEME).filter(|path| path.is_ascii())?;
        let parts: Vec<&str> = path.split('/').collect();
        if parts.contains(&"") {
            return None;
        }
        match parts.as_slice() {
            [image] => Some(Self { pool: None, image: (*image).to_owned(), snapshot: None }),
            [_, pool, image, snapshot] => Some(Self {
                pool: Some(unquoted(pool)?),
                image: unquoted(image)?,
                snapshot: Some(unquoted(snapshot)?),
            }),
            _ => None,
        }
    }
}

fn unquoted(part: &str) -> Option<String> {
    percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rb_01_every_part_is_quoted() {
        assert_eq!(url("f-1", "images", "a_b.c~d", "snap"), "rbd://f-1/images/a_b.c~d/snap");
        assert!(url("f-1", "p/ q", "i", "snap").starts_with(&prefix("f-1", "p/ q")));
        let odd = url("f", "p/ q@", "\u{e9}", "snap");
        assert_eq!(odd, "rbd://f/p%2F%20q%40/%C3%A9/snap");
        let place = Place::parse(&odd).unwrap();
        assert_eq!((place.pool.as_deref(), place.image.as_str()), (Some("p/ q@"), "\u{e9}"));
        assert_eq!(place.snapshot.as_deref(), Some("snap"));
    }

    #[test]
    fn rb_01_one_or_four_parts() {
        let short = Place { pool: None, image: "i%20".into(), snapshot: None };
        assert_eq!(Place::parse("rbd://i%20"), Some(short));
        for odd in [
            "rbd://",
            "rbd://a/b",
            "rbd://a/b/c",
            "rbd://a//c/d",
            "rbd://a/b/c/d/e",
            "rbd://\u{e9}",
        ] {
            assert_eq!(Place::parse(odd), None, "{odd}");
        }
        assert!(Place::of(&Location::new("file:///x".into(), None)).is_err());
    }
}
