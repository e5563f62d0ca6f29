//! Why tasks do not go on, as JSON: `awaitwhat.why/1`, described by `schemas/awaitwhat.why-1.schema.json`.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::finding_json::FindingDocument;
use super::json::write_line;
use super::snapshot_json::{Each, FrameDocument, Shown, WaitsOnDocument};
use crate::origin;
use crate::snapshot::{Snapshot, Task};
use crate::view::why::{self, Answer, Step};

/// Value of the key `schema`.
pub const SCHEMA: &str = "awaitwhat.why/1";

/// Writes why the tasks at `positions` of a snapshot do not go on, as one line of JSON; of how many more of their name it is not told.
///
/// # Errors
/// When `output` fails.
pub fn write(
    snapshot: &Snapshot,
    positions: &[usize],
    more: usize,
    output: &mut impl Write,
) -> io::Result<()> {
    let answers = why::answers(snapshot, positions);
    let document = WhyDocument {
        snapshot,
        answers: &answers,
        more,
    };
    write_line(&document, output)
}

struct WhyDocument<'a> {
    snapshot: &'a Snapshot,
    answers: &'a [Answer],
    more: usize,
}

impl Serialize for WhyDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let snapshot = self.snapshot;
        let answer = |answer| AnswerDocument { snapshot, answer };
        let mut document = serializer.serialize_struct("Why", 9)?;
        document.serialize_field("schema", SCHEMA)?;
        document.serialize_field("pid", &snapshot.pid)?;
        document.serialize_field("command", &snapshot.command)?;
        document.serialize_field("python", &snapshot.python)?;
        document.serialize_field("captured_at", &Shown(snapshot.captured_at))?;
        document.serialize_field("answers", &Each(self.answers, answer))?;
        document.serialize_field("more", &self.more)?;
        document.serialize_field("findings", &Each(&snapshot.findings, FindingDocument))?;
        document.serialize_field("lost", &snapshot.losses)?;
        document.end()
    }
}

struct AnswerDocument<'a> {
    snapshot: &'a Snapshot,
    answer: &'a Answer,
}

impl Serialize for AnswerDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tasks = &self.snapshot.tasks;
        let steps: Vec<StepDocument<'_>> = self
            .answer
            .steps
            .iter()
            .filter_map(|step| {
                let task = tasks.get(step.position)?;
                Some(StepDocument { task, step })
            })
            .collect();
        let mut document = serializer.serialize_struct("Answer", 2)?;
        document.serialize_field("steps", &steps)?;
        document.serialize_field("truncated", &self.answer.is_cut)?;
        document.end()
    }
}

struct StepDocument<'a> {
    task: &'a Task,
    step: &'a Step,
}

impl Serialize for StepDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { task, step } = self;
        let place = task.stack.get(origin::await_point(&task.stack));
        let mut document = serializer.serialize_struct("Step", 11)?;
        document.serialize_field("task", &Shown(task.id))?;
        document.serialize_field("name", &task.name)?;
        document.serialize_field("state", &task.state)?;
        document.serialize_field("others", &step.others)?;
        document.serialize_field("lead", &step.lead)?;
        document.serialize_field("parent", &step.parent)?;
        document.serialize_field("text", &step.text)?;
        document.serialize_field("await_point", &place.map(FrameDocument))?;
        document.serialize_field("waits_on", &task.waits_on.as_ref().map(WaitsOnDocument))?;
        document.serialize_field("repetition", &step.repetition)?;
        document.serialize_field("end", &step.end)?;
        document.end()
    }
}
