//! The program's JSON, as its readers have to rely on it; the targets report their truth in the same form.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// `awaitwhat.snapshot/1`.
#[derive(Clone, Debug, Deserialize)]
pub struct Snapshot {
    pub schema: String,
    pub pid: u32,
    pub python: String,
    pub captured_at: String,
    pub tasks: Vec<Task>,
    pub loops: Vec<LoopState>,
    pub findings: Vec<Finding>,
    pub lost: BTreeMap<String, Value>,
}

/// What is to be known besides. Only an event loop that does not turn (`blocked-loop`) has all of this.
#[derive(Clone, Debug, Deserialize)]
pub struct Finding {
    pub id: String,
    pub text: String,
    #[serde(default)]
    pub tid: u32,
    #[serde(default)]
    pub seconds: f64,
    #[serde(default)]
    pub holder: Holder,
    #[serde(default)]
    pub ready: usize,
    #[serde(default)]
    pub overdue_timers: Option<u64>,
    /// How many tasks it is about.
    #[serde(default)]
    pub count: u64,
}

/// An event loop, as it was before its tasks were read.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct LoopState {
    pub tid: u32,
    pub turn_seconds: Option<f64>,
    pub cpu_seconds: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Holder {
    pub kind: String,
    pub task: Option<String>,
    pub name: Option<String>,
    /// Innermost first.
    pub stack: Vec<Frame>,
    pub seconds: f64,
}

/// A task of a snapshot, or of a target's truth.
#[derive(Clone, Debug, Deserialize)]
pub struct Task {
    pub id: String,
    pub name: Option<String>,
    pub tid: Option<u32>,
    pub state: String,
    /// Innermost first.
    pub stack: Vec<Frame>,
    pub waits_on: Option<WaitsOn>,
    pub awaited_by: Vec<String>,
    /// In a truth only: tasks that wait for this one through objects that need not be looked into.
    #[serde(default)]
    pub optional_awaited_by: Vec<String>,
    /// In a truth always false: a truth is never cut short.
    #[serde(default)]
    pub truncated: bool,
    /// In a truth only said of a task that was cancelled, and goes on.
    #[serde(default)]
    pub cancelling: u32,
    /// What only a task of trio has.
    #[serde(default)]
    pub trio: Option<Trio>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Trio {
    pub state: String,
    pub parent_nursery: Option<String>,
    /// Outermost first.
    pub nurseries: Vec<Nursery>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Nursery {
    pub id: String,
    pub tasks: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    pub function: String,
    pub file: String,
    pub line: u32,
    /// Absent in a profile.
    #[serde(default)]
    pub kind: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct WaitsOn {
    pub kind: String,
    pub id: String,
    /// Name of the object's type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// How far the future has come; none of what is no future.
    #[serde(default)]
    pub state: Option<String>,
}

/// `awaitwhat.snapshots/1` and `awaitwhat.profiles/1`, without `--merge`.
#[derive(Clone, Debug, Deserialize)]
pub struct Survey<T> {
    pub schema: String,
    pub targets: Vec<T>,
    pub refused: Vec<Refused>,
}

/// A process that could not be looked at.
#[derive(Clone, Debug, Deserialize)]
pub struct Refused {
    pub pid: u32,
    pub command: String,
    pub reason: String,
}

/// `awaitwhat.profile/1`.
#[derive(Clone, Debug, Deserialize)]
pub struct Profile {
    pub schema: String,
    pub pid: u32,
    pub python: String,
    pub started_at: jiff::Timestamp,
    pub duration_seconds: f64,
    pub samples: u64,
    pub task_visits: u64,
    pub mean_tasks: f64,
    /// Event-loop threads seen.
    pub threads: usize,
    /// Share of the time that the loops' threads were on a CPU.
    pub busy_share: f64,
    pub target_exited: bool,
    pub chains: Vec<Chain>,
    pub await_points: Vec<AwaitPoint>,
    pub blocked: Vec<Blocked>,
    pub lost: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Chain {
    /// Innermost first.
    pub frames: Vec<Frame>,
    pub state: String,
    /// The type of what ends it, or what it is parked in.
    pub terminal: Option<String>,
    /// What was waited for, where that is known.
    pub resource: Option<Resource>,
    /// How many answers of equal weight that stands on.
    pub answers: f64,
    pub task_seconds: f64,
}

/// What tasks of a chain waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Resource {
    pub kind: String,
    pub label: Option<String>,
    pub local: Option<String>,
    pub peer: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AwaitPoint {
    pub function: String,
    pub file: String,
    pub line: u32,
    pub awaits: String,
    /// Without the time in which tasks were ready there.
    pub task_seconds: f64,
    pub ready_seconds: f64,
    pub share: f64,
    pub waits: WaitTimes,
}

/// How long the waits at an await point took.
#[derive(Clone, Debug, Deserialize)]
pub struct WaitTimes {
    pub whole: u64,
    pub p50_seconds: Option<f64>,
    pub p90_seconds: Option<f64>,
    pub p99_seconds: Option<f64>,
    pub max_seconds: Option<f64>,
    pub precision_seconds: Option<f64>,
    pub in_part: u64,
    pub longest_in_part_seconds: Option<f64>,
    pub returns: u64,
}

impl AwaitPoint {
    /// From when tasks begin to await until they go on: what a task can tell of itself.
    pub fn suspended_seconds(&self) -> f64 {
        self.task_seconds + self.ready_seconds
    }
}

/// Where an event loop was at work in turns that lasted long.
#[derive(Clone, Debug, Deserialize)]
pub struct Blocked {
    pub kind: String,
    pub root: String,
    pub function: String,
    pub line: u32,
    pub seconds: f64,
    pub turns: u64,
    pub longest_seconds: f64,
    pub ready_seconds: f64,
}
