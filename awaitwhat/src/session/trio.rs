//! What is known of trio's tasks only once all of them are: whose children they are.

use std::collections::HashMap;

use crate::memory::Address;
use crate::snapshot::{Task, TrioState, WaitKind};

/// Says of every nursery which tasks are its children, and of every task that waits for a nursery that it waits for these.
///
/// It is the child that is asked: it was read whole, at one moment, while a nursery's set may change at any time.
pub(super) fn gather_children(tasks: &mut [Task]) {
    let mut children: HashMap<Address, Vec<Address>> = HashMap::new();
    for task in tasks.iter() {
        if let Some(parent) = task.trio.as_ref().and_then(|trio| trio.parent_nursery) {
            children.entry(parent).or_default().push(task.id);
        }
    }
    for found in children.values_mut() {
        found.sort_unstable();
    }
    let of = |nursery: Address| children.get(&nursery).cloned().unwrap_or_default();
    for task in tasks {
        let Some(trio) = &mut task.trio else { continue };
        for nursery in &mut trio.nurseries {
            nursery.tasks = of(nursery.id);
        }
        if let Some(waits_on) = &mut task.waits_on
            && waits_on.kind == WaitKind::Nursery
        {
            waits_on.tasks = of(waits_on.id);
        }
    }
}

/// The task has moved on since it was seen: what it waits for now is not what it waited for then.
pub(super) fn take_back(task: &mut Task) {
    task.waits_on = None;
    if let Some(trio) = &mut task.trio
        && trio.state == TrioState::Cancelling
    {
        trio.state = TrioState::Parked;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{frame, task};

    #[test]
    fn children_are_those_that_say_so() {
        let t = |id| task(id, "t", &[frame("f", "/app.py", 1)]);
        // What the nurseries had when they were looked at does not count.
        let mut tasks = vec![
            t(1).of_trio(None, &[(0xa, &[7]), (0xb, &[8])], true),
            t(4).of_trio(Some(0xb), &[], false),
            t(3).of_trio(Some(0xb), &[], false),
            t(2).of_trio(Some(0xa), &[(0xc, &[1])], false),
            t(5),
        ];
        gather_children(&mut tasks);
        let nurseries = |index: usize| tasks[index].trio.as_ref().unwrap().nurseries.clone();
        assert_eq!(nurseries(0)[0].tasks, [Address(2)]);
        assert_eq!(nurseries(0)[1].tasks, [Address(3), Address(4)]);
        assert!(nurseries(3)[0].tasks.is_empty());
        let waits_on = tasks[0].waits_on.as_ref().unwrap();
        assert_eq!(waits_on.tasks, [Address(3), Address(4)]);
    }

    #[test]
    fn what_a_task_waits_for_is_taken_back_when_it_has_moved() {
        let mut moved = task(1, "t", &[]).of_trio(None, &[(0xa, &[2])], true);
        moved.trio.as_mut().unwrap().state = TrioState::Cancelling;
        take_back(&mut moved);
        let trio = moved.trio.unwrap();
        assert_eq!((moved.waits_on, trio.state), (None, TrioState::Parked));
        assert_eq!(trio.nurseries.len(), 1);
    }
}
