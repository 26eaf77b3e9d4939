//! A real Keystone, as `tests/env/keystone` starts it, and servers that ask it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::{Value, json};

use super::{Conn, Response, Setup};
use crate::env;

/// Held by everybody who needs Keystone to be there, and alone by who stops it.
static PRESENCE: RwLock<()> = RwLock::new(());

/// A Keystone and who there is (`people.py`).
#[derive(Debug)]
pub(crate) struct Cloud {
    directory: PathBuf,
    facts: Value,
}

impl Cloud {
    /// The Keystone of this run, which stays while the guard lives; `None` skips the test.
    pub(crate) fn present() -> Option<(Self, RwLockReadGuard<'static, ()>)> {
        let guard = PRESENCE.read().unwrap_or_else(PoisonError::into_inner);
        Some((Self::open()?, guard))
    }

    /// The Keystone of this run, with nobody else who needs it.
    pub(crate) fn alone() -> Option<(Self, RwLockWriteGuard<'static, ()>)> {
        let guard = PRESENCE.write().unwrap_or_else(PoisonError::into_inner);
        Some((Self::open()?, guard))
    }

    fn open() -> Option<Self> {
        let directory = env::directory("keystone")?;
        let facts = std::fs::read(directory.join("cloud.json")).unwrap();
        Some(Self { facts: serde_json::from_slice(&facts).unwrap(), directory })
    }

    pub(crate) fn url(&self) -> &str {
        self.facts["url"].as_str().unwrap()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join("cloud.json")
    }

    pub(crate) fn user_id(&self, user: &str) -> &str {
        self.facts["users"][user]["id"].as_str().unwrap()
    }

    pub(crate) fn project_id(&self, user: &str) -> &str {
        self.facts["users"][user]["project_id"].as_str().unwrap()
    }

    /// A new token of a user for their project.
    #[track_caller]
    pub(crate) fn token(&self, user: &str) -> String {
        self.token_for(user, &json!({"project": {"id": self.project_id(user)}}))
    }

    /// A new token of a user for what Keystone calls a scope.
    #[track_caller]
    pub(crate) fn token_for(&self, user: &str, scope: &Value) -> String {
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "id": self.user_id(user), "password": self.facts["password"]}}},
            "scope": scope,
        }});
        self.subject_token(&body)
    }

    #[track_caller]
    fn subject_token(&self, body: &Value) -> String {
        let answer = self.call("POST", "/auth/tokens", &[], Some(body));
        answer.assert(201, "expires_at");
        answer.head.header("x-subject-token").unwrap().to_owned()
    }

    /// A token that ended a minute ago, made with Keystone's own keys.
    pub(crate) fn expired_token(&self, user: &str) -> String {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/env/keystone");
        let python = std::fs::read_to_string(self.directory.join("python")).unwrap();
        let output = Command::new(python.trim())
            .arg(scripts.join("expired.py"))
            .args([self.user_id(user), self.project_id(user)])
            .env("OS_KEYSTONE_CONFIG_DIR", self.directory.join("etc"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Makes Keystone forget a token.
    pub(crate) fn revoke(&self, token: &str) {
        let headers = [("X-Auth-Token", token), ("X-Subject-Token", token)];
        assert_eq!(self.call("DELETE", "/auth/tokens", &headers, None).status(), 204);
    }

    /// An application credential of a user: its id and its secret.
    pub(crate) fn application_credential(&self, user: &str, name: &str) -> (String, String) {
        let (id, token) = (self.user_id(user), self.token(user));
        let body = json!({"application_credential": {"name": name, "secret": "another secret"}});
        let path = format!("/users/{id}/application_credentials");
        let made = self.call("POST", &path, &[("X-Auth-Token", &token)], Some(&body));
        let made = made.assert(201, "another secret").json();
        let id = made["application_credential"]["id"].as_str().unwrap();
        (id.to_owned(), "another secret".to_owned())
    }

    /// A request to Keystone itself.
    #[track_caller]
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Response {
        let (address, base) = self.address();
        let body = body.map(Value::to_string).unwrap_or_default();
        let headers = [headers, &[("Content-Type", "application/json")]].concat();
        let target = format!("{base}{path}");
        Conn::open(address).call(method, &target, &headers, body.as_bytes())
    }

    fn address(&self) -> (SocketAddr, &str) {
        let rest = self.url().strip_prefix("http://").unwrap();
        let (address, path) = rest.split_at(rest.find('/').unwrap());
        (address.parse().unwrap(), path)
    }

    pub(crate) fn stop(&self) {
        self.script("stop.sh");
    }

    pub(crate) fn start(&self) {
        self.script("start.sh");
    }

    fn script(&self, name: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/env/keystone").join(name);
        let done = Command::new(script).arg(&self.directory).status().unwrap();
        assert!(done.success(), "{name}: {done}");
    }
}

impl Setup {
    /// A server that asks Keystone who calls.
    pub(crate) fn asking(self, cloud: &Cloud) -> Self {
        const SECTION: &str = "keystone_authtoken";
        self.set("paste_deploy", "flavor", "keystone")
            .set(SECTION, "www_authenticate_uri", cloud.url())
            .set(SECTION, "auth_url", cloud.url().trim_end_matches("/v3"))
            .set(SECTION, "auth_type", "password")
            .set(SECTION, "username", "glance")
            .set(SECTION, "password", cloud.facts["password"].as_str().unwrap())
            .set(SECTION, "project_name", "service")
            .set(SECTION, "user_domain_id", "default")
            .set(SECTION, "project_domain_name", "Default")
            .set(SECTION, "region_name", "RegionOne")
    }
}
