//! A change set becomes a commit under a ref of ours, and later a branch.

use std::path::Path;

use run_model::RunId;
use run_model::change_set::Overlay;
use run_model::run::branch_name;

use crate::tree::{Content, lay, mode};
use crate::{ForgeError, LocalGit};

impl LocalGit {
    /// Makes a commit of an overlay over `base_commit` and points `refs/gatewright/<run>` to it; gives the commit.
    ///
    /// Commit and tree depend on nothing but the arguments, so that doing it twice is doing it once. `when_ms` is the
    /// commit's time in milliseconds since the epoch. Kinds of files are kept; no working tree and no index is touched.
    ///
    /// # Errors
    /// [`ForgeError::Path`] if an edit goes through a link, into a submodule or over a folder,
    /// [`ForgeError::NothingChanged`], [`ForgeError::UnknownRef`], [`ForgeError::Git`].
    pub async fn publish(
        &self,
        run: &RunId,
        base_commit: &str,
        overlay: &Overlay,
        message: &str,
        when_ms: i64,
    ) -> Result<String, ForgeError> {
        let base = self.resolve(base_commit).await?;
        let tree = self.tree_with(&base, overlay).await?;
        if self.tree_of(&base).await? == tree {
            return Err(ForgeError::NothingChanged);
        }
        let date = format!("@{} +0000", when_ms.div_euclid(1000));
        let commit = self.call("commit-tree").args(["--no-gpg-sign", "-p", &base, "-F", "-", &tree]);
        let dated = commit.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date);
        let commit = dated.text(format!("{}\n", message.trim()).as_bytes()).await?;
        let points_to = self.ref_target(&published_ref(run)).await?;
        if points_to.as_deref() != Some(&commit) {
            self.move_ref(&published_ref(run), &commit, points_to.as_deref()).await?;
        }
        Ok(commit)
    }

    /// Makes the branch `gatewright/<run>` of the commit that the run published; gives the branch's name. The published ref
    /// goes in the same transaction: git would find the short name of the branch ambiguous beside it. A branch that is there
    /// already with that commit is left as it is.
    ///
    /// # Errors
    /// [`ForgeError::NotPublished`], [`ForgeError::BranchTaken`] if the branch points elsewhere, [`ForgeError::Git`].
    pub async fn land(&self, run: &RunId, commit: &str) -> Result<String, ForgeError> {
        let branch = branch_name(run);
        let (published, landed) = (published_ref(run), format!("refs/heads/{branch}"));
        match self.ref_target(&landed).await? {
            Some(there) if there == commit => return Ok(branch),
            Some(there) => return Err(ForgeError::BranchTaken { run: run.to_string(), branch, commit: there }),
            None => {}
        }
        if self.ref_target(&published).await?.as_deref() != Some(commit) {
            return Err(ForgeError::NotPublished { run: run.to_string(), commit: commit.to_owned() });
        }
        let transaction = format!("create {landed}\0{commit}\0delete {published}\0{commit}\0");
        self.call("update-ref").args(["--no-deref", "-z", "--stdin"]).bytes(transaction.as_bytes()).await?;
        Ok(branch)
    }

    /// Whether this commit of the run can still land, or has: neither its ref nor its branch was deleted or moved.
    ///
    /// # Errors
    /// [`ForgeError::Git`]
    pub async fn is_published(&self, run: &RunId, commit: &str) -> Result<bool, ForgeError> {
        let landed = format!("refs/heads/{}", branch_name(run));
        for name in [published_ref(run), landed] {
            if self.ref_target(&name).await?.as_deref() == Some(commit) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The tree of a commit, as git names it.
    ///
    /// # Errors
    /// [`ForgeError::UnknownRef`]
    pub async fn tree_of(&self, commit: &str) -> Result<String, ForgeError> {
        let tree = format!("{commit}^{{tree}}");
        let found = self.call("rev-parse").args(["--verify", "--quiet", "--end-of-options", &tree]).found().await?;
        found.ok_or_else(|| ForgeError::UnknownRef(commit.to_owned()))
    }

    /// Writes the tree of a commit with an overlay laid over it, by way of an index in a temporary folder.
    async fn tree_with(&self, base: &str, overlay: &Overlay) -> Result<String, ForgeError> {
        let scratch =
            tempfile::tempdir().map_err(|source| ForgeError::Io { action: "make a temporary folder", source })?;
        let entries = lay(self.tree(base).await?, overlay)?;
        let texts = entries.values().filter_map(|content| match content {
            Content::Written(_, text) => Some(*text),
            Content::Kept(_) => None,
        });
        let written = self.write_blobs(scratch.path(), &texts.collect::<Vec<_>>()).await?;
        let mut written = written.iter();
        let mut listing = Vec::new();
        for (path, content) in &entries {
            let (kind, object) = match content {
                Content::Kept(entry) => (entry.kind, entry.object.as_str()),
                Content::Written(kind, _) => (*kind, written.next().map_or("", String::as_str)),
            };
            listing.extend(format!("{} {object}\t", mode(kind)).bytes());
            listing.extend(path);
            listing.push(0);
        }
        let index = scratch.path().join("index");
        let fill = self.call("update-index").env("GIT_INDEX_FILE", &index).args(["-z", "--index-info"]);
        fill.bytes(&listing).await?;
        self.call("write-tree").env("GIT_INDEX_FILE", &index).text(&[]).await
    }

    /// Writes texts as objects, byte for byte; gives their names in the same order.
    async fn write_blobs(&self, scratch: &Path, texts: &[&str]) -> Result<Vec<String>, ForgeError> {
        let mut paths = String::new();
        for (number, text) in texts.iter().enumerate() {
            let file = scratch.join(number.to_string());
            tokio::fs::write(&file, text)
                .await
                .map_err(|source| ForgeError::Io { action: "write a temporary file", source })?;
            paths.push_str(&format!("{}\n", file.display()));
        }
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let hashed =
            self.call("hash-object").args(["-w", "--no-filters", "--stdin-paths"]).text(paths.as_bytes()).await?;
        Ok(hashed.lines().map(str::to_owned).collect())
    }

    pub(crate) async fn ref_target(&self, full_name: &str) -> Result<Option<String>, ForgeError> {
        self.call("rev-parse").args(["--verify", "--quiet", "--end-of-options", full_name]).found().await
    }

    /// Moves a ref from what it was seen to point to (`None`: nothing), or fails if somebody was first.
    async fn move_ref(&self, name: &str, to: &str, from: Option<&str>) -> Result<(), ForgeError> {
        let update = self.call("update-ref").args(["--no-deref", name, to, from.unwrap_or_default()]);
        update.bytes(&[]).await.map(|_| ())
    }
}

fn published_ref(run: &RunId) -> String {
    format!("refs/gatewright/{run}")
}
