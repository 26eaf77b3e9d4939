//! Listening on a socket in the file system.
//!
//! Whoever may open the socket may say who they are (`PR-13`), so it has its mode before anybody
//! can reach it: it is made under another name and renamed. A lock beside it, held for as long as
//! the process lives, says that no other server is there; a socket that one has left behind is
//! replaced.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// A socket of ours in the file system, gone when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Released when it is closed.
    _lock: File,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Listens on a path.
///
/// # Errors
/// What the system says; `AddrInUse` where another server listens or something else stands there.
pub(super) fn listen(
    path: &Path,
    mode: u32,
    backlog: u32,
) -> io::Result<(UnixListener, SocketFile)> {
    let lock = lock(&beside(path, ".lock"))?;
    if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "something else stands there"));
    }
    let making = beside(path, ".new");
    let _ = fs::remove_file(&making);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(&making)?)?;
    fs::set_permissions(&making, Permissions::from_mode(mode))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    fs::rename(&making, path)?;
    let file = SocketFile { path: path.to_owned(), _lock: lock };
    Ok((UnixListener::from_std(socket.into())?, file))
}

fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| io::Error::new(io::ErrorKind::AddrInUse, "another server listens there"))?;
    Ok(file)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn pr_13_a_socket_has_its_mode_and_one_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let (listener, file) = listen(&path, 0o600, 8).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = listen(&path, 0o600, 8).unwrap_err();
        assert_eq!(error.to_string(), "another server listens there");
        drop((listener, file));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(listen(&path, 0o660, 8).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(listen(&path, 0o660, 8).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
