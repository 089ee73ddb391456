//! Against a server on the loopback that checks every signature by hand.

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use run_model::Sha256;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const SECRET: &str = "a secret";
const LOGS: Service = regional("CloudWatch Logs", "logs", "");
const IAM: Service = Service { global: true, ..regional("IAM", "iam", "2010-05-08") };

/// A request as it came in.
struct Seen {
    head: String,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        lines.filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// The signature that AWS would expect, by its own description.
    fn expected_signature(&self) -> String {
        let authorization = self.header("authorization").unwrap();
        let part = |name: &str| authorization.split_once(name).unwrap().1.split(',').next().unwrap();
        let scope: Vec<&str> = part("Credential=").split_once('/').unwrap().1.split('/').collect();
        let [day, region, service, _] = scope[..] else { panic!("{authorization}") };
        let names = part("SignedHeaders=");
        let headers: String =
            names.split(';').map(|name| format!("{name}:{}\n", self.header(name).unwrap().trim())).collect();
        let mut first = self.head.lines().next().unwrap().split(' ');
        let (method, target) = (first.next().unwrap(), first.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body_hash = Sha256::of(self.body.as_bytes());
        let canonical = format!("{method}\n{}\n{query}\n{headers}\n{names}\n{body_hash}", path.replace('%', "%25"));
        let now = self.header("x-amz-date").unwrap();
        let hash = Sha256::of(canonical.as_bytes());
        let to_sign = format!("AWS4-HMAC-SHA256\n{now}\n{day}/{region}/{service}/aws4_request\n{hash}");
        let midnight = SystemTime::UNIX_EPOCH + Duration::from_secs(day_seconds(day));
        calculate_signature(generate_signing_key(SECRET, midnight, region, service), to_sign.as_bytes())
    }
}

/// The moment at which a day such as `20261125` begins.
fn day_seconds(day: &str) -> u64 {
    let number = |range: std::ops::Range<usize>| day[range].parse::<i64>().unwrap();
    let (mut year, month, day) = (number(0..4), number(4..6), number(6..8));
    // Days from the civil date, counted in years that begin in March.
    year -= i64::from(month <= 2);
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + in_year - 719_468;
    u64::try_from(days * 86_400).unwrap()
}

/// Answers with each of these in turn, and gives back what it was asked.
async fn server(answers: Vec<(u16, &'static str, String)>) -> (String, tokio::task::JoinHandle<Vec<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut seen = Vec::new();
        for (status, headers, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            let request = loop {
                stream.read_buf(&mut bytes).await.unwrap();
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let request = Seen { head: head.to_owned(), body: body.to_owned() };
                let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
                if request.body.len() >= length {
                    break request;
                }
            };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            seen.push(request);
        }
        seen
    });
    (url, serving)
}

fn signed(variables: [(&str, &str); 2]) -> Signed {
    let [one, two] = variables;
    let environment = Environment::of([
        ("AWS_REGION", "eu-north-1"),
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_SESSION_TOKEN", "the token"),
        one,
        two,
    ]);
    Signed::of(&environment).unwrap()
}

fn at(url: &str) -> Signed {
    signed([("AWS_ENDPOINT_URL", url), ("", "")])
}

#[tokio::test]
async fn every_way_to_write_a_request_is_signed() {
    let stacks = "<DescribeStacksResponse xmlns='http://cloudformation'><DescribeStacksResult><Stacks>\
        <member><StackName>a &amp; b</StackName></member><member><StackName>c</StackName></member>\
        </Stacks></DescribeStacksResult></DescribeStacksResponse>";
    let answers = [stacks, "{\"events\":[]}", "{\"limit\":10}", ""].map(|body| (200, "", body.to_owned()));
    let (url, serving) = server(answers.into()).await;
    let signed = at(&url);

    let found = signed.query(&CLOUDFORMATION, "DescribeStacks", &[("StackName", "a & b/ü")]).await.unwrap();
    let names = found.all("DescribeStacksResult/Stacks/member");
    let names: Vec<_> = names.iter().filter_map(|stack| stack.text("StackName")).collect();
    assert_eq!(names, ["a & b", "c"]);
    assert_eq!(found.text("DescribeStacksResult/NextToken"), None);
    let events = signed.json(&LOGS, "Logs_20140328.FilterLogEvents", &json!({ "limit": 1 })).await.unwrap();
    assert_eq!(events, json!({ "events": [] }));
    let limit = signed.rest(&IAM, Method::GET, "/2016-08-19/a%20b/", None).await.unwrap();
    assert_eq!(limit["limit"], 10);
    let address = Url::parse(&format!("{url}/iam/v1/runs?after=1")).unwrap();
    let nothing = signed.rest_at(&API, Method::POST, &address, Some(&json!({ "a": 1 }))).await.unwrap();
    assert_eq!(nothing, Value::Null);

    let seen = serving.await.unwrap();
    for request in &seen {
        let authorization = request.header("authorization").unwrap();
        assert!(authorization.ends_with(&request.expected_signature()), "{authorization}\n{}", request.head);
        assert_eq!(request.header("x-amz-security-token"), Some("the token"));
    }
    let scope = |at: usize| seen[at].header("authorization").unwrap().split('/').skip(2).take(2).collect::<Vec<_>>();
    assert_eq!(seen[0].body, "Action=DescribeStacks&Version=2010-05-15&StackName=a+%26+b%2F%C3%BC");
    assert_eq!(scope(0), ["eu-north-1", "cloudformation"]);
    assert_eq!(seen[1].header("x-amz-target"), Some("Logs_20140328.FilterLogEvents"));
    assert_eq!(scope(2), ["us-east-1", "iam"], "it is one for all regions");
    assert_eq!((seen[3].body.as_str(), scope(3)), ("{\"a\":1}", vec!["eu-north-1", "execute-api"]));
}

#[tokio::test]
async fn a_refusal_has_its_name_and_its_cure_however_it_is_written() {
    let expired = "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>it is over</Message>\
        </Error><RequestId>1</RequestId></ErrorResponse>";
    let ours = r#"{"error":{"name":"NotAllowed","message":"not you","cure":"ask somebody"}}"#;
    for (status, headers, body, code, said) in [
        (400, "", expired, "ExpiredToken", "it is over: the session has ended"),
        (
            400,
            "",
            r#"{"__type":"com.amazon#AccessDeniedException","Message":"no"}"#,
            "AccessDeniedException",
            "no: ask",
        ),
        (
            403,
            "x-amzn-errortype: ForbiddenException:http://a\r\n",
            r#"{"message":"Forbidden"}"#,
            "ForbiddenException",
            "Forbidden: ask",
        ),
        (403, "", r#"{"message":"Forbidden"}"#, "Http403", "Forbidden"),
        (403, "", ours, "NotAllowed", "not you: ask somebody"),
        (502, "", "<html>bad gateway", "Http502", "bad gateway"),
    ] {
        let (url, serving) = server(vec![(status, headers, body.to_owned())]).await;
        let error = at(&url).rest(&LOGS, Method::GET, "/", None).await.unwrap_err();
        serving.await.unwrap();
        assert_eq!(error.code(), Some(code), "{body}");
        let problem = Problem::from(error).message;
        assert!(problem.contains(said), "{problem}");
    }
}

#[tokio::test]
async fn a_throttled_call_is_sent_again_and_a_refused_one_is_not() {
    let throttled = (400, "", r#"{"__type":"ThrottlingException","message":"slower"}"#.to_owned());
    let (url, serving) = server(vec![throttled, (200, "", "{}".to_owned())]).await;
    assert_eq!(at(&url).json(&LOGS, "T", &json!({})).await.unwrap(), json!({}));
    assert_eq!(serving.await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_service_answers_where_the_environment_says() {
    let address = |variables: [(&str, &str); 2], service: &Service| {
        signed(variables).address(service, "/").map(|url| url.to_string())
    };
    let (none, all) = (("", ""), ("AWS_ENDPOINT_URL", "http://all/"));
    assert_eq!(address([none, none], &LOGS).unwrap(), "https://logs.eu-north-1.amazonaws.com/");
    assert_eq!(address([none, none], &IAM).unwrap(), "https://iam.amazonaws.com/");
    let own = ("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "http://own");
    assert_eq!(address([all, own], &LOGS).unwrap(), "http://own/");
    assert_eq!(address([all, own], &IAM).unwrap(), "http://all/");
    assert!(address([("AWS_ENDPOINT_URL", "nowhere"), none], &IAM).is_err());

    let gone = at("http://127.0.0.1:1").query(&CLOUDFORMATION, "DescribeStacks", &[]).await.unwrap_err();
    let problem = Problem::from(gone).message;
    assert!(problem.starts_with("CloudFormation cannot be reached") && problem.contains("AWS_REGION"), "{problem}");
    let problem = Signed::of(&Environment::of([("AWS_REGION", "eu-north-1")])).err().unwrap().message;
    assert!(problem.starts_with("the environment variable AWS_ACCESS_KEY_ID is not set"), "{problem}");
}

#[test]
fn a_region_is_spelt_like_one_and_lies_in_the_commercial_partition() {
    for region in ["eu-central-1", "us-east-1", "ap-southeast-2", "me-central-1"] {
        assert!(check_region(region).is_ok(), "{region}");
    }
    for region in ["eu_central_1", "frankfurt", "eu-central", "eu-central-1a", "EU-central-1", "eu--1", ""] {
        assert!(check_region(region).unwrap_err().message.contains("use one like eu-central-1"), "{region}");
    }
    for region in ["cn-north-1", "us-gov-west-1", "us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "eusc-de-east-1"]
    {
        assert!(check_region(region).unwrap_err().message.contains("commercial regions alone"), "{region}");
    }
}
