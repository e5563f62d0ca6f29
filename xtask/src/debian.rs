//! Debian's archive, as this machine reaches it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::repo;

/// What the archive's release files are signed with.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The mirror that this machine's apt uses for Debian.
///
/// # Errors
/// When apt's sources name none.
pub fn mirror() -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    texts
        .filter_map(|text| mirror_in(&text))
        .next()
        .context("apt's sources name no archive of Debian: add one to /etc/apt/sources.list")
}

/// Installs a package on this machine.
///
/// # Errors
/// When apt cannot.
pub fn install(package: &str) -> Result<()> {
    eprintln!("Installing {package}");
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args([
            "-qq",
            "install",
            "--yes",
            "--no-install-recommends",
            package,
        ]);
        command
    };
    if repo::run(&mut install()).is_ok() {
        return Ok(());
    }
    // A fresh machine may have no lists at all.
    repo::run(Command::new("apt-get").args(["-qq", "update"]))?;
    repo::run(&mut install())
}

/// The first address of a Debian archive in a `.list` or `.sources` file.
fn mirror_in(text: &str) -> Option<String> {
    let lines = text
        .lines()
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let mut words = lines.flat_map(str::split_ascii_whitespace);
    let is_debian = |word: &&str| word.contains("://") && word.trim_end_matches('/').ends_with("/debian");
    words
        .find(is_debian)
        .map(|word| word.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::mirror_in;

    #[test]
    fn mirror_is_found_in_both_formats() {
        let list =
            "# deb http://old.example/debian x main\ndeb [arch=amd64] http://a.example/debian/ stable main\n";
        assert_eq!(mirror_in(list).as_deref(), Some("http://a.example/debian"));
        let sources = "Types: deb\nURIs: http://b.example/debian\nSuites: stable\n";
        assert_eq!(mirror_in(sources).as_deref(), Some("http://b.example/debian"));
        assert_eq!(mirror_in("deb https://other.example/apt stable main\n"), None);
    }
}
