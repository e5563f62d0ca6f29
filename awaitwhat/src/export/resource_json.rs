//! What a task waits for, in snapshots as JSON: only what is known of it.

use serde::ser::{Serialize, SerializeMap, SerializeStruct as _, Serializer};

use super::snapshot_json::{Each, FrameDocument, Shown};
use crate::memory::Address;
use crate::resource::{Children, Detail, Holding, Resource, WorkerThread};

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

pub(super) struct ResourceDocument<'a>(pub(super) &'a Resource);

impl Serialize for ResourceDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let resource = self.0;
        let mut document = serializer.serialize_map(None)?;
        document.serialize_entry("kind", &resource.kind)?;
        let mut entry = Entries(&mut document);
        let words = Some(&*resource.words).filter(|it| *it != resource.kind.words());
        entry.known("words", words)?;
        entry.known("id", resource.id.map(Shown))?;
        entry.known("type", resource.type_name.as_deref())?;
        entry.known("label", resource.label.as_deref())?;
        entry.known("operation", resource.operation.as_deref())?;
        entry.known("held", resource.held)?;
        let (holders, is_known): (Option<&[Address]>, _) = match &resource.holding {
            Holding::Nobody => (None, None),
            Holding::Unknown => (Some(&[]), Some(false)),
            Holding::Tasks { tasks, are_all } => (Some(tasks), Some(*are_all)),
            Holding::OnlyWaiters => (Some(&[]), Some(true)),
        };
        let holders = holders.map(|holders| Each(holders, |id: &Address| Shown(*id)));
        entry.known("holders", holders)?;
        entry.known("holder_known", is_known)?;
        entry.known("waiters", resource.waiters)?;
        entry.known("position", resource.position)?;
        entry.known("size", resource.size)?;
        entry.known("limit", resource.limit)?;
        entry.known("free", resource.free)?;
        entry.known("children", resource.children.map(ChildrenDocument))?;
        let seconds = resource.deadline_ns.map(|left| left as f64 / SECOND);
        entry.known("deadline_in_seconds", seconds)?;
        entry.known(
            "overdue_seconds",
            seconds.map(|left| -left).filter(|over| *over > 0.0),
        )?;
        let waited = resource.waited_ns.map(|waited| waited as f64 / SECOND);
        entry.known("waited_seconds", waited)?;
        entry.known("fd", resource.fd)?;
        entry.known("method", resource.method.as_deref())?;
        entry.known("url", resource.url.as_deref())?;
        entry.known("local", resource.local.as_deref())?;
        entry.known("peer", resource.peer.as_deref())?;
        entry.known("pid", resource.pid)?;
        entry.known("command", resource.command.as_deref())?;
        entry.known("query", resource.query.as_deref())?;
        entry.known("arguments", resource.arguments.as_deref())?;
        entry.known("thread", resource.thread.as_deref().map(ThreadDocument))?;
        let detail = Some(Details(&resource.detail)).filter(|it| !it.0.is_empty());
        entry.known("detail", detail)?;
        document.end()
    }
}

/// Writes entries that are known.
struct Entries<'a, M>(&'a mut M);

impl<M: SerializeMap> Entries<'_, M> {
    fn known<T: Serialize>(&mut self, key: &'static str, value: Option<T>) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.0.serialize_entry(key, &value))
    }
}

struct ChildrenDocument(Children);

impl Serialize for ChildrenDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let children = &self.0;
        let mut document = serializer.serialize_map(None)?;
        let mut entry = Entries(&mut document);
        entry.known("count", children.count)?;
        entry.known("pending", children.pending)?;
        entry.known("done", children.done)?;
        entry.known("failed", children.failed)?;
        entry.known("cancelled", children.cancelled)?;
        document.end()
    }
}

struct ThreadDocument<'a>(&'a WorkerThread);

impl Serialize for ThreadDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let thread = self.0;
        let mut document = serializer.serialize_struct("Thread", 5)?;
        document.serialize_field("tid", &thread.tid)?;
        document.serialize_field("name", &thread.name)?;
        document.serialize_field("state", &thread.state)?;
        document.serialize_field("stack", &Each(&thread.stack, FrameDocument))?;
        document.serialize_field("moving", &thread.is_moving)?;
        document.end()
    }
}

struct Details<'a>(&'a [(std::sync::Arc<str>, Detail)]);

impl Serialize for Details<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
