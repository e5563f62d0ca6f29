//! How an interpreter was built, as it says itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::environment::Python;
use crate::tool;

const CODE: &str = "\
import json, sysconfig
print(json.dumps({key: str(value) for key, value in sysconfig.get_config_vars().items()}))";

/// The variables of `sysconfig`; paths are as the interpreter sees its file system.
pub struct Settings {
    variables: BTreeMap<String, String>,
}

impl Settings {
    /// Asks `python`.
    ///
    /// # Errors
    /// When it cannot be started, or does not say.
    pub fn of(python: &Python) -> anyhow::Result<Self> {
        let mut command = python.command();
        command.args(["-c", CODE]);
        let outcome = tool::run_command(command)?;
        let variables = serde_json::from_str(&outcome.stdout)
            .with_context(|| format!("settings of {}: {}", python.label, outcome.stderr))?;
        Ok(Self { variables })
    }

    /// A variable; empty where it is not known.
    pub fn get(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    /// The shared library, which the interpreter's own program does not always use.
    pub fn library(&self) -> PathBuf {
        Path::new(self.get("LIBDIR")).join(self.get("INSTSONAME"))
    }

    /// The folder of the headers.
    pub fn headers(&self) -> &Path {
        Path::new(self.get("INCLUDEPY"))
    }
}
