//! The driver's door for other processes: HTTP/1.1 over a private Unix socket in the state folder, or over the loopback.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::http::{Closed, LONGEST_BODY, Services};

/// The socket's name in the state folder.
pub(crate) const SOCKET: &str = "cloud.sock";

/// Longest path that a socket address holds (107 bytes on Linux, less elsewhere).
const LONGEST_ADDRESS: usize = 100;

/// Binds the socket, in the place of one that a dead driver left. Only the holder of the lock may.
///
/// Connections queue from here on, so that a client that comes before the driver serves them waits.
pub(crate) fn bind(state_dir: &Path) -> io::Result<StdListener> {
    let path = state_dir.join(SOCKET);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = with_address(state_dir, |address| StdListener::bind(address))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects to the driver.
pub(crate) async fn connect(state_dir: &Path) -> io::Result<UnixStream> {
    let stream = with_address(state_dir, |address| std::os::unix::net::UnixStream::connect(address))?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Ends when the driver closes the connection: when it goes away, however it does.
pub(crate) async fn driver_gone(state_dir: &Path) {
    if let Ok(stream) = connect(state_dir).await {
        let mut buffer = [0; 1];
        // The driver never speaks first, so whatever wakes us is the end.
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => break,
            }
        }
    }
}

/// Calls with the socket's path, or with a shorter way to it where the path is too long for an address.
fn with_address<T>(state_dir: &Path, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = state_dir.join(SOCKET);
    if path.as_os_str().len() <= LONGEST_ADDRESS {
        return call(&path);
    }
    let folder = fs::File::open(state_dir)?;
    call(&short_path(&folder))
}

fn short_path(folder: &fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

/// Where other processes come in.
pub(crate) trait Door: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

/// Who may come in by a door, and what is answered before any service is asked.
pub(crate) trait Doorkeeper: Send + Sync + 'static {
    /// An answer of its own, or nothing: then the services answer.
    fn answer(&self, head: &Parts, body: &[u8]) -> Option<Response<Bytes>>;

    /// Why a request is turned away before its body is read.
    fn turn_away(&self, head: &Parts) -> Option<Response<Bytes>>;
}

/// The file's mode is keeper enough: only the user whose folder it is gets to the socket.
pub(crate) struct FileMode;

impl Doorkeeper for FileMode {
    fn answer(&self, _: &Parts, _: &[u8]) -> Option<Response<Bytes>> {
        None
    }

    fn turn_away(&self, _: &Parts) -> Option<Response<Bytes>> {
        None
    }
}

/// Serves the door until dropped.
pub(crate) async fn serve(door: impl Door, keeper: impl Doorkeeper, services: Arc<Services>) {
    let keeper = Arc::new(keeper);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = door.next() => match accepted {
                Ok(stream) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&keeper), Arc::clone(&services)));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: wait for a connection to end instead of spinning.
                    tracing::warn!(%error, "could not accept a client of the embedded cloud");
                    connections.join_next().await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    keeper: Arc<impl Doorkeeper>,
    services: Arc<Services>,
) {
    let service = service_fn(move |request| answer(request, Arc::clone(&keeper), Arc::clone(&services)));
    // A client that hangs up in mid-request is its own business; what it wrote is written.
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client of the embedded cloud hung up");
    }
}

async fn answer(
    request: Request<Incoming>,
    keeper: Arc<impl Doorkeeper>,
    services: Arc<Services>,
) -> Result<Response<Full<Bytes>>, Closed> {
    let (head, body) = request.into_parts();
    if let Some(refusal) = keeper.turn_away(&head) {
        return Ok(refusal.map(Full::new));
    }
    let Ok(body) = Limited::new(body, LONGEST_BODY).collect().await else {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return Ok(response);
    };
    let body = body.to_bytes();
    if let Some(answer) = keeper.answer(&head, &body) {
        return Ok(answer.map(Full::new));
    }
    // A closed cloud hangs up, so that its clients look for another driver.
    Ok(services.answer(Request::from_parts(head, body)).await?.map(Full::new))
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the embedded cloud was shut down")
    }
}

impl std::error::Error for Closed {}
