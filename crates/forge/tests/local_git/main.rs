//! Real repositories, the real git.

#![allow(clippy::unwrap_used, reason = "a test may panic, and so may what only tests use")]

mod repository;

mod landing;
mod opening;
mod publishing;
mod snapshots;
