//! What is seen of one target under trace, as plain values: all that its profile is made of, and nothing else.

use awaitwhat_common::event::TaskState;
use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use super::account::TaskId;
use super::holds::Hold;
use super::ledger::Look;
use super::split::Thing;
use crate::chains::ChainId;
use crate::decode::{Origin, TaskRecord};
use crate::memory::Address;
use crate::snapshot::Losses;

/// One thing that was seen. Moments (`at`, in ns) are counted since the target was first looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// All loops are looked at once more; when, in ms.
    Tick { at_ms: u64 },
    /// What a chain looks like from here on: one that is new, or of which more is known.
    Chain { chain: ChainId, look: Look },
    /// What ran when the slice began.
    Ran { origin: Origin, chain: ChainId },
    /// A task was met. One that `is_running` is counted by the slice, where that says the same.
    Met {
        origin: Origin,
        task: TaskId,
        is_running: bool,
        chain: ChainId,
        /// The future that wakes it, or null: where it is another one than before, the task has gone on.
        future: Address,
    },
    /// In the look that comes the loop's thread waits for a CPU: it does not sleep. For how long (ns) it had done so since it began.
    Waits { event_loop: LoopId, waited: u64 },
    /// A task was met that could not be read.
    Unread { origin: Origin, task: TaskId },
    /// A slice has ended.
    Slice { origin: Origin, status: SliceStatus },
    /// Of `tasks` tasks that a part of a pass has met in a chain, some were asked what they wait for.
    Answers {
        chain: ChainId,
        event_loop: LoopId,
        pass: u64,
        at: u64,
        tasks: u64,
        things: Vec<Thing>,
    },
    /// Tasks of a chain were asked, and none has told.
    AskedInVain { chain: ChainId },
    /// A whole pass has met nobody in these chains.
    Left { at: u64, chains: Vec<ChainId> },
    /// Names were checked. Of the chains that are `retired`, what they were credited with since the last check may be another's.
    Checked { retired: Vec<ChainId> },
    /// Nothing refers to these chains any more.
    LetGo { at: u64, chains: Vec<ChainId> },
    /// A loop has ended; or it goes on, and is walked anew.
    Ended {
        event_loop: LoopId,
        at: u64,
        goes_on: bool,
    },
    /// A turn is over that held its loop for long.
    Held(Hold),
    /// What was lost until now.
    Lost(Losses),
    /// Sums took more room than there is: the least are added up.
    Fold,
    /// What was seen until now was not the target's own.
    Disowned,
    /// The target is looked at no longer.
    End(End),
}

/// How the trace of a target ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub at: u64,
    /// The target ended, or became another program.
    pub has_exited: bool,
    /// As in [`Observation::Checked`].
    pub retired: Vec<ChainId>,
}

impl Observation {
    /// The visit of a task, or of what ran, whose chain was read.
    pub fn of_task(record: &TaskRecord<'_>, chain: ChainId) -> Self {
        let origin = record.origin;
        if record.address.is_null() {
            return Self::Ran { origin, chain };
        }
        Self::Met {
            origin,
            task: TaskId::of(record),
            // What a slice begins with knows nothing of a task inside a greenlet: its visits count.
            is_running: record.state == TaskState::Running && !record.is_apart,
            chain,
            future: record.fut_waiter,
        }
    }
}
