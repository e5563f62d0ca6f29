//! The Debian package: the same files, where Debian has them. It runs no scripts, and starts nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Dist, copy, copy_folder, write};
use crate::repo;

/// What is installed where the folder of the stage has another place for it.
const PLACES: [(&str, &str); 8] = [
    ("awaitwhat", "usr/bin/awaitwhat"),
    (
        "completions/awaitwhat.bash",
        "usr/share/bash-completion/completions/awaitwhat",
    ),
    (
        "completions/_awaitwhat",
        "usr/share/zsh/vendor-completions/_awaitwhat",
    ),
    (
        "completions/awaitwhat.fish",
        "usr/share/fish/vendor_completions.d/awaitwhat.fish",
    ),
    (
        "dist/awaitwhat.service",
        "usr/lib/systemd/system/awaitwhat.service",
    ),
    ("README.md", "usr/share/doc/awaitwhat/README.md"),
    ("CHANGELOG.md", "usr/share/doc/awaitwhat/changelog"),
    (
        "LICENSES-OF-DEPENDENCIES.txt",
        "usr/share/doc/awaitwhat/LICENSES-OF-DEPENDENCIES.txt",
    ),
];

/// Builds it beside the archive.
pub fn build(dist: &Dist) -> Result<PathBuf> {
    let tree = dist.folder.join("deb");
    for (from, to) in PLACES {
        copy(&dist.stage.join(from), &tree.join(to))?;
    }
    let documents = tree.join("usr/share/doc/awaitwhat");
    copy_folder(&dist.stage.join("docs"), &documents.join("docs"))?;
    write(&documents.join("copyright"), &copyright(dist)?)?;
    let pages = tree.join("usr/share/man/man1");
    copy_folder(&dist.stage.join("man/man1"), &pages)?;
    compress(&files(&pages)?)?;
    compress(&[documents.join("changelog")])?;
    write(&tree.join("DEBIAN/control"), &control(dist, size(&tree)?))?;
    let file = dist.folder.join(format!("awaitwhat_{}_amd64.deb", dist.version));
    repo::run(Command::new("chmod").args(["-R", "u+rwX,go+rX,go-w"]).arg(&tree))?;
    repo::run(
        Command::new("dpkg-deb")
            // Times that are later become this one.
            .env("SOURCE_DATE_EPOCH", &dist.time)
            // What xz makes may depend on the number of processors.
            .args(["--root-owner-group", "-Zgzip", "--build"])
            .arg(&tree)
            .arg(&file),
    )?;
    Ok(file)
}

fn control(dist: &Dist, kilobytes: u64) -> String {
    format!(
        "Package: awaitwhat\n\
         Version: {}\n\
         Architecture: amd64\n\
         Maintainer: The authors of awaitwhat <authors@awaitwhat.invalid>\n\
         Section: devel\n\
         Priority: optional\n\
         Installed-Size: {kilobytes}\n\
         Suggests: python3\n\
         Description: tells what the tasks of a running asyncio program wait for\n \
         Attaches to an unmodified CPython 3.7 to 3.15, reads its tasks and coroutines\n \
         through eBPF, and says who waits for whom, where, and which await points\n \
         dominate over time. The program is not stopped, and nothing is injected.\n \
         .\n \
         It needs Linux 6.1 or newer, and root or the capabilities CAP_BPF and\n \
         CAP_PERFMON, which the package does not give it.\n",
        dist.version
    )
}

fn copyright(dist: &Dist) -> Result<String> {
    let text =
        |name: &str| fs::read_to_string(dist.stage.join(name)).with_context(|| format!("cannot read {name}"));
    Ok(format!(
        "awaitwhat is licensed under the MIT license or the Apache License 2.0, as you like.\n\
         The licences of what is linked into it are in LICENSES-OF-DEPENDENCIES.txt.\n\n{}\n\n{}",
        text("LICENSE-MIT")?,
        text("LICENSE-APACHE")?
    ))
}

fn compress(files: &[PathBuf]) -> Result<()> {
    repo::run(
        Command::new("gzip")
            .args(["--no-name", "--best", "--force"])
            .args(files),
    )
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// In the unit of `Installed-Size`.
fn size(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for file in files(folder)? {
        sum += if file.is_dir() {
            size(&file)?
        } else {
            fs::metadata(&file)?.len().div_ceil(1024)
        };
    }
    Ok(sum)
}
