//! The account of task time, fed by hand.

use awaitwhat_common::event::{TASK_HEADER_WORDS, flags, kind, task};
use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use super::account::{Account, TaskId};
use super::past::MAX_LOOPS;
use crate::chains::{ChainId, ChainTable};
use crate::decode::{Origin, Record, TaskRecord, decode};
use crate::memory::Address;
use crate::snapshot::Stack;

const SECOND: u64 = 1_000_000_000;

/// Feeds an account with visits and slices; chains are named by one letter, and are running if it is a capital one.
#[derive(Default)]
struct Feed {
    /// Time of the last look.
    looked: u64,
    account: Account,
    chains: ChainTable,
}

impl Feed {
    fn chain(&mut self, name: char) -> ChainId {
        self.with_record(name, 0, origin(false, 0, 0, 1), |_, _, chain| chain)
    }

    fn with_record<T>(
        &mut self,
        name: char,
        address: u64,
        origin: Origin,
        take: impl FnOnce(&mut Account, &TaskRecord<'_>, ChainId) -> T,
    ) -> T {
        let mut words = [0; TASK_HEADER_WORDS + 2];
        let state = u64::from(name.is_ascii_uppercase());
        let bits = u64::from(flags::of_walk(origin.in_context, origin.event_loop.slot));
        words[0] = u64::from(kind::TASK) | state << 16 | bits << 24 | 1 << 32;
        words[task::THREAD] = u64::from(origin.event_loop.tid);
        words[task::TIME] = origin.time;
        words[task::RUNTIME] = origin.runtime;
        words[task::PASS] = origin.pass;
        words[task::ADDRESS] = address;
        words[TASK_HEADER_WORDS] = u64::from(name);
        let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
        let Ok(Record::Task(record)) = decode(&bytes) else {
            panic!("no task record")
        };
        let named = self
            .chains
            .intern(&record, false, |_| Ok::<_, ()>((Stack::from([]), None)));
        let chain = named.unwrap();
        take(&mut self.account, &record, chain)
    }

    /// All that is found at rest at the same time is found by one look.
    fn look(&mut self, origin: Origin) {
        if !origin.in_context && origin.time != self.looked {
            self.looked = origin.time;
            self.account.tick();
        }
    }

    fn visit(&mut self, name: char, address: u64, origin: Origin) {
        self.look(origin);
        let is_running = name.is_ascii_uppercase();
        self.with_record(name, address, origin, |account, record, chain| match address {
            0 => account.announce(&origin, chain),
            _ => account.met(&origin, TaskId::of(record), is_running, chain),
        });
    }

    fn slice(&mut self, status: SliceStatus, origin: Origin) {
        self.look(origin);
        self.account.slice(&origin, status);
    }

    /// One complete pass over tasks that rest at `time` seconds.
    fn pass(&mut self, tasks: &[(u64, char)], time: f64, pass: u64) {
        let origin = origin(false, nanoseconds(time), 0, pass);
        for &(address, name) in tasks {
            self.visit(name, address, origin);
        }
        self.slice(SliceStatus::PassComplete, origin);
    }

    fn seconds(&mut self, name: char) -> f64 {
        self.account.confirm();
        let chain = self.chain(name);
        self.account.task_seconds(chain)
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * SECOND as f64) as u64
}

fn origin(in_context: bool, time: u64, runtime: u64, pass: u64) -> Origin {
    Origin {
        pid: 1,
        event_loop: LoopId { tid: 7, slot: 0 },
        in_context,
        time: time + SECOND,
        runtime,
        pass,
    }
}

fn close(one: f64, other: f64) {
    assert!((one - other).abs() < 1e-6, "{one} is not {other}");
}

#[test]
fn what_is_found_stands_for_the_time_since_the_last_look() {
    let mut feed = Feed::default();
    feed.pass(&[(1, 'a')], 0.0, 1);
    feed.pass(&[(1, 'b')], 4.0, 2);
    feed.pass(&[(1, 'a')], 5.0, 3);
    feed.account.end();
    close(feed.seconds('a'), 1.0);
    close(feed.seconds('b'), 4.0);
}

#[test]
fn an_unchanged_target_is_credited_in_full() {
    let mut feed = Feed::default();
    feed.pass(&[(1, 'a'), (2, 'a')], 0.0, 1);
    feed.slice(SliceStatus::Unchanged, origin(false, nanoseconds(9.0), 0, 1));
    feed.pass(&[(1, 'b'), (2, 'b')], 10.0, 2);
    feed.account.end();
    close(feed.seconds('a'), 2.0 * 9.0);
    close(feed.seconds('b'), 2.0);
}

#[test]
fn a_task_that_ends_after_a_rest_is_credited_with_the_rest() {
    let mut feed = Feed::default();
    feed.pass(&[(1, 'a')], 0.0, 1);
    feed.slice(SliceStatus::Unchanged, origin(false, nanoseconds(9.0), 0, 1));
    feed.pass(&[], 10.0, 2);
    feed.account.end();
    close(feed.seconds('a'), 9.0);
}

#[test]
fn a_task_that_begins_after_a_rest_is_not() {
    let mut feed = Feed::default();
    feed.pass(&[(1, 'a')], 0.0, 1);
    feed.slice(SliceStatus::Unchanged, origin(false, nanoseconds(9.0), 0, 1));
    feed.pass(&[(1, 'a'), (2, 'b')], 10.0, 2);
    feed.pass(&[(1, 'a'), (2, 'b')], 11.0, 3);
    feed.account.end();
    close(feed.seconds('a'), 11.0);
    close(feed.seconds('b'), 2.0);
}

#[test]
fn tasks_visited_late_were_there_from_the_beginning() {
    let mut feed = Feed::default();
    feed.visit('a', 1, origin(false, 0, 0, 1));
    feed.slice(SliceStatus::Budget, origin(false, 0, 0, 1));
    feed.visit('b', 2, origin(false, nanoseconds(6.0), 0, 1));
    feed.slice(SliceStatus::PassComplete, origin(false, nanoseconds(6.0), 0, 1));
    feed.account.end();
    close(feed.seconds('a'), 6.0);
    close(feed.seconds('b'), 6.0);
}

#[test]
fn tasks_that_come_and_go_count_for_as_long_as_passes_are_apart() {
    let mut feed = Feed::default();
    feed.pass(&[(1, 'a')], 0.0, 1);
    feed.pass(&[(1, 'a')], 2.0, 2);
    feed.pass(&[(1, 'a'), (2, 'b')], 4.0, 3);
    feed.pass(&[(1, 'a')], 6.0, 4);
    feed.account.end();
    close(feed.seconds('a'), 6.0);
    // Met once by passes that are 2 s apart: on average it lived for that long.
    close(feed.seconds('b'), 2.0);
}

#[test]
fn running_tasks_are_credited_by_slices_and_cost_no_waiting_time() {
    let mut feed = Feed::default();
    feed.slice(SliceStatus::PassComplete, origin(true, 0, 0, 1));
    for tick in 1..=10 {
        let origin = origin(
            true,
            nanoseconds(f64::from(tick)),
            nanoseconds(f64::from(tick)),
            2,
        );
        feed.visit('R', 0, origin);
        feed.visit('R', 1, origin);
        feed.slice(SliceStatus::PassComplete, origin);
    }
    feed.account.end();
    close(feed.seconds('R'), 10.0);
    close(feed.account.runtime() as f64 / 1e9, 10.0);
}

#[test]
fn each_kind_of_time_has_its_own_clock() {
    let mut feed = Feed::default();
    feed.pass(&[(1, 'a')], 0.0, 1);
    // 10 s, 4 of them on a CPU: while it runs the task waits in `b`, while it rests in `a`.
    let busy = origin(true, nanoseconds(5.0), nanoseconds(2.0), 1);
    feed.visit('b', 1, busy);
    feed.slice(SliceStatus::PassComplete, busy);
    let rest = origin(false, nanoseconds(10.0), nanoseconds(4.0), 2);
    feed.visit('a', 1, rest);
    feed.slice(SliceStatus::PassComplete, rest);
    feed.account.end();
    close(feed.seconds('a'), 6.0);
    close(feed.seconds('b'), 4.0);
}

#[test]
fn time_of_a_kind_that_met_no_task_follows_the_other_kind() {
    let mut feed = Feed::default();
    feed.pass(&[(1, 'a')], 0.0, 1);
    feed.slice(
        SliceStatus::Running,
        origin(false, nanoseconds(10.0), nanoseconds(4.0), 1),
    );
    feed.account.end();
    close(feed.seconds('a'), 10.0);
}

#[test]
fn what_a_stale_chain_was_credited_with_is_not_its_own() {
    let mut feed = Feed::default();
    feed.pass(&[(1, 'a'), (2, 'b')], 0.0, 1);
    feed.pass(&[(1, 'a'), (2, 'b')], 1.0, 2);
    feed.account.confirm();
    feed.pass(&[(1, 'a'), (2, 'b')], 3.0, 3);
    let stale = feed.chain('b');
    close(feed.account.take_recent(stale), 2.0);
    close(feed.seconds('a'), 3.0);
    close(feed.seconds('b'), 1.0);
}

#[test]
fn a_chain_is_in_use_until_nothing_can_be_credited_to_it() {
    let mut feed = Feed::default();
    let [a, b, run] = ['a', 'b', 'R'].map(|name| feed.chain(name));
    feed.pass(&[(1, 'a'), (2, 'b')], 0.0, 1);
    feed.pass(&[(1, 'a'), (2, 'b')], 0.5, 2);
    let ran = origin(true, nanoseconds(1.0), nanoseconds(1.0), 1);
    feed.visit('R', 0, ran);
    assert_eq!(feed.account.chains_in_use(), [a, b, run].into());
    feed.slice(SliceStatus::PassComplete, ran);
    assert_eq!(feed.account.chains_in_use(), [a, b, run].into());
    // Task 2 has ended.
    feed.pass(&[(1, 'a')], 2.0, 3);
    assert_eq!(feed.account.chains_in_use(), [a, run].into());
    feed.account.end_loop(LoopId { tid: 7, slot: 0 });
    assert!(feed.account.chains_in_use().is_empty());
    feed.account.confirm();
    assert!(feed.account.take(b) > 0.0);
    close(feed.account.take(b), 0.0);
}

#[test]
fn loops_of_one_thread_share_its_time_and_have_tasks_of_their_own() {
    let mut feed = Feed::default();
    let of_loop = |slot, mut origin: Origin| {
        origin.event_loop.slot = slot;
        origin
    };
    for slot in 0..2 {
        feed.slice(SliceStatus::PassComplete, of_loop(slot, origin(true, 0, 0, 1)));
    }
    // The same address in both: they are tasks of two interpreters' making, or of one after the other.
    for tick in 1..=10 {
        let origin = origin(
            true,
            nanoseconds(f64::from(tick)),
            nanoseconds(f64::from(tick)),
            2,
        );
        let (slot, running, waiting) = if tick % 2 == 0 {
            (0, 'R', 'a')
        } else {
            (1, 'S', 'b')
        };
        feed.visit(running, 0, of_loop(slot, origin));
        feed.visit(waiting, 1, of_loop(slot, origin));
        feed.slice(SliceStatus::PassComplete, of_loop(slot, origin));
    }
    assert_eq!((feed.account.threads(), feed.account.tasks()), (1, 2));
    let first = LoopId { tid: 7, slot: 0 };
    feed.account.end_loop(first);
    assert_eq!(feed.account.tasks(), 1);
    feed.account.end();
    close(feed.account.runtime() as f64 / 1e9, 10.0);
    close(feed.seconds('R'), 10.0);
    // It was seen last after 9 s.
    close(feed.seconds('S'), 9.0);
}

/// A loop that rests from 0 to 4 s, and another one that comes in its place at 10 s, with a task that only the sampler meets.
fn one_loop_after_another(goes_on: bool) -> Feed {
    let event_loop = LoopId { tid: 7, slot: 0 };
    let mut feed = Feed::default();
    for (time, pass) in [(0.0, 1), (4.0, 2)] {
        feed.pass(&[(1, 'a')], time, pass);
    }
    if goes_on {
        feed.account.begin_anew(event_loop);
    } else {
        feed.account.end_loop(event_loop);
    }
    for (time, pass) in [(10.0, 1), (12.0, 2)] {
        let at = origin(false, nanoseconds(time), 0, pass);
        feed.visit('R', 0, at);
        feed.visit('b', 2, at);
        feed.slice(SliceStatus::PassComplete, at);
    }
    let busy = origin(true, nanoseconds(12.0), 0, 1);
    feed.visit('c', 3, busy);
    feed.slice(SliceStatus::PassComplete, busy);
    feed.account.end();
    feed
}

#[test]
fn the_time_between_two_loops_belongs_to_neither() {
    let mut feed = one_loop_after_another(false);
    close(feed.seconds('a'), 4.0);
    close(feed.seconds('b'), 2.0);
    close(feed.seconds('R'), 2.0);
    // The passes at rest have not met it: it was not there while the loop rested.
    close(feed.seconds('c'), 0.0);
}

#[test]
fn a_loop_that_is_walked_anew_has_gone_on_meanwhile() {
    let mut feed = one_loop_after_another(true);
    close(feed.seconds('a'), 4.0);
    close(feed.seconds('b'), 8.0);
    close(feed.seconds('R'), 8.0);
}

#[test]
fn another_task_at_the_same_address_is_another_task() {
    let mut feed = Feed::default();
    feed.pass(&[(1, 'a')], 0.0, 1);
    let at = |time: f64, pass| origin(false, nanoseconds(time), 0, pass);
    let visit = |feed: &mut Feed, coroutine, name, time, pass| {
        let chain = feed.chain(name);
        let id = TaskId {
            address: Address(1),
            coroutine: Address(coroutine),
            name: Address(0),
        };
        feed.look(at(time, pass));
        feed.account.met(&at(time, pass), id, false, chain);
        feed.slice(SliceStatus::PassComplete, at(time, pass));
    };
    feed.slice(SliceStatus::Unchanged, at(4.0, 1));
    visit(&mut feed, 0x1000, 'b', 5.0, 2);
    // It was met by a sample while it rested in `b`; another task at its address was not there before.
    let busy = origin(true, nanoseconds(6.0), nanoseconds(1.0), 1);
    visit(&mut feed, 0x2000, 'c', 7.0, 3);
    feed.visit('d', 1, busy);
    feed.account.end();
    close(feed.seconds('a'), 4.0);
    close(feed.seconds('b'), 1.0);
    close(feed.seconds('d'), 0.0);
}

#[test]
fn tasks_that_run_within_another_ones_turn_are_at_work_too() {
    let mut feed = Feed::default();
    for tick in 0..=10_u32 {
        let time = nanoseconds(f64::from(tick));
        let origin = origin(true, time, time, u64::from(tick) + 1);
        // The thread's frames, which are those of the outermost task.
        feed.visit('R', 0, origin);
        feed.visit('R', 1, origin);
        feed.visit('S', 2, origin);
        feed.visit('w', 3, origin);
        feed.slice(SliceStatus::PassComplete, origin);
    }
    feed.account.end();
    for name in ['R', 'S', 'w'] {
        close(feed.seconds(name), 10.0);
    }
}

#[test]
fn of_ever_new_loops_the_old_ones_are_a_sum() {
    let mut feed = Feed::default();
    let threads = 3 * MAX_LOOPS as u32;
    let pass = |feed: &mut Feed, tid: u32, seconds: u32, number| {
        let event_loop = LoopId { tid, slot: 0 };
        let time = nanoseconds(f64::from(tid) + f64::from(seconds));
        let origin = Origin {
            event_loop,
            ..origin(false, time, u64::from(seconds) * 1000, number)
        };
        feed.visit('a', 1, origin);
        feed.slice(SliceStatus::PassComplete, origin);
    };
    for tid in 0..threads {
        pass(&mut feed, tid, 0, 1);
        pass(&mut feed, tid, 1, 2);
        feed.account.end_loop(LoopId { tid, slot: 0 });
        // Of every second one, something comes too late.
        if tid % 2 == 0 {
            pass(&mut feed, tid, 1, 2);
        }
        assert!(feed.account.remembered_loops() <= MAX_LOOPS + 1);
    }
    feed.account.end();
    assert_eq!(feed.account.threads(), threads as usize);
    close(feed.account.runtime() as f64 / 1e9, f64::from(threads) * 1e-6);
    close(feed.account.duration() as f64 / 1e9, f64::from(threads));
    close(feed.seconds('a'), f64::from(threads));
}
