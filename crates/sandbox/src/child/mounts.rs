//! Builds the view: a small read-only root in which nothing stands but what was bound there.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change, mount_remount,
    move_mount, open_tree, unmount,
};
use rustix::process::{chdir, getgid, getuid, pivot_root};

use super::{Refused, Step};
use crate::system::add_mount_attributes;
use crate::view::{Access, DEVICES, View};

/// Where the root is put together: everything that stands there is opened before it is covered.
const ROOT: &str = "/tmp";
/// The root holds directories, links and a few lines of `/etc`.
const ROOT_BYTES: u64 = 4 << 20;

/// A mount that is nowhere yet.
struct Tree {
    path: PathBuf,
    descriptor: OwnedFd,
    is_directory: bool,
}

/// Builds the view and makes it the root of the calling process.
pub(super) fn build(view: &View, tmp_bytes: u64) -> Result<(), Refused> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).step("private mounts")?;
    let trees = open_trees(view)?;
    tmpfs(Path::new(ROOT), ROOT_BYTES, "0755").step("root")?;
    for (path, mode) in [("/tmp", "1777"), ("/dev/shm", "1777")] {
        let place = inside(Path::new(path));
        fs::create_dir_all(&place).and_then(|()| tmpfs(&place, tmp_bytes, mode)).step(path)?;
    }
    proc().step("/proc")?;
    for tree in &trees {
        place(tree).step(&tree.path.to_string_lossy())?;
    }
    for (path, target) in &view.links {
        symlink(target, inside(path)).step(&path.to_string_lossy())?;
    }
    device_links().step("/dev")?;
    etc().step("/etc")?;
    enter().step("root")
}

/// Opens everything while it can still be seen. What is read-only is so with all that is mounted below it.
fn open_trees(view: &View) -> Result<Vec<Tree>, Refused> {
    let (no_suid, no_device) = (libc::MOUNT_ATTR_NOSUID, libc::MOUNT_ATTR_NODEV);
    let binds = view.binds.iter().map(|(path, bind)| {
        let read_only = if bind.access == Access::Read { libc::MOUNT_ATTR_RDONLY } else { 0 };
        (path.as_path(), bind.source.as_path(), read_only | no_suid | no_device)
    });
    let devices = DEVICES.iter().map(|path| (Path::new(path), Path::new(path), no_suid | libc::MOUNT_ATTR_NOEXEC));
    binds
        .chain(devices)
        .map(|(path, source, attributes)| open(path, source, attributes).step(&source.to_string_lossy()))
        .collect()
}

fn open(path: &Path, source: &Path, attributes: u64) -> io::Result<Tree> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let descriptor = open_tree(CWD, source, flags)?;
    add_mount_attributes(&descriptor, attributes)?;
    Ok(Tree { path: path.to_owned(), descriptor, is_directory: source.is_dir() })
}

fn place(tree: &Tree) -> io::Result<()> {
    let target = inside(&tree.path);
    if tree.is_directory {
        fs::create_dir_all(&target)?;
    } else if !target.exists() {
        target.parent().map_or(Ok(()), fs::create_dir_all)?;
        File::create(&target)?;
    }
    Ok(move_mount(&tree.descriptor, "", CWD, &target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn tmpfs(target: &Path, bytes: u64, mode: &str) -> io::Result<()> {
    let options = CString::new(format!("size={bytes},mode={mode}"))?;
    Ok(mount("tmpfs", target, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?)
}

/// Of the namespace's own processes. Read-only: `/proc/sys` belongs to the machine's root, who may be our user.
fn proc() -> io::Result<()> {
    let target = inside(Path::new("/proc"));
    fs::create_dir(&target)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("proc", &target, "proc", flags, None)?)
}

fn device_links() -> io::Result<()> {
    for (name, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        symlink(Path::new("/proc/self").join(target), inside(&Path::new("/dev").join(name)))?;
    }
    Ok(())
}

/// The names that the C library asks for: this user, this machine.
fn etc() -> io::Result<()> {
    let etc = inside(Path::new("/etc"));
    fs::create_dir_all(&etc)?;
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    fs::write(etc.join("passwd"), format!("sandbox:x:{uid}:{gid}:sandbox:/tmp:/bin/sh\n"))?;
    fs::write(etc.join("group"), format!("sandbox:x:{gid}:\n"))?;
    fs::write(etc.join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n")?;
    let hosts = etc.join("hosts");
    if hosts.exists() { Ok(()) } else { fs::write(hosts, "127.0.0.1 localhost sandbox\n::1 localhost sandbox\n") }
}

/// Makes the new root the only one.
fn enter() -> io::Result<()> {
    chdir(ROOT)?;
    // The old root ends up on top of the new one, and is taken off again.
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount_remount("/", flags, c"")?)
}

fn inside(path: &Path) -> PathBuf {
    Path::new(ROOT).join(path.strip_prefix("/").unwrap_or(path))
}
