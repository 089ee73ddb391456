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
    assert_eq!(name, "InvalidInput");
    assert!(message.contains("echo cannot fetch") && message.contains("Code(4)"), "{message}");
    assert!(message.ends_with("\ncannot fetch"), "{message}");
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
    assert!(world.runner.run_once().await.unwrap());
    let (name, message) = world.end(&job).await.unwrap().unwrap_err();
    assert_eq!(name, "Internal");
    assert!(message.contains("snapshot.tar.gz cannot be read: its hash is"), "{message}");
}

#[tokio::test]
async fn without_a_job_nothing_is_run() {
    let world = World::new().await;
    assert!(!world.runner.run_once().await.unwrap());
}
