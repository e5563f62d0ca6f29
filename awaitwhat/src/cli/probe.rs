//! What `doctor` can only find out by trying: whether the kernel takes the programs, and what a target is.

use crate::capture::{Capture, CaptureError};
use crate::check::{Check, Concern};
use crate::memory::Memory;
use crate::session::own_thread_ids;
use crate::target::{EventLoops, FindError, Interpreter, find_interpreter};

/// Size of the ring buffer of a trial, in bytes.
const RING_BYTES: u32 = 1 << 16;
/// Period of a trial's perf event, in ns: it is closed again long before it fires.
const PERIOD: u64 = 1_000_000_000;

/// Loads the programs, opens a perf event, and looks at process `pid` if there is one to look at.
pub(super) fn probe(pid: Option<u32>) -> Vec<Check> {
    let name = "eBPF programs";
    let mut capture = match Capture::load(RING_BYTES) {
        Ok(capture) => capture,
        Err(error) => {
            let mut checks = vec![Check::missing(Concern::Machine, name, error.to_string(), None)];
            checks.extend(pid.map(not_looked_at));
            return checks;
        }
    };
    let mut checks = vec![
        Check::ok(Concern::Machine, name, "the kernel takes them"),
        perf_events(&mut capture),
    ];
    if let Some(pid) = pid {
        checks.extend(target(&mut capture, pid));
    }
    checks
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
        Err(error) => Check::missing(Concern::Machine, name, error.to_string(), None),
    }
}

fn not_looked_at(pid: u32) -> Check {
    let meaning = "cannot be looked at as long as the programs cannot be loaded";
    Check::unknown(Concern::Target, format!("process {pid}"), meaning, None)
}

fn target(capture: &mut Capture, pid: u32) -> Vec<Check> {
    let name = format!("process {pid}");
    let gone = || {
        let remedy = "find its process id: pgrep -af python".to_owned();
        vec![Check::missing(
            Concern::Target,
            &name,
            "there is no such process",
            Some(remedy),
        )]
    };
    let Some(command) = command(pid) else {
        return gone();
    };
    let memory = match capture.memory(pid) {
        Ok(memory) => memory,
        Err(CaptureError::Gone) => return gone(),
        Err(error) => return vec![Check::missing(Concern::Target, name, error.to_string(), None)],
    };
    let mappings = memory.mappings().len();
    if mappings == 0 {
        let meaning =
            format!("`{command}` has no memory of its own: it is ending, or a thread of the kernel");
        return vec![Check::missing(Concern::Target, name, meaning, None)];
    }
    let readable = format!("`{command}`, its memory can be read ({mappings} mappings)");
    let mut checks = vec![Check::ok(Concern::Target, name, readable)];
    match find_interpreter(&memory, memory.mappings()) {
        Ok(interpreter) => checks.extend(python(pid, interpreter, &memory)),
        Err(error) => checks.push(no_python(&error)),
    }
    checks
}

/// The name of a process, if there is one with this id.
fn command(pid: u32) -> Option<String> {
    let command = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&command).trim_end().to_owned())
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
        _ => None,
    };
    Check::missing(
        Concern::Target,
        "interpreter",
        error.to_string(),
        remedy.map(str::to_owned),
    )
}
