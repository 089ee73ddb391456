//! The HTTP API of a stage on the loopback: each request goes to the real `api` as the gateway's event.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::runtime::Handle;

/// What becomes of a request instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection ends before the function is asked.
    Cut,
    /// The function did it, and nobody hears so.
    Deaf,
    /// 503.
    Outage,
}

/// The requests of routes that end so meet trouble.
type Troubles = Arc<Mutex<Vec<(String, Trouble)>>>;

/// Serves as long as the test's process lives.
pub struct Gateway {
    address: SocketAddr,
    troubles: Troubles,
    served: Receiver<(String, u64)>,
}

impl Gateway {
    /// Hands every request to `api`. Has to be called within a runtime of several threads, which runs the function.
    pub fn of(api: Arc<api::Context>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, troubles, runtime) = (listener.local_addr().unwrap(), Troubles::default(), Handle::current());
        let (sender, served) = mpsc::channel();
        let waiting = troubles.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let Some(event) = event(&connection) else { continue };
                let path = event["rawPath"].as_str().unwrap().to_owned();
                let met = waiting.lock().unwrap().clone();
                let trouble = met.iter().find(|(route, _)| path.ends_with(route.as_str())).map(|(_, trouble)| *trouble);
                let answer = match trouble {
                    Some(Trouble::Cut) => continue,
                    Some(Trouble::Outage) => {
                        json!({ "statusCode": 503, "body": "{\"message\":\"Service Unavailable\"}" })
                    }
                    Some(Trouble::Deaf) | None => runtime.block_on(api::handle(&api, event)).unwrap(),
                };
                if trouble != Some(Trouble::Deaf) {
                    respond(&mut connection, &answer);
                }
                // The test may have ended and listen no more.
                sender.send((path, answer["statusCode"].as_u64().unwrap())).ok();
            }
        });
        Self { address, troubles, served }
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on the requests of a route that ends so meet trouble.
    pub fn meets(&self, route: &str, trouble: Trouble) {
        self.troubles.lock().unwrap().push((route.into(), trouble));
    }

    /// From now on all is well.
    pub fn recovers(&self) {
        self.troubles.lock().unwrap().clear();
    }

    /// Waits until a request of a route that ends so has been served, and returns its status.
    pub fn until(&self, route: &str) -> u64 {
        self.served.iter().find(|(path, _)| path.ends_with(route)).unwrap().1
    }
}

/// A request as the gateway hands it over; `None` if the client went away.
fn event(connection: &TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (method, path) = line.split_once(' ')?;
    let (method, path) = (method.to_owned(), path.split(' ').next()?.to_owned());
    let mut headers = serde_json::Map::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.into());
    }
    let length = headers.get("content-length").and_then(|length| length.as_str()?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(json!({
        "version": "2.0", "rawPath": path, "headers": headers, "body": String::from_utf8(body).ok()?,
        "isBase64Encoded": false,
        "requestContext": {
            "stage": "$default", "domainName": "stage.example", "http": { "method": method, "path": path },
        },
    }))
}

fn respond(connection: &mut TcpStream, answer: &Value) {
    let (status, body) = (&answer["statusCode"], answer["body"].as_str().unwrap());
    let head = format!("HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\nconnection: close");
    // The runner may have been killed meanwhile.
    write!(connection, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok();
}
