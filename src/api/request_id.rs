//! The id by which a request is found in logs (`PR-09`).
//!
//! Glance takes over the id that a caller sends, so that one id follows a request through several
//! services, and makes one when there is none.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::fault::Fault;

/// Where the id stands, in requests and answers.
const HEADER: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// `req-` and, unless a caller chose otherwise, a UUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("req-{}", uuid::Uuid::new_v4()))
    }

    /// The caller's, or a new one. `length_max` is `max_request_id_length`; 0 is no limit.
    ///
    /// # Errors
    /// A [`Fault`] with status 431 when the caller's is longer.
    pub fn of(headers: &HeaderMap, length_max: usize) -> Result<Self, Fault> {
        let given = headers.get(HEADER).and_then(|id| id.to_str().ok()).unwrap_or_default();
        if length_max > 0 && given.len() > length_max {
            return Err(Fault::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                format!("x-openstack-request-id is too long, max size {length_max}"),
            ));
        }
        Ok(match given {
            "" => Self::random(),
            id if id.starts_with("req-") => Self(id.to_owned()),
            id => Self(format!("req-{id}")),
        })
    }

    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Puts it on an answer, unless that has the one of the server that has made it.
    pub fn stamp<B>(&self, response: &mut Response<B>) {
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            response.headers_mut().entry(HEADER).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(id: &str, length_max: usize) -> Result<RequestId, StatusCode> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_str(id).unwrap());
        RequestId::of(&headers, length_max).map_err(|fault| fault.status())
    }

    #[test]
    fn pr_09_a_callers_id_is_kept_with_the_prefix() {
        assert_eq!(of("req-1", 64).unwrap().as_str(), "req-1");
        assert_eq!(of("1", 64).unwrap().as_str(), "req-1");
    }

    #[test]
    fn pr_09_without_one_it_is_new_each_time() {
        let fresh = || RequestId::of(&HeaderMap::new(), 64).unwrap();
        assert_eq!(fresh().as_str().len(), "req-".len() + 36);
        assert_ne!(fresh(), fresh());
    }

    #[test]
    fn pr_09_a_long_one_is_refused() {
        assert_eq!(of(&"x".repeat(65), 64), Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        assert!(of(&"x".repeat(64), 64).is_ok());
        assert!(of(&"x".repeat(500), 0).is_ok());
    }
}
