//! Which processes are asked for, and which of those there are that is.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use crate::pattern::Pattern;
use crate::processes::Processes;

/// Where the unified hierarchy of control groups is usually mounted: paths may be given with it or without.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";

/// A control group of the unified hierarchy, with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Takes a path as `/proc/PID/cgroup` has it, or one below `/sys/fs/cgroup`.
    pub fn new(path: &Path) -> Self {
        let inner = path.strip_prefix(CGROUP_MOUNT).unwrap_or(path);
        let names = inner
            .components()
            .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        Self(Path::new("/").join(names.collect::<PathBuf>()))
    }

    fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.0)
    }
}

/// Which processes are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// These.
    pub pids: Vec<u32>,
    /// Those whose command line matches one of these; with `cgroups`, of those in one of them.
    pub names: Vec<Pattern>,
    /// Those in one of these control groups.
    pub cgroups: Vec<Cgroup>,
    /// Every Python process with tasks.
    pub all: bool,
    /// And their children that are Python, and theirs.
    pub subprocesses: bool,
}

/// Why a process is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It was named by its id.
    Named,
    /// It matches: nobody said that it is Python.
    Matched,
    /// It descends from one of the others.
    Child,
}

/// A process to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    pub pid: u32,
    pub reason: Reason,
}

impl Selection {
    /// Process `pid`, and no other.
    pub fn of(pid: u32) -> Self {
        Self {
            pids: vec![pid],
            ..Self::default()
        }
    }

    /// The one process that is asked for, where it is one that was named by its id.
    pub fn single(&self) -> Option<u32> {
        match *self.pids.as_slice() {
            [pid] if !self.is_open() => Some(pid),
            _ => None,
        }
    }

    /// Whether processes may come to belong to it.
    pub fn is_open(&self) -> bool {
        self.subprocesses || self.has_rules()
    }

    /// Whether it takes processes by what they are, and not by their ids alone.
    pub fn has_rules(&self) -> bool {
        self.all || !self.names.is_empty() || !self.cgroups.is_empty()
    }

    /// Whether a Python that was found for `reason` belongs into the result. Where it was named, or matches what was said of it, it
    /// does in any case; of all Pythons, and of all children, only those with tasks do.
    pub fn is_shown(&self, reason: Reason, has_tasks: bool) -> bool {
        has_tasks
            || match reason {
                Reason::Named => true,
                Reason::Matched => !self.all,
                Reason::Child => false,
            }
    }

    /// Whether it takes a process for what it is.
    fn matches(&self, processes: &Processes, pid: u32) -> bool {
        if self.all {
            return true;
        }
        if !self.has_rules() {
            return false;
        }
        let is_in_cgroup = self.cgroups.is_empty()
            || processes
                .cgroup(pid)
                .is_some_and(|path| self.cgroups.iter().any(|cgroup| cgroup.holds(&path)));
        is_in_cgroup && (self.names.is_empty() || self.has_name(&processes.command_line(pid)))
    }

    fn has_name(&self, command_line: &[u8]) -> bool {
        // What is no UTF-8 counts as U+FFFD: it hides nothing behind it from the pattern.
        let command_line = String::from_utf8_lossy(command_line);
        !command_line.is_empty() && self.names.iter().any(|name| name.is_in(&command_line))
    }
}

/// Finds the processes of a selection, again and again.
#[derive(Debug)]
pub struct Search<'a> {
    selection: &'a Selection,
    processes: Processes,
    /// Who is never selected: this process.
    own: u32,
    family: Family,
}

impl<'a> Search<'a> {
    /// Searches `processes` for `selection`, of which process `own` is no part.
    pub fn new(selection: &'a Selection, processes: Processes, own: u32) -> Self {
        Self {
            selection,
            processes,
            own,
            family: Family::default(),
        }
    }

    pub fn selection(&self) -> &'a Selection {
        self.selection
    }

    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// The processes that belong to the selection now, in ascending order of their ids. Those that were named are among them
    /// whether they are there or not.
    pub fn look(&mut self) -> Vec<Candidate> {
        let Self {
            selection,
            processes,
            own,
            family,
        } = self;
        let candidate = |reason| move |pid| Candidate { pid, reason };
        let mut found: Vec<Candidate> = selection
            .pids
            .iter()
            .copied()
            .map(candidate(Reason::Named))
            .collect();
        if selection.is_open() {
            let mut ids = processes.ids();
            ids.retain(|pid| pid != own);
            let matching = ids
                .iter()
                .copied()
                .filter(|&pid| selection.matches(processes, pid));
            found.extend(matching.map(candidate(Reason::Matched)));
            if selection.subprocesses {
                let roots: HashSet<u32> = found.iter().map(|root| root.pid).collect();
                family.update(&ids, &roots, |pid| processes.parent(pid));
                found.extend(family.members.iter().copied().map(candidate(Reason::Child)));
            }
        }
        // Of several reasons the first one counts.
        found.sort_unstable();
        found.dedup_by_key(|candidate| candidate.pid);
        found
    }
}

/// The descendants of some processes, as far as they were seen while their parents were there.
#[derive(Debug, Default)]
struct Family {
    seen: HashSet<u32>,
    members: HashSet<u32>,
}

impl Family {
    /// Takes those of `ids` in that were not there before and descend from `roots` or from a member; drops those that are gone.
    /// Whoever is a member stays one when its parent ends.
    fn update(&mut self, ids: &[u32], roots: &HashSet<u32>, parent: impl Fn(u32) -> Option<u32>) {
        let present: HashSet<u32> = ids.iter().copied().collect();
        self.members.retain(|pid| present.contains(pid));
        let mut strangers: Vec<(u32, u32)> = ids
            .iter()
            .filter(|pid| !self.seen.contains(pid))
            .filter_map(|&pid| Some((pid, parent(pid)?)))
            .collect();
        loop {
            let before = strangers.len();
            strangers.retain(|(pid, parent)| {
                let is_child = roots.contains(parent) || self.members.contains(parent);
                if is_child {
                    self.members.insert(*pid);
                }
                !is_child
            });
            if strangers.len() == before {
                break;
            }
        }
        self.seen = present;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap, HashSet};
    use std::fs;
    use std::path::Path;

    use super::{Candidate, Cgroup, Family, Pattern, Reason, Search, Selection};
    use crate::processes::Processes;

    const OWN: u32 = 999;

    /// A `/proc` with processes of this id, parent, command line and control group.
    fn processes(entries: &[(u32, u32, &[u8], &str)]) -> (tempfile::TempDir, Processes) {
        let folder = tempfile::tempdir().unwrap();
        for (pid, parent, command_line, cgroup) in entries {
            let process = folder.path().join(pid.to_string());
            fs::create_dir(&process).unwrap();
            let zeros = "0 ".repeat(20);
            fs::write(process.join("stat"), format!("{pid} (x) S {parent} {zeros}")).unwrap();
            fs::write(process.join("cmdline"), command_line).unwrap();
            fs::write(process.join("cgroup"), format!("1:cpu:/x\n0::{cgroup}\n")).unwrap();
        }
        let processes = Processes::at(folder.path());
        (folder, processes)
    }

    fn found(selection: &Selection, processes: &Processes) -> Vec<(u32, Reason)> {
        let found = Search::new(selection, processes.clone(), OWN).look();
        found
            .into_iter()
            .map(|Candidate { pid, reason }| (pid, reason))
            .collect()
    }

    fn named(names: &[&str]) -> Selection {
        Selection {
            names: names.iter().map(|name| Pattern::new(name).unwrap()).collect(),
            ..Selection::default()
        }
    }

    #[test]
    fn names_are_searched_for_in_whole_command_lines() {
        let (_folder, processes) = processes(&[
            (1, 0, b"/sbin/init\0", "/"),
            (2, 0, b"", "/"),
            (7, 1, b"python3\0-m\0shop.web\0", "/"),
            (8, 1, b"gunicorn: \xff\xfe\n\0\0\0", "/"),
            (OWN, 1, b"awaitwhat\0ps\0--name\0shop\0", "/"),
        ]);
        for (names, expected) in [
            (&["shop"][..], &[7][..]),
            (&["^python3 -m shop[.]web$"], &[7]),
            (&["shop", "init"], &[1, 7]),
            (&["gunicorn.*\n$"], &[8]),
            (&["SHOP"], &[]),
            (&["(?i)SHOP"], &[7]),
            // Not the thread of the kernel, and not this process.
            (&[""], &[1, 7, 8]),
        ] {
            let pids: Vec<u32> = found(&named(names), &processes)
                .into_iter()
                .map(|(pid, _)| pid)
                .collect();
            assert_eq!(pids, expected, "{names:?}");
        }
    }

    #[test]
    fn a_control_group_holds_those_below_it() {
        let (_folder, processes) = processes(&[
            (1, 0, b"init\0", "/"),
            (2, 1, b"a\0", "/system.slice/app.service"),
            (3, 1, b"b\0", "/system.slice/app.service/workers"),
            (4, 1, b"b\0", "/system.slice/app.service2"),
        ]);
        let below = |path: &str| Selection {
            cgroups: vec![Cgroup::new(Path::new(path))],
            ..Selection::default()
        };
        let pids = |selection: &Selection| -> Vec<u32> {
            let found = found(selection, &processes);
            found.into_iter().map(|(pid, _)| pid).collect()
        };
        for path in [
            "/system.slice/app.service",
            "/system.slice//app.service/",
            "system.slice/./app.service",
            "/sys/fs/cgroup/system.slice/app.service/",
        ] {
            assert_eq!(pids(&below(path)), [2, 3], "{path}");
        }
        assert_eq!(pids(&below("/sys/fs/cgroup")), [1, 2, 3, 4]);
        assert!(pids(&below("/system.slice/app")).is_empty());
        // With names, both must hold.
        let both = Selection {
            names: named(&["b"]).names,
            ..below("/system.slice/app.service")
        };
        assert_eq!(pids(&both), [3]);
    }

    #[test]
    fn children_of_any_depth_belong_to_their_ancestors() {
        let (_folder, processes) = processes(&[
            (3, 20, b"grandchild\0", "/"),
            (10, 1, b"root\0", "/"),
            (20, 10, b"child\0", "/"),
            (30, 1, b"stranger\0", "/"),
            (OWN, 10, b"awaitwhat\0", "/"),
        ]);
        let family = |pids: &[u32]| Selection {
            pids: pids.to_vec(),
            subprocesses: true,
            ..Selection::default()
        };
        use Reason::{Child, Matched, Named};
        let expected = [(3, Child), (10, Named), (20, Child)];
        assert_eq!(found(&family(&[10]), &processes), expected);
        let expected = [(3, Child), (10, Named), (20, Named)];
        assert_eq!(found(&family(&[20, 10, 10]), &processes), expected);
        let matched = Selection {
            subprocesses: true,
            ..named(&["^child"])
        };
        assert_eq!(found(&matched, &processes), [(3, Child), (20, Matched)]);
    }

    #[test]
    fn named_processes_need_not_be_there() {
        let (_folder, processes) = processes(&[]);
        assert_eq!(found(&Selection::of(5), &processes), [(5, Reason::Named)]);
        assert!(found(&named(&["x"]), &processes).is_empty());
    }

    #[test]
    fn one_process_by_its_id_is_single() {
        assert_eq!(Selection::of(5).single(), Some(5));
        let two = Selection {
            pids: vec![5, 6],
            ..Selection::default()
        };
        let family = Selection {
            subprocesses: true,
            ..Selection::of(5)
        };
        for several in [two, family, named(&["x"]), Selection::default()] {
            assert_eq!(several.single(), None, "{several:?}");
        }
    }

    #[test]
    fn a_member_outlives_its_parent_and_no_other_takes_its_place() {
        let roots = HashSet::from([1]);
        let mut family = Family::default();
        let mut update = |ids: &[u32], parents: &[(u32, u32)]| {
            let parents: HashMap<u32, u32> = parents.iter().copied().collect();
            family.update(ids, &roots, |pid| parents.get(&pid).copied());
            family.members.iter().copied().collect::<BTreeSet<u32>>()
        };
        assert_eq!(update(&[1, 2, 3], &[(2, 1), (3, 2)]), BTreeSet::from([2, 3]));
        // 2 has ended, and what was its child belongs to init; 4 is new and belongs to 3.
        assert_eq!(update(&[1, 3, 4], &[(3, 9), (4, 3)]), BTreeSet::from([3, 4]));
        // The number 2 is used again, by a stranger.
        assert_eq!(update(&[1, 2, 3], &[(2, 9)]), BTreeSet::from([3]));
        assert_eq!(update(&[1], &[]), BTreeSet::new());
    }
}
