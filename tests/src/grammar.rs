//! The possible chains of `busy_tasks.py`, `pure_busy_tasks.py` and `trio_busy_tasks.py`, as they announce them.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::output::Frame;

/// What each function may await and call, line by line.
#[derive(Debug, Deserialize)]
pub struct Grammar {
    /// Number of tasks.
    pub tasks: usize,
    /// Names of tasks of no family, by their outermost function.
    pub others: BTreeMap<String, String>,
    /// Functions that every task gives up its turn by: a profile leaves them away.
    #[serde(default)]
    traps: Vec<String>,
    /// By name, which is the qualified one from 3.11 on; before, functions of several files can have the same.
    functions: BTreeMap<String, Vec<Rules>>,
}

#[derive(Debug, Deserialize)]
struct Rules {
    file: String,
    first_line: u32,
    last_line: u32,
    /// Names that may be awaited at a line; `None` is something that has no frame.
    awaits: BTreeMap<u32, Vec<Option<String>>>,
    /// Names that may be called at a line.
    calls: BTreeMap<u32, Vec<String>>,
}

impl Grammar {
    /// Whether a task can be in `stack` (innermost first).
    ///
    /// # Errors
    /// Says what is impossible in it.
    pub fn check(&self, stack: &[Frame], is_running: bool) -> anyhow::Result<()> {
        self.check_to(stack, is_running, &[])
    }

    /// The same for a chain of a profile.
    ///
    /// # Errors
    /// As [`Grammar::check`].
    pub fn check_profiled(&self, stack: &[Frame], is_running: bool) -> anyhow::Result<()> {
        self.check_to(stack, is_running, &self.traps)
    }

    fn check_to(&self, stack: &[Frame], is_running: bool, traps: &[String]) -> anyhow::Result<()> {
        let mut frames = stack.iter().rev();
        let root = frames.next().context("no frame at all")?;
        ensure!(
            self.others.contains_key(&root.function) || root.function.ends_with("_root"),
            "{} is not the outermost function of a task",
            root.function
        );
        let mut outer = (root, self.rules(root)?);
        for inner in frames {
            if is_running && !self.functions.contains_key(&inner.function) {
                return self.check_left(outer, inner);
            }
            self.check_step(outer, inner, is_running)?;
            outer = (inner, self.rules(inner)?);
        }
        check_end(outer, is_running, traps)
    }

    fn rules(&self, frame: &Frame) -> anyhow::Result<&Rules> {
        let rules = self
            .functions
            .get(&frame.function)
            .with_context(|| format!("{} is never awaited", frame.function))?;
        rules
            .iter()
            .find(|rules| rules.file == frame.file)
            .with_context(|| format!("there is no {} in {}", frame.function, frame.file))
    }

    fn check_step(
        &self,
        (frame, rules): (&Frame, &Rules),
        inner: &Frame,
        is_running: bool,
    ) -> anyhow::Result<()> {
        let name = last_name(&inner.function);
        let may_await = rules
            .awaits
            .get(&frame.line)
            .is_some_and(|names| names.iter().any(|allowed| allowed.as_deref() == Some(name)));
        let may_call = is_running
            && rules
                .calls
                .get(&frame.line)
                .is_some_and(|names| names.iter().any(|allowed| allowed == name));
        ensure!(
            may_await || may_call,
            "{}:{} does not lead to {}",
            frame.function,
            frame.line,
            inner.function
        );
        Ok(())
    }

    /// A running task may be anywhere in the standard library, once it left by a line that leads there.
    fn check_left(&self, (frame, rules): (&Frame, &Rules), inner: &Frame) -> anyhow::Result<()> {
        let leads_out = rules.awaits.contains_key(&frame.line) || rules.calls.contains_key(&frame.line);
        ensure!(
            leads_out,
            "{}:{} does not lead to {}",
            frame.function,
            frame.line,
            inner.function
        );
        Ok(())
    }
}

fn check_end((frame, rules): (&Frame, &Rules), is_running: bool, traps: &[String]) -> anyhow::Result<()> {
    let place = format!("{}:{}", frame.function, frame.line);
    if is_running {
        ensure!(
            (rules.first_line..=rules.last_line).contains(&frame.line),
            "{place} is not a line of that function"
        );
        return Ok(());
    }
    match rules.awaits.get(&frame.line) {
        Some(names) if names.contains(&None) => Ok(()),
        Some(names) if names.iter().flatten().any(|name| traps.contains(name)) => Ok(()),
        Some(names) => bail!("{place} awaits {names:?}, and no such frame follows"),
        None => bail!("{place} awaits nothing"),
    }
}

fn last_name(function: &str) -> &str {
    function.rsplit('.').next().unwrap_or(function)
}
