//! What tasks did as a timeline in the JSON trace event format, which ui.perfetto.dev and chrome://tracing read.
//!
//! A process of the file is one that was traced. In it, each task has a track, which is a thread of the format: a slice for the task, and in it one for each
//! stay in a chain. Times are microseconds since the first look. What a sample found to run is a mark on the track of the loop's thread. No arrows are
//! drawn: who woke whom is not observed.

use std::collections::HashSet;
use std::io::{self, Write};

use awaitwhat_common::plan::LoopId;
use serde::Serialize;
use serde_json::{Value, json};

use super::json;
use super::stay_text::{StayText, of_chains};
use super::tracks::{Shown, Track, tracks};
use crate::profile::{Profile, Stay, Timeline};
use crate::view::escape::{Escaped, named};
use crate::view::losses::{Counted, describe};

/// Ids of tracks begin behind those that threads and processes can have (`PID_MAX_LIMIT` of Linux).
const FIRST_ID: u32 = 1 << 22;

const PRECISION: &str = "A slice begins with the look that found the task so, and ends with the look that found it otherwise, or gone. begin_uncertain_us and \
    end_uncertain_us are the time since the look before: the change was at some moment of that. What a task did between two looks is not known.";
const WAKE_UPS: &str = "Not observed, so none are drawn.";

#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    ph: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    pid: u32,
    tid: u32,
    /// What a mark is about: a thread, a process.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    args: Value,
}

/// Writes what the tasks of each process did, one event in each line. Chains have at most `max_frames` frames.
///
/// # Errors
/// When `output` fails.
pub fn write(profiles: &[Profile], max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    let timelines = || profiles.iter().filter_map(|it| it.timeline.as_ref());
    let origin = timelines().map(|it| it.began).min().unwrap_or(0);
    output.write_all(b"{\"traceEvents\":[")?;
    let mut events = Events {
        output,
        origin,
        next_id: FIRST_ID,
        is_first: true,
    };
    let mut pids = HashSet::new();
    for profile in profiles {
        if let Some(timeline) = &profile.timeline {
            let own = profile.processes.first().map(|it| it.pid);
            // A process that became another program is two.
            let pid = match own.filter(|pid| pids.insert(*pid)) {
                Some(pid) => pid,
                None => events.take_id(),
            };
            events.process(profile, timeline, pid, max_frames)?;
        }
    }
    output.write_all(b"\n],\"displayTimeUnit\":\"ms\",\"otherData\":")?;
    let left_out: u64 = timelines().filter_map(|it| it.cut).map(|cut| cut.left_out).sum();
    let other = json!({
        "exporter": concat!("awaitwhat ", env!("CARGO_PKG_VERSION")),
        "started_at": profiles.iter().map(|it| it.started_at).min().map(|it| it.to_string()),
        "precision": PRECISION,
        "wake_ups": WAKE_UPS,
        "changes_left_out": left_out,
        "not_shown": profiles.iter().map(|it| not_shown(it, max_frames)).collect::<Vec<_>>(),
    });
    json::write(&other, output)?;
    output.write_all(b"}\n")
}

/// What of a process is not shown, in words.
fn not_shown(profile: &Profile, max_frames: usize) -> Vec<String> {
    let losses = describe(&profile.losses, Counted::Visits, profile.task_visits, max_frames);
    let timeline = profile.timeline.as_ref();
    let cut = timeline.and_then(|it| Some((it.began, it.cut?)));
    let cut = cut.map(|(began, cut)| {
        let seconds = cut.at.saturating_sub(began) as f64 / 1e9;
        format!(
            "{} changes that came after {seconds:.3} s, as there was no room for more",
            cut.left_out
        )
    });
    losses.into_iter().chain(cut).collect()
}

struct Events<'a, W> {
    output: &'a mut W,
    /// The moment that times are counted from.
    origin: u64,
    next_id: u32,
    is_first: bool,
}

impl<W: Write> Events<'_, W> {
    fn process(
        &mut self,
        profile: &Profile,
        timeline: &Timeline,
        pid: u32,
        max_frames: usize,
    ) -> io::Result<()> {
        let process = profile.processes.first();
        let name = process.map(|it| format!("{} (pid {})", Escaped(&it.command), it.pid));
        self.describe("process_name", (pid, 0), "name", &json!(name))?;
        let lost = not_shown(profile, max_frames);
        if !lost.is_empty() {
            let label = format!("not shown: {}", lost.join("; "));
            self.describe("process_labels", (pid, 0), "labels", &json!(label))?;
        }
        let texts = of_chains(timeline);
        self.loops(timeline, &texts, pid)?;
        for track in tracks(timeline) {
            self.track(&track, &texts, pid)?;
        }
        self.marks(timeline, pid)
    }

    /// What was found to run in the loops' threads.
    fn loops(&mut self, timeline: &Timeline, texts: &[StayText], pid: u32) -> io::Result<()> {
        let mut threads: Vec<u32> = timeline.tasks.iter().map(|(it, _)| it.tid).collect();
        threads.extend(timeline.ran.iter().map(|(LoopId { tid, .. }, ..)| tid));
        threads.sort_unstable();
        threads.dedup();
        for tid in threads {
            let name = format!("event loop (thread {tid})");
            self.describe("thread_name", (pid, tid), "name", &json!(name))?;
            self.describe("thread_sort_index", (pid, tid), "sort_index", &json!(0))?;
        }
        for (LoopId { tid, .. }, at, place) in &timeline.ran {
            let Some(text) = texts.get(*place) else { continue };
            self.event(&Event {
                name: &text.place,
                cat: Some("sample"),
                ph: "i",
                ts: Some(self.since(*at)),
                dur: None,
                pid,
                tid: *tid,
                s: Some("t"),
                args: json!({ "chain": text.chain }),
            })?;
        }
        Ok(())
    }

    fn track(&mut self, track: &Track<'_>, texts: &[StayText], pid: u32) -> io::Result<()> {
        let tid = self.take_id();
        let root = Escaped(named(&track.root)).to_string();
        let name = format!("{root} {}", track.number);
        self.describe("thread_name", (pid, tid), "name", &json!(name))?;
        self.describe(
            "thread_sort_index",
            (pid, tid),
            "sort_index",
            &json!(tid - FIRST_ID),
        )?;
        for shown in &track.tasks {
            let name = format!("{root} {}", shown.task.address);
            self.event(&Event {
                name: &name,
                cat: Some("task"),
                ph: "X",
                ts: Some(self.since(shown.begin)),
                dur: Some(micros(shown.end - shown.begin)),
                pid,
                tid,
                s: None,
                args: json!({
                    "task": shown.task.address.to_string(),
                    "event_loop_thread": track.event_loop.tid,
                }),
            })?;
            self.stays(shown, texts, (pid, tid))?;
        }
        Ok(())
    }

    fn stays(&mut self, shown: &Shown<'_>, texts: &[StayText], (pid, tid): (u32, u32)) -> io::Result<()> {
        for stay in &shown.stays {
            let Some(text) = texts.get(stay.chain) else {
                continue;
            };
            self.event(&Event {
                name: &text.name,
                cat: Some(text.state),
                ph: "X",
                ts: Some(self.since(stay.begin)),
                dur: Some(micros(stay.end.saturating_sub(stay.begin))),
                pid,
                tid,
                s: None,
                args: args(stay, text),
            })?;
        }
        Ok(())
    }

    /// What is about the whole process.
    fn marks(&mut self, timeline: &Timeline, pid: u32) -> io::Result<()> {
        let cut = timeline.cut.map(|cut| {
            let name = format!(
                "Nothing is drawn from here on: {} changes are left out",
                cut.left_out
            );
            (cut.at, name, json!({ "changes_left_out": cut.left_out }))
        });
        let held = timeline.held.iter().map(|(at, hold)| {
            let frame = &hold.place.frame;
            let place = format!("{} ({}:{})", named(&frame.function), frame.file, frame.line);
            let name = format!("event loop held {:.3} s by {}", hold.seconds, Escaped(&place));
            let args = json!({
                "seconds": hold.seconds,
                "ready_task_seconds": hold.ready_seconds,
                "told": "when the turn was over, to a look's precision",
            });
            (*at, name, args)
        });
        for (at, name, args) in held.chain(cut) {
            self.event(&Event {
                name: &name,
                cat: Some("awaitwhat"),
                ph: "i",
                ts: Some(self.since(at)),
                dur: None,
                pid,
                tid: 0,
                s: Some("p"),
                args,
            })?;
        }
        Ok(())
    }

    /// Says something of a process or thread.
    fn describe(
        &mut self,
        name: &str,
        (pid, tid): (u32, u32),
        key: &'static str,
        value: &Value,
    ) -> io::Result<()> {
        self.event(&Event {
            name,
            cat: None,
            ph: "M",
            ts: None,
            dur: None,
            pid,
            tid,
            s: None,
            args: json!({ key: value }),
        })
    }

    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let separator: &[u8] = if self.is_first { b"\n" } else { b",\n" };
        self.is_first = false;
        self.output.write_all(separator)?;
        json::write(event, self.output)
    }

    fn since(&self, moment: u64) -> f64 {
        micros(moment.saturating_sub(self.origin))
    }

    /// An id that no thread has, nor anything else of the file.
    fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        id
    }
}

fn args(stay: &Stay, text: &StayText) -> Value {
    let mut args = json!({
        "await_point": text.place,
        "chain": text.chain,
        "looks": stay.looks,
        "end_uncertain_us": micros(stay.end.saturating_sub(stay.seen)),
    });
    if let Some(fields) = args.as_object_mut() {
        if let Some(before) = stay.before {
            let uncertain = micros(stay.begin.saturating_sub(before));
            fields.insert("begin_uncertain_us".to_owned(), json!(uncertain));
        }
        if !text.waited_for.is_empty() {
            fields.insert("tasks_here_waited_for".to_owned(), json!(text.waited_for));
        }
    }
    args
}

/// Nanoseconds in microseconds.
fn micros(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

#[cfg(test)]
pub(super) mod tests;
