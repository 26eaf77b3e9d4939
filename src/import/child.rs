//! Programs of others, in processes that can do little harm.
//!
//! What an image says is somebody's work, and whoever reads it has bugs. So each run is bounded in
//! CPU time, memory, bytes written to a file, bytes printed and time; its environment is the one
//! that it is given; no `setuid` program gives it more rights. It runs in a group of its own, which
//! is killed when it has ended, takes too long, or nobody waits for it any more, so that what it
//! has started ends with it. When this server is killed, the group is killed as well.
//!
//! `setpriv` and a shell set the bounds and start the program: that needs no `unsafe` here, and
//! nothing runs without them. The shell leads the group and stays: the kernel tells nobody but a
//! child of this server that the server is gone, and what a program has started is none. The shell
//! sees arguments, never a text that it would read.

use std::io;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process as pipes;
use tokio::sync::oneshot;

use super::run::Watch;
use crate::limits::CHILD_PRINTED_BYTES_MAX;

/// Where programs are looked for, if the server has no path of its own.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bounds, and a last look at the parent: one that died before the kernel was told to watch it will
/// tell nobody. A group with a halted process is told by HUP, and maybe before, that it is alone. The program reads what the shell was given, and the shell keeps no end of that open,
/// so that whoever writes meets a closed pipe when the program has closed it. Blocks are of 512
/// bytes.
const BOUNDED: &str = "trap 'kill -KILL 0' HUP TERM; [ \"$PPID\" = \"$1\" ] && ulimit -t \"$2\" && \
                       ulimit -v \"$3\" && ulimit -f \"$4\" && shift 4 && \
                       exec 3<&0 < /dev/null && { \"$@\" <&3 3<&- & exec 3<&-; wait $!; }";

/// Bounds of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// CPU time of each process.
    pub(super) cpu_secs: u64,
    /// Addresses of each process.
    pub(super) memory_bytes: u64,
    /// Bytes of each file that is written.
    pub(super) written_bytes: u64,
    /// Time until its end.
    pub(super) wait: Duration,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) status: ExitStatus,
    /// What it printed, and what it complained about, within [`CHILD_PRINTED_BYTES_MAX`].
    pub(super) printed: Vec<u8>,
    pub(super) complaints: Vec<u8>,
}

/// Why a run has no end of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChildError {
    /// It was killed after that time.
    #[error("it took more than {} s", .0.as_secs())]
    TooLong(Duration),
    /// It was killed because nobody wants what it makes.
    #[error("it was stopped")]
    Stopped,
    /// It can't be started or listened to.
    #[error("it can't be run: {0}")]
    Io(#[from] io::Error),
}

/// Runs a program with arguments, gives it something to read, and answers its end. Dropping the
/// future kills it.
pub(super) async fn run<A: AsRef<std::ffi::OsStr>>(
    program: &Path,
    arguments: &[A],
    input: &[u8],
    bounds: Bounds,
    watch: &Watch,
) -> Result<Ran, ChildError> {
    let mut command = bounded(program, bounds);
    command.args(arguments);
    tokio::select! {
        ran = finish(command, input) => Ok(ran?),
        () = tokio::time::sleep(bounds.wait) => Err(ChildError::TooLong(bounds.wait)),
        () = watch.stopped() => Err(ChildError::Stopped),
    }
}

/// The program under its bounds, without its arguments.
fn bounded(program: &Path, bounds: Bounds) -> Command {
    use std::os::unix::process::CommandExt;
    let Bounds { cpu_secs, memory_bytes, written_bytes, .. } = bounds;
    let numbers = [cpu_secs, memory_bytes / 1024, written_bytes.div_ceil(512)];
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "TERM", "--no-new-privs", "/bin/sh", "-c", BOUNDED, "sh"])
        .arg(std::process::id().to_string())
        .args(numbers.map(|number| number.to_string()))
        .arg(program)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into()))
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end.
async fn finish(command: Command, input: &[u8]) -> io::Result<Ran> {
    let (sender, begun) = oneshot::channel();
    // The kernel watches the thread that starts a process, and kills the process when that thread
    // ends. Threads of a runtime come and go.
    std::thread::Builder::new().name("child".to_owned()).spawn(move || keep(command, sender))?;
    let gone = |_| io::Error::other("the thread of a child is gone");
    let Begun { group: _group, stdin, stdout, stderr, ended } = begun.await.map_err(gone)??;
    let feeding = async {
        if let Some(mut stdin) = stdin.map(pipes::ChildStdin::from_std).transpose()? {
            // A program need not read what it is told.
            let _ = stdin.write_all(input).await;
        }
        Ok(())
    };
    let stdout = stdout.map(pipes::ChildStdout::from_std).transpose()?;
    let stderr = stderr.map(pipes::ChildStderr::from_std).transpose()?;
    let (fed, printed, complaints) = tokio::join!(feeding, read(stdout), read(stderr));
    let fed: io::Result<()> = fed;
    let status = ended.await.map_err(gone)??;
    fed.and(Ok(Ran { status, printed: printed?, complaints: complaints? }))
}

/// Everything up to a bound, beyond which the writer meets a closed pipe.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(CHILD_PRINTED_BYTES_MAX).read_to_end(&mut all).await?;
    }
    Ok(all)
}

/// A process that has been started.
struct Begun {
    group: Group,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    ended: oneshot::Receiver<io::Result<ExitStatus>>,
}

/// A group of processes, killed when this is dropped. There is none any more once its leader is
/// known to have ended, for its number may be another's then.
struct Group(Arc<Mutex<Option<Pid>>>);

impl Drop for Group {
    fn drop(&mut self) {
        kill(&self.0);
    }
}

fn kill(group: &Mutex<Option<Pid>>) {
    let leader = group.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(leader) = leader {
        // It may have ended by itself.
        let _ = kill_process_group(leader, Signal::KILL);
    }
}

/// Starts a process and stays until it has ended. What it has started is killed before its number
/// can be another's.
fn keep(mut command: Command, sender: oneshot::Sender<io::Result<Begun>>) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return drop(sender.send(Err(error))),
    };
    let leader = Pid::from_child(&child);
    let group = Arc::new(Mutex::new(Some(leader)));
    let (tell, ended) = oneshot::channel();
    let begun = begun_of(&mut child, Group(Arc::clone(&group)), ended);
    // Nobody may be waiting any more; the group is dropped then.
    drop(sender.send(Ok(begun)));
    let is_over = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(leader), is_over), Err(rustix::io::Errno::INTR)) {}
    kill(&group);
    let _ = tell.send(child.wait());
}

fn begun_of(
    child: &mut Child,
    group: Group,
    ended: oneshot::Receiver<io::Result<ExitStatus>>,
) -> Begun {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    Begun { group, stdin, stdout, stderr, ended }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::limits::MIB;

    const AMPLE: Bounds = Bounds {
        cpu_secs: 60,
        memory_bytes: 1024 * MIB as u64,
        written_bytes: MIB as u64,
        wait: Duration::from_secs(60),
    };

    async fn shell(script: &str, input: &[u8], bounds: Bounds) -> Result<Ran, ChildError> {
        let watch = Watch::default();
        run(Path::new("/bin/sh"), &["-c", script], input, bounds, &watch).await
    }

    /// A process by its number in a file, once that is there.
    async fn number_in(path: &Path) -> i32 {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if let Ok(number) = text.trim().parse() {
                return number;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn ends(number: i32) {
        let is_there = || {
            let stat = std::fs::read_to_string(format!("/proc/{number}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while is_there() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn it_reads_what_it_is_given_and_knows_nothing_else() {
        let ran = shell("cat; env; pwd; echo no >&2; exit 3", b"yes\n", AMPLE).await.unwrap();
        let printed = String::from_utf8(ran.printed).unwrap();
        assert!(printed.starts_with("yes\n") && printed.contains("\nLC_ALL=C\n"), "{printed}");
        assert!(printed.ends_with("/\n") && !printed.contains("HOME="), "{printed}");
        assert_eq!((ran.status.code(), &*ran.complaints), (Some(3), &b"no\n"[..]));
        // One that reads nothing is no failure, however much there is.
        let ran = shell("exec <&-; echo", &vec![b'x'; MIB], AMPLE).await.unwrap();
        assert!(ran.status.success());
    }

    #[tokio::test]
    async fn it_has_only_so_much() {
        let bounds = Bounds { memory_bytes: 64 * MIB as u64, ..AMPLE };
        let ran = shell("head -c 200000000 /dev/zero | tail -n 1 | wc -c", b"", bounds).await;
        let ran = ran.unwrap();
        assert_ne!(ran.printed, b"200000000\n", "tail held 200 MB of 64 MiB");
        assert!(!ran.complaints.is_empty());
        let bounds = Bounds { cpu_secs: 1, ..AMPLE };
        let ran = shell("while :; do :; done", b"", bounds).await.unwrap();
        assert!(!ran.status.success(), "{:?}", ran.status);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let script = format!("head -c 3000000 /dev/zero > '{}'", file.display());
        assert!(!shell(&script, b"", AMPLE).await.unwrap().status.success());
        assert_eq!(std::fs::metadata(&file).unwrap().len(), MIB as u64);
        let ran = shell("head -c 3000000 /dev/zero", b"", AMPLE).await.unwrap();
        assert_eq!(ran.printed.len() as u64, CHILD_PRINTED_BYTES_MAX);
    }

    /// A time-out, a stop and a drop end what it has started as well.
    #[tokio::test]
    async fn what_is_not_wanted_is_killed_with_all_that_it_has_started() {
        for how in ["late", "stopped", "dropped"] {
            let dir = tempfile::tempdir().unwrap();
            let (first, second) = (dir.path().join("first"), dir.path().join("second"));
            let script = format!(
                "echo $$ > '{}'; sleep 300 & echo $! > '{}'; wait",
                first.display(),
                second.display()
            );
            let watch = Watch::default();
            let wait = if how == "late" { Duration::from_secs(5) } else { AMPLE.wait };
            let bounds = Bounds { wait, ..AMPLE };
            let arguments = ["-c".to_owned(), script];
            let mut running = Box::pin(run(Path::new("/bin/sh"), &arguments, b"", bounds, &watch));
            let numbers = async { (number_in(&first).await, number_in(&second).await) };
            let numbers = tokio::select! {
                ran = &mut running => panic!("{ran:?}"),
                numbers = numbers => numbers,
            };
            match how {
                "late" => assert!(matches!(running.await, Err(ChildError::TooLong(_)))),
                "stopped" => {
                    watch.stop();
                    assert!(matches!(running.await, Err(ChildError::Stopped)));
                }
                _ => drop(running),
            }
            ends(numbers.0).await;
            ends(numbers.1).await;
        }
    }

    /// What outlives the program that has started it is killed, too.
    #[tokio::test]
    async fn nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("left");
        let script = format!("sleep 300 >&- 2>&- & echo $! > '{}'", left.display());
        assert!(shell(&script, b"", AMPLE).await.unwrap().status.success());
        ends(number_in(&left).await).await;
    }
}
