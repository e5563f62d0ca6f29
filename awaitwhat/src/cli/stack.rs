//! `stack`: the stacks of tasks, with the lines of their source where these can be read.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Write};

use super::args::{GlobalArgs, StackArgs};
use super::asked_task::{find, pid_of};
use super::exit::Exit;
use super::{config, people_stdout, snapshot};
use crate::processes::Processes;
use crate::snapshot::Frame;
use crate::view::stack;

/// Bytes of a source file that are read at most.
const MAX_SOURCE_BYTES: u64 = 4 << 20;
/// Source files that are held.
const MAX_SOURCES: usize = 256;

pub(super) async fn run(args: &StackArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    let (task, one) = config::stack(args)?;
    let snapshot = snapshot::of_one(&one, global, &[], args.arguments).await?;
    let tasks = snapshot.as_ref().map_or(&[][..], |snapshot| &snapshot.tasks);
    let wanted = match task {
        Some(name) => find(tasks, name, pid_of(&one, snapshot.as_ref()))?,
        None => (0..tasks.len()).collect(),
    };
    let mut stdout = people_stdout();
    if let Some(snapshot) = &snapshot {
        let is_there = one.recorded.recording.is_none();
        let sources = Sources::of(one.process.filter(|_| is_there));
        stack::write(snapshot, &wanted, &|frame| sources.line(frame), &mut stdout)?;
    }
    stdout.flush()?;
    Ok(Exit::Ok)
}

/// The source files of a process, as far as they are ours to read.
struct Sources {
    /// Whether a path means the same file here as it does to the process.
    are_ours: bool,
    files: RefCell<HashMap<std::sync::Arc<str>, Option<String>>>,
}

impl Sources {
    /// Those of a process that runs; a core file or a recording may be of another machine, or of a program that has been changed since.
    fn of(pid: Option<u32>) -> Self {
        Self {
            are_ours: pid.is_some_and(|pid| Processes::default().sees_our_files(pid)),
            files: RefCell::default(),
        }
    }

    /// The line of a frame, as the file has it now.
    fn line(&self, frame: &Frame) -> Option<String> {
        if !self.are_ours || frame.line == 0 || !frame.file.starts_with('/') {
            return None;
        }
        let mut files = self.files.borrow_mut();
        if files.len() >= MAX_SOURCES {
            files.clear();
        }
        let text = files
            .entry(frame.file.clone())
            .or_insert_with(|| read(&frame.file));
        let line = text.as_deref()?.lines().nth(frame.line as usize - 1)?.trim();
        (!line.is_empty()).then(|| line.to_owned())
    }
}

/// The text of a regular file: anything else might have to be waited for.
fn read(path: &str) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_SOURCE_BYTES).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
