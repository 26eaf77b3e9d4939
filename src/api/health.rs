//! `GET /healthcheck`: whether a load balancer should send requests here (`RT-44`).

use bytes::Bytes;
use http::{Method, Response, StatusCode};

use super::App;
use super::answer;

/// 200 `OK` (204 for `HEAD`), or 503 while the operator's file exists.
pub(super) async fn check(app: &App, method: &Method) -> Response<Bytes> {
    if is_disabled(app).await {
        return answer::text(StatusCode::SERVICE_UNAVAILABLE, "DISABLED BY FILE");
    }
    let status = if method == Method::HEAD { StatusCode::NO_CONTENT } else { StatusCode::OK };
    answer::text(status, "OK")
}

/// Looks for the file on a thread that may wait for a disk.
async fn is_disabled(app: &App) -> bool {
    let Some(path) = app.settings.api.healthcheck_disable_path.clone() else { return false };
    tokio::task::spawn_blocking(move || path.exists()).await.unwrap_or(false)
}
