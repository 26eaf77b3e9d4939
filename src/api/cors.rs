//! What browsers are told about pages of other origins (`PR-14`), as oslo.middleware tells it.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, ORIGIN,
    VARY,
};
use http::request::Parts;
use http::{HeaderValue, Method, Response};

use crate::config::Cors;

/// Headers that every page may send.
const SIMPLE: [&str; 8] = [
    "Accept",
    "Accept-Language",
    "Content-Type",
    "Cache-Control",
    "Content-Language",
    "Expires",
    "Last-Modified",
    "Pragma",
];

/// Adds to an answer what the browser of an allowed origin has to know.
pub(super) fn tell(cors: &Cors, head: &Parts, response: &mut Response<Bytes>) {
    let Some(origin) = origin(cors, &head.headers) else { return };
    let headers = response.headers_mut();
    if head.method == Method::OPTIONS {
        preflight(cors, origin, &head.headers, headers);
        return;
    }
    admit(cors, origin, headers);
    put(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &cors.expose_headers.join(","));
}

/// The page's origin as the answer names it, if it is allowed: itself, or `*` where any is.
fn origin(cors: &Cors, asked: &HeaderMap) -> Option<HeaderValue> {
    let origin = asked.get(ORIGIN)?;
    let allowed = |name: &[u8]| cors.allowed_origins.iter().any(|known| known.as_bytes() == name);
    if allowed(origin.as_bytes()) {
        Some(origin.clone())
    } else {
        allowed(b"*").then(|| HeaderValue::from_static("*"))
    }
}

/// Answers whether a request may be made; silence is a no.
fn preflight(cors: &Cors, origin: HeaderValue, asked: &HeaderMap, headers: &mut HeaderMap) {
    let text = |name: HeaderName| asked.get(name).and_then(|value| value.to_str().ok());
    let Some(method) = text(ACCESS_CONTROL_REQUEST_METHOD) else { return };
    let wanted = text(ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').map(str::trim).filter(|n| !n.is_empty()).collect();
    let may_send = |name: &&str| {
        let mut allowed = cors.allow_headers.iter().map(String::as_str).chain(SIMPLE);
        allowed.any(|allowed| allowed.eq_ignore_ascii_case(name))
    };
    let may_use = cors.allow_methods.iter().any(|allowed| allowed == method);
    if !may_use || !wanted.iter().all(may_send) {
        return;
    }
    admit(cors, origin, headers);
    if cors.max_age_secs > 0 {
        put(headers, ACCESS_CONTROL_MAX_AGE, &cors.max_age_secs.to_string());
    }
    put(headers, ACCESS_CONTROL_ALLOW_METHODS, method);
    put(headers, ACCESS_CONTROL_ALLOW_HEADERS, &wanted.join(","));
}

fn admit(cors: &Cors, origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if cors.allows_credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value)
        && !value.is_empty()
    {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PAGE: &str = "https://horizon.example";

    fn cors(origins: &[&str]) -> Cors {
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
        Cors {
            allowed_origins: words(origins),
            allows_credentials: true,
            expose_headers: words(&["X-Auth-Token", "X-Subject-Token"]),
            max_age_secs: 60,
            allow_methods: words(&["GET", "PUT"]),
            allow_headers: words(&["X-Auth-Token"]),
        }
    }

    /// The headers, by name, that an answer gets.
    fn told(cors: &Cors, method: &str, asked: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut request = http::Request::builder().method(method);
        for (name, value) in asked {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let mut response = Response::new(Bytes::new());
        tell(cors, &head, &mut response);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        response.headers().iter().map(|(n, v)| (n.as_str().to_owned(), text(v))).collect()
    }

    fn value<'a>(told: &'a [(String, String)], name: &str) -> Option<&'a str> {
        told.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn pr_14_pages_of_allowed_origins_may_read_answers() {
        let all = told(&cors(&[PAGE]), "GET", &[("origin", PAGE)]);
        assert_eq!(value(&all, "access-control-allow-origin"), Some(PAGE));
        assert_eq!(value(&all, "access-control-allow-credentials"), Some("true"));
        assert_eq!(value(&all, "vary"), Some("Origin"));
        let exposed = Some("X-Auth-Token,X-Subject-Token");
        assert_eq!(value(&all, "access-control-expose-headers"), exposed);
        let any = told(&cors(&["*"]), "GET", &[("origin", "https://x")]);
        assert_eq!(value(&any, "access-control-allow-origin"), Some("*"));
    }

    #[test]
    fn pr_14_others_are_told_nothing() {
        assert!(told(&cors(&[PAGE]), "GET", &[("origin", "https://evil.example")]).is_empty());
        assert!(told(&cors(&[PAGE]), "GET", &[]).is_empty());
        assert!(told(&cors(&[]), "GET", &[("origin", PAGE)]).is_empty());
    }

    #[test]
    fn pr_14_a_preflight_says_what_may_be_sent() {
        let ask = |method: &str, headers: &str| {
            let asked = [
                ("origin", PAGE),
                ("access-control-request-method", method),
                ("access-control-request-headers", headers),
            ];
            told(&cors(&[PAGE]), "OPTIONS", &asked)
        };
        let yes = ask("PUT", "x-auth-token, content-type");
        assert_eq!(value(&yes, "access-control-allow-methods"), Some("PUT"));
        let headers = Some("x-auth-token,content-type");
        assert_eq!(value(&yes, "access-control-allow-headers"), headers);
        assert_eq!(value(&yes, "access-control-max-age"), Some("60"));
        assert_eq!(value(&yes, "access-control-expose-headers"), None);
        assert!(ask("DELETE", "").is_empty() && ask("PUT", "x-evil").is_empty());
        assert!(told(&cors(&[PAGE]), "OPTIONS", &[("origin", PAGE)]).is_empty());
    }
}
