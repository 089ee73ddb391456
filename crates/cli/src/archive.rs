//! A folder as an archive: the held-out tests on their way to the object store.

use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::problem::Problem;
use crate::screen;

/// Tar and gzip of the folder's regular files, paths relative to it, in a fixed order. What git keeps of its own in it is
/// left out, and that is said.
pub(crate) fn pack(folder: &Path) -> Result<Vec<u8>, Problem> {
    let bad = |problem: &dyn std::fmt::Display| Problem::input(format!("--acceptance {}: {problem}", folder.display()));
    let mut found = Found::default();
    found.look_into(folder, Path::new("")).map_err(|error| bad(&error))?;
    let Found { mut files, others, gits } = found;
    if let Some((path, kind)) = others.first() {
        return Err(bad(&format!("{} is {kind}: put a file in its place", path.display())));
    }
    if files.is_empty() {
        return Err(bad(&"holds no file: lay the tests in it as they would lie in the repository"));
    }
    for git in gits {
        screen::tell(format!("note: {} is left out of the held-out tests", folder.join(git).display()));
    }
    files.sort();
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    archive.mode(tar::HeaderMode::Deterministic);
    for file in files {
        archive.append_path_with_name(folder.join(&file), &file).map_err(|error| bad(&error))?;
    }
    archive.into_inner().and_then(GzEncoder::finish).map_err(|error| bad(&error))
}

/// What lies in a folder, by paths relative to it.
#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    /// What is neither file nor folder, and what it is.
    others: Vec<(PathBuf, &'static str)>,
    /// `.git`, a folder or a file that leads to one.
    gits: Vec<PathBuf>,
}

impl Found {
    fn look_into(&mut self, root: &Path, folder: &Path) -> std::io::Result<()> {
        for entry in std::fs::read_dir(root.join(folder))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, folder.join(entry.file_name()));
            if entry.file_name() == ".git" {
                self.gits.push(path);
            } else if kind.is_dir() {
                self.look_into(root, &path)?;
            } else if kind.is_file() {
                self.files.push(path);
            } else {
                self.others.push((path, if kind.is_symlink() { "a symbolic link" } else { "no file" }));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_link_is_refused_by_name_and_git_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("tests/.git")).unwrap();
        for name in ["tests/held_out.rs", "tests/.git/config"] {
            std::fs::write(at(name), "").unwrap();
        }
        let packed = pack(folder.path()).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(packed.as_slice()));
        let names = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
        assert_eq!(names.collect::<Vec<_>>(), ["tests/held_out.rs"]);
        std::os::unix::fs::symlink("held_out.rs", at("tests/other.rs")).unwrap();
        let problem = pack(folder.path()).unwrap_err().message;
        assert!(problem.contains("tests/other.rs is a symbolic link: put a file in its place"), "{problem}");
    }
}
