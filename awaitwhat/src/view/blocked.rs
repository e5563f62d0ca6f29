//! Event loops that do not turn, in words.

use std::io::{self, Write};

use super::escape::fitted;
use super::tree::{location, plural};
use crate::findings::{BlockedLoop, Holder, HolderKind};
use crate::origin;
use crate::snapshot::Frame;

/// Columns that the name of a function or of a task may take.
const NAME_WIDTH: usize = 60;
/// Frames of a callback that are shown; a task's are shown with it.
const MAX_FRAMES: usize = 12;

/// Writes the frames of what holds a loop, outermost first, where that is a callback: a task's are shown with it.
pub(super) fn write_frames(blocked: &BlockedLoop, output: &mut impl Write) -> io::Result<()> {
    if matches!(blocked.holder.kind, HolderKind::Task(_)) {
        return Ok(());
    }
    let stack = &blocked.holder.stack;
    let shown = stack.get(..MAX_FRAMES).unwrap_or(stack);
    for frame in shown.iter().rev() {
        writeln!(output, "   {}", super::tree::frame_line(frame))?;
    }
    Ok(())
}

/// A loop that does not turn, as one line.
pub(super) fn describe(blocked: &BlockedLoop) -> String {
    let BlockedLoop {
        tid,
        seconds,
        holder,
        ready,
        overdue_timers,
    } = blocked;
    let mut text = format!(
        "The event loop of thread {tid} has not turned for {} at least: {}",
        duration(*seconds),
        whom(holder)
    );
    text += &format!("; {} ready to go on", plural(*ready, "task is", "tasks are"));
    if let Some(timers) = overdue_timers.filter(|timers| *timers > 0) {
        text += &format!(", {} overdue", plural(timers as usize, "timer is", "timers are"));
    }
    text
}

/// Who holds a loop, and where in the code.
fn whom(holder: &Holder) -> String {
    let who = match (holder.kind, &holder.name) {
        (HolderKind::Task(_), Some(name)) => format!("task {}", fitted(name, NAME_WIDTH)),
        (HolderKind::Task(id), None) => format!("task {id}"),
        (HolderKind::Callback, _) => "a callback".to_owned(),
        (HolderKind::Unknown, _) => "a task or callback that could not be told".to_owned(),
    };
    let who = if holder.seconds > 0.0 {
        who
    } else {
        format!("it works through many callbacks, now {who}")
    };
    match place(&holder.stack) {
        Some(place) => format!("{who} is in {place}"),
        None => who,
    }
}

/// Where it is at work: the innermost frame, and whose code called that.
fn place(stack: &[Frame]) -> Option<String> {
    let shown = |frame: &Frame| {
        let function = fitted(&frame.function, NAME_WIDTH);
        format!("{function} ({})", location(frame.shown_file(), frame.line))
    };
    let innermost = stack.first()?;
    let caller = origin::await_point(stack);
    let called = stack.get(caller).filter(|_| caller > 0);
    let called = called.map(|frame| format!(", called from {}", shown(frame)));
    Some(shown(innermost) + &called.unwrap_or_default())
}

/// As much as is of interest: `0.1 s`, `3.2 s`, `95 s`.
pub(super) fn duration(seconds: f64) -> String {
    // What is said holds at least: nothing is rounded up.
    if seconds < 60.0 {
        format!("{:.1} s", (seconds * 10.0).floor() / 10.0)
    } else {
        format!("{:.0} s", seconds.floor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Finding;
    use crate::memory::Address;
    use crate::testing::{HOSTILE, frame, snapshot};

    fn blocked(kind: HolderKind, name: Option<&str>, stack: &[Frame]) -> Finding {
        Finding::BlockedLoop(BlockedLoop {
            tid: 4711,
            seconds: 3.29,
            holder: Holder {
                kind,
                name: name.map(Into::into),
                stack: stack.into(),
                seconds: 0.1,
            },
            ready: 50,
            overdue_timers: Some(1),
        })
    }

    fn written(findings: Vec<Finding>) -> String {
        let mut snapshot = snapshot(Vec::new());
        snapshot.findings = findings;
        let mut output = Vec::new();
        crate::view::findings::write(&snapshot, &mut output).unwrap();
        anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string()
    }

    #[test]
    fn a_task_is_named_with_its_place() {
        let stack = [
            frame("get", "/venv/lib/python3.12/site-packages/requests/api.py", 73),
            frame("hog", "/srv/app.py", 14),
        ];
        let text = written(vec![blocked(HolderKind::Task(Address(16)), Some("hog"), &stack)]);
        insta::assert_snapshot!(text, @"The event loop of thread 4711 has not turned for 3.2 s at least: task hog is in get (requests/api.py:73), called from hog (/srv/app.py:14); 50 tasks are ready to go on, 1 timer is overdue");
    }

    #[test]
    fn a_callback_has_its_frames_below() {
        let stack = [
            frame("send", "/srv/app.py", 9),
            frame("flush_metrics", "/srv/app.py", 3),
        ];
        let text = written(vec![blocked(HolderKind::Callback, None, &stack)]);
        insta::assert_snapshot!(text, @"
        The event loop of thread 4711 has not turned for 3.2 s at least: a callback is in send (/srv/app.py:9); 50 tasks are ready to go on, 1 timer is overdue
           flush_metrics  /srv/app.py:3
           send  /srv/app.py:9
        ");
    }

    #[test]
    fn who_cannot_be_told_is_not_guessed() {
        let mut unknown = blocked(HolderKind::Unknown, None, &[]);
        if let Finding::BlockedLoop(it) = &mut unknown {
            it.holder.seconds = 0.0;
            it.overdue_timers = None;
            it.seconds = 125.9;
            it.ready = 0;
        }
        insta::assert_snapshot!(written(vec![unknown]), @"The event loop of thread 4711 has not turned for 125 s at least: it works through many callbacks, now a task or callback that could not be told; 0 tasks are ready to go on");
    }

    #[test]
    fn hostile_names_stay_harmless() {
        let stack = [frame(HOSTILE, HOSTILE, 1)];
        let text = written(vec![
            blocked(HolderKind::Callback, None, &stack),
            blocked(HolderKind::Task(Address(16)), Some(HOSTILE), &stack),
        ]);
        assert!(!text.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}']), "{text}");
        assert_eq!(text.lines().count(), 3);
    }
}
