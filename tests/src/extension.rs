//! Extension modules in C, compiled on this machine for an interpreter of its own or of another root.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use tempfile::TempDir;

use crate::environment::Python;
use crate::settings::Settings;
use crate::tool;

/// The headers of an interpreter, as this process sees them.
#[derive(Clone, Debug)]
pub struct Headers {
    folder: PathBuf,
    /// What they include besides is there, where that is not this machine's own.
    others: Option<PathBuf>,
}

impl Headers {
    /// Those of `python`, which may not be there.
    ///
    /// # Errors
    /// When it cannot be asked where.
    pub fn of(python: &Python) -> anyhow::Result<Self> {
        let root = python.root();
        let settings = Settings::of(python)?;
        let inside = settings.headers();
        Ok(Self {
            folder: root.join(inside.strip_prefix("/").unwrap_or(inside)),
            others: (root != Path::new("/")).then(|| root.join("usr/include")),
        })
    }

    /// Whether there is a header of this name.
    pub fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// The compiler, which finds the headers in these of their folders.
    pub fn compiler(&self, folders: &[&str]) -> Command {
        let mut command = Command::new("cc");
        for folder in folders {
            command.arg("-I").arg(self.folder.join(folder));
        }
        if let Some(others) = &self.others {
            command.arg("-idirafter").arg(others);
        }
        command
    }
}

/// A compiled module. It is removed with this value.
pub struct Extension {
    _folder: TempDir,
    /// Its folder, as the interpreter sees it.
    seen: PathBuf,
}

impl Extension {
    /// Compiles `source` as `python`'s module `name`.
    ///
    /// # Errors
    /// When it does not compile.
    pub fn build(python: &Python, source: &Path, name: &str) -> anyhow::Result<Self> {
        let root = python.root();
        let folder = TempDir::new_in(root.join("tmp"))?;
        let mut compiler = Headers::of(python)?.compiler(&[""]);
        compiler.args(["-shared", "-fPIC", "-O1", "-w"]).arg(source);
        compiler
            .arg("-o")
            .arg(folder.path().join(name).with_extension("so"));
        let outcome = tool::run_command(compiler)?;
        ensure!(outcome.status.success(), "{name}: {}", outcome.stderr);
        let seen = Path::new("/").join(folder.path().strip_prefix(root)?);
        Ok(Self {
            _folder: folder,
            seen,
        })
    }

    /// The command that runs a file of `tests/targets`, which can import the module.
    pub fn target_command(&self, python: &Python, file: &str) -> Command {
        let mut command = python.target_command(file);
        command.env("PYTHONPATH", &self.seen);
        command
    }
}
