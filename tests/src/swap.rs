//! Swap space of the tests' own.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::ensure;
use tempfile::NamedTempFile;

use crate::tool;

/// A file that the kernel swaps to. It is given back with this value.
#[derive(Debug)]
pub struct Swap {
    file: NamedTempFile,
}

impl Swap {
    /// What is enough to find out whether it can be had at all.
    pub const LEAST_MIB: usize = 1;

    /// Has the kernel swap to a new file of this size.
    ///
    /// # Errors
    /// When there is no room for it, or the kernel or its file system does not allow it.
    pub fn add(mebibytes: usize) -> anyhow::Result<Self> {
        let mut file = NamedTempFile::new()?;
        fs::set_permissions(file.path(), Permissions::from_mode(0o600))?;
        // One with holes is refused.
        let zeros = vec![0; 1 << 20];
        for _ in 0..mebibytes {
            file.write_all(&zeros)?;
        }
        file.as_file().sync_all()?;
        let swap = Self { file };
        swap.run("mkswap")?;
        swap.run("swapon")?;
        Ok(swap)
    }

    fn run(&self, program: &str) -> anyhow::Result<()> {
        let mut command = Command::new(program);
        command.arg(self.file.path());
        let outcome = tool::run_command(command)?;
        let said = outcome.stderr.lines().next().unwrap_or_default();
        ensure!(outcome.status.success(), "{program}: {said}");
        Ok(())
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // An error means that it was never swapped to. What is in it comes back.
        let _ = self.run("swapoff");
    }
}
