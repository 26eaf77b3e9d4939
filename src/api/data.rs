//! The hot routes: image data in and out, on a connection that hyper has given up.
//!
//! Everything that can be refused is refused before a byte of the body is read. A refusal keeps
//! the connection only when the rest of the body is small and on its way; otherwise it is closed
//! so that the client can still read the answer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{Response, StatusCode};
use tokio::net::TcpStream;
use tracing::Instrument;

use super::cors;
use super::fault::Fault;
use super::identify::identify;
use super::images;
use super::may;
use super::outgoing;
use super::request_id::RequestId;
use super::router::Route;
use super::wire::{self, After};
use super::{App, answer, versions};
use crate::auth::{Action, Identity};
use crate::limits::DRAIN_BYTES_MAX;
use crate::meta::MetaError;
use crate::observe::metrics::{self, UploadResult};
use crate::observe::span;
use crate::store::{SizeHint, StoreErrorKind};
use crate::upload::{self, Finished, Framing, Prepared, Rest, UploadError};

/// The connection after a request, with what was received beyond it; `None` when it is closed.
pub(super) type Kept = Option<(TcpStream, Bytes)>;

/// A hot request, less its connection.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) app: &'a App,
    pub(super) head: Parts,
    pub(super) request_id: RequestId,
    pub(super) caller: Identity,
    class: metrics::Route,
}

/// Serves one hot request.
pub(super) async fn serve(
    app: &Arc<App>,
    stream: TcpStream,
    head: Parts,
    framing: Framing,
    prefix: Bytes,
) -> Kept {
    let route = versions::route(app, &head, &head.uri.to_string());
    let named = RequestId::of(&head.headers, app.settings.api.max_request_id_length);
    let (request_id, overlong) = match named {
        Ok(request_id) => (request_id, None),
        Err(fault) => (RequestId::random(), Some(fault)),
    };
    let class = route.as_ref().map_or(metrics::Route::Other, Route::class);
    let identified = match overlong {
        None => identify(app, &head).await,
        Some(fault) => Err(fault),
    };
    let (caller, refusal) = match identified {
        Ok(caller) => (caller, None),
        Err(fault) => (Identity::default(), Some(fault)),
    };
    let exchange = Exchange { app, head, request_id, caller, class };
    match (refusal, route) {
        (None, Ok(Route::PutImageData(id))) => exchange.put(stream, &id, framing, prefix).await,
        (None, Ok(Route::StageImageData(id))) => exchange.stage(stream, &id, framing, prefix).await,
        (None, Ok(Route::GetImageData(_))) if matches!(framing, Framing::Length(1..)) => {
            let rest = rest_of(framing, &prefix);
            exchange.refuse(stream, Fault::unexpected_body(), rest).await
        }
        (None, Ok(Route::GetImageData(id))) => {
            outgoing::get(exchange, stream, &id, rest_of(framing, &prefix)).await
        }
        (_, Ok(Route::VersionChoices)) => {
            let choices = versions::document(app, &exchange.head, StatusCode::MULTIPLE_CHOICES);
            exchange.answer(stream, choices, rest_of(framing, &prefix)).await
        }
        (refusal, route) => {
            let fault = refusal.unwrap_or_else(|| match route {
                Ok(_) => Fault::internal(),
                Err(unrouted) => unrouted.into_fault(&exchange.head.method),
            });
            exchange.refuse(stream, fault, rest_of(framing, &prefix)).await
        }
    }
}

/// What is left of a body of which only `prefix` has been read.
fn rest_of(framing: Framing, prefix: &Bytes) -> Rest {
    match framing {
        Framing::Length(len) => Rest::after_prefix(len, prefix),
        Framing::Chunked => Rest::unread(),
    }
}

impl Exchange<'_> {
    /// `PUT /v2/images/{id}/file`.
    async fn put(self, stream: TcpStream, id: &str, framing: Framing, prefix: Bytes) -> Kept {
        let request = match self.upload_request(id, framing).await {
            Ok(request) => request,
            Err(fault) => return self.refuse(stream, fault, rest_of(framing, &prefix)).await,
        };
        let store = request.store_id.as_deref().unwrap_or(self.app.stores.default_id());
        let span = span::upload(&request.image_id, store, self.request_id.as_str());
        let uploading = async {
            let prepared = self.app.uploads.prepare(&self.app.stores, request).await;
            self.upload(stream, prepared, framing, prefix).await
        };
        uploading.instrument(span).await
    }

    /// `PUT /v2/images/{id}/stage`.
    async fn stage(self, stream: TcpStream, id: &str, framing: Framing, prefix: Bytes) -> Kept {
        let request = match self.stage_request(id, framing).await {
            Ok(request) => request,
            Err(fault) => return self.refuse(stream, fault, rest_of(framing, &prefix)).await,
        };
        let span = span::upload(&request.image_id, "staging", self.request_id.as_str());
        let staging = async {
            let (stores, uploads) = (&self.app.stores, &self.app.uploads);
            let prepared = uploads.prepare_stage(stores, &request.image_id, request.hint).await;
            self.upload(stream, prepared, framing, prefix).await
        };
        staging.instrument(span).await
    }

    /// Headers to request (`ST-01`, `ST-02`).
    async fn stage_request(&self, id: &str, framing: Framing) -> Result<upload::Request, Fault> {
        let methods = &self.app.settings.api.enabled_import_methods;
        if !methods.iter().any(|method| method == "glance-direct") {
            let message = "Image staging is not available: 'glance-direct' is not among the \
                           enabled import methods";
            return Err(Fault::new(StatusCode::NOT_FOUND, message));
        }
        let hint = self.announced(framing)?;
        may::write(&self.caller)?;
        let image = images::find(self.app, &self.caller, id).await?;
        may::change(self.app, &self.caller, Action::ModifyImage, &image)?;
        Ok(upload::Request { image_id: image.id, store_id: None, hint })
    }

    async fn upload(
        self,
        mut stream: TcpStream,
        prepared: Result<Prepared, UploadError>,
        framing: Framing,
        prefix: Bytes,
    ) -> Kept {
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.note(Err(&error));
                return self.refuse(stream, error.into(), rest_of(framing, &prefix)).await;
            }
        };
        if prefix.is_empty() && self.expects_continue() {
            // A client that is gone shows in the first receive.
            let _ = wire::send_continue(&mut stream).await;
        }
        let (stream, Finished { outcome, rest }) =
            match receive(self.app, stream, prepared, framing, prefix).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!(%error, "a connection was lost between the runtimes");
                    return None;
                }
            };
        match outcome {
            Ok(image) => {
                self.note(Ok(image.size.unwrap_or(0)));
                self.answer(stream, answer::no_content(), rest).await
            }
            Err(error) => {
                self.note(Err(&error));
                self.refuse(stream, error.into(), rest).await
            }
        }
    }

    /// Headers to request (`DU-01` to `DU-03`).
    async fn upload_request(&self, id: &str, framing: Framing) -> Result<upload::Request, Fault> {
        let hint = self.announced(framing)?;
        let store_id = self.store_id()?;
        may::write(&self.caller)?;
        let image = images::find(self.app, &self.caller, id).await?;
        may::change(self.app, &self.caller, Action::UploadImage, &image)?;
        Ok(upload::Request { image_id: image.id, store_id, hint })
    }

    /// The media type that image data has, and the size that it is to have.
    fn announced(&self, framing: Framing) -> Result<SizeHint, Fault> {
        let content_type = self.header(CONTENT_TYPE.as_str());
        let media_type = content_type.and_then(|value| value.split(';').next()).map(str::trim);
        if media_type != Some("application/octet-stream") {
            return Err(Fault::unsupported_media_type(media_type));
        }
        Ok(match (self.header("x-openstack-image-size"), framing) {
            (Some(size), _) => SizeHint::Known(size.trim().parse().map_err(|_| {
                Fault::bad_request("Invalid or missing image size in request headers.")
            })?),
            (None, Framing::Length(len)) => SizeHint::Known(len),
            (None, Framing::Chunked) => SizeHint::Unknown,
        })
    }

    /// The store that the client names, where clients may; it is judged before the image is
    /// looked up (`DU-04`).
    fn store_id(&self) -> Result<Option<String>, Fault> {
        let named = self.header("x-image-meta-store").filter(|_| self.app.stores.is_multi());
        match named {
            Some(id) if self.app.stores.get(id).is_none() => {
                Err(UploadError::UnknownStore(id.to_owned()).into())
            }
            named => Ok(named.map(str::to_owned)),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn expects_continue(&self) -> bool {
        self.header(EXPECT.as_str()).is_some_and(|e| e.eq_ignore_ascii_case("100-continue"))
    }

    /// Counts and logs how an upload ended, once.
    fn note(&self, outcome: Result<u64, &UploadError>) {
        let result = match outcome {
            Ok(bytes) => {
                tracing::info!(bytes, "the upload is stored");
                UploadResult::Stored
            }
            Err(error) => {
                // What is our fault is logged as an error where it becomes an answer.
                tracing::info!(%error, "the upload is undone");
                result_of(error)
            }
        };
        self.app.metrics.upload_ended(result);
    }

    /// Counts an answer and gives it the request's id and what browsers have to know.
    pub(super) fn stamp(&self, response: &mut Response<Bytes>) {
        self.app.metrics.request(self.class, response.status());
        self.request_id.stamp(response);
        cors::tell(&self.app.settings.api.cors, &self.head, response);
    }

    /// Answers a fault. The rest of the body is drained when that is cheap and the client is
    /// sending it for certain.
    pub(super) async fn refuse(self, stream: TcpStream, fault: Fault, rest: Rest) -> Kept {
        let response = fault.into_response(&self.head.headers);
        self.answer(stream, response, rest).await
    }

    /// Sends an answer and decides what becomes of the connection.
    pub(super) async fn answer(
        self,
        mut stream: TcpStream,
        mut response: Response<Bytes>,
        rest: Rest,
    ) -> Kept {
        self.stamp(&mut response);
        let unread = rest
            .unread
            .filter(|left| *left == 0 || (*left <= DRAIN_BYTES_MAX && !self.expects_continue()));
        let after = match unread {
            Some(_) => wire::wanted_after(self.head.version, &self.head.headers),
            None => After::Close,
        };
        wire::send(&mut stream, &response, after).await.ok()?;
        if after == After::Keep && wire::drain_body(&mut stream, unread.unwrap_or(0)).await {
            return Some((stream, rest.leftover));
        }
        wire::close_lingering(stream).await;
        None
    }
}

/// Lends the socket, in blocking mode, to the data plane and takes it back.
async fn receive(
    app: &App,
    stream: TcpStream,
    prepared: Prepared,
    framing: Framing,
    prefix: Bytes,
) -> io::Result<(TcpStream, Finished)> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    let finished = app.uploads.receive(prepared, &stream, framing, prefix).await;
    stream.set_nonblocking(true)?;
    Ok((TcpStream::from_std(stream)?, finished))
}

/// Whose fault an upload's end was, for the metrics.
fn result_of(error: &UploadError) -> UploadResult {
    match error {
        UploadError::ClientGone { .. } => UploadResult::ClientGone,
        UploadError::TooSlow { .. } => UploadResult::TooSlow,
        UploadError::Meta(MetaError::Database(_))
        | UploadError::Source(_)
        | UploadError::LanesGone(_)
        | UploadError::EngineGone
        | UploadError::Handover(_) => UploadResult::Failed,
        UploadError::Store(error) if error.kind() != StoreErrorKind::Exists => UploadResult::Failed,
        _ => UploadResult::Refused,
    }
}
