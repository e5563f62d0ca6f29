//! What a result does not show, in words.

use crate::snapshot::Losses;

/// What the counts of tasks refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// One snapshot: a task counts once.
    Tasks,
    /// A traced period: a task counts once per visit.
    Visits,
}

/// Describes every loss, one phrase each; nothing where nothing was lost.
///
/// `seen` is the number of tasks (or visits) that are shown, `max_frames` the depth at which chains were cut.
#[must_use]
pub fn describe(losses: &Losses, counted: Counted, seen: u64, max_frames: usize) -> Vec<String> {
    let all = seen
        .saturating_add(losses.torn)
        .saturating_add(losses.faults)
        .saturating_add(losses.opaque);
    let (noun, within) = match counted {
        Counted::Tasks => ("tasks", format!("of {all} tasks")),
        Counted::Visits => ("task visits", format!("of {all} task visits")),
    };
    let phrases = [
        (
            losses.truncated,
            format!("{within} truncated (chain deeper than {max_frames} frames)"),
        ),
        (
            losses.torn,
            format!("{within} left out (changed while it was read)"),
        ),
        (
            losses.faults,
            format!("{within} left out (memory could not be read)"),
        ),
        (
            losses.opaque,
            format!("{within} left out (pure-Python tasks cannot be read)"),
        ),
        (
            losses.ring_buffer_full,
            format!("records lost (ring buffer full): fewer {noun} than there were"),
        ),
        (losses.undecodable, "records not understood".to_owned()),
        (
            losses.stale,
            "frames without a name (code object changed, or could not be read)".to_owned(),
        ),
        (
            losses.restarts,
            "passes begun anew (the list of tasks changed meanwhile)".to_owned(),
        ),
    ];
    phrases
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, phrase)| format!("{count} {phrase}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Counted, describe};
    use crate::snapshot::Losses;

    #[test]
    fn nothing_lost_says_nothing() {
        assert!(describe(&Losses::default(), Counted::Tasks, 7, 512).is_empty());
    }

    #[test]
    fn every_loss_is_told() {
        let losses = Losses {
            torn: 1,
            faults: 2,
            truncated: 3,
            ring_buffer_full: 4,
            undecodable: 5,
            stale: 6,
            restarts: 7,
            opaque: 8,
        };
        insta::assert_snapshot!(describe(&losses, Counted::Tasks, 30, 512).join("\n"), @"
        3 of 41 tasks truncated (chain deeper than 512 frames)
        1 of 41 tasks left out (changed while it was read)
        2 of 41 tasks left out (memory could not be read)
        8 of 41 tasks left out (pure-Python tasks cannot be read)
        4 records lost (ring buffer full): fewer tasks than there were
        5 records not understood
        6 frames without a name (code object changed, or could not be read)
        7 passes begun anew (the list of tasks changed meanwhile)
        ");
    }
}
