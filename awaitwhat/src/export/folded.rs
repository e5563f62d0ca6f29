//! A profile as folded stacks: one line per chain, `outermost;...;innermost;[leaf] weight`.
//!
//! Weights are microseconds of task time. The leaf names what ends the chain: what is waited for, or where that is not known the terminal awaitable's type,
//! `[ready]` for one that could have gone on and waited for its event loop, `[running]` for one that ran. Frames are `function (file:line)`.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, Write};

use crate::profile::{Chain, ChainState, Process, Profile};
use crate::snapshot::{Frame, FrameKind};
use crate::view::escape::{FoldedEscaped, named};

/// Writes `profile`, lines in the order of their text.
///
/// # Errors
/// When `output` fails.
pub fn write(profile: &Profile, output: &mut impl Write) -> io::Result<()> {
    lines(profile)
        .iter()
        .try_for_each(|line| writeln!(output, "{line}"))
}

/// Writes several profiles, each below a frame of its own that names its process: `command[PID]`.
///
/// # Errors
/// When `output` fails.
pub fn write_each(profiles: &[Profile], output: &mut impl Write) -> io::Result<()> {
    lines_of_each(profiles)
        .iter()
        .try_for_each(|line| writeln!(output, "{line}"))
}

/// The lines, in the order of their text. Chains that would weigh less than half a microsecond are left out.
pub(super) fn lines(profile: &Profile) -> Vec<String> {
    let mut lines: Vec<String> = profile
        .chains
        .iter()
        .filter_map(|chain| line("", chain))
        .collect();
    lines.sort_unstable();
    lines
}

/// The lines of [`write_each`].
pub(super) fn lines_of_each(profiles: &[Profile]) -> Vec<String> {
    let mut lines: Vec<String> = profiles
        .iter()
        .flat_map(|profile| {
            let root: String = profile.processes.iter().map(root).collect();
            profile.chains.iter().filter_map(move |chain| line(&root, chain))
        })
        .collect();
    lines.sort_unstable();
    lines
}

/// The frame that names a process, with what separates it from the next one.
fn root(process: &Process) -> String {
    format!("{}[{}];", FoldedEscaped(&process.command), process.pid)
}

fn line(root: &str, chain: &Chain) -> Option<String> {
    let microseconds = (chain.task_seconds * 1e6).round();
    if microseconds.is_nan() || microseconds < 1.0 {
        return None;
    }
    let mut line = root.to_owned() + &stack(chain);
    // The float becomes the nearest integer of the type. Writing into a string cannot fail.
    let _ = write!(line, " {}", microseconds as u64);
    Some(line)
}

/// The frames of a chain, outermost first, and what it ends in.
pub(super) fn stack(chain: &Chain) -> String {
    let mut stack = String::new();
    // As above.
    for frame in chain.stack.iter().rev() {
        let _ = write!(stack, "{};", FrameName(frame));
    }
    let _ = write!(stack, "{}", FoldedEscaped(&leaf(chain)));
    stack
}

/// The leaf of a chain that ran.
pub(super) const RUNNING: &str = "[running]";

/// The leaf of a chain that could have gone on.
pub(super) const READY: &str = "[ready]";

/// What ends a chain: what is waited for, or the type of what it ends in; [`READY`] or [`RUNNING`] where it did not wait. Not escaped.
pub(super) fn leaf(chain: &Chain) -> Cow<'static, str> {
    match chain.state {
        ChainState::Running => RUNNING.into(),
        ChainState::Ready => READY.into(),
        ChainState::Waiting => format!("[{}]", waited_for(chain)).into(),
    }
}

/// What a chain waits for, or the type of what it ends in. Not escaped.
pub(super) fn waited_for(chain: &Chain) -> Cow<'_, str> {
    match &chain.resource {
        Some(resource) => resource.called().into(),
        None => named(chain.terminal.as_deref().unwrap_or("?")).into(),
    }
}

/// A frame as the folded format has it: `function (file:line)`.
pub(super) struct FrameName<'a>(pub(super) &'a Frame);

impl fmt::Display for FrameName<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame {
            function,
            file,
            line,
            kind,
            ..
        } = self.0;
        if *kind == FrameKind::LeftOut {
            return write!(formatter, "{}", FoldedEscaped(function));
        }
        if file.is_empty() && *kind == FrameKind::Unknown {
            // There is no code that could be anywhere.
            return write!(formatter, "{}", FoldedEscaped(named(function)));
        }
        write!(
            formatter,
            "{} ({}:{line})",
            FoldedEscaped(named(function)),
            FoldedEscaped(self.0.shown_file())
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::profile::Profile;
    use crate::resource::ResourceKind;
    use crate::snapshot::Frame;
    use crate::testing::{HOSTILE, chain, frame, named, profile, ready, small_profile};

    fn written(profile: &Profile) -> String {
        let mut output = Vec::new();
        super::write(profile, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_profile() {
        insta::assert_snapshot!(written(&small_profile()), @"
        Pool.worker (/srv/app.py:20);sleep (asyncio/tasks.py:704);[Future] 60000000
        Pool.worker (/srv/app.py:22);Lock.acquire (asyncio/locks.py:113);[Future] 29000000
        Pool.worker (/srv/app.py:25);crunch (/srv/app.py:7);[running] 500000
        main (/srv/app.py:61);[_GatheringFuture] 10000000
        rare (/srv/app.py:99);[Future] 250000
        ");
    }

    #[test]
    fn each_process_is_a_frame() {
        let mut other = profile(vec![chain(&[frame("main", "/srv/b.py", 1)], Some("Future"), 1.0)]);
        other.processes[0].command = "a;b 1".to_owned();
        other.processes[0].pid = 12;
        let mut output = Vec::new();
        super::write_each(&[small_profile(), other], &mut output).unwrap();
        insta::assert_snapshot!(String::from_utf8(output).unwrap(), @r"
        a\x3bb 1[12];main (/srv/b.py:1);[Future] 1000000
        python3[4711];Pool.worker (/srv/app.py:20);sleep (asyncio/tasks.py:704);[Future] 60000000
        python3[4711];Pool.worker (/srv/app.py:22);Lock.acquire (asyncio/locks.py:113);[Future] 29000000
        python3[4711];Pool.worker (/srv/app.py:25);crunch (/srv/app.py:7);[running] 500000
        python3[4711];main (/srv/app.py:61);[_GatheringFuture] 10000000
        python3[4711];rare (/srv/app.py:99);[Future] 250000
        ");
    }

    #[test]
    fn hostile_names_break_no_line() {
        let hostile = profile(vec![chain(&[frame(HOSTILE, HOSTILE, 1)], Some(HOSTILE), 1.0)]);
        insta::assert_snapshot!(written(&hostile), @r#"a\x3bb\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7 (a\x3bb\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7:1);[a\x3bb\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7] 1000000"#);
    }

    #[test]
    fn what_is_waited_for_ends_the_line() {
        let at = || chain(&[frame("worker", "/srv/app.py", 1)], Some("Future"), 1.0);
        let profile = profile(vec![
            named(ResourceKind::Lock, "self.lock", at()),
            named(ResourceKind::Lock, HOSTILE, at()),
            at(),
        ]);
        insta::assert_snapshot!(written(&profile), @r#"
        worker (/srv/app.py:1);[Future] 1000000
        worker (/srv/app.py:1);[lock a\x3bb\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7] 1000000
        worker (/srv/app.py:1);[lock self.lock] 1000000
        "#);
    }

    #[test]
    fn what_stands_in_place_of_chains_is_nowhere() {
        let gone = Frame::in_place_of("code that was gone");
        insta::assert_snapshot!(written(&profile(vec![chain(&[gone], None, 1.0)])), @"<code that was gone>;[?] 1000000");
    }

    #[test]
    fn what_was_ready_is_apart() {
        let at = [frame("worker", "/srv/app.py", 1)];
        let profile = profile(vec![
            chain(&at, Some("Future"), 1.0),
            ready(&at, Some("Future"), 2.0),
        ]);
        insta::assert_snapshot!(written(&profile), @"
        worker (/srv/app.py:1);[Future] 1000000
        worker (/srv/app.py:1);[ready] 2000000
        ");
    }

    #[test]
    fn no_time_is_no_line() {
        let nothing = profile(vec![
            chain(&[], None, 0.0),
            chain(&[], None, -1.0),
            chain(&[], None, f64::NAN),
        ]);
        assert_eq!(written(&nothing), "");
    }
}
