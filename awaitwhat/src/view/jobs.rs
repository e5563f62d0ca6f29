//! Jobs that threads work at, in words: `job render (running in thread reports_0 (4711) at Report.render (report.py:12))`.

use super::escape::fitted;
use super::waits::common;
use crate::origin::Rank;
use crate::resource::{Detail, Resource, WorkerThread};
use crate::snapshot::Frame;

/// Columns that a name from the target may take.
const NAME_WIDTH: usize = 60;
/// Details that have words of their own: what a job calls, whose threads work at it, and how far it is.
const FUNCTION: &str = "function";
const POOL: &str = "pool";
const STATE: &str = "state";
/// What a state may be.
const STATES: [&str; 3] = ["running", "queued", "done"];

/// Whether a detail is one of those that are told here.
pub(super) fn is_told_apart(name: &str) -> bool {
    [FUNCTION, POOL, STATE].contains(&name)
}

/// Says what jobs tasks of one shape wait for.
pub(super) fn describe(resources: &[&Resource]) -> String {
    let mut text = match resources.len() {
        1 => "job".to_owned(),
        count => format!("{count} jobs"),
    };
    if let Some(function) = common(resources, |it| detail(it, FUNCTION)) {
        text += &format!(" {}", fitted(function, NAME_WIDTH));
    }
    let facts = facts(resources);
    if !facts.is_empty() {
        text += &format!(" ({})", facts.join(", "));
    }
    text
}

/// How far jobs are, and what is known of their threads.
pub(super) fn facts(resources: &[&Resource]) -> Vec<String> {
    let thread = common(resources, |it| it.thread.as_deref());
    if let (Some(thread), Some("running")) = (thread, common(resources, |it| detail(it, STATE))) {
        return vec![format!("running {}", thread_in_words(thread))];
    }
    let mut facts = Vec::new();
    for state in STATES {
        let is_it = |it: &&&Resource| detail(it, STATE) == Some(state);
        match resources.iter().filter(is_it).count() {
            0 => {}
            _ if resources.len() == 1 => facts.push(state.to_owned()),
            count => facts.push(format!("{count} {state}")),
        }
    }
    if let [only] = resources
        && let (Some(position), Some(waiters)) = (only.position, only.waiters)
    {
        facts.push(format!("place {position} of {waiters} in line"));
    }
    if let Some(pool) = common(resources, |it| detail(it, POOL)) {
        let size = match common(resources, |it| it.limit) {
            Some(1) => " of 1 thread".to_owned(),
            Some(size) => format!(" of {size} threads"),
            None => String::new(),
        };
        facts.push(format!("pool {}{size}", fitted(pool, NAME_WIDTH)));
    }
    facts
}

/// `in thread reports_0 (12345) at Report.render (report.py:12)`: the innermost function of the application's own, or else of any.
fn thread_in_words(thread: &WorkerThread) -> String {
    let mut text = "in thread".to_owned();
    if let Some(name) = &thread.name {
        text += &format!(" {}", fitted(name, NAME_WIDTH));
    }
    match thread.tid {
        Some(tid) if thread.name.is_some() => text += &format!(" ({tid})"),
        Some(tid) => text += &format!(" {tid}"),
        None => {}
    }
    let is_own = |frame: &&Frame| frame.origin.rank == Rank::Application;
    let Some(frame) = thread.stack.iter().find(is_own).or(thread.stack.first()) else {
        return text;
    };
    text += &format!(" at {}", fitted(&frame.function, NAME_WIDTH));
    if frame.line > 0 {
        text += &format!(" ({}:{})", fitted(frame.shown_file(), NAME_WIDTH), frame.line);
    }
    text
}

fn detail<'a>(resource: &'a Resource, wanted: &str) -> Option<&'a str> {
    resource.detail.iter().find_map(|(name, value)| match value {
        Detail::Text(text) if **name == *wanted => Some(&**text),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::ResourceKind;
    use crate::testing::{HOSTILE, frame};

    fn job(state: &str, function: &str) -> Resource {
        let text = |name: &str, text: &str| (name.into(), Detail::Text(text.into()));
        Resource {
            limit: Some(2),
            detail: vec![
                text(FUNCTION, function),
                text(POOL, "reports"),
                text(STATE, state),
            ],
            ..Resource::of_kind(ResourceKind::Thread)
        }
    }

    fn running(function: &str, stack: &[Frame]) -> Resource {
        let thread = WorkerThread {
            tid: Some(4711),
            name: Some("reports_0".into()),
            state: None,
            stack: stack.into(),
            is_moving: false,
        };
        Resource {
            thread: Some(Box::new(thread)),
            ..job("running", function)
        }
    }

    fn queued(position: u64) -> Resource {
        Resource {
            position: Some(position),
            waiters: Some(3),
            ..job("queued", "render")
        }
    }

    fn said(resources: &[&Resource]) -> String {
        describe(resources)
    }

    #[test]
    fn jobs_in_words() {
        let stack = [
            frame("Event.wait", "/usr/lib/python3.12/threading.py", 655),
            frame("Report.render", "/srv/report.py", 12),
        ];
        let (one, other) = (running("render", &stack), running("file", &[]));
        let (first, last) = (queued(1), queued(3));
        let said = [
            said(&[&one]),
            said(&[&other]),
            said(&[&last]),
            said(&[&one, &other]),
            said(&[&one, &first, &last]),
            said(&[&job("done", "render")]),
        ];
        insta::assert_snapshot!(said.join("\n"), @"
        job render (running in thread reports_0 (4711) at Report.render (/srv/report.py:12))
        job file (running in thread reports_0 (4711))
        job render (queued, place 3 of 3 in line, pool reports of 2 threads)
        2 jobs (2 running, pool reports of 2 threads)
        3 jobs render (1 running, 2 queued, pool reports of 2 threads)
        job render (done, pool reports of 2 threads)
        ");
    }

    #[test]
    fn names_from_the_target_are_escaped() {
        let hostile = running(HOSTILE, &[frame(HOSTILE, HOSTILE, 1)]);
        let text = said(&[&hostile]);
        assert!(!text.contains('\x1b') && !text.contains('\n'), "{text}");
    }
}
