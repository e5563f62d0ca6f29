//! What stays of a timeline are called.

use crate::origin;
use crate::profile::{ChainState, SeenChain, Timeline};
use crate::snapshot::Frame;
use crate::view::escape::{Escaped, named};

/// What is told of the stays in one chain. Escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StayText {
    pub(super) state: &'static str,
    /// What a slice is called: the function of the await point and what it awaits; of what did not wait, the state.
    pub(super) name: String,
    /// What a chain ends in: what is waited for, or the state.
    pub(super) leaf: String,
    /// The await point, or where it is at work: `function (file:line)`.
    pub(super) place: String,
    /// All frames, outermost first.
    pub(super) chain: String,
    /// What tasks were found to wait for here, where that is not one thing only.
    pub(super) waited_for: Vec<String>,
}

/// The text of each chain of a timeline.
pub(super) fn of_chains(timeline: &Timeline) -> Vec<StayText> {
    timeline.chains.iter().map(of_chain).collect()
}

fn of_chain(seen: &SeenChain) -> StayText {
    let look = &seen.look;
    let index = origin::await_point(&look.stack);
    let frames: Vec<String> = look.stack.iter().rev().map(frame_text).collect();
    let alike = |state: &'static str| (state, state.to_owned(), state.to_owned());
    let (state, name, leaf) = match look.state {
        ChainState::Ready => alike("ready"),
        ChainState::Running => alike("running"),
        ChainState::Waiting => ("waiting", waiting(seen, index), waited_for(seen)),
    };
    let things = seen.things.iter();
    let things = things.map(|thing| match thing {
        Some(thing) => Escaped(&thing.called()).to_string(),
        None => "something that no rule knows".to_owned(),
    });
    StayText {
        state,
        name,
        leaf,
        place: look.stack.get(index).map(frame_text).unwrap_or_default(),
        chain: frames.join(" > "),
        waited_for: if seen.resource().is_some() {
            Vec::new()
        } else {
            things.collect()
        },
    }
}

/// What is waited for, or the type of what the chain ends in.
fn waited_for(seen: &SeenChain) -> String {
    let text = match (seen.resource(), &seen.look.terminal) {
        (Some(resource), _) => resource.called(),
        (None, Some(terminal)) => named(terminal).to_owned(),
        (None, None) => "?".to_owned(),
    };
    Escaped(&text).to_string()
}

/// What a wait is called.
fn waiting(seen: &SeenChain, index: usize) -> String {
    let look = &seen.look;
    let inner = index.checked_sub(1).and_then(|inner| look.stack.get(inner));
    let awaits = match (seen.resource(), inner, &look.terminal) {
        (Some(resource), ..) => resource.called(),
        (None, Some(inner), _) => named(&inner.function).to_owned(),
        (None, None, Some(terminal)) => named(terminal).to_owned(),
        (None, None, None) => "?".to_owned(),
    };
    let text = match look.stack.get(index) {
        Some(frame) => format!("{}: {awaits}", named(&frame.function)),
        None => awaits,
    };
    Escaped(&text).to_string()
}

/// A frame in words: `function (file:line)`.
fn frame_text(frame: &Frame) -> String {
    let text = match (frame.file.is_empty(), frame.line) {
        (true, _) => named(&frame.function).to_owned(),
        (false, 0) => format!("{} ({})", named(&frame.function), frame.file),
        (false, line) => format!("{} ({}:{line})", named(&frame.function), frame.file),
    };
    Escaped(&text).to_string()
}
