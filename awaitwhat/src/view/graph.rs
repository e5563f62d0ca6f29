//! The graph of waits as a picture: tasks and what they wait for as boxes, who waits for what as arrows. What cannot go on is red.

use std::io::{self, Write};

use super::escape::fitted;
use super::{names, tree, waits};
use crate::graph::{Edge, EdgeKind, Node, WaitGraph};
use crate::origin;
use crate::resource::Resource;
use crate::snapshot::{Snapshot, Task, TaskState};

mod canvas;
mod dot;
mod svg;

pub use svg::TooLarge;

/// Columns that a line of a box may take.
const LINE_WIDTH: usize = 60;

/// Writes the graph of waits in the language of Graphviz.
///
/// # Errors
/// When `output` fails.
pub fn write_dot(snapshot: &Snapshot, output: &mut impl Write) -> io::Result<()> {
    dot::write(&Picture::new(snapshot), output)
}

/// The graph of waits as SVG.
///
/// # Errors
/// When it has too many boxes to be laid out.
pub fn svg(snapshot: &Snapshot) -> Result<String, TooLarge> {
    svg::drawn(&Picture::new(snapshot))
}

/// What there is to draw.
struct Picture {
    tiles: Vec<Tile>,
    arrows: Vec<Arrow>,
}

/// A box with some lines of text, which are escaped.
struct Tile {
    lines: Vec<String>,
    is_resource: bool,
    is_stuck: bool,
}

struct Arrow {
    edge: Edge,
    text: &'static str,
    is_stuck: bool,
}

impl Picture {
    fn new(snapshot: &Snapshot) -> Self {
        let graph = WaitGraph::new(snapshot);
        let by_id: waits::ById<'_> = snapshot.tasks.iter().map(|task| (task.id, task)).collect();
        let mut tiles: Vec<Tile> = Vec::new();
        for node in &graph.nodes {
            tiles.push(match node {
                Node::Tasks { members, is_stuck } => {
                    let tasks: Vec<&Task> = members.iter().filter_map(|it| snapshot.tasks.get(*it)).collect();
                    Tile {
                        lines: task_lines(&tasks, &graph, tiles.len(), &by_id),
                        is_resource: false,
                        is_stuck: *is_stuck,
                    }
                }
                Node::Resource(task) => resource_tile(snapshot, *task, &by_id),
            });
        }
        let is_stuck = |place: usize| tiles.get(place).is_some_and(|it| it.is_stuck);
        let is_thing = |place: usize| tiles.get(place).is_some_and(|it| it.is_resource);
        let arrow = |edge: &Edge| Arrow {
            edge: *edge,
            text: match edge.kind {
                EdgeKind::Awaits => "",
                EdgeKind::WaitsFor => "waits for",
                EdgeKind::HeldBy => "held by",
                EdgeKind::Opened => "has open",
            },
            is_stuck: (is_stuck(edge.from) || is_thing(edge.from))
                && (is_stuck(edge.to) || is_thing(edge.to)),
        };
        let arrows = graph.edges.iter().map(arrow).collect();
        Self { tiles, arrows }
    }
}

/// What is said of tasks that are equal: who they are, where they are, and what they wait for where no arrow says that.
fn task_lines(tasks: &[&Task], graph: &WaitGraph, place: usize, by_id: &waits::ById<'_>) -> Vec<String> {
    let Some(first) = tasks.first() else {
        return Vec::new();
    };
    let state = match first.state {
        TaskState::Running => " (running)",
        TaskState::Ready => " (ready)",
        TaskState::Pending => "",
    };
    let who = names::names(tasks.iter().copied());
    let mut lines = vec![format!("{who}{}{state}", tree::times(tasks.len()))];
    if let Some(frame) = first.stack.get(origin::await_point(&first.stack)) {
        let function = fitted(&frame.function, LINE_WIDTH);
        lines.push(format!(
            "{function}  {}",
            tree::location(frame.shown_file(), frame.line)
        ));
    }
    let is_drawn = |kind| {
        let mut edges = graph.edges.iter().filter(|edge| edge.from == place);
        edges.any(|edge| edge.kind == kind)
    };
    if is_drawn(EdgeKind::Awaits) || is_drawn(EdgeKind::WaitsFor) {
        return lines;
    }
    let resources: Vec<&Resource> = tasks.iter().filter_map(|task| resource(task)).collect();
    let end = first.waits_on.as_ref();
    let end = waits::sentence(&resources, by_id).or_else(|| end.and_then(|on| tree::wait_line(on, false)));
    lines.extend(
        first
            .waits_on
            .as_ref()
            .zip(end)
            .map(|(on, end)| waits::with_outcome(end, on)),
    );
    lines
}

fn resource(task: &Task) -> Option<&Resource> {
    task.waits_on.as_ref()?.resource.as_deref()
}

/// What is said of what several tasks wait for.
fn resource_tile(snapshot: &Snapshot, task: usize, by_id: &waits::ById<'_>) -> Tile {
    let known = snapshot.tasks.get(task).and_then(resource);
    let id = known.and_then(|it| it.id);
    let all = snapshot
        .tasks
        .iter()
        .filter_map(resource)
        .filter(|it| it.id == id);
    let said = waits::describe(&all.collect::<Vec<_>>(), by_id).unwrap_or_default();
    let lines = match said.split_once(" (") {
        Some((what, facts)) => vec![what.to_owned(), facts.trim_end_matches(')').to_owned()],
        None => vec![said],
    };
    Tile {
        lines,
        is_resource: true,
        is_stuck: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::WaitKind;
    use crate::testing::{HOSTILE, frame, small_service, snapshot, task};

    fn dot(snapshot: &Snapshot) -> String {
        let mut output = Vec::new();
        write_dot(snapshot, &mut output).expect("memory does not fail");
        String::from_utf8(output).expect("text is UTF-8")
    }

    #[test]
    fn a_small_service() {
        insta::assert_snapshot!(dot(&small_service()), @r#"
        digraph waits {
          rankdir=LR;
          node [shape=box, fontname="sans-serif", fontsize=11];
          edge [fontname="sans-serif", fontsize=9];
          n0 [label="Task-1\nmain  /srv/app.py:61"];
          n1 [label="worker-0, worker-1  x2\nPool.worker  /srv/app.py:20\nwaits for Future"];
          n2 [label="busy (running)\ncrunch  /srv/app.py:7"];
          n0 -> n1 [label=""];
          n0 -> n2 [label=""];
        }
        "#);
    }

    #[test]
    fn a_cycle_is_red_and_hostile_names_are_quoted() {
        let one = |id, name, other: u64| {
            task(id, name, &[frame(HOSTILE, "/srv/app.py", 1)]).waiting(WaitKind::Task, "Task", &[other])
        };
        let cycle = snapshot(vec![one(1, HOSTILE, 2), one(2, "b\\\"]", 1)]);
        insta::assert_snapshot!(dot(&cycle), @r#"
        digraph waits {
          rankdir=LR;
          node [shape=box, fontname="sans-serif", fontsize=11];
          edge [fontname="sans-serif", fontsize=9];
          n0 [label="a;b\\n\\x1b[31mred\\x07\\u{202e}evil\\x9b<&\"> 7\na;b\\n\\x1b[31mred\\x07\\u{202e}evil\\x9b<&\"> 7  /srv/app.py:1", color=red, penwidth=2];
          n1 [label="b\\\\\"]\na;b\\n\\x1b[31mred\\x07\\u{202e}evil\\x9b<&\"> 7  /srv/app.py:1", color=red, penwidth=2];
          n0 -> n1 [label="", color=red];
          n1 -> n0 [label="", color=red];
        }
        "#);
        let svg = svg(&cycle).expect("it is small");
        assert!(!svg.contains("<&"), "{svg}");
        assert!(svg.contains("&lt;&amp;"), "{svg}");
    }

    #[test]
    fn a_picture_is_as_large_as_what_is_drawn() {
        let long = "x".repeat(50);
        let one = snapshot(vec![task(1, &long, &[frame("work", "/srv/app.py", 1)])]);
        let drawn = svg(&one).expect("it is small");
        let (_, rest) = drawn.split_once("height=\"").expect("it has a height");
        let (height, _) = rest.split_once('"').expect("it ends");
        let height: f64 = height.parse().expect("it is a number");
        // Three lines, and the space around them.
        assert!((60.0..150.0).contains(&height), "{height}");
    }

    #[test]
    fn whatever_waits_for_whom_it_is_laid_out() {
        let mut random = fastrand::Rng::with_seed(7);
        for size in 0..40_u64 {
            let mut tasks = Vec::new();
            for id in 1..=size {
                let awaited: Vec<u64> = (0..random.usize(..4)).map(|_| random.u64(1..=size)).collect();
                let frames = [frame("work", "/srv/app.py", random.u32(..5))];
                tasks.push(task(id, &format!("task-{id}"), &frames).waiting_for(&awaited));
            }
            let drawn = svg(&snapshot(tasks)).expect("it is small");
            assert!(drawn.ends_with("</svg>"), "{size}");
        }
    }

    #[test]
    fn what_is_too_large_is_said_to_be() {
        let tasks = (1..=2000).map(|id| task(id, "same", &[frame("work", "/srv/app.py", id as u32)]));
        let many = snapshot(tasks.collect());
        let error = svg(&many).expect_err("it is too large").to_string();
        assert!(error.contains("--format dot"), "{error}");
        let folded = (1..=2000).map(|id| task(id, "same", &[frame("work", "/srv/app.py", 1)]));
        assert!(svg(&snapshot(folded.collect())).is_ok());
    }
}
