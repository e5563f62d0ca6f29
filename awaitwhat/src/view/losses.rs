//! What a result does not show, in words.

use crate::snapshot::{Losses, Snapshot};

/// A snapshot that took no longer passes for one moment, in seconds.
const MOMENT: f64 = 0.01;

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
        .saturating_add(losses.refused)
        .saturating_add(losses.opaque);
    let noun = match counted {
        Counted::Tasks => "tasks",
        Counted::Visits => "task visits",
    };
    let of_all = |count, what: &str| (count, format!("{count} of {all} {noun} {what}"));
    let some = |count, one: &str, many: &str, what: &str| {
        (
            count,
            format!("{count} {} {what}", if count == 1 { one } else { many }),
        )
    };
    let too_deep = format!("truncated (chain deeper than {max_frames} frames)");
    let fewer = format!("lost (ring buffer full): fewer {noun} than there were");
    let phrases = [
        of_all(losses.truncated, &too_deep),
        of_all(losses.torn, "left out (changed while it was read)"),
        of_all(losses.faults, "left out (memory could not be read)"),
        of_all(
            losses.refused,
            "left out (memory that is not read, as that could do harm)",
        ),
        of_all(losses.opaque, "left out (of a kind that cannot be read)"),
        some(losses.ring_buffer_full, "record", "records", &fewer),
        some(losses.undecodable, "record", "records", "not understood"),
        some(
            losses.stale,
            "frame",
            "frames",
            "without a name (code object changed, or could not be read)",
        ),
        some(
            losses.restarts,
            "pass",
            "passes",
            "begun anew (the list of tasks changed meanwhile)",
        ),
        some(
            losses.incomplete,
            "list of tasks",
            "lists of tasks",
            "not read to the end: tasks are missing",
        ),
        some(
            losses.folded,
            "chain",
            "chains",
            "added up as `<other chains>` (too many, or of too long names)",
        ),
        of_all(
            losses.edges,
            "shown without some of the tasks that they wait for (could not be told for certain, or too many)",
        ),
        some(
            losses.running,
            "sample",
            "samples",
            "could not tell what ran: its time is missing",
        ),
        of_all(
            losses.names,
            "without a name (it was gone before it could be read)",
        ),
        of_all(
            losses.short_names,
            "with a part of their names (too many, or too long ones)",
        ),
        of_all(
            losses.nurseries,
            "shown without some of their nurseries (too many, or could not be read)",
        ),
        of_all(
            losses.waits,
            "shown without what they wait for or hold (changed while it was read, or could not be read)",
        ),
    ];
    phrases
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(_, phrase)| phrase)
        .collect()
}

/// Says how long reading `snapshot` took where that is too long for one moment.
#[must_use]
pub fn describe_span(snapshot: &Snapshot) -> Option<String> {
    let milliseconds = snapshot.span_seconds * 1e3;
    (snapshot.span_seconds > MOMENT)
        .then(|| format!("Read over {milliseconds:.0} ms: what tasks do is up to that far apart."))
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
            refused: 1,
            truncated: 3,
            ring_buffer_full: 4,
            undecodable: 5,
            stale: 6,
            restarts: 7,
            opaque: 8,
            incomplete: 9,
            folded: 10,
            edges: 11,
            running: 12,
            names: 13,
            short_names: 14,
            nurseries: 15,
            waits: 16,
        };
        insta::assert_snapshot!(describe(&losses, Counted::Tasks, 30, 512).join("\n"), @"
        3 of 42 tasks truncated (chain deeper than 512 frames)
        1 of 42 tasks left out (changed while it was read)
        2 of 42 tasks left out (memory could not be read)
        1 of 42 tasks left out (memory that is not read, as that could do harm)
        8 of 42 tasks left out (of a kind that cannot be read)
        4 records lost (ring buffer full): fewer tasks than there were
        5 records not understood
        6 frames without a name (code object changed, or could not be read)
        7 passes begun anew (the list of tasks changed meanwhile)
        9 lists of tasks not read to the end: tasks are missing
        10 chains added up as `<other chains>` (too many, or of too long names)
        11 of 42 tasks shown without some of the tasks that they wait for (could not be told for certain, or too many)
        12 samples could not tell what ran: its time is missing
        13 of 42 tasks without a name (it was gone before it could be read)
        14 of 42 tasks with a part of their names (too many, or too long ones)
        15 of 42 tasks shown without some of their nurseries (too many, or could not be read)
        16 of 42 tasks shown without what they wait for or hold (changed while it was read, or could not be read)
        ");
    }
}
