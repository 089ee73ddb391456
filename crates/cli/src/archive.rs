//! A folder as an archive: the held-out tests on their way to the object store.

use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::problem::Problem;

/// Tar and gzip of the folder's regular files, paths relative to it, in a fixed order.
pub(crate) fn pack(folder: &Path) -> Result<Vec<u8>, Problem> {
    let bad = |problem: &dyn std::fmt::Display| Problem::input(format!("--acceptance {}: {problem}", folder.display()));
    let mut files = Vec::new();
    collect(folder, folder, &mut files).map_err(|error| bad(&error))?;
    if files.is_empty() {
        return Err(bad(&"holds no file: lay the tests in it as they would lie in the repository"));
    }
    files.sort();
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    archive.mode(tar::HeaderMode::Deterministic);
    for file in files {
        archive.append_path_with_name(folder.join(&file), &file).map_err(|error| bad(&error))?;
    }
    archive.into_inner().and_then(GzEncoder::finish).map_err(|error| bad(&error))
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<std::path::PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(root, &entry.path(), files)?;
        } else if kind.is_file() {
            let path = entry.path();
            files.push(path.strip_prefix(root).map_or_else(|_| path.clone(), Path::to_path_buf));
        }
    }
    Ok(())
}
