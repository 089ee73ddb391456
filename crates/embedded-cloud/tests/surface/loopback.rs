//! The loopback's door: who comes in, and the clock that stands there.

use std::net::SocketAddr;
use std::sync::Arc;

use embedded_cloud::{Cloud, CloudOptions, FunctionRegistry, StandingClock};
use run_model::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{World, driver};

const SIGNED: &str = "authorization: AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/dynamodb/aws4_request, \
                      SignedHeaders=host, Signature=0\r\n";
const LIST: &str = "x-amz-target: DynamoDB_20120810.ListTables\r\n";

async fn ask(address: SocketAddr, first: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!("{first} HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn web_pages_and_unsigned_requests_are_turned_away() {
    let mut cloud = World::new().started(FunctionRegistry::new()).await;
    let address = cloud.serve_loopback().await.unwrap();
    let host = format!("host: {address}\r\n");
    let good = ask(address, "POST /", &format!("{host}{SIGNED}{LIST}"), "{}").await;
    assert!(good.starts_with("HTTP/1.1 200") && good.ends_with("{\"TableNames\":[]}"), "{good}");
    for (headers, code) in [
        (format!("{host}{SIGNED}{LIST}origin: https://evil.example\r\n"), "AccessDeniedException"),
        (format!("{host}{SIGNED}{LIST}sec-fetch-site: cross-site\r\n"), "AccessDeniedException"),
        (format!("host: evil.example\r\n{SIGNED}{LIST}"), "AccessDeniedException"),
        (format!("{host}{LIST}"), "MissingAuthenticationToken"),
    ] {
        let refused = ask(address, "POST /", &headers, "{}").await;
        assert!(refused.starts_with("HTTP/1.1 403") && refused.contains(code), "{headers}: {refused}");
    }
    // Not only AWS's paths are kept.
    let unsigned = ask(address, "POST /_gatewright/clock", &host, r#"{"advance_seconds": 1}"#).await;
    assert!(unsigned.starts_with("HTTP/1.1 403"), "{unsigned}");
}

#[tokio::test]
async fn time_stands_still_until_it_is_advanced_also_after_a_restart() {
    let world = World::new();
    for (begins_ms, advance, now_ms) in [(1_000, "7200", 7_201_000), (7_201_000, "0.5", 7_201_500)] {
        let clock = StandingClock::of(&world.state_dir(), 1_000).unwrap();
        assert_eq!(clock.now_ms(), begins_ms);
        let options = CloudOptions { clock: Arc::new(clock.clone()), ..world.options() };
        let mut cloud = driver(Cloud::open(options).await.unwrap());
        cloud.start(FunctionRegistry::new()).await.unwrap();
        let address = cloud.serve_loopback_on(0, Some(clock.clone())).await.unwrap();
        let headers = format!("host: {address}\r\n{SIGNED}");
        let body = format!(r#"{{"advance_seconds": {advance}}}"#);
        let told = ask(address, "POST /_gatewright/clock", &headers, &body).await;
        assert!(told.ends_with(&format!(r#"{{"now_ms":{now_ms}}}"#)), "{told}");
        for bad in ["{}", r#"{"advance_seconds": -1}"#, r#"{"advance_seconds": 1e12}"#] {
            let refused = ask(address, "POST /_gatewright/clock", &headers, bad).await;
            assert!(refused.starts_with("HTTP/1.1 400"), "{bad}: {refused}");
        }
        assert_eq!(clock.now_ms(), now_ms);
        cloud.shutdown().await;
    }
}

#[tokio::test]
async fn real_time_is_not_advanced() {
    let mut cloud = World::new().started(FunctionRegistry::new()).await;
    let address = cloud.serve_loopback().await.unwrap();
    let headers = format!("host: {address}\r\n{SIGNED}");
    let refused = ask(address, "POST /_gatewright/clock", &headers, r#"{"advance_seconds": 1}"#).await;
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("--virtual-time"), "{refused}");
}
