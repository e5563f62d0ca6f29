//! A Debian root in the cache, for the versions of CPython that need a newer Debian than the machine's.
//!
//! To awaitwhat it is a container: the target's files are in another root.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{debian, repo};

/// Minor versions of CPython 3 that it has.
pub const MINORS: [u32; 2] = [14, 15];
/// How the names of its debug builds end.
pub const DEBUG_BUILD: &str = "-dbg";
/// Where the targets are inside.
pub const TARGETS: &str = "/opt/awaitwhat/targets";
/// Where packages from PyPI are inside.
pub const PACKAGES: &str = "/opt/awaitwhat/packages";

const SUITE: &str = "sid";
/// Written last; names what the root was made of, so that another recipe makes it anew.
const STAMP: &str = "opt/awaitwhat/stamp";

/// The root's folder on this machine.
pub fn folder() -> Result<PathBuf> {
    Ok(repo::cache("roots")?.join(SUITE))
}

/// Makes the root where there is none, and copies the targets into it.
pub fn provide() -> Result<PathBuf> {
    let folder = folder()?;
    let recipe = recipe();
    if !fs::read_to_string(folder.join(STAMP)).is_ok_and(|stamp| stamp == recipe) {
        debian::make_root(SUITE, &packages(), &folder)?;
        copy_targets(&folder)?;
        fs::write(folder.join(STAMP), recipe).context("cannot note that the root is complete")?;
    }
    copy_targets(&folder)?;
    Ok(folder)
}

/// The Debian packages to include: interpreters, and headers to compile extensions and to look things up.
fn packages() -> String {
    MINORS
        .map(|minor| format!("python3.{minor},python3.{minor}{DEBUG_BUILD},libpython3.{minor}-dev"))
        .join(",")
}

fn recipe() -> String {
    format!("{SUITE} {}\n", packages())
}

/// Brings the root's copy of `tests/targets` up to date.
fn copy_targets(folder: &Path) -> Result<()> {
    let source = repo::root()?.join("tests/targets");
    let copy = folder.join(Path::new(TARGETS).strip_prefix("/")?);
    if copy.exists() {
        fs::remove_dir_all(&copy).with_context(|| format!("cannot remove {}", copy.display()))?;
    }
    fs::create_dir_all(&copy).with_context(|| format!("cannot make {}", copy.display()))?;
    for entry in fs::read_dir(&source).with_context(|| format!("cannot read {}", source.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "py") {
            let name = path.file_name().context("an entry without a name")?;
            fs::copy(&path, copy.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}
