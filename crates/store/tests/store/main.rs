//! The store on a real table: the embedded cloud's, in a folder of its own for each test.

#![expect(clippy::unwrap_used, reason = "what a test builds on has to work")]

mod events;
mod gates;
mod grants;
mod jobs;
mod ledger;
mod listing;
mod objects;
mod runners;
mod runs;
mod scope;
mod sessions;
mod strange_rows;
mod tasks;
mod votes;
mod world;
