//! Why a recording was kept.

/// A condition held while a recording went on, which is why it was kept, or one more of these.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Trigger {
    /// As it was given.
    pub condition: String,
    /// What has made it true: of which process, and what was seen of it. Not escaped.
    pub what: String,
    /// When that was found: by the clock of the machine, and in ns since the recording began.
    pub at: jiff::Timestamp,
    pub since: u64,
}
