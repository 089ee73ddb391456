//! A Lambda Runtime API on the loopback, and a function's program that it drives.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
pub use lambda_runtime::Diagnostic;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What a function answered: its output, or the name and message of its error.
pub type Answer = Result<Value, Diagnostic>;

struct Invocation {
    id: String,
    event: Value,
    deadline_ms: i64,
}

struct Exchange {
    queue: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

/// A Lambda Runtime API that answers on the loopback until it is dropped.
pub struct RuntimeApi {
    address: SocketAddr,
    invocations: mpsc::UnboundedSender<Invocation>,
    invoked: AtomicU64,
    exchange: Arc<Exchange>,
    server: JoinHandle<()>,
}

impl RuntimeApi {
    /// Begins to answer on a free port.
    ///
    /// # Errors
    /// If the loopback cannot be listened on.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (invocations, queue) = mpsc::unbounded_channel();
        let exchange = Arc::new(Exchange { queue: tokio::sync::Mutex::new(queue), waiting: Mutex::default() });
        let server = tokio::spawn(accept(listener, Arc::clone(&exchange)));
        Ok(Self { address, invocations, invoked: AtomicU64::new(0), exchange, server })
    }

    /// The variables that a function's program finds on Lambda, with credentials that open nothing.
    pub fn environment(&self, function: &str) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_LAMBDA_RUNTIME_API", self.address.to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", function.to_owned()),
            ("_HANDLER", function.to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "testing".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "testing".to_owned()),
        ]
    }

    /// Hands an event to the function and waits for what it answers; for ever if nobody asks for events.
    pub async fn invoke(&self, event: &Value, deadline_ms: i64) -> Answer {
        let id = format!("invocation-{}", self.invoked.fetch_add(1, Ordering::Relaxed) + 1);
        let (answer, answered) = oneshot::channel();
        self.exchange.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), answer);
        let gone = |_| Diagnostic { error_type: "Testing.Gone".into(), error_message: "the server is gone".into() };
        let invocation = Invocation { id, event: event.clone(), deadline_ms };
        self.invocations.send(invocation).map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))?
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, exchange: Arc<Exchange>) {
    while let Ok((stream, _)) = listener.accept().await {
        let exchange = Arc::clone(&exchange);
        let service = service_fn(move |request| {
            let exchange = Arc::clone(&exchange);
            async move { Ok::<_, Infallible>(exchange.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A function that is killed drops its connection; that is no failure of the test.
        tokio::spawn(async move { connection.await.ok() });
    }
}

impl Exchange {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_start_matches("/2018-06-01/runtime/").split('/').collect();
        let method = request.method().clone();
        match (method, parts.as_slice()) {
            (Method::GET, ["invocation", "next"]) => self.next().await,
            (Method::POST, ["invocation", id, end @ ("response" | "error")]) => {
                let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let answer = read_answer(&body, *end == "response");
                let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(*id);
                let delivered = answer.and_then(|answer| waiting.map(|waiting| waiting.send(answer)));
                status(if delivered.is_some() { StatusCode::ACCEPTED } else { StatusCode::BAD_REQUEST })
            }
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    /// The next invocation, whenever it comes.
    async fn next(&self) -> Response<Full<Bytes>> {
        let Some(Invocation { id, event, deadline_ms }) = self.queue.lock().await.recv().await else {
            return status(StatusCode::GONE);
        };
        let response = Response::builder()
            .header("lambda-runtime-aws-request-id", id)
            .header("lambda-runtime-deadline-ms", deadline_ms)
            .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:testing")
            .body(Full::from(event.to_string()));
        response.unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

/// `None` if the body is not what the Runtime API asks for.
fn read_answer(body: &[u8], is_output: bool) -> Option<Answer> {
    if is_output {
        return serde_json::from_slice(body).map(Ok).ok();
    }
    serde_json::from_slice(body).map(Err).ok()
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// A function's program that ended while it should have answered.
#[derive(Debug, thiserror::Error)]
#[error("the function's program ended with {0} before it answered")]
pub struct Ended(pub ExitStatus);

/// A function's program as it runs on Lambda. Dropping it kills it.
pub struct FunctionProcess {
    api: RuntimeApi,
    child: Child,
}

impl FunctionProcess {
    /// Starts the program with the variables of Lambda beside those of the command, which count where both have one. What it prints is kept until
    /// [`FunctionProcess::stop`], so it must be less than a pipe holds (64 KiB).
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn start(mut command: Command, function: &str) -> io::Result<Self> {
        let api = RuntimeApi::start().await?;
        let given: Vec<_> = command.as_std().get_envs().map(|(name, _)| name.to_owned()).collect();
        command.envs(api.environment(function).into_iter().filter(|(name, _)| given.iter().all(|given| given != name)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(Self { api, child })
    }

    /// Hands an event to the program and waits for what it answers.
    ///
    /// # Errors
    /// [`Ended`] if the program ends instead.
    ///
    /// # Panics
    /// If the system loses track of the program.
    pub async fn invoke(&mut self, event: &Value, deadline_ms: i64) -> Result<Answer, Ended> {
        tokio::select! {
            answer = self.api.invoke(event, deadline_ms) => Ok(answer),
            status = self.child.wait() => Err(Ended(status.expect("a child of this process can be waited for"))),
        }
    }

    /// The most memory that the program has had so far, in bytes; `None` if it is gone, or this is not Linux.
    pub fn peak_memory_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        peak.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
    }

    /// Kills the program and returns what it printed.
    ///
    /// # Errors
    /// If it cannot be killed or its output cannot be read.
    pub async fn stop(mut self) -> io::Result<Output> {
        self.child.start_kill()?;
        self.child.wait_with_output().await
    }
}
