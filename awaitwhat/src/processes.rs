//! What `/proc` tells everybody of processes. No file here asks for ptrace rights, and what one says may be over by the next look.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Bytes of a file of `/proc` that are read. A process decides itself how long its command line is, and can make it gigabytes; of that the
/// beginning counts. What else is read is shorter: a `status` has a line that names up to 65,536 groups.
const MAX_FILE_BYTES: u64 = 64 << 10;
const MAX_STATUS_BYTES: u64 = 1 << 20;

/// The processes that a `/proc` shows.
#[derive(Clone, Debug)]
pub struct Processes {
    root: PathBuf,
}

/// What tells a process, and the program that it runs, from those that have its id later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// In clock ticks since the machine started.
    pub start_time: u64,
    /// A hash of what [`Processes::command_line`] gives: that of every process is kept for as long as it is there.
    pub command_line: u64,
}

/// What is taken from a process's `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    start_time: u64,
}

impl Default for Processes {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl Processes {
    /// Those that are shown below `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The ids of all processes, in ascending order.
    pub fn ids(&self) -> Vec<u32> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let mut ids: Vec<u32> = entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        ids.sort_unstable();
        ids
    }

    /// The name of the process's main thread, by default that of its program's file; `None` where there is no such process.
    pub fn command(&self, pid: u32) -> Option<String> {
        let command = self.read(pid, "comm")?;
        Some(
            String::from_utf8_lossy(&command)
                .trim_end_matches('\n')
                .to_owned(),
        )
    }

    /// Whether a path means the same file to the process as it does here: both see the same mounts, each of which has a number of its own.
    pub fn sees_our_files(&self, pid: u32) -> bool {
        let mounts = |process: &str| fs::read(self.root.join(process).join("mountinfo")).ok();
        let own = mounts("self").filter(|mounts| !mounts.is_empty());
        own.is_some() && mounts(&pid.to_string()) == own
    }

    /// The program and its arguments, separated by spaces, or what the process has put in their place: the first 64 KiB of that. Empty for
    /// what runs no program: threads of the kernel, and processes that have ended.
    pub fn command_line(&self, pid: u32) -> Vec<u8> {
        let mut line = self.read(pid, "cmdline").unwrap_or_default();
        while line.last() == Some(&0) {
            line.pop();
        }
        line.iter_mut()
            .filter(|byte| **byte == 0)
            .for_each(|byte| *byte = b' ');
        line
    }

    /// The process's control group in the unified hierarchy (cgroup v2), as a path below its root.
    pub fn cgroup(&self, pid: u32) -> Option<PathBuf> {
        unified_cgroup(&self.read(pid, "cgroup")?)
    }

    /// The id of the process's parent.
    pub fn parent(&self, pid: u32) -> Option<u32> {
        Some(parse_stat(&self.read(pid, "stat")?)?.parent)
    }

    /// What the thread `tid` of a process is doing, by the letter that the kernel has for that (`R`, `S`, `D`, ...; proc_pid_stat(5)). `None` where
    /// it has ended.
    pub fn thread_state(&self, pid: u32, tid: u32) -> Option<char> {
        let line = self.read(pid, &format!("task/{tid}/stat"))?;
        Some(stat_fields(&line)?.next()?.chars().next()?).filter(|state| !matches!(state, 'Z' | 'X'))
    }

    /// See [`Identity`]. `None` where there is no such process.
    pub fn identity(&self, pid: u32) -> Option<Identity> {
        let start_time = parse_stat(&self.read(pid, "stat")?)?.start_time;
        let mut hasher = DefaultHasher::new();
        self.command_line(pid).hash(&mut hasher);
        Some(Identity {
            start_time,
            command_line: hasher.finish(),
        })
    }

    fn read(&self, pid: u32, file: &str) -> Option<Vec<u8>> {
        read_start(&self.root.join(pid.to_string()).join(file), MAX_FILE_BYTES).ok()
    }
}

/// What the kernel tells in a file `status` of a process or thread.
pub(crate) fn read_status(folder: &Path) -> io::Result<String> {
    let bytes = read_start(&folder.join("status"), MAX_STATUS_BYTES)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first bytes of a file, at most `limit`. Everything that is read of `/proc` is read here.
fn read_start(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The line of the unified hierarchy: `0::/path`.
fn unified_cgroup(lines: &[u8]) -> Option<PathBuf> {
    let path = lines
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"0::"))?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

/// The fields of `PID (NAME) STATE PARENT ...` from the state on: the name may hold whatever the process likes, so they are those behind its last
/// bracket.
fn stat_fields(line: &[u8]) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    let end = line.iter().rposition(|&byte| byte == b')')?;
    let fields = std::str::from_utf8(line.get(end + 1..)?).ok()?;
    Some(fields.split_ascii_whitespace())
}

/// `None` for a process that has ended and was not waited for yet, as there is nothing left of it to look at.
fn parse_stat(line: &[u8]) -> Option<Stat> {
    let fields: Vec<&str> = stat_fields(line)?.collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return None;
    }
    // Numbers 4 and 22 in proc_pid_stat(5); the first one here is number 3.
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use awaitwhat_fuzz::Target;

    use super::{Processes, Stat, parse_stat, unified_cgroup};

    const NUMBERS: &str = "S 41 4 4 0 -1 4194560 1 0 0 0 9 9 0 0 20 0 1 0 4711 22 33";

    #[test]
    fn a_name_can_look_like_fields() {
        let expected = Stat {
            parent: 41,
            start_time: 4711,
        };
        for name in ["python3", "a) R 1 (b", ") S 7", "\n"] {
            let line = format!("42 ({name}) {NUMBERS}\n");
            assert_eq!(parse_stat(line.as_bytes()), Some(expected), "{name:?}");
        }
        let bytes = [b"42 (\xff\x80) ".as_slice(), NUMBERS.as_bytes()].concat();
        assert_eq!(parse_stat(&bytes), Some(expected));
        for line in [
            "",
            "42 (x",
            "42 (x) S",
            "42 (x) S y",
            "42 (x) S 1 2 3",
            &format!("42 (x) {}", NUMBERS.replace('S', "Z")),
        ] {
            assert_eq!(parse_stat(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn only_the_unified_hierarchy_counts() {
        let lines = b"4:memory:/v1\n0::/system.slice/app.service\n";
        assert_eq!(
            unified_cgroup(lines).as_deref(),
            Some(Path::new("/system.slice/app.service"))
        );
        assert_eq!(unified_cgroup(b"4:memory:/v1\n"), None);
        assert_eq!(unified_cgroup(b""), None);
    }

    #[test]
    fn a_process_that_has_ended_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let processes = Processes::at(folder.path());
        assert!(processes.ids().is_empty());
        assert_eq!(processes.command(7), None);
        assert_eq!(processes.command_line(7), b"");
        assert_eq!(processes.cgroup(7), None);
        assert_eq!(processes.parent(7), None);
        assert_eq!(processes.identity(7), None);
    }

    #[test]
    fn of_a_command_line_without_end_the_beginning_counts() {
        let folder = tempfile::tempdir().unwrap();
        let process = folder.path().join("7");
        std::fs::create_dir(&process).unwrap();
        std::fs::write(process.join("stat"), format!("7 (x) {NUMBERS}")).unwrap();
        let line = [b"python3\0app.py\0".as_slice(), &[b'x'; 1 << 20]].concat();
        std::fs::write(process.join("cmdline"), &line).unwrap();
        let processes = Processes::at(folder.path());
        let found = processes.command_line(7);
        assert_eq!(found.len(), 64 << 10);
        assert!(found.starts_with(b"python3 app.py xxx"));
        let identity = processes.identity(7);
        assert!(identity.is_some());
        std::fs::write(process.join("cmdline"), b"python3\0other.py\0").unwrap();
        assert_ne!(processes.identity(7), identity);
    }

    /// Whatever a file holds, it is read, or it is none.
    #[test]
    fn fuzz_proc() {
        let target = Target {
            name: "proc",
            executions: 20_000,
            max_bytes: 1 << 20,
            places: &[("stat", 0), ("stat", 1), ("cgroup", 0), ("cgroup", 1)],
        };
        target.run(|choices, reached| {
            let name = choices.pick(&["python3", "a) R 1 (b", ") S 7", "\n", ")"]);
            let mut stat = format!("42 ({name}) {NUMBERS}\n").into_bytes();
            let mut groups = b"4:memory:/v1\n0::/system.slice/app.service\n1:name=x:/\n".to_vec();
            for bytes in [&mut stat, &mut groups] {
                for _ in 0..choices.below(8) {
                    let at = choices.below(bytes.len());
                    match choices.below(3) {
                        0 => bytes[at] = choices.byte(),
                        1 => bytes.insert(at, choices.pick(b" ()-0:\n\0\xff9")),
                        _ => drop(bytes.remove(at)),
                    }
                }
            }
            reached.note_option("stat", &parse_stat(&stat));
            reached.note_option("cgroup", &unified_cgroup(&groups));
            parse_stat(choices.rest());
            unified_cgroup(choices.rest());
        });
    }
}
