//! A recording of one request to Glance and its answer, read from `tests/fixtures/transcripts`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Request, Response};

use crate::auth::Identity;
use crate::image::ImageId;

/// The project that owns what was recorded.
pub(super) const OWNER: &str = "11111111111111111111111111111111";

pub(super) struct Recording {
    request: String,
    pub(super) response: Answer,
}

/// An answer, recorded or given.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Recording {
    /// Reads the recording with this number.
    pub(super) fn read(number: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/transcripts");
        let mut names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let prefix = format!("{number}-");
        let is_it =
            |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix);
        let text = std::fs::read_to_string(names.find(is_it).unwrap()).unwrap();
        let (_, text) = text.split_once("=== REQUEST\n").unwrap();
        let (request, response) = text.split_once("\n\n=== RESPONSE\n").unwrap();
        Self { request: request.to_owned(), response: Answer::parse(response) }
    }

    /// The request, with the body as far as its `Content-Length` goes.
    pub(super) fn request(&self) -> Request<Bytes> {
        let (head, body) = self.request.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap().split(' ');
        let mut request = Request::builder().method(first.next().unwrap());
        request = request.uri(first.next().unwrap());
        for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
            request = request.header(name, value);
        }
        request.extension(self.caller()).body(Bytes::from(body.to_owned())).unwrap()
    }

    /// Who asked: whom the headers name, else the administrator that all the others were.
    pub(super) fn caller(&self) -> Identity {
        let header = |name: &str| {
            let prefix = format!("{name}: ");
            self.request.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
        };
        let roles = header("X-Roles").unwrap_or_else(|| "admin,member,reader".to_owned());
        Identity {
            user_id: header("X-User-Id"),
            project_id: header("X-Project-Id").or_else(|| Some(OWNER.to_owned())),
            roles: roles.split(',').map(str::to_owned).collect(),
            ..Identity::default()
        }
    }

    /// The recorded answer with words replaced, where ours differs on purpose.
    pub(super) fn response_with(&self, old: &str, new: &str) -> Answer {
        assert!(self.response.body.contains(old), "{old:?} is not in the recording");
        let mut response = self.response.clone();
        response.body = response.body.replace(old, new);
        response
    }
}

impl Answer {
    pub(super) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let headers = lines.map(header).collect();
        let mut answer = Self { status, headers, body: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        // Data is recorded by its length and digest.
        answer.body = body.get(..length).unwrap_or(body).to_owned();
        answer
    }

    pub(super) fn of(response: &Response<Bytes>) -> Self {
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        Self {
            status: response.status().as_u16(),
            headers: response.headers().iter().map(header).collect(),
            body: String::from_utf8(response.body().to_vec()).unwrap(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// What must be the same every time: no new ids, no times.
    pub(super) fn comparable(&self) -> (u16, Vec<(&'static str, String)>, String) {
        let names = [
            "accept-patch",
            "allow",
            "content-type",
            "location",
            "openstack-image-import-methods",
            "openstack-image-store-ids",
            "x-openstack-request-id",
        ];
        let header = |name| Some((name, mask(self.header(name)?)));
        (self.status, names.into_iter().filter_map(header).collect(), mask(&self.body))
    }
}

/// Replaces every UUID and every time.
fn mask(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (length, word) = if rest.get(..36).is_some_and(|id| ImageId::parse(id).is_some()) {
            (36, "<id>".to_owned())
        } else if rest.get(..26).is_some_and(|at| has_shape(at, *b"0000-00-00T00:00:00.000000")) {
            (26, "<time>".to_owned())
        } else if rest.get(..20).is_some_and(|at| has_shape(at, *b"0000-00-00T00:00:00Z")) {
            (20, "<time>".to_owned())
        } else {
            (c.len_utf8(), c.to_string())
        };
        out.push_str(&word);
        rest = &rest[length..];
    }
    out
}

/// Whether a text is the pattern but for its digits.
fn has_shape<const N: usize>(text: &str, pattern: [u8; N]) -> bool {
    text.bytes().map(|b| if b.is_ascii_digit() { b'0' } else { b }).eq(pattern)
}
