//! What `doctor` can only find out by trying: whether the kernel takes the programs, and what a target is.

use super::memory_limit;
use crate::capture::{Capture, CaptureError};
use crate::check::{Check, Concern};
use crate::memory::Memory;
use crate::privileges;
use crate::processes::Processes;
use crate::session::own_thread_ids;
use crate::target::report::{Entry, report};
use crate::target::{EventLoops, FindError, Interpreter, find_interpreter};

/// Size of the ring buffer of a trial, in bytes.
const RING_BYTES: u32 = 1 << 16;
/// Threads that a trial could walk.
const THREADS: u32 = 1;
/// Period of a trial's perf event, in ns: it is closed again long before it fires.
const PERIOD: u64 = 1_000_000_000;

/// The check whether the programs can be loaded.
const PROGRAMS: &str = "eBPF programs";

/// What was found out by trying.
#[derive(Default)]
pub(super) struct Probed {
    pub checks: Vec<Check>,
    /// What to say of the target in a bug report; empty where there is none, or it cannot be read.
    pub report: Vec<Entry>,
}

impl From<Check> for Probed {
    fn from(check: Check) -> Self {
        Self {
            checks: vec![check],
            report: Vec::new(),
        }
    }
}

/// Loads the programs, opens a perf event, and looks at process `pid` if there is one to look at; `missing` is what is known to be missing.
pub(super) fn probe(pid: Option<u32>, missing: &[String]) -> Probed {
    let loaded =
        Capture::load(RING_BYTES, THREADS).and_then(|mut capture| capture.finish_loading().map(|()| capture));
    let mut capture = match loaded {
        Ok(capture) => capture,
        Err(error) => {
            let mut checks = vec![cannot_load(&error, missing)];
            checks.extend(pid.map(not_looked_at));
            return Probed {
                checks,
                ..Probed::default()
            };
        }
    };
    let mut checks = vec![
        Check::ok(Concern::Machine, PROGRAMS, "the kernel takes them"),
        perf_events(&mut capture),
    ];
    let target = pid.map(|pid| target(&mut capture, pid)).unwrap_or_default();
    checks.extend(target.checks);
    Probed { checks, ..target }
}

/// Why the programs cannot be loaded: mostly for want of what has been found `missing` before.
fn cannot_load(error: &CaptureError, missing: &[String]) -> Check {
    let verbatim = match error {
        CaptureError::Load { reason, .. } => reason.clone(),
        _ => String::new(),
    };
    let (meaning, remedy) = match error {
        _ if !missing.is_empty() => (
            format!("they cannot be loaded without {} (see above)", missing.join(", ")),
            "mend that first, then ask `awaitwhat doctor` again",
        ),
        CaptureError::Load { program, .. } => (
            format!(
                "the kernel rejects `{program}`, though it has every feature that awaitwhat knows to need"
            ),
            "send all of this and the output of `uname -r` to awaitwhat's bug tracker; meanwhile, try another kernel from 6.1 on",
        ),
        CaptureError::Permission { .. } => (
            "the kernel does not permit to load them, though the capabilities are there".to_owned(),
            "in a container, its seccomp profile has to allow bpf; in a user namespace of its own none is allowed: look from the host",
        ),
        CaptureError::Files { .. } | CaptureError::Memory { .. } | CaptureError::NoSystemCall { .. } => {
            (error.to_string(), "mend that, then ask `awaitwhat doctor` again")
        }
        other => (
            other.to_string(),
            "send all of this and the output of `uname -r` to awaitwhat's bug tracker",
        ),
    };
    Check::missing(Concern::Machine, PROGRAMS, meaning, Some(remedy.to_owned())).quoting(verbatim)
}

fn perf_events(capture: &mut Capture) -> Check {
    let name = "perf events";
    // The id of the main thread.
    let here = std::process::id();
    let tried = capture.start_sampling(here, PERIOD);
    capture.stop_sampling(here);
    match tried {
        Ok(()) => Check::ok(
            Concern::Machine,
            name,
            "a software clock can be attached to a thread",
        ),
        Err(CaptureError::Permission { .. }) => {
            let (meaning, remedy) = refused(privileges::perf_event_paranoid());
            Check::missing(Concern::Machine, name, meaning, Some(remedy.to_owned()))
        }
        Err(error) => Check::missing(Concern::Machine, name, error.to_string(), None),
    }
}

/// Why perf events are refused, and what helps.
///
/// Values above 2 are Debian's and Ubuntu's own: there CAP_PERFMON does not count, CAP_SYS_ADMIN does.
fn refused(paranoid: Option<i32>) -> (String, &'static str) {
    match paranoid {
        Some(value @ 3..) => (
            format!(
                "the kernel refuses them, as kernel.perf_event_paranoid is {value}: that asks for CAP_SYS_ADMIN\n\
                 without them `ps` and `tree` show programs that rest, and `trace` does not work"
            ),
            "sudo sysctl kernel.perf_event_paranoid=2, or run awaitwhat as root",
        ),
        _ => (
            "the kernel refuses them: they need CAP_PERFMON".to_owned(),
            "run awaitwhat with sudo, or grant the capability as above; in a container, its seccomp profile has to allow perf_event_open",
        ),
    }
}

fn not_looked_at(pid: u32) -> Check {
    let meaning = "cannot be looked at as long as the programs cannot be loaded";
    Check::unknown(Concern::Target, format!("process {pid}"), meaning, None)
}

fn target(capture: &mut Capture, pid: u32) -> Probed {
    let name = format!("process {pid}");
    let gone = || {
        let remedy = "find its process id: pgrep -af python".to_owned();
        Check::missing(Concern::Target, &name, "there is no such process", Some(remedy)).into()
    };
    let Some(command) = Processes::default().command(pid) else {
        return gone();
    };
    let memory = match capture.memory(pid) {
        Ok(memory) => memory,
        Err(CaptureError::Gone) => return gone(),
        Err(error) => return Check::missing(Concern::Target, name, error.to_string(), None).into(),
    };
    let mappings = memory.mappings().len();
    if mappings == 0 {
        let meaning =
            format!("`{command}` has no memory of its own: it is ending, or a thread of the kernel");
        return Check::missing(Concern::Target, name, meaning, None).into();
    }
    let readable = format!("`{command}`, its memory can be read ({mappings} mappings)");
    let mut checks = vec![Check::ok(Concern::Target, name, readable)];
    checks.extend(memory_limit::check(pid));
    match find_interpreter(&memory, memory.mappings()) {
        Ok(interpreter) => checks.extend(python(pid, interpreter, &memory)),
        Err(error) => checks.push(no_python(&error)),
    }
    Probed {
        checks,
        report: report(&memory, memory.mappings()),
    }
}

fn python(pid: u32, mut interpreter: Interpreter, memory: &dyn Memory) -> Vec<Check> {
    let found = format!(
        "CPython {} in `{}`, which is known",
        interpreter.version, interpreter.image
    );
    let mut checks = vec![Check::ok(Concern::Target, "interpreter", found)];
    checks.extend(interpreter.others.iter().map(|(version, image)| {
        let meaning = format!("CPython {version} in `{image}` is not looked at: the process has several");
        Check::unknown(Concern::Target, "interpreter", meaning, None)
    }));
    checks.push(match interpreter.event_loops(memory, &|| own_thread_ids(pid)) {
        Ok(found) => event_loops(&found),
        Err(error) => Check::missing(Concern::Target, "event loops", error.to_string(), None),
    });
    checks
}

fn event_loops(found: &EventLoops) -> Check {
    let name = "event loops";
    if found.left_out > 0 {
        let meaning = format!(
            "{} running; {} parts of them are too many to be looked at",
            found.running.len(),
            found.left_out
        );
        return Check::unknown(Concern::Target, name, meaning, None);
    }
    match found.running.len() {
        0 => Check::unknown(
            Concern::Target,
            name,
            "none is running (now): there are no tasks to see",
            None,
        ),
        1 => Check::ok(Concern::Target, name, "1 is running"),
        many => Check::ok(Concern::Target, name, format!("{many} are running")),
    }
}

fn no_python(error: &FindError) -> Check {
    let remedy = match error {
        FindError::NotPython { .. } => Some(
            "give the process id of the interpreter itself, not of a shell or supervisor: pgrep -af python",
        ),
        FindError::NotInitialised => Some("try again in a moment"),
        FindError::SelfCheck { .. }
        | FindError::UnknownBuild { .. }
        | FindError::MissingSymbol { .. }
        | FindError::Layout(_) => Some("send the report below to awaitwhat's bug tracker"),
        _ => None,
    };
    Check::missing(
        Concern::Target,
        "interpreter",
        error.to_string(),
        remedy.map(str::to_owned),
    )
}

#[cfg(test)]
mod tests {
    use super::{cannot_load, refused};
    use crate::capture::CaptureError;

    /// What a kernel without `bpf_loop` says.
    const REJECTION: &str = "12: (85) call bpf_loop#181\ninvalid func bpf_loop#181";

    fn rejected() -> CaptureError {
        CaptureError::Load {
            program: "visit_threads",
            reason: REJECTION.to_owned(),
        }
    }

    #[test]
    fn what_is_missing_is_why_the_programs_cannot_be_loaded() {
        let check = cannot_load(&rejected(), &["bpf_loop".to_owned(), "CAP_BPF".to_owned()]);
        assert!(check.meaning.contains("without bpf_loop, CAP_BPF"), "{check:?}");
        assert_eq!(check.verbatim, REJECTION);
    }

    #[test]
    fn a_rejection_without_a_known_reason_is_to_be_reported() {
        let check = cannot_load(&rejected(), &[]);
        assert!(check.meaning.contains("visit_threads"), "{check:?}");
        assert!(!check.meaning.contains("invalid func"), "{check:?}");
        assert!(check.remedy.unwrap().contains("bug tracker"));
        let check = cannot_load(&CaptureError::Permission { what: "loading" }, &[]);
        assert!(check.remedy.unwrap().contains("seccomp"));
        let check = cannot_load(&CaptureError::Memory { what: "loading" }, &[]);
        assert!(check.meaning.contains("memory.max"), "{check:?}");
        assert!(!check.remedy.unwrap().contains("bug tracker"));
    }

    #[test]
    fn the_setting_of_debian_and_ubuntu_is_named() {
        for value in [3, 4] {
            assert!(refused(Some(value)).0.contains("CAP_SYS_ADMIN"), "{value}");
        }
        for value in [None, Some(2), Some(-1)] {
            assert!(refused(value).0.contains("CAP_PERFMON"), "{value:?}");
        }
    }
}
