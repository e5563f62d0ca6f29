//! The tables that all threads of a processed profile share: texts, functions, frames, stacks. A table is written as its columns.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::export::stay_text::StayText;
use crate::profile::{ChainState, SeenChain};
use crate::view::escape::{Escaped, named};

/// Places of categories.
const OTHER: usize = 0;
pub(super) const WAITING: usize = 1;
const READY: usize = 2;
const RUNNING: usize = 3;

/// The categories, in the order of their places. The grey one is that of whatever has no other.
pub(super) fn categories() -> Value {
    let category =
        |name: &str, color: &str| json!({ "name": name, "color": color, "subcategories": ["Other"] });
    json!([
        category("Other", "grey"),
        category("Waiting", "blue"),
        category("Ready", "orange"),
        category("Running", "green"),
    ])
}

/// A function: places of its name and of its source.
type Function = (usize, Option<usize>);
/// A frame: its function, line and category.
type Frame = (usize, Option<u32>, usize);

/// Tables while they are made. Everything is in them once.
#[derive(Default)]
pub(super) struct Tables {
    texts: Table<String>,
    /// Texts that are names of files.
    sources: Table<usize>,
    functions: Table<Function>,
    frames: Table<Frame>,
    /// The stack without its innermost frame, and that.
    stacks: Table<(Option<usize>, usize)>,
}

struct Table<T> {
    list: Vec<T>,
    places: HashMap<T, usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Table<T> {
    fn place(&mut self, thing: T) -> usize {
        if let Some(place) = self.places.get(&thing) {
            return *place;
        }
        self.list.push(thing.clone());
        self.places.insert(thing, self.list.len() - 1);
        self.list.len() - 1
    }
}

impl Tables {
    pub(super) fn text(&mut self, text: &str) -> usize {
        self.texts.place(text.to_owned())
    }

    /// The stack of a chain, which ends in what it waits for, or in what it does.
    pub(super) fn stack(&mut self, seen: &SeenChain, text: &StayText) -> usize {
        let mut stack = None;
        for frame in seen.look.stack.iter().rev() {
            let function = self.function(&Escaped(named(&frame.function)).to_string(), &frame.file);
            let line = (frame.line > 0).then_some(frame.line);
            stack = Some(self.on(stack, (function, line, OTHER)));
        }
        let category = match seen.look.state {
            ChainState::Waiting => WAITING,
            ChainState::Ready => READY,
            ChainState::Running => RUNNING,
        };
        let leaf = self.function(&format!("[{}]", text.leaf), "");
        self.on(stack, (leaf, None, category))
    }

    fn on(&mut self, stack: Option<usize>, frame: Frame) -> usize {
        let frame = self.frames.place(frame);
        self.stacks.place((stack, frame))
    }

    fn function(&mut self, name: &str, file: &str) -> usize {
        let name = self.text(name);
        let source = (!file.is_empty()).then(|| {
            let file = self.text(&Escaped(file).to_string());
            self.sources.place(file)
        });
        self.functions.place((name, source))
    }

    pub(super) fn into_json(self) -> Value {
        let Self {
            texts,
            sources,
            functions,
            frames,
            stacks,
        } = self;
        json!({
            "stringArray": texts.list,
            "sources": sources_json(&sources.list),
            "funcTable": functions_json(&functions.list),
            "frameTable": frames_json(&frames.list),
            "stackTable": stacks_json(&stacks.list),
            "resourceTable": { "name": [], "host": [], "type": [], "length": 0 },
            "nativeSymbols": { "libIndex": [], "address": [], "name": [], "functionSize": [], "length": 0 },
            "sourceLocationTable": { "source": [], "line": [], "column": [], "length": 0 },
        })
    }
}

fn sources_json(sources: &[usize]) -> Value {
    let length = sources.len();
    let none = vec![Value::Null; length];
    json!({
        "id": none,
        "filename": sources,
        "startLine": vec![1; length],
        "startColumn": vec![1; length],
        "sourceMapURL": none,
        "content": none,
        "length": length,
    })
}

fn functions_json(functions: &[Function]) -> Value {
    let length = functions.len();
    let none = vec![Value::Null; length];
    json!({
        "name": functions.iter().map(|it| it.0).collect::<Vec<_>>(),
        "isJS": vec![false; length],
        "relevantForJS": vec![false; length],
        "resource": vec![-1; length],
        "source": functions.iter().map(|it| it.1).collect::<Vec<_>>(),
        "lineNumber": none,
        "columnNumber": none,
        "originalLocation": none,
        "length": length,
    })
}

fn frames_json(frames: &[Frame]) -> Value {
    let length = frames.len();
    let none = vec![Value::Null; length];
    json!({
        "address": vec![-1; length],
        "lib": vec![-1; length],
        "inlineDepth": vec![0; length],
        "category": frames.iter().map(|it| it.2).collect::<Vec<_>>(),
        "subcategory": vec![0; length],
        "func": frames.iter().map(|it| it.0).collect::<Vec<_>>(),
        "nativeSymbol": none,
        "innerWindowID": none,
        "line": frames.iter().map(|it| it.1).collect::<Vec<_>>(),
        "column": none,
        "originalLocation": none,
        "length": length,
    })
}

/// A stack says how many places before it the stack without its innermost frame is; 0 where there is none.
fn stacks_json(stacks: &[(Option<usize>, usize)]) -> Value {
    let offsets = stacks.iter().enumerate();
    let offsets = offsets.map(|(place, (outer, _))| outer.map_or(0, |outer| place.saturating_sub(outer)));
    json!({
        "frame": stacks.iter().map(|it| it.1).collect::<Vec<_>>(),
        "prefixOffset": offsets.collect::<Vec<_>>(),
        "length": stacks.len(),
    })
}
