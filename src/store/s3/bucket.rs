//! What S3 is asked, and what its answers mean.
//!
//! Signatures are in the URLs, bodies are not signed: they need not be read twice, and TLS or the
//! checksums that the operator may ask for keep them whole. A request whose body is at hand is
//! made again when it fails in passing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ETAG, HeaderName, RANGE};
use http::{HeaderValue, Method, StatusCode};
use md5::{Digest, Md5};
use rusty_s3::actions::{CompleteMultipartUpload, CreateMultipartUpload};
use rusty_s3::{Credentials, S3Action, UrlStyle};
use serde::Deserialize;
use url::Url;

use crate::client::{self, Body, Client, ClientError, Request, Response, Trust};
use crate::config::{S3Addressing, S3Store as Options};
use crate::limits::{S3_DOCUMENT_BYTES_MAX, S3_RETRY_PAUSES, S3_SIGNATURE_LIFE};
use crate::store::web::range_of;
use crate::store::{StoreError, StoreErrorKind};

const CONTENT_MD5: &str = "content-md5";

/// A bucket and who asks it.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    client: Client,
    bucket: rusty_s3::Bucket,
    credentials: Credentials,
    endpoint: Url,
    style: UrlStyle,
    checks: bool,
}

/// A problem as S3 writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Problem {
    code: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Uploads {
    #[serde(rename = "Upload")]
    uploads: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
}

impl Bucket {
    /// The bucket of the configuration.
    ///
    /// # Errors
    /// What can't be used, with the option.
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let trust = options.ca_file.clone().map_or(Trust::System, Trust::File);
        let client = Client::new(client::Options { trust, ..client::Options::default() });
        let client = client.map_err(|error| format!("s3_store_cacert: {error}"))?;
        let host = match options.host.contains("://") {
            true => options.host.clone(),
            false => format!("http://{}", options.host),
        };
        let bad = |why: &dyn std::fmt::Display| format!("s3_store_host {host}: {why}");
        let endpoint = Url::parse(&host).map_err(|error| bad(&error))?;
        let style = style(options, endpoint.host_str().unwrap_or_default())?;
        let region = options.region.clone().unwrap_or_else(|| region_of(&endpoint));
        let bucket = rusty_s3::Bucket::new(endpoint.clone(), style, options.bucket.clone(), region)
            .map_err(|error| bad(&error))?;
        let credentials =
            Credentials::new(options.access_key.as_str(), options.secret_key.reveal());
        Ok(Self { client, bucket, credentials, endpoint, style, checks: options.checks_requests })
    }

    /// Another bucket on the same server.
    pub(super) fn named(&self, name: &str) -> Result<Self, StoreError> {
        if name == self.bucket.name() {
            return Ok(self.clone());
        }
        let (endpoint, region) = (self.endpoint.clone(), self.bucket.region().to_owned());
        let bucket = rusty_s3::Bucket::new(endpoint, self.style, name.to_owned(), region);
        let bad =
            |error| StoreError::new(StoreErrorKind::BadLocation, format!("bucket {name}: {error}"));
        Ok(Self { bucket: bucket.map_err(bad)?, ..self.clone() })
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.bucket.name()
    }

    /// Where it is.
    pub(super) fn url(&self) -> &Url {
        self.bucket.base_url()
    }

    /// Whether the bucket is there.
    pub(super) async fn exists(&self) -> Result<bool, StoreError> {
        let action = self.bucket.head_bucket(Some(&self.credentials));
        let answer = self.ask(|| Request::new(Method::HEAD, sign(&action))).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(false),
            _ => accepted(answer).await.map(|_| true),
        }
    }

    /// Makes the bucket; that it is there already is as good.
    pub(super) async fn create(&self) -> Result<(), StoreError> {
        let action = self.bucket.create_bucket(&self.credentials);
        // `us-east-1` is what no constraint means, there and for servers without regions.
        let region = self.bucket.region();
        let body = match region {
            "" | "us-east-1" => Vec::new(),
            region => vec![Bytes::from(format!(
                "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint>\
                 </CreateBucketConfiguration>"
            ))],
        };
        let request = || Request::new(Method::PUT, sign(&action)).body(Body::Whole(body.clone()));
        match accepted(self.ask(request).await?).await {
            Err(error) if error.kind() == StoreErrorKind::Exists => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Size of an object in bytes, if there is one.
    pub(super) async fn size(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let action = self.bucket.head_object(Some(&self.credentials), key);
        let answer = self.ask(|| Request::new(Method::HEAD, sign(&action))).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            _ => Ok(Some(accepted(answer).await?.announced().unwrap_or(0))),
        }
    }

    /// An object's data.
    pub(super) async fn get(
        &self,
        key: &str,
        part: Option<(u64, Option<u64>)>,
    ) -> Result<Response, StoreError> {
        let action = self.bucket.get_object(Some(&self.credentials), key);
        let request = || {
            let request = Request::new(Method::GET, sign(&action));
            match part {
                Some(part) => request.header(RANGE, range_of(part)),
                None => request,
            }
        };
        accepted(self.ask(request).await?).await
    }

    /// Makes an object of what is at hand.
    pub(super) async fn put(&self, key: &str, data: Vec<Bytes>) -> Result<(), StoreError> {
        let md5 = self.md5(&data);
        let mut action = self.bucket.put_object(Some(&self.credentials), key);
        if let Some(md5) = &md5 {
            action.headers_mut().insert(CONTENT_MD5, md5.as_str());
        }
        let request = || checked(Request::new(Method::PUT, sign(&action)), md5.as_deref());
        let request = || request().body(Body::Whole(data.clone()));
        accepted(self.ask(request).await?).await.map(drop)
    }

    /// Makes an object of what comes.
    pub(super) async fn put_stream(&self, key: &str, body: Body) -> Result<(), StoreError> {
        let action = self.bucket.put_object(Some(&self.credentials), key);
        let answer = self.client.send(Request::new(Method::PUT, sign(&action)).body(body)).await?;
        accepted(answer).await.map(drop)
    }

    /// Begins an upload in parts and answers its id.
    pub(super) async fn begin(&self, key: &str) -> Result<String, StoreError> {
        let action = self.bucket.create_multipart_upload(Some(&self.credentials), key);
        let answer = self.ask(|| Request::new(Method::POST, sign(&action))).await?;
        let (at, text) = document(accepted(answer).await?).await?;
        let parsed = CreateMultipartUpload::parse_response(&text);
        parsed.map(|parsed| parsed.upload_id().to_owned()).map_err(|error| odd(&at, &error))
    }

    /// Uploads a part that is at hand and answers its tag.
    pub(super) async fn part(
        &self,
        key: &str,
        upload: &str,
        number: u16,
        data: Vec<Bytes>,
    ) -> Result<String, StoreError> {
        let md5 = self.md5(&data);
        let mut action = self.bucket.upload_part(Some(&self.credentials), key, number, upload);
        if let Some(md5) = &md5 {
            action.headers_mut().insert(CONTENT_MD5, md5.as_str());
        }
        let request = || checked(Request::new(Method::PUT, sign(&action)), md5.as_deref());
        let request = || request().body(Body::Whole(data.clone()));
        tag(accepted(self.ask(request).await?).await?)
    }

    /// Uploads a part that is still coming.
    pub(super) async fn part_stream(
        &self,
        key: &str,
        upload: &str,
        number: u16,
        body: Body,
    ) -> Result<String, StoreError> {
        let action = self.bucket.upload_part(Some(&self.credentials), key, number, upload);
        let answer = self.client.send(Request::new(Method::PUT, sign(&action)).body(body)).await?;
        tag(accepted(answer).await?)
    }

    /// Makes an object of `size` bytes of parts. A second try may find that the first has done it.
    pub(super) async fn complete(
        &self,
        key: &str,
        upload: &str,
        tags: &[String],
        size: u64,
    ) -> Result<(), StoreError> {
        let action = || {
            let tags = tags.iter().map(String::as_str);
            let bucket = &self.bucket;
            bucket.complete_multipart_upload(Some(&self.credentials), key, upload, tags)
        };
        let body = Bytes::from(CompleteMultipartUpload::body(action()));
        let request = || {
            let url = action().sign(S3_SIGNATURE_LIFE);
            Request::new(Method::POST, url).body(Body::Whole(vec![body.clone()]))
        };
        let answer = match accepted(self.ask(request).await?).await {
            Err(error) if error.kind() == StoreErrorKind::NotFound => {
                return match self.size(key).await? {
                    Some(found) if found == size => Ok(()),
                    _ => Err(error),
                };
            }
            answer => answer?,
        };
        // What fails late does so under a status that has been sent already.
        let status = answer.status();
        let (at, text) = document(answer).await?;
        match problem(&text) {
            Some(problem) => Err(refusal(&at, status, &problem)),
            None => Ok(()),
        }
    }

    /// Ends an upload and removes its parts; that there is none is as good.
    pub(super) async fn abort(&self, key: &str, upload: &str) -> Result<(), StoreError> {
        let action = self.bucket.abort_multipart_upload(Some(&self.credentials), key, upload);
        let answer = self.ask(|| Request::new(Method::DELETE, sign(&action))).await?;
        gone(accepted(answer).await.map(drop))
    }

    /// Uploads of an object that are under way.
    pub(super) async fn uploads(&self, key: &str) -> Result<Vec<String>, StoreError> {
        // A list of uploads is what a bucket answers to GET with `uploads`.
        let mut action = self.bucket.get_object(Some(&self.credentials), "");
        action.query_mut().insert("prefix", key);
        action.query_mut().insert("uploads", "");
        let answer = self.ask(|| Request::new(Method::GET, sign(&action))).await?;
        let (at, text) = document(accepted(answer).await?).await?;
        let found: Uploads = parse(&text).map_err(|error| odd(&at, &error))?;
        let ours = found.uploads.into_iter().filter(|upload| upload.key == key);
        Ok(ours.map(|upload| upload.upload_id).collect())
    }

    /// Removes an object, whether it is there or not.
    pub(super) async fn remove(&self, key: &str) -> Result<(), StoreError> {
        let action = self.bucket.delete_object(Some(&self.credentials), key);
        let answer = self.ask(|| Request::new(Method::DELETE, sign(&action))).await?;
        gone(accepted(answer).await.map(drop))
    }

    /// Makes a request until it is answered with something that lasts.
    async fn ask(&self, request: impl Fn() -> Request) -> Result<Response, StoreError> {
        for pause in S3_RETRY_PAUSES {
            match self.client.send(request()).await {
                Ok(answer) if !is_passing(answer.status()) => return Ok(answer),
                Err(error) if !error.is_passing() => return Err(error.into()),
                Ok(_) | Err(ClientError::Unreachable { .. } | ClientError::Broken { .. }) => {}
                // Waiting has been tried.
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause).await;
        }
        Ok(self.client.send(request()).await?)
    }

    fn md5(&self, data: &[Bytes]) -> Option<String> {
        self.checks.then(|| {
            let mut md5 = Md5::new();
            data.iter().for_each(|piece| md5.update(piece));
            STANDARD.encode(md5.finalize())
        })
    }
}

fn sign<'a>(action: &impl S3Action<'a>) -> Url {
    action.sign(S3_SIGNATURE_LIFE)
}

fn checked(request: Request, md5: Option<&str>) -> Request {
    match md5.and_then(|md5| HeaderValue::from_str(md5).ok()) {
        Some(md5) => request.header(HeaderName::from_static(CONTENT_MD5), md5),
        None => request,
    }
}

/// `auto` is what boto makes of it: by name at Amazon, where the name can be part of a host's.
fn style(options: &Options, host: &str) -> Result<UrlStyle, String> {
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name = &options.bucket;
    let is_label = (3..=63).contains(&name.len()) && name.chars().all(label);
    match options.addressing {
        S3Addressing::Path => Ok(UrlStyle::Path),
        S3Addressing::Virtual if is_label => Ok(UrlStyle::VirtualHost),
        S3Addressing::Virtual => Err(format!(
            "s3_store_bucket {name} can't be part of a host's name; use s3_store_bucket_url_format \
             = path"
        )),
        S3Addressing::Auto if is_label && is_amazon(host) => Ok(UrlStyle::VirtualHost),
        S3Addressing::Auto => Ok(UrlStyle::Path),
    }
}

fn is_amazon(host: &str) -> bool {
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

/// The region that a host of Amazon's names; others take any.
fn region_of(endpoint: &Url) -> String {
    let host = endpoint.host_str().unwrap_or_default();
    let name = host.split(".amazonaws.com").next().filter(|_| is_amazon(host));
    let region = name.and_then(|name| {
        let rest = name.strip_prefix("s3")?.trim_start_matches(['.', '-']);
        Some(rest.trim_start_matches("dualstack.").to_owned())
    });
    region.filter(|region| !region.is_empty()).unwrap_or_else(|| "us-east-1".to_owned())
}

fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || (status.is_server_error()
            && status != StatusCode::NOT_IMPLEMENTED
            && status != StatusCode::INSUFFICIENT_STORAGE)
}

/// An answer of success, or what it says instead.
async fn accepted(answer: Response) -> Result<Response, StoreError> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let (at, status) = (answer.at().to_owned(), answer.status());
    let text = answer.whole(S3_DOCUMENT_BYTES_MAX).await.unwrap_or_default();
    Err(refusal(&at, status, &problem(&text).unwrap_or_default()))
}

fn refusal(at: &str, status: StatusCode, problem: &Problem) -> StoreError {
    let Problem { code, message } = problem;
    let (kind, remedy) = match (status, code.as_str()) {
        (_, "NoSuchBucket") => (
            StoreErrorKind::Unavailable,
            "; make the bucket, or set s3_store_create_bucket_on_put = true",
        ),
        (_, "QuotaExceeded" | "EntityTooLarge") | (StatusCode::INSUFFICIENT_STORAGE, _) => {
            (StoreErrorKind::NoSpace, "; raise the quota")
        }
        (_, "RequestTimeTooSkewed") => (StoreErrorKind::Denied, "; set the clocks"),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => (
            StoreErrorKind::Denied,
            "; check s3_store_access_key, s3_store_secret_key and what the user may",
        ),
        (StatusCode::NOT_FOUND, _) => (StoreErrorKind::NotFound, ""),
        (_, "BucketAlreadyExists" | "BucketAlreadyOwnedByYou")
        | (StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED, _) => {
            (StoreErrorKind::Exists, "")
        }
        (_, "InternalError" | "SlowDown") => (StoreErrorKind::Unavailable, ""),
        (status, _) if is_passing(status) => (StoreErrorKind::Unavailable, ""),
        (status, _) if status.is_redirection() => {
            (StoreErrorKind::Io, "; check s3_store_host and s3_store_region_name")
        }
        _ => (StoreErrorKind::Io, ""),
    };
    let said = [code.as_str(), message.as_str()].join(" ");
    let said = format!("{at}: the server answered {status} {}{remedy}", said.trim());
    StoreError::new(kind, said)
}

/// The problem that a document is, if it is one.
fn problem(text: &[u8]) -> Option<Problem> {
    let is_problem = String::from_utf8_lossy(text).contains("<Error");
    is_problem.then(|| parse(text).unwrap_or_default())
}

fn parse<T: for<'de> Deserialize<'de>>(text: &[u8]) -> Result<T, quick_xml::DeError> {
    quick_xml::de::from_reader(text)
}

async fn document(answer: Response) -> Result<(String, Vec<u8>), StoreError> {
    let at = answer.at().to_owned();
    Ok((at, answer.whole(S3_DOCUMENT_BYTES_MAX).await?))
}

fn odd(at: &str, error: &dyn std::fmt::Display) -> StoreError {
    let context = format!("{at}: the answer is no document of S3: {error}");
    StoreError::new(StoreErrorKind::Io, context)
}

fn tag(answer: Response) -> Result<String, StoreError> {
    let tag = answer.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
    tag.map(str::to_owned).ok_or_else(|| odd(answer.at(), &"it has no ETag"))
}

fn gone(removed: Result<(), StoreError>) -> Result<(), StoreError> {
    match removed {
        Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_and_addressing_are_botos() {
        for (host, region) in [
            ("s3.amazonaws.com", "us-east-1"),
            ("s3-eu-west-1.amazonaws.com", "eu-west-1"),
            ("s3.eu-central-1.amazonaws.com", "eu-central-1"),
            ("s3.dualstack.eu-west-2.amazonaws.com", "eu-west-2"),
            ("s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("s3.example.org", "us-east-1"),
        ] {
            assert_eq!(region_of(&Url::parse(&format!("https://{host}")).unwrap()), region);
        }
    }

    #[test]
    fn refusals_are_sorted() {
        let kind = |status: u16, code: &str| {
            let problem = Problem { code: code.to_owned(), message: String::new() };
            refusal("GET x", StatusCode::from_u16(status).unwrap(), &problem).kind()
        };
        for (status, code, wanted) in [
            (403, "AccessDenied", StoreErrorKind::Denied),
            (403, "", StoreErrorKind::Denied),
            (403, "QuotaExceeded", StoreErrorKind::NoSpace),
            (404, "NoSuchKey", StoreErrorKind::NotFound),
            (404, "NoSuchBucket", StoreErrorKind::Unavailable),
            (507, "", StoreErrorKind::NoSpace),
            (503, "SlowDown", StoreErrorKind::Unavailable),
            (200, "InternalError", StoreErrorKind::Unavailable),
            (409, "BucketAlreadyOwnedByYou", StoreErrorKind::Exists),
            (400, "BadDigest", StoreErrorKind::Io),
            (301, "", StoreErrorKind::Io),
        ] {
            assert_eq!(kind(status, code), wanted, "{status} {code}");
        }
    }

    #[test]
    fn documents_are_read() {
        let list = br#"<?xml version="1.0" encoding="UTF-8"?><ListMultipartUploadsResult
            xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>b</Bucket><Prefix>k</Prefix>
            <Upload><Key>k</Key><UploadId>2~a</UploadId><StorageClass>S</StorageClass></Upload>
            <Upload><Key>kk</Key><UploadId>2~b</UploadId></Upload></ListMultipartUploadsResult>"#;
        let found: Uploads = parse(list).unwrap();
        assert_eq!(found.uploads.len(), 2);
        assert_eq!((&*found.uploads[0].key, &*found.uploads[0].upload_id), ("k", "2~a"));
        let none: Uploads = parse(b"<ListMultipartUploadsResult/>").unwrap();
        assert!(none.uploads.is_empty());
        let text = b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>";
        assert_eq!(problem(text).unwrap().code, "NoSuchKey");
        assert!(problem(b"<CompleteMultipartUploadResult/>").is_none());
    }
}
