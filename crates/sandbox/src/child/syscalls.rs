//! The filter of system calls: what a build or a test has no need for, and what a way out would need.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use crate::spec::{Confinement, Spec};

/// Answered with `EPERM`.
const DENIED: [libc::c_long; 58] = [
    // Looking into or steering other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Another view of the file system, another namespace.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    // Large and young parts of the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_lookup_dcookie,
    libc::SYS_vhangup,
    // Keys outlive a process and are shared with the user's others.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // The machine itself.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_nfsservctl,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_set_mempolicy,
    libc::SYS_mbind,
    libc::SYS_personality,
    libc::SYS_memfd_secret,
];

/// What only some machines have, denied likewise.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: [libc::c_long; 5] =
    [libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS__sysctl];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: [libc::c_long; 0] = [];

/// Numbers with this bit mean the same calls with 32-bit pointers, on kernels built with the x32 interface.
#[cfg(target_arch = "x86_64")]
const X32_BIT: libc::c_long = 0x4000_0000;
/// The x32 interface has numbers of its own for calls with pointers in structures.
#[cfg(target_arch = "x86_64")]
const X32_OWN: std::ops::RangeInclusive<libc::c_long> = 512..=547;

const NAMESPACE_FLAGS: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Puts the filter on the calling process and all that it will start.
pub(super) fn restrict(spec: &Spec) -> Result<(), Error> {
    let mut rules: Rules = DENIED.into_iter().chain(DENIED_HERE).map(|number| (number, Vec::new())).collect();
    rules.insert(libc::SYS_clone, namespace_clones()?);
    rules.insert(libc::SYS_ioctl, terminal_injections()?);
    if spec.confinement == Confinement::Full {
        rules.insert(libc::SYS_socket, foreign_sockets()?);
    } else {
        rules.insert(libc::SYS_socket, Vec::new());
    }
    deny_x32(&mut rules);
    apply(rules, libc::EPERM)?;
    // Its flags lie in memory, where a filter cannot look; the C library falls back to `clone`.
    apply(Rules::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)
}

fn apply(rules: Rules, error: libc::c_int) -> Result<(), Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let action = SeccompAction::Errno(error.unsigned_abs());
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture)?.try_into()?;
    apply_filter(&program)
}

fn namespace_clones() -> Result<Vec<SeccompRule>, BackendError> {
    (0..i32::BITS)
        .map(|bit| 1 << bit)
        .filter(|flag| NAMESPACE_FLAGS & flag != 0)
        .map(|flag: i32| {
            let flag = u64::from(flag.unsigned_abs());
            SeccompRule::new(vec![SeccompCondition::new(0, Width::Qword, Is::MaskedEq(flag), flag)?])
        })
        .collect()
}

/// Typing into the terminal of whoever started the run.
fn terminal_injections() -> Result<Vec<SeccompRule>, BackendError> {
    const TIOCLINUX: u64 = 0x541C;
    [libc::TIOCSTI, TIOCLINUX]
        .into_iter()
        .map(|request| SeccompRule::new(vec![SeccompCondition::new(1, Width::Dword, Is::Eq, request)?]))
        .collect()
}

/// Sockets of a family that the network namespace does not hold in (`AF_VSOCK` reaches the hypervisor), and any
/// netlink but the route table's, which the C library asks for addresses.
fn foreign_sockets() -> Result<Vec<SeccompRule>, BackendError> {
    let known = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let other = known
        .into_iter()
        .map(|family| SeccompCondition::new(0, Width::Dword, Is::Ne, u64::from(family.unsigned_abs())))
        .collect::<Result<_, _>>()?;
    let netlink = vec![
        SeccompCondition::new(0, Width::Dword, Is::Eq, u64::from(libc::AF_NETLINK.unsigned_abs()))?,
        SeccompCondition::new(2, Width::Dword, Is::Ne, u64::from(libc::NETLINK_ROUTE.unsigned_abs()))?,
    ];
    Ok(vec![SeccompRule::new(other)?, SeccompRule::new(netlink)?])
}

#[cfg(target_arch = "x86_64")]
fn deny_x32(rules: &mut Rules) {
    let known: Vec<libc::c_long> = rules.keys().copied().chain(X32_OWN).chain([libc::SYS_clone3]).collect();
    rules.extend(known.into_iter().map(|number| (number | X32_BIT, Vec::new())));
}

#[cfg(not(target_arch = "x86_64"))]
fn deny_x32(_rules: &mut Rules) {}
