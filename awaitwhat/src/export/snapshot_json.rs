//! A snapshot as JSON: `awaitwhat.snapshot/1`, described by `schemas/awaitwhat.snapshot-1.schema.json`.
//!
//! Written as it is walked through, with no copy of it in between: a snapshot may have a hundred thousand tasks.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::finding_json::FindingDocument;
use super::json::write_line;
use super::resource_json::ResourceDocument;
use crate::memory::Address;
use crate::snapshot::{Frame, LoopState, Nursery, Snapshot, Task, TrioTask, WaitsOn};

/// Value of the key `schema`.
pub const SCHEMA: &str = "awaitwhat.snapshot/1";

/// Writes `snapshot` as one line of JSON.
///
/// # Errors
/// When `output` fails.
pub fn write(snapshot: &Snapshot, output: &mut impl Write) -> io::Result<()> {
    write_line(&SnapshotDocument(snapshot), output)
}

pub(super) struct SnapshotDocument<'a>(pub(super) &'a Snapshot);

impl Serialize for SnapshotDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let snapshot = self.0;
        let mut document = serializer.serialize_struct("Snapshot", 10)?;
        document.serialize_field("schema", SCHEMA)?;
        document.serialize_field("pid", &snapshot.pid)?;
        document.serialize_field("command", &snapshot.command)?;
        document.serialize_field("python", &snapshot.python)?;
        document.serialize_field("captured_at", &Shown(snapshot.captured_at))?;
        document.serialize_field("span_seconds", &snapshot.span_seconds)?;
        document.serialize_field("tasks", &Each(&snapshot.tasks, TaskDocument))?;
        document.serialize_field("loops", &Each(&snapshot.loops, LoopDocument))?;
        document.serialize_field("findings", &Each(&snapshot.findings, FindingDocument))?;
        document.serialize_field("lost", &snapshot.losses)?;
        document.end()
    }
}

struct LoopDocument<'a>(&'a LoopState);

impl Serialize for LoopDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Loop", 3)?;
        document.serialize_field("tid", &self.0.tid)?;
        document.serialize_field("turn_seconds", &self.0.turn_seconds)?;
        document.serialize_field("cpu_seconds", &self.0.cpu_seconds)?;
        document.end()
    }
}

struct TaskDocument<'a>(&'a Task);

impl Serialize for TaskDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let task = self.0;
        let mut document = serializer.serialize_struct("Task", 11)?;
        document.serialize_field("id", &Shown(task.id))?;
        document.serialize_field("name", &task.name)?;
        document.serialize_field("tid", &task.tid)?;
        document.serialize_field("state", &task.state)?;
        document.serialize_field("stack", &Each(&task.stack, FrameDocument))?;
        document.serialize_field("waits_on", &task.waits_on.as_ref().map(WaitsOnDocument))?;
        document.serialize_field("awaited_by", &Each(&task.awaited_by, |id: &Address| Shown(*id)))?;
        document.serialize_field("truncated", &task.truncated)?;
        document.serialize_field("cancelling", &task.cancellations)?;
        document.serialize_field("open_groups", &Each(&task.open_groups, NurseryDocument))?;
        document.serialize_field("trio", &task.trio.as_deref().map(TrioDocument))?;
        document.end()
    }
}

struct TrioDocument<'a>(&'a TrioTask);

impl Serialize for TrioDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let trio = self.0;
        let mut document = serializer.serialize_struct("TrioTask", 3)?;
        document.serialize_field("state", &trio.state)?;
        document.serialize_field("parent_nursery", &trio.parent_nursery.map(Shown))?;
        document.serialize_field("nurseries", &Each(&trio.nurseries, NurseryDocument))?;
        document.end()
    }
}

struct NurseryDocument<'a>(&'a Nursery);

impl Serialize for NurseryDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nursery = self.0;
        let mut document = serializer.serialize_struct("Nursery", 2)?;
        document.serialize_field("id", &Shown(nursery.id))?;
        document.serialize_field("tasks", &Each(&nursery.tasks, |id: &Address| Shown(*id)))?;
        document.end()
    }
}

pub(super) struct WaitsOnDocument<'a>(pub(super) &'a WaitsOn);

impl Serialize for WaitsOnDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let on = self.0;
        let mut document = serializer.serialize_struct("WaitsOn", 6)?;
        document.serialize_field("kind", &on.kind)?;
        document.serialize_field("id", &Shown(on.id))?;
        document.serialize_field("type", &on.type_name)?;
        document.serialize_field("state", &on.state)?;
        document.serialize_field("tasks", &Each(&on.tasks, |id: &Address| Shown(*id)))?;
        document.serialize_field("resource", &on.resource.as_deref().map(ResourceDocument))?;
        document.end()
    }
}

/// A frame, as it is in snapshots and profiles.
pub(super) struct FrameDocument<'a>(pub(super) &'a Frame);

impl Serialize for FrameDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let frame = self.0;
        let mut document = serializer.serialize_struct("Frame", 5)?;
        document.serialize_field("function", &frame.function)?;
        document.serialize_field("file", &frame.file)?;
        document.serialize_field("line", &frame.line)?;
        document.serialize_field("kind", &frame.kind)?;
        document.serialize_field("rank", &frame.origin.rank)?;
        document.end()
    }
}

/// A value that is written as it is displayed.
pub(super) struct Shown<T>(pub(super) T);

impl<T: std::fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A list, each item of it in the form that the function gives it.
pub(super) struct Each<'a, T, F>(pub(super) &'a [T], pub(super) F);

impl<'a, T, F, D> Serialize for Each<'a, T, F>
where
    F: Fn(&'a T) -> D,
    D: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

#[cfg(test)]
mod tests {
    use crate::snapshot::Losses;
    use crate::testing::{HOSTILE, frame, small_service, snapshot, task};

    fn written(snapshot: &crate::snapshot::Snapshot) -> String {
        let mut output = Vec::new();
        super::write(snapshot, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_snapshot() {
        let one_task_a_line = written(&small_service()).replace("{\"id\":\"0x", "\n{\"id\":\"0x");
        insta::assert_snapshot!(one_task_a_line, @r#"
        {"schema":"awaitwhat.snapshot/1","pid":4711,"command":"python3","python":"3.14.10","captured_at":"2026-01-02T03:04:05.678901234Z","span_seconds":0.00025,"tasks":[
        {"id":"0x10","name":"Task-1","tid":100,"state":"pending","stack":[{"function":"main","file":"/srv/app.py","line":61,"kind":"coroutine","rank":"application"}],"waits_on":{"kind":"gather","id":"0xf00","type":"_GatheringFuture","state":null,"tasks":["0x20","0x30","0x40"],"resource":null},"awaited_by":[],"truncated":false,"cancelling":0,"open_groups":[],"trio":null},
        {"id":"0x20","name":"worker-0","tid":100,"state":"pending","stack":[{"function":"sleep","file":"/usr/lib/python3.14/asyncio/tasks.py","line":704,"kind":"coroutine","rank":"standard_library"},{"function":"Pool.worker","file":"/srv/app.py","line":20,"kind":"coroutine","rank":"application"}],"waits_on":{"kind":"future","id":"0xf00","type":"Future","state":null,"tasks":[],"resource":null},"awaited_by":["0x10"],"truncated":false,"cancelling":0,"open_groups":[],"trio":null},
        {"id":"0x30","name":"worker-1","tid":100,"state":"pending","stack":[{"function":"sleep","file":"/usr/lib/python3.14/asyncio/tasks.py","line":704,"kind":"coroutine","rank":"standard_library"},{"function":"Pool.worker","file":"/srv/app.py","line":20,"kind":"coroutine","rank":"application"}],"waits_on":{"kind":"future","id":"0xf00","type":"Future","state":null,"tasks":[],"resource":null},"awaited_by":["0x10"],"truncated":false,"cancelling":0,"open_groups":[],"trio":null},
        {"id":"0x40","name":"busy","tid":100,"state":"running","stack":[{"function":"crunch","file":"/srv/app.py","line":7,"kind":"coroutine","rank":"application"},{"function":"job","file":"/srv/app.py","line":9,"kind":"coroutine","rank":"application"}],"waits_on":null,"awaited_by":["0x10"],"truncated":false,"cancelling":0,"open_groups":[],"trio":null}],"loops":[],"findings":[],"lost":{"torn":0,"faults":0,"refused":0,"truncated":0,"ring_buffer_full":0,"undecodable":0,"stale":0,"restarts":0,"opaque":0,"incomplete":0,"folded":0,"edges":0,"running":0,"names":0,"short_names":0,"nurseries":0,"waits":0}}
        "#);
    }

    #[test]
    fn nothing_is_a_well_formed_result() {
        insta::assert_snapshot!(written(&snapshot(Vec::new())), @r#"{"schema":"awaitwhat.snapshot/1","pid":4711,"command":"python3","python":"3.14.10","captured_at":"2026-01-02T03:04:05.678901234Z","span_seconds":0.00025,"tasks":[],"loops":[],"findings":[],"lost":{"torn":0,"faults":0,"refused":0,"truncated":0,"ring_buffer_full":0,"undecodable":0,"stale":0,"restarts":0,"opaque":0,"incomplete":0,"folded":0,"edges":0,"running":0,"names":0,"short_names":0,"nurseries":0,"waits":0}}"#);
    }

    #[test]
    fn hostile_names_stay_what_they_are_on_one_line() {
        let mut hostile = snapshot(vec![task(1, HOSTILE, &[frame(HOSTILE, HOSTILE, 1)])]);
        hostile.losses = Losses {
            torn: 3,
            ..Losses::default()
        };
        let text = written(&hostile);
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\x1b'));
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["tasks"][0]["name"], HOSTILE);
        assert_eq!(document["tasks"][0]["stack"][0]["file"], HOSTILE);
        assert_eq!(document["lost"]["torn"], 3);
    }
}
