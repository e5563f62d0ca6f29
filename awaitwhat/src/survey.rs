//! What came of looking at several processes.

/// A process that was asked for and is not shown.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Refused {
    pub pid: u32,
    /// Its name, empty where there is no such process.
    pub command: String,
    pub reason: String,
}

/// Who is not shown, of those that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Refusals {
    /// Processes that were named and could not be looked at, and Pythons that could not be read, in ascending order of their ids.
    pub each: Vec<Refused>,
    /// How many there were besides: where processes come and go, not all are remembered.
    pub others: u64,
    /// Whether some that may be asked for are hidden by `/proc`: nobody knows how many.
    pub are_hidden: bool,
}

impl Refusals {
    /// Whether all are shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.each.is_empty() && self.others == 0 && !self.are_hidden
    }
}

/// What came of looking at the processes of a selection.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey<T> {
    /// What was found, one for each process; of a process that began another program, one for each program.
    pub targets: Vec<T>,
    pub refused: Refusals,
}
