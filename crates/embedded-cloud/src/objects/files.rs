//! Objects as files: one file holds an object's head and its bytes, and takes its place by one rename.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::durable::{DurableWriter, create_folder, damaged, sync_parent};

/// What may stand in a file name as it is. The dot may not: `.` and `..` are keys like any other.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// Ends the name of a folder, so that the keys `a` and `a/b` can both exist. Never part of an encoded name.
const FOLDER_END: char = '+';

/// What an empty segment, as in `a//b`, is called. A lone `%` is never part of an encoded name.
const EMPTY_SEGMENT: &str = "%";

/// What is known of an object besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectHead {
    pub(crate) etag: String,
    pub(crate) size: u64,
    pub(crate) modified_ms: i64,
    /// Headers that the writer gave and every reader gets back.
    pub(crate) headers: BTreeMap<String, String>,
}

/// Whether a write may take the place of an object that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overwrite {
    Yes,
    No,
}

/// The buckets of one state folder. Blocks on the disk.
#[derive(Debug)]
pub(crate) struct ObjectFiles {
    root: PathBuf,
    writer: Arc<DurableWriter>,
    /// Held while names change, so that no folder vanishes under a file on its way into it.
    names: Mutex<()>,
}

impl ObjectFiles {
    pub(crate) fn open(root: PathBuf, writer: Arc<DurableWriter>) -> io::Result<Self> {
        create_folder(&root)?;
        Ok(ObjectFiles { root, writer, names: Mutex::new(()) })
    }

    pub(crate) fn create_bucket(&self, bucket: &str) -> io::Result<()> {
        create_folder(&self.bucket_path(bucket))
    }

    pub(crate) fn has_bucket(&self, bucket: &str) -> bool {
        self.bucket_path(bucket).is_dir()
    }

    /// Stores an object; false when there is one already that must not be overwritten.
    pub(crate) fn put(
        &self,
        (bucket, key): (&str, &str),
        body: &[u8],
        head: &ObjectHead,
        overwrite: Overwrite,
    ) -> io::Result<bool> {
        let mut first_line = serde_json::to_vec(head)?;
        first_line.push(b'\n');
        let path = self.object_path(bucket, key);
        let file = self.writer.write(&[&first_line, body])?;
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        if overwrite == Overwrite::No && path.exists() {
            return Ok(false);
        }
        self.writer.persist(file, &path)?;
        Ok(true)
    }

    /// The object's head and bytes, if it exists.
    pub(crate) fn get(&self, bucket: &str, key: &str) -> io::Result<Option<(ObjectHead, Vec<u8>)>> {
        let Some((head, mut rest)) = open_object(&self.object_path(bucket, key))? else { return Ok(None) };
        let mut body = Vec::with_capacity(usize::try_from(head.size).unwrap_or_default());
        rest.read_to_end(&mut body)?;
        Ok(Some((head, body)))
    }

    /// The object's head, if it exists.
    pub(crate) fn head(&self, bucket: &str, key: &str) -> io::Result<Option<ObjectHead>> {
        Ok(open_object(&self.object_path(bucket, key))?.map(|(head, _)| head))
    }

    /// Removes an object, if it exists, and the folders that only it kept.
    pub(crate) fn delete(&self, bucket: &str, key: &str) -> io::Result<()> {
        let path = self.object_path(bucket, key);
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::remove_file(&path) {
            Err(error) if is_absence(&error) => return Ok(()),
            removed => removed?,
        }
        sync_parent(&path)?;
        let bucket_path = self.bucket_path(bucket);
        let mut folder = path.parent();
        while let Some(empty) = folder.filter(|folder| *folder != bucket_path) {
            // A folder that still holds something refuses to go, which ends the walk.
            if fs::remove_dir(empty).is_err() {
                break;
            }
            folder = empty.parent();
        }
        Ok(())
    }

    /// All keys with a prefix, in S3's order: by bytes.
    pub(crate) fn keys(&self, bucket: &str, prefix: &str) -> io::Result<Vec<String>> {
        let mut keys = Vec::new();
        // Whole segments of the prefix are folders: what lies beside them need not be read.
        let (folders, _) = prefix.rsplit_once('/').map_or(("", prefix), |(folders, rest)| (folders, rest));
        let (start, path) = match prefix.contains('/') {
            true => (format!("{folders}/"), self.folder_path(bucket, folders)),
            false => (String::new(), self.bucket_path(bucket)),
        };
        collect_keys(&path, &start, &mut keys)?;
        keys.retain(|key| key.starts_with(prefix));
        keys.sort_unstable();
        Ok(keys)
    }

    fn bucket_path(&self, bucket: &str) -> PathBuf {
        self.root.join(encoded(bucket))
    }

    fn folder_path(&self, bucket: &str, folders: &str) -> PathBuf {
        let mut path = self.bucket_path(bucket);
        path.extend(folders.split('/').map(|segment| format!("{}{FOLDER_END}", encoded(segment))));
        path
    }

    fn object_path(&self, bucket: &str, key: &str) -> PathBuf {
        match key.rsplit_once('/') {
            Some((folders, name)) => self.folder_path(bucket, folders).join(encoded(name)),
            None => self.bucket_path(bucket).join(encoded(key)),
        }
    }
}

/// The entity tag of an object: S3 promises an opaque value that changes with the content.
pub(crate) fn etag_of(body: &[u8]) -> String {
    format!("\"{}\"", hex::encode(&Sha256::digest(body)[..16]))
}

fn encoded(segment: &str) -> String {
    match segment {
        "" => EMPTY_SEGMENT.into(),
        _ => utf8_percent_encode(segment, ENCODED).to_string(),
    }
}

fn decoded(name: &str) -> String {
    match name {
        EMPTY_SEGMENT => String::new(),
        _ => percent_decode_str(name).decode_utf8_lossy().into_owned(),
    }
}

fn open_object(path: &Path) -> io::Result<Option<(ObjectHead, BufReader<File>)>> {
    let file = match File::open(path) {
        Err(error) if is_absence(&error) => return Ok(None),
        opened => opened?,
    };
    let mut reader = BufReader::new(file);
    let mut first_line = Vec::new();
    reader.read_until(b'\n', &mut first_line)?;
    let head = serde_json::from_slice(&first_line)
        .map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, damaged(path, &problem)))?;
    Ok(Some((head, reader)))
}

fn collect_keys(folder: &Path, start: &str, keys: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if is_absence(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        match name.strip_suffix(FOLDER_END) {
            Some(segment) => collect_keys(&entry.path(), &format!("{start}{}/", decoded(segment)), keys)?,
            None => keys.push(format!("{start}{}", decoded(&name))),
        }
    }
    Ok(())
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commits::Commits;

    fn files(folder: &Path) -> ObjectFiles {
        let writer = Arc::new(DurableWriter::open(folder.join("incoming"), Commits::default()).unwrap());
        ObjectFiles::open(folder.join("objects"), writer).unwrap()
    }

    fn head() -> ObjectHead {
        ObjectHead { etag: etag_of(b""), size: 0, modified_ms: 0, headers: BTreeMap::new() }
    }

    #[test]
    fn a_damaged_object_is_named_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        files.create_bucket("b").unwrap();
        files.put(("b", "a"), b"", &head(), Overwrite::No).unwrap();
        let path = folder.path().join("objects/b/a");
        fs::write(&path, "{ half").unwrap();
        let said = open_object(&path).unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("{} is damaged (", path.display())) && said.contains("move it away"),
            "{said}"
        );
    }

    #[test]
    fn any_key_stays_in_its_bucket_and_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        files.create_bucket("b").unwrap();
        let mut keys = ["a", "a/b", "a/", "a//b", "/", "../../x", "..", ".", "ä +%/\n", "a+", "a+/b", "%", "%/c"];
        for key in keys {
            assert!(files.put(("b", key), b"", &head(), Overwrite::No).unwrap(), "{key}");
            assert!(!files.put(("b", key), b"", &head(), Overwrite::No).unwrap(), "{key} twice");
        }
        keys.sort_unstable();
        assert_eq!(files.keys("b", "").unwrap(), keys);
        assert_eq!(files.keys("b", "a/").unwrap(), ["a/", "a//b", "a/b"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing outside the two folders");
        for key in keys {
            files.delete("b", key).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path().join("objects/b")).unwrap().count(), 0, "no folder stays behind");
    }
}
