//! What goes wrong between here and there, as what a caller can do about it.

use std::error::Error;
use std::io;

use hyper_util::client::legacy;

/// What the libraries below say.
type Source = Box<dyn Error + Send + Sync>;

/// Why there is no answer, or no more of it. `at` names the request, without secrets.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there: try again later.
    #[error("{at}: no connection; check the address, the network and the proxy")]
    Unreachable {
        /// The request.
        at: String,
        /// What the system said.
        source: Source,
    },
    /// Nothing moved for too long: try again later.
    #[error("{at}: no answer in time; check whether it is overloaded")]
    TimedOut {
        /// The request.
        at: String,
    },
    /// Who answers is not believed, or does not speak TLS.
    #[error("{at}: TLS was refused; check the certificate and which authorities are believed")]
    Tls {
        /// The request.
        at: String,
        /// What was wrong.
        source: Source,
    },
    /// This can't be asked at all.
    #[error("{url} can't be asked: {why}")]
    BadUrl {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// This may not be asked, or redirects without an end.
    #[error("{at} is refused: {why}")]
    Refused {
        /// The URL.
        at: String,
        /// Why not.
        why: String,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("{at}: the exchange broke off")]
    Broken {
        /// The request.
        at: String,
        /// How.
        source: Source,
    },
    /// No client can be made with these options.
    #[error("{0}")]
    Setup(String),
}

impl ClientError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Broken { .. })
    }

    /// The message with what stands behind it, for a line of the log.
    #[must_use]
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.ends_with(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = error.source();
        }
        text
    }
}

/// Sorts what an exchange ended with.
pub(super) fn of_exchange(at: String, error: legacy::Error) -> ClientError {
    if let Some(Verdict { why, at }) = find(&error) {
        return ClientError::Refused { at: at.clone(), why: why.clone() };
    }
    let kind = find::<io::Error>(&error).map(io::Error::kind);
    if find::<rustls::Error>(&error).is_some() {
        return ClientError::Tls { at, source: error.into() };
    }
    match kind {
        Some(io::ErrorKind::TimedOut) => ClientError::TimedOut { at },
        _ if error.is_connect() => ClientError::Unreachable { at, source: error.into() },
        _ => ClientError::Broken { at, source: error.into() },
    }
}

/// A guard's refusal on its way through the libraries.
#[derive(Debug, thiserror::Error)]
#[error("{at} is refused: {why}")]
pub(super) struct Verdict {
    pub(super) at: String,
    pub(super) why: String,
}

/// The first error of a type in a chain. What an `io::Error` holds counts as its cause, which
/// `source` passes over.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}
