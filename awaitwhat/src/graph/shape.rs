//! What tasks look like, so that equal ones can be shown as one.

use std::collections::HashMap;

use crate::resource::ResourceKind;
use crate::snapshot::{Frame, FutureState, Stack, Task, TaskState, TrioState, WaitKind};

/// Stands for everything that a task and all it waits for look like, names and addresses apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape(usize);

/// All that is visible of a task. Equality is exact: no two different tasks are ever taken for equal.
#[derive(PartialEq, Eq, Hash)]
struct Look<'a> {
    tid: Option<u32>,
    state: TaskState,
    stack: usize,
    truncated: bool,
    is_cancelled: bool,
    waits_on: Option<(WaitKind, &'a str, Option<FutureState>, usize)>,
    /// What it waits for, places and moments apart.
    resource: Option<(ResourceKind, Option<&'a str>, Option<&'a str>)>,
    /// Shapes of the tasks it waits for, with their counts, in order.
    waits_for: Vec<(Shape, usize)>,
    trio: Option<TrioState>,
    /// The same of the children of each nursery that it has open.
    nurseries: Vec<Vec<(Shape, usize)>>,
}

/// The shape of every task. `components` must be ordered as by [`super::components`]: what is waited for comes first.
pub(super) fn shapes(
    tasks: &[Task],
    waits_for: &[Vec<usize>],
    nurseries: &[Vec<Vec<usize>>],
    components: &[Vec<usize>],
) -> Vec<Shape> {
    let mut stacks = Stacks::default();
    let mut looks: HashMap<Look<'_>, Shape> = HashMap::new();
    let mut shapes = vec![Shape(0); tasks.len()];
    let mut next = 0;
    for members in components {
        for member in members {
            let fresh = Shape(next);
            next += 1;
            shapes[*member] = if super::is_cycle(members, waits_for) {
                // A cycle is shown as it is: none of its tasks is folded with another.
                fresh
            } else {
                let (waits_for, nurseries) = (&waits_for[*member], &nurseries[*member]);
                let look = look(&tasks[*member], waits_for, nurseries, &shapes, &mut stacks);
                *looks.entry(look).or_insert(fresh)
            };
        }
    }
    shapes
}

fn look<'a>(
    task: &'a Task,
    waits_for: &[usize],
    nurseries: &[Vec<usize>],
    shapes: &[Shape],
    stacks: &mut Stacks<'a>,
) -> Look<'a> {
    let all = |tasks: &[usize]| counted(tasks.iter().map(|position| shapes[*position]).collect());
    Look {
        tid: task.tid,
        state: task.state,
        stack: stacks.number(&task.stack),
        truncated: task.truncated,
        is_cancelled: task.cancellations > 0,
        waits_on: task
            .waits_on
            .as_ref()
            .map(|on| (on.kind, &*on.type_name, on.state, on.tasks.len())),
        resource: task
            .waits_on
            .as_ref()
            .and_then(|on| on.resource.as_ref())
            .map(|it| (it.kind, it.operation.as_deref(), it.label.as_deref())),
        waits_for: all(waits_for),
        trio: task.trio.as_ref().map(|trio| trio.state),
        nurseries: nurseries.iter().map(|children| all(children)).collect(),
    }
}

fn counted(mut shapes: Vec<Shape>) -> Vec<(Shape, usize)> {
    shapes.sort_unstable();
    shapes
        .chunk_by(|one, other| one == other)
        .map(|equal| (equal[0], equal.len()))
        .collect()
}

/// Numbers stacks by content. Equal stacks usually share one allocation, and are then compared once.
#[derive(Default)]
struct Stacks<'a> {
    by_allocation: HashMap<(*const Frame, usize), usize>,
    by_content: HashMap<&'a [Frame], usize>,
}

impl<'a> Stacks<'a> {
    fn number(&mut self, stack: &'a Stack) -> usize {
        let next = self.by_content.len();
        let by_content = &mut self.by_content;
        *self
            .by_allocation
            .entry((stack.as_ptr(), stack.len()))
            .or_insert_with(|| *by_content.entry(stack).or_insert(next))
    }
}
