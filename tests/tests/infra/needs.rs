//! What each call of code asks of AWS: the one table from which the functions' rights follow.
//!
//! A need is an action and what it is done to: rows by the beginning of their partition key, objects by the beginning of
//! theirs, anything else by its name in the template.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tests::machines::repository;

/// An action, and what it is done to.
pub(crate) type Need = (String, String);

/// Rows as written and read: a body that is too large for one lies among the run's objects.
const BODY_READ: &str = "s3:GetObject runs/*";
const BODY_WRITTEN: &str = "s3:PutObject runs/*";

const RUN_READ: &[&str] = &["dynamodb:GetItem RUN#*", BODY_READ];
const RUN_WRITTEN: &[&str] = &["dynamodb:PutItem RUN#*", BODY_WRITTEN];
const TASKS_LISTED: &[&str] = &["dynamodb:Query RUN#*", BODY_READ];
/// Events, sessions and money: what a crew writes of its work lies apart from what others decide by.
const WORK_READ: &[&str] = &["dynamodb:GetItem RUN#*#work", BODY_READ];
const WORK_LISTED: &[&str] = &["dynamodb:Query RUN#*#work", BODY_READ];
const WORK_WRITTEN: &[&str] = &["dynamodb:PutItem RUN#*#work", BODY_WRITTEN];
const WORK_COUNTED: &[&str] = &["dynamodb:UpdateItem RUN#*#work"];
/// An event has the number after the newest.
const TOLD: &[&str] = &["dynamodb:Query RUN#*#work", "dynamodb:PutItem RUN#*#work", BODY_READ, BODY_WRITTEN];
const GATE_READ: &[&str] = &["dynamodb:GetItem GATE#*", BODY_READ];
const GATE_WRITTEN: &[&str] = &["dynamodb:PutItem GATE#*", BODY_WRITTEN];
const GATES_LISTED: &[&str] = &["dynamodb:Query GATES#*"];
const JOB_READ: &[&str] = &["dynamodb:GetItem JOB#*", BODY_READ];
const JOB_WRITTEN: &[&str] = &["dynamodb:PutItem JOB#*", BODY_WRITTEN];
const ANSWERED: &[&str] = &["dynamodb:PutItem OUTBOX#*"];
const TOKENS: &[&str] = &["secretsmanager:GetSecretValue SigningSecret"];
const RUNNERS_LISTED: &[&str] = &["dynamodb:Query RUNNERS"];
/// The index holds keys; what is listed is then read many rows at once.
const RUNS_LISTED: &[&str] = &["dynamodb:Query gsi1 RUNS", "dynamodb:BatchGetItem RUN#*", BODY_READ];
const JOBS_LISTED: &[&str] =
    &["dynamodb:Query gsi1 JOBS#queued", "dynamodb:Query gsi1 JOBS#claimed", "dynamodb:BatchGetItem JOB#*", BODY_READ];

/// What the store's methods ask for. A method that is missing here is complained about.
const STORE: &[(&str, &[&[&str]])] = &[
    // Runs and what lies with them.
    ("admit", &[RUN_WRITTEN, RUN_READ, WORK_WRITTEN]),
    ("run", &[RUN_READ]),
    ("update_run", &[RUN_READ, RUN_WRITTEN]),
    ("update_run_telling", &[RUN_READ, RUN_WRITTEN, TOLD]),
    ("enter_stage", &[RUN_READ, RUN_WRITTEN, TOLD]),
    ("end_run", &[RUN_READ, RUN_WRITTEN, TOLD, GATES_LISTED, GATE_READ, GATE_WRITTEN, JOBS_LISTED, JOB_WRITTEN]),
    (
        "end_with_execution",
        &[RUN_READ, RUN_WRITTEN, TOLD, GATES_LISTED, GATE_READ, GATE_WRITTEN, JOBS_LISTED, JOB_WRITTEN],
    ),
    ("list_runs", &[RUNS_LISTED]),
    ("list_runs_before", &[RUNS_LISTED, RUN_READ]),
    ("append_event", &[TOLD]),
    ("events", &[WORK_LISTED]),
    ("put_task", &[RUN_READ, RUN_WRITTEN]),
    ("replace_tasks", &[TASKS_LISTED, RUN_WRITTEN, &["dynamodb:DeleteItem RUN#*"]]),
    ("task", &[RUN_READ]),
    ("tasks", &[TASKS_LISTED]),
    ("update_task", &[RUN_READ, RUN_WRITTEN]),
    ("update_task_telling", &[RUN_READ, RUN_WRITTEN, TOLD]),
    ("budget", &[&["dynamodb:GetItem RUN#*#work"]]),
    ("open_budget", &[&["dynamodb:GetItem RUN#*#work", "dynamodb:PutItem RUN#*#work"]]),
    ("raise_budget", &[&["dynamodb:GetItem RUN#*#work"], WORK_COUNTED]),
    ("usage", &[WORK_LISTED]),
    // The loop's ports.
    ("reserve", &[WORK_WRITTEN, WORK_COUNTED, &["dynamodb:GetItem RUN#*#work"]]),
    ("settle", &[WORK_READ, WORK_WRITTEN, WORK_COUNTED]),
    ("release", &[WORK_READ, WORK_WRITTEN, WORK_COUNTED]),
    ("abandon", &[WORK_LISTED, WORK_READ, WORK_WRITTEN]),
    ("take", &[WORK_COUNTED, WORK_READ]),
    ("save", &[WORK_WRITTEN]),
    // Gates.
    (
        "open_gate",
        &[GATE_READ, GATE_WRITTEN, &["dynamodb:PutItem GATES#*"], RUN_READ, RUN_WRITTEN, TOLD, ANSWERED, TOKENS],
    ),
    ("gate", &[GATE_READ]),
    ("pending_gates", &[&["dynamodb:Query gsi1 GATES#pending", "dynamodb:BatchGetItem GATE#*", BODY_READ]]),
    ("run_gates", &[GATES_LISTED, GATE_READ]),
    ("decide", &[GATE_READ, GATE_WRITTEN, ANSWERED]),
    ("ask", &[GATE_READ, GATE_WRITTEN, ANSWERED, TOLD, RUN_READ]),
    ("exchanges", &[&[BODY_READ]]),
    ("vote", &[GATE_READ, GATE_WRITTEN, ANSWERED, TOLD]),
    ("expire_gate", &[GATE_READ, GATE_WRITTEN]),
    ("void_gates", &[GATES_LISTED, GATE_READ, GATE_WRITTEN]),
    // Jobs, their runners, and answers on their way.
    ("put_job", &[JOB_READ, JOB_WRITTEN, TOLD, ANSWERED, TOKENS]),
    ("claim_job", &[JOBS_LISTED, JOB_WRITTEN, RUN_READ]),
    ("lease_job", &[JOBS_LISTED, JOB_WRITTEN, RUN_READ]),
    ("prolong_job", &[JOB_READ, JOB_WRITTEN, RUN_READ]),
    ("close_jobs", &[JOBS_LISTED, JOB_WRITTEN]),
    ("open_jobs", &[JOBS_LISTED]),
    ("held_job", &[JOB_READ]),
    ("job_stands", &[JOB_READ]),
    ("give_back_job", &[JOB_READ, JOB_WRITTEN]),
    ("requeue_jobs_of_others", &[JOBS_LISTED, JOB_WRITTEN]),
    ("complete_job", &[JOB_READ, JOB_WRITTEN, ANSWERED]),
    ("fail_job", &[JOB_READ, JOB_WRITTEN, ANSWERED]),
    ("note_runner", &[&["dynamodb:GetItem RUNNERS", "dynamodb:PutItem RUNNERS"]]),
    ("runners_alive", &[RUNNERS_LISTED]),
    ("waits_for_a_runner", &[RUNNERS_LISTED, JOBS_LISTED]),
    ("answer_for", &[GATE_READ, JOB_READ, TOKENS]),
    ("outbox", &[&["dynamodb:GetItem OUTBOX#*"]]),
    ("mark_outbox", &[&["dynamodb:GetItem OUTBOX#*"], ANSWERED]),
    // Who may ask and decide.
    ("put_start", &[&["dynamodb:PutItem START#*", "dynamodb:GetItem START#*"]]),
    ("start", &[&["dynamodb:GetItem START#*"]]),
    ("bearer", &[&["dynamodb:GetItem BEARER#*"]]),
    ("principal", &[&["dynamodb:GetItem PRINCIPAL#*"]]),
    // Objects.
    ("put_object", &[&[BODY_WRITTEN]]),
    ("put_artefact", &[&[BODY_WRITTEN]]),
    ("put_json", &[&[BODY_WRITTEN]]),
    ("put_archive", &[&[BODY_WRITTEN]]),
    ("put_held_out", &[&["s3:PutObject held-out/*"]]),
    ("get_object", &[&[BODY_READ]]),
    ("get_artefact", &[&[BODY_READ]]),
    ("get_archive", &[&[BODY_READ]]),
    ("get_json", &[&[BODY_READ]]),
    ("base_contents", &[&[BODY_READ]]),
    ("base_texts", &[&[BODY_READ]]),
    // A signed address holds with the rights of whoever signed it.
    ("presigned_url", &[&[BODY_READ, "s3:GetObject held-out/*"]]),
    // Whether something is there.
    ("has_table", &[&["dynamodb:GetItem START#*"]]),
    ("has_bucket", &[&["s3:ListBucket Bucket"]]),
    (
        "has_secret",
        &[&[
            "secretsmanager:DescribeSecret ModelsSecret",
            "secretsmanager:DescribeSecret ForgeSecret",
            "secretsmanager:DescribeSecret SigningSecret",
        ]],
    ),
    // Which secret, the dependencies say: see `SECRETS`.
    ("secret", &[]),
];

/// Asks AWS for nothing.
const PLAIN: [&str; 5] = ["names", "clone", "of_run", "check_object", "check_held_out"];

/// For whoever owns the account or the machine: no function may call these.
const ADMINISTRATION: &[&str] = &[
    "add_bearer",
    "grant_principal",
    "grant_workflow",
    "grants",
    "revoke_grant",
    "put_secret",
    "ensure_signing_secret",
    "create_table_and_bucket",
    "delete_objects_of",
    "empty_bucket",
    "is_table_protected",
];

/// The providers' keys are for those who speak to providers, the forge's for those who speak to a forge.
const SECRETS: [(&str, &str); 2] = [("models", "ModelsSecret"), ("forge", "ForgeSecret")];

/// The loop is handed the store as two ports and calls all that they have.
const PORTS: [(&str, &[&str]); 2] =
    [("ledger:&", &["reserve", "settle", "release", "abandon"]), ("sessions:&", &["take", "save"])];

/// Calls of other services.
const CALLS: &[(&str, &[&str])] = &[
    (".start_execution()", &["states:StartExecution Pipeline"]),
    (".describe_execution()", &["states:DescribeExecution execution:pipeline"]),
    (
        ".describe_state_machine()",
        &[
            "states:DescribeStateMachine Pipeline",
            "states:DescribeStateMachine TaskGraph",
            "states:DescribeStateMachine Task",
        ],
    ),
    (
        ".send_task_success()",
        &["states:SendTaskSuccess Pipeline", "states:SendTaskSuccess TaskGraph", "states:SendTaskSuccess Task"],
    ),
    (
        ".send_task_failure()",
        &["states:SendTaskFailure Pipeline", "states:SendTaskFailure TaskGraph", "states:SendTaskFailure Task"],
    ),
    // Whoever makes a schedule hands it the role under which it will call.
    ("one_shots.at(", &["scheduler:CreateSchedule Schedules", "iam:PassRole SchedulesRole"]),
];

/// What speaks to AWS in the functions' stead; its own calls are what the table says.
const ADAPTERS: [&str; 2] = ["store", "schedules"];

/// Clients of AWS that others may hold, with the calls that are known of them.
const CLIENTS: [(&str, &[&str]); 1] = [(
    "aws-sdk-sfn",
    &[
        ".start_execution()",
        ".describe_execution()",
        ".describe_state_machine()",
        ".send_task_success()",
        ".send_task_failure()",
    ],
)];

/// Not followed: the host takes nothing from the store but what a stage's resources are called.
const NAMES_ALONE: &str = "lambda-host";

/// What the code that a function ships asks of AWS.
pub(crate) fn needed(function: &str) -> BTreeSet<Need> {
    let crates = reachable(&format!("functions/{function}"));
    let mut source = source(&format!("functions/{function}"));
    // The store itself calls what its methods' rows in the table say; the loop calls ports and knows no store.
    for name in crates.iter().filter(|name| !["store", "agent"].contains(&name.as_str())) {
        source += &self::source(&format!("crates/{name}"));
    }
    let mut needs: BTreeSet<Need> = methods(&source).iter().flat_map(|method| of_method(method)).collect();
    if source.contains(".secret(") {
        let secrets = SECRETS.iter().filter(|(name, _)| crates.contains(*name));
        needs.extend(secrets.map(|(_, id)| need(&format!("secretsmanager:GetSecretValue {id}"))));
    }
    let calls = CALLS.iter().filter(|(call, _)| source.contains(call));
    needs.extend(calls.flat_map(|(_, needs)| *needs).map(|text| need(text)));
    // A right to all rows of runs is one to those of their work.
    let broad: BTreeSet<String> = needs.iter().filter(|need| need.1 == "RUN#*").map(|need| need.0.clone()).collect();
    needs.retain(|(action, object)| object != "RUN#*#work" || !broad.contains(action));
    needs
}

/// What is wrong with the table itself: a method that it does not know, or one that is gone.
pub(crate) fn gaps() -> Vec<String> {
    let ports = PORTS.iter().flat_map(|(_, methods)| *methods);
    let there: BTreeSet<String> = public_methods().into_iter().chain(ports.map(|name| (*name).to_owned())).collect();
    let known = STORE.iter().map(|(name, _)| *name).chain(ADMINISTRATION.iter().copied());
    let known: BTreeSet<String> = known.map(str::to_owned).collect();
    there.symmetric_difference(&known).map(|name| format!("needs.rs and the store disagree about {name}")).collect()
}

/// Clients of AWS that a function, or a library but the store and the schedules, holds itself and of which no call is known.
pub(crate) fn unread_clients(function: &str) -> Vec<String> {
    let folder = format!("functions/{function}");
    let libraries = reachable(&folder).into_iter().filter(|name| !ADAPTERS.contains(&name.as_str()));
    let folders = libraries.map(|name| format!("crates/{name}")).filter(|library| is_crate(library));
    let holders: Vec<String> = folders.chain([folder]).collect();
    let held = holders.iter().flat_map(|holder| dependencies(holder).into_iter().map(move |name| (holder, name)));
    let unread = held.filter(|(holder, name)| {
        let known = CLIENTS.iter().find(|(client, _)| client == name);
        let called = known.is_some_and(|(_, calls)| calls.iter().any(|call| source(holder).contains(call)));
        name.starts_with("aws-sdk-") && !called
    });
    unread.map(|(holder, name)| format!("{holder} depends on {name} and makes no call that needs.rs knows")).collect()
}

/// The crates that are shipped with a crate, by way of those of this repository.
fn reachable(folder: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in dependencies(folder).into_iter().filter(|name| *name != NAMES_ALONE) {
        let library = format!("crates/{name}");
        if is_crate(&library) {
            found.append(&mut reachable(&library));
        }
        found.insert(name);
    }
    found
}

fn is_crate(folder: &str) -> bool {
    repository().join(folder).is_dir()
}

fn dependencies(folder: &str) -> Vec<String> {
    let manifest = fs::read_to_string(repository().join(folder).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
}

/// What a crate is made of, its tests and comments left out, without spaces: a call may stand on several lines.
fn source(folder: &str) -> String {
    let root = repository().join(folder).join("src");
    if root.is_dir() { text_below(&root) } else { String::new() }
}

fn text_below(folder: &Path) -> String {
    let mut text = String::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            text += &text_below(&path);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let file = fs::read_to_string(path).unwrap();
            let shipped = file.split("\n#[cfg(test)]\n").next().unwrap_or_default();
            let code = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
            text.extend(code.flat_map(str::chars).filter(|letter| !letter.is_whitespace()));
        }
    }
    text
}

/// The store's methods that a source calls, by name or as a port.
fn methods(source: &str) -> BTreeSet<String> {
    let calls = source.match_indices("store.").map(|(at, word)| &source[at + word.len()..]);
    let named = calls.filter_map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')?;
        let is_call = rest[end..].starts_with('(') || rest[end..].starts_with("::<");
        is_call.then(|| rest[..end].to_owned())
    });
    let ports = PORTS.iter().filter(|(port, _)| source.contains(port)).flat_map(|(_, methods)| *methods);
    named.chain(ports.map(|name| (*name).to_owned())).filter(|name| !PLAIN.contains(&name.as_str())).collect()
}

fn of_method(method: &str) -> BTreeSet<Need> {
    let row = STORE.iter().find(|(name, _)| *name == method);
    let (_, needs) = row.unwrap_or_else(|| panic!("a function calls store.{method}, of which needs.rs knows nothing"));
    needs.iter().flat_map(|group| *group).map(|text| need(text)).collect()
}

fn need(text: &str) -> Need {
    let (action, object) = text.split_once(' ').expect("an action and what it is done to");
    (action.to_owned(), object.to_owned())
}

/// Every method of the store that the rest of the repository may await.
fn public_methods() -> BTreeSet<String> {
    let store = source("crates/store");
    let after = |word: &'static str| store.match_indices(word).map(|(at, word)| &store[at + word.len()..]);
    // Some hand their futures out in a box.
    let boxed = after("pubfn").filter(|rest| rest.split('{').next().is_some_and(|line| line.contains("->Asked<")));
    let names = after("pubasyncfn").chain(boxed).filter_map(|rest| rest.split(['(', '<']).next());
    names.map(str::to_owned).collect()
}
