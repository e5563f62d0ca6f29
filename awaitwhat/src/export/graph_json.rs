//! The graph of waits as JSON: `awaitwhat.graph/1`, described by `schemas/awaitwhat.graph-1.schema.json`.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::finding_json::FindingDocument;
use super::json::write_line;
use super::resource_json::ResourceDocument;
use super::snapshot_json::{Each, FrameDocument, Shown};
use crate::graph::{Edge, Node, WaitGraph};
use crate::memory::Address;
use crate::origin;
use crate::snapshot::{Snapshot, Task};

/// Value of the key `schema`.
pub const SCHEMA: &str = "awaitwhat.graph/1";

/// Writes the graph of waits of a snapshot as one line of JSON.
///
/// # Errors
/// When `output` fails.
pub fn write(snapshot: &Snapshot, output: &mut impl Write) -> io::Result<()> {
    let graph = WaitGraph::new(snapshot);
    write_line(
        &GraphDocument {
            snapshot,
            graph: &graph,
        },
        output,
    )
}

struct GraphDocument<'a> {
    snapshot: &'a Snapshot,
    graph: &'a WaitGraph,
}

impl Serialize for GraphDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { snapshot, graph } = self;
        let tasks = &snapshot.tasks;
        let node = |node| NodeDocument { tasks, node };
        let mut document = serializer.serialize_struct("Graph", 9)?;
        document.serialize_field("schema", SCHEMA)?;
        document.serialize_field("pid", &snapshot.pid)?;
        document.serialize_field("command", &snapshot.command)?;
        document.serialize_field("python", &snapshot.python)?;
        document.serialize_field("captured_at", &Shown(snapshot.captured_at))?;
        document.serialize_field("nodes", &Each(&graph.nodes, node))?;
        document.serialize_field("edges", &Each(&graph.edges, EdgeDocument))?;
        document.serialize_field("findings", &Each(&snapshot.findings, FindingDocument))?;
        document.serialize_field("lost", &snapshot.losses)?;
        document.end()
    }
}

struct NodeDocument<'a> {
    tasks: &'a [Task],
    node: &'a Node,
}

impl Serialize for NodeDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.node {
            Node::Tasks { members, is_stuck } => {
                let tasks: Vec<&Task> = members.iter().filter_map(|it| self.tasks.get(*it)).collect();
                let members: Vec<MemberDocument<'_>> = tasks
                    .iter()
                    .map(|task| MemberDocument(task.id, task.name.as_deref()))
                    .collect();
                let first = tasks.first();
                let place = first.and_then(|task| task.stack.get(origin::await_point(&task.stack)));
                let mut document = serializer.serialize_struct("Tasks", 5)?;
                document.serialize_field("kind", "tasks")?;
                document.serialize_field("tasks", &members)?;
                document.serialize_field("state", &first.map(|task| task.state))?;
                document.serialize_field("await_point", &place.map(FrameDocument))?;
                document.serialize_field("stuck", is_stuck)?;
                document.end()
            }
            Node::Resource(task) => {
                let resource = self
                    .tasks
                    .get(*task)
                    .and_then(|task| task.waits_on.as_ref()?.resource.as_deref());
                let mut document = serializer.serialize_struct("Resource", 2)?;
                document.serialize_field("kind", "resource")?;
                document.serialize_field("resource", &resource.map(ResourceDocument))?;
                document.end()
            }
        }
    }
}

struct MemberDocument<'a>(Address, Option<&'a str>);

impl Serialize for MemberDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Member", 2)?;
        document.serialize_field("id", &Shown(self.0))?;
        document.serialize_field("name", &self.1)?;
        document.end()
    }
}

struct EdgeDocument<'a>(&'a Edge);

impl Serialize for EdgeDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let edge = self.0;
        let mut document = serializer.serialize_struct("Edge", 3)?;
        document.serialize_field("from", &edge.from)?;
        document.serialize_field("to", &edge.to)?;
        document.serialize_field("kind", &edge.kind)?;
        document.end()
    }
}
