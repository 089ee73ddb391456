//! The SDK goes where the environment says.

use lambda_host::Environment;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_service_is_asked_at_its_own_endpoint_and_else_at_the_common_one() {
    let common = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let own = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
    let environment = Environment::of([
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL", &url(&common)),
        ("AWS_ENDPOINT_URL_DYNAMODB", &url(&own)),
    ]);
    let sdk = environment.sdk_config().unwrap();

    let tables = aws_sdk_dynamodb::Client::new(&sdk);
    tokio::select! {
        asked = own.accept() => drop(asked.unwrap()),
        _ = common.accept() => panic!("the common endpoint was asked"),
        answer = tables.list_tables().send() => panic!("nobody was asked: {answer:?}"),
    }
    let secrets = aws_sdk_secretsmanager::Client::new(&sdk);
    tokio::select! {
        asked = common.accept() => drop(asked.unwrap()),
        _ = own.accept() => panic!("the endpoint of another service was asked"),
        answer = secrets.list_secrets().send() => panic!("nobody was asked: {answer:?}"),
    }
}
