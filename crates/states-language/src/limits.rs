//! How large data may be.

use std::io::{self, Write};

use serde_json::Value;

use crate::error::{DATA_LIMIT, Failure};

/// The most bytes of JSON that any input, output, argument or assignment may have (256 KiB).
pub const MAX_PAYLOAD_BYTES: usize = 262_144;

/// # Errors
/// `States.DataLimitExceeded`, naming `what`.
pub(crate) fn check(what: &str, value: &Value) -> Result<(), Failure> {
    let mut room = Room(MAX_PAYLOAD_BYTES);
    // Writing fails as soon as the room is used up, and for no other reason.
    serde_json::to_writer(&mut room, value).map_err(|_| {
        let cause = format!("{what} exceeds the maximum number of bytes service limit ({MAX_PAYLOAD_BYTES}).");
        Failure::raised(DATA_LIMIT, cause)
    })
}

/// Counts what is written to it.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
