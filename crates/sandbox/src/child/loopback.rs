//! Brings up the loopback of a fresh network namespace: one `RTM_NEWLINK` request over route netlink.

use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const IFF_UP: u32 = 1;
/// The loopback is the first interface of every network namespace.
const LOOPBACK_INDEX: u32 = 1;
const REQUEST_BYTES: u32 = 32;

pub(super) fn bring_up() -> io::Result<()> {
    // No protocol is protocol 0, `NETLINK_ROUTE`.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &request(), SendFlags::empty())?;
    let mut answer = [0_u8; 256];
    let (received, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    // `struct nlmsghdr` (16 bytes), then `struct nlmsgerr`, whose first field is a negated error number or 0.
    match answer[..received].get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// `struct nlmsghdr` and `struct ifinfomsg`: set `IFF_UP` on the loopback.
fn request() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST_BYTES as usize);
    bytes.extend(REQUEST_BYTES.to_ne_bytes());
    bytes.extend(RTM_NEWLINK.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    let (sequence, sender, family_and_type) = (1_u32, 0_u32, 0_u32);
    for field in [sequence, sender, family_and_type, LOOPBACK_INDEX, IFF_UP, IFF_UP] {
        bytes.extend(field.to_ne_bytes());
    }
    bytes
}
