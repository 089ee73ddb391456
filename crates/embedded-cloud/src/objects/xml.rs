//! The few XML documents that S3 answers with.

use std::borrow::Cow;
use std::fmt::Write;

use aws_smithy_types::date_time::Format;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::files::ObjectHead;
use super::{Page, Target, formatted};
use crate::error::AwsError;

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

pub(super) fn error(error: &AwsError) -> String {
    format!(
        "{DECLARATION}<Error><Code>{}</Code><Message>{}</Message></Error>",
        escaped(&error.code),
        escaped(&error.message)
    )
}

pub(super) fn list_result(target: &Target, page: &Page, contents: &[(&str, ObjectHead)]) -> String {
    let as_url = target.parameter("encoding-type") == "url";
    let text = |text: &str| match as_url {
        true => utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
        false => escaped(text).into_owned(),
    };
    let mut out = format!("{DECLARATION}<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    element(&mut out, "Name", &escaped(&target.bucket));
    element(&mut out, "Prefix", &text(target.parameter("prefix")));
    for (name, parameter) in [("Delimiter", "delimiter"), ("StartAfter", "start-after")] {
        if let Some(value) = target.query.get(parameter) {
            element(&mut out, name, &text(value));
        }
    }
    if as_url {
        element(&mut out, "EncodingType", "url");
    }
    element(&mut out, "MaxKeys", &page.limit.to_string());
    element(&mut out, "KeyCount", &(page.keys.len() + page.common_prefixes.len()).to_string());
    element(&mut out, "IsTruncated", if page.next_token.is_some() { "true" } else { "false" });
    if let Some(token) = target.query.get("continuation-token") {
        element(&mut out, "ContinuationToken", &escaped(token));
    }
    if let Some(token) = &page.next_token {
        element(&mut out, "NextContinuationToken", token);
    }
    for (key, head) in contents {
        out.push_str("<Contents>");
        element(&mut out, "Key", &text(key));
        element(&mut out, "LastModified", &formatted(head.modified_ms, Format::DateTime));
        element(&mut out, "ETag", &escaped(&head.etag));
        element(&mut out, "Size", &head.size.to_string());
        element(&mut out, "StorageClass", "STANDARD");
        out.push_str("</Contents>");
    }
    for prefix in &page.common_prefixes {
        let _ = write!(out, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", text(prefix));
    }
    out.push_str("</ListBucketResult>");
    out
}

/// Writes an element whose content is escaped already.
fn element(out: &mut String, name: &str, content: &str) {
    let _ = write!(out, "<{name}>{content}</{name}>");
}

fn escaped(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '<' | '>' | '&' | '"') || c.is_control();
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if special(c) => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}
