//! What the caller and its confined child tell each other.
//!
//! Both hold one end of a socket that keeps message borders. The caller writes one [`Spec`]; each stage of the child
//! peeks at it and the last one takes it. The child writes one [`Report`] (a later one is ignored). When the
//! caller's end closes, the child ends.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use rustix::fd::AsFd;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::command::{Exit, Limits};
use crate::view::View;

/// The first argument of a process that is a stage of the child; the second names the stage.
pub(crate) const CHILD_ARGUMENT: &str = "__gatewright-sandbox";

/// Longest message: a socket buffer holds 208 KiB by default.
const MESSAGE_BYTES: usize = 192 * 1024;

/// How a command is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Confinement {
    /// Namespaces, with everything else on top.
    Full,
    /// Landlock and seccomp, without namespaces.
    Degraded,
    /// Limits only.
    None,
}

/// A process of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Outside: joins control groups and unshares.
    Outer,
    /// The first process of the namespaces: builds the view, watches, reaps.
    Init,
    /// Gives up every privilege and becomes the command.
    Launch,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Outer => "outer",
            Self::Init => "init",
            Self::Launch => "launch",
        }
    }
}

/// What to run; none only proves that the layers can be set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
}

/// All that the child needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) confinement: Confinement,
    pub(crate) program: Option<Program>,
    pub(crate) view: View,
    pub(crate) network: bool,
    /// Whether Landlock is worth setting up (ABI 3 and later).
    pub(crate) landlock: bool,
    pub(crate) limits: Limits,
    /// `cgroup.procs` files that the child enters.
    pub(crate) cgroups: Vec<PathBuf>,
}

/// What the child tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The program ended.
    Ended(Exit),
    /// Without a program: every layer was set up. The ABI of Landlock, 0 when there is none.
    Ready { landlock_abi: i32 },
    /// A layer could not be set up.
    Refused { step: String, message: String },
}

/// Writes one message.
pub(crate) fn tell(socket: impl AsFd, message: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command with its environment is too long"));
    }
    send(socket, &bytes, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Reads one message, if there is one; `PEEK` leaves it for the next reader.
pub(crate) fn hear<T: DeserializeOwned>(socket: impl AsFd, flags: RecvFlags) -> io::Result<T> {
    let mut bytes = vec![0; MESSAGE_BYTES];
    let received = loop {
        match recv(&socket, &mut bytes[..], flags) {
            // The other side closed with our message unread; what it wrote before is still there.
            Err(rustix::io::Errno::CONNRESET) => {}
            other => break other?.0,
        }
    };
    serde_json::from_slice(&bytes[..received]).map_err(io::Error::from)
}
