//! Checks that another server makes: `http:` and `https:` (`PO-18`).
//!
//! As in oslo.policy the caller waits, and only the answer `True`, in double quotes or without, lets
//! them through. Without an answer nobody gets through at all, whatever the rest of the rule says:
//! under a `not` a failure must not become a permission. A status that tells of a failure is no
//! answer, whatever stands in its body.
//!
//! Rules are asked in plain functions, so the exchange goes on on a thread of its own, and a thread
//! of the runtime that asks lets others do its work meanwhile.

use std::cell::Cell;
use std::sync::mpsc;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::runtime::{Handle, Runtime, RuntimeFlavor};
use url::Url;

use super::check::{Target, Template};
use crate::auth::Identity;
use crate::client::{
    Body, Client, ClientError, Credentials, Deadlines, Options, Request, Trust, shown,
};
use crate::config::{RemoteChecks, RemoteTrust};
use crate::limits::POLICY_ANSWER_BYTES_MAX;

/// Who asks other servers.
#[derive(Debug)]
pub(super) struct Remote {
    http: Client,
    https: Client,
    sends_json: bool,
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
}

/// One question of the policies, and what is needed to answer it.
pub(super) struct Question<'a> {
    /// The rule that was asked for, by which others know what is asked.
    pub(super) rule: &'a str,
    pub(super) caller: &'a Identity,
    pub(super) target: &'a dyn Target,
    pub(super) remote: Option<&'a Remote>,
    /// Whether some other server has not answered.
    pub(super) has_failed: Cell<bool>,
}

impl Question<'_> {
    /// Whether another server lets the caller through.
    pub(super) fn ask(&self, url: &Template) -> bool {
        let answer = match (self.remote, url.fill(self.target)) {
            (Some(remote), Some(url)) => remote.ask(&url, self),
            (_, None) => Err("its URL names an attribute that there is not".to_owned()),
            (None, _) => Err("nobody can ask".to_owned()),
        };
        match answer {
            Ok(is_allowed) => is_allowed,
            Err(why) => {
                let rule = self.rule;
                tracing::error!(
                    rule,
                    why,
                    "a policy's remote check failed; the request is refused"
                );
                self.has_failed.set(true);
                false
            }
        }
    }

    /// What is sent: the rule, and all that is known of target and caller.
    fn document(&self) -> [(&'static str, Value); 3] {
        let Identity { user_id, project_id, roles, service_roles, .. } = self.caller;
        let credentials = json!({
            "user_id": user_id,
            "user_domain_id": self.caller.user_domain_id,
            "system_scope": self.caller.system_scope,
            "domain_id": self.caller.domain_id,
            "project_id": project_id,
            "project_domain_id": self.caller.project_domain_id,
            "roles": roles,
            "is_admin_project": !self.caller.is_beside_admin_project,
            "service_roles": service_roles,
        });
        let target = self.target.document();
        [("rule", self.rule.into()), ("target", target.into()), ("credentials", credentials)]
    }
}

impl Remote {
    /// Makes ready to ask.
    ///
    /// # Errors
    /// Certificates that can't be read.
    pub(super) fn new(checks: &RemoteChecks) -> Result<Self, ClientError> {
        let deadlines = Deadlines { connect: checks.timeout, stall: checks.timeout };
        let trust = match &checks.trust {
            RemoteTrust::Anyone => Trust::Anyone,
            RemoteTrust::System => Trust::System,
            RemoteTrust::File(path) => Trust::File(path.clone()),
        };
        let credentials = checks.client.as_ref().map(|(certificate, key)| Credentials {
            certificate: certificate.clone(),
            key: key.clone(),
        });
        let http = Client::new(Options { deadlines, ..Options::default() })?;
        let https = Client::new(Options { trust, credentials, deadlines, ..Options::default() })?;
        // The last that can fail: a runtime may not be dropped where policies are read.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("policy")
            .enable_all()
            .build()
            .map_err(|error| ClientError::Setup(format!("no thread for policies: {error}")))?;
        Ok(Self { http, https, sends_json: checks.sends_json, runtime: Some(runtime) })
    }

    fn ask(&self, url: &str, question: &Question<'_>) -> Result<bool, String> {
        let url = Url::parse(url).map_err(|error| format!("{url} is no URL: {error}"))?;
        let (kind, body) = match self.sends_json {
            true => ("application/json", json_body(question.document())),
            false => ("application/x-www-form-urlencoded", form_body(question.document())),
        };
        let request = Request::new(Method::POST, url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static(kind))
            .body(Body::Whole(vec![body.into()]));
        let client = if url.scheme() == "https" { &self.https } else { &self.http }.clone();
        let exchange = async move {
            let answer = client.send(request).await?;
            let status = answer.status();
            Ok((status, answer.whole(POLICY_ANSWER_BYTES_MAX).await?))
        };
        let answered = self.wait(exchange)?.map_err(|error: ClientError| error.in_full());
        let (status, answer) = answered?;
        if !status.is_success() && status != StatusCode::FORBIDDEN {
            return Err(format!("{} answers {status}; it has to say True or False", shown(&url)));
        }
        let answer = String::from_utf8_lossy(&answer);
        tracing::debug!(url = shown(&url), %answer, "a remote check was answered");
        Ok(answer.trim_matches('"') == "True")
    }

    /// Waits for a future that runs elsewhere. Rules are asked in plain functions, so there is nothing
    /// that could be awaited; the worker's other tasks go on on another thread.
    #[allow(clippy::disallowed_methods)]
    fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let gone = || "its thread is gone".to_owned();
        let (done, answer) = mpsc::sync_channel(1);
        self.runtime.as_ref().ok_or_else(gone)?.spawn(async move {
            // Who asked may be gone.
            let _ = done.send(future.await);
        });
        let wait = || answer.recv().map_err(|_| gone());
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
            _ => wait(),
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Policies are dropped where nobody may wait for threads.
            runtime.shutdown_background();
        }
    }
}

fn json_body(document: [(&'static str, Value); 3]) -> String {
    let document = document.map(|(name, value)| (name.to_owned(), value));
    Value::from(Map::from_iter(document)).to_string()
}

/// Each field is JSON by itself.
fn form_body(document: [(&'static str, Value); 3]) -> String {
    let fields = document.map(|(name, value)| (name, value.to_string()));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread::JoinHandle;
    use std::time::Duration;

    use super::super::file::FileRule;
    use super::super::{Action, Policies, PolicyError, parse};
    use super::*;
    use crate::auth::ImageTarget;
    use crate::config::{self, RemoteChecks};
    use crate::image::{Image, ImageId};

    /// A server that gives each of `answers` to one request, and then what it was sent.
    fn server(answers: &'static [&'static str]) -> (SocketAddr, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || answers.iter().map(|answer| serve_one(&listener, answer)).collect();
        (address, std::thread::spawn(serve))
    }

    fn serve_one(listener: &TcpListener, answer: &str) -> String {
        let (mut socket, _) = listener.accept().unwrap();
        let (mut request, mut buffer) = (String::new(), [0; 4096]);
        while !is_whole(&request) {
            let length = socket.read(&mut buffer).unwrap();
            request.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        let length = answer.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(answer.as_bytes()).unwrap();
        request
    }

    fn is_whole(request: &str) -> bool {
        let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
        let head = head.to_lowercase();
        let length = head.split_once("content-length: ").unwrap().1;
        body.len() == length.lines().next().unwrap().parse::<usize>().unwrap()
    }

    fn policies(rule: &str, remote: RemoteChecks) -> Result<Policies, PolicyError> {
        let settings = config::Policy { remote, ..config::Policy::default() };
        let check = parse::rule(rule).unwrap();
        Policies::link(&settings, vec![FileRule { name: "copy_image".into(), check }])
    }

    fn caller() -> Identity {
        Identity {
            project_id: Some("p".into()),
            roles: vec!["member".into()],
            ..Identity::default()
        }
    }

    fn image() -> Image {
        let mut image = Image::queued(ImageId::random());
        image.owner = Some("p".into());
        image.name = Some("a & b".into());
        image
    }

    fn may_copy(policies: &Policies, image: &Image) -> bool {
        policies.allows(Action::CopyImage, &caller(), &ImageTarget::new(image, Some("p")))
    }

    #[test]
    fn po_18_only_true_lets_through() {
        let answers = &["True", "\"True\"", "true", "False", "", "True\n"];
        let (address, server) = server(answers);
        let rule = format!("http://{address}/check/%(owner)s");
        let (policies, image) = (policies(&rule, RemoteChecks::default()).unwrap(), image());
        let allowed = answers.map(|_| may_copy(&policies, &image));
        assert_eq!(allowed, [true, true, false, false, false, false]);
        for request in server.join().unwrap() {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("POST /check/p HTTP/1.1"), "{head}");
            assert!(head.contains("application/x-www-form-urlencoded"), "{head}");
            let fields: Vec<_> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
            let [rule, target, credentials] = [0, 1, 2].map(|n: usize| &fields[n]);
            assert_eq!((&*rule.0, &*rule.1), ("rule", "\"copy_image\""));
            let target: Value = serde_json::from_str(&target.1).unwrap();
            assert_eq!((&target["name"], &target["size"]), (&"a & b".into(), &Value::Null));
            let credentials: Value = serde_json::from_str(&credentials.1).unwrap();
            assert_eq!(
                (&credentials["project_id"], &credentials["roles"][0]),
                (&"p".into(), &"member".into())
            );
        }
    }

    /// On the runtime that serves requests, and with JSON.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn po_18_json_is_sent_where_the_operator_wants_it() {
        let (address, server) = server(&["True"]);
        let remote = RemoteChecks { sends_json: true, ..RemoteChecks::default() };
        let policies = policies(&format!("role:x or http://{address}/"), remote).unwrap();
        let image = image();
        assert!(tokio::spawn(async move { may_copy(&policies, &image) }).await.unwrap());
        let request = server.join().unwrap().remove(0);
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("application/json"), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["rule"], &body["target"]["owner"]), (&"copy_image".into(), &"p".into()));
    }

    /// Also under a `not`, and beside what would do alone if it came first.
    #[test]
    fn po_18_without_an_answer_nobody_gets_through() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = RemoteChecks { timeout: Duration::from_millis(50), ..RemoteChecks::default() };
        let image = image();
        for address in [free, silent.local_addr().unwrap()] {
            for rule in ["http://@/", "not http://@/", "http://@/ or role:member"] {
                let rule = rule.replace('@', &address.to_string());
                let policies = policies(&rule, remote.clone()).unwrap();
                assert!(!may_copy(&policies, &image), "{rule}");
            }
        }
        let rule = format!("role:member or http://{free}/");
        assert!(may_copy(&policies(&rule, remote.clone()).unwrap(), &image), "it is not asked");
        let rule = format!("http://{free}/%(nothing)s");
        assert!(!may_copy(&policies(&rule, remote).unwrap(), &image));
    }

    #[test]
    fn po_18_files_for_tls_are_read_when_a_rule_needs_them() {
        let remote = RemoteChecks {
            client: Some(("/nowhere/c".into(), "/nowhere/k".into())),
            ..RemoteChecks::default()
        };
        let error = policies("https://host/", remote.clone()).unwrap_err().to_string();
        assert!(error.contains("[oslo_policy]: /nowhere/c: "), "{error}");
        assert!(policies("role:admin", remote).is_ok());
    }
}
