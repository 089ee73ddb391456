//! An account on the loopback: STS, IAM, Lambda, CloudFormation and CloudWatch Logs as far as the command line asks them, in
//! the shapes in which AWS answers. It has state, and a test looks at what became of it.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};

const ID: &str = "123456789012";
/// How many events a page of a log has.
const PAGE: usize = 2;

/// Answers as long as the test's process lives.
pub struct Account {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// What is in the account.
pub struct State {
    /// What every call is refused with: status, code, message.
    pub refuses: Option<(u16, &'static str, &'static str)>,
    pub concurrency: u64,
    /// Providers of OIDC with the audiences of each, by ARN.
    pub providers: BTreeMap<String, Vec<String>>,
    pub stacks: BTreeMap<String, Stack>,
    /// What is a stack as soon as a file is there: the stand-in for the SAM CLI writes it.
    pub deployed_by: Option<(PathBuf, Stack)>,
    /// The events of a log group: time and text.
    pub logs: BTreeMap<String, Vec<(i64, String)>>,
    /// What was asked, by name, in order.
    pub calls: Vec<String>,
}

/// A stack of CloudFormation.
#[derive(Clone, Default)]
pub struct Stack {
    pub name: String,
    pub status: &'static str,
    /// What it will be, each time that somebody has looked.
    pub then: VecDeque<&'static str>,
    pub outputs: Vec<(&'static str, String)>,
    pub parameters: Vec<(&'static str, String)>,
    /// Logical and physical ids.
    pub resources: Vec<(&'static str, String)>,
    /// Logical id, type, status, reason; the newest first.
    pub events: Vec<(&'static str, &'static str, &'static str, &'static str)>,
    /// How its deletion ends.
    pub deletes_to: Option<&'static str>,
}

impl Stack {
    /// The stack of a stage, in this state.
    pub fn of_stage(stage: &str, status: &'static str) -> Self {
        Self {
            name: format!("gatewright-{stage}"),
            status,
            outputs: vec![("Revision", "abc123".into()), ("BucketName", format!("gatewright-{stage}"))],
            parameters: vec![("Stage", stage.into()), ("Architecture", "arm64".into()), ("Emulated", "true".into())],
            resources: vec![("Bucket", format!("gatewright-{stage}"))],
            ..Self::default()
        }
    }

    fn id(&self) -> String {
        format!("arn:aws:cloudformation:us-east-1:{ID}:stack/{}/0a1b2c3d", self.name)
    }
}

impl Account {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            refuses: None,
            concurrency: 1000,
            providers: BTreeMap::new(),
            stacks: BTreeMap::new(),
            deployed_by: None,
            logs: BTreeMap::new(),
            calls: Vec::new(),
        }));
        let kept = state.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                // Whoever goes away in the middle is no concern of the account.
                let Some(request) = Request::read(&mut connection) else { continue };
                let (status, body) = kept.lock().unwrap().answer(&request);
                respond(&mut connection, status, &body);
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What is in it; nobody is answered while this is held.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn put(&self, stack: Stack) {
        self.state().stacks.insert(stack.name.clone(), stack);
    }
}

struct Request {
    path: String,
    target: Option<String>,
    body: String,
}

impl Request {
    fn read(connection: &mut TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(connection);
        let (mut first, mut target, mut length) = (String::new(), None, 0);
        reader.read_line(&mut first).ok()?;
        let path = first.split(' ').nth(1)?.to_owned();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok()?,
                "x-amz-target" => target = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Self { path, target, body: String::from_utf8(body).ok()? })
    }

    /// A field of a form.
    fn field(&self, name: &str) -> Option<String> {
        let pairs = self.body.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| decoded(value))
    }
}

fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut plain = pieces.next().unwrap().to_owned();
    for piece in pieces {
        plain.push(char::from(u8::from_str_radix(&piece[..2], 16).unwrap()));
        plain.push_str(&piece[2..]);
    }
    plain
}

fn respond(connection: &mut TcpStream, status: u16, body: &str) {
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    // Whoever asked may be gone.
    drop(connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body.as_bytes())));
}

fn error_xml(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>b9b4b068</RequestId></ErrorResponse>"
    )
}

fn answer_xml(action: &str, result: &str) -> (u16, String) {
    let body = format!(
        "<{action}Response xmlns=\"http://amazonaws.com/doc/\"><{action}Result>{result}</{action}Result>\
         <ResponseMetadata><RequestId>b9b4b068</RequestId></ResponseMetadata></{action}Response>"
    );
    (200, body)
}

fn pairs(list: &str, key: &str, value: &str, pairs: &[(&str, String)]) -> String {
    let members: String = pairs
        .iter()
        .map(|(name, text)| format!("<member><{key}>{name}</{key}><{value}>{text}</{value}></member>"))
        .collect();
    format!("<{list}>{members}</{list}>")
}

impl State {
    fn answer(&mut self, request: &Request) -> (u16, String) {
        let action = request.field("Action");
        let name = action.clone().or_else(|| request.target.clone()).unwrap_or_else(|| request.path.clone());
        self.calls.push(name.clone());
        if let Some((status, code, message)) = self.refuses {
            let json = json!({ "__type": code, "message": message }).to_string();
            return (status, if action.is_some() { error_xml(code, message) } else { json });
        }
        match name.as_str() {
            "GetCallerIdentity" => answer_xml(
                &name,
                &format!("<Arn>arn:aws:iam::{ID}:user/ann</Arn><UserId>AIDA1</UserId><Account>{ID}</Account>"),
            ),
            "/2016-08-19/account-settings/" => {
                let limits = json!({ "ConcurrentExecutions": self.concurrency, "UnreservedConcurrentExecutions": 0 });
                (200, json!({ "AccountLimit": limits, "AccountUsage": { "FunctionCount": 0 } }).to_string())
            }
            "Logs_20140328.FilterLogEvents" => self.log_events(&request.body.parse().unwrap()),
            _ if name.contains("OpenIDConnect") => self.oidc(&name, request),
            _ => self.cloudformation(&name, request),
        }
    }

    fn oidc(&mut self, action: &str, request: &Request) -> (u16, String) {
        let members = |texts: &mut dyn Iterator<Item = String>| {
            texts.map(|text| format!("<member>{text}</member>")).collect::<String>()
        };
        match action {
            "ListOpenIDConnectProviders" => {
                let arns = members(&mut self.providers.keys().map(|arn| format!("<Arn>{arn}</Arn>")));
                answer_xml(action, &format!("<OpenIDConnectProviderList>{arns}</OpenIDConnectProviderList>"))
            }
            "GetOpenIDConnectProvider" => {
                let found = &self.providers[&request.field("OpenIDConnectProviderArn").unwrap()];
                let audiences = members(&mut found.iter().cloned());
                answer_xml(action, &format!("<Url>token</Url><ClientIDList>{audiences}</ClientIDList>"))
            }
            "AddClientIDToOpenIDConnectProvider" => {
                let arn = request.field("OpenIDConnectProviderArn").unwrap();
                self.providers.get_mut(&arn).unwrap().push(request.field("ClientID").unwrap());
                answer_xml(action, "")
            }
            _ => {
                let url = request.field("Url").unwrap();
                let arn = format!("arn:aws:iam::{ID}:oidc-provider/{}", url.strip_prefix("https://").unwrap());
                self.providers.insert(arn.clone(), vec![request.field("ClientIDList.member.1").unwrap()]);
                answer_xml(action, &format!("<OpenIDConnectProviderArn>{arn}</OpenIDConnectProviderArn>"))
            }
        }
    }

    fn cloudformation(&mut self, action: &str, request: &Request) -> (u16, String) {
        if let Some((_, stack)) = self.deployed_by.take_if(|(file, _)| file.exists()) {
            self.stacks.insert(stack.name.clone(), stack);
        }
        let asked = request.field("StackName").unwrap();
        let by_id = asked.starts_with("arn:");
        let stack = self.stacks.values_mut().find(|stack| stack.id() == asked || stack.name == asked);
        let Some(stack) = stack.filter(|stack| by_id || stack.status != "DELETE_COMPLETE") else {
            return (400, error_xml("ValidationError", &format!("Stack with id {asked} does not exist")));
        };
        match action {
            "DescribeStacks" => {
                let described = format!(
                    "<Stacks><member><StackId>{}</StackId><StackName>{}</StackName><StackStatus>{}</StackStatus>{}{}\
                     </member></Stacks>",
                    stack.id(),
                    stack.name,
                    stack.status,
                    pairs("Outputs", "OutputKey", "OutputValue", &stack.outputs),
                    pairs("Parameters", "ParameterKey", "ParameterValue", &stack.parameters),
                );
                stack.status = stack.then.pop_front().unwrap_or(stack.status);
                answer_xml(action, &described)
            }
            "ListStackResources" => {
                let members: String = stack
                    .resources
                    .iter()
                    .map(|(logical, physical)| {
                        format!(
                            "<member><LogicalResourceId>{logical}</LogicalResourceId><PhysicalResourceId>{physical}\
                             </PhysicalResourceId><ResourceStatus>CREATE_COMPLETE</ResourceStatus></member>"
                        )
                    })
                    .collect();
                answer_xml(action, &format!("<StackResourceSummaries>{members}</StackResourceSummaries>"))
            }
            "DescribeStackEvents" => answer_xml(action, &format!("<StackEvents>{}</StackEvents>", events(stack))),
            "DeleteStack" => {
                stack.status = "DELETE_IN_PROGRESS";
                stack.then = [stack.deletes_to.unwrap_or("DELETE_COMPLETE")].into();
                (200, "<DeleteStackResponse><ResponseMetadata/></DeleteStackResponse>".into())
            }
            _ => (400, error_xml("InvalidAction", &format!("Could not find operation {action}"))),
        }
    }

    fn log_events(&self, asked: &Value) -> (u16, String) {
        let Some(events) = self.logs.get(asked["logGroupName"].as_str().unwrap()) else {
            let message = "The specified log group does not exist.";
            return (400, json!({ "__type": "ResourceNotFoundException", "message": message }).to_string());
        };
        let words = asked["filterPattern"].as_str().unwrap().trim_matches('"');
        let since = asked["startTime"].as_i64().unwrap();
        let begin: usize = asked["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
        let found: Vec<_> =
            events.iter().filter(|(moment, text)| *moment >= since && text.contains(words)).skip(begin).collect();
        let event = |(number, (moment, text)): (usize, &&(i64, String))| json!({ "timestamp": moment, "message": text, "eventId": number.to_string(), "logStreamName": "s" });
        let page: Vec<Value> = (begin..).zip(&found).take(PAGE).map(event).collect();
        let mut answer = json!({ "events": page, "searchedLogStreams": [] });
        if found.len() > PAGE {
            answer["nextToken"] = (begin + PAGE).to_string().into();
        }
        (200, answer.to_string())
    }
}

fn events(stack: &Stack) -> String {
    let id = stack.id();
    let event = |(logical, kind, status, reason): &(&str, &str, &str, &str)| {
        let physical = if *kind == "AWS::CloudFormation::Stack" { id.as_str() } else { "" };
        format!(
            "<member><StackId>{id}</StackId><LogicalResourceId>{logical}</LogicalResourceId><PhysicalResourceId>{physical}\
             </PhysicalResourceId><ResourceType>{kind}</ResourceType><ResourceStatus>{status}</ResourceStatus>\
             <ResourceStatusReason>{reason}</ResourceStatusReason></member>"
        )
    };
    stack.events.iter().map(event).collect()
}
