#![doc = include_str!("../README.md")]

mod archive;
mod change;
mod error;
mod git;
#[cfg(feature = "github")]
pub mod github;
mod location;
mod open;
mod publish;
mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;
mod tree;

pub use change::{Landed, Landing, Publication, Published};
pub use error::ForgeError;
pub use git::OLDEST_GIT;
pub use location::{Location, RemoteName};
pub use open::LocalGit;
pub use snapshot::{MAX_SNAPSHOT_BYTES, Room, Snapshot};
pub use tree::text;
