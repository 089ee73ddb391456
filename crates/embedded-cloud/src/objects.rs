//! Object storage: the part of S3 that keeps archives and large artefacts, path style and virtual-host style.

mod chunked;
mod files;
mod xml;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use percent_encoding::percent_decode_str;
use run_model::Clock;

use crate::durable::DurableWriter;
use crate::error::AwsError;
use crate::meter::{self, item};
use files::{ObjectFiles, ObjectHead, Overwrite, etag_of};

/// Longest key, in bytes, as S3 has it.
const LONGEST_KEY: usize = 1024;

/// Headers of a write that every read gives back, besides `x-amz-meta-*` and `x-amz-checksum-*`.
const KEPT_HEADERS: [&str; 5] = ["content-type", "content-language", "content-disposition", "cache-control", "expires"];

/// Query parameters that do not choose an operation.
const PLAIN_PARAMETERS: [&str; 16] = [
    // A signed address: no signature is checked here, whether it stands in a header or in the address.
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "x-id",
    "list-type",
    "prefix",
    "delimiter",
    "max-keys",
    "continuation-token",
    "start-after",
    "encoding-type",
    "fetch-owner",
];

/// Headers that ask for more than is done here; ignoring one would lie to the caller.
const REFUSED_HEADERS: [&str; 5] =
    ["range", "if-match", "if-modified-since", "if-unmodified-since", "x-amz-copy-source"];

/// The object storage of one state folder.
pub(crate) struct Objects {
    files: ObjectFiles,
    clock: Arc<dyn Clock>,
}

/// Counts a request as S3 charges for it; deleting is free.
pub(crate) fn count(request: &Request<Bytes>) {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let used = match *request.method() {
        Method::PUT => [(item::S3_WRITE, 1.0), (item::S3_STORED_BYTE, request.body().len() as f64)],
        Method::GET | Method::HEAD if !target.contains("list-type=") => [(item::S3_READ, 1.0), (item::S3_WRITE, 0.0)],
        Method::DELETE => return,
        _ => [(item::S3_WRITE, 1.0), (item::S3_READ, 0.0)],
    };
    meter::note(Some(target), &used);
}

impl Objects {
    pub(crate) fn open(root: PathBuf, writer: Arc<DurableWriter>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Ok(Objects { files: ObjectFiles::open(root, writer)?, clock })
    }

    /// Answers one request; blocks on the disk. Errors are answers too, in S3's own shape.
    pub(crate) fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let answer = Target::of(request).and_then(|target| self.answer(request, &target));
        answer.unwrap_or_else(|error| error_response(&error, request.method() == Method::HEAD))
    }

    fn answer(&self, request: &Request<Bytes>, target: &Target) -> Result<Response<Bytes>, AwsError> {
        target.check(request)?;
        target.check_age(self.clock.now_ms())?;
        let (bucket, key) = (target.bucket.as_str(), target.key.as_str());
        let creates = (request.method() == Method::PUT) && key.is_empty();
        if !creates && !self.files.has_bucket(bucket) {
            return Err(missing("NoSuchBucket", "The specified bucket does not exist"));
        }
        match (request.method(), key) {
            (&Method::PUT, "") => self.create_bucket(bucket),
            (&Method::GET, "") if target.query.contains_key("list-type") => self.list(target),
            (&Method::PUT, _) if !key.is_empty() => self.put(request, bucket, key),
            (&Method::GET, _) if !key.is_empty() => self.get(request, bucket, key),
            (&Method::HEAD, _) if !key.is_empty() => self.head(request, bucket, key),
            (&Method::DELETE, _) if !key.is_empty() => {
                self.files.delete(bucket, key).map_err(broken)?;
                Ok(respond(204, HeaderMap::new(), Bytes::new()))
            }
            _ => Err(target.unknown(request)),
        }
    }

    fn create_bucket(&self, bucket: &str) -> Result<Response<Bytes>, AwsError> {
        self.files.create_bucket(bucket).map_err(broken)?;
        let mut headers = HeaderMap::new();
        insert(&mut headers, "location", &format!("/{bucket}"));
        Ok(respond(200, headers, Bytes::new()))
    }

    fn put(&self, request: &Request<Bytes>, bucket: &str, key: &str) -> Result<Response<Bytes>, AwsError> {
        let (body, trailers) = chunked::plain_body(request)?;
        let mut headers = kept_headers(request.headers());
        headers.extend(trailers.into_iter().filter(|(name, _)| name.starts_with("x-amz-checksum-")));
        let head =
            ObjectHead { etag: etag_of(&body), size: body.len() as u64, modified_ms: self.clock.now_ms(), headers };
        let overwrite = match request.headers().get("if-none-match").map(HeaderValue::as_bytes) {
            None => Overwrite::Yes,
            Some(b"*") => Overwrite::No,
            Some(_) => return Err(AwsError::unknown_operation("s3", "PutObject with an If-None-Match other than *")),
        };
        if !self.files.put((bucket, key), &body, &head, overwrite).map_err(broken)? {
            let message = "At least one of the pre-conditions you specified did not hold".into();
            return Err(AwsError { status: 412, code: "PreconditionFailed".into(), message });
        }
        let mut headers = HeaderMap::new();
        insert(&mut headers, "etag", &head.etag);
        checksums(&head).for_each(|(name, value)| insert(&mut headers, name, value));
        Ok(respond(200, headers, Bytes::new()))
    }

    fn get(&self, request: &Request<Bytes>, bucket: &str, key: &str) -> Result<Response<Bytes>, AwsError> {
        let found = self.files.get(bucket, key).map_err(broken)?;
        let (head, body) = found.ok_or_else(|| missing("NoSuchKey", "The specified key does not exist."))?;
        Ok(respond(200, object_headers(&head, request.headers()), body.into()))
    }

    fn head(&self, request: &Request<Bytes>, bucket: &str, key: &str) -> Result<Response<Bytes>, AwsError> {
        let found = self.files.head(bucket, key).map_err(broken)?;
        let head = found.ok_or_else(|| missing("NoSuchKey", "The specified key does not exist."))?;
        let mut headers = object_headers(&head, request.headers());
        insert(&mut headers, "content-length", &head.size.to_string());
        Ok(respond(200, headers, Bytes::new()))
    }

    fn list(&self, target: &Target) -> Result<Response<Bytes>, AwsError> {
        let page = Page::of(target)?.fill(self.files.keys(&target.bucket, target.parameter("prefix")).map_err(broken)?);
        let mut contents = Vec::new();
        for key in &page.keys {
            // An object deleted since the keys were read is not listed.
            if let Some(head) = self.files.head(&target.bucket, key).map_err(broken)? {
                contents.push((key.as_str(), head));
            }
        }
        let body = xml::list_result(target, &page, &contents);
        Ok(xml_response(200, body))
    }
}

/// Which bucket, key and sub-resource a request means.
#[derive(Debug)]
struct Target {
    bucket: String,
    key: String,
    query: BTreeMap<String, String>,
}

impl Target {
    fn of(request: &Request<Bytes>) -> Result<Self, AwsError> {
        let decode = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8().map(String::from);
            decoded.map_err(|_| AwsError::client("InvalidURI", "Couldn't parse the specified URI."))
        };
        let path = decode(request.uri().path())?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        let (bucket, key) = match bucket_of_host(host) {
            Some(bucket) => (bucket, path),
            None => path.split_once('/').unwrap_or((path, "")),
        };
        let mut query = BTreeMap::new();
        for pair in request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.insert(decode(name)?, decode(value)?);
        }
        Ok(Target { bucket: bucket.to_owned(), key: key.to_owned(), query })
    }

    fn check(&self, request: &Request<Bytes>) -> Result<(), AwsError> {
        if self.query.keys().any(|name| !PLAIN_PARAMETERS.contains(&name.as_str())) {
            return Err(self.unknown(request));
        }
        if let Some(header) = REFUSED_HEADERS.iter().find(|name| request.headers().contains_key(**name)) {
            return Err(AwsError::unknown_operation("s3", &format!("{} with {header}", self.operation(request))));
        }
        if self.bucket.is_empty() {
            return Err(self.unknown(request));
        }
        let bucket = self.bucket.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = [bucket.first(), bucket.last()].into_iter().flatten().all(plain);
        if !(3..=63).contains(&bucket.len()) || !ends || !bucket.iter().all(|b| plain(b) || b"-.".contains(b)) {
            return Err(AwsError::client("InvalidBucketName", "The specified bucket is not valid."));
        }
        if self.key.len() > LONGEST_KEY {
            return Err(AwsError::client("KeyTooLongError", "Your key is too long"));
        }
        Ok(())
    }

    /// A signed address holds for as many seconds as it says, from the moment that it says.
    fn check_age(&self, now_ms: i64) -> Result<(), AwsError> {
        let Some(seconds) = self.query.get("X-Amz-Expires") else { return Ok(()) };
        let signed = moment_of(self.parameter("X-Amz-Date")).zip(seconds.parse().ok());
        let (signed_at, seconds): (i64, i64) = signed.ok_or_else(|| {
            let message = "X-Amz-Date must be in the ISO8601 Long Format and X-Amz-Expires a number";
            AwsError::client("AuthorizationQueryParametersError", message)
        })?;
        if now_ms / 1000 > signed_at + seconds {
            return Err(AwsError { status: 403, code: "AccessDenied".into(), message: "Request has expired".into() });
        }
        Ok(())
    }

    fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The operation's name where the SDK tells it, else what the request asks for.
    fn operation(&self, request: &Request<Bytes>) -> String {
        let parameters = self.query.keys().filter(|name| !PLAIN_PARAMETERS.contains(&name.as_str()));
        match self.query.get("x-id") {
            Some(name) => name.clone(),
            None => {
                let parameters: Vec<&str> = parameters.map(String::as_str).collect();
                format!("{} {}?{}", request.method(), request.uri().path(), parameters.join("&"))
            }
        }
    }

    fn unknown(&self, request: &Request<Bytes>) -> AwsError {
        AwsError::unknown_operation("s3", &self.operation(request))
    }
}

/// The moment that `20260101T120000Z` is, in seconds since the epoch.
fn moment_of(text: &str) -> Option<i64> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (year, month, date) = (day.get(..4)?, day.get(4..6)?, day.get(6..)?);
    let (hour, minute, second) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    let written = format!("{year}-{month}-{date}T{hour}:{minute}:{second}Z");
    DateTime::from_str(&written, Format::DateTime).ok().map(|moment| moment.secs())
}

/// The bucket in front of an S3 or loopback host name.
fn bucket_of_host(host: &str) -> Option<&str> {
    let name = host.split(':').next().unwrap_or(host);
    if let Some(bucket) = name.strip_suffix(".localhost") {
        return Some(bucket);
    }
    let service = name.strip_suffix(".amazonaws.com")?;
    // `b.s3.us-east-1`, `b.s3`; the bucket's own name may hold dots, so the service is looked for from the right.
    let (bucket, _) = service.strip_suffix(".s3").map(|bucket| (bucket, "")).or_else(|| service.rsplit_once(".s3."))?;
    Some(bucket)
}

/// One page of a listing.
struct Page {
    delimiter: String,
    prefix_length: usize,
    after: String,
    limit: usize,
    keys: Vec<String>,
    common_prefixes: Vec<String>,
    next_token: Option<String>,
}

impl Page {
    fn of(target: &Target) -> Result<Self, AwsError> {
        let invalid = |name: &str| AwsError::client("InvalidArgument", format!("{name} is not valid"));
        let after = match target.query.get("continuation-token") {
            Some(token) => URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| invalid("continuation-token"))?,
            None => target.parameter("start-after").to_owned(),
        };
        let limit = match target.query.get("max-keys") {
            Some(text) => text.parse::<usize>().map_err(|_| invalid("max-keys"))?.min(1000),
            None => 1000,
        };
        Ok(Page {
            delimiter: target.parameter("delimiter").to_owned(),
            prefix_length: target.parameter("prefix").len(),
            after,
            limit,
            keys: Vec::new(),
            common_prefixes: Vec::new(),
            next_token: None,
        })
    }

    /// Takes keys in order until the page is full; keys that share a common prefix count as one.
    fn fill(mut self, keys: Vec<String>) -> Self {
        let mut last = String::new();
        for key in keys {
            let group = self.group_of(&key);
            let entry = group.clone().unwrap_or_else(|| key.clone());
            if entry <= self.after || entry == last {
                continue;
            }
            if self.keys.len() + self.common_prefixes.len() >= self.limit {
                self.next_token = (self.limit > 0).then(|| URL_SAFE_NO_PAD.encode(&last));
                break;
            }
            last = entry;
            match group {
                Some(group) => self.common_prefixes.push(group),
                None => self.keys.push(key),
            }
        }
        self
    }

    fn group_of(&self, key: &str) -> Option<String> {
        if self.delimiter.is_empty() {
            return None;
        }
        let end = key[self.prefix_length..].find(&self.delimiter)? + self.prefix_length + self.delimiter.len();
        Some(key[..end].to_owned())
    }
}

fn kept_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let kept = |name: &str| {
        KEPT_HEADERS.contains(&name) || name.starts_with("x-amz-meta-") || name.starts_with("x-amz-checksum-")
    };
    let mut kept_headers: BTreeMap<String, String> = headers
        .iter()
        .filter(|(name, _)| kept(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    // `aws-chunked` describes the request's body, not the object.
    let encodings: Vec<&str> = headers
        .get_all("content-encoding")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|encoding| !encoding.is_empty() && *encoding != "aws-chunked")
        .collect();
    if !encodings.is_empty() {
        kept_headers.insert("content-encoding".into(), encodings.join(","));
    }
    kept_headers
}

fn checksums(head: &ObjectHead) -> impl Iterator<Item = (&String, &String)> {
    head.headers.iter().filter(|(name, _)| name.starts_with("x-amz-checksum-"))
}

/// The headers of a read. Checksums are what the writer sent, so that a reader who asks checks the whole way.
fn object_headers(head: &ObjectHead, request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let with_checksums = request.contains_key("x-amz-checksum-mode");
    for (name, value) in &head.headers {
        if with_checksums || !name.starts_with("x-amz-checksum-") {
            insert(&mut headers, name, value);
        }
    }
    insert(&mut headers, "etag", &head.etag);
    insert(&mut headers, "last-modified", &formatted(head.modified_ms, Format::HttpDate));
    headers
}

fn formatted(moment_ms: i64, format: Format) -> String {
    DateTime::from_millis(moment_ms).fmt(format).unwrap_or_default()
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

fn respond(status: u16, headers: HeaderMap, body: Bytes) -> Response<Bytes> {
    let mut response = crate::http::response(status, body);
    response.headers_mut().extend(headers);
    response
}

fn xml_response(status: u16, body: String) -> Response<Bytes> {
    let mut headers = HeaderMap::new();
    insert(&mut headers, "content-type", "application/xml");
    respond(status, headers, body.into())
}

fn error_response(error: &AwsError, without_body: bool) -> Response<Bytes> {
    match without_body {
        true => respond(error.status, HeaderMap::new(), Bytes::new()),
        false => xml_response(error.status, xml::error(error)),
    }
}

fn missing(code: &str, message: &str) -> AwsError {
    AwsError { status: 404, code: code.into(), message: message.into() }
}

fn broken(error: io::Error) -> AwsError {
    if error.kind() == io::ErrorKind::InvalidFilename {
        return AwsError::client("KeyTooLongError", "a segment of the key is longer than a file name may be");
    }
    AwsError { status: 500, code: "InternalError".into(), message: format!("object storage failed: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_is_found_in_the_host() {
        for (host, bucket) in [
            ("s3.us-east-1.amazonaws.com", None),
            ("s3.amazonaws.com", None),
            ("127.0.0.1:4566", None),
            ("my.bucket.s3.us-east-1.amazonaws.com", Some("my.bucket")),
            ("bucket.s3.amazonaws.com", Some("bucket")),
            ("bucket.localhost:4566", Some("bucket")),
        ] {
            assert_eq!(bucket_of_host(host), bucket, "{host}");
        }
    }
}
