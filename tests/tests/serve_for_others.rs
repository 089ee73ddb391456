//! The stock AWS CLI and boto3 on the served cloud, as anybody has them.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::process::Command;

use serde_json::Value;
use tests::World;
use tests::ministack::program;
use tests::served::{Elsewhere, Served, asks, with_exports};

/// What the program printed.
fn output(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The AWS CLI's answer.
fn aws(served: &Served, arguments: &[&str]) -> Value {
    let mut command = with_exports(Command::new(program("aws", "aws")), served);
    command.args(arguments).args(["--output", "json"]);
    let printed = output(command);
    if printed.trim().is_empty() { Value::Null } else { serde_json::from_str(&printed).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_cli_drives_it() {
    let (elsewhere, mut given) = Elsewhere::with(&["ask"]).await;
    let world = World::quick();
    let served = Served::start(&world, &["--lambda-endpoint", &elsewhere.address]);
    let aws = |arguments: &[&str]| aws(&served, arguments);
    let text = |value: &Value| value.as_str().unwrap().to_owned();

    let definition = asks();
    let create = ["stepfunctions", "create-state-machine", "--name", "asks", "--role-arn", "arn:aws:iam::0:role/r"];
    let machine = text(&aws(&[&create[..], &["--definition", &definition]].concat())["stateMachineArn"]);
    let start = ["stepfunctions", "start-execution", "--name", "one", "--input", "{}", "--state-machine-arn", &machine];
    let execution = text(&aws(&start)["executionArn"]);
    let token = text(&given.recv().await.unwrap().1["token"]);
    let describe = ["stepfunctions", "describe-execution", "--execution-arn", &execution];
    assert_eq!(aws(&describe)["status"], "RUNNING");
    aws(&["stepfunctions", "send-task-success", "--task-output", "{\"ok\":true}", "--task-token", &token]);
    while aws(&describe)["status"] == "RUNNING" {}
    assert_eq!(aws(&describe)["output"], "{\"ok\":true}");
    let history = aws(&["stepfunctions", "get-execution-history", "--execution-arn", &execution]);
    assert_eq!(history["events"][0]["type"], "ExecutionStarted");

    let key = "AttributeName=pk,AttributeType=S";
    let table = ["dynamodb", "create-table", "--table-name", "things", "--billing-mode", "PAY_PER_REQUEST"];
    aws(&[&table[..], &["--attribute-definitions", key, "--key-schema", "AttributeName=pk,KeyType=HASH"]].concat());
    aws(&["dynamodb", "put-item", "--table-name", "things", "--item", r#"{"pk":{"S":"a"},"n":{"N":"7"}}"#]);
    let found = aws(&["dynamodb", "get-item", "--table-name", "things", "--key", r#"{"pk":{"S":"a"}}"#]);
    assert_eq!(found["Item"]["n"]["N"], "7");

    let file = world.path("object.txt");
    std::fs::write(&file, "content").unwrap();
    aws(&["s3api", "create-bucket", "--bucket", "bucket"]);
    aws(&["s3api", "put-object", "--bucket", "bucket", "--key", "a/b", "--body", file.to_str().unwrap()]);
    let back = world.path("back.txt");
    aws(&["s3api", "get-object", "--bucket", "bucket", "--key", "a/b", back.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(back).unwrap(), "content");
    assert_eq!(aws(&["s3api", "list-objects-v2", "--bucket", "bucket"])["Contents"][0]["Key"], "a/b");

    aws(&["secretsmanager", "create-secret", "--name", "s", "--secret-string", "kept"]);
    assert_eq!(aws(&["secretsmanager", "get-secret-value", "--secret-id", "s"])["SecretString"], "kept");
}

const BOTO3: &str = r#"
import sys
import boto3
from boto3.dynamodb.conditions import Key
from botocore.exceptions import ClientError

states = boto3.client("stepfunctions")
machine = states.create_state_machine(name="asks", definition=sys.argv[1], roleArn="arn:aws:iam::0:role/r")
states.start_execution(stateMachineArn=machine["stateMachineArn"], name="one", input="{}")
assert states.validate_state_machine_definition(definition="{}")["result"] == "FAIL"
try:
    states.send_task_success(taskToken="bogus", output="{}")
    raise SystemExit("a bogus token was taken")
except states.exceptions.InvalidToken:
    pass

database = boto3.resource("dynamodb")
table = database.create_table(
    TableName="things",
    BillingMode="PAY_PER_REQUEST",
    AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk")],
    KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
)
for n in range(3):
    table.put_item(Item={"pk": "a", "sk": str(n)})
assert table.query(KeyConditionExpression=Key("pk").eq("a"))["Count"] == 3

storage = boto3.client("s3")
storage.create_bucket(Bucket="bucket")
storage.put_object(Bucket="bucket", Key="k", Body=b"content")
assert storage.get_object(Bucket="bucket", Key="k")["Body"].read() == b"content"
assert [o["Key"] for o in storage.list_objects_v2(Bucket="bucket")["Contents"]] == ["k"]

secrets = boto3.client("secretsmanager")
secrets.create_secret(Name="s", SecretString="kept")
assert secrets.get_secret_value(SecretId="s")["SecretString"] == "kept"

scheduler = boto3.client("scheduler")
once = dict(
    FlexibleTimeWindow={"Mode": "OFF"},
    Target={"Arn": "arn:aws:lambda:us-east-1:000000000000:function:ask", "RoleArn": "arn:aws:iam::0:role/r", "Input": "{}"},
)
scheduler.create_schedule(Name="once", ScheduleExpression="at(2099-01-01T00:00:00)", **once)
assert scheduler.get_schedule(Name="once")["ScheduleExpression"] == "at(2099-01-01T00:00:00)"
try:
    scheduler.create_schedule(Name="often", ScheduleExpression="rate(1 minute)", **once)
    raise SystemExit("a recurring schedule was taken")
except ClientError as error:
    assert error.response["Error"]["Code"] == "UnknownOperationException", error
    assert "recurs" in error.response["Error"]["Message"], error
scheduler.delete_schedule(Name="once")
assert scheduler.list_schedules()["Schedules"] == []

answer = boto3.client("lambda").invoke(FunctionName="ask", Payload=b"{}")
assert answer["StatusCode"] == 200 and answer["Payload"].read() == b"null"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn boto3_drives_it() {
    let (elsewhere, _given) = Elsewhere::with(&["ask"]).await;
    let world = World::quick();
    let served = Served::start(&world, &["--lambda-endpoint", &elsewhere.address]);
    let mut command = with_exports(Command::new(program("aws", "python3")), &served);
    command.args(["-c", BOTO3, &asks()]);
    output(command);
}
