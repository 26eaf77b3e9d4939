//! The policies in force: loaded at start, and again when their files change.
//!
//! Files are looked at with the first request after a second, before it is served, so that nobody
//! gets through on rules that have been taken back for longer. A change that can't be used is
//! logged, once, and the rules stay as they are.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use super::Identity;
use super::policy::{self, Action, Policies, PolicyError, Target};
use crate::config;
use crate::limits::POLICY_LOOK_INTERVAL;

/// Answers who may.
#[derive(Debug)]
pub struct Enforcer {
    settings: config::Policy,
    policies: RwLock<Arc<Policies>>,
    /// The files as they were last looked at, and whether the policy file has ever been there.
    seen: Mutex<(Stamps, bool)>,
    started: Instant,
    /// When to look again, in milliseconds after `started`.
    look_at_millis: AtomicU64,
}

/// Files with what shows that they have changed.
type Stamps = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

impl Enforcer {
    /// Loads the policies that the settings name.
    ///
    /// # Errors
    /// What can't be used of them.
    pub fn load(settings: config::Policy) -> Result<Self, PolicyError> {
        let seen = stamps(&settings)?;
        let has_file = is_there(&settings, &seen);
        let policies = Policies::load(&settings)?;
        warn_of_undefined(&policies);
        Ok(Self {
            settings,
            policies: RwLock::new(Arc::new(policies)),
            seen: Mutex::new((seen, has_file)),
            started: Instant::now(),
            look_at_millis: AtomicU64::new(interval_millis()),
        })
    }

    /// Glance's own rules and no files.
    ///
    /// # Errors
    /// None: its rules can be read.
    pub fn built_in() -> Result<Self, PolicyError> {
        Self::load(config::Policy::default())
    }

    /// Whether the caller may do this to the target.
    #[must_use]
    pub fn allows(&self, action: Action, caller: &Identity, target: &dyn Target) -> bool {
        self.policies().allows(action, caller, target)
    }

    /// Whether the caller is an administrator, as the policy `context_is_admin` has it (`PR-12`).
    #[must_use]
    pub fn is_admin(&self, caller: &Identity) -> bool {
        self.allows(Action::ContextIsAdmin, caller, &())
    }

    /// The policies as they are now.
    #[must_use]
    pub fn policies(&self) -> Arc<Policies> {
        Arc::clone(&self.policies.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the deprecated defaults, with their rules of ownership, are gone.
    #[must_use]
    pub fn enforces_new_defaults(&self) -> bool {
        self.settings.enforces_new_defaults
    }

    /// Looks whether the files have changed, if that is due, and loads them again.
    pub async fn refresh(self: &Arc<Self>) {
        if !self.is_due() {
            return;
        }
        let enforcer = Arc::clone(self);
        // A look that ends in a panic is one that is not made.
        let _ = tokio::task::spawn_blocking(move || enforcer.look()).await;
    }

    /// Whether it is time to look, and the caller the one to do it.
    fn is_due(&self) -> bool {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.look_at_millis.load(Ordering::Relaxed);
        let next = now.saturating_add(interval_millis());
        now >= due
            && self
                .look_at_millis
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Looks at the files, and loads them if they are not as they were.
    pub fn look(&self) {
        let mut guard = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (seen, had_file) = &mut *guard;
        let now = match stamps(&self.settings) {
            Ok(now) => now,
            Err(error) => return tracing::error!(%error, "policies stay as they are"),
        };
        if now == *seen {
            return;
        }
        let has_file = is_there(&self.settings, &now);
        if *had_file && !has_file {
            tracing::error!(
                "the policy file is gone and its policies stay; put it back, or restart the \
                 server to do without it"
            );
        } else {
            self.load_again();
        }
        *seen = now;
        *had_file |= has_file;
    }

    fn load_again(&self) {
        match Policies::load(&self.settings) {
            Ok(policies) => {
                warn_of_undefined(&policies);
                tracing::info!("policies loaded again");
                let policies = Arc::new(policies);
                *self.policies.write().unwrap_or_else(PoisonError::into_inner) = policies;
            }
            Err(error) => tracing::error!(%error, "policies stay as they are"),
        }
    }
}

fn interval_millis() -> u64 {
    u64::try_from(POLICY_LOOK_INTERVAL.as_millis()).unwrap_or(u64::MAX)
}

fn is_there(settings: &config::Policy, stamps: &Stamps) -> bool {
    settings.file.as_ref().is_some_and(|file| stamps.iter().any(|(path, _)| path == file))
}

fn stamps(settings: &config::Policy) -> Result<Stamps, PolicyError> {
    let stamp = |path: PathBuf| {
        let found = path.metadata().ok();
        let stamp = found.and_then(|found| Some((found.modified().ok()?, found.len())));
        (path, stamp)
    };
    Ok(policy::files(settings)?.into_iter().map(stamp).collect())
}

/// A name that is misspelt lets through whom the default rule lets through: everybody.
fn warn_of_undefined(policies: &Policies) {
    if !policies.undefined.is_empty() {
        let rules = policies.undefined.join(", ");
        tracing::warn!(
            %rules,
            "policies name rules that are not defined; the default rule stands in for these"
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    fn reader() -> Identity {
        Identity {
            project_id: Some("p".into()),
            roles: vec!["reader".into()],
            ..Identity::default()
        }
    }

    fn settings(dir: &std::path::Path) -> config::Policy {
        config::Policy {
            file: Some(dir.join("policy.yaml")),
            dirs: vec![dir.join("policy.d")],
            ..config::Policy::default()
        }
    }

    /// Whether a reader may copy, which nobody but an administrator may by default.
    fn may_copy(enforcer: &Enforcer) -> bool {
        enforcer.look();
        enforcer.allows(Action::CopyImage, &reader(), &())
    }

    #[test]
    fn po_18_files_override_and_are_read_again_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let enforcer = Enforcer::load(settings(dir.path())).unwrap();
        assert!(!may_copy(&enforcer));
        let file = dir.path().join("policy.yaml");
        fs::write(&file, "copy_image: 'role:reader'").unwrap();
        assert!(may_copy(&enforcer));
        fs::create_dir(dir.path().join("policy.d")).unwrap();
        let later = dir.path().join("policy.d/b.json");
        fs::write(dir.path().join("policy.d/.hidden"), "copy_image: '@'").unwrap();
        fs::write(&later, "{\"copy_image\": \"role:nobody\"}").unwrap();
        assert!(!may_copy(&enforcer), "the directory comes after the file");
        fs::remove_file(later).unwrap();
        assert!(may_copy(&enforcer));
    }

    #[test]
    fn po_18_a_broken_file_leaves_the_policies_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.yaml");
        fs::write(&file, "copy_image: 'role:reader'").unwrap();
        let enforcer = Enforcer::load(settings(dir.path())).unwrap();
        for broken in ["copy_image: 'role'", "copy_image: [", "a: 'rule:b'\nb: 'rule:a'"] {
            fs::write(&file, broken).unwrap();
            assert!(may_copy(&enforcer), "{broken}");
            assert!(Enforcer::load(settings(dir.path())).is_err(), "{broken}");
        }
        fs::remove_file(&file).unwrap();
        assert!(may_copy(&enforcer), "a file that is gone is taken for a mistake");
        fs::write(&file, "copy_image: '!'").unwrap();
        assert!(!may_copy(&enforcer));
    }

    #[tokio::test]
    async fn po_18_files_are_not_looked_at_with_every_request() {
        let dir = tempfile::tempdir().unwrap();
        let enforcer = Arc::new(Enforcer::load(settings(dir.path())).unwrap());
        fs::write(dir.path().join("policy.yaml"), "copy_image: 'role:reader'").unwrap();
        enforcer.look_at_millis.store(u64::MAX, Ordering::Relaxed);
        enforcer.refresh().await;
        assert!(!enforcer.allows(Action::CopyImage, &reader(), &()));
        enforcer.look_at_millis.store(0, Ordering::Relaxed);
        enforcer.refresh().await;
        assert!(enforcer.allows(Action::CopyImage, &reader(), &()));
    }
}
