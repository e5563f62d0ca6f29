//! Tries what users download as they would: installed, used and removed where there is nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::Dist;
use crate::{debian, repo};

mod crates;

/// Programs that it needs, and the Debian packages that have them.
pub const TOOLS: [(&str, &str); 4] = [
    ("buildah", "buildah"),
    ("mmdebstrap", "mmdebstrap"),
    ("unshare", "util-linux"),
    ("systemd-analyze", "systemd"),
];
/// The Debian that the package is installed in.
const SUITE: &str = "bookworm";
/// The oldest Debian that the program is tried in: its C library is from 2020.
const OLD_SUITE: &str = "bullseye";
/// Where the program may leave a flame graph in a root.
const PLACE: &str = "tmp";
/// A Python that has tasks.
const TARGET: &str = "import asyncio\n\
    async def main():\n    \
        waiting = asyncio.create_task(asyncio.Event().wait(), name='waiting')\n    \
        print('ready', flush=True)\n    \
        await waiting\n\
    asyncio.run(main())\n";

/// Tries everything, and says what it tries.
pub fn run(dist: &Dist, files: &[PathBuf]) -> Result<()> {
    say("checksums");
    repo::run(Command::new("sha256sum").current_dir(&dist.folder).args([
        "--check",
        "--quiet",
        "SHA256SUMS",
    ]))?;
    say("the same files give the same archives");
    again(dist, files)?;
    say("the unit");
    unit(dist)?;
    say("the image of a container");
    image(dist)?;
    say("the program, where there is no other file");
    alone(dist)?;
    say("the archive, in the oldest Debian");
    old(dist)?;
    say("the Debian package: installed, used, removed");
    package(dist)?;
    say("the crates, installed by cargo alone");
    crates::run(dist)
}

fn say(what: &str) {
    println!("checking: {what}");
}

/// Makes archive and package once more, and compares.
fn again(dist: &Dist, files: &[PathBuf]) -> Result<()> {
    let read = || -> Result<Vec<Vec<u8>>> {
        files
            .iter()
            .map(|file| fs::read(file).with_context(|| format!("cannot read {}", file.display())))
            .collect()
    };
    let before = read()?;
    fs::remove_dir_all(dist.folder.join("deb")).context("cannot remove the package's files")?;
    super::archive::tar(dist, &dist.name(), &dist.stage)?;
    super::deb::build(dist)?;
    ensure!(before == read()?, "made once more, the archives are others");
    Ok(())
}

/// systemd finds nothing wrong with the unit, whose program is not installed here.
fn unit(dist: &Dist) -> Result<()> {
    let text = fs::read_to_string(repo::root()?.join("dist/awaitwhat.service")).context("no unit")?;
    let folder = dist.folder.join("unit");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let unit = folder.join("awaitwhat.service");
    fs::write(&unit, text).context("cannot write the unit")?;
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&unit)
        .output()
        .context("cannot start systemd-analyze")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && said.trim().is_empty(),
        "systemd-analyze verify: {said}"
    );
    Ok(())
}

/// The image is made of the archive's files, and asks no registry for anything.
fn image(dist: &Dist) -> Result<()> {
    let images = dist.folder.join("images");
    let folder = |name: &str| images.join(name);
    repo::run(
        Command::new("buildah")
            .arg("--root")
            .arg(folder("storage"))
            .arg("--runroot")
            .arg(folder("run"))
            .args([
                "--storage-driver=vfs",
                "build",
                "--isolation=chroot",
                "--quiet",
                "--file",
            ])
            .arg(dist.stage.join("dist/Containerfile"))
            .arg(&dist.stage),
    )
}

/// A Python with a task, which ends with the value.
struct Target(Child);

impl Target {
    fn start() -> Result<Self> {
        let mut child = Command::new("python3")
            .args(["-c", TARGET])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start python3")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let target = Self(child);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
        ensure!(line == "ready\n", "the target is not ready: {line:?}");
        Ok(target)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Nothing but the program is in the root: whatever it needs of the system it has in itself.
fn alone(dist: &Dist) -> Result<()> {
    let root = dist.folder.join("roots/alone");
    for folder in ["proc", "sys", PLACE] {
        fs::create_dir_all(root.join(folder)).context("cannot make a root")?;
    }
    fs::copy(dist.program(), root.join("awaitwhat")).context("cannot copy the program")?;
    let target = Target::start()?;
    let pid = target.0.id().to_string();
    let table = within(&root, &["/awaitwhat", "ps", &pid])?;
    ensure!(
        table.contains("waiting"),
        "the task is not in the table:\n{table}"
    );
    Ok(())
}

fn old(dist: &Dist) -> Result<()> {
    let root = root(dist, OLD_SUITE)?;
    let name = dist.name();
    repo::run(
        Command::new("tar")
            .args(["--extract", "--file"])
            .arg(dist.folder.join(format!("{name}.tar.gz")))
            .arg("--directory")
            .arg(root.join("opt")),
    )?;
    let program = format!("/opt/{name}/awaitwhat");
    demo(&root, &program)?;
    let target = Target::start()?;
    let pid = target.0.id().to_string();
    let table = within(&root, &[&program, "ps", &pid])?;
    ensure!(
        table.contains("waiting"),
        "the task is not in the table:\n{table}"
    );
    Ok(())
}

fn package(dist: &Dist) -> Result<()> {
    let root = root(dist, SUITE)?;
    let name = format!("awaitwhat_{}_amd64.deb", dist.version);
    fs::copy(dist.folder.join(&name), root.join(PLACE).join(&name)).context("cannot copy the package")?;
    let before = listing(&root)?;
    within(&root, &["dpkg", "--install", &format!("/{PLACE}/{name}")])?;
    let files = within(&root, &["dpkg", "--listfiles", "awaitwhat"])?;
    for file in [
        "/usr/bin/awaitwhat",
        "/usr/share/man/man1/awaitwhat-ps.1.gz",
        "/usr/share/bash-completion/completions/awaitwhat",
        "/usr/lib/systemd/system/awaitwhat.service",
        "/usr/share/doc/awaitwhat/copyright",
    ] {
        // The system's own way leaves documents out of small roots.
        ensure!(files.lines().any(|it| it == file), "{file} is not in the package");
    }
    let version = within(&root, &["awaitwhat", "-V"])?;
    ensure!(
        version.trim() == format!("awaitwhat {}", dist.version),
        "{version}"
    );
    demo(&root, "awaitwhat")?;
    within(&root, &["dpkg", "--purge", "awaitwhat"])?;
    let after = listing(&root)?;
    ensure!(
        before == after,
        "the package leaves files behind, or takes some with it"
    );
    Ok(())
}

/// A root of the suite with a Python, made anew.
fn root(dist: &Dist, suite: &str) -> Result<PathBuf> {
    let root = dist.folder.join("roots").join(suite);
    fs::create_dir_all(dist.folder.join("roots")).context("cannot make a folder for roots")?;
    debian::make_root(suite, "python3", &root)?;
    Ok(root)
}

/// Runs `demo` in the root, whose Python it starts, and expects the flame graph that it tells of.
fn demo(root: &Path, program: &str) -> Result<()> {
    let shown = within(
        root,
        &["sh", "-c", &format!("cd /{PLACE} && exec {program} demo")],
    )?;
    for part in ["Await points", "clerk"] {
        ensure!(shown.contains(part), "demo does not show {part:?}:\n{shown}");
    }
    let graph = root.join(PLACE).join("awaitwhat-demo.svg");
    fs::remove_file(&graph).with_context(|| format!("demo has written no {}", graph.display()))
}

/// The files of the root that packages may own.
fn listing(root: &Path) -> Result<String> {
    let mut find = Command::new("find");
    find.current_dir(root)
        .args([
            ".", "-xdev", "(", "-path", "./var", "-o", "-path", "./proc", "-o", "-path", "./sys", ")",
        ])
        .args(["-prune", "-o", "-print"]);
    let listing = repo::output(&mut find)?;
    let mut lines: Vec<_> = listing.lines().collect();
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

/// Runs a command in the root, with this kernel's /proc and /sys, and returns what it writes.
fn within(root: &Path, words: &[&str]) -> Result<String> {
    // The mounts belong to the command alone, and end with it.
    let script = r#"mount --rbind /proc "$1/proc" && mount --rbind /sys "$1/sys" && exec chroot "$@""#;
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(root)
        .args(words)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stdin(Stdio::null())
        .output()
        .context("cannot start unshare")?;
    if !output.status.success() {
        bail!(
            "in {}: {} ended with {}: {}{}",
            root.display(),
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
    }
    String::from_utf8(output.stdout).context("the output is not UTF-8")
}
