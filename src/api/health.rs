//! `GET /healthcheck`: whether a load balancer should send requests here (`RT-44`, `CF-14`).
//!
//! The operator's files say, as in oslo.middleware; the answer comes in the form that is asked for.

use std::path::Path;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::App;
use super::accept::{self, Media};
use super::answer;
use super::fault::Fault;
use super::peer::{self, Peer};
use crate::config::{Healthcheck, Probe};

/// What one look at a file has shown.
#[derive(Debug)]
struct Finding {
    is_well: bool,
    reason: &'static str,
    details: String,
}

/// 200 with `OK` (204 for `HEAD`), or 503 with the reason. To those who may not know there is no
/// such path.
pub(super) async fn check(app: &App, head: &Parts) -> Result<Response<Bytes>, Fault> {
    let health = &app.settings.api.healthcheck;
    if !may_ask(health, head) {
        return Err(Fault::not_found());
    }
    let port = app.settings.listen.tcp().map_or(0, |address| address.port());
    let findings = look(health.probes.clone(), port).await;
    let is_well = findings.iter().all(|finding| finding.is_well);
    let status = match is_well {
        true if head.method == Method::HEAD => StatusCode::NO_CONTENT,
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok(match media(head) {
        Media::Text => answer::text(status, &text(&findings)),
        Media::Html => answer::html(status, &html(&findings, health.is_detailed)),
        Media::Json => answer::json_text(status, pretty(&findings, health.is_detailed)),
    })
}

fn may_ask(health: &Healthcheck, head: &Parts) -> bool {
    let sources = &health.allowed_sources;
    let address = Peer::of(head).and_then(Peer::ip);
    let is_near = sources.is_empty()
        || address.is_some_and(|ip| sources.iter().any(|network| network.contains(ip)));
    is_near && !(health.ignores_proxied && peer::is_proxied(&head.headers))
}

/// Looks for the files on a thread that may wait for a disk.
async fn look(probes: Vec<Probe>, port: u16) -> Vec<Finding> {
    if probes.is_empty() {
        return Vec::new();
    }
    let looking = move || probes.iter().map(|probe| finding(probe, port)).collect();
    tokio::task::spawn_blocking(looking).await.unwrap_or_default()
}

fn finding(probe: &Probe, port: u16) -> Finding {
    match probe {
        Probe::DisabledBy(path) => disabled_by(path, true),
        Probe::DisabledByOfPort(all) => match all.iter().find(|(known, _)| *known == port) {
            Some((_, path)) => disabled_by(path, false),
            None => Finding { is_well: true, reason: "OK", details: String::new() },
        },
        Probe::EnabledBy(paths) => match paths.iter().find(|path| !path.exists()) {
            None => Finding { is_well: true, reason: "OK", details: String::new() },
            Some(path) => Finding {
                is_well: false,
                reason: "FILE PATH MISSING",
                details: format!("Path '{}' was not found", path.display()),
            },
        },
    }
}

fn disabled_by(path: &Path, has_details: bool) -> Finding {
    let is_well = !path.exists();
    let (reason, seen) =
        if is_well { ("OK", "was not found") } else { ("DISABLED BY FILE", "was found") };
    let details = format!("Path '{}' {seen}", path.display());
    Finding { is_well, reason, details: if has_details { details } else { String::new() } }
}

/// The form that is asked for; text where nothing is preferred.
fn media(head: &Parts) -> Media {
    let accept = accept::header(&head.headers);
    match accept.is_empty() || accept.contains("*/*") || accept.contains("text/plain") {
        true => Media::Text,
        false => accept::error_media(&accept),
    }
}

fn text(findings: &[Finding]) -> String {
    let reasons: Vec<&str> = findings.iter().map(|finding| finding.reason).collect();
    if reasons.is_empty() { "OK".to_owned() } else { reasons.join("\n") }
}

fn html(findings: &[Finding], is_detailed: bool) -> String {
    let cell = |text: &str| format!("<TD>{}</TD>", super::fault::escape_html(text));
    let rows: String = findings
        .iter()
        .map(|finding| {
            let details = if is_detailed { cell(&finding.details) } else { String::new() };
            format!("<TR>\n{}{details}\n</TR>\n", cell(finding.reason))
        })
        .collect();
    let details = if is_detailed { "<TH>\nDetails\n</TH>" } else { "" };
    format!(
        "<HTML>\n<HEAD><TITLE>Healthcheck Status</TITLE></HEAD>\n<BODY>\n\
         <H2>Result of {} checks:</H2>\n<TABLE bgcolor=\"#ffffff\" border=\"1\">\n<TBODY>\n\
         <TR>\n<TH>\nReason\n</TH>{details}\n</TR>\n{rows}</TBODY>\n</TABLE>\n<HR></HR>\n\n\
         </BODY>\n</HTML>",
        findings.len()
    )
}

fn pretty(findings: &[Finding], is_detailed: bool) -> String {
    let reason = |finding: &Finding| {
        if is_detailed {
            json!({
                "class": "HealthcheckResult",
                "details": finding.details,
                "reason": finding.reason,
            })
        } else {
            json!(finding.reason)
        }
    };
    let reasons: Vec<Value> = findings.iter().map(reason).collect();
    let body = json!({ "detailed": is_detailed, "reasons": reasons });
    let mut out = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    // Writing JSON values to memory can't fail.
    let _ = body.serialize(&mut serde_json::Serializer::with_formatter(&mut out, indent));
    String::from_utf8_lossy(&out).into_owned()
}
