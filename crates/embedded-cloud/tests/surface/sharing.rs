use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use embedded_cloud::{Attachment, Cloud, FunctionRegistry, OpenError, is_driver_gone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{TABLE, World, driver, note_of, put, table, text};

#[tokio::test]
async fn a_second_opener_is_a_client_of_the_first() {
    let world = World::new();
    let cloud = world.started(FunctionRegistry::new()).await;
    let client = world.client().await;
    let remote = table(&client.sdk_config()).await;
    put(&remote, "RUN#1", "from the client").await;
    let local = aws_sdk_dynamodb::Client::new(&cloud.sdk_config());
    assert_eq!(note_of(&local, "RUN#1").await.as_deref(), Some("from the client"));

    // S3 puts the bucket into the host name, which has to survive the socket too.
    let objects = aws_sdk_s3::Client::new(&client.sdk_config());
    objects.create_bucket().bucket("gatewright").send().await.unwrap();
    let body = aws_sdk_s3::primitives::ByteStream::from_static(b"bytes");
    objects.put_object().bucket("gatewright").key("a/b").body(body).send().await.unwrap();
    let head = objects.head_object().bucket("gatewright").key("a/b").send().await.unwrap();
    assert_eq!(head.content_length(), Some(5));

    for (name, expected) in [("", 0o700), ("cloud.sock", 0o600), ("lock", 0o600)] {
        let mode = fs::metadata(world.state_dir().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, expected, "{name:?}");
    }
}

#[tokio::test]
async fn a_client_waits_for_a_driver_that_has_not_started_yet() {
    let world = World::new();
    let mut cloud = world.opened().await;
    let remote = aws_sdk_dynamodb::Client::new(&world.client().await.sdk_config());
    let tables = tokio::spawn(async move { remote.list_tables().send().await });
    cloud.start(FunctionRegistry::new()).await.unwrap();
    assert!(tables.await.unwrap().unwrap().table_names().is_empty());
}

#[tokio::test]
async fn a_client_takes_over_when_the_driver_goes() {
    let world = World::new();
    let cloud = world.started(FunctionRegistry::new()).await;
    let client = world.client().await;
    let remote = table(&client.sdk_config()).await;
    put(&remote, "RUN#1", "kept").await;
    assert!(matches!(client.try_promote().await.unwrap(), Attachment::Client(_)));

    let local = aws_sdk_dynamodb::Client::new(&cloud.sdk_config());
    let ((), ()) = tokio::join!(client.driver_gone(), cloud.shutdown());
    for orphan in [&remote, &local] {
        let error = orphan.list_tables().send().await.unwrap_err();
        assert!(is_driver_gone(&error), "{error:?}");
    }

    let mut cloud = driver(client.try_promote().await.unwrap());
    cloud.start(FunctionRegistry::new()).await.unwrap();
    assert_eq!(note_of(&remote, "RUN#1").await.as_deref(), Some("kept"), "old clients find the new driver");
    let other = aws_sdk_dynamodb::Client::new(&cloud.sdk_config());
    let missing = other.get_item().table_name("nowhere").key("pk", text("a")).send().await.unwrap_err();
    assert!(!is_driver_gone(&missing));
    assert!(matches!(cloud.start(FunctionRegistry::new()).await, Err(OpenError::StartedTwice)));
}

#[tokio::test]
async fn a_socket_left_by_a_dead_driver_is_replaced() {
    let world = World::new();
    world.opened().await.shutdown().await;
    drop(UnixListener::bind(world.state_dir().join("cloud.sock")).unwrap());
    let _cloud = world.started(FunctionRegistry::new()).await;
    let remote = table(&world.client().await.sdk_config()).await;
    put(&remote, "RUN#1", "answered").await;
}

#[tokio::test]
async fn a_folder_that_lets_others_in_is_refused_and_left_alone() {
    let world = World::new();
    fs::create_dir(world.state_dir()).unwrap();
    fs::set_permissions(world.state_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = Cloud::open(world.options()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Exposed { mode: 0o755, .. }), "{refused:?}");
    assert_eq!(fs::read_dir(world.state_dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_deep_folder_is_reached_all_the_same() {
    let world = World::new();
    let mut options = world.options();
    options.state_dir = options.state_dir.join("deep".repeat(30));
    let mut cloud = driver(Cloud::open(options.clone()).await.unwrap());
    cloud.start(FunctionRegistry::new()).await.unwrap();
    let Attachment::Client(client) = Cloud::open(options).await.unwrap() else { panic!("a second driver") };
    let remote = table(&client.sdk_config()).await;
    put(&remote, "RUN#1", "answered").await;
    assert_eq!(remote.describe_table().table_name(TABLE).send().await.unwrap().table.unwrap().item_count, Some(1));
}

/// The driver's part of the next test, in a process of its own; without the variable it is not that process.
#[tokio::test]
async fn be_a_driver_until_killed() {
    let Some(state_dir) = env::var_os("DRIVE_UNTIL_KILLED") else { return };
    let mut options = World::new().options();
    options.state_dir = state_dir.into();
    let mut cloud = driver(Cloud::open(options).await.unwrap());
    cloud.start(FunctionRegistry::new()).await.unwrap();
    let tables = table(&cloud.sdk_config()).await;
    let secrets = aws_sdk_secretsmanager::Client::new(&cloud.sdk_config());
    put(&tables, "RUN#1", "decided").await;
    secrets.create_secret().name("signing").secret_string("kept").send().await.unwrap();
    println!("\nANSWERED");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_driver_leaves_all_that_it_answered() {
    let world = World::new();
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "sharing::be_a_driver_until_killed", "--nocapture"])
        .env("DRIVE_UNTIL_KILLED", world.state_dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ANSWERED"));
    let client = world.client().await;
    let tables = aws_sdk_dynamodb::Client::new(&client.sdk_config());
    assert_eq!(note_of(&tables, "RUN#1").await.as_deref(), Some("decided"));

    process.kill().unwrap();
    process.wait().unwrap();
    assert!(is_driver_gone(&tables.list_tables().send().await.unwrap_err()));
    let mut cloud = driver(client.try_promote().await.unwrap());
    cloud.start(FunctionRegistry::new()).await.unwrap();
    assert_eq!(note_of(&tables, "RUN#1").await.as_deref(), Some("decided"));
    let secret = aws_sdk_secretsmanager::Client::new(&cloud.sdk_config()).get_secret_value().secret_id("signing");
    assert_eq!(secret.send().await.unwrap().secret_string(), Some("kept"));
}

#[tokio::test]
async fn the_loopback_answers_like_the_socket() {
    let mut cloud = World::new().opened().await;
    let address = cloud.serve_loopback().await.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\
                   authorization: AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/dynamodb/aws4_request, \
                   SignedHeaders=host, Signature=0\r\n\
                   x-amz-target: DynamoDB_20120810.ListTables\r\n\r\n{}";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"TableNames\":[]}"), "{answer}");
}
