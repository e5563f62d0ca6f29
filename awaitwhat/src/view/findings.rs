//! What is found besides the tasks of a snapshot, in words.

use std::io::{self, Write};

use super::style::{WARNING, styled};
use super::{blocked, deadlock, warnings};
use crate::findings::Finding;
use crate::snapshot::Snapshot;

/// Writes what is found, each on a line, before anything else of the snapshot. Below a loop that does not turn stand the frames of the callback that
/// holds it, as no task has them.
pub(super) fn write(snapshot: &Snapshot, output: &mut impl Write) -> io::Result<()> {
    for finding in &snapshot.findings {
        writeln!(output, "{}", styled(WARNING, describe(finding)))?;
        if let Finding::BlockedLoop(blocked) = finding {
            blocked::write_frames(blocked, output)?;
        }
    }
    Ok(())
}

/// A finding as one line.
pub(crate) fn describe(finding: &Finding) -> String {
    match finding {
        Finding::BlockedLoop(blocked) => blocked::describe(blocked),
        Finding::Deadlock(deadlock) => deadlock::describe(deadlock),
        Finding::UsedUp(used_up) => warnings::used_up(used_up),
        Finding::CancelledButWaits(waiting) => warnings::cancelled(waiting),
        Finding::SlowWait(slow) => warnings::slow(slow),
        Finding::NeverWoken(never_woken) => warnings::never_woken(never_woken),
    }
}
