//! A profile as JSON: `awaitwhat.profile/1`, described by `schemas/awaitwhat.profile-1.schema.json`.

use std::io::{self, Write};
use std::sync::Arc;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::json::write_line;
use super::resource_json::ResourceDocument;
use super::snapshot_json::{Each, FrameDocument, Shown};
use crate::profile::{Chain, Hold, Point, Profile, WaitTimes, WholeWaits, await_points, ratio};
use crate::resource::Resource;

/// Value of the key `schema`.
pub const SCHEMA: &str = "awaitwhat.profile/1";

/// Writes `profile` as one line of JSON.
///
/// # Errors
/// When `output` fails.
pub fn write(profile: &Profile, output: &mut impl Write) -> io::Result<()> {
    write_line(&ProfileDocument(profile), output)
}

/// The profile of one process, as the document that it is written as.
pub(super) struct ProfileDocument<'a>(pub(super) &'a Profile);

impl Serialize for ProfileDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let profile = self.0;
        let mut document = serializer.serialize_struct("Profile", 4 + FIELDS)?;
        document.serialize_field("schema", SCHEMA)?;
        for process in &profile.processes {
            document.serialize_field("pid", &process.pid)?;
            document.serialize_field("command", &process.command)?;
            document.serialize_field("python", &process.python)?;
        }
        serialize_fields(profile, &mut document)?;
        document.end()
    }
}

/// The profile of several processes as one.
pub(super) struct MergedDocument<'a>(pub(super) &'a Profile);

impl Serialize for MergedDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Merged", 1 + FIELDS)?;
        document.serialize_field("processes", &self.0.processes)?;
        serialize_fields(self.0, &mut document)?;
        document.end()
    }
}

/// How many fields [`serialize_fields`] writes.
const FIELDS: usize = 13;

/// What is the same for one process and for several.
fn serialize_fields<S: SerializeStruct>(profile: &Profile, document: &mut S) -> Result<(), S::Error> {
    let points = await_points(profile);
    let point = |point| PointDocument {
        point,
        duration_seconds: profile.duration_seconds,
    };
    document.serialize_field("started_at", &Shown(profile.started_at))?;
    document.serialize_field("duration_seconds", &profile.duration_seconds)?;
    document.serialize_field("samples", &profile.samples)?;
    document.serialize_field("task_visits", &profile.task_visits)?;
    document.serialize_field("mean_tasks", &profile.mean_tasks())?;
    document.serialize_field("threads", &profile.threads)?;
    document.serialize_field("busy_seconds", &profile.busy_seconds)?;
    document.serialize_field("busy_share", &profile.busy_share())?;
    document.serialize_field("target_exited", &profile.target_exited)?;
    document.serialize_field("chains", &Each(&profile.chains, ChainDocument))?;
    document.serialize_field("await_points", &Each(&points, point))?;
    document.serialize_field("blocked", &Each(&profile.holds, HoldDocument))?;
    document.serialize_field("lost", &profile.losses)
}

struct ChainDocument<'a>(&'a Chain);

impl Serialize for ChainDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let chain = self.0;
        let mut document = serializer.serialize_struct("Chain", 6)?;
        document.serialize_field("frames", &Each(&chain.stack, FrameDocument))?;
        document.serialize_field("state", &chain.state)?;
        document.serialize_field("terminal", &chain.terminal)?;
        document.serialize_field("resource", &chain.resource.as_deref().map(ResourceDocument))?;
        document.serialize_field("answers", &chain.answers)?;
        document.serialize_field("task_seconds", &chain.task_seconds)?;
        document.end()
    }
}

struct PointDocument<'a> {
    point: &'a Point,
    duration_seconds: f64,
}

impl Serialize for PointDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let point = self.point;
        let mut document = serializer.serialize_struct("Point", 10)?;
        document.serialize_field("function", &point.function)?;
        document.serialize_field("file", &point.file)?;
        document.serialize_field("line", &point.line)?;
        document.serialize_field("awaits", &point.awaits)?;
        document.serialize_field("task_seconds", &point.task_seconds)?;
        document.serialize_field("ready_seconds", &point.ready_seconds)?;
        document.serialize_field("share", &point.share)?;
        document.serialize_field("mean_tasks", &ratio(point.task_seconds, self.duration_seconds))?;
        document.serialize_field("resources", &Each(&point.resources, PartDocument))?;
        document.serialize_field("waits", &WaitsDocument(&point.waits))?;
        document.end()
    }
}

/// How long the waits at a point took.
pub(super) struct WaitsDocument<'a>(pub(super) &'a WaitTimes);

impl Serialize for WaitsDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(waits) = self;
        let of = |value: fn(&WholeWaits) -> f64| waits.whole.as_ref().map(value);
        let mut document = serializer.serialize_struct("Waits", 9)?;
        document.serialize_field("whole", &waits.whole.map_or(0, |whole| whole.count))?;
        document.serialize_field("p50_seconds", &of(|whole| whole.p50))?;
        document.serialize_field("p90_seconds", &of(|whole| whole.p90))?;
        document.serialize_field("p99_seconds", &of(|whole| whole.p99))?;
        document.serialize_field("max_seconds", &of(|whole| whole.longest))?;
        document.serialize_field("precision_seconds", &of(|whole| whole.precision))?;
        document.serialize_field("in_part", &waits.in_part)?;
        let longest = (waits.in_part > 0).then_some(waits.longest_in_part);
        document.serialize_field("longest_in_part_seconds", &longest)?;
        document.serialize_field("returns", &waits.returns)?;
        document.end()
    }
}

/// What was waited for at a point, and for how long.
struct PartDocument<'a>(&'a (Arc<Resource>, f64));

impl Serialize for PartDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (resource, task_seconds) = self.0;
        let mut document = serializer.serialize_struct("Part", 2)?;
        document.serialize_field("resource", &ResourceDocument(resource))?;
        document.serialize_field("task_seconds", task_seconds)?;
        document.end()
    }
}

struct HoldDocument<'a>(&'a Hold);

impl Serialize for HoldDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hold = self.0;
        let place = &hold.place;
        let mut document = serializer.serialize_struct("Hold", 9)?;
        document.serialize_field("kind", if place.is_task { "task" } else { "callback" })?;
        document.serialize_field("root", &place.root)?;
        document.serialize_field("function", &place.frame.function)?;
        document.serialize_field("file", &place.frame.file)?;
        document.serialize_field("line", &place.frame.line)?;
        document.serialize_field("seconds", &hold.seconds)?;
        document.serialize_field("turns", &hold.turns)?;
        document.serialize_field("longest_seconds", &hold.longest_seconds)?;
        document.serialize_field("ready_seconds", &hold.ready_seconds)?;
        document.end()
    }
}

#[cfg(test)]
mod tests {
    use crate::profile::Profile;
    use crate::testing::{HOSTILE, chain, frame, profile, small_profile};

    fn written(profile: &Profile) -> String {
        let mut output = Vec::new();
        super::write(profile, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_profile() {
        let one_item_a_line = written(&small_profile())
            .replace(",{\"fun", "\n{\"fun")
            .replace("{\"frames", "\n{\"frames");
        insta::assert_snapshot!(one_item_a_line, @r#"
        {"schema":"awaitwhat.profile/1","pid":4711,"command":"python3","python":"3.14.10","started_at":"2026-01-02T03:04:05.678901234Z","duration_seconds":10.0,"samples":990,"task_visits":9900,"mean_tasks":9.975,"threads":1,"busy_seconds":0.5,"busy_share":0.05,"target_exited":false,"chains":[
        {"frames":[{"function":"sleep","file":"/usr/lib/python3.14/asyncio/tasks.py","line":704,"kind":"coroutine","rank":"standard_library"}
        {"function":"Pool.worker","file":"/srv/app.py","line":20,"kind":"coroutine","rank":"application"}],"state":"waiting","terminal":"Future","resource":null,"answers":0.0,"task_seconds":60.0},
        {"frames":[{"function":"Lock.acquire","file":"/usr/lib/python3.14/asyncio/locks.py","line":113,"kind":"coroutine","rank":"standard_library"}
        {"function":"Pool.worker","file":"/srv/app.py","line":22,"kind":"coroutine","rank":"application"}],"state":"waiting","terminal":"Future","resource":null,"answers":0.0,"task_seconds":29.0},
        {"frames":[{"function":"main","file":"/srv/app.py","line":61,"kind":"coroutine","rank":"application"}],"state":"waiting","terminal":"_GatheringFuture","resource":null,"answers":0.0,"task_seconds":10.0},
        {"frames":[{"function":"rare","file":"/srv/app.py","line":99,"kind":"coroutine","rank":"application"}],"state":"waiting","terminal":"Future","resource":null,"answers":0.0,"task_seconds":0.25},
        {"frames":[{"function":"crunch","file":"/srv/app.py","line":7,"kind":"coroutine","rank":"application"}
        {"function":"Pool.worker","file":"/srv/app.py","line":25,"kind":"coroutine","rank":"application"}],"state":"running","terminal":null,"resource":null,"answers":0.0,"task_seconds":0.5}],"await_points":[{"function":"Pool.worker","file":"/srv/app.py","line":20,"awaits":"sleep","task_seconds":60.0,"ready_seconds":0.0,"share":0.6045340050377834,"mean_tasks":6.0,"resources":[],"waits":{"whole":100,"p50_seconds":0.6032,"p90_seconds":0.608,"p99_seconds":0.6096,"max_seconds":0.6096,"precision_seconds":0.00965,"in_part":2,"longest_in_part_seconds":0.3,"returns":0}}
        {"function":"Pool.worker","file":"/srv/app.py","line":22,"awaits":"Lock.acquire","task_seconds":29.0,"ready_seconds":0.0,"share":0.29219143576826195,"mean_tasks":2.9,"resources":[],"waits":{"whole":3,"p50_seconds":0.01,"p90_seconds":27.9552,"p99_seconds":27.9552,"max_seconds":27.9552,"precision_seconds":0.01,"in_part":0,"longest_in_part_seconds":null,"returns":0}}
        {"function":"main","file":"/srv/app.py","line":61,"awaits":"_GatheringFuture","task_seconds":10.0,"ready_seconds":0.0,"share":0.10075566750629723,"mean_tasks":1.0,"resources":[],"waits":{"whole":0,"p50_seconds":null,"p90_seconds":null,"p99_seconds":null,"max_seconds":null,"precision_seconds":null,"in_part":1,"longest_in_part_seconds":10.0,"returns":0}}
        {"function":"rare","file":"/srv/app.py","line":99,"awaits":"Future","task_seconds":0.25,"ready_seconds":0.0,"share":0.0025188916876574307,"mean_tasks":0.025,"resources":[],"waits":{"whole":0,"p50_seconds":null,"p90_seconds":null,"p99_seconds":null,"max_seconds":null,"precision_seconds":null,"in_part":0,"longest_in_part_seconds":null,"returns":0}}],"blocked":[],"lost":{"torn":0,"faults":0,"refused":0,"truncated":0,"ring_buffer_full":0,"undecodable":0,"stale":0,"restarts":0,"opaque":0,"incomplete":0,"folded":0,"edges":0,"running":0,"names":0,"short_names":0,"nurseries":0,"waits":0}}
        "#);
    }

    #[test]
    fn nothing_seen_is_a_well_formed_result() {
        let empty = Profile {
            duration_seconds: 0.0,
            threads: 0,
            ..profile(Vec::new())
        };
        insta::assert_snapshot!(written(&empty), @r#"{"schema":"awaitwhat.profile/1","pid":4711,"command":"python3","python":"3.14.10","started_at":"2026-01-02T03:04:05.678901234Z","duration_seconds":0.0,"samples":990,"task_visits":9900,"mean_tasks":0.0,"threads":0,"busy_seconds":0.5,"busy_share":0.0,"target_exited":false,"chains":[],"await_points":[],"blocked":[],"lost":{"torn":0,"faults":0,"refused":0,"truncated":0,"ring_buffer_full":0,"undecodable":0,"stale":0,"restarts":0,"opaque":0,"incomplete":0,"folded":0,"edges":0,"running":0,"names":0,"short_names":0,"nurseries":0,"waits":0}}"#);
    }

    #[test]
    fn hostile_names_stay_what_they_are_on_one_line() {
        let text = written(&profile(vec![chain(
            &[frame(HOSTILE, HOSTILE, 1)],
            Some(HOSTILE),
            1.0,
        )]));
        assert_eq!(text.lines().count(), 1);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["await_points"][0]["function"], HOSTILE);
        assert_eq!(document["await_points"][0]["awaits"], HOSTILE);
    }
}
