use forge::ForgeError;

use crate::repository::{Repository, overlay, run};

#[tokio::test]
async fn landing_makes_a_branch_once_and_nothing_in_hand_moves() {
    let repository = Repository::with_files();
    let git = repository.open().await;
    let before = repository.in_hand();
    let commit = git.publish(&run(), "HEAD", &overlay(&[("a", Some("x\n"))]), "a", 0).await.unwrap();
    assert_eq!(git.land(&run(), &commit).await.unwrap(), "gatewright/run-1");
    assert_eq!(git.land(&run(), &commit).await.unwrap(), "gatewright/run-1");
    assert_eq!(repository.git(["rev-parse", "gatewright/run-1"]), commit);
    assert_eq!(repository.in_hand(), before);
    assert_eq!(
        repository.git(["for-each-ref", "--format=%(refname:short)", "refs/gatewright", "refs/heads/gatewright"]),
        "gatewright/run-1"
    );
    repository.git(["merge", "--quiet", "--ff-only", "gatewright/run-1"]);
}

#[tokio::test]
async fn the_users_own_commits_meanwhile_do_not_matter() {
    let repository = Repository::with_files();
    let git = repository.open().await;
    let base = git.resolve("HEAD").await.unwrap();
    let commit = git.publish(&run(), &base, &overlay(&[("a", Some("x\n"))]), "a", 0).await.unwrap();
    repository.write("b", "y\n");
    repository.commit_all();
    git.land(&run(), &commit).await.unwrap();
    assert_eq!(repository.git(["rev-parse", "gatewright/run-1^"]), base);
}

#[tokio::test]
async fn another_branch_of_that_name_is_left_alone() {
    let repository = Repository::with_files();
    let git = repository.open().await;
    let head = git.resolve("HEAD").await.unwrap();
    let commit = git.publish(&run(), "HEAD", &overlay(&[("a", Some("x\n"))]), "a", 0).await.unwrap();
    repository.git(["branch", "gatewright/run-1"]);
    let error = git.land(&run(), &commit).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "branch gatewright/run-1 exists and points to {head}; rename or delete it, then run `gatewright runs resume run-1`"
        )
    );
    repository.git(["branch", "--move", "gatewright/run-1", "gatewright"]);
    let error = git.land(&run(), &commit).await.unwrap_err().to_string();
    assert!(error.contains("'refs/heads/gatewright' exists"), "{error}");
}

#[tokio::test]
async fn only_what_the_run_published_lands() {
    let repository = Repository::with_files();
    let git = repository.open().await;
    let head = git.resolve("HEAD").await.unwrap();
    assert!(matches!(git.land(&run(), &head).await, Err(ForgeError::NotPublished { .. })));
    git.publish(&run(), "HEAD", &overlay(&[("a", Some("x\n"))]), "a", 0).await.unwrap();
    assert!(matches!(git.land(&run(), &head).await, Err(ForgeError::NotPublished { .. })));
    assert_eq!(repository.git(["branch", "--list", "gatewright/*"]), "");
    let commit = git.publish(&run(), "HEAD", &overlay(&[("a", Some("x\n"))]), "a", 0).await.unwrap();
    assert!(git.is_published(&run(), &commit).await.unwrap() && !git.is_published(&run(), &head).await.unwrap());
    git.land(&run(), &commit).await.unwrap();
    assert!(git.is_published(&run(), &commit).await.unwrap(), "as a branch by now");
}
