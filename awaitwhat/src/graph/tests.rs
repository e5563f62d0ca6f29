use std::sync::Arc;

use super::{AwaitGraph, link};
use crate::memory::Address;
use crate::snapshot::{Task, TaskState};
use crate::testing::{frame, task};

/// Tasks with one equal frame each, and `waits[i]` the numbers of the tasks that task `i` waits for.
fn tasks(waits: &[&[u64]]) -> Vec<Task> {
    let ids = 1..;
    ids.zip(waits)
        .map(|(id, waits)| task(id, "t", &[frame("f", "/app.py", 1)]).waiting_for(waits))
        .collect()
}

#[test]
fn awaited_by_is_the_inverse_of_waits_on() {
    let mut linked = tasks(&[&[2, 3, 3], &[3, 99], &[]]);
    linked[0].awaited_by = vec![Address(7)];
    link(&mut linked);
    assert_eq!(linked[0].awaited_by, []);
    assert_eq!(linked[1].awaited_by, [Address(1)]);
    assert_eq!(linked[2].awaited_by, [Address(1), Address(2)]);
}

#[test]
fn roots_are_awaited_by_nobody() {
    let graph = AwaitGraph::new(&tasks(&[&[], &[1, 3], &[], &[]]));
    assert_eq!(graph.roots(), [1, 3]);
    assert_eq!(graph.waits_for(1), [0, 2]);
    assert!(graph.cycles().is_empty());
}

#[test]
fn a_cycle_has_one_root_unless_it_is_awaited() {
    let graph = AwaitGraph::new(&tasks(&[&[2], &[1], &[4], &[5], &[4], &[6]]));
    assert_eq!(graph.cycles(), [vec![0, 1], vec![3, 4], vec![5]]);
    assert_eq!(graph.roots(), [0, 2, 5]);
    assert!(graph.in_one_cycle(3, 4));
    assert!(!graph.in_one_cycle(2, 3));
}

#[test]
fn equal_subtrees_have_equal_shapes() {
    // 0 and 1 wait for one leaf each, 2 for two.
    let graph = AwaitGraph::new(&tasks(&[&[4], &[5], &[6, 7], &[], &[], &[], &[]]));
    assert_eq!(graph.shape(0), graph.shape(1));
    assert_ne!(graph.shape(0), graph.shape(2));
    assert_eq!(graph.shape(3), graph.shape(6));
    assert_ne!(graph.shape(0), graph.shape(3));
}

#[test]
fn shapes_tell_apart_what_differs() {
    let mut all = tasks(&[&[], &[], &[], &[], &[]]);
    all[1].state = TaskState::Running;
    all[2].truncated = true;
    all[3].stack = Arc::from([frame("f", "/app.py", 2)]);
    let graph = AwaitGraph::new(&all);
    for different in 1..=3 {
        assert_ne!(graph.shape(0), graph.shape(different), "{different}");
    }
    // Equal content in another allocation.
    assert_eq!(graph.shape(0), graph.shape(4));
}

#[test]
fn members_of_a_cycle_are_not_folded() {
    let graph = AwaitGraph::new(&tasks(&[&[2], &[1]]));
    assert_ne!(graph.shape(0), graph.shape(1));
}

#[test]
fn a_hundred_thousand_tasks_in_a_row_are_no_recursion() {
    let count = 100_000;
    let all: Vec<Task> = (1..=count)
        .map(|id| task(id, "t", &[frame("f", "/app.py", 1)]).waiting_for(&[id + 1]))
        .collect();
    let graph = AwaitGraph::new(&all);
    assert_eq!(graph.roots(), [0]);
    assert_ne!(graph.shape(0), graph.shape(1));
}

#[test]
fn nurseries_are_structure_and_no_waits() {
    let t = |id| task(id, "t", &[frame("f", "/app.py", 1)]);
    let tasks = [
        t(1).of_trio(None, &[(0xa, &[2]), (0xb, &[3])], true),
        t(2).of_trio(Some(0xa), &[(0xc, &[4, 99]), (0xd, &[])], false),
        t(3).of_trio(Some(0xb), &[], false),
        t(4).of_trio(Some(0xc), &[], false),
    ];
    let graph = AwaitGraph::new(&tasks);
    assert_eq!(graph.waits_for(0), [2]);
    assert_eq!(graph.nurseries(0), [vec![1]]);
    assert_eq!(graph.nurseries(1), [vec![3], vec![]]);
    assert_eq!(graph.tops(), [0]);
    assert_eq!(graph.roots(), [0, 1, 3]);
    assert_eq!(graph.shape(2), graph.shape(3));
    assert_ne!(graph.shape(1), graph.shape(3));
}

/// What cannot be, but may be read of a target that changes.
#[test]
fn a_task_below_itself_is_no_cycle_of_waits() {
    let t = |id| task(id, "t", &[frame("f", "/app.py", 1)]);
    let tasks = [
        t(1).of_trio(Some(0xa), &[(0xa, &[1])], false),
        t(2).of_trio(Some(0xc), &[(0xb, &[3])], false),
        t(3).of_trio(Some(0xb), &[(0xc, &[2])], false),
    ];
    let graph = AwaitGraph::new(&tasks);
    assert!(graph.cycles().is_empty());
    assert_eq!(graph.tops(), [0, 1]);
}
