//! `aws-chunked`: a body in signed or unsigned chunks, with checksums in trailers, as SDKs send streams.

use bytes::{Bytes, BytesMut};
use http::Request;

use crate::error::AwsError;

/// Header names (lower case) and values that came after the body.
pub(super) type Trailers = Vec<(String, String)>;

/// The object's own bytes, out of their chunks if the request says that it sends chunks.
///
/// # Errors
/// `IncompleteBody` when the framing is broken or the length is not the declared one.
pub(super) fn plain_body(request: &Request<Bytes>) -> Result<(Bytes, Trailers), AwsError> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if !header("x-amz-content-sha256").is_some_and(|hash| hash.starts_with("STREAMING-")) {
        return Ok((request.body().clone(), Trailers::new()));
    }
    let (body, trailers) = decode(request.body()).ok_or_else(|| incomplete("the chunks of the body are malformed"))?;
    match header("x-amz-decoded-content-length").map(str::parse::<usize>) {
        Some(Ok(length)) if length == body.len() => Ok((body, trailers)),
        _ => Err(incomplete("You did not provide the number of bytes specified by x-amz-decoded-content-length")),
    }
}

fn decode(body: &Bytes) -> Option<(Bytes, Trailers)> {
    let mut rest = body.clone();
    let mut plain = BytesMut::with_capacity(body.len());
    loop {
        let line = take_line(&mut rest)?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            break;
        }
        if rest.len() < size + 2 {
            return None;
        }
        plain.extend_from_slice(&rest.split_to(size));
        (&rest.split_to(2)[..] == b"\r\n").then_some(())?;
    }
    let mut trailers = Trailers::new();
    while let Some(line) = take_line(&mut rest) {
        if let Some((name, value)) = line.split_once(':') {
            trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    Some((plain.freeze(), trailers))
}

/// The next line, without its end.
fn take_line(rest: &mut Bytes) -> Option<String> {
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let line = rest.split_to(end + 2);
    String::from_utf8(line[..end].to_vec()).ok()
}

fn incomplete(message: &str) -> AwsError {
    AwsError::client("IncompleteBody", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &'static str, length: usize) -> Request<Bytes> {
        Request::put("/b/k")
            .header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
            .header("x-amz-decoded-content-length", length)
            .body(Bytes::from_static(body.as_bytes()))
            .unwrap()
    }

    #[test]
    fn chunks_are_joined_and_trailers_read() {
        let body =
            "4;chunk-signature=ab\r\na\r\nb\r\n2\r\ncd\r\n0;chunk-signature=ef\r\nX-Amz-Checksum-Crc32: AAAA\r\n\r\n";
        let (body, trailers) = plain_body(&request(body, 6)).unwrap();
        assert_eq!(&body[..], b"a\r\nbcd");
        assert_eq!(trailers, [("x-amz-checksum-crc32".to_owned(), "AAAA".to_owned())]);
    }

    #[test]
    fn a_broken_or_short_body_is_refused() {
        for (body, length) in
            [("5\r\nabc\r\n0\r\n\r\n", 5), ("3\r\nabc\r\n", 3), ("zz\r\n", 0), ("3\r\nabc\r\n0\r\n\r\n", 4)]
        {
            assert_eq!(plain_body(&request(body, length)).unwrap_err().code, "IncompleteBody", "{body:?}");
        }
    }
}
