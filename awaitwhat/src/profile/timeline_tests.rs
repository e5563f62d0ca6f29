use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use super::changes::Changes;
use super::timeline::{Cut, Timeline};
use super::{ChainState, End, Look, Observation, TaskId};
use crate::budget::Budget;
use crate::chains::ChainId;
use crate::decode::Origin;
use crate::memory::Address;
use crate::resource::{Resource, ResourceKind};
use crate::testing::frame;

const LOOP: LoopId = LoopId { tid: 7, slot: 0 };

fn origin(at: u64, pass: u64, in_context: bool) -> Origin {
    Origin {
        event_loop: LOOP,
        pid: 7,
        in_context,
        time: at,
        runtime: 0,
        pass,
    }
}

fn task(number: u64) -> TaskId {
    TaskId {
        address: Address(number),
        ..TaskId::default()
    }
}

fn chain(number: u32) -> Observation {
    let state = if number == 9 {
        ChainState::Running
    } else {
        ChainState::Waiting
    };
    Observation::Chain {
        chain: ChainId::numbered(number),
        look: Look {
            stack: [frame(&format!("chain{number}"), "/srv/app.py", 1)].into(),
            state,
            terminal: None,
            resource: None,
        },
    }
}

fn slice(at: u64, pass: u64, status: SliceStatus) -> Observation {
    Observation::Slice {
        origin: origin(at, pass, false),
        status,
    }
}

struct Seen(Changes);

impl Seen {
    fn with_room_for(changes: usize) -> Self {
        let mut seen = Self(Changes::new(&Budget::new(changes)));
        (0..10).for_each(|number| seen.0.take(&chain(number)));
        seen
    }

    fn new() -> Self {
        Self::with_room_for(1000)
    }

    /// A whole pass at rest at one moment that has met these tasks in these chains.
    fn pass(&mut self, at: u64, met: &[(u64, u32)]) {
        for (number, chain) in met {
            self.met(origin(at, at, false), *number, *chain);
        }
        self.0.take(&slice(at, at, SliceStatus::PassComplete));
    }

    fn met(&mut self, origin: Origin, number: u64, chain: u32) {
        self.0.take(&Observation::Met {
            origin,
            task: task(number),
            is_running: false,
            chain: ChainId::numbered(chain),
            future: Address(0),
        });
    }

    fn take(&mut self, observation: Observation) {
        self.0.take(&observation);
    }

    fn timeline(self) -> Timeline {
        self.0.into_timeline()
    }
}

/// One line for each stay: task, function, from when to when, when it was seen last before and in it, in how many looks.
fn shown(timeline: &Timeline) -> Vec<String> {
    let line = |stay: &super::Stay| {
        let (_, task) = timeline.tasks[stay.task];
        let function = &timeline.chains[stay.chain].look.stack[0].function;
        let before = stay.before.map_or("-".to_owned(), |at| at.to_string());
        format!(
            "{} {function} {}..{} ({before}, {}, x{})",
            task.address.0, stay.begin, stay.end, stay.seen, stay.looks
        )
    };
    timeline.stays.iter().map(line).collect()
}

#[test]
fn a_stay_lasts_from_look_to_look() {
    let mut seen = Seen::new();
    seen.pass(10, &[(1, 1), (2, 1)]);
    seen.pass(20, &[(1, 1), (2, 2)]);
    seen.pass(30, &[(1, 2), (2, 2)]);
    let timeline = seen.timeline();
    assert_eq!(
        shown(&timeline),
        [
            "2 chain1 10..20 (-, 10, x1)",
            "1 chain1 10..30 (-, 20, x2)",
            "1 chain2 30..30 (20, 30, x1)",
            "2 chain2 20..30 (10, 30, x2)",
        ]
    );
    assert_eq!((timeline.began, timeline.ended, timeline.cut), (10, 30, None));
}

#[test]
fn a_task_is_gone_when_a_whole_pass_has_not_met_it() {
    let mut seen = Seen::new();
    seen.pass(10, &[(1, 1), (2, 1)]);
    // A pass that is not complete says nothing of whom it has not met.
    seen.met(origin(20, 20, false), 1, 1);
    seen.take(slice(20, 20, SliceStatus::Budget));
    seen.met(origin(22, 20, false), 2, 1);
    seen.take(slice(22, 20, SliceStatus::PassComplete));
    seen.pass(30, &[(2, 1)]);
    // It is another task, though its place is the same.
    seen.pass(40, &[(1, 1), (2, 1)]);
    assert_eq!(
        shown(&seen.timeline()),
        [
            "1 chain1 10..30 (-, 20, x2)",
            "2 chain1 10..40 (-, 40, x4)",
            "1 chain1 40..40 (-, 40, x1)"
        ]
    );
}

#[test]
fn what_the_other_kind_of_pass_has_met_is_there() {
    let mut seen = Seen::new();
    seen.pass(10, &[(1, 1), (2, 1)]);
    seen.met(origin(25, 1, true), 1, 9);
    // Began before that look, and ended after it.
    seen.met(origin(20, 20, false), 2, 1);
    seen.take(slice(30, 20, SliceStatus::PassComplete));
    seen.pass(40, &[(1, 2), (2, 1)]);
    assert_eq!(
        shown(&seen.timeline()),
        [
            "1 chain1 10..25 (-, 10, x1)",
            "1 chain9 25..40 (10, 25, x1)",
            "1 chain2 40..40 (25, 40, x1)",
            "2 chain1 10..40 (-, 40, x3)",
        ]
    );
}

#[test]
fn a_thread_that_has_not_run_stays_where_it_was() {
    let mut seen = Seen::new();
    seen.pass(10, &[(1, 1)]);
    seen.take(slice(50, 0, SliceStatus::Unchanged));
    seen.pass(60, &[(1, 2)]);
    seen.take(slice(90, 0, SliceStatus::Unchanged));
    let timeline = seen.timeline();
    assert_eq!(
        shown(&timeline),
        ["1 chain1 10..60 (-, 50, x1)", "1 chain2 60..90 (50, 90, x1)"]
    );
    assert_eq!(timeline.ended, 90);
}

#[test]
fn a_task_that_could_not_be_read_is_there_all_the_same() {
    let mut seen = Seen::new();
    seen.pass(10, &[(1, 1)]);
    seen.take(Observation::Unread {
        origin: origin(20, 20, false),
        task: task(1),
    });
    seen.pass(20, &[]);
    seen.pass(30, &[(1, 2)]);
    let stays = shown(&seen.timeline());
    assert_eq!(
        stays,
        ["1 chain1 10..30 (-, 10, x1)", "1 chain2 30..30 (10, 30, x1)"]
    );
}

#[test]
fn what_has_no_room_is_counted() {
    let mut seen = Seen::with_room_for(3);
    seen.pass(10, &[(1, 1), (2, 1)]);
    seen.pass(20, &[(1, 2), (2, 1)]);
    seen.pass(30, &[(1, 1), (2, 1)]);
    seen.pass(40, &[(1, 1), (2, 2), (3, 1)]);
    let timeline = seen.timeline();
    // What goes on when there is no more room is not lost.
    assert_eq!(
        shown(&timeline),
        [
            "1 chain1 10..20 (-, 10, x1)",
            "1 chain2 20..30 (10, 20, x1)",
            "2 chain1 10..30 (-, 20, x2)"
        ]
    );
    assert_eq!(timeline.cut, Some(Cut { at: 30, left_out: 3 }));
}

#[test]
fn a_period_begins_with_what_goes_on() {
    let mut seen = Seen::with_room_for(4);
    for at in 1..10 {
        seen.pass(at, &[(1, u32::from(at % 2 == 0)), (2, 1)]);
    }
    seen.0.begin_period();
    seen.pass(20, &[(1, 2), (2, 1)]);
    let timeline = seen.timeline();
    assert_eq!(
        shown(&timeline),
        [
            "1 chain0 9..20 (-, 9, x0)",
            "2 chain1 9..20 (-, 20, x1)",
            "1 chain2 20..20 (9, 20, x1)"
        ]
    );
    assert_eq!((timeline.began, timeline.ended, timeline.cut), (9, 20, None));
}

#[test]
fn a_chain_whose_code_was_gone_has_no_name() {
    let mut seen = Seen::new();
    seen.pass(10, &[(1, 1), (2, 9)]);
    seen.pass(20, &[(1, 2), (2, 9)]);
    seen.take(Observation::Checked { retired: Vec::new() });
    seen.pass(30, &[(1, 1), (2, 9)]);
    seen.pass(40, &[(1, 3), (2, 9)]);
    let retired = [1, 9].map(ChainId::numbered).to_vec();
    seen.take(Observation::Checked { retired });
    let timeline = seen.timeline();
    let gone = "<code that was gone before it could be named>";
    assert_eq!(
        shown(&timeline),
        [
            // Known to be right when names were checked before.
            "1 chain1 10..20 (-, 10, x1)",
            "1 chain2 20..30 (10, 20, x1)",
            &format!("1 {gone} 30..40 (20, 30, x1)"),
            "1 chain3 40..40 (30, 40, x1)",
            &format!("2 {gone} 10..40 (-, 40, x4)"),
        ]
    );
    let last = timeline.stays.last().unwrap();
    assert_eq!(timeline.chains[last.chain].look.state, ChainState::Running);
}

#[test]
fn chains_that_nothing_refers_to_are_forgotten() {
    let mut seen = Seen::with_room_for(3);
    for number in 10..9000_u32 {
        seen.take(chain(number));
        seen.pass(number.into(), &[(1, number)]);
        let chains = vec![ChainId::numbered(number.saturating_sub(1))];
        seen.take(Observation::LetGo { at: 0, chains });
        assert!(seen.0.chains() < 2100);
    }
    let timeline = seen.timeline();
    assert_eq!(
        shown(&timeline),
        [
            "1 chain10 10..11 (-, 10, x1)",
            "1 chain11 11..12 (10, 11, x1)",
            "1 chain12 12..13 (11, 12, x1)"
        ]
    );
    assert_eq!(timeline.cut.unwrap().left_out, 9000 - 13);
}

#[test]
fn a_loop_that_ends_takes_its_tasks_along() {
    let mut seen = Seen::new();
    seen.pass(10, &[(1, 1)]);
    seen.take(Observation::Ended {
        event_loop: LOOP,
        at: 15,
        goes_on: false,
    });
    seen.pass(20, &[(1, 1)]);
    seen.take(Observation::End(End {
        at: 25,
        has_exited: true,
        retired: Vec::new(),
    }));
    let stays = shown(&seen.timeline());
    assert_eq!(
        stays,
        ["1 chain1 10..10 (-, 10, x1)", "1 chain1 20..20 (-, 20, x1)"]
    );
}

#[test]
fn what_all_have_told_is_what_a_chain_waits_for() {
    let mut seen = Seen::new();
    let thing = |kind| Some(Resource::of_kind(kind).into());
    let (lock, queue) = (thing(ResourceKind::Lock), thing(ResourceKind::Queue));
    let told = [
        vec![lock.clone(), lock.clone()],
        vec![lock.clone(), queue],
        vec![lock.clone(), None],
    ];
    for (number, things) in (1..).zip(told) {
        seen.take(Observation::Answers {
            chain: ChainId::numbered(number),
            event_loop: LOOP,
            pass: 1,
            at: 1,
            tasks: 2,
            things,
        });
    }
    let timeline = seen.timeline();
    let resources = timeline.chains.iter().map(super::SeenChain::resource);
    let resources: Vec<_> = resources.take(5).collect();
    assert_eq!(resources, [None, lock.as_ref(), None, None, None]);
}
