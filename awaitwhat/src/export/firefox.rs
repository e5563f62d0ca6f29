//! What tasks did, as the Firefox Profiler reads it: gzip of its processed profile, version 70 (`src/types/profile.ts` of firefox-devtools/profiler).
//!
//! Tasks that begin with the same function are one track, which is a thread of the format; so is each event loop, with what samples found to run. A stay in a
//! chain is a sample with its milliseconds as its weight, and one that waits is a marker, too. The innermost frame of a stack is what ends the chain, as in folded
//! stacks. Times are milliseconds since the first look.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use self::tables::Tables;
use super::json;
use super::stay_text::{StayText, of_chains};
use super::tracks::{Track, tracks};
use crate::profile::{Profile, Stay, Timeline};
use crate::view::escape::{Escaped, named};
use crate::view::losses::{Counted, describe};

mod tables;
#[cfg(test)]
mod tests;

/// Versions of the format, and of the one that it is made from in Firefox.
const VERSION: u32 = 70;
const GECKO_VERSION: u32 = 36;

const PRECISION: &str = "A wait begins with the look that found the task so, and ends with the look that found it otherwise, or gone: each end is known to the \
    time since the look before. What a task did between two looks is not known.";

/// Writes what the tasks of each process did. Chains have at most `max_frames` frames.
///
/// # Errors
/// When `output` fails.
pub fn write(profiles: &[Profile], max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    let mut writer = GzEncoder::new(output, Compression::default());
    json::write_line(&document(profiles, max_frames), &mut writer)?;
    writer.finish()?;
    Ok(())
}

fn document(profiles: &[Profile], max_frames: usize) -> Value {
    let timelines = || profiles.iter().filter_map(|it| it.timeline.as_ref());
    let origin = timelines().map(|it| it.began).min().unwrap_or(0);
    let mut tables = Tables::default();
    let mut threads = Vec::new();
    for (number, profile) in profiles.iter().enumerate() {
        if let Some(timeline) = &profile.timeline {
            let process = Process::of(profile, number, origin);
            process.threads(timeline, &mut tables, &mut threads);
        }
    }
    json!({
        "meta": meta(profiles, max_frames),
        "libs": [],
        "shared": tables.into_json(),
        "threads": threads,
    })
}

fn meta(profiles: &[Profile], max_frames: usize) -> Value {
    let started_at = profiles.iter().map(|it| it.started_at).min();
    let samples: u64 = profiles.iter().map(|it| it.samples).sum();
    let seconds: f64 = profiles.iter().map(|it| it.duration_seconds).sum();
    // What tells for how long a sample stands where nothing else does: the mean time between two.
    let interval = 1000.0 * seconds / (samples.max(1) as f64);
    let not_shown: Vec<Value> = profiles
        .iter()
        .flat_map(|profile| not_shown(profile, max_frames))
        .map(|text| json!({ "label": "Not shown", "format": "string", "value": text }))
        .collect();
    let mut entries = vec![json!({ "label": "Precision", "format": "string", "value": PRECISION })];
    entries.extend(not_shown);
    json!({
        "interval": interval.clamp(0.1, 1000.0),
        "startTime": started_at.map_or(0.0, |it| it.as_nanosecond() as f64 / 1e6),
        "processType": 0,
        "categories": tables::categories(),
        "product": "asyncio tasks",
        "stackwalk": 1,
        "version": GECKO_VERSION,
        "preprocessedProfileVersion": VERSION,
        "symbolicated": true,
        "symbolicationNotSupported": true,
        "sourceCodeIsNotOnSearchfox": true,
        "importedFrom": concat!("awaitwhat ", env!("CARGO_PKG_VERSION")),
        "markerSchema": [wait_schema()],
        "extra": [{ "label": "awaitwhat", "entries": entries }],
    })
}

/// What of a process is not shown, in words.
fn not_shown(profile: &Profile, max_frames: usize) -> Vec<String> {
    let losses = describe(&profile.losses, Counted::Visits, profile.task_visits, max_frames);
    let timeline = profile.timeline.as_ref();
    let cut = timeline
        .and_then(|it| it.cut)
        .map(|cut| format!("{} changes, as there was no room for more", cut.left_out));
    losses.into_iter().chain(cut).collect()
}

/// How markers of waits are shown.
fn wait_schema() -> Value {
    let field =
        |key: &str, label: &str, format: &str| json!({ "key": key, "label": label, "format": format });
    json!({
        "name": "Wait",
        "tooltipLabel": "{marker.name}",
        "tableLabel": "{marker.data.task}",
        "chartLabel": "{marker.name}",
        "display": ["marker-chart", "marker-table"],
        "fields": [
            field("task", "Task", "string"),
            field("place", "Await point", "string"),
            field("chain", "Chain", "string"),
            field("looks", "Looks", "integer"),
            field("unsureBegin", "Begin is known to", "duration"),
            field("unsureEnd", "End is known to", "duration"),
        ],
    })
}

/// What threads of one process have in common.
struct Process {
    /// The process id; of a process that became another program the second one has another.
    pid: String,
    name: String,
    origin: u64,
}

impl Process {
    fn of(profile: &Profile, number: usize, origin: u64) -> Self {
        let process = profile.processes.first();
        let pid = process.map_or(0, |it| it.pid);
        let name = process.map_or_else(String::new, |it| Escaped(&it.command).to_string());
        Self {
            pid: format!("{pid}.{number}"),
            name: format!("{name} (pid {pid})"),
            origin,
        }
    }

    fn threads(&self, timeline: &Timeline, tables: &mut Tables, threads: &mut Vec<Value>) {
        let texts = of_chains(timeline);
        let stacks: Vec<usize> = timeline
            .chains
            .iter()
            .zip(&texts)
            .map(|(seen, text)| tables.stack(seen, text))
            .collect();
        self.loops(timeline, &stacks, threads);
        let tracks = tracks(timeline);
        for alike in
            tracks.chunk_by(|one, other| (one.event_loop, &one.root) == (other.event_loop, &other.root))
        {
            let thread = self.tasks(alike, &stacks, &texts, tables);
            threads.extend(thread);
        }
    }

    /// What was found to run in each loop's thread.
    fn loops(&self, timeline: &Timeline, stacks: &[usize], threads: &mut Vec<Value>) {
        let mut ids: Vec<u32> = timeline.tasks.iter().map(|(it, _)| it.tid).collect();
        ids.extend(timeline.ran.iter().map(|(it, ..)| it.tid));
        ids.sort_unstable();
        ids.dedup();
        for tid in ids {
            let ran = timeline.ran.iter().filter(|(it, ..)| it.tid == tid);
            let mut samples: Vec<(u64, usize)> = ran
                .filter_map(|(_, at, place)| Some((*at, *stacks.get(*place)?)))
                .collect();
            samples.sort_unstable();
            let count = samples.len();
            let samples = json!({
                "stack": samples.iter().map(|(_, stack)| *stack).collect::<Vec<_>>(),
                "time": samples.iter().map(|(at, _)| self.since(*at)).collect::<Vec<_>>(),
                "weight": null,
                "weightType": "samples",
                "length": count,
            });
            let name = format!("event loop (thread {tid})");
            threads.push(self.thread(&name, &json!(tid), true, samples, markers(Vec::new())));
        }
    }

    /// The tasks that begin with one function.
    fn tasks(
        &self,
        tracks: &[Track<'_>],
        stacks: &[usize],
        texts: &[StayText],
        tables: &mut Tables,
    ) -> Option<Value> {
        let first = tracks.first()?;
        let tasks = || tracks.iter().flat_map(|track| &track.tasks);
        let mut stays: Vec<(&Stay, String)> = tasks()
            .flat_map(|shown| {
                let task = shown.task.address.to_string();
                shown.stays.iter().map(move |stay| (*stay, task.clone()))
            })
            .collect();
        stays.sort_by_key(|(stay, _)| (stay.begin, stay.end, stay.task));
        let known: Vec<(&Stay, usize)> = stays
            .iter()
            .filter_map(|(stay, _)| Some((*stay, *stacks.get(stay.chain)?)))
            .collect();
        let samples = json!({
            "stack": known.iter().map(|(_, stack)| *stack).collect::<Vec<_>>(),
            "time": known.iter().map(|(stay, _)| self.since(stay.begin)).collect::<Vec<_>>(),
            "weight": known.iter().map(|(stay, _)| millis(stay.end.saturating_sub(stay.begin))).collect::<Vec<_>>(),
            "weightType": "tracing-ms",
            "length": known.len(),
        });
        let waits = stays.iter().filter_map(|(stay, task)| {
            let text = texts.get(stay.chain).filter(|it| it.state == "waiting")?;
            Some(self.wait(stay, task, text, tables))
        });
        let markers = markers(waits.collect());
        let root = Escaped(named(&first.root)).to_string();
        let tid = json!(format!(
            "{}.{} {root}",
            first.event_loop.tid, first.event_loop.slot
        ));
        Some(self.thread(&root, &tid, false, samples, markers))
    }

    fn wait(&self, stay: &Stay, task: &str, text: &StayText, tables: &mut Tables) -> Marker {
        let mut data = json!({
            "type": "Wait",
            "task": task,
            "place": text.place,
            "chain": text.chain,
            "looks": stay.looks,
            "unsureEnd": millis(stay.end.saturating_sub(stay.seen)),
        });
        if let (Some(before), Some(fields)) = (stay.before, data.as_object_mut()) {
            let unsure = millis(stay.begin.saturating_sub(before));
            fields.insert("unsureBegin".to_owned(), json!(unsure));
        }
        Marker {
            name: tables.text(&text.name),
            begin: self.since(stay.begin),
            end: self.since(stay.end),
            data,
        }
    }

    fn thread(&self, name: &str, tid: &Value, is_main: bool, samples: Value, markers: Value) -> Value {
        json!({
            "processType": "default",
            "processStartupTime": 0,
            "processShutdownTime": null,
            "registerTime": 0,
            "unregisterTime": null,
            "pausedRanges": [],
            "name": name,
            "isMainThread": is_main,
            "processName": self.name,
            "pid": self.pid,
            "tid": tid,
            "showMarkersInTimeline": true,
            "samples": samples,
            "markers": markers,
        })
    }

    fn since(&self, moment: u64) -> f64 {
        millis(moment.saturating_sub(self.origin))
    }
}

struct Marker {
    name: usize,
    begin: f64,
    end: f64,
    data: Value,
}

/// Markers, as columns. All are intervals.
fn markers(markers: Vec<Marker>) -> Value {
    const INTERVAL: u8 = 1;
    let length = markers.len();
    json!({
        "name": markers.iter().map(|it| it.name).collect::<Vec<_>>(),
        "startTime": markers.iter().map(|it| it.begin).collect::<Vec<_>>(),
        "endTime": markers.iter().map(|it| it.end).collect::<Vec<_>>(),
        "phase": vec![INTERVAL; length],
        "category": vec![tables::WAITING; length],
        "data": markers.into_iter().map(|it| it.data).collect::<Vec<_>>(),
        "length": length,
    })
}

/// Nanoseconds in milliseconds.
fn millis(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}
