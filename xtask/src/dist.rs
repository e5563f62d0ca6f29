//! `cargo xtask dist`: what users download, in `target/dist`: a static program with all that belongs to it, and a Debian package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{debian, repo};

mod archive;
mod check;
mod deb;
mod licences;
mod program;

/// Programs that it needs, and the Debian packages that have them.
const TOOLS: [(&str, &str); 5] = [
    ("objcopy", "binutils"),
    ("tar", "tar"),
    ("gzip", "gzip"),
    ("sha256sum", "coreutils"),
    ("dpkg-deb", "dpkg"),
];
/// Files of the repository that go with the program, as they are.
const DOCUMENTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Make what users download, in target/dist: archive, Debian package, checksums
#[derive(Args)]
pub struct Arguments {
    /// Also install and try all of it, in Debian roots and from packaged crates; needs root, and takes some ten minutes
    #[arg(long)]
    check: bool,
}

/// The folder of what is made, and what all parts of it need to know.
pub struct Dist {
    /// `target/dist`.
    pub folder: PathBuf,
    /// The files as they are archived.
    pub stage: PathBuf,
    pub version: String,
    /// The time that all files are given: the commit's, in seconds since 1970.
    pub time: String,
}

/// Makes all of it, and tries it if that is asked for.
pub fn run(arguments: &Arguments) -> Result<()> {
    need(&TOOLS)?;
    if arguments.check {
        need(&check::TOOLS)?;
    }
    let dist = Dist::new()?;
    let debug = program::build(&dist)?;
    fill(&dist)?;
    let archive = archive::tar(&dist, &dist.name(), &dist.stage)?;
    let package = deb::build(&dist)?;
    let files = [archive, package, debug];
    archive::checksums(&dist, &files)?;
    for file in &files {
        println!("{}", file.display());
    }
    if arguments.check {
        check::run(&dist, &files)?;
    }
    Ok(())
}

/// Fails where a program is missing, and says which packages have what is missing.
fn need(tools: &[(&str, &str)]) -> Result<()> {
    match missing(tools, debian::has).as_slice() {
        [] => Ok(()),
        missing => bail!("{}", missing.join("; ")),
    }
}

fn missing(tools: &[(&str, &str)], has: impl Fn(&str) -> bool) -> Vec<String> {
    let missing = tools.iter().filter(|(program, _)| !has(program));
    missing
        .map(|(program, package)| {
            format!("{program} is missing: install it with `apt-get install {package}`")
        })
        .collect()
}

impl Dist {
    /// An empty folder.
    fn new() -> Result<Self> {
        let folder = repo::root()?.join("target/dist");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        let stage = folder.join("stage");
        fs::create_dir_all(&stage).with_context(|| format!("cannot make {}", stage.display()))?;
        let mut log = Command::new("git");
        log.current_dir(repo::root()?).args(["log", "-1", "--format=%ct"]);
        // Without a checkout, any time will do that is the same each time.
        let time = repo::output(&mut log).map_or_else(|_| "0".to_owned(), |it| it.trim().to_owned());
        Ok(Self {
            folder,
            stage,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time,
        })
    }

    /// What archives and their folders are called.
    pub fn name(&self) -> String {
        format!("awaitwhat-{}-x86_64-linux", self.version)
    }

    /// The program, as it is archived.
    pub fn program(&self) -> PathBuf {
        self.stage.join("awaitwhat")
    }

    /// The name of a shell, and the file that it reads completions from.
    pub fn completions(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("bash", "awaitwhat.bash"),
            ("zsh", "_awaitwhat"),
            ("fish", "awaitwhat.fish"),
        ]
        .map(|(shell, file)| (shell, self.stage.join("completions").join(file)))
    }
}

/// Puts everything but the program into the stage.
fn fill(dist: &Dist) -> Result<()> {
    let root = repo::root()?;
    for document in DOCUMENTS {
        copy(&root.join(document), &dist.stage.join(document))?;
    }
    for folder in ["docs", "dist"] {
        copy_folder(&root.join(folder), &dist.stage.join(folder))?;
    }
    write(
        &dist.stage.join("LICENSES-OF-DEPENDENCIES.txt"),
        &licences::text()?,
    )?;
    for (shell, file) in dist.completions() {
        let script = repo::output(Command::new(dist.program()).args(["completions", shell]))?;
        write(&file, &script)?;
    }
    let pages = dist.stage.join("man/man1");
    repo::run(Command::new(dist.program()).arg("man-pages").arg(pages))
}

fn write(file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let name = path.file_name().context("an entry without a name")?;
        if path.is_dir() {
            copy_folder(&path, &to.join(name))?;
        } else {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let tools = [("objcopy", "binutils"), ("tar", "tar")];
        assert_eq!(
            missing(&tools, |program| program == "tar"),
            ["objcopy is missing: install it with `apt-get install binutils`"]
        );
        assert!(missing(&tools, |_| true).is_empty());
    }
}
