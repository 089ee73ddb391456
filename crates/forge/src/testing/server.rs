//! The server of a fake GitHub.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::World;
use super::handlers::{Answer, answer};
use super::state::{Asked, Fault};

pub(super) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(super) fn serve(listener: TcpListener, world: Arc<World>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let world = world.clone();
            let service = service_fn(move |request| respond(world.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    })
}

async fn respond(world: Arc<World>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let key = parts.headers.get(AUTHORIZATION).and_then(|key| key.to_str().ok()).map(str::to_owned);
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        with_key: key.is_some(),
    };
    let fault = {
        let mut state = world.state();
        state.asked.push(asked.clone());
        state.fault(&asked.method, &asked.path)
    };
    let answer = match fault {
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Refuse(status, message, headers)) => {
            let answer = Answer::json(
                status,
                json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }),
            );
            headers.iter().fold(answer, |answer, (name, value)| answer.with(name, value))
        }
        fault => {
            let lost = matches!(fault, Some(Fault::Lost));
            let done = tokio::task::spawn_blocking(move || {
                if let Some(Fault::After(first)) = fault {
                    first();
                }
                answer(&world, &asked, key.as_deref())
            });
            let done = done.await.unwrap();
            if lost { Answer::json(502, json!({ "message": "Server Error" })) } else { done }
        }
    };
    Ok(answer.into_response())
}
