use run_model::run::{TaskRecord, TaskStatus};

use crate::world::{World, task_id};

fn task(id: &str, wave: u32) -> TaskRecord {
    TaskRecord {
        task_id: task_id(id),
        wave,
        status: TaskStatus::Waiting,
        iteration: 0,
        iteration_bound: 20,
        base_overlay: None,
        overlay: None,
        test_overlay: None,
        evidence: None,
        regression_proof: None,
        proof_evidence: None,
        developed: None,
        tested: None,
        verdict: None,
        feedback: Vec::new(),
        failure_fingerprints: Vec::new(),
    }
}

fn names(tasks: &[TaskRecord]) -> Vec<&str> {
    tasks.iter().map(|task| task.task_id.as_str()).collect()
}

#[tokio::test]
async fn tasks_come_by_wave_and_id_and_change_alone() {
    let (world, run) = World::with_run().await;
    for one in [task("b", 0), task("a", 1), task("c", 0)] {
        world.store.put_task(&run, &one).await.unwrap();
    }
    assert_eq!(names(&world.store.tasks(&run).await.unwrap()), ["b", "c", "a"]);
    let changed = world.store.update_task(&run, &task_id("a"), |task| task.status = TaskStatus::Done).await.unwrap();
    assert_eq!(world.store.task(&run, &task_id("a")).await.unwrap(), changed);
    assert_eq!(world.store.task(&run, &task_id("b")).await.unwrap(), task("b", 0));
    let error = world.store.task(&run, &task_id("z")).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no task z of run r-1");
}

#[tokio::test]
async fn a_new_plan_leaves_no_task_of_the_old_one() {
    let (world, run) = World::with_run().await;
    world.store.replace_tasks(&run, &[task("a", 0), task("b", 1)]).await.unwrap();
    world.store.update_task(&run, &task_id("b"), |task| task.iteration = 3).await.unwrap();
    world.store.replace_tasks(&run, &[task("b", 0), task("c", 0)]).await.unwrap();
    assert_eq!(world.store.tasks(&run).await.unwrap(), [task("b", 0), task("c", 0)]);
}
