//! A GitHub on the loopback for tests: a server with a state, over a bare repository that the git program made.
//!
//! It holds one repository, `acme/app`. What it is asked to write are git's own objects and refs, so that a test looks at what the
//! repository is like afterwards, and `git fsck` judges it. It can be made to fail at any call.

#![allow(clippy::unwrap_used, reason = "a harness fails loudly")]

mod app;
mod bare;
mod changes;
mod handlers;
mod server;
mod state;
mod views;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use self::app::App;
use self::bare::Bare;
pub use self::state::{Asked, Fault, Pull};
use self::state::{Rights, State};

/// Who owns the repository.
pub const OWNER: &str = "acme";
/// What it is called.
pub const NAME: &str = "app";
const TOKEN: &str = "github_pat_test";

/// A GitHub that answers until it is dropped.
pub struct FakeGitHub {
    world: Arc<World>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

/// What the answers are made of.
struct World {
    api: String,
    bare: Bare,
    app: App,
    state: Mutex<State>,
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeGitHub {
    /// Begins to answer on a free port, over an empty repository.
    pub async fn start() -> Self {
        let (listener, address) = server::listen().await;
        let mut state = State::default();
        state.tokens.insert(TOKEN.into(), Rights::All);
        let (bare, app) = (Bare::new(), App::new());
        let world = World { api: format!("http://{address}"), bare, app, state: Mutex::new(state) };
        let world = Arc::new(world);
        Self { server: server::serve(listener, world.clone()), world, address }
    }

    /// Its address, as `github_api_url` has it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The secret that opens it by a token.
    pub fn token_secret(&self) -> Value {
        json!({ "github_token": TOKEN, "github_api_url": self.url() })
    }

    /// The secret that opens it by an App.
    pub fn app_secret(&self) -> Value {
        json!({ "github_app_id": app::ID, "github_private_key": self.world.app.pem(), "github_api_url": self.url() })
    }

    /// The bare repository, to which a test may push.
    pub fn git_dir(&self) -> &Path {
        self.world.bare.path()
    }

    /// Runs git in the bare repository and gives its trimmed output; fails if git does.
    pub fn git(&self, arguments: &[&str]) -> String {
        self.world.bare.git(arguments)
    }

    /// Commits text files on a branch, which is made if it is not there; gives the commit.
    pub fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        self.world.bare.commit(branch, files)
    }

    /// The next call of this method whose path holds these words meets the fault; faults on the same calls queue up.
    pub fn fail(&self, method: &str, path: &str, fault: Fault) {
        self.world.state().faults.push((method.to_owned(), path.to_owned(), fault));
    }

    /// After so many calls more, whatever comes next meets the fault, once. `None` takes that back.
    pub fn fail_after(&self, countdown: Option<(usize, Fault)>) {
        self.world.state().countdown = countdown;
    }

    /// The branch lets nothing in: this is missing. `None` lets everything in again.
    pub fn protect(&self, missing: Option<&str>) {
        self.world.state().missing = missing.map(str::to_owned);
    }

    /// Whether merge commits and squashed merges are allowed; merging by rebase always is.
    pub fn allow(&self, merge: bool, squash: bool) {
        let mut state = self.world.state();
        (state.allow_merge, state.allow_squash) = (merge, squash);
    }

    /// The repository takes no changes.
    pub fn archive(&self) {
        self.world.state().archived = true;
    }

    /// The repository has no draft pull requests.
    pub fn without_drafts(&self) {
        self.world.state().drafts = false;
    }

    /// The repository has more files than are listed at once.
    pub fn truncate(&self) {
        self.world.state().truncated = true;
    }

    /// The App's installation has only these permissions, as `contents:read`.
    pub fn grant(&self, permissions: &[&str]) {
        self.world.state().granted = permissions.iter().map(|right| (*right).to_owned()).collect();
    }

    /// Somebody closes the pull request.
    pub fn close(&self, number: u64) {
        let head = self.world.bare.commit_of(&self.world.state().pull(number).unwrap().branch.clone());
        let mut state = self.world.state();
        let pull = state.pull_mut(number).unwrap();
        pull.open = false;
        pull.last_head = head;
    }

    /// All pull requests, by number.
    pub fn pulls(&self) -> Vec<Pull> {
        self.world.state().pulls.clone()
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.world.state().asked.clone()
    }
}

impl Drop for FakeGitHub {
    fn drop(&mut self) {
        self.server.abort();
    }
}
