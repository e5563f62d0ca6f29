//! What memory a process has.

use std::fs;

use anyhow::Context;

/// Pages of a process that are there, in KiB, by what they belong to (`/proc/PID/status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    pub anonymous: u64,
    pub file: u64,
    pub shared: u64,
    /// What is not there but in swap space.
    pub swapped: u64,
}

impl Resident {
    /// That of process `pid`.
    ///
    /// # Errors
    /// When it has ended.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
            number
                .and_then(|number| number.parse().ok())
                .with_context(|| format!("process {pid} has no {name}"))
        };
        Ok(Self {
            anonymous: field("RssAnon:")?,
            file: field("RssFile:")?,
            shared: field("RssShmem:")?,
            swapped: field("VmSwap:")?,
        })
    }
}
