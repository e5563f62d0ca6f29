//! Findings, as they are in snapshots.

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

use super::resource_json::ResourceDocument;
use super::snapshot_json::{Each, FrameDocument, Shown};
use crate::findings::{Deadlocked, Finding, Holder, HolderKind, Mentioned, MentionedTask};
use crate::view::findings::describe;

pub(super) struct FindingDocument<'a>(pub(super) &'a Finding);

impl Serialize for FindingDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_map(None)?;
        document.serialize_entry("id", self.0.id())?;
        document.serialize_entry("text", &describe(self.0))?;
        match self.0 {
            Finding::BlockedLoop(blocked) => {
                document.serialize_entry("tid", &blocked.tid)?;
                document.serialize_entry("seconds", &blocked.seconds)?;
                document.serialize_entry("holder", &HolderDocument(&blocked.holder))?;
                document.serialize_entry("ready", &blocked.ready)?;
                document.serialize_entry("overdue_timers", &blocked.overdue_timers)?;
            }
            Finding::Deadlock(deadlock) => {
                document.serialize_entry("tasks", &Each(&deadlock.tasks, DeadlockedDocument))?;
                document.serialize_entry("behind", &deadlock.behind)?;
            }
            Finding::UsedUp(used_up) => {
                document.serialize_entry("resource", &ResourceDocument(&used_up.resource))?;
                serialize_waiting(&mut document, &used_up.waiting)?;
            }
            Finding::CancelledButWaits(waiting) => serialize_waiting(&mut document, waiting)?,
            Finding::SlowWait(slow) => {
                document.serialize_entry("seconds", &slow.longest)?;
                document.serialize_entry("slow", &slow.slow)?;
                serialize_waiting(&mut document, &slow.waiting)?;
            }
            Finding::NeverWoken(never_woken) => {
                document.serialize_entry("tid", &never_woken.tid)?;
                document.serialize_entry("seconds", &never_woken.seconds)?;
                serialize_waiting(&mut document, &never_woken.ready)?;
            }
        }
        document.end()
    }
}

fn serialize_waiting<M: SerializeMap>(document: &mut M, waiting: &Mentioned) -> Result<(), M::Error> {
    document.serialize_entry("count", &waiting.count)?;
    document.serialize_entry("waiting", &Each(&waiting.first, MentionedDocument))
}

struct MentionedDocument<'a>(&'a MentionedTask);

impl Serialize for MentionedDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Mentioned", 2)?;
        document.serialize_field("task", &Shown(self.0.task))?;
        document.serialize_field("name", &self.0.name)?;
        document.end()
    }
}

struct DeadlockedDocument<'a>(&'a Deadlocked);

impl Serialize for DeadlockedDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let task = self.0;
        let mut document = serializer.serialize_struct("Deadlocked", 4)?;
        document.serialize_field("task", &Shown(task.task))?;
        document.serialize_field("name", &task.name)?;
        document.serialize_field("waits_for", &task.waits_for.as_deref().map(ResourceDocument))?;
        let seconds = task.deadline_ns.map(|left| left as f64 / 1e9);
        document.serialize_field("deadline_in_seconds", &seconds)?;
        document.end()
    }
}

struct HolderDocument<'a>(&'a Holder);

impl Serialize for HolderDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let holder = self.0;
        let task = match holder.kind {
            HolderKind::Task(id) => Some(id),
            HolderKind::Callback | HolderKind::Unknown => None,
        };
        let mut document = serializer.serialize_struct("Holder", 5)?;
        document.serialize_field("kind", holder.kind.word())?;
        document.serialize_field("task", &task.map(Shown))?;
        document.serialize_field("name", &holder.name)?;
        document.serialize_field("stack", &Each(&holder.stack, FrameDocument))?;
        document.serialize_field("seconds", &holder.seconds)?;
        document.end()
    }
}
