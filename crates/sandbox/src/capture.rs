//! Keeps the beginning and the end of a stream, however long it is.

use std::collections::VecDeque;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What was kept of a stream.
pub(crate) struct Captured {
    pub(crate) bytes: Vec<u8>,
    pub(crate) truncated: bool,
}

/// Reads a stream to its end and keeps at most `limit` bytes: the first and the last half.
///
/// What is left out is counted in a line that stands in its place.
pub(crate) async fn capture(mut stream: impl AsyncRead + Unpin, limit: usize) -> io::Result<Captured> {
    let (mut head, mut tail, mut dropped) = (Vec::new(), VecDeque::<u8>::new(), 0_u64);
    let (head_limit, tail_limit) = (limit - limit / 2, limit / 2);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        let (first, rest) = chunk[..read].split_at(read.min(head_limit - head.len()));
        head.extend_from_slice(first);
        tail.extend(rest);
        let excess = tail.len().saturating_sub(tail_limit);
        tail.drain(..excess);
        dropped += excess as u64;
    }
    if dropped > 0 {
        head.extend_from_slice(format!("\n[{dropped} bytes of output left out]\n").as_bytes());
    }
    head.extend(tail);
    Ok(Captured { bytes: head, truncated: dropped > 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn kept(input: &[u8], limit: usize) -> (String, bool) {
        let captured = capture(input, limit).await.unwrap();
        (String::from_utf8(captured.bytes).unwrap(), captured.truncated)
    }

    #[tokio::test]
    async fn short_output_is_whole() {
        assert_eq!(kept(b"abcdef", 6).await, ("abcdef".to_owned(), false));
    }

    #[tokio::test]
    async fn long_output_keeps_both_ends_and_says_what_is_missing() {
        let (text, truncated) = kept(b"abcdefghij", 6).await;
        assert_eq!(text, "abc\n[4 bytes of output left out]\nhij");
        assert!(truncated);
    }
}
