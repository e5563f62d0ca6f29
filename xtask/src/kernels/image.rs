//! The guests' root file system: an archive that the kernel unpacks into memory as it boots.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{pythons, repo};

/// Test binaries.
///
/// `shapes` compares snapshots with the truth, `privileges` takes snapshots and traces with two capabilities and without ptrace. The
/// shares of time that `profiles` checks are not for an emulated CPU, which is late for everything.
const TESTS: [&str; 2] = ["shapes", "privileges"];

/// Trials that are left out: what awaitwhat does with privileges of its own, with folders and with `/proc` is the same with every kernel, and
/// takes programs that the guest does not have.
const SKIPPED: [&str; 4] = ["program_", "foreign_folders", "is_privileged", "hidden_proc"];

/// Most time that a walk in a thread's own context may take, in microseconds: all that awaitwhat allows. The default is for CPUs that are
/// not emulated; a busy host stops an emulated one for milliseconds in the middle of a walk, which then would be cut, and counted as lost.
const BUDGET: u32 = 100_000;

/// The shapes to look at: those that differ in what they ask of the kernel, as emulation takes seconds for each one. Threads at rest and on
/// a CPU, several threads and processes, few and many records, long chains, and memory that has to be read far and wide.
const SHAPES: [&str; 10] = [
    "deep_chain",
    "executor",
    "forked",
    "gather_deep",
    "many_loops",
    "many_waiters",
    "names",
    "primitives",
    "running_blocked",
    "running_busy",
];

/// What the shapes import, and what `privileges` starts.
const OTHER_TARGETS: [&str; 3] = ["truth.py", "gather_tasks.py", "task_group.py"];

/// Parts of the standard library that no target imports.
const LEFT_OUT: [&str; 9] = [
    "config-",
    "dist-packages",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tkinter",
];

/// Programs of this machine that the tests start.
const PROGRAMS: [&str; 1] = ["/usr/bin/setpriv"];

/// What the guest says before the tests, with the kernel's release behind it, and after them.
pub const BEGUN: &str = "guest: begun ";
pub const DONE: &str = "guest: done";
/// What it says before the name of a test binary that did not end well; that may be all it says of it.
pub const FAILED: &str = "guest: failed ";
/// What it says before the exit code of `doctor`.
pub const DOCTOR: &str = "guest: doctor ";

/// Makes the image and returns where it is.
pub fn make(busybox: &Path) -> Result<PathBuf> {
    let folder = repo::cache("kernels")?;
    let image = Image::begin(folder.join("root"))?;
    let tests = image.put_tests()?;
    image.put_python()?;
    image.put_init(busybox, &tests)?;
    let archive = folder.join("initramfs");
    let pack = format!(
        "find . | {} cpio -o -H newc 2>/dev/null > {}",
        quoted(busybox),
        quoted(&archive)
    );
    repo::run(Command::new("sh").args(["-c", &pack]).current_dir(&image.root))?;
    Ok(archive)
}

/// A word for the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// The image's folder while it is filled. Files lie where they are on this machine, so that paths hold on both sides.
struct Image {
    root: PathBuf,
}

impl Image {
    fn begin(root: PathBuf) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
        }
        let image = Self { root };
        for folder in ["/bin", "/dev", "/proc", "/root", "/sys", "/tmp"] {
            image.folder(Path::new(folder))?;
        }
        Ok(image)
    }

    /// Where `path` lies in the image.
    fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn folder(&self, path: &Path) -> Result<()> {
        let inside = self.inside(path);
        fs::create_dir_all(&inside).with_context(|| format!("cannot make {}", inside.display()))
    }

    /// Copies a file, and nothing where it is there already.
    fn file(&self, path: &Path) -> Result<()> {
        let inside = self.inside(path);
        if inside.exists() {
            return Ok(());
        }
        self.folder(path.parent().unwrap_or(path))?;
        fs::copy(path, &inside).with_context(|| format!("cannot copy {}", path.display()))?;
        Ok(())
    }

    /// Copies a program or shared object and the libraries that it needs.
    fn program(&self, path: &Path) -> Result<()> {
        self.file(path)?;
        self.libraries(path)
    }

    /// Copies a program built here, without its debug information, and the libraries that it needs.
    fn stripped(&self, path: &Path) -> Result<()> {
        self.folder(path.parent().unwrap_or(path))?;
        repo::run(Command::new("strip").arg("-o").arg(self.inside(path)).arg(path))?;
        self.libraries(path)
    }

    fn libraries(&self, path: &Path) -> Result<()> {
        let listed = repo::output(Command::new("ldd").arg(path))?;
        let words = listed.split_ascii_whitespace();
        words
            .filter(|word| word.starts_with('/') && !word.ends_with(':'))
            .try_for_each(|library| self.file(Path::new(library)))
    }

    /// Builds the tests and puts them, awaitwhat, and the targets in; returns the commands that run them.
    fn put_tests(&self) -> Result<Vec<String>> {
        let root = repo::root()?;
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&root).args([
            "test",
            "--no-run",
            "--package=awaitwhat-tests",
            "--message-format=json-render-diagnostics",
        ]);
        cargo.args(TESTS.map(|test| format!("--test={test}")));
        let mut commands = Vec::new();
        for (name, path) in repo::executables(&repo::output(&mut cargo)?)? {
            self.stripped(&path)?;
            if TESTS.contains(&name.as_str()) {
                let command = quoted(&path);
                let skipped = SKIPPED.map(|trial| format!("--skip={trial}")).join(" ");
                commands.push(format!(
                    "{command} --color=never {skipped} || echo \"{FAILED}{name}\""
                ));
            }
        }
        self.stripped(&program()?)?;
        for program in PROGRAMS {
            self.program(Path::new(program))?;
        }
        self.put_targets(&root.join("tests/targets"))?;
        Ok(commands)
    }

    /// Puts the chosen shapes in, and what else the tests start. Trials are listed from the files that are there.
    fn put_targets(&self, folder: &Path) -> Result<()> {
        let shapes = SHAPES.map(|shape| format!("{shape}.py"));
        let mut files = shapes.iter().map(String::as_str).chain(OTHER_TARGETS);
        files.try_for_each(|file| self.file(&folder.join(file)))
    }

    fn put_python(&self) -> Result<()> {
        for python in pythons::system()?.pythons {
            let program = python
                .command
                .first()
                .context("an interpreter without a program")?;
            let code =
                "import sys, sysconfig; print(sys.executable, sysconfig.get_path('stdlib'), sep='\\n')";
            let paths = repo::output(Command::new(program).args(["-c", code]))?;
            let (executable, library) = paths.trim().split_once('\n').context("two paths were expected")?;
            let real = Path::new(executable)
                .canonicalize()
                .context("the interpreter's file is not there")?;
            self.program(&real)?;
            if real != Path::new(program) {
                symlink(&real, self.inside(Path::new(program))).context("cannot link to the interpreter")?;
            }
            self.library(Path::new(library))?;
        }
        Ok(())
    }

    /// Copies the standard library and what its modules need.
    fn library(&self, folder: &Path) -> Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if LEFT_OUT.iter().any(|start| name.starts_with(start)) {
                continue;
            }
            if path.is_dir() {
                self.library(&path)?;
            } else if name.ends_with(".so") {
                self.program(&path)?;
            } else {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    /// Puts the shell and the guest's first process in.
    fn put_init(&self, busybox: &Path, tests: &[String]) -> Result<()> {
        let shell = self.inside(Path::new("/bin/busybox"));
        fs::copy(busybox, &shell).context("cannot copy busybox")?;
        symlink("busybox", self.inside(Path::new("/bin/sh"))).context("cannot link to busybox")?;
        let init = self.root.join("init");
        fs::write(&init, init_script(tests)?).with_context(|| format!("cannot write {}", init.display()))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("cannot make init executable")
    }
}

fn program() -> Result<PathBuf> {
    Ok(repo::root()?.join("target/release/awaitwhat"))
}

/// What the guest does, from its first process to its end.
fn init_script(tests: &[String]) -> Result<String> {
    let interpreters = pythons::system()?.to_json()?.replace('\'', "'\\''");
    let program = program()?;
    let program = program.display();
    let tests: BTreeSet<&String> = tests.iter().collect();
    let tests: Vec<_> = tests.into_iter().map(String::as_str).collect();
    Ok(format!(
        "#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin CI=true NO_COLOR=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=1777 tmp /tmp
# Debian's own setting asks for CAP_SYS_ADMIN, as `awaitwhat doctor` says.
echo 2 > /proc/sys/kernel/perf_event_paranoid
# The tests run what this variable names.
printf '#!/bin/sh\\nexec {program} --budget {BUDGET} \"$@\"\\n' > /bin/awaitwhat
chmod 755 /bin/awaitwhat
export AWAITWHAT_BIN=/bin/awaitwhat
export AWAITWHAT_PYTHONS='{interpreters}'
echo \"{BEGUN}$(uname -r)\"
$AWAITWHAT_BIN doctor
echo \"{DOCTOR}$?\"
{}
echo '{DONE}'
poweroff -f
",
        tests.join("\n")
    ))
}
