//! All chains of a profile as one tree, with the share of time that each branch has.

use std::collections::HashMap;
use std::io::{self, Write};

use super::branches::{Branches, Place};
use super::escape::fitted;
use super::style::{FAINT, HEADING, styled};
use super::tree::{frame_line, plural, times};
use crate::profile::{Chain, ChainState, Profile, ratio};
use crate::resource::Resource;
use crate::snapshot::Frame;

/// Branches with a smaller share of the time are left out.
const MIN_SHARE: f64 = 0.005;
/// Columns that the name of what is waited for may take.
const WAIT_WIDTH: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Label<'a> {
    Root,
    Frame(&'a Frame),
    /// What a chain ends in: what is waited for, or the type of the awaitable.
    End(Option<&'a Resource>, Option<&'a str>),
}

impl<'a> Label<'a> {
    fn end(chain: &'a Chain) -> Self {
        let resource = chain.resource.as_deref();
        Self::End(resource, chain.terminal.as_deref().filter(|_| resource.is_none()))
    }
}

struct Node<'a> {
    label: Label<'a>,
    seconds: f64,
    children: Vec<usize>,
}

/// Writes the tree of the chains that waited. Shares are of the time of all of them.
///
/// # Errors
/// When `output` fails.
pub(super) fn write(profile: &Profile, output: &mut impl Write) -> io::Result<()> {
    let mut nodes = merge(profile);
    let whole = nodes[0].seconds;
    let left_out = prune(&mut nodes, whole);
    Drawing {
        nodes: &nodes,
        whole,
        branches: Branches::default(),
    }
    .draw(output)?;
    if left_out.branches > 0 {
        let share = 100.0 * ratio(left_out.seconds, whole);
        let note = format!(
            "{:>5.1} %  {:>9.2}  left out: {}, less than {} % each",
            share,
            left_out.seconds,
            plural(left_out.branches, "branch", "branches"),
            100.0 * MIN_SHARE
        );
        writeln!(output, "{}", styled(FAINT, note))?;
    }
    Ok(())
}

fn merge(profile: &Profile) -> Vec<Node<'_>> {
    let mut nodes = vec![Node {
        label: Label::Root,
        seconds: 0.0,
        children: Vec::new(),
    }];
    let mut known: HashMap<(usize, Label<'_>), usize> = HashMap::new();
    for chain in profile
        .chains
        .iter()
        .filter(|chain| chain.state == ChainState::Waiting)
    {
        let frames = chain.stack.iter().rev().map(Label::Frame);
        nodes[0].seconds += chain.task_seconds;
        let mut parent = 0;
        for label in frames.chain([Label::end(chain)]) {
            let node = *known.entry((parent, label)).or_insert_with(|| {
                nodes.push(Node {
                    label,
                    seconds: 0.0,
                    children: Vec::new(),
                });
                let number = nodes.len() - 1;
                nodes[parent].children.push(number);
                number
            });
            nodes[node].seconds += chain.task_seconds;
            parent = node;
        }
    }
    nodes
}

struct LeftOut {
    branches: usize,
    seconds: f64,
}

/// Takes small branches out and puts the others in order, the largest first.
fn prune(nodes: &mut [Node<'_>], whole: f64) -> LeftOut {
    let mut left_out = LeftOut {
        branches: 0,
        seconds: 0.0,
    };
    let seconds: Vec<f64> = nodes.iter().map(|node| node.seconds).collect();
    let mut kept = vec![0];
    while let Some(number) = kept.pop() {
        let children = &mut nodes[number].children;
        children.retain(|child| {
            let keep = ratio(seconds[*child], whole) >= MIN_SHARE;
            if !keep {
                left_out.branches += 1;
                left_out.seconds += seconds[*child];
            }
            keep
        });
        children.sort_by(|one, other| seconds[*other].total_cmp(&seconds[*one]));
        kept.extend(children.iter());
    }
    left_out
}

struct Drawing<'a> {
    nodes: &'a [Node<'a>],
    whole: f64,
    branches: Branches,
}

impl Drawing<'_> {
    fn draw(mut self, output: &mut impl Write) -> io::Result<()> {
        let tops = self.nodes[0].children.iter().map(|child| (*child, Place::Top));
        // Nodes to draw, the next one last; `None` is the way back up.
        let mut ahead: Vec<Option<(usize, Place)>> = tops.rev().map(Some).collect();
        while let Some(next) = ahead.pop() {
            let Some((node, place)) = next else {
                self.branches.leave();
                continue;
            };
            let end = self.draw_run(node, place, output)?;
            ahead.push(None);
            let children = &self.nodes[end].children;
            let last = children.len().saturating_sub(1);
            let places = children.iter().enumerate().map(|(position, child)| {
                (
                    *child,
                    if position == last {
                        Place::Last
                    } else {
                        Place::Middle
                    },
                )
            });
            ahead.extend(places.rev().map(Some));
        }
        Ok(())
    }

    /// Draws nodes one below the other as long as each has one child, and returns the last of them.
    fn draw_run(&mut self, first: usize, place: Place, output: &mut impl Write) -> io::Result<usize> {
        let run = std::iter::successors(Some(first), |node| match self.nodes[*node].children[..] {
            [only] => Some(only),
            _ => None,
        });
        let run: Vec<usize> = run.collect();
        let last = run.last().copied().unwrap_or(first);
        let mut before = self.branches.before_entry(place);
        let mut above = None;
        self.branches.enter(place);
        for equal in run.chunk_by(|one, other| self.look_the_same(*one, *other)) {
            self.draw_line(equal, above, &before, output)?;
            before = self.branches.before_line(!self.nodes[last].children.is_empty());
            above = equal.last().copied();
        }
        Ok(last)
    }

    /// Whether two nodes, of which the one is the other's only child, are equal frames of the same chains.
    fn look_the_same(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.nodes[one], &self.nodes[other]);
        one.label == other.label && is_same(one.seconds, other.seconds)
    }

    /// Draws nodes that look the same. The numbers are left blank where they are those of the line above.
    fn draw_line(
        &self,
        equal: &[usize],
        above: Option<usize>,
        before: &str,
        output: &mut impl Write,
    ) -> io::Result<()> {
        let Some(Node { label, seconds, .. }) = equal.first().map(|first| &self.nodes[*first]) else {
            return Ok(());
        };
        let same = above.is_some_and(|above| is_same(self.nodes[above].seconds, *seconds));
        let share = 100.0 * ratio(*seconds, self.whole);
        let numbers = if same {
            " ".repeat(18)
        } else {
            format!("{share:>5.1} %  {seconds:>9.2}")
        };
        let content = match label {
            Label::Root => String::new(),
            Label::Frame(frame) => frame_line(frame),
            Label::End(Some(resource), _) => format!("waits for {}", fitted(&resource.called(), WAIT_WIDTH)),
            Label::End(None, Some(terminal)) => format!("waits for {}", fitted(terminal, WAIT_WIDTH)),
            Label::End(None, None) => "waits for something unknown".to_owned(),
        };
        let times = styled(HEADING, times(equal.len()));
        writeln!(output, "{numbers}  {}{content}{times}", styled(FAINT, before))
    }
}

/// Whether two times are equal but for what adding up makes of them.
fn is_same(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-9
}
