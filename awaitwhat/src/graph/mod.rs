//! The await graph: which task waits for which.
//!
//! Several tasks may wait for one (a diamond), and tasks may wait for each other (a cycle): both are data. Edges are those of
//! [`WaitsOn::tasks`](crate::snapshot::WaitsOn::tasks) and nothing else: being the child of a `TaskGroup` that is still open is no wait,
//! nor is being that of a nursery. But both are the structure of a program, so they are here too, apart from the waits, and are called nurseries.

use std::collections::HashMap;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::DiGraph;

use crate::memory::Address;
use crate::snapshot::{Nursery, Task};

mod deadlock;
mod shape;
mod wait_graph;

pub use deadlock::{Circle, Link, circles};
pub use shape::Shape;
pub use wait_graph::{Edge, EdgeKind, Node, WaitGraph};

/// Fills `awaited_by` of every task from `waits_on` of the others: the one is the inverse of the other.
///
/// Replaces what `awaited_by` held. Tasks that are not among `tasks` are left out.
pub fn link(tasks: &mut [Task]) {
    let index = index_by_id(tasks);
    let mut edges: Vec<(usize, Address)> = tasks
        .iter()
        .flat_map(|awaiter| known_waits(&index, awaiter).map(|waited_for| (waited_for, awaiter.id)))
        .collect();
    edges.sort_unstable();
    edges.dedup();
    for task in tasks.iter_mut() {
        task.awaited_by.clear();
    }
    for (waited_for, awaiter) in edges {
        tasks[waited_for].awaited_by.push(awaiter);
    }
}

/// Which task of a snapshot waits for which; tasks are named by their position in the snapshot.
#[derive(Debug)]
pub struct AwaitGraph {
    waits_for: Vec<Vec<usize>>,
    nurseries: Vec<Vec<Vec<usize>>>,
    roots: Vec<usize>,
    tops: Vec<usize>,
    component: Vec<usize>,
    cycles: Vec<Vec<usize>>,
    shapes: Vec<Shape>,
}

impl AwaitGraph {
    /// Builds the graph. Takes time and memory in proportion to tasks and edges (and a sort), without recursion.
    #[must_use]
    pub fn new(tasks: &[Task]) -> Self {
        let waits_for = edges(tasks);
        let nurseries = open_nurseries(tasks);
        let waits = Components::of(&waits_for);
        let roots = waits.roots(&waits_for);
        let cycles = cycles(&waits.members, &waits_for);
        // Without nurseries, nothing but waits leads from one task to another.
        let (tops, shapes) = if nurseries.iter().all(Vec::is_empty) {
            let shapes = shape::shapes(tasks, &waits_for, &nurseries, &waits.members);
            (roots.clone(), shapes)
        } else {
            let below = below(&waits_for, &nurseries);
            let structure = Components::of(&below);
            let shapes = shape::shapes(tasks, &waits_for, &nurseries, &structure.members);
            (structure.roots(&below), shapes)
        };
        Self {
            waits_for,
            nurseries,
            roots,
            tops,
            component: waits.component,
            cycles,
            shapes,
        }
    }

    /// The nurseries that the task at `position` has open without waiting for them, outermost first: their children, in the
    /// snapshot's order.
    #[must_use]
    pub fn nurseries(&self, position: usize) -> &[Vec<usize>] {
        &self.nurseries[position]
    }

    /// Tasks from which every other task can be reached by waits and by nurseries, as [`AwaitGraph::roots`] by waits alone.
    #[must_use]
    pub fn tops(&self) -> &[usize] {
        &self.tops
    }

    /// Tasks that the task at `position` waits for, in the snapshot's order; only those that are in the snapshot.
    #[must_use]
    pub fn waits_for(&self, position: usize) -> &[usize] {
        &self.waits_for[position]
    }

    /// Tasks from which every other task can be reached: those that nobody awaits, and one of every cycle that nobody outside of it
    /// awaits. In the snapshot's order.
    #[must_use]
    pub fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// Sets of tasks that wait for each other, directly or through others of the set, each in the snapshot's order.
    #[must_use]
    pub fn cycles(&self) -> &[Vec<usize>] {
        &self.cycles
    }

    /// Whether the tasks belong to one cycle (or are one and the same task).
    #[must_use]
    pub fn in_one_cycle(&self, one: usize, other: usize) -> bool {
        self.component[one] == self.component[other]
    }

    /// What the task at `position` looks like: equal for tasks whose chain, state and everything below are equal.
    #[must_use]
    pub fn shape(&self, position: usize) -> Shape {
        self.shapes[position]
    }
}

fn index_by_id(tasks: &[Task]) -> HashMap<Address, usize> {
    tasks
        .iter()
        .enumerate()
        .map(|(position, task)| (task.id, position))
        .collect()
}

fn known_waits<'a>(
    index: &'a HashMap<Address, usize>,
    task: &'a Task,
) -> impl Iterator<Item = usize> + use<'a> {
    task.waits_on
        .iter()
        .flat_map(|on| &on.tasks)
        .filter_map(|id| index.get(id).copied())
}

fn edges(tasks: &[Task]) -> Vec<Vec<usize>> {
    let index = index_by_id(tasks);
    let sorted = |task| {
        let mut waits: Vec<usize> = known_waits(&index, task).collect();
        waits.sort_unstable();
        waits.dedup();
        waits
    };
    tasks.iter().map(sorted).collect()
}

/// The children of each nursery that its task does not wait for, by task.
fn open_nurseries(tasks: &[Task]) -> Vec<Vec<Vec<usize>>> {
    let has_none = |task: &Task| task.trio.is_none() && task.open_groups.is_empty();
    if tasks.iter().all(has_none) {
        return vec![Vec::new(); tasks.len()];
    }
    let index = index_by_id(tasks);
    let children = |nursery: &Nursery| {
        let mut children: Vec<usize> = nursery
            .tasks
            .iter()
            .filter_map(|id| index.get(id).copied())
            .collect();
        children.sort_unstable();
        children
    };
    let of_task = |task: &Task| {
        let waited_for = task.waits_on.as_ref().map(|on| on.id);
        let nurseries = task.trio.iter().flat_map(|trio| &trio.nurseries);
        let groups = task.open_groups.iter().filter(|group| !group.tasks.is_empty());
        nurseries
            .chain(groups)
            .filter(|nursery| Some(nursery.id) != waited_for)
            .map(children)
            .collect()
    };
    tasks.iter().map(of_task).collect()
}

/// Everything that is below each task: what it waits for, and the children of its nurseries.
fn below(waits_for: &[Vec<usize>], nurseries: &[Vec<Vec<usize>>]) -> Vec<Vec<usize>> {
    let of_task = |(waits, nurseries): (&Vec<usize>, &Vec<Vec<usize>>)| {
        let mut below: Vec<usize> = waits.iter().chain(nurseries.iter().flatten()).copied().collect();
        below.sort_unstable();
        below.dedup();
        below
    };
    waits_for.iter().zip(nurseries).map(of_task).collect()
}

/// Strongly connected components of a graph.
struct Components {
    /// What a component leads to comes before it.
    members: Vec<Vec<usize>>,
    /// The component of each task.
    component: Vec<usize>,
}

impl Components {
    fn of(edges: &[Vec<usize>]) -> Self {
        let members = components(edges);
        let component = component_of_each(&members, edges.len());
        Self { members, component }
    }

    fn roots(&self, edges: &[Vec<usize>]) -> Vec<usize> {
        roots(&self.members, &self.component, edges)
    }
}

/// Strongly connected components; what a component waits for comes before it.
fn components(waits_for: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut graph = DiGraph::<(), (), usize>::with_capacity(waits_for.len(), waits_for.len());
    for _ in waits_for {
        graph.add_node(());
    }
    for (awaiter, waited_for) in pairs(waits_for) {
        graph.add_edge(awaiter.into(), waited_for.into(), ());
    }
    // Tarjan's algorithm, as petgraph has it, recurses: ten thousand tasks in a row would overflow the stack.
    let sorted = |component: Vec<petgraph::graph::NodeIndex<usize>>| {
        let mut positions: Vec<usize> = component.into_iter().map(|node| node.index()).collect();
        positions.sort_unstable();
        positions
    };
    kosaraju_scc(&graph).into_iter().map(sorted).collect()
}

fn pairs(waits_for: &[Vec<usize>]) -> impl Iterator<Item = (usize, usize)> {
    waits_for
        .iter()
        .enumerate()
        .flat_map(|(awaiter, waits)| waits.iter().map(move |waited_for| (awaiter, *waited_for)))
}

fn component_of_each(components: &[Vec<usize>], tasks: usize) -> Vec<usize> {
    let mut component = vec![0; tasks];
    for (number, members) in components.iter().enumerate() {
        for member in members {
            component[*member] = number;
        }
    }
    component
}

fn is_cycle(members: &[usize], waits_for: &[Vec<usize>]) -> bool {
    members.len() > 1 || members.iter().any(|member| waits_for[*member].contains(member))
}

fn cycles(components: &[Vec<usize>], waits_for: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut cycles: Vec<_> = components
        .iter()
        .filter(|members| is_cycle(members, waits_for))
        .cloned()
        .collect();
    cycles.sort_unstable();
    cycles
}

fn roots(components: &[Vec<usize>], component: &[usize], waits_for: &[Vec<usize>]) -> Vec<usize> {
    let mut awaited = vec![false; components.len()];
    for (awaiter, waited_for) in pairs(waits_for) {
        awaited[component[waited_for]] |= component[awaiter] != component[waited_for];
    }
    let mut roots: Vec<usize> = components
        .iter()
        .zip(awaited)
        .filter(|(_, awaited)| !awaited)
        .filter_map(|(members, _)| members.first().copied())
        .collect();
    roots.sort_unstable();
    roots
}

#[cfg(test)]
mod tests;
