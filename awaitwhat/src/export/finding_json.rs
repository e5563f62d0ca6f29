//! Findings, as they are in snapshots.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::snapshot_json::{Each, FrameDocument, Shown};
use crate::findings::{Finding, Holder, HolderKind};
use crate::view::blocked::describe;

pub(super) struct FindingDocument<'a>(pub(super) &'a Finding);

impl Serialize for FindingDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Finding::BlockedLoop(blocked) = self.0;
        let mut document = serializer.serialize_struct("Finding", 7)?;
        document.serialize_field("id", self.0.id())?;
        document.serialize_field("text", &describe(self.0))?;
        document.serialize_field("tid", &blocked.tid)?;
        document.serialize_field("seconds", &blocked.seconds)?;
        document.serialize_field("holder", &HolderDocument(&blocked.holder))?;
        document.serialize_field("ready", &blocked.ready)?;
        document.serialize_field("overdue_timers", &blocked.overdue_timers)?;
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
