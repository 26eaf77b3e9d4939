//! The log: lines of text or JSON, on standard error or appended to a file.
//!
//! One event is one write of one whole line, so several processes may append to a file, and
//! logrotate may move it away: after SIGHUP the caller says [`reopen`] and lines go to a new file.
//! The default levels keep libraries at `info`, under `debug = true` too: their debug lines may
//! quote headers, and tokens stand in headers. `RUST_LOG` overrides, for whoever knows that.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{self, FmtSpan};

use crate::config;

/// Why logging could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log file can't be opened.
    #[error(
        "log file {path}: {source}; make its directory exist and writable for this user, \
         or set log_file and log_dir to another place"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// `RUST_LOG` is not a filter.
    #[error("RUST_LOG: {0}; use levels like `info` or `glissade=debug`, or unset it")]
    Filter(String),
    /// Something in this process logs already.
    #[error("logging was set up twice in one process; call observe::log::init once")]
    AlreadySet,
}

/// The file in use, for [`reopen`].
static LOG_FILE: OnceLock<Arc<LogFile>> = OnceLock::new();

/// Sends the log of this process where the configuration says.
///
/// # Errors
/// When the file can't be opened, `RUST_LOG` is malformed, or logging is set up already.
pub fn init(log: &config::Log) -> Result<(), LogError> {
    let levels = filter(log.debug, std::env::var("RUST_LOG").ok().as_deref())?;
    let Some(path) = &log.file else {
        let ansi = !log.json && io::IsTerminal::is_terminal(&io::stderr());
        return install(subscriber(log.json, ansi, levels, io::stderr));
    };
    let file = Arc::new(LogFile::open(path)?);
    install(subscriber(log.json, false, levels, Arc::clone(&file)))?;
    LOG_FILE.set(file).map_err(|_| LogError::AlreadySet)
}

/// Opens the log file anew, after it was moved away; without a log file it does nothing.
///
/// # Errors
/// When the file can't be opened; lines then go on to the old one.
pub fn reopen() -> Result<(), LogError> {
    LOG_FILE.get().map_or(Ok(()), |file| file.reopen())
}

fn install(subscriber: impl Subscriber + Send + Sync) -> Result<(), LogError> {
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySet)
}

/// `RUST_LOG` when it is set and says something, else the configured levels.
fn filter(debug: bool, rust_log: Option<&str>) -> Result<EnvFilter, LogError> {
    match rust_log.map(str::trim) {
        Some(directives) if !directives.is_empty() => EnvFilter::builder()
            .parse(directives)
            .map_err(|error| LogError::Filter(error.to_string())),
        _ if debug => Ok(EnvFilter::new("info,glissade=debug")),
        _ => Ok(EnvFilter::new("info")),
    }
}

fn subscriber<W>(
    json: bool,
    ansi: bool,
    levels: EnvFilter,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(levels)
        .with_span_events(FmtSpan::NONE)
        .with_writer(writer)
        .with_ansi(ansi);
    if json {
        return Box::new(lines.json().finish());
    }
    let fields = format::debug_fn(|to, field, value| match field.name() {
        "message" => write!(to, "{}", escaped(value)),
        name => write!(to, "{name}={}", escaped(value)),
    });
    Box::new(lines.fmt_fields(fields.delimited(" ")).finish())
}

/// On one line and harmless to a terminal: what is logged may be what somebody has sent, and must
/// not pass for a line of ours. (JSON has its own escapes.)
fn escaped(value: &dyn fmt::Debug) -> String {
    let mut text = String::new();
    for c in format!("{value:?}").chars() {
        match c.is_control() {
            true => text.extend(c.escape_default()),
            false => text.push(c),
        }
    }
    text
}

/// An append-only file that can be swapped while others write to it.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    current: RwLock<Arc<File>>,
}

impl LogFile {
    fn open(path: &Path) -> Result<Self, LogError> {
        let file = open_append(path)?;
        Ok(Self { path: path.to_owned(), current: RwLock::new(Arc::new(file)) })
    }

    fn reopen(&self) -> Result<(), LogError> {
        let file = Arc::new(open_append(&self.path)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

/// Writes without a lock held: a full disk or a slow one must not hold up [`LogFile::reopen`].
impl io::Write for &LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let file = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        (&*file).write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open_append(path: &Path) -> Result<File, LogError> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|source| LogError::Open { path: path.to_owned(), source })
}

/// Runs `story` on this thread with a log of its own and returns the file's text.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) fn logged(json: bool, debug: bool, story: impl FnOnce()) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("glissade.log");
    let file = Arc::new(LogFile::open(&path).unwrap());
    let levels = filter(debug, None).unwrap();
    heard(subscriber(json, false, levels, file), story);
    std::fs::read_to_string(path).unwrap()
}

/// Runs `story` with a subscriber that hears this thread only.
///
/// Another one, which hears nothing, stays in the process: as long as there is only one, an event
/// that a thread without a subscriber meets first is switched off for every thread, and the log
/// of this test would lack what a test beside it has said.
#[cfg(test)]
fn heard(lines: impl Subscriber + Send + Sync, story: impl FnOnce()) {
    use tracing::subscriber::{NoSubscriber, with_default};
    static DEAF: OnceLock<tracing::Dispatch> = OnceLock::new();
    DEAF.get_or_init(|| tracing::Dispatch::new(NoSubscriber::new()));
    with_default(lines, story);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;
    use crate::observe::span;

    #[test]
    fn an_upload_s_lines_carry_its_fields() {
        let text = logged(true, false, || {
            let upload = span::upload(&"7b97", "fast", "req-1");
            span::record_bytes(&upload, 4096);
            let _inside = upload.enter();
            tracing::warn!("store is slow");
        });
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["fields"]["message"], "store is slow");
        let span = &line["span"];
        assert_eq!((&span["image_id"], &span["store"]), (&"7b97".into(), &"fast".into()));
        assert_eq!((&span["request_id"], &span["bytes"]), (&"req-1".into(), &4096.into()));
    }

    #[test]
    fn text_lines_have_no_escape_codes_in_a_file() {
        let text = logged(false, false, || tracing::info!(port = 9292, "serving"));
        assert!(text.contains("INFO") && text.contains("serving port=9292"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    /// Neither a field nor a message nor a span can begin a line of its own.
    #[test]
    fn what_somebody_sends_stays_on_its_line() {
        let sent = "http://x/\n2026-01-01T00:00:00Z  INFO forged \u{1b}[31m\0";
        for json in [false, true] {
            let text = logged(json, false, || {
                let upload = span::upload(&sent, sent, sent);
                upload.in_scope(|| tracing::info!(error = %sent, uri = ?sent, "refused: {sent}"));
            });
            let line = text.strip_suffix('\n').unwrap();
            assert!(line.contains("forged") && !line.contains(char::is_control), "{line:?}");
        }
        assert_eq!(escaped(&format_args!("a\u{9b}31m \u{e9}")), "a\\u{9b}31m \u{e9}");
    }

    #[test]
    fn debug_opens_our_own_lines_and_not_those_of_libraries() {
        let story = || {
            tracing::debug!("ours");
            tracing::debug!(target: "hyper::proto", "authorization: gAAAA");
        };
        assert_eq!(logged(false, false, story), "");
        let text = logged(false, true, story);
        assert!(text.contains("ours") && !text.contains("gAAAA"), "{text}");
    }

    #[test]
    fn rust_log_wins_and_is_refused_when_malformed() {
        assert_eq!(filter(true, Some("warn")).unwrap().to_string(), "warn");
        assert_eq!(filter(false, Some(" ")).unwrap().to_string(), "info");
        let refusal = filter(false, Some("glissade=loud")).unwrap_err();
        assert!(
            matches!(&refusal, LogError::Filter(_)) && refusal.to_string().contains("RUST_LOG")
        );
    }

    #[test]
    fn a_reopened_log_leaves_the_moved_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("g.log"), dir.path().join("g.log.1"));
        let file = Arc::new(LogFile::open(&path).unwrap());
        let lines = subscriber(false, false, filter(false, None).unwrap(), Arc::clone(&file));
        heard(lines, || {
            tracing::info!("one");
            fs::rename(&path, &moved).unwrap();
            tracing::info!("two");
            file.reopen().unwrap();
            tracing::info!("three");
        });
        let (old, new) = (fs::read_to_string(moved).unwrap(), fs::read_to_string(path).unwrap());
        assert!(old.contains("one") && old.contains("two") && !old.contains("three"));
        assert!(new.contains("three") && !new.contains("two"));
    }

    #[test]
    fn a_file_that_can_not_be_opened_names_the_option() {
        let refusal = LogFile::open(Path::new("/nonexistent/g.log")).unwrap_err().to_string();
        assert!(
            refusal.contains("/nonexistent/g.log") && refusal.contains("log_file"),
            "{refusal}"
        );
    }
}
