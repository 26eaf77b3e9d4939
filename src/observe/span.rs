//! Spans and the names of their fields, in one place so that log queries find every line.

use std::fmt::Display;

use tracing::Span;
use tracing::field::Empty;

/// The span of one upload: `image_id`, `store` and `request_id` are on every line inside it.
///
/// `bytes` is not known at the start; [`record_bytes`] adds it.
#[must_use]
pub fn upload(image_id: &impl Display, store: &str, request_id: &str) -> Span {
    tracing::info_span!("upload", %image_id, store, request_id, bytes = Empty)
}

/// Notes in an upload's span how many bytes of image data have arrived.
pub fn record_bytes(upload: &Span, bytes: u64) {
    upload.record("bytes", bytes);
}
