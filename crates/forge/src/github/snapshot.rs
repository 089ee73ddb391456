//! A snapshot of a commit: the listing of its tree says what there is, the archive brings most of it in one call.
//!
//! GitHub's archives are made by `git archive`, so what `.gitattributes` says about archives and line ends changes them. Every
//! file is therefore compared with the name that its tree gives it, and what is not there unchanged is fetched singly.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::read::GzDecoder;
use run_model::snapshot::EntryKind;

use super::GitHub;
use super::api::part;
use super::tree::blob_name;
use crate::archive::Packed;
use crate::snapshot::is_safe;
use crate::tree::Tree;
use crate::{ForgeError, MAX_SNAPSHOT_BYTES, Snapshot};

/// The archive's files by the name that a listing shows: the name's bytes, and the content.
type Unpacked = BTreeMap<String, (Vec<u8>, Vec<u8>)>;

impl GitHub {
    /// Takes a snapshot of a commit: byte for byte what [`crate::LocalGit::snapshot`] takes of it.
    ///
    /// # Errors
    /// [`ForgeError::TooLarge`], [`super::GitHubError::TooManyFiles`], [`super::GitHubError::TooManyLooseFiles`], and as every call has them.
    pub async fn snapshot(&self, commit: &str) -> Result<Snapshot, ForgeError> {
        let tree = self.tree(&self.commit(commit).await?.tree.sha).await?;
        let (tree, dangerous): (Tree, Tree) = tree.into_iter().partition(|(path, _)| is_safe(path));
        let bytes = tree.values().map(|entry| entry.bytes).sum();
        if bytes > MAX_SNAPSHOT_BYTES {
            return Err(ForgeError::TooLarge { commit: commit.to_owned(), bytes, limit: MAX_SNAPSHOT_BYTES });
        }
        let archive =
            self.api.download("fetch the archive", &self.route(&format!("/tarball/{}", part(commit)))).await?;
        let unpacked = tokio::task::spawn_blocking(move || unpack(&archive)).await;
        let damaged = |source| ForgeError::Io { action: "unpack GitHub's archive", source };
        let (files, missing) = compare(tree, unpacked.map_err(io::Error::other).flatten().map_err(damaged)?);
        let loose = if missing.is_empty() { BTreeMap::new() } else { self.loose(&missing).await? };
        Snapshot::of(complete(files, missing, &loose), &dangerous).await
    }
}

/// Files and links of a tar archive that has everything in one folder.
fn unpack(archive: &[u8]) -> io::Result<Unpacked> {
    let (mut files, mut left) = (Unpacked::new(), MAX_SNAPSHOT_BYTES);
    for entry in tar::Archive::new(GzDecoder::new(archive)).entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let Some(slash) = path.iter().position(|byte| *byte == b'/') else { continue };
        let path = path[slash + 1..].to_vec();
        let kind = entry.header().entry_type();
        let content = if kind.is_file() {
            let mut content = Vec::new();
            entry.by_ref().take(left).read_to_end(&mut content)?;
            left -= content.len() as u64;
            content
        } else if kind.is_symlink() {
            entry.link_name_bytes().map_or_else(Vec::new, |target| target.into_owned())
        } else {
            continue;
        };
        files.insert(String::from_utf8_lossy(&path).into_owned(), (path, content));
    }
    Ok(files)
}

/// The files that are in the archive as the tree has them, and the entries that are not.
fn compare(tree: Tree, mut unpacked: Unpacked) -> (Vec<Packed>, Tree) {
    let (mut files, mut missing) = (Vec::new(), Tree::new());
    for (path, entry) in tree {
        if entry.kind == EntryKind::Submodule {
            files.push(Packed { path, kind: entry.kind, content: entry.object.into_bytes() });
            continue;
        }
        let found = unpacked.remove(&*String::from_utf8_lossy(&path));
        let path = found.as_ref().map_or(path, |(bytes, _)| bytes.clone());
        match found.and_then(|(_, content)| as_named(content, &entry.object)) {
            Some(content) => files.push(Packed { path, kind: entry.kind, content }),
            None => drop(missing.insert(path, entry)),
        }
    }
    (files, missing)
}

/// The content, if it bears the name; line ends that the archive made foreign are made git's own.
fn as_named(content: Vec<u8>, name: &str) -> Option<Vec<u8>> {
    if blob_name(&content) == name {
        return Some(content);
    }
    let mut plain = Vec::with_capacity(content.len());
    for (at, byte) in content.iter().enumerate() {
        if !(*byte == b'\r' && content.get(at + 1) == Some(&b'\n')) {
            plain.push(*byte);
        }
    }
    (blob_name(&plain) == name).then_some(plain)
}

fn complete(mut files: Vec<Packed>, missing: Tree, loose: &BTreeMap<String, Vec<u8>>) -> Vec<Packed> {
    for (path, entry) in missing {
        let content = loose.get(&entry.object).cloned().unwrap_or_default();
        files.push(Packed { path, kind: entry.kind, content });
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}
