//! How close a process is to the limit of its memory: what it has swapped out is brought back where it is read, and counts again.

use std::path::{Path, PathBuf};

use crate::check::{Check, Concern};

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// In percent of the limit.
const NEAR: u64 = 90;
const NAME: &str = "memory limit";

/// Names of a control group's files: its limit, what it uses, and the key of `memory.stat` with what the kernel takes away first.
struct Files {
    limit: &'static str,
    used: &'static str,
    reclaimable: &'static str,
}

/// `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst` of the kernel.
const V2: Files = Files {
    limit: "memory.max",
    used: "memory.current",
    reclaimable: "inactive_file",
};
const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};

/// A control group with a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    path: String,
    limit: u64,
    used: u64,
}

/// What is to be said of process `pid`; nothing where it has no limit, or none that can be seen from here.
pub(super) fn check(pid: u32) -> Option<Check> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let of_process = |file: &str| read(&PathBuf::from(format!("/proc/{pid}/{file}")));
    let group = tightest(&of_process("cgroup")?, read)?;
    Some(judge(&group, swapped(&of_process("status")?)))
}

fn judge(group: &Group, swapped: u64) -> Check {
    let Group { path, limit, used } = group;
    let mib = |bytes: u64| bytes >> 20;
    let meaning = format!(
        "the control group {path} uses {} of {} MiB, and {} MiB of the process are swapped out",
        mib(*used),
        mib(*limit),
        mib(swapped)
    );
    if used.saturating_mul(100) < limit.saturating_mul(NEAR) || swapped == 0 {
        return Check::ok(Concern::Target, NAME, meaning);
    }
    let meaning = format!(
        "{meaning}: pages that are read come back from there and count again, which may make the kernel end the process"
    );
    let remedy = "raise the limit for as long as you look, or look when less is used".to_owned();
    Check::unknown(Concern::Target, NAME, meaning, Some(remedy))
}

/// Bytes that are swapped out, by `/proc/PID/status`.
fn swapped(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmSwap:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    number.unwrap_or(0).saturating_mul(1024)
}

/// Of the group that `/proc/PID/cgroup` names, and those that it is in, the one that is closest to its limit.
fn tightest(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<Group> {
    let (folder, path, files) = groups
        .lines()
        .find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let is_memory = controllers.split(',').any(|it| it == "memory");
            is_memory.then(|| (Path::new(ROOT).join("memory"), path, V1))
        })
        .or_else(|| {
            let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
            Some((PathBuf::from(ROOT), path, V2))
        })?;
    let limited = Path::new(path).ancestors().filter_map(|path| {
        let folder = folder.join(path.strip_prefix("/").ok()?);
        let number = |file: &str| read(&folder.join(file))?.trim().parse::<u64>().ok();
        let statistics = read(&folder.join("memory.stat")).unwrap_or_default();
        let reclaimable = statistics.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            (key == files.reclaimable).then(|| value.parse::<u64>().ok())?
        });
        Some(Group {
            path: path.display().to_string(),
            // Without a limit there is no number, or (v1) one that no machine has.
            limit: number(files.limit).filter(|&limit| limit < 1 << 60)?,
            used: number(files.used)?.saturating_sub(reclaimable.unwrap_or(0)),
        })
    });
    limited.min_by_key(|group| group.limit.saturating_sub(group.used))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Group, judge, swapped, tightest};
    use crate::check::CheckStatus;

    fn read(files: &[(&str, &str)], path: &Path) -> Option<String> {
        let path = path.to_str()?;
        let found = files
            .iter()
            .find(|(name, _)| path == format!("/sys/fs/cgroup/{name}"))?;
        Some(found.1.to_owned())
    }

    #[test]
    fn the_tightest_group_counts() {
        let files = [
            ("shop/web/memory.max", "max\n"),
            ("shop/web/memory.current", "90000000\n"),
            ("shop/memory.max", "100000000\n"),
            ("shop/memory.current", "95000000\n"),
            ("shop/memory.stat", "anon 60000000\ninactive_file 30000000\n"),
        ];
        let group = tightest("0::/shop/web\n", |path| read(&files, path));
        let expected = Group {
            path: "/shop".to_owned(),
            limit: 100_000_000,
            used: 65_000_000,
        };
        assert_eq!(group, Some(expected));
    }

    #[test]
    fn the_first_version_has_a_hierarchy_of_its_own() {
        let files = [
            ("memory/job/memory.limit_in_bytes", "2097152\n"),
            ("memory/job/memory.usage_in_bytes", "2097152\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "4096\n"),
        ];
        let groups = "4:cpu,memory:/job\n1:name=systemd:/x\n0::/x\n";
        let group = tightest(groups, |path| read(&files, path)).unwrap();
        assert_eq!((group.limit, group.used), (2 << 20, 2 << 20));
        assert_eq!(tightest("0::/x\n", |path| read(&files, path)), None);
    }

    #[test]
    fn what_comes_back_from_swap_is_warned_of_near_the_limit() {
        let group = |used| Group {
            path: "/shop".to_owned(),
            limit: 100 << 20,
            used,
        };
        let swap = swapped("Name:\tx\nVmSwap:\t    2048 kB\n");
        assert_eq!(swap, 2 << 20);
        assert_eq!(judge(&group(95 << 20), swap).status, CheckStatus::Unknown);
        assert_eq!(judge(&group(95 << 20), 0).status, CheckStatus::Ok);
        assert_eq!(judge(&group(80 << 20), swap).status, CheckStatus::Ok);
    }
}
