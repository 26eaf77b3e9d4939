//! `GET /v2/images/{id}/file`: finds the copy to serve and sends it (`DD-01` to `DD-09`).

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Response, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::data::{Exchange, Kept};
use super::fault::Fault;
use super::images;
use super::may;
use super::ranges::{self, Part};
use super::wire::{self, After};
use super::{App, answer};
use crate::auth::{Action, Identity};
use crate::download::{self, Outgoing, Pace, SendError};
use crate::image::{Image, Location};
use crate::limits::SLOTS_PER_DOWNLOAD_MAX;
use crate::observe::metrics::DownloadResult;
use crate::store::{Source, StoreErrorKind};
use crate::upload::Rest;

/// Glance's own header: the MD5 in hexadecimal digits, not in base64 (`DD-01`).
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// Serves the data of an image.
pub(super) async fn get(exchange: Exchange<'_>, stream: TcpStream, id: &str, rest: Rest) -> Kept {
    if !rest.is_read() {
        let fault = Fault::bad_request("A body is not expected with this request.");
        return refuse(exchange, stream, fault, rest).await;
    }
    let query = exchange.head.uri.query().unwrap_or("");
    match find(exchange.app, &exchange.caller, id, query).await {
        Ok(Some((image, source))) => send(exchange, stream, &image, source, rest).await,
        Ok(None) => {
            exchange.app.metrics.download_ended(DownloadResult::Refused);
            exchange.answer(stream, answer::empty(StatusCode::NO_CONTENT), rest).await
        }
        Err(fault) => refuse(exchange, stream, fault, rest).await,
    }
}

async fn refuse(exchange: Exchange<'_>, stream: TcpStream, fault: Fault, rest: Rest) -> Kept {
    exchange.app.metrics.download_ended(DownloadResult::Refused);
    exchange.refuse(stream, fault, rest).await
}

/// The image with its data opened; `None` when it has none.
async fn find(
    app: &App,
    caller: &Identity,
    id: &str,
    query: &str,
) -> Result<Option<(Image, Source)>, Fault> {
    let image = images::find(app, caller, id).await?;
    may_download(app, caller, &image)?;
    let prefer = preferred_stores(query);
    if !prefer.is_empty() {
        may::with(app, caller, Action::DownloadFromStore, &image)?;
        must_be_configured(app, &prefer)?;
    }
    let locations = in_order(app, &image, &prefer);
    let mut last = None;
    for location in locations {
        match app.stores.open_at(location).await {
            Ok(source) => return Ok(Some((image, source))),
            Err(error) => {
                tracing::warn!(image_id = %image.id, %error, "a copy can't be read");
                last = Some(error);
            }
        }
    }
    match last {
        None => Ok(None),
        Some(error) if error.kind() == StoreErrorKind::NotFound => Ok(None),
        Some(error) => Err(error.into()),
    }
}

/// `DD-08`, `VI-05`.
fn may_download(app: &App, caller: &Identity, image: &Image) -> Result<(), Fault> {
    if !may::has_data_of(caller, image) {
        let message = "The requested image has been deactivated. Image data download is forbidden.";
        return Err(Fault::forbidden(message));
    }
    may::with(app, caller, Action::DownloadImage, image)
}

/// `?prefer=s1,s2` (`DD-07`).
fn preferred_stores(query: &str) -> Vec<String> {
    let mut stores = Vec::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        if key == "prefer" {
            stores.extend(value.split(',').map(|id| id.trim().to_owned()));
        }
    }
    stores
}

/// A reserved store is as unknown as any other (`D-24`).
fn must_be_configured(app: &App, stores: &[String]) -> Result<(), Fault> {
    match stores.iter().find(|id| app.stores.get(id).is_none()) {
        Some(id) => Err(Fault::bad_request(format!("Store '{id}' is not configured."))),
        None => Ok(()),
    }
}

/// Preferred stores first, in the order of the request, then by weight (`DD-06`).
fn in_order<'a>(app: &App, image: &'a Image, prefer: &[String]) -> Vec<&'a Location> {
    let mut locations = app.stores.by_weight(&image.locations);
    locations.sort_by_key(|location| {
        let store = app.stores.of_location(location).map(|store| store.id());
        prefer.iter().position(|id| Some(id.as_str()) == store).unwrap_or(prefer.len())
    });
    locations
}

async fn send(
    exchange: Exchange<'_>,
    stream: TcpStream,
    image: &Image,
    source: Source,
    rest: Rest,
) -> Kept {
    let size = image.size.unwrap_or(source.size());
    let part = match ranges::wanted(&exchange.head.headers, size) {
        Ok(part) => part,
        Err(fault) => return refuse(exchange, stream, fault, rest).await,
    };
    let Part { offset, len } = part.unwrap_or(Part { offset: 0, len: size });
    let mut response = head(image, part, size);
    exchange.stamp(&mut response);
    let after = wire::wanted_after(exchange.head.version, &exchange.head.headers);
    let share = exchange.app.reads.share(SLOTS_PER_DOWNLOAD_MAX);
    let outgoing = Outgoing { source, share, offset, len };
    match transfer(exchange.app, stream, &response, outgoing, after).await {
        Ok(stream) if after == After::Keep => Some((stream, rest.leftover)),
        Ok(stream) => {
            wire::close_lingering(stream).await;
            None
        }
        Err(error) => {
            note_broken(exchange.app, image, &error);
            None
        }
    }
}

fn head(image: &Image, part: Option<Part>, size: u64) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, part.map_or(size, |part| part.len).into());
    if let Some(md5) = image.checksum.as_deref().and_then(|md5| HeaderValue::from_str(md5).ok()) {
        headers.insert(CONTENT_MD5, md5);
    }
    if let Some(Part { offset, len }) = part {
        let range = format!("bytes {offset}-{}/{size}", offset + len - 1);
        if let Ok(range) = HeaderValue::from_str(&range) {
            headers.insert(CONTENT_RANGE, range);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

async fn transfer(
    app: &App,
    mut stream: TcpStream,
    response: &Response<Bytes>,
    outgoing: Outgoing,
    after: After,
) -> Result<TcpStream, SendError> {
    stream.write_all(&wire::head(response, outgoing.len, after)).await?;
    let pace = Pace {
        rate_bytes_per_sec_min: app.settings.glissade.rate_bytes_per_sec_min,
        grace: app.settings.glissade.stall_grace,
    };
    download::send(&stream, outgoing, pace, |bytes| app.metrics.download_bytes(bytes)).await?;
    app.metrics.download_ended(DownloadResult::Sent);
    Ok(stream)
}

/// A broken download is closed as it stands. Only short data and a store are the server's affair.
fn note_broken(app: &App, image: &Image, error: &SendError) {
    let result = match error {
        SendError::Short { .. } => {
            tracing::error!(image_id = %image.id, %error, "the stored data is damaged");
            DownloadResult::Failed
        }
        SendError::Store(failure) => {
            tracing::error!(image_id = %image.id, %failure, "a download broke off");
            DownloadResult::Failed
        }
        SendError::TooSlow => DownloadResult::TooSlow,
        SendError::Io(_) => DownloadResult::ClientGone,
    };
    if result != DownloadResult::Failed {
        tracing::info!(image_id = %image.id, %error, "a download broke off");
    }
    app.metrics.download_ended(result);
}
