use futures::future::join_all;
use store::NewEvent;

use crate::world::{START_MS, World, run_id, task_id};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_writers_leave_no_gap_and_no_repeat() {
    let world = World::new().await;
    let run = run_id("r-1");
    let writers = (0..20).map(|writer| {
        let (store, run) = (world.store.clone(), run.clone());
        tokio::spawn(async move {
            let mut numbers = Vec::new();
            for number in 0..5 {
                let event = NewEvent::new("test", format!("{writer}/{number}"));
                numbers.push(store.append_event(&run, event).await.unwrap());
            }
            numbers
        })
    });
    let mut numbers: Vec<u64> = join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());

    let events = world.store.events(&run, 0).await.unwrap();
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), numbers);
    let mut messages: Vec<_> = events.into_iter().map(|event| event.message).collect();
    messages.sort();
    messages.dedup();
    assert_eq!(messages.len(), 100);
}

#[tokio::test]
async fn only_newer_events_of_the_run_are_read() {
    let world = World::new().await;
    let (run, other) = (run_id("r-1"), run_id("r-10"));
    let about_task =
        NewEvent { task: Some(task_id("t1")), role: Some("developer".into()), ..NewEvent::new("turn.ended", "turn 1") };
    for number in 1..=12 {
        assert_eq!(world.store.append_event(&run, about_task.clone()).await.unwrap(), number);
    }
    world.store.append_event(&other, NewEvent::new("test", "another run")).await.unwrap();
    let events = world.store.events(&run, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [11, 12]);
    assert_eq!((events[0].at_ms, events[0].task.clone()), (START_MS, Some(task_id("t1"))));
    assert!(world.store.events(&run, 12).await.unwrap().is_empty());
}
