//! A wait that goes on, and has lasted for long: of which task, and where.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::account::TaskId;
use super::ledger::Look;
use super::points::PointKey;
use super::sums::Sums;
use crate::chains::ChainId;
use crate::resource::Resource;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct LongWait {
    /// For how long it was seen, in seconds.
    pub seconds: f64,
    task: TaskId,
    /// The function that the task began with.
    root: String,
    point: PointKey,
}

/// Not escaped.
impl fmt::Display for LongWait {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seconds,
            task,
            root,
            point,
        } = self;
        let id = task.address;
        write!(
            formatter,
            "a task of {root} ({id}) has been waiting for {seconds:.1} s in {point}"
        )
    }
}

impl Sums {
    /// The wait that was seen to last for the longest time, and for longer than that, of those that have a text in their chains: in a function, a file and line,
    /// or what is waited for.
    pub(crate) fn longest_wait(&self, longer_than: Duration, text: &str) -> Option<LongWait> {
        let longer_than = u64::try_from(longer_than.as_nanos()).unwrap_or(u64::MAX);
        let mut known = HashMap::new();
        let is_meant = |chain: ChainId| {
            let has_text = || {
                self.look(chain).is_some_and(|look| has_text(look, text)) || self.all_wait_for(chain, text)
            };
            *known.entry(chain).or_insert_with(has_text)
        };
        let (lasted, chain, task) = self.seen_waits().longest(longer_than, is_meant)?;
        let look = self.look(chain)?;
        let root = look.stack.last().map_or("?", |frame| &frame.function);
        Some(LongWait {
            seconds: lasted as f64 / 1e9,
            task,
            root: root.to_owned(),
            point: PointKey::of(look),
        })
    }

    /// Whether what tasks of a chain were found to wait for has a text in it. Which of them waits for what is not known, so all have to.
    fn all_wait_for(&self, chain: ChainId, text: &str) -> bool {
        self.asked().are_all(chain, |thing| names(thing, text))
    }
}

fn has_text(look: &Look, text: &str) -> bool {
    let in_terminal = look.terminal.as_ref().is_some_and(|it| it.contains(text));
    in_terminal
        || look.stack.iter().any(|frame| {
            frame.function.contains(text) || format!("{}:{}", frame.file, frame.line).contains(text)
        })
}

fn names(thing: &Resource, text: &str) -> bool {
    let of_thing = [
        &thing.label,
        &thing.type_name,
        &thing.peer,
        &thing.url,
        &thing.query,
        &thing.command,
    ];
    thing.words.contains(text) || of_thing.into_iter().flatten().any(|it| it.contains(text))
}

#[cfg(test)]
mod tests {
    use awaitwhat_common::plan::LoopId;
    use awaitwhat_common::status::SliceStatus;

    use super::*;
    use crate::budget::Budget;
    use crate::memory::Address;
    use crate::profile::{ChainState, Observation};
    use crate::resource::ResourceKind;
    use crate::snapshot::Stack;
    use crate::testing::{frame, origin};

    /// One task that waits for two seconds, and was asked what for.
    fn sums(things: Vec<Option<Resource>>) -> Sums {
        let mut sums = Sums::new(&Budget::new(1 << 20));
        let chain = ChainId::of_parts(0, 0);
        let stack = [
            frame("Pool.acquire", "/venv/lib/python3.12/site-packages/pool.py", 9),
            frame("handler", "/srv/app.py", 12),
        ];
        let look = Look {
            stack: Stack::from(stack),
            state: ChainState::Waiting,
            terminal: Some("Future".into()),
            resource: None,
        };
        sums.take(Observation::Chain { chain, look });
        sums.take(Observation::Met {
            origin: origin(0),
            task: TaskId {
                address: Address(0x10),
                coroutine: Address(0x20),
                name: Address(0x30),
            },
            is_running: false,
            chain,
            future: Address(0x40),
        });
        for (at_ms, status) in [(0, SliceStatus::PassComplete), (2000, SliceStatus::Unchanged)] {
            sums.take(Observation::Slice {
                origin: origin(at_ms),
                status,
            });
        }
        sums.take(Observation::Answers {
            chain,
            event_loop: LoopId { tid: 7, slot: 0 },
            pass: 1,
            at: 0,
            tasks: 1,
            things: things.into_iter().map(|it| it.map(std::sync::Arc::new)).collect(),
        });
        sums
    }

    fn pool(label: &str) -> Option<Resource> {
        Some(Resource {
            words: "a connection of pool".into(),
            label: Some(label.into()),
            ..Resource::of_kind(ResourceKind::Pool)
        })
    }

    #[test]
    fn a_wait_is_found_by_what_its_chain_or_its_thing_is_called() {
        let sums = sums(vec![pool("self.main"), pool("self.main")]);
        let found = |seconds, text| sums.longest_wait(Duration::from_secs(seconds), text).is_some();
        for text in [
            "Pool.acquire",
            "acquire",
            "app.py:12",
            "pool.py:9",
            "handler",
            "Future",
            "self.main",
            "connection",
        ] {
            assert!(found(1, text), "{text}");
        }
        for text in ["pool.acquire", "app.py:1 ", "other"] {
            assert!(!found(1, text), "{text}");
        }
        assert!(!found(2, "handler"));
        let told = sums.longest_wait(Duration::from_secs(1), "handler").unwrap();
        insta::assert_snapshot!(told, @"a task of handler (0x10) has been waiting for 2.0 s in handler (/srv/app.py:12), which awaits Pool.acquire");
    }

    #[test]
    fn what_only_some_tasks_of_a_chain_wait_for_proves_nothing() {
        for things in [
            vec![pool("self.main"), pool("self.other")],
            vec![pool("self.main"), None],
            Vec::new(),
        ] {
            let sums = sums(things);
            assert!(sums.longest_wait(Duration::from_secs(1), "self.main").is_none());
            assert!(sums.longest_wait(Duration::from_secs(1), "handler").is_some());
        }
    }
}
