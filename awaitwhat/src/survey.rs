//! What came of looking at several processes.

/// A process that was asked for and is not shown.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    pub pid: u32,
    /// Its name, empty where there is no such process.
    pub command: String,
    pub reason: String,
}

/// What came of looking at the processes of a selection.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey<T> {
    /// What was found, one for each process; of a process that began another program, one for each program.
    pub targets: Vec<T>,
    /// Processes that were named and could not be looked at, and Pythons that could not be read, in ascending order of their ids.
    pub refused: Vec<Refused>,
}
