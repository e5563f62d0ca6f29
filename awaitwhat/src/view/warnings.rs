//! What the tasks of a snapshot show by themselves, in words.

use super::blocked::duration;
use super::escape::fitted;
use super::tree::plural;
use super::waits;
use crate::findings::{Mentioned, NeverWoken, SlowWait, UsedUp};

/// Columns that the name of a task may take, and tasks that are named.
const NAME_WIDTH: usize = 40;
const MAX_NAMES: usize = 3;

/// Something that is used up, as one line.
pub(super) fn used_up(used_up: &UsedUp) -> String {
    let UsedUp { resource, waiting } = used_up;
    let limit = resource.limit.filter(|limit| *limit > 0);
    let all = limit.map_or_else(String::new, |limit| format!(", all {limit} of it"));
    format!(
        "Used up: {}{all}; {} for it: {}",
        waits::name(resource),
        plural(waiting.count, "task waits", "tasks wait"),
        named(waiting)
    )
}

/// Tasks that were cancelled and wait, as one line.
pub(super) fn cancelled(waiting: &Mentioned) -> String {
    format!(
        "Cancelled: {} though {} asked to end: {}",
        plural(waiting.count, "task waits", "tasks wait"),
        if waiting.count == 1 { "it was" } else { "they were" },
        named(waiting)
    )
}

/// Tasks that have waited for long, as one line.
pub(super) fn slow(slow: &SlowWait) -> String {
    format!(
        "Slow: {} waited for more than {} s, {} at most: {}",
        plural(slow.waiting.count, "task has", "tasks have"),
        slow.slow,
        duration(slow.longest),
        named(&slow.waiting)
    )
}

/// A loop that sleeps though tasks of it could go on, as one line.
pub(super) fn never_woken(never_woken: &NeverWoken) -> String {
    let NeverWoken { tid, seconds, ready } = never_woken;
    format!(
        "Never woken: the event loop of thread {tid} has slept for {} at least, though {} to go on: {}",
        duration(*seconds),
        plural(ready.count, "task is ready", "tasks are ready"),
        named(ready)
    )
}

fn named(mentioned: &Mentioned) -> String {
    let name = |task: &crate::findings::MentionedTask| match &task.name {
        Some(name) => fitted(name, NAME_WIDTH),
        None => format!("task at {}", task.task),
    };
    let mut names: Vec<String> = mentioned.first.iter().take(MAX_NAMES).map(name).collect();
    if let more @ 1.. = mentioned.count.saturating_sub(names.len()) {
        names.push(format!("+{more}"));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::MentionedTask;
    use crate::memory::Address;
    use crate::resource::{Resource, ResourceKind};
    use crate::testing::HOSTILE;

    fn mentioned(names: &[Option<&str>]) -> Mentioned {
        let task = |name: &Option<&str>| MentionedTask {
            task: Address(0x10),
            name: name.map(Into::into),
        };
        Mentioned {
            count: names.len(),
            first: names.iter().map(task).collect(),
        }
    }

    fn pool(label: &str, waiting: Mentioned) -> String {
        used_up(&UsedUp {
            resource: Box::new(Resource {
                label: Some(label.into()),
                limit: Some(5),
                size: Some(5),
                ..Resource::of_kind(ResourceKind::Pool)
            }),
            waiting,
        })
    }

    #[test]
    fn each_is_one_sentence() {
        let some = || mentioned(&[Some("a"), None, Some("c"), Some("d"), Some("e")]);
        let all = [
            pool("self.db", some()),
            pool("self.db", mentioned(&[Some("a")])),
            cancelled(&some()),
            cancelled(&mentioned(&[Some("a")])),
            slow(&SlowWait {
                slow: 10.0,
                longest: 35.27,
                waiting: some(),
            }),
            never_woken(&NeverWoken {
                tid: 7,
                seconds: 0.19,
                ready: some(),
            }),
        ];
        insta::assert_snapshot!(all.join("\n"), @"
        Used up: pool self.db, all 5 of it; 5 tasks wait for it: a, task at 0x10, c, +2
        Used up: pool self.db, all 5 of it; 1 task waits for it: a
        Cancelled: 5 tasks wait though they were asked to end: a, task at 0x10, c, +2
        Cancelled: 1 task waits though it was asked to end: a
        Slow: 5 tasks have waited for more than 10 s, 35.2 s at most: a, task at 0x10, c, +2
        Never woken: the event loop of thread 7 has slept for 0.1 s at least, though 5 tasks are ready to go on: a, task at 0x10, c, +2
        ");
    }

    #[test]
    fn hostile_names_stay_harmless() {
        let waiting = || mentioned(&[Some(HOSTILE)]);
        for text in [pool(HOSTILE, waiting()), cancelled(&waiting())] {
            assert!(
                !text.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}', '\n']),
                "{text}"
            );
        }
    }
}
