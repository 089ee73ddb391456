//! Trees as GitHub lists them, and files that its archives do not give.

use std::collections::BTreeMap;
use std::io::{self, Read};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::api::part;
use super::{GitHub, GitHubError};
use crate::MAX_SNAPSHOT_BYTES;
use crate::tree::{Tree, TreeEntry, kind_of};

/// How many files GraphQL is asked for at once.
const AT_ONCE: usize = 100;
/// Files above this size are fetched one by one, in bytes.
const SMALL: u64 = 256 << 10;
/// The most calls for files that the archive has not got, so that a run stays within 40.
pub const LOOSE_CALLS: usize = 10;
/// Such files are at most this part of an archive's room.
const LOOSE_PART: u64 = 4;

#[derive(Deserialize)]
struct Listing {
    tree: Vec<Listed>,
    truncated: bool,
}

#[derive(Deserialize)]
struct Listed {
    path: String,
    mode: String,
    #[serde(rename = "type")]
    kind: String,
    sha: String,
    #[serde(default)]
    size: u64,
}

#[derive(Deserialize)]
struct Blob {
    content: String,
}

/// A blob's name, as git makes it.
pub(super) fn blob_name(content: &[u8]) -> String {
    let heading = format!("blob {}\0", content.len());
    hex(&Sha1::new().chain_update(heading).chain_update(content).finalize())
}

/// Whether a blob of this name and length is what a reader gives.
pub(super) fn is_blob(object: &str, bytes: u64, mut content: impl Read) -> io::Result<bool> {
    let mut sum = Sha1::new().chain_update(format!("blob {bytes}\0"));
    let mut piece = [0; 16 << 10];
    loop {
        match content.read(&mut piece)? {
            0 => return Ok(hex(&sum.finalize()) == object),
            read => sum.update(&piece[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl GitHub {
    /// Everything in a tree. A name that is not UTF-8 has replacement characters.
    pub(super) async fn tree(&self, tree: &str) -> Result<Tree, GitHubError> {
        let route = self.route(&format!("/git/trees/{}?recursive=1", part(tree)));
        let listing: Listing = self.api.get("list a tree", &route).await?.read()?;
        if listing.truncated {
            return Err(GitHubError::TooManyFiles(self.name.to_string()));
        }
        let files = listing.tree.into_iter().filter(|entry| entry.kind != "tree");
        let entry = |listed: Listed| {
            let entry = TreeEntry { kind: kind_of(&listed.mode), object: listed.sha, bytes: listed.size };
            (listed.path.into_bytes(), entry)
        };
        Ok(files.map(entry).collect())
    }

    /// The contents of blobs by name, in as few calls as there may be.
    pub(super) async fn loose(&self, wanted: &Tree) -> Result<BTreeMap<String, Vec<u8>>, GitHubError> {
        let shown = || {
            let first = wanted.keys().take(5).map(|path| String::from_utf8_lossy(path));
            first.collect::<Vec<_>>().join(", ")
        };
        let too_many = || GitHubError::TooManyLooseFiles { files: wanted.len(), shown: shown() };
        // They are held in memory, in base64 and plain.
        let limit = self.room.map_or(MAX_SNAPSHOT_BYTES, |room| room.archive_bytes) / LOOSE_PART;
        let bytes = wanted.values().map(|entry| entry.bytes).sum::<u64>();
        if bytes > limit {
            return Err(GitHubError::LooseFilesTooLarge { bytes, limit, shown: shown() });
        }
        let small = wanted.values().filter(|entry| entry.bytes <= SMALL);
        let mut small: Vec<&str> = small.map(|entry| entry.object.as_str()).collect();
        small.sort_unstable();
        small.dedup();
        let mut calls = small.len().div_ceil(AT_ONCE);
        let mut found = BTreeMap::new();
        if calls <= LOOSE_CALLS {
            for objects in small.chunks(AT_ONCE) {
                found.extend(self.texts(objects).await?);
            }
        }
        for entry in wanted.values() {
            if found.contains_key(&entry.object) {
                continue;
            }
            calls += 1;
            if calls > LOOSE_CALLS {
                return Err(too_many());
            }
            found.insert(entry.object.clone(), self.blob(&entry.object).await?);
        }
        Ok(found)
    }

    /// Those of the blobs that are text; whether a text is the whole blob, its name tells.
    async fn texts(&self, objects: &[&str]) -> Result<BTreeMap<String, Vec<u8>>, GitHubError> {
        let asked = objects.iter().enumerate();
        let asked: String = asked
            .map(|(number, oid)| format!(" b{number}: object(oid: \"{oid}\") {{ ... on Blob {{ text }} }}"))
            .collect();
        let query =
            format!("query($owner: String!, $name: String!) {{ repository(owner: $owner, name: $name) {{{asked} }} }}");
        let variables = json!({ "owner": self.name.owner, "name": self.name.name });
        let data = self.api.graphql("fetch files that the archive has not got", &query, variables).await?;
        let blobs = data["repository"].as_object().into_iter().flat_map(|blobs| blobs.values());
        let texts = blobs.filter_map(|blob: &Value| blob["text"].as_str());
        let named = texts.map(|text| (blob_name(text.as_bytes()), text.as_bytes().to_vec()));
        Ok(named.filter(|(name, _)| objects.contains(&name.as_str())).collect())
    }

    async fn blob(&self, object: &str) -> Result<Vec<u8>, GitHubError> {
        let action = "fetch a file that the archive has not got";
        let blob: Blob = self.api.get(action, &self.route(&format!("/git/blobs/{}", part(object)))).await?.read()?;
        let encoded: String = blob.content.split_whitespace().collect();
        let content = BASE64_STANDARD.decode(encoded).ok().filter(|content| blob_name(content) == object);
        content.ok_or_else(|| GitHubError::Answered { action, status: 200, said: format!("not the blob {object}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_the_name_that_git_gives_it() {
        assert_eq!(blob_name(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(blob_name(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
