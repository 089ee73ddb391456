//! A snapshot of a commit: the listing of its tree says what there is, the archive brings most of it in one call.
//!
//! GitHub's archives are made by `git archive`, so what `.gitattributes` says about archives and line ends changes them. Every
//! file is therefore compared with the name that its tree gives it, and what is not there unchanged is fetched singly. The archive is
//! read twice, once to compare and once to pack, so that beside the two archives only what is fetched singly is held, however large the files are.

use std::collections::BTreeMap;
use std::io::{self, Read};

use archive::{ArchiveError, Bounds, Entry, Kind};
use run_model::snapshot::EntryKind;

use super::GitHub;
use super::api::part;
use super::tree::{blob_name, is_blob};
use crate::snapshot::{Taking, in_background, safe};
use crate::tree::{Tree, TreeEntry};
use crate::{ForgeError, MAX_SNAPSHOT_BYTES, Snapshot};

/// Where a file's content comes from.
enum Source {
    /// The archive's entry of this number.
    Archive(u64),
    /// What was fetched singly, or nothing for a submodule.
    Beside,
}

/// Every path of a commit, as the bytes that git keeps, sorted.
type Sorted = BTreeMap<Vec<u8>, (TreeEntry, Source)>;

impl GitHub {
    /// Takes a snapshot of a commit: byte for byte what [`crate::LocalGit::snapshot`] takes of it.
    ///
    /// # Errors
    /// [`ForgeError::TooLarge`], [`ForgeError::ArchiveTooLarge`], [`super::GitHubError::TooManyFiles`],
    /// [`super::GitHubError::TooManyLooseFiles`], [`super::GitHubError::LooseFilesTooLarge`], and as every call has them.
    pub async fn snapshot(&self, commit: &str) -> Result<Snapshot, ForgeError> {
        let tree = self.tree(&self.commit(commit).await?.tree.sha).await?;
        let (tree, dangerous) = safe(commit, tree)?;
        let route = self.route(&format!("/tarball/{}", part(commit)));
        let longest = self.room.map_or(MAX_SNAPSHOT_BYTES, |room| room.archive_bytes);
        let fetched = self.api.download("fetch the archive", &route, longest).await;
        let fetched = fetched.map_err(|error| match self.room {
            Some(room) => room.explain(commit, error),
            None => error.into(),
        })?;
        let sorting = move || sort(&fetched, tree).map(|sorted| (fetched, sorted));
        let (fetched, sorted) = in_background(sorting).await?;
        let missing: Tree = sorted
            .iter()
            .filter(|(_, (entry, source))| matches!(source, Source::Beside) && entry.kind != EntryKind::Submodule)
            .map(|(path, (entry, _))| (path.clone(), entry.clone()))
            .collect();
        let loose = if missing.is_empty() { BTreeMap::new() } else { self.loose(&missing).await? };
        let (commit, room) = (commit.to_owned(), self.room);
        in_background(move || {
            let mut taking = Taking::of(&commit, room);
            pack(&fetched, sorted, &loose, &mut taking)?;
            taking.finish(&dangerous)
        })
        .await
    }
}

fn damaged(problem: ArchiveError) -> ForgeError {
    let source = match problem {
        ArchiveError::Damaged(source) => source,
        other => io::Error::other(other),
    };
    ForgeError::Io { action: "unpack GitHub's archive", source }
}

/// An archive that was not read to its end, or a file of it that could not be packed.
enum Broken {
    Archive(ArchiveError),
    Packing(ForgeError),
}

impl From<ArchiveError> for Broken {
    fn from(problem: ArchiveError) -> Self {
        Self::Archive(problem)
    }
}

impl From<ForgeError> for Broken {
    fn from(error: ForgeError) -> Self {
        Self::Packing(error)
    }
}

/// A path without the folder that an archive has everything in.
fn inside(path: &[u8]) -> Option<&[u8]> {
    path.iter().position(|byte| *byte == b'/').map(|slash| &path[slash + 1..])
}

/// Finds out which files are in the archive as the tree has them. A name that is not UTF-8 stands in the tree with replacement
/// characters; the archive has its bytes.
fn sort(archive: &[u8], mut tree: Tree) -> Result<Sorted, ForgeError> {
    let (mut sorted, mut number) = (Sorted::new(), 0);
    let mut last: Option<Vec<u8>> = None;
    archive::unpack(archive, Bounds::SNAPSHOT, |entry| {
        number += 1;
        let Some(path) = inside(&entry.path).map(<[u8]>::to_vec) else { return Ok(()) };
        let Some((shown, wanted)) = tree.remove_entry(String::from_utf8_lossy(&path).as_bytes()) else { return Ok(()) };
        // Packed in the archive's order; what stands elsewhere is fetched.
        let in_order = last.as_ref().is_none_or(|last| *last < path);
        if in_order && wanted.kind != EntryKind::Submodule && bears(entry, &wanted).map_err(ArchiveError::from)? {
            last = Some(path.clone());
            sorted.insert(path, (wanted, Source::Archive(number)));
        } else if wanted.kind == EntryKind::Submodule {
            tree.insert(shown, wanted);
        } else {
            sorted.insert(path, (wanted, Source::Beside));
        }
        Ok(())
    })
    .map_err(damaged)?;
    sorted.extend(tree.into_iter().map(|(path, entry)| (path, (entry, Source::Beside))));
    Ok(sorted)
}

/// Whether an entry's content has the name that the tree gives it, at least once line ends that the archive made foreign are
/// git's own again.
fn bears(entry: Entry<'_>, wanted: &TreeEntry) -> io::Result<bool> {
    match &entry.kind {
        Kind::Link(target) => Ok(blob_name(target) == wanted.object),
        Kind::File { .. } if entry.bytes == wanted.bytes => is_blob(&wanted.object, wanted.bytes, entry.content),
        Kind::File { .. } => is_blob(&wanted.object, wanted.bytes, Plain::of(entry.content)),
    }
}

/// Packs every path in its order: what the archive has as it passes, the rest from beside it.
fn pack(
    archive: &[u8],
    sorted: Sorted,
    loose: &BTreeMap<String, Vec<u8>>,
    taking: &mut Taking<'_>,
) -> Result<(), ForgeError> {
    let mut rest = sorted.into_iter().peekable();
    let mut number = 0;
    archive::unpack(archive, Bounds::SNAPSHOT, |entry| {
        number += 1;
        while let Some((path, (wanted, _))) = rest.next_if(|(_, (_, source))| matches!(source, Source::Beside)) {
            beside(&path, &wanted, loose, taking)?;
        }
        let is_next = |found: &(Vec<u8>, (TreeEntry, Source))| matches!(found.1.1, Source::Archive(of) if of == number);
        let Some((path, (wanted, _))) = rest.next_if(is_next) else { return Ok(()) };
        match entry.kind {
            Kind::Link(target) => taking.add(&path, wanted.kind, target.len() as u64, target.as_slice())?,
            Kind::File { .. } if entry.bytes == wanted.bytes => {
                taking.add(&path, wanted.kind, wanted.bytes, entry.content)?;
            }
            Kind::File { .. } => taking.add(&path, wanted.kind, wanted.bytes, Plain::of(entry.content))?,
        }
        Ok(())
    })
    .map_err(|broken| match broken {
        Broken::Archive(problem) => damaged(problem),
        Broken::Packing(error) => error,
    })?;
    rest.try_for_each(|(path, (wanted, _))| beside(&path, &wanted, loose, taking))
}

fn beside(
    path: &[u8],
    wanted: &TreeEntry,
    loose: &BTreeMap<String, Vec<u8>>,
    taking: &mut Taking<'_>,
) -> Result<(), ForgeError> {
    let content = match wanted.kind {
        EntryKind::Submodule => wanted.object.as_bytes(),
        _ => loose.get(&wanted.object).map(Vec::as_slice).unwrap_or_default(),
    };
    taking.add(path, wanted.kind, content.len() as u64, content)
}

/// A text with git's own line ends: every carriage return before a line feed is left out.
struct Plain<R> {
    inner: R,
    /// A carriage return that was read and not given: what follows decides.
    held: bool,
    piece: Vec<u8>,
    at: usize,
}

impl<R: Read> Plain<R> {
    fn of(inner: R) -> Self {
        Self { inner, held: false, piece: Vec::new(), at: 0 }
    }

    /// Reads the next piece; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut raw = [0; 16 << 10];
        let read = self.inner.read(&mut raw)?;
        self.piece.clear();
        self.at = 0;
        for byte in &raw[..read] {
            if std::mem::take(&mut self.held) && *byte != b'\n' {
                self.piece.push(b'\r');
            }
            if *byte == b'\r' {
                self.held = true;
            } else {
                self.piece.push(*byte);
            }
        }
        if read == 0 && std::mem::take(&mut self.held) {
            self.piece.push(b'\r');
        }
        Ok(read > 0 || !self.piece.is_empty())
    }
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            if !self.fill()? {
                return Ok(0);
            }
        }
        let read = buffer.len().min(self.piece.len() - self.at);
        buffer[..read].copy_from_slice(&self.piece[self.at..self.at + read]);
        self.at += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let one = buffer.len().min(1);
            self.0.read(&mut buffer[..one])
        }
    }

    #[test]
    fn line_ends_become_gits_own_wherever_a_piece_ends() {
        for (foreign, plain) in
            [("a\r\nb\r\n", "a\nb\n"), ("\r\r\n", "\r\n"), ("a\rb", "a\rb"), ("a\r", "a\r"), ("", ""), ("\n", "\n")]
        {
            for slowly in [false, true] {
                let (mut read, bytes) = (Vec::new(), foreign.as_bytes());
                if slowly {
                    Plain::of(Slow(bytes)).read_to_end(&mut read)
                } else {
                    Plain::of(bytes).read_to_end(&mut read)
                }
                .unwrap();
                assert_eq!(read, plain.as_bytes(), "{foreign:?}");
            }
        }
    }
}
