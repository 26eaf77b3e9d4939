//! HTTP, and nothing but HTTP: requests in, answers out.
//!
//! Metadata requests arrive whole at [`respond`]; the hot routes (`PUT` and `GET .../file`,
//! `PUT .../stage`) never come here, `server` hands their connection to the data plane.

pub mod admin;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};

use crate::config::Settings;
use crate::meta::Repo;
use crate::store::Registry;

/// What every request needs.
#[derive(Debug)]
pub struct App {
    /// Checked configuration.
    pub settings: Arc<Settings>,
    /// Image records.
    pub repo: Arc<dyn Repo>,
    /// Stores that clients may name.
    pub stores: Arc<Registry>,
}

/// Answers a request whose body has been read.
pub async fn respond(app: &App, request: Request<Bytes>) -> Response<Bytes> {
    let _ = (app, request);
    Response::new(Bytes::new())
}
