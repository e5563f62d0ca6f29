//! What `doctor` finds out: one check, one answer, one remedy.

/// The answer to one question about the machine or the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in a few words: `CAP_BPF`, `kernel type information (BTF)`.
    pub name: String,
    pub status: CheckStatus,
    /// What was found and what it means, one sentence.
    pub meaning: String,
    /// The command, or the step, that mends it.
    pub remedy: Option<String>,
    /// What the kernel itself said, word for word; empty where it said nothing.
    pub verbatim: String,
    pub concerns: Concern,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckStatus {
    Ok,
    /// It is not there, and nothing works without it.
    Missing,
    /// It is not there, or not known to be there; things may work all the same.
    Unknown,
}

/// Who has to be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The kernel and the privileges.
    Machine,
    /// The process to look at.
    Target,
}

impl Check {
    /// A check that went well.
    #[must_use]
    pub fn ok(concerns: Concern, name: impl Into<String>, meaning: impl Into<String>) -> Self {
        Self::new(concerns, CheckStatus::Ok, name, meaning, None)
    }

    /// Something is missing, and `remedy` mends it.
    #[must_use]
    pub fn missing(
        concerns: Concern,
        name: impl Into<String>,
        meaning: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self::new(concerns, CheckStatus::Missing, name, meaning, remedy)
    }

    /// Something could not be found out, or is not as it should be without being an obstacle.
    #[must_use]
    pub fn unknown(
        concerns: Concern,
        name: impl Into<String>,
        meaning: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self::new(concerns, CheckStatus::Unknown, name, meaning, remedy)
    }

    /// With what the kernel itself said.
    #[must_use]
    pub fn quoting(mut self, verbatim: impl Into<String>) -> Self {
        self.verbatim = verbatim.into();
        self
    }

    fn new(
        concerns: Concern,
        status: CheckStatus,
        name: impl Into<String>,
        meaning: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self {
            name: name.into(),
            status,
            meaning: meaning.into(),
            remedy,
            verbatim: String::new(),
            concerns,
        }
    }
}
