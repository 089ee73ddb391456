//! The entries of a commit's tree, and edits among them.

use std::collections::{BTreeMap, BTreeSet};

use run_model::RepoPath;
use run_model::change_set::{Edit, Overlay};
use run_model::snapshot::EntryKind;

use crate::{ForgeError, LocalGit};

/// What a tree says of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreeEntry {
    pub(crate) kind: EntryKind,
    pub(crate) object: String,
    pub(crate) bytes: u64,
}

/// Every path of a tree, as the bytes that git keeps, sorted.
pub(crate) type Tree = BTreeMap<Vec<u8>, TreeEntry>;

/// What stands for the content of a written file until git has it.
pub(crate) enum Content<'a> {
    /// As the tree has it.
    Kept(TreeEntry),
    /// New text under a kind.
    Written(EntryKind, &'a str),
}

/// The mode by which git spells a kind.
pub(crate) fn mode(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "100644",
        EntryKind::Executable => "100755",
        EntryKind::Symlink => "120000",
        EntryKind::Submodule => "160000",
    }
}

/// The kind that git spells as this mode.
pub(crate) fn kind_of(mode: &str) -> EntryKind {
    match mode {
        "100755" => EntryKind::Executable,
        "120000" => EntryKind::Symlink,
        "160000" => EntryKind::Submodule,
        _ => EntryKind::File,
    }
}

impl LocalGit {
    pub(crate) async fn tree(&self, commit: &str) -> Result<Tree, ForgeError> {
        let listed = self.call("ls-tree").args(["-r", "-z", "-l", "--full-tree", commit]).bytes(&[]).await?;
        let strange = |line: &[u8]| ForgeError::Git {
            command: "ls-tree".into(),
            said: format!("cannot read {:?}", String::from_utf8_lossy(line)),
        };
        let lines = listed.split(|byte| *byte == 0).filter(|line| !line.is_empty());
        lines.map(|line| entry(line).ok_or_else(|| strange(line))).collect()
    }

    /// The paths of all files of a commit.
    ///
    /// # Errors
    /// [`ForgeError::Git`]
    pub async fn paths_at(&self, commit: &str) -> Result<Vec<String>, ForgeError> {
        let listed = self.call("ls-tree").args(["-r", "-z", "--name-only", "--full-tree", commit]).bytes(&[]).await?;
        Ok(paths(&listed))
    }

    /// The text of a file as a commit has it; `None` if the commit has nothing of this name.
    ///
    /// # Errors
    /// [`ForgeError::NoFile`] for a folder or a submodule, [`ForgeError::NoText`] for what is not UTF-8, [`ForgeError::Git`].
    pub async fn text_at(&self, commit: &str, path: &str) -> Result<Option<String>, ForgeError> {
        let file = format!("{commit}:{path}");
        match self.call("cat-file").args(["-t", &file]).found().await?.as_deref() {
            None => return Ok(None),
            Some("blob") => {}
            Some(_) => return Err(ForgeError::NoFile(path.to_owned())),
        }
        let bytes = self.call("cat-file").args(["blob", &file]).bytes(&[]).await?;
        text(path, bytes).map(Some)
    }
}

/// A file's bytes as text.
///
/// # Errors
/// [`ForgeError::NoText`]
pub fn text(path: &str, bytes: Vec<u8>) -> Result<String, ForgeError> {
    String::from_utf8(bytes)
        .map_err(|error| ForgeError::NoText { path: path.to_owned(), offset: error.utf8_error().valid_up_to() })
}

/// Paths between zero bytes, each once.
pub(crate) fn paths(listed: &[u8]) -> Vec<String> {
    let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// `100644 blob OBJECT    SIZE\tPATH`; a submodule has the size `-`.
fn entry(line: &[u8]) -> Option<(Vec<u8>, TreeEntry)> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let mut words = std::str::from_utf8(&line[..tab]).ok()?.split_ascii_whitespace();
    let (mode, _, object, bytes) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let entry = TreeEntry { kind: kind_of(mode), object: object.to_owned(), bytes: bytes.parse().unwrap_or(0) };
    Some((line[tab + 1..].to_vec(), entry))
}

/// Lays an overlay over a tree. A written file keeps its kind, a new one is a plain file.
pub(crate) fn lay<'a>(tree: Tree, overlay: &'a Overlay) -> Result<BTreeMap<Vec<u8>, Content<'a>>, ForgeError> {
    let mut laid: BTreeMap<Vec<u8>, Content<'a>> =
        tree.into_iter().map(|(path, entry)| (path, Content::Kept(entry))).collect();
    let deleted = |edit: &Edit| matches!(edit, Edit::Delete);
    for (path, _) in overlay.0.iter().filter(|(_, edit)| deleted(edit)) {
        if kind_at(&laid, path.as_str().as_bytes()) == Some(EntryKind::Submodule) {
            return Err(refused(path, "it is a submodule"));
        }
        laid.remove(path.as_str().as_bytes());
    }
    for (path, edit) in &overlay.0 {
        let Edit::Write(content) = edit else { continue };
        let kind = match kind_at(&laid, path.as_str().as_bytes()) {
            None => EntryKind::File,
            Some(EntryKind::Symlink) => return Err(refused(path, "it is a symbolic link, and edits never follow one")),
            Some(EntryKind::Submodule) => return Err(refused(path, "it is a submodule")),
            Some(kind) => kind,
        };
        laid.insert(path.as_str().as_bytes().to_vec(), Content::Written(kind, content));
    }
    overlay.0.iter().filter(|(_, edit)| !deleted(edit)).try_for_each(|(path, _)| check_place(&laid, path))?;
    Ok(laid)
}

fn kind_at(laid: &BTreeMap<Vec<u8>, Content<'_>>, path: &[u8]) -> Option<EntryKind> {
    laid.get(path).map(|content| match content {
        Content::Kept(entry) => entry.kind,
        Content::Written(kind, _) => *kind,
    })
}

/// A file stands neither below another entry nor in the place of a folder.
fn check_place(laid: &BTreeMap<Vec<u8>, Content<'_>>, path: &RepoPath) -> Result<(), ForgeError> {
    let text = path.as_str();
    for (end, _) in text.match_indices('/') {
        let above = &text[..end];
        let problem = match kind_at(laid, above.as_bytes()) {
            None => continue,
            Some(EntryKind::Symlink) => format!("{above} is a symbolic link, and edits never follow one"),
            Some(EntryKind::Submodule) => format!("{above} is a submodule"),
            Some(EntryKind::File | EntryKind::Executable) => format!("{above} is a file"),
        };
        return Err(refused(path, problem));
    }
    let folder = format!("{text}/").into_bytes();
    let below = laid.range(folder.clone()..).next().is_some_and(|(other, _)| other.starts_with(&folder));
    if below { Err(refused(path, "it is a folder")) } else { Ok(()) }
}

fn refused(path: &RepoPath, problem: impl Into<String>) -> ForgeError {
    ForgeError::Path { path: path.clone(), problem: problem.into() }
}
