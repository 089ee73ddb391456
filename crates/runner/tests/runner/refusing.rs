//! What is not measured, and why.

use runner::Confinement;

use crate::world::{Project, World, command};

#[tokio::test]
async fn what_commands_may_read_of_a_machine_is_said_by_whoever_owns_it() {
    let mut world = World::new().await;
    let private = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(private.path().join("key"), "the host's own\n").unwrap();
    let mut project = Project::plain(&format!("cat {}/key", private.path().display()));
    project.config.read_only = vec![private.path().to_owned()];
    let tail = async |world: &mut World| world.measure(&project).await.unwrap().commands.remove(0).output_tail;
    assert_eq!(tail(&mut world).await, "the host's own", "on one machine the project's settings count");
    world.runner = world.runner.clone().confining(Confinement::default());
    assert!(!tail(&mut world).await.contains("the host's own"));
    project.config.read_only = Vec::new();
    let named = Confinement { read_only: vec![private.path().to_owned()], ..Confinement::default() };
    world.runner = world.runner.clone().confining(named);
    let shown = world.measure(&project).await.unwrap().commands.remove(0).output_tail;
    assert_eq!(shown, "the host's own");
}

#[tokio::test]
async fn a_failing_setup_says_which_command_and_what_it_wrote() {
    let mut world = World::new().await;
    let mut project = Project::plain("true");
    project.config.setup = vec![command("fetch", "echo cannot fetch >&2; exit 4")];
    let (name, message) = world.measure(&project).await.unwrap_err();
    assert_eq!(name, "NotMeasurable");
    let line = project.config.setup[0].command.clone();
    assert_eq!(
        message,
        format!("setup command `{line}` exited with 4: mend it, or what it fetches from\n  cannot fetch")
    );
}

#[tokio::test]
async fn a_setup_that_may_lack_credentials_says_what_it_is_given_and_the_way_there_is() {
    let mut world = World::new().await;
    let mut project = Project::plain("true");
    for said in [
        "npm error code E401",
        "ERROR: No matching distribution found for ours==1.0",
        "error: no token found for `ours`",
    ] {
        project.config.setup = vec![command("fetch", &format!("echo '{said}' >&2; exit 1"))];
        let (_, message) = world.measure(&project).await.unwrap_err();
        assert!(message.contains("empty HOME") && message.contains("--read-only DIR"), "{message}");
        assert!(message.ends_with(said), "{message}");
    }
}

#[tokio::test]
async fn a_setup_that_asks_or_hangs_is_told_as_such() {
    let mut world = World::new().await;
    let mut project = Project::plain("true");
    project.config.limits.setup_wall_seconds = 1;
    project.config.setup = vec![command("ask", "seq 30; echo 'Password:'; sleep 600")];
    let (name, message) = world.measure(&project).await.unwrap_err();
    assert_eq!(name, "NotMeasurable");
    assert!(message.contains("was ended after 1 s (limits.setup_wall_seconds)"), "{message}");
    assert!(message.contains("a question is never answered") && message.ends_with("\n  30\n  Password:"), "{message}");
    assert_eq!(message.lines().count(), 1 + 6 + 1 + 20, "its beginning, what is left out, and its end: {message}");
    // What asks where nobody answers goes on at once.
    project.config.setup =
        vec![command("ask", "read answer || echo unanswered; test \"$GIT_TERMINAL_PROMPT$CI\" = 0true && exit 3")];
    let (_, message) = world.measure(&project).await.unwrap_err();
    assert!(message.contains("exited with 3") && message.ends_with("unanswered"), "{message}");
}

#[tokio::test]
async fn nothing_is_written_through_a_link() {
    let mut world = World::new().await;
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_string_lossy().into_owned();
    let with_link = |path| {
        let mut project = Project::plain("true");
        project.links.insert(path, target.clone());
        project
    };
    let through = with_link("out").with_edit("out/file", Some("x"));
    let onto = with_link("link").with_edit("link", Some("x"));
    let mut held_out = with_link("out");
    held_out.held_out = vec![("out/file", "x")];
    for project in [through, onto, held_out] {
        let (name, message) = world.measure(&project).await.unwrap_err();
        assert_eq!(name, "PolicyRefused");
        assert!(message.contains("nothing is written there"), "{message}");
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_damaged_archive_is_not_measured() {
    let mut world = World::new().await;
    let job = world.queue(&Project::plain("true")).await;
    world.store.put_object(&job.snapshot.archive_key, b"something else".to_vec()).await.unwrap();
    assert!(world.runner.run_once().await.unwrap().is_some());
    let (name, message) = world.end(&job).await.unwrap().unwrap_err();
    assert_eq!(name, "Internal");
    assert!(message.contains("snapshot.tar.gz cannot be read: its hash is"), "{message}");
}

#[tokio::test]
async fn an_archive_that_is_larger_than_its_manifest_says_is_not_unpacked() {
    let mut world = World::new().await;
    let mut bomb = Project::plain("true");
    bomb.files.insert("zeros", "0".repeat(8 << 20));
    let mut job = world.queue(&Project::plain("true")).await;
    let packed = world.queue(&bomb).await.snapshot;
    (job.snapshot.archive_key, job.snapshot.archive_sha256) = (packed.archive_key, packed.archive_sha256);
    job.job_id = run_model::JobId::new("bomb").unwrap();
    job.priority = run_model::run::Priority::Critical;
    world.store.put_job(job.clone(), "token", store::NewEvent::new("checks.queued", "the checks run")).await.unwrap();
    assert!(world.runner.run_once().await.unwrap().is_some());
    let (name, message) = world.end(&job).await.unwrap().unwrap_err();
    assert_eq!(name, "PolicyRefused");
    assert!(message.starts_with("the snapshot's archive is not unpacked: it unpacks to more than"), "{message}");
}

#[tokio::test]
async fn an_input_that_was_written_over_is_not_measured_with() {
    for tampered in ["manifest", "config", "overlay", "held-out"] {
        let mut world = World::new().await;
        let mut project = Project::plain("true").with_edit("new", Some("x"));
        project.held_out = vec![("held", "x")];
        let mut job = world.queue(&project).await;
        // Named by their hashes, as a stage names them.
        let named = async |key: &mut String| {
            let bytes = world.store.get_object(key).await.unwrap();
            *key = world.store.put_artefact(&job.run_id, bytes).await.unwrap().key;
        };
        let key = match tampered {
            "manifest" => &mut job.snapshot.manifest_key,
            "config" => &mut job.config_key,
            "overlay" => job.overlay_key.as_mut().unwrap(),
            _ => job.held_out_key.as_mut().unwrap(),
        };
        named(key).await;
        world.store.put_object(key, b"{}".to_vec()).await.unwrap();
        let key = key.clone();
        job.job_id = run_model::JobId::new("tampered").unwrap();
        job.priority = run_model::run::Priority::Critical;
        world
            .store
            .put_job(job.clone(), "token", store::NewEvent::new("checks.queued", "the checks run"))
            .await
            .unwrap();
        assert!(world.runner.run_once().await.unwrap().is_some());
        let (_, message) = world.end(&job).await.unwrap().unwrap_err();
        assert!(message.contains(&format!("object {key} is damaged")), "{message}");
    }
}

#[tokio::test]
async fn without_a_job_nothing_is_run() {
    let world = World::new().await;
    assert!(world.runner.run_once().await.unwrap().is_none());
}

#[tokio::test]
async fn no_change_is_laid_into_a_folder_that_setup_makes() {
    let mut world = World::new().await;
    let made = || {
        let mut project = Project::plain("made/bin/tool");
        project.config.setup = vec![command("make", "mkdir -p made/bin && echo echo made > made/bin/tool")];
        project.config.setup_files = vec!["made".into()];
        project
    };
    let mut held_out = made();
    held_out.held_out = vec![("made/bin/tool", "echo mine\n")];
    let edits = [("made/bin/tool", Some("echo mine\n")), ("made/new", Some("x")), ("made/bin/tool", None)];
    let projects = edits.map(|(path, content)| made().with_edit(path, content)).into_iter().chain([held_out]);
    for project in projects {
        let (name, message) = world.measure(&project).await.unwrap_err();
        assert_eq!(name, "PolicyRefused");
        assert!(message.contains("lies in made, which setup makes"), "{message}");
    }
    assert!(world.measure(&made().with_edit("made-up", Some("x"))).await.is_ok());
}
