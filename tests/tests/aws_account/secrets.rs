//! Secrets are set, looked at, and never shown.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::{Place, says};

#[tokio::test]
async fn a_secret_is_set_from_standard_input_and_never_shown() {
    let place = Place::deployed().await;
    let key = "sk-ant-a-key-of-the-test";
    let set = ["secrets", "set", "models", "--stage", "dev"];
    let bare = place.run_with(&set, key).expect(65);
    says(&bare, &["no JSON object", "--field ANTHROPIC_API_KEY"]);
    let ended = place.run_with(&[&set[..], &["--field", "ANTHROPIC_API_KEY"]].concat(), &format!("{key}\n")).expect(0);
    assert!(![bare, ended].iter().any(|ended| ended.said(key)));
    assert_eq!(place.store.secret("gatewright/dev/models").await.unwrap()["ANTHROPIC_API_KEY"], key);

    let listed = place.run(&["secrets", "list", "--stage", "dev"]).expect(0);
    says(&listed, &["gatewright/dev/models        filled: ANTHROPIC_API_KEY", "gatewright/dev/forge         empty"]);
    assert!(!listed.said(key));
    says(&place.run_with(&set, "").expect(65), &["nothing came"]);
    says(&place.run_with(&set, r#"{"ANTHROPIC_API_KEY": "two words"}"#).expect(65), &["no key has"]);
}

#[tokio::test]
async fn a_secret_of_several_fields_is_set_one_by_one() {
    let place = Place::deployed().await;
    let set = |field: &str, value: &str| {
        place.run_with(&["secrets", "set", "forge", "--stage", "dev", "--field", field], value).expect(0)
    };
    says(&set("github_app_id", "12"), &["does not work yet", "github_private_key"]);
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n";
    assert!(!set("github_private_key", pem).said("does not work"));
    let fields = Value::Object(place.store.secret("gatewright/dev/forge").await.unwrap());
    assert_eq!(fields, json!({ "github_app_id": "12", "github_private_key": pem.trim_end() }));
}

#[tokio::test]
async fn check_tells_absent_empty_and_malformed_apart() {
    let place = Place::new();
    let check = || place.run(&["secrets", "check", "--stage", "dev"]);
    says(&check().expect(69), &["models   absent", "cure: a deploy makes it: gatewright aws deploy --stage dev"]);
    let secrets = aws_sdk_secretsmanager::Client::new(&place.cloud.sdk_config());
    for (name, value) in [("models", Some("hunter2")), ("forge", None), ("signing", Some("{}"))] {
        let create =
            secrets.create_secret().name(format!("gatewright/dev/{name}")).set_secret_string(value.map(str::to_owned));
        create.send().await.unwrap();
    }
    let ended = check().expect(69);
    says(
        &ended,
        &["models   malformed: it is no JSON object", "forge    empty", "signing  malformed: it has no token_key"],
    );
    assert!(!ended.said("hunter2"));

    let generate = ["secrets", "set", "signing", "--stage", "dev", "--generate"];
    place.run(&generate).expect(0);
    says(&place.run(&generate).expect(0), &["nothing changed"]);
    says(&place.run(&["secrets", "set", "forge", "--stage", "dev", "--generate"]).expect(65), &["only signing"]);
    for (name, field) in [("models", "ANTHROPIC_API_KEY"), ("forge", "github_token")] {
        place.run_with(&["secrets", "set", name, "--stage", "dev", "--field", field], "a-key").expect(0);
    }
    says(&check().expect(0), &["signing  filled: token_key"]);
}

#[tokio::test]
async fn a_terminal_is_asked_and_shows_nothing_of_the_answer() {
    let place = Place::deployed().await;
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
    let line = File::options().read(true).write(true).open(name).unwrap();
    let mut screen = File::from(screen);
    let mut command = place.command(&["secrets", "set", "models", "--stage", "dev", "--field", "ANTHROPIC_API_KEY"]);
    let end = || Stdio::from(line.try_clone().unwrap());
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    drop(command);
    drop(line);
    let mut shown = String::new();
    let mut bytes = [0; 1024];
    // The end of the program ends the terminal, so this comes to an end whatever is shown.
    while let Ok(count @ 1..) = screen.read(&mut bytes) {
        let asked = shown.contains("(not shown)");
        shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        if !asked && shown.contains("(not shown): ") {
            screen.write_all(b"a-key-that-is-typed\n").unwrap();
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{shown}");
    assert!(!shown.contains("a-key-that-is-typed"), "{shown}");
    assert_eq!(place.store.secret("gatewright/dev/models").await.unwrap()["ANTHROPIC_API_KEY"], "a-key-that-is-typed");
}

#[tokio::test]
async fn a_key_is_missed_only_where_the_settings_use_its_provider() {
    let place = Place::deployed().await;
    let check = || place.run(&["secrets", "check", "--stage", "dev"]);
    says(&check().expect(69), &["models   empty", "--field ANTHROPIC_API_KEY"]);
    let settings = "[provider]\nkind = \"replay\"\ncassette = \"answers.jsonl\"\n\n[[checks]]\nname = \"test\"\ncommand = \"true\"\n";
    std::fs::write(place.world.repository().join("gatewright.toml"), settings).unwrap();
    let ended = check().expect(69);
    says(&ended, &["models   empty, and the settings ask for no key", "forge    empty"]);
    assert!(!ended.said("ANTHROPIC_API_KEY"));
}
