use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;

use crate::world::World;

const BUCKET: &str = "gatewright";

/// Clients that name the bucket in the host, and in the path.
fn clients(config: &aws_types::SdkConfig) -> [Client; 2] {
    let path_style = aws_sdk_s3::config::Builder::from(config).force_path_style(true).build();
    [Client::new(config), Client::from_conf(path_style)]
}

async fn put(client: &Client, key: &str, body: &str) {
    let body = ByteStream::from(body.as_bytes().to_vec());
    client.put_object().bucket(BUCKET).key(key).body(body).send().await.unwrap();
}

#[tokio::test]
async fn an_object_comes_back_whichever_way_its_bucket_is_named() {
    let world = World::new();
    let cloud = world.opened().await;
    let [by_host, by_path] = clients(&cloud.sdk_config());
    by_host.create_bucket().bucket(BUCKET).send().await.unwrap();
    for (writer, reader) in [(&by_host, &by_path), (&by_path, &by_host)] {
        let put = writer.put_object().bucket(BUCKET).key("runs/1/plän .json").body(ByteStream::from_static(b"{}"));
        let put = put.content_type("application/json").metadata("sha", "abc").send().await.unwrap();
        let get = reader.get_object().bucket(BUCKET).key("runs/1/plän .json").send().await.unwrap();
        assert_eq!(get.e_tag(), put.e_tag());
        assert_eq!(get.content_type(), Some("application/json"));
        assert_eq!(get.metadata().unwrap()["sha"], "abc");
        assert_eq!(get.last_modified().unwrap().secs(), 1_780_000_000);
        assert_eq!(&get.body.collect().await.unwrap().into_bytes()[..], b"{}");
    }
    let head = by_host.head_object().bucket(BUCKET).key("runs/1/plän .json").send().await.unwrap();
    assert_eq!(head.content_length(), Some(2));
    by_host.delete_object().bucket(BUCKET).key("runs/1/plän .json").send().await.unwrap();
    let gone = by_host.head_object().bucket(BUCKET).key("runs/1/plän .json").send().await;
    assert!(gone.unwrap_err().into_service_error().is_not_found());
    let gone = by_host.get_object().bucket(BUCKET).key("runs/1/plän .json").send().await;
    assert!(gone.unwrap_err().into_service_error().is_no_such_key());
}

#[tokio::test]
async fn a_large_stream_arrives_whole_and_private() {
    let world = World::new();
    let cloud = world.opened().await;
    let [client, _] = clients(&cloud.sdk_config());
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    let content: Vec<u8> = (0..20_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&content).unwrap();
    // A file is sent in chunks with its checksum behind them.
    let body = ByteStream::from_path(file.path()).await.unwrap();
    client.put_object().bucket(BUCKET).key("archive.tar.gz").body(body).send().await.unwrap();
    let get = client.get_object().bucket(BUCKET).key("archive.tar.gz").checksum_mode(ChecksumMode::Enabled);
    let get = get.send().await.unwrap();
    assert!(get.checksum_crc32().or(get.checksum_crc64_nvme()).is_some(), "{get:?}");
    assert!(get.body.collect().await.unwrap().into_bytes() == content, "other bytes");

    assert_private(&world.state_dir().join("objects"));
    assert_eq!(fs::read_dir(world.state_dir().join("incoming")).unwrap().count(), 0, "nothing half-written stays");
}

fn assert_private(path: &Path) {
    let mode = fs::metadata(path).unwrap().permissions().mode() & 0o077;
    assert_eq!(mode, 0, "{} lets others in", path.display());
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| assert_private(&entry.unwrap().path()));
    }
}

#[tokio::test]
async fn a_bit_that_flips_on_the_disk_is_noticed() {
    let world = World::new();
    let cloud = world.opened().await;
    let [client, _] = clients(&cloud.sdk_config());
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    put(&client, "a", "content").await;
    let path = world.state_dir().join("objects").join(BUCKET).join("a");
    let stored = fs::read(&path).unwrap();
    fs::write(&path, [&stored[..stored.len() - 1], b"X"].concat()).unwrap();
    let get = client.get_object().bucket(BUCKET).key("a").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert!(get.body.collect().await.is_err());
}

#[tokio::test]
async fn listings_page_and_group() {
    let world = World::new();
    let cloud = world.opened().await;
    let [client, _] = clients(&cloud.sdk_config());
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    for key in ["runs/1/a&b", "runs/1/c", "runs/2/a", "runs/index", "other"] {
        put(&client, key, key).await;
    }
    let pages = client.list_objects_v2().bucket(BUCKET).prefix("runs/").max_keys(2).into_paginator().send();
    let pages = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let keys: Vec<_> = pages.iter().flat_map(|page| page.contents()).map(|object| object.key().unwrap()).collect();
    assert_eq!(keys, ["runs/1/a&b", "runs/1/c", "runs/2/a", "runs/index"]);
    assert_eq!(pages[0].contents()[0].size(), Some(10));

    let pages = client.list_objects_v2().bucket(BUCKET).prefix("runs/").delimiter("/").max_keys(2).into_paginator();
    let pages = pages.send().collect::<Result<Vec<_>, _>>().await.unwrap();
    let prefixes: Vec<_> = pages.iter().flat_map(|page| page.common_prefixes()).map(|p| p.prefix().unwrap()).collect();
    assert_eq!(prefixes, ["runs/1/", "runs/2/"]);
    assert_eq!(pages[1].contents()[0].key(), Some("runs/index"));
}

#[tokio::test]
async fn a_write_once_object_is_written_once() {
    let world = World::new();
    let cloud = world.opened().await;
    let [client, _] = clients(&cloud.sdk_config());
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    let put = |body| {
        client.put_object().bucket(BUCKET).key("a").if_none_match("*").body(ByteStream::from_static(body)).send()
    };
    put(b"one").await.unwrap();
    assert_eq!(put(b"two").await.unwrap_err().into_service_error().code(), Some("PreconditionFailed"));
    let get = client.get_object().bucket(BUCKET).key("a").send().await.unwrap();
    assert_eq!(&get.body.collect().await.unwrap().into_bytes()[..], b"one");
}

#[tokio::test]
async fn what_is_not_done_is_refused_by_name() {
    let world = World::new();
    let cloud = world.opened().await;
    let [client, _] = clients(&cloud.sdk_config());
    let missing = client.get_object().bucket("nowhere").key("a").send().await.unwrap_err().into_service_error();
    assert_eq!(missing.code(), Some("NoSuchBucket"));
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    let copy = client.copy_object().bucket(BUCKET).key("b").copy_source("gatewright/a").send().await;
    let copy = copy.unwrap_err().into_service_error();
    assert_eq!(copy.code(), Some("UnknownOperationException"));
    assert!(copy.message().unwrap().contains("CopyObject"), "{copy:?}");
    let parts = client.create_multipart_upload().bucket(BUCKET).key("b").send().await.unwrap_err().into_service_error();
    assert_eq!(parts.code(), Some("UnknownOperationException"));
    assert!(parts.message().unwrap().contains("uploads"), "{parts:?}");
    let range = client.get_object().bucket(BUCKET).key("a").range("bytes=0-1").send().await;
    assert!(range.unwrap_err().into_service_error().message().unwrap().contains("range"));
}
