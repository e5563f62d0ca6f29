//! An event loop that is simulated, and what the two kinds of walk would send of it: the truth is known exactly.
//!
//! It has requests that come and go (each a task, with a child that lives within one burst of work), workers, idlers, and heavy and light
//! times in turn, so that how long the loop rests has to do with what its tasks are in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use awaitwhat_common::plan::LoopId;
use awaitwhat_common::status::SliceStatus;

use super::account::{Account, TaskId};
use crate::chains::ChainId;
use crate::decode::Origin;
use crate::memory::Address;

/// What a look by the iterator takes per task, in ns: a rest that ends earlier ends the slice.
const NANOSECONDS_PER_TASK: u64 = 2_000;
const SECOND: f64 = 1e9;
/// Until a pass goes on that was interrupted, in ns, and how often that is tried.
const PAUSE: u64 = 200_000;
/// How long a look takes the CPU from the loop, in ns.
const TAKEN: u64 = 1_000_000;
const MAX_TRIES: u32 = 16;
const WORKERS: usize = 3;
const HOGS: usize = 3;

/// Where registries keep a new task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registry {
    /// At the end.
    List,

    /// Anywhere.
    Set,
}

/// A loop, and how it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Share of the time that the loop is to work, from 0 to 1.
    pub busy: f64,
    /// How long a request lives, in seconds.
    pub life: f64,
    /// How many of them there are in the mean.
    pub requests: f64,
    /// Tasks that never do anything.
    pub idlers: usize,
    /// Looks, and samples per second of CPU time.
    pub rate: f64,
    /// Share of looks at a loop that has run which make a pass.
    pub passes: f64,
    /// In seconds.
    pub duration: f64,
    /// Tasks that a slice at rest, and one in context, can visit.
    pub slice: (usize, usize),
    pub registry: Registry,
    /// How long the thread waits for a CPU besides, as a share of its work.
    pub preempted: f64,
    /// Share of the looks in its work that take the CPU from it: they find it at rest.
    pub taken: f64,
    /// The kernel tells when the thread waits for a CPU, and for how long.
    pub tells_waits: bool,
}

/// What tasks wait for, or do. Chains have these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Point {
    Created,
    Query,
    Yield,
    Child,
    Render,
    Accept,
    Pace,
    Idle,
    Running,
}

pub const POINTS: [Point; 9] = [
    Point::Created,
    Point::Query,
    Point::Yield,
    Point::Child,
    Point::Render,
    Point::Accept,
    Point::Pace,
    Point::Idle,
    Point::Running,
];

/// Numbers that look random, and are the same each time (`splitmix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.share()).ln()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Request,
    /// Of the task with this number.
    Child(usize),
    Acceptor,
    Worker,
    Idler,
    Hog,
}

struct Task {
    role: Role,
    address: u64,
    /// Its place in the registry.
    place: u64,
    turns: u32,
    point: Point,
    since: u64,
}

/// Where a walk is.
#[derive(Default)]
struct Walk {
    pass: u64,
    /// The next place, within a pass.
    next: Option<u64>,
    switches: u64,
    is_whole: bool,
    complete_is_whole: bool,
}

/// The loop, at a moment.
pub struct Simulation {
    setup: Setup,
    random: Random,
    now: u64,
    runtime: u64,
    switches: u64,
    is_heavy: bool,
    phase_ends: u64,
    tasks: Vec<Task>,
    registry: BTreeMap<u64, usize>,
    places: u64,
    free: Vec<u64>,
    addresses: u64,
    timers: BinaryHeap<Reverse<(u64, usize)>>,
    ready: VecDeque<usize>,
    running: Option<usize>,
    /// How long (ns) the thread has waited for a CPU.
    waited: u64,
    next_look: u64,
    next_sample: u64,
    /// When a pass at rest goes on that the loop has interrupted, and how often that was tried.
    retry: Option<(u64, u32)>,
    at_rest: Walk,
    in_context: Walk,
    account: Account,
    /// Task time per point, in ns.
    truth: [f64; POINTS.len()],
}

/// Task-seconds per point.
pub struct Outcome {
    pub truth: [f64; POINTS.len()],
    pub shown: [f64; POINTS.len()],
}

impl Simulation {
    /// Runs a loop from one end of its time to the other.
    pub fn run(setup: Setup, seed: u64) -> Outcome {
        let random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let period = SECOND / setup.rate;
        // What was going on before nobody saw.
        let settled = (10.0 * setup.life).max(1.0) * SECOND;
        let first_look = settled as u64;
        let next_sample = u64::MAX;
        let mut simulation = Self {
            setup,
            random,
            now: 0,
            runtime: 0,
            switches: 0,
            is_heavy: false,
            phase_ends: 0,
            tasks: Vec::new(),
            registry: BTreeMap::new(),
            places: 0,
            free: Vec::new(),
            addresses: 0,
            timers: BinaryHeap::new(),
            ready: VecDeque::new(),
            running: None,
            waited: 0,
            next_look: first_look,
            next_sample,
            retry: None,
            at_rest: Walk::default(),
            in_context: Walk::default(),
            account: Account::default(),
            truth: [0.0; POINTS.len()],
        };
        simulation.begin();
        simulation.turn_until(first_look);
        simulation.next_sample = simulation.runtime + (simulation.random.share() * period) as u64;
        simulation.cut();
        simulation.truth = [0.0; POINTS.len()];
        let end = first_look + (setup.duration * SECOND) as u64;
        simulation.turn_until(end);
        simulation.cut();
        // The last look is made whatever the loop does.
        simulation.look();
        simulation.account.end();
        simulation.account.confirm();
        let shown = POINTS.map(|point| simulation.account.task_seconds(chain(point)));
        Outcome {
            truth: simulation.truth.map(|time| time / SECOND),
            shown,
        }
    }

    fn begin(&mut self) {
        let hogs = if self.setup.busy >= 1.0 { HOGS } else { 0 };
        for (role, number) in [
            (Role::Idler, self.setup.idlers),
            (Role::Worker, WORKERS),
            (Role::Acceptor, 1),
            (Role::Hog, hogs),
        ] {
            for _ in 0..number {
                self.spawn(role);
            }
        }
    }

    fn spawn(&mut self, role: Role) -> usize {
        let address = self.free.pop().unwrap_or_else(|| {
            self.addresses += 0x1000;
            self.addresses
        });
        self.places += 1;
        let place = match self.setup.registry {
            Registry::List => self.places,
            Registry::Set => self.random.next() >> 1,
        };
        let number = self.tasks.len();
        self.registry.insert(place, number);
        self.tasks.push(Task {
            role,
            address,
            place,
            turns: 0,
            point: Point::Created,
            since: self.now,
        });
        self.ready.push_back(number);
        number
    }

    /// CPU time (s) of a turn of a request.
    fn request_turn(&self) -> f64 {
        let turns_per_second = 7.0 * self.setup.requests / self.setup.life;
        (0.5 * self.setup.busy.min(0.6) / turns_per_second).min(3e-4)
    }

    /// CPU time (s) of a turn of a worker, and how long it rests then in the mean.
    fn worker_turn(&self) -> (f64, f64) {
        let turns_per_second = 7.0 * self.setup.requests / self.setup.life;
        let left = self.setup.busy.min(0.9) - self.request_turn() * turns_per_second;
        let turn = 1e-3;
        (turn, (turn * WORKERS as f64 / left - turn).max(1e-4))
    }

    fn changed(&mut self, task: usize, point: Point) {
        let now = self.now;
        let it = &mut self.tasks[task];
        self.truth[it.point as usize] += (now - it.since) as f64;
        it.since = now;
        it.point = point;
    }

    /// Books what goes on up to now.
    fn cut(&mut self) {
        let tasks: Vec<usize> = self.registry.values().copied().collect();
        for task in tasks {
            self.changed(task, self.tasks[task].point);
        }
    }

    fn turn_until(&mut self, end: u64) {
        while self.now < end {
            if self.now >= self.phase_ends {
                self.is_heavy = !self.is_heavy;
                let length = self.random.exponential(0.7) * SECOND;
                self.phase_ends = self.now + length as u64;
            }
            while let Some(&Reverse((time, task))) = self.timers.peek()
                && time <= self.now
            {
                self.timers.pop();
                self.ready.push_back(task);
            }
            match self.ready.pop_front() {
                Some(task) => self.turn(task, end),
                None => {
                    let next = self.timers.peek().map_or(end, |Reverse((time, _))| *time);
                    self.switches += 1;
                    self.rest(next.min(end));
                }
            }
        }
    }

    fn turn(&mut self, task: usize, end: u64) {
        let seconds = match self.tasks[task].role {
            Role::Request | Role::Child(_) => self.request_turn() * (0.5 + self.random.share()),
            Role::Acceptor => 2e-6,
            Role::Worker => self.worker_turn().0 * (0.5 + self.random.share()),
            Role::Idler => 1e-6,
            Role::Hog => 5e-4,
        };
        self.changed(task, Point::Running);
        self.running = Some(task);
        let before = self.random.share();
        let time = (seconds * SECOND) as u64 + 1;
        self.work(((time as f64 * before) as u64).min(end.saturating_sub(self.now)));
        if self.setup.preempted > 0.0 {
            // Seldom, and for long.
            if self.random.share() < 0.1 {
                let pause = self.random.exponential(time as f64 * self.setup.preempted * 10.0) as u64;
                self.switches += 1;
                self.rest((self.now + pause).min(end));
            }
        }
        self.work((time - (time as f64 * before) as u64).min(end.saturating_sub(self.now)));
        self.running = None;
        self.act(task);
    }

    /// What a task does at the end of its turn.
    fn act(&mut self, task: usize) {
        let life = self.setup.life;
        let turns = self.tasks[task].turns;
        self.tasks[task].turns += 1;
        match (self.tasks[task].role, turns) {
            (Role::Request, 0) => {
                let seconds = self.random.exponential(0.55 * life);
                self.sleep(task, Point::Query, seconds);
            }
            (Role::Request, 1) | (Role::Child(_), 0) | (Role::Hog, _) => {
                self.changed(task, Point::Yield);
                self.ready.push_back(task);
            }
            (Role::Request, 2) => {
                self.changed(task, Point::Child);
                self.spawn(Role::Child(task));
            }
            (Role::Request, 3) => {
                let seconds = 0.45 * life * (0.5 + self.random.share());
                self.sleep(task, Point::Render, seconds);
            }
            (Role::Child(parent), _) => {
                self.remove(task);
                self.ready.push_back(parent);
            }
            (Role::Request, _) => self.remove(task),
            (Role::Acceptor, _) => {
                if turns > 0 {
                    self.spawn(Role::Request);
                }
                let rate = self.setup.requests / life * if self.is_heavy { 1.6 } else { 0.4 };
                let seconds = self.random.exponential(1.0 / rate);
                self.sleep(task, Point::Accept, seconds);
            }
            (Role::Worker, _) => {
                let mean = self.worker_turn().1 * if self.is_heavy { 0.7 } else { 1.3 };
                let seconds = self.random.exponential(mean);
                self.sleep(task, Point::Pace, seconds);
            }
            (Role::Idler, _) => self.changed(task, Point::Idle),
        }
    }

    fn sleep(&mut self, task: usize, point: Point, seconds: f64) {
        self.changed(task, point);
        self.timers
            .push(Reverse((self.now + (seconds * SECOND) as u64, task)));
    }

    fn remove(&mut self, task: usize) {
        self.changed(task, Point::Running);
        let Task { place, address, .. } = self.tasks[task];
        self.registry.remove(&place);
        self.free.push(address);
    }

    fn work(&mut self, time: u64) {
        let mut end = self.now + time;
        loop {
            let sample = self
                .now
                .saturating_add(self.next_sample.saturating_sub(self.runtime));
            let look = self.next_look();
            let next = sample.min(look).max(self.now);
            if next > end {
                break;
            }
            self.runtime += next - self.now;
            self.now = next;
            if sample > look {
                if self.random.share() < self.setup.taken {
                    self.switches += 1;
                    self.rest(self.now + TAKEN);
                    end += TAKEN;
                } else if self.begins_look() {
                    self.send_slice(false, SliceStatus::Running);
                    self.look_again();
                }
            } else {
                self.next_sample += (SECOND / self.setup.rate) as u64;
                self.slice(true, u64::MAX);
            }
        }
        self.runtime += end - self.now;
        self.now = end;
    }

    fn rest(&mut self, end: u64) {
        let begun = self.now;
        while self.next_look() < end {
            self.now = self.now.max(self.next_look());
            if !self.begins_look() {
                continue;
            }
            if self.is_unchanged() {
                self.send_slice(false, SliceStatus::Unchanged);
                self.retry = None;
            } else {
                self.slice(false, end - self.now);
                self.look_again();
            }
        }
        self.now = end.max(self.now);
        if self.running.is_some() {
            self.waited += self.now - begun;
        }
    }

    /// When the loop is looked at next.
    fn next_look(&self) -> u64 {
        self.retry
            .map_or(self.next_look, |(at, _)| at.min(self.next_look))
    }

    fn is_unchanged(&self) -> bool {
        self.running.is_none() && self.at_rest.complete_is_whole && self.at_rest.switches == self.switches
    }

    /// Begins a look, by the timer, or to go on with the last one. False where its pass is left out.
    fn begins_look(&mut self) -> bool {
        let is_first = self.now >= self.next_look;
        if is_first {
            self.schedule_look();
            self.account.tick();
            self.retry = None;
        }
        !is_first
            || self.is_unchanged()
            || self.at_rest.next.is_some()
            || self.random.share() < self.setup.passes
    }

    /// A pass that was begun is carried on.
    fn look_again(&mut self) {
        let tries = self.retry.map_or(0, |(_, tries)| tries);
        let is_unfinished = self.at_rest.next.is_some();
        self.retry = (is_unfinished && tries < MAX_TRIES).then_some((self.now + PAUSE, tries + 1));
    }

    /// The timer is late at times.
    fn schedule_look(&mut self) {
        let period = SECOND / self.setup.rate;
        let late = if self.random.share() < 0.05 {
            self.random.exponential(0.5 * period)
        } else {
            0.0
        };
        self.next_look = self.next_look.max(self.now) + (period + late) as u64;
    }

    fn look(&mut self) {
        self.account.tick();
        if self.running.is_some() {
            self.send_slice(false, SliceStatus::Running);
        } else {
            self.slice(false, u64::MAX);
        }
    }

    fn origin(&self, in_context: bool) -> Origin {
        let walk = if in_context {
            &self.in_context
        } else {
            &self.at_rest
        };
        Origin {
            event_loop: LoopId { tid: 7, slot: 0 },
            pid: 1,
            in_context,
            time: self.now,
            runtime: self.runtime,
            pass: walk.pass,
        }
    }

    fn send_slice(&mut self, in_context: bool, status: SliceStatus) {
        let origin = self.origin(in_context);
        self.account.slice(&origin, status);
    }

    /// One slice of a walk, which has `time` ns.
    fn slice(&mut self, in_context: bool, time: u64) {
        let switches = self.switches;
        let walk = if in_context {
            &mut self.in_context
        } else {
            &mut self.at_rest
        };
        if walk.next.is_none() {
            walk.pass += 1;
            walk.switches = switches;
            walk.is_whole = true;
        } else if walk.switches != switches || in_context {
            walk.is_whole = false;
        }
        walk.complete_is_whole = false;
        let first = walk.next.unwrap_or(0);
        let budget = if in_context {
            self.setup.slice.1
        } else {
            self.setup.slice.0
        };
        let undisturbed = usize::try_from(time / NANOSECONDS_PER_TASK).unwrap_or(usize::MAX);
        let origin = self.origin(in_context);
        if self.running.is_some() && !in_context && self.setup.tells_waits {
            self.account.waits(origin.event_loop, self.waited);
        }
        if self.running.is_some() {
            self.account.announce(&origin, chain(Point::Running));
        }
        let (mut status, mut next) = (SliceStatus::PassComplete, None);
        for (visited, (&place, &task)) in self.registry.range(first..).enumerate() {
            if visited >= budget.min(undisturbed) {
                status = if visited >= undisturbed {
                    SliceStatus::Disturbed
                } else {
                    SliceStatus::Budget
                };
                next = Some(place);
                break;
            }
            let is_running = self.running == Some(task);
            let id = TaskId {
                address: Address(self.tasks[task].address),
                coroutine: Address(task as u64),
                name: Address(0),
            };
            self.account
                .met(&origin, id, is_running, chain(self.tasks[task].point));
        }
        let walk = if in_context {
            &mut self.in_context
        } else {
            &mut self.at_rest
        };
        walk.next = next;
        if status == SliceStatus::PassComplete {
            walk.complete_is_whole = walk.is_whole;
        }
        self.send_slice(in_context, status);
    }
}

fn chain(point: Point) -> ChainId {
    ChainId::numbered(point as u32)
}
