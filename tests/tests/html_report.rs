//! The page of a run as a validator reads it: well formed whatever was written into the run, and nothing in it loads anything.
#![cfg(feature = "world")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a scenario fails loudly, and is a host: it reads the environment itself"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Script, World};

/// What breaks out of every place where a page has text.
const HOSTILE: &str = "</style></pre></title><script>alert(1)</script><img src=x onerror=alert(1)>\" onload='alert(1)' --><!-- &lt; &#0; \
                       ]]> <link rel=stylesheet href=https://example.invalid/x.css> <svg/onload=alert(1)> \u{202e}";

/// Runs the validator with its recommended rules over a page; what it says.
fn complaints(page: &Path) -> String {
    let world = PathBuf::from(std::env::var("GATEWRIGHT_WORLD").expect("cargo xtask test --world"));
    let program = world.join("html-validate/node_modules/.bin/html-validate");
    let mut command = Command::new(program);
    // The bars of the timeline are as long as what they tell of lasted.
    command.args(["--preset", "recommended", "--rule", "no-inline-style:off", "--max-warnings", "0"]).arg(page);
    let output = command.current_dir(page.parent().unwrap()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { String::new() } else { String::from_utf8_lossy(&said).into_owned() }
}

/// The page of a run, which says all of this, is well formed and loads nothing.
fn holds(world: &World, run: &str) {
    let file = world.path("report.html");
    world.gatewright(&["runs", "report", run, "--output", file.to_str().unwrap()]).expect(0);
    assert_eq!(complaints(&file), "");
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.contains("alert(1)"), "the hostile text reached the page");
    let (head, body) = page.split_once("<style>").unwrap();
    assert!(head.contains("default-src 'none'"), "{head}");
    let styles = body.split_once("</style>").unwrap().0;
    assert!(!styles.contains("url(") && !styles.contains("@import"), "{styles}");
    let tags: Vec<&str> = page.split('<').skip(1).filter_map(|rest| rest.split('>').next()).collect();
    for tag in tags {
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap().to_ascii_lowercase();
        let loads =
            ["script", "img", "link", "iframe", "object", "embed", "svg", "video", "audio", "source", "base", "form"];
        assert!(!loads.contains(&name.as_str()), "<{tag}>");
        assert!(!["src=", "href=", "onerror", "onload"].iter().any(|word| tag.contains(word)), "<{tag}>");
    }
}

/// A crew whose every word is hostile.
fn script() -> Script {
    let task = serde_json::json!({"id": "fix", "title": HOSTILE, "description": HOSTILE, "role": "developer"});
    Script::default()
        .plans(serde_json::json!({"summary": HOSTILE, "tasks": [task]}))
        .says("developer", 1, HOSTILE)
        .develops(1, "sum.sh", &format!("echo $(($1 + $2))\n# {}\n", HOSTILE.replace('\u{202e}', "")))
        .tests(
            1,
            "tests/two.sh",
            &format!("cat <<'END'\n{}\nEND\ntest \"$(sh sum.sh 1 2)\" = 3\n", HOSTILE.replace('\u{202e}', "")),
        )
        .approves(1)
}

#[test]
fn the_page_of_a_run_that_has_landed_is_well_formed_and_loads_nothing() {
    let world = World::quick();
    let run = world.run(&script(), &["--yes", "--json"]).expect(0).json();
    holds(&world, run["run_id"].as_str().unwrap());
}

#[test]
fn so_is_the_page_of_one_that_was_denied() {
    let world = World::quick();
    let run = world.run(&script(), &["--no-wait", "--json"]).expect(4).json();
    let gate = run["gate"].as_str().unwrap().to_owned();
    world.gatewright(&["gates", "deny", &gate, "--comment", HOSTILE]);
    let run = run["run_id"].as_str().unwrap();
    assert_eq!(world.shown(run)["status"], "denied");
    holds(&world, run);
}
