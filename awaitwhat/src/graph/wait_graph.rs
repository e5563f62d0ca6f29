//! The graph of waits as it is drawn: tasks that are equal are one node, what several tasks wait for is a node of its own, and so is what is
//! held.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{AwaitGraph, Shape};
use crate::findings::Finding;
use crate::memory::Address;
use crate::resource::{Holding, Resource};
use crate::snapshot::{Snapshot, Task};

/// Times that classes of tasks are told further apart by those that lead to them.
const MAX_ROUNDS: usize = 16;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Tasks that are equal, by their positions in the snapshot.
    Tasks { members: Vec<usize>, is_stuck: bool },
    /// What the task at this position waits for.
    Resource(usize),
}

/// What an edge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// A task awaits another one.
    Awaits,
    /// A task waits for a thing.
    WaitsFor,
    /// A thing is held by a task.
    HeldBy,
    /// A task has started another one in a group that is still open.
    Opened,
}

/// An edge between two nodes, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    pub kind: EdgeKind,
}

/// The graph of waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitGraph {
    pub nodes: Vec<Node>,
    /// In ascending order, each once.
    pub edges: Vec<Edge>,
}

/// What tells tasks apart besides what is below them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    shape: Shape,
    waits_for: Option<Address>,
    holds: Vec<Address>,
    /// The classes of those that lead to it, and whether they have merely started it.
    led_to_by: BTreeSet<(usize, bool)>,
}

impl WaitGraph {
    /// Builds the graph of a snapshot.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        let tasks = &snapshot.tasks;
        let graph = AwaitGraph::new(tasks);
        let shared = shared(tasks);
        let class_of = classes(tasks, &graph, &shared);
        let stuck = stuck(snapshot, &graph);
        let mut nodes = nodes(&class_of, &stuck);
        let mut edges = BTreeSet::new();
        for (position, from) in class_of.iter().copied().enumerate() {
            let mut add = |to, kind| edges.insert(Edge { from, to, kind });
            for awaited in graph.waits_for(position) {
                add(class_of[*awaited], EdgeKind::Awaits);
            }
            for child in graph.nurseries(position).iter().flatten() {
                add(class_of[*child], EdgeKind::Opened);
            }
        }
        let index = super::index_by_id(tasks);
        for waiters in shared.values() {
            let Some(&first) = waiters.first() else { continue };
            let to = nodes.len();
            nodes.push(Node::Resource(first));
            for waiter in waiters {
                let from = class_of[*waiter];
                edges.insert(Edge {
                    from,
                    to,
                    kind: EdgeKind::WaitsFor,
                });
            }
            for holder in holders(&tasks[first]).iter().filter_map(|id| index.get(id)) {
                edges.insert(Edge {
                    from: to,
                    to: class_of[*holder],
                    kind: EdgeKind::HeldBy,
                });
            }
        }
        Self {
            nodes,
            edges: edges.into_iter().collect(),
        }
    }
}

/// What a task waits for.
fn resource(task: &Task) -> Option<&Resource> {
    task.waits_on.as_ref()?.resource.as_deref()
}

/// The tasks that have what this one waits for, as far as they are known.
fn holders(task: &Task) -> &[Address] {
    match resource(task).map(|it| &it.holding) {
        Some(Holding::Tasks { tasks, .. }) => tasks,
        _ => &[],
    }
}

/// The tasks that wait for each thing that several wait for, or that a task has.
fn shared(tasks: &[Task]) -> BTreeMap<Address, Vec<usize>> {
    let mut waiters: BTreeMap<Address, Vec<usize>> = BTreeMap::new();
    let index = super::index_by_id(tasks);
    for (position, task) in tasks.iter().enumerate() {
        // A task is a node already.
        if let Some(id) = resource(task)
            .and_then(|it| it.id)
            .filter(|id| !index.contains_key(id))
        {
            waiters.entry(id).or_default().push(position);
        }
    }
    waiters
        .retain(|_, waiters| waiters.len() > 1 || waiters.iter().any(|it| !holders(&tasks[*it]).is_empty()));
    waiters
}

/// A number for each task, which those have in common that look the same, and that equal ones lead to.
fn classes(tasks: &[Task], graph: &AwaitGraph, shared: &BTreeMap<Address, Vec<usize>>) -> Vec<usize> {
    let index = super::index_by_id(tasks);
    let mut leads = vec![Vec::new(); tasks.len()];
    for position in 0..tasks.len() {
        for awaited in graph.waits_for(position) {
            leads[*awaited].push((position, false));
        }
        for child in graph.nurseries(position).iter().flatten() {
            leads[*child].push((position, true));
        }
    }
    let mut held: HashMap<usize, Vec<Address>> = HashMap::new();
    for (id, waiters) in shared {
        let of_first = waiters.first().map_or(&[][..], |first| holders(&tasks[*first]));
        for holder in of_first.iter().filter_map(|it| index.get(it)) {
            held.entry(*holder).or_default().push(*id);
        }
    }
    let mut classes = vec![0; tasks.len()];
    let mut count = 0;
    for _ in 0..MAX_ROUNDS {
        let mut numbers: BTreeMap<Class, usize> = BTreeMap::new();
        let mut next = Vec::with_capacity(tasks.len());
        for (position, task) in tasks.iter().enumerate() {
            let class = Class {
                shape: graph.shape(position),
                waits_for: resource(task)
                    .and_then(|it| it.id)
                    .filter(|id| shared.contains_key(id)),
                holds: held.get(&position).cloned().unwrap_or_default(),
                led_to_by: leads[position]
                    .iter()
                    .map(|(it, is_open)| (classes[*it], *is_open))
                    .collect(),
            };
            let number = numbers.len();
            next.push(*numbers.entry(class).or_insert(number));
        }
        classes = next;
        if numbers.len() == count {
            break;
        }
        count = numbers.len();
    }
    classes
}

/// Tasks that cannot go on: of a cycle, or of a deadlock.
fn stuck(snapshot: &Snapshot, graph: &AwaitGraph) -> BTreeSet<usize> {
    let index = super::index_by_id(&snapshot.tasks);
    let mut stuck: BTreeSet<usize> = graph.cycles().iter().flatten().copied().collect();
    for finding in &snapshot.findings {
        if let Finding::Deadlock(deadlock) = finding {
            stuck.extend(deadlock.tasks.iter().filter_map(|it| index.get(&it.task)));
        }
    }
    stuck
}

fn nodes(class_of: &[usize], stuck: &BTreeSet<usize>) -> Vec<Node> {
    let count = class_of.iter().max().map_or(0, |last| last + 1);
    let mut members = vec![Vec::new(); count];
    for (position, class) in class_of.iter().enumerate() {
        members[*class].push(position);
    }
    let node = |members: Vec<usize>| Node::Tasks {
        is_stuck: members.iter().any(|member| stuck.contains(member)),
        members,
    };
    members.into_iter().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::ResourceKind;
    use crate::snapshot::WaitKind;
    use crate::testing::{frame, snapshot, task};

    fn waits_for_lock(mut task: Task, id: u64, holders: &[u64]) -> Task {
        task = task.waiting(WaitKind::Future, "Future", &[]);
        if let Some(on) = &mut task.waits_on {
            on.resource = Some(Box::new(Resource {
                id: Some(Address(id)),
                holding: Holding::Tasks {
                    tasks: holders.iter().copied().map(Address).collect(),
                    are_all: true,
                },
                ..Resource::of_kind(ResourceKind::Lock)
            }));
        }
        task
    }

    fn drawn(tasks: Vec<Task>) -> String {
        let graph = WaitGraph::new(&snapshot(tasks));
        let nodes = graph.nodes.iter().enumerate().map(|(place, node)| match node {
            Node::Tasks { members, .. } => format!("{place}: tasks {members:?}"),
            Node::Resource(task) => format!("{place}: what {task} waits for"),
        });
        let edges = graph.edges.iter();
        let edges = edges.map(|edge| format!("{} -> {} {:?}", edge.from, edge.to, edge.kind));
        nodes.chain(edges).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn equal_tasks_are_one_node_and_what_they_wait_for_another() {
        let frames = [frame("work", "/srv/app.py", 1)];
        let mut tasks: Vec<Task> = (2..5)
            .map(|id| waits_for_lock(task(id, "worker", &frames), 0xa, &[9]))
            .collect();
        tasks.push(waits_for_lock(task(5, "worker", &frames), 0xb, &[8]));
        tasks.push(task(8, "other", &[]));
        tasks.push(task(9, "holder", &[]));
        tasks.push(task(1, "main", &[]).waiting_for(&[2, 3, 4, 5]));
        insta::assert_snapshot!(drawn(tasks), @"
        0: tasks [0, 1, 2]
        1: tasks [3]
        2: tasks [4]
        3: tasks [5]
        4: tasks [6]
        5: what 0 waits for
        6: what 3 waits for
        0 -> 5 WaitsFor
        1 -> 6 WaitsFor
        4 -> 0 Awaits
        4 -> 1 Awaits
        5 -> 3 HeldBy
        6 -> 2 HeldBy
        ");
    }

    #[test]
    fn equal_tasks_of_different_awaiters_are_told_apart() {
        let leaf = |id| task(id, "leaf", &[frame("leaf", "/srv/app.py", 2)]);
        let root = |id, line, leaf: u64| {
            task(id, "root", &[frame("root", "/srv/app.py", line)]).waiting(WaitKind::Task, "Task", &[leaf])
        };
        let tasks = vec![
            leaf(1),
            leaf(2),
            leaf(3),
            root(4, 7, 1),
            root(5, 7, 2),
            root(6, 8, 3),
        ];
        insta::assert_snapshot!(drawn(tasks), @"
        0: tasks [0, 1]
        1: tasks [2]
        2: tasks [3, 4]
        3: tasks [5]
        2 -> 0 Awaits
        3 -> 1 Awaits
        ");
    }
}
