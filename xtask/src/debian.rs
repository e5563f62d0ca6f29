//! Debian's archive, as this machine reaches it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::repo;

/// What the archive's release files are signed with.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The mirror that this machine's apt uses for Debian.
///
/// # Errors
/// When apt's sources name none.
pub fn mirror() -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
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

/// A suite of the archive, by lists and caches of its own, so that those of the machine stay as they are.
pub struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// Gets the suite's lists.
    ///
    /// # Errors
    /// When the archive cannot be reached.
    pub fn open(name: &str) -> Result<Self> {
        let folder = repo::cache("apt")?.join(name);
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part)).context("cannot make apt's folders")?;
        }
        let source = format!("deb [signed-by={KEYRING}] {} {name} main\n", mirror()?);
        let sources = folder.join("sources.list");
        fs::write(&sources, source).with_context(|| format!("cannot write {}", sources.display()))?;
        let suite = Self { folder };
        repo::run(suite.apt("apt-get").arg("update"))?;
        Ok(suite)
    }

    /// Downloads packages into `folder`; `name=version` asks for a certain version.
    ///
    /// # Errors
    /// When one is not there.
    pub fn download(&self, packages: &[&str], folder: &Path) -> Result<()> {
        repo::run(
            self.apt("apt-get")
                .current_dir(folder)
                .arg("download")
                .args(packages),
        )
    }

    /// Names of the packages that `package` depends on.
    ///
    /// # Errors
    /// When there is no such package.
    pub fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let text = repo::output(self.apt("apt-cache").args(["show", "--no-all-versions", package]))?;
        Ok(dependencies_in(&text))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-qq");
        for (key, value) in [
            ("Dir::Etc::SourceList", self.folder.join("sources.list").as_path()),
            ("Dir::Etc::SourceParts", Path::new("-")),
            ("Dir::State::Lists", &self.folder.join("lists")),
            ("Dir::Cache", &self.folder.join("cache")),
            // An ordinary user's folder is not open to the user `_apt`.
            ("APT::Sandbox::User", Path::new("root")),
            // A mirror that lags behind, or a snapshot, serves lists that are past their date; they are signed all the same.
            ("Acquire::Check-Valid-Until", Path::new("false")),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        command
    }
}

/// The first alternative of each dependency in a package's record.
fn dependencies_in(record: &str) -> Vec<String> {
    let lines = record.lines().filter_map(|line| line.strip_prefix("Depends:"));
    let entries = lines.flat_map(|line| line.split(','));
    entries
        .filter_map(|entry| entry.split_ascii_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Installs `package` on this machine where `program`, which belongs to it, is missing.
///
/// # Errors
/// When apt fails.
pub fn need(program: &str, package: &str) -> Result<()> {
    if has(program) {
        return Ok(());
    }
    install(package)
}

/// Makes a root of the suite with `packages`, which are separated by commas, in `folder`; what was there is removed.
///
/// # Errors
/// When this process is not root's, or the archive cannot be reached.
pub fn make_root(suite: &str, packages: &str, folder: &Path) -> Result<()> {
    need_root()?;
    need("mmdebstrap", "mmdebstrap")?;
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    eprintln!("Making a Debian root with {packages} in {}", folder.display());
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=minbase"])
        .arg(format!("--include={packages}"))
        // A mirror that lags behind, or a snapshot, serves lists that are past their date.
        .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
        .arg(suite)
        .arg(folder)
        .arg(format!("deb [signed-by={KEYRING}] {} {suite} main", mirror()?));
    repo::run(&mut command)
}

fn need_root() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    // /proc shows each process as its effective user's.
    let is_root = fs::metadata("/proc/self").is_ok_and(|folder| folder.uid() == 0);
    if !is_root {
        bail!("making and entering a root needs root: run it by `sudo -E cargo xtask`");
    }
    Ok(())
}

/// Whether a program is found by its name alone. Not all of them can say their version.
pub fn has(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::{dependencies_in, mirror_in};

    #[test]
    fn dependencies_are_names_alone() {
        let record = "Package: a\nPre-Depends: x\nDepends: b (= 1.0-1), c | d (>= 2), e\nDescription: f\n";
        assert_eq!(dependencies_in(record), ["b", "c", "e"]);
        assert_eq!(dependencies_in("Package: a\n"), [""; 0]);
    }

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
