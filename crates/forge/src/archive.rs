//! Bytes in, bytes out: git's batch answers apart, and files into an archive that is the same on every machine.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use run_model::snapshot::EntryKind;
use tar::{Builder, EntryType, Header};

/// One time for every file of every archive, in seconds since the epoch: not zero, which some tools take for "none".
const TIME: u64 = 1_000_000_000;

/// An archive in the making: entries come in the order of their paths, one at a time.
pub(crate) struct Packer(Builder<GzEncoder<Vec<u8>>>);

impl Packer {
    pub(crate) fn new() -> Self {
        let gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::default());
        Self(Builder::new(gzip))
    }

    /// Adds an entry. `content` is a file's; a symbolic link's is its target; a submodule has none.
    pub(crate) fn add(&mut self, path: &[u8], kind: EntryKind, bytes: u64, mut content: impl Read) -> io::Result<()> {
        let path = Path::new(OsStr::from_bytes(path));
        let mut header = Header::new_gnu();
        header.set_mtime(TIME);
        header.set_mode(if matches!(kind, EntryKind::Executable | EntryKind::Submodule) { 0o755 } else { 0o644 });
        match kind {
            EntryKind::File | EntryKind::Executable => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(bytes);
                self.0.append_data(&mut header, path, content)
            }
            EntryKind::Symlink => {
                let mut target = Vec::new();
                content.read_to_end(&mut target)?;
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                self.0.append_link(&mut header, path, OsStr::from_bytes(&target))
            }
            EntryKind::Submodule => {
                header.set_entry_type(EntryType::Directory);
                header.set_size(0);
                self.0.append_data(&mut header, path, io::empty())
            }
        }
    }

    /// How long the archive is so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.get_ref().get_ref().len() as u64
    }

    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        self.0.into_inner()?.finish()
    }
}

/// The objects that `git cat-file --batch` answered: `OBJECT TYPE SIZE`, content, line end, for each.
///
/// # Errors
/// The first object that is missing.
pub(crate) fn split_batch(mut answered: &[u8]) -> Result<BTreeMap<&str, &[u8]>, String> {
    let mut objects = BTreeMap::new();
    while let Some(end) = answered.iter().position(|byte| *byte == b'\n') {
        let heading = std::str::from_utf8(&answered[..end]).unwrap_or_default();
        let mut words = heading.split(' ');
        let object = words.next().unwrap_or_default();
        let size = words.nth(1).and_then(|size| size.parse::<usize>().ok()).ok_or(object)?;
        let content = answered.get(end + 1..end + 1 + size).ok_or(object)?;
        objects.insert(object, content);
        answered = answered.get(end + size + 2..).unwrap_or_default();
    }
    Ok(objects)
}
