//! Two profiles side by side as JSON: `awaitwhat.diff/1`, described by `schemas/awaitwhat.diff-1.schema.json`.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::json::write_line;
use super::resource_json::ResourceDocument;
use super::snapshot_json::{Each, FrameDocument, Shown};
use crate::profile::{Amount, Chain, ChainState, Change, Diff, PlaceChange, Profile, ratio};

/// Value of the key `schema`.
pub const SCHEMA: &str = "awaitwhat.diff/1";

/// Writes how the await points have changed, as one line of JSON.
///
/// # Errors
/// When `output` fails.
pub fn write_points(diff: &Diff, output: &mut impl Write) -> io::Result<()> {
    let changes = diff.points();
    let document = Document {
        diff,
        by: "await_point",
        changes: Each(&changes, PlaceDocument),
    };
    write_line(&document, output)
}

/// Writes how the chains have changed, as one line of JSON.
///
/// # Errors
/// When `output` fails.
pub fn write_chains(diff: &Diff, output: &mut impl Write) -> io::Result<()> {
    let changes = diff.chains();
    let document = Document {
        diff,
        by: "chain",
        changes: Each(&changes, ChainDocument),
    };
    write_line(&document, output)
}

struct Document<'a, T> {
    diff: &'a Diff,
    by: &'static str,
    changes: T,
}

impl<T: Serialize> Serialize for Document<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Diff", 5)?;
        document.serialize_field("schema", SCHEMA)?;
        document.serialize_field("by", self.by)?;
        document.serialize_field("before", &SideDocument(&self.diff.before))?;
        document.serialize_field("after", &SideDocument(&self.diff.after))?;
        document.serialize_field("changes", &self.changes)?;
        document.end()
    }
}

struct SideDocument<'a>(&'a Profile);

impl Serialize for SideDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let profile = self.0;
        let mean = |state| ratio(profile.task_seconds(state), profile.duration_seconds);
        let mut document = serializer.serialize_struct("Side", 10)?;
        document.serialize_field("processes", &profile.processes)?;
        document.serialize_field("started_at", &Shown(profile.started_at))?;
        document.serialize_field("duration_seconds", &profile.duration_seconds)?;
        document.serialize_field("samples", &profile.samples)?;
        document.serialize_field("task_visits", &profile.task_visits)?;
        document.serialize_field("waiting", &mean(ChainState::Waiting))?;
        document.serialize_field("ready", &mean(ChainState::Ready))?;
        document.serialize_field("running", &mean(ChainState::Running))?;
        document.serialize_field("busy_share", &profile.busy_share())?;
        document.serialize_field("lost", &profile.losses)?;
        document.end()
    }
}

struct PlaceDocument<'a>(&'a Change<PlaceChange>);

impl Serialize for PlaceDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (what, point) = (&self.0.what, &self.0.what.point);
        let mut document = serializer.serialize_struct("Change", 5 + AMOUNTS)?;
        document.serialize_field("function", &point.function)?;
        document.serialize_field("file", &point.file)?;
        document.serialize_field("line", &point.line)?;
        document.serialize_field("line_before", &what.line_before)?;
        document.serialize_field("awaits", &point.awaits)?;
        serialize_amounts(self.0, &mut document)?;
        document.end()
    }
}

struct ChainDocument<'a>(&'a Change<Chain>);

impl Serialize for ChainDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let chain = &self.0.what;
        let mut document = serializer.serialize_struct("Change", 4 + AMOUNTS)?;
        document.serialize_field("frames", &Each(&chain.stack, FrameDocument))?;
        document.serialize_field("state", &chain.state)?;
        document.serialize_field("terminal", &chain.terminal)?;
        document.serialize_field("resource", &chain.resource.as_deref().map(ResourceDocument))?;
        serialize_amounts(self.0, &mut document)?;
        document.end()
    }
}

/// How many fields [`serialize_amounts`] writes.
const AMOUNTS: usize = 5;

/// What is the same of all changes.
fn serialize_amounts<T, S: SerializeStruct>(change: &Change<T>, document: &mut S) -> Result<(), S::Error> {
    document.serialize_field("before", &AmountDocument(change.before))?;
    document.serialize_field("after", &AmountDocument(change.after))?;
    document.serialize_field("change", &change.by())?;
    document.serialize_field("margin", &change.margin)?;
    document.serialize_field("beyond_chance", &change.is_beyond_chance())
}

struct AmountDocument(Amount);

impl Serialize for AmountDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Amount", 4)?;
        document.serialize_field("task_seconds", &self.0.task_seconds)?;
        document.serialize_field("mean_tasks", &self.0.mean_tasks)?;
        document.serialize_field("share", &self.0.share)?;
        document.serialize_field("answers", &self.0.answers)?;
        document.end()
    }
}

#[cfg(test)]
mod tests {
    use crate::profile::Diff;
    use crate::testing::{profile, small_profile};

    #[test]
    fn a_change() {
        let mut later = small_profile();
        later.chains.truncate(1);
        let mut output = Vec::new();
        super::write_points(&Diff::new(small_profile(), later), &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        insta::assert_snapshot!(text.replace(",{\"fun", "\n{\"fun").replace("\"after\":{\"p", "\n\"after\":{\"p"), @r#"
        {"schema":"awaitwhat.diff/1","by":"await_point","before":{"processes":[{"pid":4711,"command":"python3","python":"3.14.10"}],"started_at":"2026-01-02T03:04:05.678901234Z","duration_seconds":10.0,"samples":990,"task_visits":9900,"waiting":9.925,"ready":0.0,"running":0.05,"busy_share":0.05,"lost":{"torn":0,"faults":0,"refused":0,"truncated":0,"ring_buffer_full":0,"undecodable":0,"stale":0,"restarts":0,"opaque":0,"incomplete":0,"folded":0,"edges":0,"running":0,"names":0,"short_names":0,"nurseries":0,"waits":0}},
        "after":{"processes":[{"pid":4711,"command":"python3","python":"3.14.10"}],"started_at":"2026-01-02T03:04:05.678901234Z","duration_seconds":10.0,"samples":990,"task_visits":9900,"waiting":6.0,"ready":0.0,"running":0.0,"busy_share":0.05,"lost":{"torn":0,"faults":0,"refused":0,"truncated":0,"ring_buffer_full":0,"undecodable":0,"stale":0,"restarts":0,"opaque":0,"incomplete":0,"folded":0,"edges":0,"running":0,"names":0,"short_names":0,"nurseries":0,"waits":0}},"changes":[{"function":"Pool.worker","file":"/srv/app.py","line":22,"line_before":null,"awaits":"Lock.acquire","before":{"task_seconds":29.0,"mean_tasks":2.9,"share":0.29219143576826195,"answers":0.0},"after":{"task_seconds":0.0,"mean_tasks":0.0,"share":0.0,"answers":0.0},"change":-2.9,"margin":0.10811728828319576,"beyond_chance":true}
        {"function":"main","file":"/srv/app.py","line":61,"line_before":null,"awaits":"_GatheringFuture","before":{"task_seconds":10.0,"mean_tasks":1.0,"share":0.10075566750629723,"answers":0.0},"after":{"task_seconds":0.0,"mean_tasks":0.0,"share":0.0,"answers":0.0},"change":-1.0,"margin":0.06349623822035369,"beyond_chance":true}
        {"function":"rare","file":"/srv/app.py","line":99,"line_before":null,"awaits":"Future","before":{"task_seconds":0.25,"mean_tasks":0.025,"share":0.0025188916876574307,"answers":0.0},"after":{"task_seconds":0.0,"mean_tasks":0.0,"share":0.0,"answers":0.0},"change":-0.025,"margin":0.010110727648910831,"beyond_chance":true}
        {"function":"Pool.worker","file":"/srv/app.py","line":20,"line_before":null,"awaits":"sleep","before":{"task_seconds":60.0,"mean_tasks":6.0,"share":0.6045340050377834,"answers":0.0},"after":{"task_seconds":60.0,"mean_tasks":6.0,"share":1.0,"answers":0.0},"change":0.0,"margin":0.19679246105293952,"beyond_chance":false}]}
        "#);
    }

    #[test]
    fn nothing_is_a_well_formed_result() {
        let mut output = Vec::new();
        super::write_chains(&Diff::new(profile(Vec::new()), profile(Vec::new())), &mut output).unwrap();
        assert!(String::from_utf8(output).unwrap().ends_with("\"changes\":[]}\n"));
    }
}
