//! Writes answers on connections that hyper has given up.

use std::fmt::Write as _;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap};
use http::{Response, StatusCode, Version};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::limits::{HEAD_READ_BYTES, LINGER};

/// `IMF-fixdate` of RFC 9110, section 5.6.7.
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next request may come.
    Keep,
    /// It is closed.
    Close,
}

/// Whether the client wants to keep the connection (RFC 9112, section 9.3).
pub(super) fn wanted_after(version: Version, headers: &HeaderMap) -> After {
    let options = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let has_close = options
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("close"));
    if version == Version::HTTP_11 && !has_close { After::Keep } else { After::Close }
}

/// The head of an answer with a body of `body_len` bytes.
pub(super) fn head<B>(response: &Response<B>, body_len: u64, after: After) -> Bytes {
    let status = response.status();
    let mut text = String::with_capacity(256);
    // Writing to a String can't fail.
    let reason = status.canonical_reason().unwrap_or("Unknown");
    let _ = write!(text, "HTTP/1.1 {} {reason}\r\n", status.as_u16());
    if let Ok(date) = OffsetDateTime::now_utc().format(HTTP_DATE) {
        let _ = write!(text, "{DATE}: {date}\r\n");
    }
    if status != StatusCode::NO_CONTENT && !response.headers().contains_key(CONTENT_LENGTH) {
        let _ = write!(text, "{CONTENT_LENGTH}: {body_len}\r\n");
    }
    if after == After::Close {
        let _ = write!(text, "{CONNECTION}: close\r\n");
    }
    let mut bytes = BytesMut::from(text.as_bytes());
    for (name, value) in response.headers() {
        bytes.put_slice(name.as_str().as_bytes());
        bytes.put_slice(b": ");
        bytes.put_slice(value.as_bytes());
        bytes.put_slice(b"\r\n");
    }
    bytes.put_slice(b"\r\n");
    bytes.freeze()
}

/// Sends a whole answer.
pub(super) async fn send(
    stream: &mut TcpStream,
    response: &Response<Bytes>,
    after: After,
) -> io::Result<()> {
    let mut bytes = BytesMut::from(&head(response, response.body().len() as u64, after)[..]);
    bytes.put_slice(response.body());
    stream.write_all(&bytes).await
}

/// Tells a client that waits for it to send its body (RFC 9110, section 10.1.1).
pub(super) async fn send_continue(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await
}

/// Closes a connection whose client may still be sending: without reading on, the kernel would
/// answer with a reset, which can destroy the answer before the client has read it.
pub(super) async fn close_lingering(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut sink = vec![0; HEAD_READ_BYTES * 8];
    let reading = async { while matches!(stream.read(&mut sink).await, Ok(1..)) {} };
    // Whether the client or the clock ends it makes no difference.
    let _ = tokio::time::timeout(LINGER, reading).await;
}

/// Reads and throws away `left` bytes of a body; whether the next request starts right after.
pub(super) async fn drain_body(stream: &mut TcpStream, mut left: u64) -> bool {
    let mut sink = vec![0; HEAD_READ_BYTES];
    let reading = async {
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(sink.len());
            match stream.read(&mut sink[..room]).await {
                Ok(read @ 1..) => left -= read as u64,
                _ => return false,
            }
        }
        true
    };
    tokio::time::timeout(LINGER, reading).await.unwrap_or(false)
}
