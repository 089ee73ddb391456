#![doc = include_str!("../README.md")]

use std::cell::Cell;
use std::io::{self, Read};

use flate2::read::GzDecoder;

/// How large an archive may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes that it unpacks to, tar's own headers among them.
    pub bytes: u64,
    /// The most entries: files, links, folders.
    pub entries: u64,
}

impl Bounds {
    /// Those of any snapshot: a gigabyte of files with what tar adds to them.
    pub const SNAPSHOT: Self = Self { bytes: 3 << 29, entries: 500_000 };

    /// Those of an archive of which it is known how many files it has, and how many bytes they have together: no more than tar
    /// adds to them, with some folders.
    pub fn of_files(files: u64, bytes: u64) -> Self {
        let added = files.saturating_mul(4 << 10).saturating_add(1 << 20);
        Self { bytes: bytes.saturating_add(added), entries: files.saturating_add(1_000) }
    }
}

/// Why an archive was not unpacked to its end.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It grows beyond its bound: it is no archive of ours, or the bound has to be raised.
    #[error("it unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// It has more entries than its bound.
    #[error("it has more than {0} entries")]
    TooMany(u64),
    /// It is no gzip, no tar, or ends too early.
    #[error("it is damaged: {0}")]
    Damaged(#[from] io::Error),
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File {
        /// Whether anybody may execute it.
        executable: bool,
    },
    /// A symbolic link, with its target as it is written. It is data: follow it nowhere.
    Link(Vec<u8>),
}

/// A file or a link of an archive.
pub struct Entry<'a> {
    /// Its path as the archive spells it: it may lead anywhere.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// How long its content is, in bytes.
    pub bytes: u64,
    /// Its content, to be read once.
    pub content: &'a mut dyn Read,
}

/// Hands every file and link of a tar archive under gzip to `take`, in the archive's order.
///
/// # Errors
/// [`ArchiveError`], also where `take` failed because a bound ended what it read; else what `take` says.
pub fn unpack<E: From<ArchiveError>>(
    packed: impl Read,
    bounds: Bounds,
    mut take: impl FnMut(Entry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (left, exceeded) = (Cell::new(bounds.bytes), Cell::new(false));
    let told = |error: E| if exceeded.get() { ArchiveError::TooLarge(bounds.bytes).into() } else { error };
    let damaged = |problem: io::Error| told(ArchiveError::Damaged(problem).into());
    let counted = Counted { inner: GzDecoder::new(packed), left: &left, exceeded: &exceeded };
    let mut archive = tar::Archive::new(counted);
    let mut entries = 0;
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        entries += 1;
        if entries > bounds.entries {
            return Err(ArchiveError::TooMany(bounds.entries).into());
        }
        let kind = match entry.header().entry_type() {
            kind if kind.is_file() => Kind::File { executable: entry.header().mode().map_err(damaged)? & 0o111 != 0 },
            kind if kind.is_symlink() => {
                Kind::Link(entry.link_name_bytes().map_or_else(Vec::new, |target| target.into_owned()))
            }
            _ => continue,
        };
        let (path, bytes) = (entry.path_bytes().into_owned(), entry.size());
        take(Entry { path, kind, bytes, content: &mut entry }).map_err(told)?;
    }
    Ok(())
}

/// A reader that fails once it has given so many bytes.
struct Counted<'a, R> {
    inner: R,
    left: &'a Cell<u64>,
    exceeded: &'a Cell<bool>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.left.get()).unwrap_or(usize::MAX);
        if left > 0 || buffer.is_empty() {
            let most = buffer.len().min(left);
            let read = self.inner.read(&mut buffer[..most])?;
            self.left.set(self.left.get() - read as u64);
            return Ok(read);
        }
        // Exactly at the bound it may have come to its end.
        if self.inner.read(&mut buffer[..1])? == 0 {
            return Ok(0);
        }
        self.exceeded.set(true);
        Err(io::Error::other("the archive is larger than its bound"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            archive.append_data(&mut header, path, *content).unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, "link", "../target").unwrap();
        gzip(&archive.into_inner().unwrap())
    }

    /// What is in it, by path; fails as whoever reads it to the end does.
    fn read(packed: &[u8], bounds: Bounds) -> Result<Vec<(String, Kind, usize)>, ArchiveError> {
        let mut found = Vec::new();
        unpack(packed, bounds, |entry| {
            let mut content = Vec::new();
            entry.content.read_to_end(&mut content)?;
            found.push((String::from_utf8(entry.path).unwrap(), entry.kind, content.len()));
            Ok::<_, ArchiveError>(())
        })?;
        Ok(found)
    }

    #[test]
    fn files_and_links_are_handed_out_as_they_are() {
        let found = read(&packed(&[("a/b", b"12345")]), Bounds::SNAPSHOT).unwrap();
        let file = ("a/b".to_owned(), Kind::File { executable: true }, 5);
        assert_eq!(found, [file, ("link".to_owned(), Kind::Link(b"../target".to_vec()), 0)]);
    }

    #[test]
    fn a_bomb_is_refused_by_name_wherever_it_is_read() {
        let bomb = packed(&[("zeros", &vec![0; 8 << 20])]);
        assert!(bomb.len() < 16 << 10, "it is small: {}", bomb.len());
        let bounds = Bounds { bytes: 1 << 20, entries: 10 };
        assert!(matches!(read(&bomb, bounds), Err(ArchiveError::TooLarge(limit)) if limit == 1 << 20));
        let passed_over = unpack(bomb.as_slice(), bounds, |_| Ok::<_, ArchiveError>(()));
        assert!(matches!(passed_over, Err(ArchiveError::TooLarge(_))), "{passed_over:?}");
    }

    #[test]
    fn an_archive_that_just_fits_is_unpacked() {
        let archive = packed(&[("a", b"1")]);
        let mut plain = Vec::new();
        GzDecoder::new(archive.as_slice()).read_to_end(&mut plain).unwrap();
        let bounds = |bytes| Bounds { bytes, entries: 2 };
        assert_eq!(read(&archive, bounds(plain.len() as u64)).unwrap().len(), 2);
        let one_less = read(&packed(&[("a", b"1")]), Bounds { bytes: plain.len() as u64, entries: 1 });
        assert!(matches!(one_less, Err(ArchiveError::TooMany(1))), "{one_less:?}");
    }

    #[test]
    fn what_is_no_archive_is_damaged() {
        let whole = packed(&[("a", &[7; 4096])]);
        for broken in [b"no gzip".as_slice(), &gzip(b"no tar"), &whole[..whole.len() / 2]] {
            assert!(matches!(read(broken, Bounds::SNAPSHOT), Err(ArchiveError::Damaged(_))));
        }
    }
}
