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
