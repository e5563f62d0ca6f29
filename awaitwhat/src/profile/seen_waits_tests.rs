//! Waits from plain visits.

use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use super::lengths::Wait;
use super::seen_waits::{Met, SeenWaits};
use super::*;
use crate::budget::Budget;
use crate::chains::ChainId;
use crate::decode::Origin;
use crate::memory::Address;
use crate::testing::frame;

const MILLISECOND: u64 = 1_000_000;
const LOOP: LoopId = LoopId { tid: 7, slot: 0 };

/// Passes over one loop, each of which takes all that is there.
#[derive(Default)]
struct Passes {
    waits: SeenWaits,
    pass: u64,
}

/// A task with this number waits in this chain for this future.
fn waits(task: u64, chain: u32, future: u64) -> (u64, Met) {
    let met = Met {
        chain: ChainId::numbered(chain),
        future: Address(future),
        is_waiting: true,
    };
    (task, met)
}

fn is_ready(task: u64, chain: u32, future: u64) -> (u64, Met) {
    let (task, met) = waits(task, chain, future);
    (
        task,
        Met {
            is_waiting: false,
            ..met
        },
    )
}

fn task(number: u64) -> TaskId {
    TaskId {
        address: Address(number << 8),
        coroutine: Address(number << 8 | 1),
        name: Address(number << 8 | 2),
    }
}

impl Passes {
    fn origin(&self, at_ms: u64) -> Origin {
        Origin {
            event_loop: LOOP,
            pid: 7,
            in_context: false,
            time: at_ms * MILLISECOND,
            runtime: at_ms,
            pass: self.pass,
        }
    }

    fn slice(&mut self, at_ms: u64, tasks: &[(u64, Met)], status: SliceStatus) {
        let origin = self.origin(at_ms);
        for (number, met) in tasks {
            self.waits.met(&origin, task(*number), *met);
        }
        self.waits.slice(&origin, status);
    }

    fn pass(&mut self, at_ms: u64, tasks: &[(u64, Met)]) {
        self.pass += 1;
        self.slice(at_ms, tasks, SliceStatus::PassComplete);
    }

    fn unchanged(&mut self, at_ms: u64) {
        self.slice(at_ms, &[], SliceStatus::Unchanged);
    }

    /// The waits that are over, by chain, in ms.
    fn over(&mut self) -> Vec<(usize, Wait)> {
        let (over, _) = self.waits.take_over();
        let over = over.into_iter().map(|(chain, wait)| (chain.index(), wait));
        let mut over: Vec<_> = over.collect();
        over.sort_by_key(|(chain, wait)| (*chain, format!("{wait:?}")));
        over
    }
}

fn whole(least_ms: u64, most_ms: u64) -> Wait {
    Wait::Whole {
        least: least_ms * MILLISECOND,
        most: most_ms * MILLISECOND,
    }
}

fn in_part(seen_ms: u64) -> Wait {
    Wait::InPart {
        seen: seen_ms * MILLISECOND,
    }
}

#[test]
fn a_wait_lies_between_the_visits_around_it() {
    let mut passes = Passes::default();
    passes.pass(0, &[waits(1, 0, 0x10)]);
    passes.pass(10, &[waits(1, 1, 0x20)]);
    passes.pass(20, &[waits(1, 1, 0x20)]);
    passes.pass(30, &[waits(1, 1, 0x20)]);
    passes.pass(40, &[waits(1, 2, 0x30)]);
    // The first had begun before anybody looked.
    assert_eq!(passes.over(), [(0, in_part(0)), (1, whole(20, 40))]);
}

#[test]
fn another_future_at_the_same_place_is_another_wait() {
    let mut passes = Passes::default();
    for (at, future) in [0x10, 0x20, 0x20, 0x10, 0x10, 0x20].into_iter().enumerate() {
        passes.pass(at as u64 * 10, &[waits(1, 0, future)]);
    }
    // The last one of them is not over.
    let waits = [in_part(0), whole(10, 30), whole(10, 30)];
    assert_eq!(passes.over(), waits.map(|wait| (0, wait)));
}

#[test]
fn a_task_that_is_back_after_one_look_tells_that_others_may_be_back_unseen() {
    let mut passes = Passes::default();
    passes.pass(0, &[]);
    passes.pass(10, &[waits(1, 0, 0x10)]);
    passes.pass(20, &[waits(1, 0, 0x10)]);
    // Met by one look: as long as that, or shorter, it is missed by others.
    passes.pass(30, &[waits(1, 1, 0x20)]);
    passes.pass(40, &[waits(1, 0, 0x10)]);
    passes.pass(50, &[waits(1, 0, 0x10)]);
    // Met by two: it is missed by none.
    passes.pass(60, &[waits(1, 1, 0x20)]);
    passes.pass(70, &[waits(1, 1, 0x20)]);
    passes.pass(80, &[waits(1, 0, 0x10)]);
    passes.pass(90, &[]);
    let expected = [
        (0, Wait::Return),
        (0, whole(0, 20)),
        (0, whole(10, 30)),
        (0, whole(10, 30)),
        (1, whole(0, 20)),
        (1, whole(10, 30)),
    ];
    assert_eq!(passes.over(), expected);
}

#[test]
fn a_wait_without_a_future_goes_on_while_its_chain_does() {
    let mut passes = Passes::default();
    passes.pass(0, &[]);
    for at in 1..5 {
        passes.pass(at * 10, &[waits(1, 0, 0)]);
    }
    passes.pass(50, &[is_ready(1, 1, 0)]);
    assert_eq!(passes.over(), [(0, whole(30, 50))]);
}

#[test]
fn a_task_that_is_ready_waits_no_more() {
    let mut passes = Passes::default();
    passes.pass(0, &[]);
    passes.pass(10, &[waits(1, 0, 0x10)]);
    passes.pass(20, &[is_ready(1, 1, 0x10)]);
    passes.pass(30, &[waits(1, 0, 0x10)]);
    passes.pass(40, &[]);
    assert_eq!(passes.over(), [(0, whole(0, 20)), (0, whole(0, 20))]);
}

#[test]
fn a_task_comes_after_a_pass_that_did_not_meet_it_and_has_gone_by_one_that_does_not() {
    let mut passes = Passes::default();
    passes.pass(0, &[]);
    passes.pass(10, &[waits(1, 0, 0x10)]);
    // A pass that is not over tells of nobody that has gone.
    passes.pass = 3;
    passes.slice(20, &[], SliceStatus::Disturbed);
    assert_eq!(passes.over(), []);
    passes.slice(25, &[waits(1, 0, 0x10)], SliceStatus::PassComplete);
    passes.pass(30, &[]);
    assert_eq!(passes.over(), [(0, whole(15, 30))]);
}

#[test]
fn a_loop_that_has_not_run_is_as_it_was() {
    let mut passes = Passes::default();
    passes.pass(0, &[]);
    passes.unchanged(1000);
    passes.pass(1010, &[waits(1, 0, 0x10)]);
    passes.unchanged(3000);
    passes.unchanged(4000);
    passes.pass(4010, &[waits(1, 1, 0x20), waits(2, 2, 0x30)]);
    passes.pass(4020, &[waits(1, 1, 0x20)]);
    assert_eq!(passes.over(), [(0, whole(2990, 3010)), (2, whole(0, 20))]);
}

#[test]
fn one_that_never_ends_is_told_of() {
    let mut passes = Passes::default();
    passes.pass(0, &[waits(1, 0, 0x10)]);
    passes.unchanged(5000);
    passes.pass(5010, &[waits(1, 0, 0x10), waits(2, 1, 0x20)]);
    passes.pass(5110, &[waits(1, 0, 0x10), waits(2, 1, 0x20)]);
    passes.waits.end();
    assert_eq!(passes.over(), [(0, in_part(5110)), (1, in_part(100))]);
}

#[test]
fn the_same_address_may_be_another_task() {
    let mut passes = Passes::default();
    passes.pass(0, &[]);
    passes.pass(10, &[waits(1, 0, 0x10)]);
    passes.pass += 1;
    let origin = passes.origin(20);
    let other = TaskId {
        coroutine: Address(5),
        ..task(1)
    };
    passes.waits.met(&origin, other, waits(1, 0, 0x10).1);
    passes.waits.slice(&origin, SliceStatus::PassComplete);
    passes.pass(30, &[]);
    assert_eq!(passes.over(), [(0, whole(0, 20)), (0, whole(0, 20))]);
}

#[test]
fn one_that_could_not_be_read_is_there_still() {
    let mut passes = Passes::default();
    passes.pass(0, &[]);
    passes.pass(10, &[waits(1, 0, 0x10)]);
    passes.pass += 1;
    let origin = passes.origin(20);
    // The second was never read before: it came at the same moment, but what it was in is not known until then.
    passes.waits.met_unread(&origin, task(1));
    passes.waits.met_unread(&origin, task(2));
    passes.waits.slice(&origin, SliceStatus::PassComplete);
    passes.pass(30, &[waits(1, 0, 0x10), waits(2, 1, 0x20)]);
    passes.pass(40, &[]);
    assert_eq!(passes.over(), [(0, whole(20, 40)), (1, whole(0, 30))]);
}

#[test]
fn samples_in_context_and_looks_at_rest_see_the_same_wait() {
    let mut passes = Passes::default();
    passes.pass(0, &[]);
    passes.pass(10, &[]);
    let origin = |pass, at_ms| Origin {
        in_context: true,
        pass,
        ..Passes::default().origin(at_ms)
    };
    let (_, met) = waits(1, 0, 0x10);
    // A complete pass in context does not take the task for gone that came since it began.
    passes.waits.slice(&origin(1, 12), SliceStatus::Budget);
    passes.pass(14, &[waits(1, 0, 0x10)]);
    passes.waits.slice(&origin(1, 16), SliceStatus::PassComplete);
    passes.waits.met(&origin(2, 18), task(1), met);
    passes.waits.slice(&origin(2, 18), SliceStatus::PassComplete);
    passes.pass(24, &[]);
    assert_eq!(passes.over(), [(0, whole(4, 14))]);
}

#[test]
fn what_began_before_a_period_is_seen_in_part() {
    let mut passes = Passes::default();
    passes.pass(0, &[]);
    passes.pass(10, &[waits(1, 0, 0x10), waits(2, 1, 0x20)]);
    passes.pass(20, &[waits(1, 0, 0x10)]);
    passes.pass(500, &[waits(1, 0, 0x10)]);
    passes.waits.begin_period();
    passes.pass(600, &[waits(1, 0, 0x10)]);
    passes.pass(610, &[waits(1, 0, 0x30)]);
    passes.pass(620, &[]);
    assert_eq!(passes.over(), [(0, in_part(100)), (0, whole(0, 20))]);
}

#[test]
fn a_loop_that_is_walked_anew_goes_on() {
    let mut passes = Passes::default();
    passes.pass(0, &[]);
    passes.pass(10, &[waits(1, 0, 0x10)]);
    passes.waits.end_loop(LOOP, true);
    // The second task may have been there before, unseen.
    passes.pass = 0;
    passes.pass(20, &[waits(1, 0, 0x10), waits(2, 1, 0x20)]);
    passes.pass(30, &[]);
    assert_eq!(passes.over(), [(0, whole(10, 30)), (1, in_part(0))]);
    passes.pass(40, &[waits(1, 0, 0x10)]);
    passes.waits.end_loop(LOOP, false);
    assert_eq!(passes.over(), [(0, in_part(0))]);
}

fn sums_of(observations: impl FnOnce(&mut Sums)) -> Profile {
    let mut sums = Sums::new(&Budget::new(1 << 20));
    observations(&mut sums);
    let process = Process {
        pid: 7,
        command: "python3".to_owned(),
        python: "3.14.10".to_owned(),
    };
    sums.into_profile(process, jiff::Timestamp::UNIX_EPOCH)
}

fn named(sums: &mut Sums, number: u32) -> ChainId {
    let chain = ChainId::numbered(number);
    let look = Look {
        stack: [frame("work", "/srv/app.py", number)].into(),
        state: ChainState::Waiting,
        terminal: Some("Future".into()),
        resource: None,
    };
    sums.take(Observation::Chain { chain, look });
    chain
}

/// One task: three seconds at line 1, and half a second at line 2 six times, which all of its visits are at.
fn one_long_and_six_short(sums: &mut Sums) {
    let (long, short) = (named(sums, 1), named(sums, 2));
    let mut origin = Passes::default().origin(0);
    for look in 0..620 {
        let at_ms = look * 10;
        let (chain, future) = match look {
            0 => (named(sums, 3), 0x10),
            1..=300 => (long, 0x20),
            301..=600 => (short, 0x30 + (look - 301) / 50 % 2 * 0x10),
            _ => (named(sums, 3), 0x10),
        };
        (origin.time, origin.pass) = (at_ms * MILLISECOND, look + 1);
        sums.take(Observation::Tick { at_ms });
        sums.take(Observation::Met {
            origin,
            task: task(1),
            is_running: false,
            chain,
            future: Address(future),
        });
        let status = SliceStatus::PassComplete;
        sums.take(Observation::Slice { origin, status });
    }
}

#[test]
fn one_long_wait_and_six_short_ones_look_different() {
    let profile = sums_of(one_long_and_six_short);
    let points = await_points(&profile);
    let at = |line| points.iter().find(|point| point.line == line).unwrap();
    let (long, short) = (at(1), at(2));
    assert!(
        (long.task_seconds - short.task_seconds).abs() < 0.02,
        "{points:?}"
    );
    for (point, count, length) in [(long, 1, 3.0), (short, 6, 0.5)] {
        let whole = point.waits.whole.unwrap();
        assert_eq!((whole.count, point.waits.in_part), (count, 0));
        for seen in [whole.p50, whole.p90, whole.p99, whole.longest] {
            assert!((seen - length).abs() < 0.01 * length + 1e-4, "{whole:?}");
        }
        // Looks are 10 ms apart; lengths are kept with two digits.
        let precision = whole.precision + 0.01 * length;
        assert!(precision >= 0.01 && whole.precision <= 0.0101, "{whole:?}");
    }
    // Before and after, that is from before the first look to the second, and to the end.
    assert_eq!((at(3).waits.whole, at(3).waits.in_part), (None, 2));
    assert!((at(3).waits.longest_in_part - 0.18).abs() < 1e-9, "{points:?}");
}

#[test]
fn waits_of_several_processes_add_up() {
    let one = sums_of(one_long_and_six_short);
    let merged = Profile::merged(&[one.clone(), one], jiff::Timestamp::UNIX_EPOCH, 6.2);
    let points = await_points(&merged);
    let count = |line| {
        let point = points.iter().find(|point| point.line == line).unwrap();
        (point.waits.whole.map(|whole| whole.count), point.waits.in_part)
    };
    assert_eq!([1, 2, 3].map(count), [(Some(2), 0), (Some(12), 0), (None, 4)]);
}

#[test]
fn what_can_no_longer_be_told_is_not_taken_for_anothers() {
    let profile = sums_of(|sums| {
        let chain = named(sums, 1);
        let mut origin = Passes::default().origin(0);
        for pass in 0..6 {
            let at_ms = pass * 10;
            (origin.time, origin.pass) = (at_ms * MILLISECOND, pass + 1);
            sums.take(Observation::Tick { at_ms });
            sums.take(Observation::Met {
                origin,
                task: task(1),
                is_running: false,
                chain,
                future: Address(0x10 + pass / 2),
            });
            let status = SliceStatus::PassComplete;
            sums.take(Observation::Slice { origin, status });
            if pass == 4 {
                sums.take(Observation::Checked { retired: vec![chain] });
            }
        }
    });
    let points = await_points(&profile);
    let gone = points.iter().find(|point| point.line == 0).unwrap();
    assert_eq!(
        (gone.waits.whole.map(|whole| whole.count), gone.waits.in_part),
        (Some(1), 1)
    );
    // What was met since then may have begun before: when, nobody knows.
    let named = points.iter().find(|point| point.line == 1).unwrap();
    assert_eq!((named.waits.whole, named.waits.in_part), (None, 1));
}

#[test]
fn ever_new_points_take_no_more_room() {
    let profile = sums_of(|sums| {
        let mut origin = Passes::default().origin(0);
        for pass in 0..3000 {
            let chain = named(sums, pass);
            let at_ms = u64::from(pass) * 10;
            (origin.time, origin.pass) = (at_ms * MILLISECOND, u64::from(pass) + 1);
            sums.take(Observation::Tick { at_ms });
            sums.take(Observation::Met {
                origin,
                task: task(1),
                is_running: false,
                chain,
                future: Address(0x10),
            });
            let status = SliceStatus::PassComplete;
            sums.take(Observation::Slice { origin, status });
            sums.take(Observation::Checked { retired: Vec::new() });
        }
    });
    assert!(profile.waits.len() <= 1025, "{}", profile.waits.len());
    let all: u64 = profile.waits.iter().map(PointWaits::count).sum();
    assert_eq!(all, 3000);
}

#[test]
fn a_wait_that_goes_on_is_told_for_as_long_as_it_was_seen() {
    let mut passes = Passes::default();
    let told = |passes: &Passes, least_ms: u64, chain: u32| {
        let is_meant = |it: ChainId| it == ChainId::numbered(chain);
        let found = passes.waits.longest(least_ms * MILLISECOND, is_meant);
        found.map(|(lasted, _, id)| (lasted / MILLISECOND, id.address.0 >> 8))
    };
    passes.pass(0, &[waits(1, 1, 0x10)]);
    passes.pass(10, &[waits(1, 1, 0x10), waits(2, 1, 0x20), is_ready(3, 1, 0x30)]);
    assert_eq!(told(&passes, 0, 1), Some((10, 1)));
    assert_eq!((told(&passes, 10, 1), told(&passes, 0, 2)), (None, None));
    // Nobody has moved since.
    passes.unchanged(500);
    assert_eq!(told(&passes, 499, 1), Some((500, 1)));
    // It goes on, and waits at the same place again: for another future.
    passes.pass(600, &[waits(1, 1, 0x11), waits(2, 1, 0x20)]);
    assert_eq!(told(&passes, 0, 1), Some((590, 2)));
    // Who has gone waits no longer.
    passes.pass(700, &[waits(1, 1, 0x11)]);
    assert_eq!(told(&passes, 0, 1), Some((100, 1)));
}
