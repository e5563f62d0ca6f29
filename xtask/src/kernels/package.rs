//! Debian's packages of kernels, and of the shell inside the guests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{debian, repo};

/// Depends on the suite's kernel for virtual machines, whatever its version.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// How packages are called that hold a kernel or depend on one that does.
const KERNEL_PACKAGES: [&str; 2] = ["linux-image-", "linux-binary-"];
/// The suite of the shell: it is linked statically, any will do.
const BUSYBOX_SUITE: &str = "bookworm";

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Where it comes from.
    pub suite: String,
    pub image: PathBuf,
}

/// The kernel of a suite. It stays in the cache; remove `.cache/kernels` to get what the suite has by then.
pub fn kernel(suite: &str) -> Result<Kernel> {
    let folder = repo::cache("kernels")?.join(suite);
    let image = folder.join("vmlinuz");
    if !image.is_file() {
        let unpacked = download(suite, META_PACKAGE, &folder, &KERNEL_PACKAGES)?;
        let found = find(&unpacked, "vmlinuz")?
            .with_context(|| format!("{META_PACKAGE} of {suite} leads to no kernel"))?;
        move_out(&found, &image, &unpacked)?;
    }
    Ok(Kernel {
        suite: suite.to_owned(),
        image,
    })
}

/// The program of the package `busybox-static`.
pub fn busybox() -> Result<PathBuf> {
    let folder = repo::cache("kernels")?;
    let busybox = folder.join("busybox");
    if !busybox.is_file() {
        let unpacked = download(BUSYBOX_SUITE, "busybox-static", &folder, &[])?;
        move_out(&unpacked.join("bin/busybox"), &busybox, &unpacked)?;
    }
    Ok(busybox)
}

/// Unpacks a package, and those that it depends on whose name begins with one of `followed`, below `folder`; returns where.
fn download(suite: &str, package: &str, folder: &Path, followed: &[&str]) -> Result<PathBuf> {
    eprintln!("Getting {package} of Debian {suite}");
    let archive = debian::Suite::open(suite)?;
    let mut packages = vec![package.to_owned()];
    let mut looked_at = 0;
    while let Some(name) = packages.get(looked_at).cloned() {
        looked_at += 1;
        let mut found = archive.dependencies(&name)?;
        found.retain(|it| followed.iter().any(|start| it.starts_with(start)) && !packages.contains(it));
        packages.extend(found);
    }
    let unpacked = folder.join("unpacked");
    remove(&unpacked)?;
    fs::create_dir_all(&unpacked).with_context(|| format!("cannot make {}", unpacked.display()))?;
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    archive.download(&packages, &unpacked)?;
    for entry in entries(&unpacked)? {
        repo::run(Command::new("dpkg").arg("-x").arg(entry).arg(&unpacked))?;
    }
    Ok(unpacked)
}

/// Keeps one file of what was unpacked. It is there only when it is whole.
fn move_out(from: &Path, to: &Path, unpacked: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
    remove(unpacked)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// The first file below `folder` whose name begins with `start`.
fn find(folder: &Path, start: &str) -> Result<Option<PathBuf>> {
    for path in entries(folder)? {
        if path.is_symlink() {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_file() && name.starts_with(start) {
            return Ok(Some(path));
        }
        if path.is_dir()
            && let Some(found) = find(&path, start)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    let entries: std::io::Result<_> = read();
    entries.with_context(|| format!("cannot read {}", folder.display()))
}
