//! Why the walk of a task ended, and why a slice of a pass ended.

/// How the walk of one task ended; travels in every task record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TaskStatus {
    /// The chain was read to its terminal awaitable.
    Complete = 0,
    /// The chain is deeper than the bound; the innermost part is missing.
    Truncated = 1,
    /// A read failed: nothing is mapped there, or the pointer is garbage.
    Fault = 2,
    /// The structures contradict each other: the task was changing while it was read. Never shown as a chain.
    Torn = 3,
    /// A task of a type that the layout does not know, or a task written in Python whose attributes are not where those of its
    /// class are.
    Opaque = 4,
    /// It leads to memory that is not read, as a read could do harm ([`crate::reads`]).
    Refused = 5,
}

impl TaskStatus {
    /// The status that `value` stands for, if any.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Complete),
            1 => Some(Self::Truncated),
            2 => Some(Self::Fault),
            3 => Some(Self::Torn),
            4 => Some(Self::Opaque),
            5 => Some(Self::Refused),
            _ => None,
        }
    }
}

/// How one slice (an uninterrupted run of the walker) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SliceStatus {
    /// The pass over all registries is complete.
    PassComplete = 0,
    /// The budget (time or, for the iterator, room in the ring buffer) is used up; the next slice continues.
    Budget = 1,
    /// The thread ran while the iterator walked; the next slice continues.
    Disturbed = 2,
    /// The thread is on a CPU: the iterator cannot walk it, its own sampling event can.
    Running = 3,
    /// The thread has not run since the last complete, undisturbed pass: that pass is still true.
    Unchanged = 4,
    /// The registry itself could not be read or contradicts itself: the pass starts anew, or goes on from the last node of a list
    /// that is still linked.
    RegistryTorn = 5,
    /// The process has replaced itself by another program (`execve`): what is known of it holds no longer.
    Replaced = 6,
}

impl SliceStatus {
    /// The status that `value` stands for, if any.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::PassComplete),
            1 => Some(Self::Budget),
            2 => Some(Self::Disturbed),
            3 => Some(Self::Running),
            4 => Some(Self::Unchanged),
            5 => Some(Self::RegistryTorn),
            6 => Some(Self::Replaced),
            _ => None,
        }
    }
}
