//! The state machines and the functions as the repository has them.

use std::fs;
use std::path::{Path, PathBuf};

use embedded_cloud::{ACCOUNT, REGION};
use serde_json::Value;

/// The machines, callers first.
pub const MACHINES: [&str; 3] = ["pipeline", "task-graph", "task"];

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The names of all functions: the folders under `functions/`.
pub fn functions() -> Vec<String> {
    let folders = fs::read_dir(repository().join("functions")).unwrap().map(Result::unwrap);
    let folders = folders.filter(|entry| entry.path().join("Cargo.toml").is_file());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// The functions that are roles: those with a prompt.
pub fn roles() -> Vec<String> {
    let has_prompt = |name: &String| repository().join("functions").join(name).join("role.md").is_file();
    functions().into_iter().filter(has_prompt).collect()
}

pub fn machine_arn(name: &str) -> String {
    format!("arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{name}")
}

pub fn execution_arn(machine: &str, name: &str) -> String {
    format!("arn:aws:states:{REGION}:{ACCOUNT}:execution:{machine}:{name}")
}

/// A machine's text as it stands in the repository.
pub fn text(name: &str) -> String {
    fs::read_to_string(repository().join(format!("state-machines/{name}.asl.json"))).unwrap()
}

/// Name and definition of every machine, its functions and machines named.
pub fn definitions() -> Vec<(String, String)> {
    let functions = functions().into_iter().map(|name| {
        let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}");
        (name, arn)
    });
    let machines = MACHINES.map(|name| (name.to_owned(), machine_arn(name)));
    let names: Vec<(String, String)> = functions.chain(machines).collect();
    let substitute = |text: String| {
        names.iter().fold(text, |text, (name, arn)| text.replace(&format!("${{{}}}", name.replace('-', "_")), arn))
    };
    MACHINES.iter().map(|name| ((*name).to_owned(), substitute(text(name)))).collect()
}

/// Every state of one machine, those inside a Map or a Parallel included, with a title for messages.
pub fn states_of(machine: &str) -> Vec<(String, Value)> {
    fn walk(place: &str, scope: &Value, found: &mut Vec<(String, Value)>) {
        for (name, state) in scope["States"].as_object().unwrap() {
            let title = format!("{place}: {name}");
            if state["ItemProcessor"].is_object() {
                walk(&title, &state["ItemProcessor"], found);
            }
            for branch in state["Branches"].as_array().into_iter().flatten() {
                walk(&title, branch, found);
            }
            found.push((title, state.clone()));
        }
    }
    let mut found = Vec::new();
    walk(machine, &serde_json::from_str(&text(machine)).unwrap(), &mut found);
    found
}

/// Every state of every machine.
pub fn states() -> Vec<(String, Value)> {
    MACHINES.iter().flat_map(|machine| states_of(machine)).collect()
}
