use std::collections::VecDeque;
use std::sync::Mutex;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_types::region::Region;
use run_model::time::VirtualClock;

use super::*;

/// 2026-01-02 03:04:05 UTC.
const NOW_MS: i64 = 1_767_323_045_000;
const KEY_OF_ALL_SORTS: &str = "runs/r-1/a b+ü=%~.json";
const ENCODED: &str = "runs/r-1/a%20b%2B%C3%BC%3D%25~.json";

type Answers = Mutex<VecDeque<Result<(u16, &'static str), &'static str>>>;

/// Answers as it is told, and keeps what it was asked: method, address and the headers of the signature.
#[derive(Clone, Debug, Default)]
struct Wire(Arc<(Answers, Mutex<Vec<HttpRequest>>)>);

impl Wire {
    fn answers(answers: impl IntoIterator<Item = Result<(u16, &'static str), &'static str>>) -> Self {
        Self(Arc::new((Mutex::new(answers.into_iter().collect()), Mutex::default())))
    }

    fn asked(&self) -> Vec<HttpRequest> {
        std::mem::take(&mut self.0.1.lock().unwrap())
    }

    fn bucket(&self, endpoint: Option<&str>) -> Bucket {
        let credentials = Credentials::from_keys(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            Some("token/+=".to_owned()),
        );
        let mut sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::standard().with_initial_backoff(Duration::ZERO))
            .http_client(self.clone());
        sdk.set_endpoint_url(endpoint.map(str::to_owned));
        Bucket::new(&sdk.build(), "gatewright-dev", Arc::new(VirtualClock::at(NOW_MS)))
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.0.1.lock().unwrap().push(request);
        let answer = self.0.0.lock().unwrap().pop_front().expect("one request more than there are answers");
        HttpConnectorFuture::ready(match answer {
            Ok((status, body)) => Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))),
            Err(message) => Err(ConnectorError::io(message.into())),
        })
    }
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    request.headers().get(name).unwrap_or_default()
}

/// The signatures are those that botocore 1.43 makes of the same requests.
#[tokio::test]
async fn a_request_is_signed_as_s3_wants_it() {
    let wire = Wire::answers([Ok((200, "")), Ok((200, ""))]);
    let bucket = wire.bucket(None);
    bucket.put(KEY_OF_ALL_SORTS, b"hello".to_vec()).await.unwrap();
    bucket.list("runs/", 1).await.unwrap();
    let [put, list] = wire.asked().try_into().unwrap();

    assert_eq!((put.method(), put.body().bytes()), ("PUT", Some(&b"hello"[..])));
    assert_eq!(put.uri(), format!("https://s3.eu-central-1.amazonaws.com/gatewright-dev/{ENCODED}"));
    assert_eq!(header(&put, "x-amz-date"), "20260102T030405Z");
    assert_eq!(header(&put, "x-amz-security-token"), "token/+=");
    let sha256_of_hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(header(&put, "x-amz-content-sha256"), sha256_of_hello);
    let with = |signature: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/eu-central-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature={signature}"
        )
    };
    let signature = "2ffe7764d2d372e24da1f64f4b495ee75bd5f5405586f09a680dd515b9da12b6";
    assert_eq!(header(&put, "authorization"), with(signature));

    let listed = "https://s3.eu-central-1.amazonaws.com/gatewright-dev?list-type=2&max-keys=1&prefix=runs%2F";
    assert_eq!(list.uri(), listed);
    let signature = "3afc0e545790f590917898312227deddc9a2a907f53f081a5870a42cf32c0869";
    assert_eq!(header(&list, "authorization"), with(signature));
}

/// As botocore signs it.
#[tokio::test]
async fn an_address_is_signed_for_a_while() {
    let address = Wire::default().bucket(None).presigned(KEY_OF_ALL_SORTS, Duration::from_secs(900)).await.unwrap();
    let (path, query) = address.split_once('?').unwrap();
    assert_eq!(path, format!("https://s3.eu-central-1.amazonaws.com/gatewright-dev/{ENCODED}"));
    let mut parameters: Vec<&str> = query.split('&').collect();
    parameters.sort_unstable();
    let expected = [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "X-Amz-Credential=AKIDEXAMPLE%2F20260102%2Feu-central-1%2Fs3%2Faws4_request",
        "X-Amz-Date=20260102T030405Z",
        "X-Amz-Expires=900",
        "X-Amz-Security-Token=token%2F%2B%3D",
        "X-Amz-Signature=123f36ff0acc5a11245367117ca3b0c3dc0c7f5c4affb1ea93fdea7354afdfde",
        "X-Amz-SignedHeaders=host",
    ];
    assert_eq!(parameters, expected);
}

#[tokio::test]
async fn another_endpoint_is_asked_if_one_is_said() {
    let wire = Wire::answers([Ok((200, "here"))]);
    let body = wire.bucket(Some("http://127.0.0.1:4566/")).get("a").await.unwrap();
    assert_eq!(body.collect().await.unwrap().to_vec(), b"here");
    assert_eq!(wire.asked()[0].uri(), "http://127.0.0.1:4566/gatewright-dev/a");
}

#[tokio::test]
async fn what_fails_in_passing_is_tried_again_three_times_in_all() {
    let wire = Wire::answers([Ok((503, "")), Err("connection reset"), Ok((200, "here"))]);
    let bucket = wire.bucket(None);
    bucket.put("a", b"twice".to_vec()).await.unwrap();
    let asked = wire.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|request| request.body().bytes() == Some(b"twice")));

    let busy = Ok((503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"));
    let wire = Wire::answers([busy; 3]);
    let failed = wire.bucket(None).get("a").await.unwrap_err();
    assert!(is_refused(&failed, "SlowDown") && wire.asked().len() == 3, "{failed:?}");
}

#[tokio::test]
async fn what_is_written_twice_at_once_is_there_in_the_end() {
    let busy = "<Error><Code>ConditionalRequestConflict</Code><Message>wait</Message></Error>";
    let there = "<Error><Code>PreconditionFailed</Code><Message>it is there</Message></Error>";
    let wire = Wire::answers([Ok((409, busy)), Ok((412, there))]);
    wire.bucket(None).put_if_missing("a", b"same".to_vec()).await.unwrap();
    assert_eq!(wire.asked().len(), 2);
    let owned = "<Error><Code>BucketAlreadyOwnedByYou</Code><Message>it is yours</Message></Error>";
    let wire = Wire::answers([Ok((409, owned))]);
    assert!(is_refused(&wire.bucket(None).create().await.unwrap_err(), "BucketAlreadyOwnedByYou"));
    assert_eq!(wire.asked().len(), 1);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again_and_says_why() {
    let denied = r#"<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>not yours</Message></Error>"#;
    for (answer, code, text) in [
        ((403, denied), "AccessDenied", "S3 answered 403: AccessDenied, not yours"),
        ((404, "no XML"), "", "S3 answered 404: no reason is given"),
    ] {
        let wire = Wire::answers([Ok(answer)]);
        let failed = wire.bucket(None).get("a").await.unwrap_err();
        assert!(is_refused(&failed, code), "{failed:?}");
        assert_eq!(failed.as_service_error().map(ToString::to_string).as_deref(), Some(text));
    }
}

#[tokio::test]
async fn what_is_there_already_stays_and_that_is_no_failure() {
    let there = "<Error><Code>PreconditionFailed</Code><Message>At least one did not hold</Message></Error>";
    let wire = Wire::answers([Ok((200, "")), Ok((412, there)), Ok((403, ""))]);
    let bucket = wire.bucket(None);
    bucket.put_if_missing("a", b"new".to_vec()).await.unwrap();
    bucket.put_if_missing("a", b"new".to_vec()).await.unwrap();
    bucket.put_if_missing("a", b"new".to_vec()).await.unwrap_err();
    for asked in wire.asked() {
        assert_eq!(header(&asked, "if-none-match"), "*");
        assert!(header(&asked, "authorization").contains("SignedHeaders=host;if-none-match;x-amz-content-sha256;"));
    }
}

#[tokio::test]
async fn a_listing_is_read_with_its_namespace_and_entities() {
    let keys = async |listing: &'static [u8]| keys(ByteStream::from_static(listing)).await;
    let listing = r#"<?xml version="1.0" encoding="UTF-8"?>
        <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><KeyCount>2</KeyCount>
        <Contents><Key>a &amp; b</Key><Size>1</Size></Contents><Contents><Key>c/d</Key></Contents></ListBucketResult>"#;
    assert_eq!(keys(listing.as_bytes()).await.unwrap(), ["a & b", "c/d"]);
    assert!(keys(b"<ListBucketResult").await.is_err() && keys(&[0xff]).await.is_err());
}
