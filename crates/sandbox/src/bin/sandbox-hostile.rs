//! Tries from inside what a sandbox must not allow; the tests run it confined and read what it says.
#![allow(clippy::print_stdout)]

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use rustix::mount::{MountFlags, mount};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let argument = |index: usize| arguments.get(index).map_or("", String::as_str);
    match argument(0) {
        "connect" => show(TcpStream::connect(argument(1)).map(drop)),
        "loopback" => show(loopback()),
        "socket" => show(TcpListener::bind("127.0.0.1:0").map(drop)),
        "write" => show(fs::write(argument(1), b"written")),
        "read" => show(fs::read(argument(1)).map(drop)),
        "list" => show(fs::read_dir(argument(1)).map(drop)),
        "processes" => show(processes()),
        "fork-bomb" => fork_bomb(&env::current_exe().unwrap_or_else(|_| argument(1).into())),
        "fill" => fill(Path::new(argument(1))),
        "grow" => grow(),
        "hang" => hang(),
        "stray" => stray(argument(1), argument(2)),
        "flood" => flood(),
        "mount" => show(mount("tmpfs", "/tmp", "tmpfs", MountFlags::empty(), None).map_err(io::Error::from)),
        "kill" => show(rustix::process::test_kill_process(pid(argument(1))?).map_err(io::Error::from)),
        "trace" => show(calls::trace()),
        "namespace" => show(calls::namespace()),
        "clone" => show(calls::clone_into_namespace()),
        other => Err(io::Error::other(format!("unknown attempt `{other}`"))),
    }
}

fn show(result: io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => println!("allowed"),
        Err(error) => println!("refused: {error}"),
    }
    Ok(())
}

fn loopback() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    TcpStream::connect(listener.local_addr()?)?.write_all(b"x")?;
    listener.accept()?.0.read_exact(&mut [0])
}

/// Prints the ids that `/proc` shows.
fn processes() -> io::Result<()> {
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            println!("process {}", name.display());
        }
    }
    Ok(())
}

fn fork_bomb(program: &Path) -> io::Result<()> {
    loop {
        // A refused start is no reason to stop.
        let _ = Command::new(program).args([Path::new("fork-bomb"), program]).spawn();
    }
}

/// Fills a directory with files of one MiB.
fn fill(directory: &Path) -> io::Result<()> {
    for number in 0_u64.. {
        fs::write(directory.join(number.to_string()), vec![1; 1 << 20])?;
    }
    Ok(())
}

/// Takes memory and touches it.
fn grow() -> io::Result<()> {
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1_u8; 1 << 20]);
    }
}

fn hang() -> io::Result<()> {
    loop {
        std::thread::park();
    }
}

/// Leaves a process behind in a session of its own; with a path, tells there that it lives and stays itself.
fn stray(marker: &str, pipe: &str) -> io::Result<()> {
    let stays = !pipe.is_empty();
    if stays {
        let mut pipe = fs::OpenOptions::new().write(true).open(pipe)?;
        pipe.write_all(b"x")?;
        // Kept open as long as this process lives.
        std::mem::forget(pipe);
        return hang();
    }
    rustix::process::setsid().or_else(|_| Ok::<_, io::Error>(rustix::process::getpid()))?;
    Command::new("/bin/sh").args(["-c", "sleep 600; :", marker]).process_group(0).spawn()?;
    Ok(())
}

fn flood() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for _ in 0..1_000 {
        stdout.write_all(&[b'x'; 1_000])?;
    }
    stdout.write_all(b"end")
}

fn pid(text: &str) -> io::Result<rustix::process::Pid> {
    let number = text.parse().map_err(io::Error::other)?;
    rustix::process::Pid::from_raw(number).ok_or_else(|| io::Error::other("no process id"))
}

/// Calls that no safe interface offers.
#[allow(unsafe_code)]
mod calls {
    use std::io;
    use std::ptr::null_mut;

    pub(super) fn trace() -> io::Result<()> {
        // SAFETY: asks to be traced by the parent; no pointer is read.
        answer(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, null_mut::<u8>(), null_mut::<u8>()) })
    }

    pub(super) fn namespace() -> io::Result<()> {
        // SAFETY: changes only this process's own namespaces.
        answer(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into())
    }

    pub(super) fn clone_into_namespace() -> io::Result<()> {
        let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
        // SAFETY: a fork in effect (no stack, no shared memory); the child exits at once.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        if pid == 0 {
            std::process::exit(0);
        }
        answer(pid)
    }

    fn answer(code: libc::c_long) -> io::Result<()> {
        if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
