//! Bytes in, bytes out: git's batch answers apart, and files into an archive that is the same on every machine.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use run_model::snapshot::EntryKind;
use tar::{Builder, EntryType, Header};

/// One time for every file of every archive, in seconds since the epoch: not zero, which some tools take for "none".
const TIME: u64 = 1_000_000_000;

/// A file on its way into an archive.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// A symbolic link's target, a submodule's commit, or a file's content.
    pub(crate) content: Vec<u8>,
}

pub(crate) fn pack(files: &[Packed]) -> io::Result<Vec<u8>> {
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::default());
    let mut archive = Builder::new(gzip);
    for file in files {
        let path = Path::new(OsStr::from_bytes(&file.path));
        let mut header = Header::new_gnu();
        header.set_mtime(TIME);
        header.set_mode(if matches!(file.kind, EntryKind::Executable | EntryKind::Submodule) { 0o755 } else { 0o644 });
        match file.kind {
            EntryKind::File | EntryKind::Executable => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(file.content.len() as u64);
                archive.append_data(&mut header, path, file.content.as_slice())?;
            }
            EntryKind::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                archive.append_link(&mut header, path, OsStr::from_bytes(&file.content))?;
            }
            EntryKind::Submodule => {
                header.set_entry_type(EntryType::Directory);
                header.set_size(0);
                archive.append_data(&mut header, path, io::empty())?;
            }
        }
    }
    archive.into_inner()?.finish()
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
