//! What the kernel lets this program do beyond what its user may: as little as is needed, and no longer than that.
//!
//! Capabilities belong to threads, and a new thread begins with those of the one that makes it. Root begins with all of them.
//!
//! | when | what is held |
//! |---|---|
//! | at the start | whatever was given, to open the result's file and to start a program as the user's shell would |
//! | while targets are read | [reading], by the thread that reads, and nothing else; of a trace, and of `top`, that is a thread of its own, which ends with it, and which the first one leaves it to; of a recording that keeps snapshots, two |
//! | when a program that was started is ended | CAP_KILL for the one call: it may have become another user's |
//! | when the result's file gets its name | [`WRITING`] for the one call, if the folder did not open without |
//! | when results are put into words and written | nothing; but of `ps --watch`, which reads again afterwards, [reading] |
//!
//! What is started inherits nothing of it: the ambient and the inheritable set are emptied at the start. It has what its user and its file
//! give to it: root's program is root's ordinary program, and that of a user who was given capabilities for awaitwhat has none.

use std::fs;
use std::io;

pub use rustix::thread::CapabilitySet as Set;
use rustix::thread::{CapabilitySets, capabilities, set_capabilities};

/// To write where the user's rights do not reach: root's do not reach into the folders of others without.
pub const WRITING: Set = Set::DAC_OVERRIDE.union(Set::FOWNER);

/// All that reading targets may ask for.
const READING: Set = Set::BPF
    .union(Set::PERFMON)
    .union(Set::SYS_ADMIN)
    .union(Set::SYS_PTRACE);

/// What reading targets asks for.
///
/// CAP_BPF and CAP_PERFMON, and only where these do not do: CAP_SYS_ADMIN, which stands in for one that is missing, and which Debian's and
/// Ubuntu's kernels ask for with `kernel.perf_event_paranoid` above 2; CAP_SYS_PTRACE, without which a `/proc` with `hidepid` hides the
/// processes of others.
#[must_use]
pub fn reading() -> Set {
    let held = permitted();
    reading_with(held, perf_event_paranoid(), is_proc_hiding())
}

fn reading_with(held: Set, paranoid: Option<i32>, is_hidden: bool) -> Set {
    let both = Set::BPF | Set::PERFMON;
    let mut wanted = both;
    if !held.contains(both) || paranoid.is_some_and(|value| value > 2) {
        wanted |= Set::SYS_ADMIN;
    }
    if is_hidden {
        wanted |= Set::SYS_PTRACE;
    }
    held & wanted
}

/// The setting `kernel.perf_event_paranoid`.
#[must_use]
pub fn perf_event_paranoid() -> Option<i32> {
    let text = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?;
    text.trim().parse().ok()
}

/// Whether `/proc` is mounted so that it hides processes from those who may not trace them.
#[must_use]
pub fn is_proc_hiding() -> bool {
    hides_processes(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// Whether `/proc` hides the processes of others (`hidepid` in proc(5)), as `/proc/self/mountinfo` says.
fn hides_processes(mounts: &str) -> bool {
    let option = |line: &str| {
        let (mount, rest) = line.split_once(" - ")?;
        let mut of_file_system = rest.split(' ');
        let is_proc = mount.split(' ').nth(4) == Some("/proc") && of_file_system.next() == Some("proc");
        let options = of_file_system.nth(1).filter(|_| is_proc)?;
        let value = options
            .split(',')
            .find_map(|option| option.strip_prefix("hidepid="));
        Some(value.unwrap_or("off").to_owned())
    };
    // Of several mounts in one place the last one counts.
    let value = mounts.lines().filter_map(option).next_back();
    value.is_some_and(|value| !matches!(value.as_str(), "off" | "0"))
}

/// Has what is started from here on inherit no capability of ours.
///
/// # Errors
/// When the kernel, or a sandbox, refuses.
pub fn keep_to_ourselves() -> io::Result<()> {
    // The ambient ones go with them: none is ambient that is not inheritable (capabilities(7)).
    change(|sets| CapabilitySets {
        inheritable: Set::empty(),
        ..sets
    })
}

/// From here on this thread may read targets, and beyond that nothing that its user may not, but for what is [`raised`] of `reserve`.
pub fn only_read(reserve: Set) {
    let reading = reading();
    limit(reading, reserve);
}

/// From here on another thread reads, and this one may not: what else it holds it has in reserve.
pub fn leave_reading() {
    limit(Set::empty(), Set::all() - READING);
}

/// From here on this thread may do what its user may, and nothing else, but for what is [`raised`] of `reserve`.
pub fn only(reserve: Set) {
    limit(Set::empty(), reserve);
}

/// From here on this thread may do what its user may, and nothing else.
pub fn nothing() {
    only(Set::empty());
}

/// Does something with capabilities of the reserve, as far as there are any.
pub fn raised<T>(these: Set, act: impl FnOnce() -> T) -> T {
    with_effective(|sets| sets.effective | (sets.permitted & these), act)
}

/// Does something without some capabilities.
pub fn lowered<T>(these: Set, act: impl FnOnce() -> T) -> T {
    with_effective(|sets| sets.effective - these, act)
}

fn with_effective<T>(effective: impl FnOnce(CapabilitySets) -> Set, act: impl FnOnce() -> T) -> T {
    /// Puts things right again, also after a panic.
    struct Back(Option<CapabilitySets>);
    impl Drop for Back {
        fn drop(&mut self) {
            if let Some(before) = self.0 {
                as_far_as_possible(change(|_| before));
            }
        }
    }
    let _back = Back(capabilities(None).ok());
    as_far_as_possible(change(|sets| CapabilitySets {
        effective: effective(sets),
        ..sets
    }));
    act()
}

/// Leaves this thread `effective`, and `reserve` to be raised.
fn limit(effective: Set, reserve: Set) {
    as_far_as_possible(change(|sets| CapabilitySets {
        effective: sets.permitted & effective,
        permitted: sets.permitted & (effective | reserve),
        inheritable: Set::empty(),
    }));
}

/// A thread may always give up what it has, and raise what it kept. Where a sandbox forbids the calls altogether, that was told at the start
/// ([`keep_to_ourselves`]), and all goes on with what there is.
fn as_far_as_possible(_: io::Result<()>) {}

fn change(new: impl FnOnce(CapabilitySets) -> CapabilitySets) -> io::Result<()> {
    Ok(set_capabilities(None, new(capabilities(None)?))?)
}

/// What this thread may raise; where the kernel does not tell, nothing.
fn permitted() -> Set {
    capabilities(None).map_or(Set::empty(), |sets| sets.permitted)
}

#[cfg(test)]
mod tests {
    use super::{Set, hides_processes, reading_with};

    #[test]
    fn two_capabilities_do_unless_the_kernel_asks_for_more() {
        let both = Set::BPF | Set::PERFMON;
        let all = Set::all();
        assert_eq!(reading_with(all, None, false), both);
        assert_eq!(reading_with(all, Some(2), false), both);
        assert_eq!(reading_with(all, Some(3), false), both | Set::SYS_ADMIN);
        assert_eq!(reading_with(all, Some(2), true), both | Set::SYS_PTRACE);
        assert_eq!(
            reading_with(Set::SYS_ADMIN | Set::KILL, None, false),
            Set::SYS_ADMIN
        );
        assert_eq!(
            reading_with(Set::SYS_ADMIN | Set::BPF, None, false),
            Set::SYS_ADMIN | Set::BPF
        );
        assert_eq!(reading_with(Set::empty(), Some(4), true), Set::empty());
    }

    #[test]
    fn hidden_processes_are_an_option_of_the_mount() {
        let mount =
            |place: &str, options: &str| format!("24 30 0:22 / {place} rw,nosuid - proc proc {options}\n");
        assert!(!hides_processes(""));
        assert!(!hides_processes(&mount("/proc", "rw")));
        assert!(!hides_processes(&mount("/proc", "rw,hidepid=off")));
        assert!(!hides_processes(&mount("/elsewhere/proc", "rw,hidepid=2")));
        for value in ["1", "2", "invisible", "noaccess", "ptraceable"] {
            let options = format!("rw,gid=4,hidepid={value}");
            assert!(hides_processes(&mount("/proc", &options)), "{value}");
        }
        let both = mount("/proc", "rw,hidepid=2") + &mount("/proc", "rw");
        assert!(!hides_processes(&both));
    }
}
