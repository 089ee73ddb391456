//! The three system calls that no safe interface offers.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::thread::UnshareFlags;

/// Gives the calling process namespaces of its own.
///
/// # Errors
/// The system's refusal; also when the process has more than one thread and asks for a user namespace.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: only `UnshareFlags::FILES` can surprise other threads, and no caller passes it.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Adds attributes (`libc::MOUNT_ATTR_*`) to a mount tree and to all mounts below it.
///
/// # Errors
/// The system's refusal (Linux 5.12 and later have the call).
pub(crate) fn add_mount_attributes(tree: impl AsFd, attributes: u64) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    // SAFETY: the path is an empty C string, the attributes outlive the call, their true size is passed.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks every descriptor above the standard three to be closed by the next `execve`.
///
/// # Errors
/// The system's refusal (Linux 5.11 and later have the flag).
pub(crate) fn close_descriptors_on_exec() -> io::Result<()> {
    // SAFETY: closes nothing now, so no owned descriptor becomes invalid.
    let answer = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
