//! Recordings of a server that is made up: what they come to is what was seen, and files that are damaged, cut or no recordings are no danger.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;
use awaitwhat_fuzz::Target as FuzzTarget;
use fastrand::Rng;

use super::block::{Kind, MAX_RAW, Maker, preface};
use super::{
    At, Ending, Error, Header, Moment, Options, Recorder, Recording, Trigger, Why, Window, kept, pack, read,
};
use crate::budget::Budget;
use crate::chains::ChainId;
use crate::decode::Origin;
use crate::export::{profile_json, snapshot_json};
use crate::memory::Address;
use crate::profile::{
    ChainState, End, Hold, HoldPlace, Look, Observation, Process, Profile, Sums, TaskId, Thing,
};
use crate::resource::{Resource, ResourceKind};
use crate::snapshot::{Losses, Stack};
use crate::survey::{Refusals, Survey};
use crate::testing::{HOSTILE, frame, small_service};
use crate::view::tree;

const STARTED: &str = "2026-01-02T03:04:05.678901234Z";
const PERIOD_MS: u64 = 10;

/// Bytes that several hold.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A target that is summed up as it goes, and recorded.
struct Live {
    rng: Rng,
    sums: Sums,
    tape: super::Tape,
    process: Process,
    tasks: Vec<(TaskId, u32)>,
    futures: HashMap<Address, Address>,
    /// Chains that are known, and how often the place of each was used.
    chains: Vec<Option<u32>>,
    generations: Vec<u32>,
    now_ms: u64,
    pass: u64,
    runtime: u64,
    waited: u64,
    /// Addresses that were given so far.
    made: u64,
    losses: Losses,
}

fn process(pid: u32) -> Process {
    Process {
        pid,
        command: HOSTILE.to_owned(),
        python: "3.14.10".to_owned(),
    }
}

fn look(number: u32) -> Look {
    let frames = [
        frame("sleep", "/usr/lib/python3.14/asyncio/tasks.py", 704),
        frame(&format!("worker_{number}"), "/srv/app.py", number),
        frame(HOSTILE, HOSTILE, 7),
    ];
    Look {
        stack: Stack::from(&frames[..2 + number as usize % 2]),
        state: [ChainState::Waiting, ChainState::Ready, ChainState::Running][number as usize % 3],
        terminal: (!number.is_multiple_of(5)).then(|| Arc::from("Future")),
        resource: None,
    }
}

fn thing(number: u32) -> Thing {
    (!number.is_multiple_of(4)).then(|| {
        Arc::new(Resource {
            words: "an item of queue".into(),
            label: Some(format!("queue_{number}").into()),
            peer: number.is_multiple_of(2).then(|| "10.0.0.7:5432".into()),
            ..Resource::of_kind(ResourceKind::Queue)
        })
    })
}

impl Live {
    fn begin(recorder: &Recorder, budget: &Budget, pid: u32, tasks: usize) -> Self {
        let process = process(pid);
        let mut live = Self {
            rng: Rng::with_seed(u64::from(pid)),
            sums: Sums::new(budget),
            tape: recorder.target(&process, STARTED.parse().unwrap(), true),
            process,
            tasks: Vec::new(),
            futures: HashMap::new(),
            chains: Vec::new(),
            generations: Vec::new(),
            now_ms: 0,
            pass: 0,
            runtime: 1_000_000,
            waited: 0,
            made: 0,
            losses: Losses::default(),
        };
        (0..tasks).for_each(|_| live.make_task());
        live
    }

    fn see(&mut self, observation: Observation) {
        self.tape.write(&observation);
        self.sums.take(observation);
    }

    fn at(&self) -> u64 {
        self.now_ms * 1_000_000 + 123_456
    }

    fn make_task(&mut self) {
        self.made += 1;
        let address = |part| Address(0x7f00_0000_0000 + (self.made * 7919 % 4096) * 256 + part);
        let task = TaskId {
            address: address(0),
            coroutine: address(64),
            name: address(128),
        };
        if self.tasks.iter().all(|(it, _)| it.address != task.address) {
            let chain = self.rng.u32(0..8);
            self.tasks.push((task, chain));
        }
    }

    /// The chain, which is told of where it is not known.
    fn chain(&mut self, number: u32) -> ChainId {
        let known = self.chains.iter().position(|it| *it == Some(number));
        let place = known.unwrap_or_else(|| {
            let place = self
                .chains
                .iter()
                .position(Option::is_none)
                .unwrap_or(self.chains.len());
            if place == self.chains.len() {
                self.chains.push(None);
                self.generations.push(0);
            }
            self.chains[place] = Some(number);
            let chain = ChainId::of_parts(place as u32, self.generations[place]);
            self.see(Observation::Chain {
                chain,
                look: look(number),
            });
            place
        });
        ChainId::of_parts(place as u32, self.generations[place])
    }

    fn origin(&self, in_context: bool) -> Origin {
        Origin {
            event_loop: LoopId {
                tid: self.process.pid + 1,
                slot: 0,
            },
            pid: self.process.pid,
            in_context,
            time: self.at(),
            runtime: self.runtime,
            pass: self.pass,
        }
    }

    /// One look, and all that may come of it.
    fn look(&mut self) {
        self.now_ms += PERIOD_MS;
        self.see(Observation::Tick { at_ms: self.now_ms });
        if self.rng.u32(0..3) == 0 {
            let origin = Origin {
                pass: self.pass,
                ..self.origin(false)
            };
            self.see(Observation::Slice {
                origin,
                status: SliceStatus::Unchanged,
            });
            return;
        }
        self.pass += 1;
        self.runtime += self.rng.u64(0..3_000_000);
        let in_context = self.rng.u32(0..4) == 0;
        self.change_tasks();
        let origin = self.origin(in_context);
        if !in_context && self.rng.u32(0..3) == 0 {
            self.waited += self.rng.u64(0..2_000_000);
            self.see(Observation::Waits {
                event_loop: origin.event_loop,
                waited: self.waited,
            });
        }
        if in_context {
            let running = self.chain(2);
            self.see(Observation::Ran {
                origin,
                chain: running,
            });
        }
        for (task, number) in self.tasks.clone() {
            if self.rng.u32(0..200) == 0 {
                self.see(Observation::Unread { origin, task });
                continue;
            }
            let chain = self.chain(number);
            let chain = if self.rng.u32(0..50) == 0 {
                chain.proven()
            } else {
                chain
            };
            let future = self.future(task);
            self.see(Observation::Met {
                origin,
                task,
                is_running: number % 3 == 2,
                chain,
                future,
            });
        }
        let status = match self.rng.u32(0..10) {
            0 => SliceStatus::Budget,
            1 => SliceStatus::RegistryTorn,
            _ => SliceStatus::PassComplete,
        };
        self.see(Observation::Slice { origin, status });
        self.besides(origin);
    }

    /// What wakes a task: at times another one than before, and at times nothing.
    fn future(&mut self, task: TaskId) -> Address {
        let known = self.futures.entry(task.address).or_default();
        match self.rng.u32(0..20) {
            0 => known.0 = task.address.0 + 0x1000 * self.rng.u64(1..4),
            1 => known.0 = 0,
            _ => {}
        }
        *known
    }

    fn change_tasks(&mut self) {
        for _ in 0..self.rng.usize(0..4) {
            if !self.tasks.is_empty() {
                let gone = self.rng.usize(0..self.tasks.len());
                self.tasks.remove(gone);
            }
            self.make_task();
        }
        for _ in 0..self.rng.usize(0..1 + self.tasks.len() / 8) {
            let moved = self.rng.usize(0..self.tasks.len());
            self.tasks[moved].1 = self.rng.u32(0..12);
        }
    }

    /// What comes now and then.
    fn besides(&mut self, origin: Origin) {
        let (at, event_loop) = (self.at(), origin.event_loop);
        let number = self.rng.u32(0..8);
        let chain = self.chain(number);
        match self.rng.u32(0..24) {
            0..8 => {
                let things = (0..self.rng.u32(1..4))
                    .map(|_| thing(self.rng.u32(0..9)))
                    .collect();
                let (pass, tasks) = (origin.pass, self.rng.u64(1..9));
                self.see(Observation::Answers {
                    chain,
                    event_loop,
                    pass,
                    at,
                    tasks,
                    things,
                });
            }
            8 => self.see(Observation::AskedInVain { chain }),
            9 => self.see(Observation::Left {
                at,
                chains: vec![chain],
            }),
            10 | 11 => self.see(Observation::Checked { retired: Vec::new() }),
            12 => self.see(Observation::Checked { retired: vec![chain] }),
            13 => self.let_go(at),
            14 => self.see(Observation::Ended {
                event_loop,
                at,
                goes_on: self.now_ms.is_multiple_of(20),
            }),
            15 => self.see(Observation::Held(Hold {
                place: HoldPlace::of(true, &look(number).stack),
                // No longer than it is looked at.
                seconds: (0.1 + f64::from(number)).min(self.now_ms as f64 / 1e3),
                turns: 1,
                longest_seconds: 0.1,
                ready_seconds: 1.0 / 3.0,
            })),
            16 => {
                self.losses.torn += 1;
                self.losses.waits += u64::from(number);
                self.see(Observation::Lost(self.losses.clone()));
            }
            17 => self.see(Observation::Fold),
            _ => {}
        }
    }

    fn let_go(&mut self, at: u64) {
        let used = self.sums.chains_in_use();
        let mut chains = Vec::new();
        for place in 0..self.chains.len() {
            let chain = ChainId::of_parts(place as u32, self.generations[place]);
            if self.chains[place].is_some() && !used.contains(&chain) {
                self.chains[place] = None;
                self.generations[place] += 1;
                chains.push(chain);
            }
        }
        self.see(Observation::LetGo { at, chains });
    }

    fn end(mut self, has_exited: bool) -> Profile {
        let at = self.at();
        let retired = vec![self.chain(1)];
        self.see(Observation::End(End {
            at,
            has_exited,
            retired,
        }));
        // Room may be needed for others.
        self.see(Observation::Fold);
        self.sums.into_profile(self.process, STARTED.parse().unwrap())
    }
}

fn options(output: impl Write + Send + 'static) -> Options {
    Options {
        output: Box::new(output),
        header: Header {
            started_at: STARTED.parse().unwrap(),
            ..Header::new(99, 512, false)
        },
        max_bytes: None,
        next: None,
        snapshots: None,
    }
}

/// What there is to be kept at a look.
fn moment(number: usize) -> Moment {
    let mut service = small_service();
    service.pid = number as u32;
    let after = Duration::from_millis(PERIOD_MS * number as u64);
    Moment {
        since: after.as_nanos() as u64,
        taken_at: STARTED.parse::<jiff::Timestamp>().unwrap() + after,
        found: Survey {
            targets: vec![service],
            refused: Refusals::default(),
        },
    }
}

/// Records several targets for a while: what they come to, and the file.
fn recorded(looks: usize, tasks: usize) -> (Vec<Profile>, Vec<u8>) {
    let file = Shared::default();
    let recorder = Recorder::begin(options(file.clone()));
    let budget = Budget::new(usize::MAX);
    let mut targets: Vec<_> = [4711, 5000]
        .map(|pid| Live::begin(&recorder, &budget, pid, tasks))
        .into();
    for number in 0..looks {
        targets.iter_mut().for_each(Live::look);
        if number == looks / 2 {
            targets.push(Live::begin(&recorder, &budget, 6000, tasks));
        }
        if number % 20 == 10 {
            recorder.keep(&pack(&moment(number)).unwrap());
        }
    }
    let profiles: Vec<Profile> = targets
        .into_iter()
        .map(|target| {
            let has_exited = target.process.pid == 5000;
            target.end(has_exited)
        })
        .collect();
    let written = recorder.finish(STARTED.parse().unwrap(), 7, &Refusals::default());
    assert_eq!(
        (written.why, written.bytes),
        (Why::Trace, file.bytes().len() as u64)
    );
    (profiles, file.bytes())
}

fn read_whole(bytes: &[u8]) -> Result<Recording, Error> {
    read(bytes, |_| Window::default())
}

fn json(profile: &Profile) -> String {
    let mut text = Vec::new();
    profile_json::write(profile, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_recording_comes_to_what_was_seen_to_the_last_digit() {
    let (profiles, bytes) = recorded(700, 40);
    let recording = read_whole(&bytes).unwrap();
    assert_eq!(recording.ending, Ending::Whole);
    assert_eq!(recording.duration_ns, 7);
    let shown = |profiles: &[Profile]| profiles.iter().map(json).collect::<Vec<_>>();
    assert_eq!(shown(&recording.profiles), shown(&profiles));
    // All of it was there: nothing is equal because it is nothing.
    let first = &profiles[0];
    assert!(first.mean_tasks() > 20.0 && first.chains.len() > 12, "{first:?}");
    assert!(!first.holds.is_empty() && first.losses.waits > 0 && first.losses.folded > 0);
    assert!(first.chains.iter().any(|chain| chain.resource.is_some()));
    assert!(profiles[1].target_exited);
}

#[test]
fn a_file_that_is_cut_is_read_up_to_its_last_whole_block() {
    let (_, bytes) = recorded(125, 3);
    let ends = block_ends(&bytes);
    let last = ends[ends.len() - 3];
    let longer = read_whole(&bytes[..ends[ends.len() - 2]]).unwrap();
    let shorter = read_whole(&bytes[..last]).unwrap();
    assert!(seconds(&longer) > seconds(&shorter));
    for end in last..bytes.len() {
        let recording = read_whole(&bytes[..end]).unwrap();
        assert_eq!(recording.ending, Ending::Cut, "{end}");
        let expected = if end < ends[ends.len() - 2] {
            &shorter
        } else {
            &longer
        };
        assert_eq!(recording.profiles, expected.profiles, "{end}");
    }
    for end in 0..ends[1] {
        let error = read_whole(&bytes[..end]).unwrap_err();
        match end {
            0 => assert!(matches!(error, Error::Foreign(_)), "{error:?}"),
            _ => assert!(matches!(error, Error::Cut), "{end}: {error:?}"),
        }
    }
}

#[test]
fn a_bit_that_was_flipped_anywhere_is_found() {
    let (_, bytes) = recorded(110, 3);
    let ends = block_ends(&bytes);
    let (whole, begin) = (read_whole(&bytes).unwrap(), ends[ends.len() - 3]);
    let some = (0..begin).step_by(7);
    for place in some.chain(begin..bytes.len()) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        match read_whole(&damaged) {
            Ok(recording) => {
                assert_ne!(recording.ending, Ending::Whole, "{place}");
                assert!(seconds(&recording) <= seconds(&whole), "{place}");
            }
            // Of a recording whose first observations are damaged there is nothing.
            Err(_) => assert!(place < ends[2], "{place}"),
        }
    }
}

#[test]
fn versions_and_files_of_other_kinds_are_told_apart() {
    let (_, mut bytes) = recorded(20, 4);
    bytes[8] = 2;
    let error = read_whole(&bytes).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2 }), "{error:?}");
    let error = read_whole(b"{\"schema\":\"awaitwhat.profile/1\",\"pid\":1}").unwrap_err();
    insta::assert_snapshot!(error, @r#"it is no recording: it is a profile, as `trace --format json` writes it (schema "awaitwhat.profile/1")"#);
}

#[test]
fn blocks_that_a_reader_need_not_know_are_left_out() {
    let (profiles, bytes) = recorded(50, 4);
    let optional = Maker::new().unwrap().block(Kind::Optional, b"new").unwrap();
    let first = block_ends(&bytes)[1];
    let with_more = [&bytes[..first], &optional, &bytes[first..]].concat();
    assert_eq!(read_whole(&with_more).unwrap().profiles, profiles);
}

#[test]
fn the_last_snapshot_until_a_moment_is_shown() {
    // At looks 10, 30, 50 and 70: 0.1, 0.3, 0.5 and 0.7 s.
    let (_, bytes) = recorded(80, 4);
    let ms = |ms: u64| Some(At::Since(ms * 1_000_000));
    let time = |text: &str| Some(At::Time(text.parse().unwrap()));
    for (at, expected) in [
        (None, 70),
        (ms(100), 10),
        (ms(299), 10),
        (ms(300), 30),
        (ms(699), 50),
        (ms(700_000), 70),
        (time("2026-01-02T03:04:05.978901233Z"), 10),
        (time("2026-01-02T03:04:05.978901234Z"), 30),
        (time("2030-01-01T00:00:00Z"), 70),
    ] {
        let found = kept(&bytes[..], at).unwrap();
        assert_eq!(found.moment, moment(expected), "{at:?}");
        assert_eq!(found.ending, Ending::Whole);
    }
    for at in [ms(99), time("2026-01-02T03:04:05.7Z")] {
        let error = kept(&bytes[..], at).unwrap_err();
        assert!(matches!(error, Error::TooEarly { .. }), "{error:?}");
    }
}

#[test]
fn of_a_file_that_is_cut_or_damaged_the_last_whole_snapshot_is_shown() {
    let (_, bytes) = recorded(80, 4);
    let ends = block_ends(&bytes);
    let kind = |end: usize| u32::from_le_bytes(*bytes[end..].first_chunk().unwrap());
    let last = ends
        .iter()
        .rposition(|&end| end < bytes.len() && kind(end) == 128)
        .unwrap();
    let cut = kept(&bytes[..ends[last + 1] - 1], None).unwrap();
    assert_eq!((cut.moment, cut.ending), (moment(50), Ending::Cut));
    let mut flipped = bytes.clone();
    flipped[ends[last] + 20] ^= 1;
    let damaged = kept(&flipped[..], None).unwrap();
    assert_eq!(damaged.moment, moment(50));
    let at = ends[last] as u64;
    assert!(matches!(damaged.ending, Ending::Damaged { at: it, .. } if it == at));
    // What is traced is shown all the same where a snapshot says nothing.
    let nonsense = Maker::new()
        .unwrap()
        .block(Kind::Snapshots, &[3, 0, 0, 99])
        .unwrap();
    let replaced = [&bytes[..ends[last]], &nonsense, &bytes[ends[last + 1]..]].concat();
    assert_eq!(read_whole(&replaced).unwrap(), read_whole(&bytes).unwrap());
    assert!(matches!(
        kept(&replaced[..], None),
        Err(Error::TooEarly { .. } | Error::Nonsense { .. })
    ));
    let none = [&bytes[..ends[1]], &bytes[ends[ends.len() - 2]..]].concat();
    assert!(matches!(kept(&none[..], None), Err(Error::NoSnapshots)));
}

/// Blocks with sound checksums that say anything.
#[test]
fn what_a_block_says_is_doubted() {
    let mut maker = Maker::new().unwrap();
    let header = serde_json::to_vec(&options(Vec::new()).header).unwrap();
    let header = maker.block(Kind::Header, &header).unwrap();
    let mut file = |content: &[u8]| {
        let block = maker.block(Kind::Observations, content).unwrap();
        read_whole(&[&preface()[..], &header, &block].concat())
    };
    for content in [
        &[0xff; 40][..],
        // A visit of nobody's, a turn to no target, a text without end, a stack of no frames that are known.
        &[2, 1, 1, 1, 0],
        &[0, 1, 9],
        &[0, 4, 0xff, 0xff, 0x7f],
        &[0, 6, 3, 0, 0, 0],
        &[0, 99],
        &[0xfc, 0xff, 0xff, 0xff, 0x0f],
    ] {
        assert!(matches!(file(content), Err(Error::Damaged)), "{content:?}");
    }
    assert!(
        Maker::new()
            .unwrap()
            .block(Kind::Observations, &vec![0; MAX_RAW + 1])
            .is_err()
    );
}

#[test]
fn windows_add_up_to_the_whole() {
    let (profiles, bytes) = recorded(600, 40);
    let moments = [0, 1_500, 1_510, 4_000, 60_000].map(|ms: u64| ms * 1_000_000);
    let window = |from: u64, to: u64| {
        let window = Window {
            from: Some(from),
            to: Some(to),
        };
        read(&bytes[..], |_| window).unwrap().profiles
    };
    let parts: Vec<Vec<Profile>> = moments.windows(2).map(|it| window(it[0], it[1])).collect();
    for whole in profiles.iter().filter(|it| !it.target_exited) {
        let of_process: Vec<&Profile> = parts
            .iter()
            .flatten()
            .filter(|it| it.processes == whole.processes)
            .collect();
        let sum = |of: &dyn Fn(&Profile) -> f64| of_process.iter().map(|it| of(it)).sum::<f64>();
        let close = |what, one: f64, other: f64, tolerance: f64| {
            assert!(
                (one - other).abs() <= tolerance * other.abs(),
                "{what}: {one} of {other}"
            );
        };
        close(
            "seconds",
            sum(&|it| it.duration_seconds),
            whole.duration_seconds,
            1e-9,
        );
        close("samples", sum(&|it| it.samples as f64), whole.samples as f64, 0.0);
        close(
            "visits",
            sum(&|it| it.task_visits as f64),
            whole.task_visits as f64,
            0.0,
        );
        close("busy", sum(&|it| it.busy_seconds), whole.busy_seconds, 1e-9);
        close(
            "torn",
            sum(&|it| it.losses.torn as f64),
            whole.losses.torn as f64,
            0.0,
        );
        let holds = |it: &Profile| it.holds.iter().map(|hold| hold.seconds).sum();
        close("holds", sum(&holds), holds(whole), 1e-9);
        // What one window has taken to go on, and did not, the next one has less, where it has it.
        let tasks = |it: &Profile| it.mean_tasks() * it.duration_seconds;
        close("tasks", sum(&tasks), tasks(whole), 0.01);
    }
}

#[test]
fn a_recording_ends_when_it_is_as_large_as_it_may_be() {
    let file = Shared::default();
    let recorder = Recorder::begin(Options {
        max_bytes: Some(200 << 10),
        ..options(file.clone())
    });
    let mut live = Live::begin(&recorder, &Budget::new(usize::MAX), 4711, 2000);
    while !recorder.is_over() {
        live.look();
    }
    let profile = live.end(false);
    let written = recorder.finish(STARTED.parse().unwrap(), 7, &Refusals::default());
    assert_eq!(written.why, Why::Size);
    assert!((50 << 10..200 << 10).contains(&written.bytes), "{written:?}");
    assert_eq!(read_whole(&file.bytes()).unwrap().profiles, [profile]);
}

fn trigger() -> Trigger {
    Trigger {
        condition: "tasks > 5".to_owned(),
        what: format!("process 4711 ({HOSTILE}): it has 6 tasks"),
        at: STARTED.parse().unwrap(),
        since: 7,
    }
}

#[test]
fn what_was_held_comes_to_what_was_seen_and_says_why_it_is_kept() {
    let mut header = options(io::sink()).header;
    header.is_single = true;
    let recorder = Recorder::hold(header, 32 << 20);
    let mut live = Live::begin(&recorder, &Budget::new(usize::MAX), 4711, 40);
    (0..300).for_each(|_| live.look());
    recorder.keep(&pack(&moment(7)).unwrap());
    assert!(recorder.bytes() > 1000 && !recorder.is_over());
    let file = Shared::default();
    recorder.let_out(Box::new(file.clone()), None);
    assert_eq!(file.bytes().len() as u64, recorder.bytes());
    recorder.note(&trigger());
    (0..300).for_each(|_| live.look());
    let profile = live.end(false);
    let written = recorder.finish_file(&Refusals::default());
    assert_eq!(written.bytes, file.bytes().len() as u64);
    let recording = read_whole(&file.bytes()).unwrap();
    assert_eq!(
        (recording.ending, recording.profiles),
        (Ending::Whole, vec![profile])
    );
    assert_eq!(recording.triggers, [trigger()]);
    assert_eq!(kept(&file.bytes()[..], None).unwrap().moment, moment(7));
}

#[test]
fn what_is_held_ends_when_it_is_as_large_as_it_may_be() {
    let recorder = Recorder::hold(options(io::sink()).header, 200 << 10);
    let mut live = Live::begin(&recorder, &Budget::new(usize::MAX), 4711, 2000);
    while !recorder.is_over() {
        live.look();
        assert!(recorder.bytes() < 200 << 10);
    }
}

#[test]
fn a_file_that_may_become_no_larger_ends_after_it_was_let_out() {
    let recorder = Recorder::hold(options(io::sink()).header, 32 << 20);
    let mut live = Live::begin(&recorder, &Budget::new(usize::MAX), 4711, 2000);
    let file = Shared::default();
    live.look();
    recorder.let_out(Box::new(file.clone()), Some(200 << 10));
    while !recorder.is_over() {
        live.look();
    }
    live.end(false);
    let written = recorder.finish_file(&Refusals::default());
    assert_eq!(written.why, Why::Size);
    assert!(file.bytes().len() < 200 << 10);
    assert_eq!(read_whole(&file.bytes()).unwrap().ending, Ending::Whole);
}

impl Live {
    /// Goes on in the next file, which knows nothing of what was.
    fn begin_next(&mut self, recorder: &Recorder) {
        self.tape.write(&Observation::End(End {
            at: self.at(),
            has_exited: false,
            retired: Vec::new(),
        }));
        recorder.begin_next();
        let tape = recorder.target(&self.process, STARTED.parse().unwrap(), true);
        let since = self.now_ms * 1_000_000;
        self.tape = tape.going_on(since, self.losses.clone());
        let mut gone = Vec::new();
        for (place, number) in self.chains.iter().enumerate() {
            let chain = ChainId::of_parts(place as u32, self.generations[place]);
            let look = number.map_or_else(Look::of_nothing, look);
            self.tape.write(&Observation::Chain { chain, look });
            gone.extend(number.is_none().then_some(chain));
        }
        let at = since;
        self.tape.write(&Observation::LetGo { at, chains: gone });
    }
}

#[test]
fn each_of_several_files_is_read_by_itself() {
    let files = Arc::new(Mutex::new(vec![Shared::default()]));
    let first = files.lock().unwrap()[0].clone();
    let opened = Arc::clone(&files);
    let recorder = Recorder::begin(Options {
        max_bytes: Some(200 << 10),
        next: Some(Box::new(move || {
            let next = Shared::default();
            opened.lock().unwrap().push(next.clone());
            Ok(Box::new(next))
        })),
        ..options(first)
    });
    let mut live = Live::begin(&recorder, &Budget::new(usize::MAX), 4711, 500);
    let mut whole_ms = 0;
    while files.lock().unwrap().len() < 4 {
        live.look();
        if recorder.is_full() {
            whole_ms = live.now_ms;
            live.begin_next(&recorder);
            recorder.keep(&pack(&moment(7)).unwrap());
        }
        assert!(!recorder.is_over());
    }
    (0..20).for_each(|_| live.look());
    whole_ms = whole_ms.max(live.now_ms);
    let losses = live.losses.clone();
    let whole = live.end(false);
    let written = recorder.finish(STARTED.parse().unwrap(), 7, &Refusals::default());
    let files: Vec<Vec<u8>> = files.lock().unwrap().iter().map(Shared::bytes).collect();
    let bytes: usize = files.iter().map(Vec::len).sum();
    assert_eq!((written.files, written.bytes), (4, bytes as u64));
    let mut lost = Losses::default();
    let (mut tasks, mut seconds, mut samples) = (0.0, 0.0, 0);
    for (number, file) in files.iter().enumerate() {
        assert!(file.len() <= 200 << 10, "{}", file.len());
        let recording = read_whole(file).unwrap();
        assert_eq!(recording.ending, Ending::Whole);
        let profile = &recording.profiles[0];
        lost.add(&profile.losses);
        tasks += profile.mean_tasks() * profile.duration_seconds;
        seconds += profile.duration_seconds;
        samples += profile.samples;
        assert_eq!(kept(&file[..], None).is_ok(), number > 0);
    }
    let expected = whole.mean_tasks() * whole.duration_seconds;
    assert!(
        (tasks - expected).abs() < 0.02 * expected,
        "{tasks} of {expected}"
    );
    assert!(
        (seconds - whole_ms as f64 / 1e3).abs() < 0.01,
        "{seconds} of {whole_ms} ms"
    );
    // What sums were folded to is each file's own.
    lost.folded = 0;
    assert_eq!((samples, lost), (whole.samples, losses));
}

/// Takes so many bytes, and then there is no room.
struct Full(usize, Shared);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.0);
        if fits == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0 -= fits;
        self.1.write(&bytes[..fits])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn of_a_full_disk_all_is_there_that_had_room() {
    let file = Shared::default();
    let recorder = Recorder::begin(options(Full(10_000, file.clone())));
    let mut live = Live::begin(&recorder, &Budget::new(usize::MAX), 4711, 20);
    while !recorder.is_over() {
        live.look();
    }
    live.end(false);
    let written = recorder.finish(STARTED.parse().unwrap(), 7, &Refusals::default());
    assert!(matches!(written.why, Why::Failed(_)), "{written:?}");
    let recording = read_whole(&file.bytes()).unwrap();
    assert_eq!(recording.ending, Ending::Cut);
    assert!(seconds(&recording) > 1.0);
}

fn seconds(recording: &Recording) -> f64 {
    recording.profiles[0].duration_seconds
}

/// Where the preface and each block end.
fn block_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![preface().len()];
    while let Some(&end) = ends.last().filter(|end| **end < bytes.len()) {
        let stored = u32::from_le_bytes(*bytes[end + 4..].first_chunk().unwrap());
        ends.push(end + 16 + stored as usize);
    }
    ends
}

/// Whatever the entries of a block are, reading them ends, and takes no more memory than it may.
#[test]
fn fuzz_recording() {
    let target = FuzzTarget {
        name: "recording",
        executions: 300,
        max_bytes: 256 << 20,
        places: &[
            ("whole", 0),
            ("damaged", 0),
            ("part", 0),
            ("nothing", 0),
            ("snapshot", 0),
            ("no snapshot", 0),
        ],
    };
    let (_, bytes) = recorded(60, 6);
    let trigger = serde_json::to_vec(&trigger()).unwrap();
    let trigger = Maker::new().unwrap().block(Kind::Trigger, &trigger).unwrap();
    let first = block_ends(&bytes)[1];
    let bytes = [&bytes[..first], &trigger, &bytes[first..]].concat();
    let ends = block_ends(&bytes);
    let contents: Vec<(Kind, Vec<u8>)> = ends
        .windows(2)
        .map(|it| {
            let kind = match bytes[it[0]] {
                1 => Kind::Header,
                2 => Kind::Observations,
                3 => Kind::Trailer,
                129 => Kind::Trigger,
                _ => Kind::Snapshots,
            };
            let content = zstd::bulk::decompress(&bytes[it[0] + 16..it[1]], MAX_RAW).unwrap();
            (kind, content)
        })
        .collect();
    target.run(|choices, reached| {
        let mut maker = Maker::new().unwrap();
        let mut file = preface().to_vec();
        for (kind, content) in &contents {
            let (kind, mut content) = (*kind, content.clone());
            if matches!(kind, Kind::Observations | Kind::Snapshots | Kind::Trigger) {
                for _ in 0..choices.below(4) {
                    let place = choices.below(content.len());
                    match choices.below(3) {
                        0 => content[place] = choices.byte(),
                        1 => content.insert(place, choices.byte()),
                        _ => drop(content.remove(place)),
                    }
                }
            }
            file.extend(maker.block(kind, &content).unwrap());
        }
        let is_part = choices.once_in(2);
        let window = Window {
            from: is_part.then_some(100_000_000),
            to: is_part.then_some(400_000_000),
        };
        match read(&file[..], |_| window) {
            Ok(recording) => {
                if is_part {
                    reached.note("part", 0);
                }
                recording.profiles.iter().for_each(|profile| drop(json(profile)));
                match recording.ending {
                    Ending::Whole => reached.note("whole", 0),
                    _ => reached.note("damaged", 0),
                }
            }
            Err(_) => reached.note("nothing", 0),
        }
        match kept(&file[..], is_part.then_some(At::Since(400_000_000))) {
            Ok(found) => {
                let mut text = Vec::new();
                for snapshot in &found.moment.found.targets {
                    snapshot_json::write(snapshot, &mut text).unwrap();
                    tree::write(snapshot, 512, &mut text).unwrap();
                }
                reached.note("snapshot", 0);
            }
            Err(_) => reached.note("no snapshot", 0),
        }
    });
}
