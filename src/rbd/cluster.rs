//! A cluster as one user sees it, and its pools.

use std::ffi::CStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::{RbdError, RbdErrorKind, check};
use super::sys::{self, Ceph, LibraryMissing, c_string, rados_ioctx_t, rados_t, text_at, text_in};
use crate::limits::{
    BLOCKLIST_EXPIRY, RADOS_CONNECT_WAIT, RADOS_OPERATION_WAIT, RADOS_OPERATIONS_PER_CALL,
};

/// `RBD_FEATURE_LAYERING`, which clones need: what an image has where the cluster says nothing.
const LAYERING: u64 = 1;
/// Room for a value of Ceph's configuration; ours are numbers and names of features.
const VALUE_BYTES: usize = 512;

/// Where a cluster is and who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Ceph's configuration file; `None` takes the places where Ceph looks itself.
    pub conf: Option<PathBuf>,
    /// The user without `client.`; `None` is `admin`.
    pub user: Option<String>,
    /// How long connecting and each operation may take; zero is for ever, `None` takes what the
    /// configuration file says, or bounds of our own.
    pub timeout: Option<Duration>,
}

/// The way to a cluster: connected when it is first needed, and again when it was lost.
#[derive(Debug)]
pub struct Connection {
    ceph: Library,
    options: Options,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cluster: Option<Arc<Cluster>>,
    /// The last attempt that failed, and when it ended.
    failure: Option<(Instant, RbdError)>,
}

#[derive(Clone, Copy)]
struct Library(&'static Ceph);

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("librbd")
    }
}

impl Connection {
    /// A way to a cluster, which is not looked for yet.
    ///
    /// # Errors
    /// When this host has no librbd.
    pub fn new(options: Options) -> Result<Self, LibraryMissing> {
        Ok(Self { ceph: Library(sys::load()?), options, state: Mutex::default() })
    }

    /// The cluster, connected if need be. Whoever asks while an attempt is under way gets its
    /// outcome, so that a crowd does not wait for one time-out after another. Blocking.
    ///
    /// # Errors
    /// When it can't be reached or refuses the user.
    pub fn cluster(&self) -> Result<Arc<Cluster>, RbdError> {
        let asked = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = &state.cluster {
            return Ok(Arc::clone(cluster));
        }
        if let Some((ended, error)) = &state.failure
            && *ended >= asked
        {
            return Err(error.clone());
        }
        match Cluster::connect(self.ceph.0, &self.options) {
            Ok(cluster) => Ok(Arc::clone(state.cluster.insert(Arc::new(cluster)))),
            Err(error) => {
                state.failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Runs work on a pool, once more on a new connection if the cluster has cut the old one.
    /// Blocking.
    ///
    /// # Errors
    /// Those of connecting, and the work's own.
    pub fn with_pool<T>(
        &self,
        name: &str,
        work: impl Fn(&Arc<Pool>) -> Result<T, RbdError>,
    ) -> Result<T, RbdError> {
        let cluster = self.cluster()?;
        match cluster.pool(name).and_then(|pool| work(&pool)) {
            Err(error) if error.kind() == RbdErrorKind::Lost => {
                tracing::warn!(%error, "connecting to the cluster again");
                self.forget(&cluster);
                self.cluster()?.pool(name).and_then(|pool| work(&pool))
            }
            done => done,
        }
    }

    /// The cluster if it is connected now. Never waits for it.
    #[must_use]
    pub fn connected(&self) -> Option<Arc<Cluster>> {
        self.state.try_lock().ok().and_then(|state| state.cluster.clone())
    }

    /// How long a call may take that is a few operations, when each takes as long as it may; `None`
    /// where they may take for ever. librbd and librados bound operations, and what they wait for
    /// between two of them is not always one.
    #[must_use]
    pub fn call_wait(&self) -> Option<Duration> {
        let operation = match (self.options.timeout, self.connected()) {
            (Some(timeout), _) => timeout,
            (None, Some(cluster)) => cluster.operation_wait,
            (None, None) => RADOS_OPERATION_WAIT,
        };
        (!operation.is_zero()).then(|| operation * RADOS_OPERATIONS_PER_CALL)
    }

    /// Gives up a connection that is of no use any more, unless somebody has done so already. It
    /// ends when nothing uses it; the next one who asks gets a new one.
    pub fn forget(&self, lost: &Arc<Cluster>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.cluster.as_ref().is_some_and(|cluster| Arc::ptr_eq(cluster, lost)) {
            state.cluster = None;
        }
    }
}

/// A connected cluster. Ended when the last pool and image of it are gone.
pub struct Cluster {
    pub(super) ceph: &'static Ceph,
    raw: rados_t,
    fsid: String,
    features: u64,
    /// How long one operation may take; zero is for ever.
    operation_wait: Duration,
}

// SAFETY: Send needs that another thread may use and end the handle. librados handles belong to no
// thread.
unsafe impl Send for Cluster {}
// SAFETY: Sync needs that several threads may use the handle at once. librados locks its handles
// itself; ours is configured before anyone else has it.
unsafe impl Sync for Cluster {}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("fsid", &self.fsid).finish_non_exhaustive()
    }
}

impl Cluster {
    fn connect(ceph: &'static Ceph, options: &Options) -> Result<Self, RbdError> {
        let user = format!("client.{}", options.user.as_deref().unwrap_or("admin"));
        let (cluster_name, c_user) = (c_string("ceph")?, c_string(&user)?);
        let mut raw = null_mut();
        // SAFETY: rados_create2 reads two strings and writes a handle; all live on this frame.
        let made =
            unsafe { ceph.rados_create2(&raw mut raw, cluster_name.as_ptr(), c_user.as_ptr(), 0) };
        check(made, || format!("making a client for {user}"))?;
        let (fsid, operation_wait) = (String::new(), RADOS_OPERATION_WAIT);
        let mut cluster = Self { ceph, raw, fsid, features: LAYERING, operation_wait };
        cluster.configure(options)?;
        let secs = cluster.get("rados_osd_op_timeout").and_then(|secs| secs.parse().ok());
        if let Some(wait) = secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok()) {
            cluster.operation_wait = wait;
        }
        // SAFETY: rados_connect needs a handle of rados_create2 that is not connected.
        let connected = unsafe { ceph.rados_connect(cluster.raw) };
        if connected < 0 {
            let doing = format!("connecting to Ceph as {user}, configured by {}", place(options));
            return Err(RbdError::unreachable(doing, connected));
        }
        cluster.fsid = cluster.read_fsid()?;
        cluster.features = cluster.default_features();
        Ok(cluster)
    }

    /// Everything that has to be said before connecting.
    fn configure(&self, options: &Options) -> Result<(), RbdError> {
        let path = options.conf.as_ref().map(|path| path.as_os_str().as_bytes());
        let path = path.map(|path| c_string(&String::from_utf8_lossy(path))).transpose()?;
        let path = path.as_deref().map_or(null(), CStr::as_ptr);
        // SAFETY: rados_conf_read_file needs a handle, and a path or null. `options` and its copy
        // for C live until the call is over.
        let read = unsafe { self.ceph.rados_conf_read_file(self.raw, path) };
        if read < 0 {
            let doing = format!("reading Ceph's configuration {}", place(options));
            return Err(RbdError::unreachable(doing, read));
        }
        // Zero-copy writes: memory of an operation does not change until its callback (see the
        // module above), which is what the default fears. The cache would copy again, and nobody
        // reads what an upload wrote. An old librbd may lack an option, which only costs time.
        for (option, value) in [("rbd_cache", "false"), ("rbd_disable_zero_copy_writes", "false")] {
            if let Err(error) = self.set(option, value) {
                tracing::debug!(%error, "librbd goes without it");
            }
        }
        self.bound_waits(options.timeout)
    }

    /// Without bounds an operation waits for a dead OSD, and a mount for a dead monitor, for ever.
    fn bound_waits(&self, timeout: Option<Duration>) -> Result<(), RbdError> {
        let bounds = [
            ("client_mount_timeout", 300.0, RADOS_CONNECT_WAIT),
            ("rados_mon_op_timeout", 0.0, RADOS_CONNECT_WAIT),
            ("rados_osd_op_timeout", 0.0, RADOS_OPERATION_WAIT),
        ];
        for (option, cephs_default, ours) in bounds {
            let is_untouched = self.get(option).is_none_or(|value| {
                value.parse().is_ok_and(|secs: f64| (secs - cephs_default).abs() < 0.5)
            });
            match timeout {
                Some(timeout) => self.set(option, &timeout.as_secs().to_string())?,
                None if is_untouched => self.set(option, &ours.as_secs().to_string())?,
                None => {}
            }
        }
        Ok(())
    }

    fn set(&self, option: &str, value: &str) -> Result<(), RbdError> {
        let (c_option, c_value) = (c_string(option)?, c_string(value)?);
        // SAFETY: rados_conf_set needs a handle and two strings, which live on this frame.
        let set =
            unsafe { self.ceph.rados_conf_set(self.raw, c_option.as_ptr(), c_value.as_ptr()) };
        check(set, || format!("setting {option} = {value} for Ceph"))
    }

    fn get(&self, option: &str) -> Option<String> {
        let c_option = c_string(option).ok()?;
        let mut value = [0_u8; VALUE_BYTES];
        // SAFETY: rados_conf_get writes at most the given length, with the end, into the buffer.
        let got = unsafe {
            self.ceph.rados_conf_get(
                self.raw,
                c_option.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        (got >= 0).then(|| text_in(&value))
    }

    fn read_fsid(&self) -> Result<String, RbdError> {
        let mut fsid = [0_u8; 64];
        // SAFETY: rados_cluster_fsid writes at most the given length, with the end, into the
        // buffer; the handle is connected.
        let got =
            unsafe { self.ceph.rados_cluster_fsid(self.raw, fsid.as_mut_ptr().cast(), fsid.len()) };
        check(got, || "asking the cluster for its id".to_owned())?;
        Ok(text_in(&fsid))
    }

    /// `RB-01`: what the cluster's configuration says, else layering. librados gives the names of
    /// features as their sum.
    fn default_features(&self) -> u64 {
        let features = self.get("rbd_default_features").and_then(|value| value.parse().ok());
        features.filter(|features| *features != 0).unwrap_or(LAYERING)
    }

    /// The cluster's id, a UUID.
    #[must_use]
    pub fn fsid(&self) -> &str {
        &self.fsid
    }

    /// Features of a new image.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features
    }

    /// A pool. Blocking where the cluster's map is old.
    ///
    /// # Errors
    /// [`super::RbdErrorKind::Unavailable`] when there is no such pool.
    pub fn pool(self: &Arc<Self>, name: &str) -> Result<Arc<Pool>, RbdError> {
        let c_name = c_string(name)?;
        let mut raw = null_mut();
        // SAFETY: rados_ioctx_create needs a connected handle and a string, and writes a handle.
        let made = unsafe { self.ceph.rados_ioctx_create(self.raw, c_name.as_ptr(), &raw mut raw) };
        if made < 0 {
            return Err(RbdError::unreachable(format!("opening pool {name}"), made));
        }
        let pool = Pool { raw, name: name.to_owned(), cluster: Arc::clone(self) };
        pool.fail_when_full();
        Ok(Arc::new(pool))
    }

    /// Our own addresses, written as those of watchers are.
    pub(super) fn addresses(&self) -> Result<Vec<String>, RbdError> {
        let mut raw = null_mut();
        // SAFETY: rados_getaddrs needs a connected handle and writes a string that we must free.
        let got = unsafe { self.ceph.rados_getaddrs(self.raw, &raw mut raw) };
        check(got, || "asking for our own address".to_owned())?;
        // SAFETY: text_at needs a string; the call above succeeded, so there is one.
        let text = unsafe { text_at(raw) };
        // SAFETY: rados_buffer_free needs what librados allocated, once.
        unsafe { self.ceph.rados_buffer_free(raw) };
        Ok(bare_addresses(&text))
    }

    /// Makes the cluster deaf to a client that is dead, so that what it held is free at once.
    ///
    /// # Errors
    /// When the monitors refuse, or librados is too old.
    pub fn cut_off(&self, address: &str) -> Result<(), RbdError> {
        let doing = || format!("cutting off the dead client {address}");
        if self.ceph.rados_blocklist_add.is_err() {
            return Err(RbdError::new(doing(), -libc::EOPNOTSUPP));
        }
        let c_address = c_string(address)?;
        let secs = u32::try_from(BLOCKLIST_EXPIRY.as_secs()).unwrap_or(u32::MAX);
        // SAFETY: rados_blocklist_add needs a connected handle and a string, which it only reads
        // although its type says otherwise.
        let added =
            unsafe { self.ceph.rados_blocklist_add(self.raw, c_address.as_ptr().cast_mut(), secs) };
        check(added, doing)
    }
}

/// `[v2:1.2.3.4:0/5,v1:1.2.3.4:0/5]` without brackets and protocols.
fn bare_addresses(text: &str) -> Vec<String> {
    let bare = |address: &str| {
        let kinds = ["v1:", "v2:", "any:"];
        kinds.iter().find_map(|kind| address.strip_prefix(kind)).unwrap_or(address).to_owned()
    };
    text.trim_matches(['[', ']']).split(',').map(bare).collect()
}

fn place(options: &Options) -> String {
    let found = || "where Ceph looks for it, /etc/ceph/ceph.conf at last".to_owned();
    options.conf.as_ref().map_or_else(found, |path| path.display().to_string())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SAFETY: rados_shutdown needs a handle of rados_create2 that nobody uses any more. Pools
        // hold the cluster, and images hold pools.
        unsafe { self.ceph.rados_shutdown(self.raw) };
    }
}

/// A pool of a cluster.
pub struct Pool {
    pub(super) raw: rados_ioctx_t,
    pub(super) cluster: Arc<Cluster>,
    name: String,
}

// SAFETY: as for Cluster.
unsafe impl Send for Pool {}
// SAFETY: as for Cluster; the only thing that is ever set on the handle is set before it is shared.
unsafe impl Sync for Pool {}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Pool {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its cluster.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// A full cluster makes writers wait until somebody makes room; we want to be told. It also
    /// lets removals through, which make the room.
    fn fail_when_full(&self) {
        if self.cluster.ceph.rados_set_pool_full_try.is_ok() {
            // SAFETY: rados_set_pool_full_try needs a handle of rados_ioctx_create.
            unsafe { self.cluster.ceph.rados_set_pool_full_try(self.raw) };
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: rados_ioctx_destroy needs a handle of rados_ioctx_create that nobody uses any
        // more. Images hold their pool.
        unsafe { self.cluster.ceph.rados_ioctx_destroy(self.raw) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was set before connecting holds afterwards: zero-copy writes are on, and every wait has
    /// its bound, which the operator's overrules.
    #[test]
    fn rb_07_rb_09_a_connection_copies_nothing_and_waits_for_nobody_for_ever() {
        let Some(directory) = crate::env::directory("ceph") else { return };
        let conf = Some(directory.join("ceph.conf"));
        for (secs, waits) in [(None, [30, 30, 60]), (Some(7), [7, 7, 7])] {
            let (user, timeout) = (Some("glance".into()), secs.map(Duration::from_secs));
            let connection = Connection::new(Options { conf: conf.clone(), user, timeout });
            let cluster = connection.unwrap().cluster().unwrap();
            for option in ["rbd_cache", "rbd_disable_zero_copy_writes"] {
                assert_eq!(cluster.get(option).as_deref(), Some("false"), "{option}");
            }
            let options = ["client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout"];
            for (option, secs) in options.iter().zip(waits) {
                let found: f64 = cluster.get(option).unwrap().parse().unwrap();
                assert!((found - f64::from(secs)).abs() < 0.5, "{option} is {found}");
            }
        }
    }

    #[test]
    fn addresses_are_told_apart_whole() {
        let ours = bare_addresses("[v2:127.0.0.1:0/12,v1:127.0.0.1:0/12]");
        assert_eq!(ours, ["127.0.0.1:0/12", "127.0.0.1:0/12"]);
        assert_eq!(bare_addresses("10.0.0.1:0/7"), ["10.0.0.1:0/7"]);
    }
}
