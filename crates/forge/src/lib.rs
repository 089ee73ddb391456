#![doc = include_str!("../README.md")]

mod archive;
mod error;
mod git;
mod open;
mod publish;
mod snapshot;
mod tree;

pub use error::ForgeError;
pub use open::LocalGit;
pub use snapshot::{MAX_SNAPSHOT_BYTES, Snapshot};
