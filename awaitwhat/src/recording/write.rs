//! Writes a recording, as what it tells of is seen.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::block::{Kind, MAGIC, Maker, preface};
use super::encode::Encoder;
use super::snapshots::Packed;
use super::{Header, Target, Trailer};
use crate::profile::{End, Observation, Process};
use crate::snapshot::Losses;
use crate::survey::Refusals;

/// A block is written as soon as it has so many bytes, or tells of so many ms.
const BLOCK_BYTES: usize = 256 << 10;
const BLOCK_MS: u64 = 1000;
/// What is left for the end of a recording that may not become larger.
const RESERVE: u64 = 128 << 10;

/// Whether a file that begins with these bytes passes for a recording.
#[must_use]
pub fn begins_like_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Makes room for another file in place of the one that was written, and opens it.
pub type Next = Box<dyn FnMut() -> io::Result<Box<dyn Write + Send>> + Send>;

/// What to write, and where to. It begins to be a [`Recorder`] in the thread that traces.
pub struct Options {
    pub output: Box<dyn Write + Send>,
    pub header: Header,
    /// Bytes after which the recording ends, or goes on in the next file where there is to be one.
    pub max_bytes: Option<u64>,
    pub next: Option<Next>,
    /// How long after one snapshot of all targets another one is kept; none is where there is no time.
    pub snapshots: Option<Duration>,
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// Why a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// So did the trace.
    Trace,
    /// It became as large as it may.
    Size,
    /// It could not be written any longer.
    Failed(String),
}

/// What came of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// In all files.
    pub bytes: u64,
    pub files: u64,
    pub why: Why,
    pub snapshots: Snapshots,
}

/// How often targets were kept as they were at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    pub kept: u64,
    /// Those that could not be taken, or had no room, and why the last of them is missing.
    pub missing: u64,
    pub why: Option<String>,
}

/// A recording that is being written. All targets share it.
#[derive(Clone)]
pub struct Recorder {
    writer: Rc<RefCell<Writer>>,
}

/// Where observations of one target go.
#[derive(Clone)]
pub struct Tape {
    writer: Rc<RefCell<Writer>>,
    target: usize,
    /// When its file began, in ns since the target was first looked at, and what was lost by then.
    since: u64,
    lost: Losses,
    /// The last look at all loops, in ns.
    tick: Cell<u64>,
}

struct Writer {
    output: Box<dyn Write + Send>,
    maker: Option<Maker>,
    next: Option<Next>,
    /// It is as large as it may be, and another file is to follow.
    is_full: bool,
    began: Instant,
    /// When a target was last looked at no longer, in ns since it began.
    ended: Option<u64>,
    /// Bytes and number of the files before this one.
    former: (u64, u64),
    first: Header,
    /// What is written before anything else, once there is something.
    header: Option<Header>,
    encoder: Encoder,
    max_bytes: Option<u64>,
    written: u64,
    why: Why,
    snapshots: Snapshots,
    /// When the first entry of the block was seen, in ms since the recording began.
    block_since: u64,
    /// When each target was first looked at, in the same.
    targets_began: Vec<u64>,
}

impl Recorder {
    /// Begins a recording. Nothing is written before there is a target.
    #[must_use]
    pub fn begin(options: Options) -> Self {
        let Options {
            output,
            header,
            max_bytes,
            next,
            snapshots: _,
        } = options;
        let writer = Writer {
            output,
            maker: None,
            next,
            is_full: false,
            began: Instant::now(),
            ended: None,
            former: (0, 0),
            first: header.clone(),
            header: Some(header),
            encoder: Encoder::default(),
            max_bytes,
            written: 0,
            why: Why::Trace,
            snapshots: Snapshots::default(),
            block_since: 0,
            targets_began: Vec::new(),
        };
        Self {
            writer: Rc::new(RefCell::new(writer)),
        }
    }

    /// Another target is looked at from now on. It belongs to the result even if it has no tasks where `is_shown_empty`.
    #[must_use]
    pub fn target(&self, process: &Process, started_at: jiff::Timestamp, is_shown_empty: bool) -> Tape {
        let mut writer = self.writer.borrow_mut();
        writer.begin();
        let began = writer.elapsed();
        writer.targets_began.push(began / 1_000_000);
        Tape {
            target: writer.encoder.target(&Target {
                process: process.clone(),
                started_at,
                began,
                is_shown_empty,
            }),
            writer: Rc::clone(&self.writer),
            since: 0,
            lost: Losses::default(),
            tick: Cell::default(),
        }
    }

    /// Whether it has ended before the trace: nobody takes what is still seen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.writer.borrow().why != Why::Trace
    }

    /// When it began, or the file that it has come to.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.writer.borrow().began
    }

    /// Whether the file is as large as it may be, and another one is to follow.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let writer = self.writer.borrow();
        writer.is_full && writer.why == Why::Trace
    }

    /// Ends the file, after the tapes of all its targets were ended, and goes on in the next one. What is told there has to begin with what targets are.
    pub fn begin_next(&self) {
        self.writer.borrow_mut().begin_next();
    }

    /// Keeps snapshots of all targets.
    pub fn keep(&self, packed: &Packed) {
        self.writer.borrow_mut().keep(packed);
    }

    /// Notes that some could not be taken.
    pub fn miss(&self, why: String) {
        self.writer.borrow_mut().miss(why);
    }

    /// Ends the recording: the trace began at `started_at`, and took `duration_ns`.
    #[must_use]
    pub fn finish(&self, started_at: jiff::Timestamp, duration_ns: u64, refused: &Refusals) -> Written {
        let trailer = Trailer {
            started_at,
            duration_ns,
            refused: refused.clone(),
        };
        let mut writer = self.writer.borrow_mut();
        if writer.former.1 == 0 {
            return writer.finish(&trailer);
        }
        let of_file = Trailer {
            started_at: writer.first.started_at,
            duration_ns: writer.ended.unwrap_or_else(|| writer.elapsed()),
            ..trailer
        };
        writer.finish(&of_file)
    }
}

impl Tape {
    /// The same of a target that was looked at before its file began: `since` is when that was, in ns since the first look, and `lost` what was lost by then.
    #[must_use]
    pub fn going_on(self, since: u64, lost: Losses) -> Self {
        let tick = Cell::new(since);
        Self {
            since,
            lost,
            tick,
            ..self
        }
    }

    /// Writes what was seen.
    pub fn write(&self, observation: &Observation) {
        if let Some(observation) = self.in_file(observation) {
            self.writer.borrow_mut().write(self.target, &observation);
        }
    }

    /// What is told as of a file that began later than the target was first looked at; `None` of what was over by then.
    fn in_file<'a>(&self, observation: &'a Observation) -> Option<Cow<'a, Observation>> {
        if self.since == 0 {
            return Some(Cow::Borrowed(observation));
        }
        let mut told = observation.clone();
        match &mut told {
            Observation::Tick { at_ms } => {
                self.tick.set(at_ms.saturating_mul(1_000_000));
                *at_ms = at_ms.saturating_sub(self.since / 1_000_000);
            }
            Observation::Answers { at, .. }
            | Observation::Left { at, .. }
            | Observation::LetGo { at, .. }
            | Observation::Ended { at, .. }
            | Observation::End(End { at, .. }) => *at = at.saturating_sub(self.since),
            Observation::Lost(losses) => *losses = losses.since(&self.lost),
            Observation::Held(hold) => {
                let in_file = self.tick.get().saturating_sub(self.since);
                *hold = hold.clone().within(in_file as f64 / 1e9, 0.0)?;
            }
            _ => {}
        }
        Some(Cow::Owned(told))
    }
}

impl Writer {
    /// Writes what comes first. Until there is a target, what the file held before is left alone.
    fn begin(&mut self) {
        let Some(header) = self.header.take() else {
            return;
        };
        match Maker::new() {
            Ok(maker) => self.maker = Some(maker),
            Err(error) => self.fail(&error),
        }
        let header = serde_json::to_vec(&header).unwrap_or_default();
        let mut first = preface().to_vec();
        match self.block(Kind::Header, &header) {
            Ok(block) => {
                first.extend(block);
                self.put(&first);
            }
            Err(error) => self.fail(&error),
        }
    }

    fn write(&mut self, target: usize, observation: &Observation) {
        if let Why::Failed(_) = self.why {
            return;
        }
        self.encoder.observe(target, observation);
        if let Observation::End(_) = observation {
            self.ended = Some(self.elapsed());
        }
        let now = match observation {
            Observation::Tick { at_ms } => self.targets_began.get(target).map(|began| began + at_ms),
            _ => None,
        };
        let is_time = now.is_some_and(|now| now >= self.block_since + BLOCK_MS);
        if is_time || self.encoder.bytes() >= BLOCK_BYTES {
            self.block_since = now.unwrap_or(self.block_since);
            self.put_observations();
        }
    }

    fn put_observations(&mut self) {
        let content = self.encoder.take();
        if content.is_empty() {
            return;
        }
        match self.block(Kind::Observations, &content) {
            Ok(block) => self.put(&block),
            Err(error) => self.fail(&error),
        }
        if !self.has_room(0) && self.why == Why::Trace {
            self.end_of_room();
        }
    }

    fn end_of_room(&mut self) {
        match self.next {
            Some(_) => self.is_full = true,
            None => self.why = Why::Size,
        }
    }

    fn begin_next(&mut self) {
        let trailer = Trailer {
            started_at: self.first.started_at,
            duration_ns: self.elapsed(),
            refused: Refusals::default(),
        };
        self.finish(&trailer);
        let Some(next) = self.next.as_mut().filter(|_| self.why == Why::Trace) else {
            return;
        };
        match next() {
            Ok(output) => self.output = output,
            Err(error) => return self.fail(&error),
        }
        self.former = (self.former.0 + self.written, self.former.1 + 1);
        self.is_full = false;
        self.written = 0;
        self.began = Instant::now();
        self.ended = None;
        self.first.started_at = jiff::Timestamp::now();
        self.header = Some(self.first.clone());
        self.encoder = Encoder::default();
        self.block_since = 0;
        self.targets_began.clear();
    }

    /// How long the file is written, in ns.
    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether it may become so much larger.
    fn has_room(&self, bytes: u64) -> bool {
        self.max_bytes
            .is_none_or(|most| self.written.saturating_add(bytes).saturating_add(RESERVE) <= most)
    }

    /// What was observed before is written first, so that a file that is cut has all until then.
    fn keep(&mut self, packed: &Packed) {
        if self.header.is_some() || self.why != Why::Trace {
            return;
        }
        self.put_observations();
        if !self.has_room(packed.bytes()) && self.next.is_some() && self.has_begun_well() {
            // The next file has one at its beginning.
            self.is_full = true;
            return;
        }
        if !self.has_room(packed.bytes()) {
            self.miss("the recording would become larger than --max-size".to_owned());
            return;
        }
        packed.blocks.iter().for_each(|block| self.put(block));
        self.snapshots.kept += u64::from(self.why == Why::Trace);
    }

    /// Whether it has more than a beginning: what does not fit may fit into the next file.
    fn has_begun_well(&self) -> bool {
        self.max_bytes.is_some_and(|most| self.written > most / 2)
    }

    fn miss(&mut self, why: String) {
        self.snapshots.missing += 1;
        self.snapshots.why = Some(why);
    }

    fn block(&mut self, kind: Kind, content: &[u8]) -> io::Result<Vec<u8>> {
        match &mut self.maker {
            Some(maker) => maker.block(kind, content),
            None => Err(io::Error::other("nothing can be compressed")),
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Why::Failed(_) = self.why {
            return;
        }
        match self.output.write_all(bytes).and_then(|()| self.output.flush()) {
            Ok(()) => self.written += bytes.len() as u64,
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.why = Why::Failed(error.to_string());
    }

    fn finish(&mut self, trailer: &Trailer) -> Written {
        if self.header.is_some() {
            return Written {
                bytes: self.former.0,
                files: self.former.1,
                why: self.why.clone(),
                snapshots: self.snapshots.clone(),
            };
        }
        self.put_observations();
        let trailer = serde_json::to_vec(trailer).unwrap_or_default();
        match self.block(Kind::Trailer, &trailer) {
            Ok(block) => self.put(&block),
            Err(error) => self.fail(&error),
        }
        Written {
            bytes: self.former.0 + self.written,
            files: self.former.1 + 1,
            why: self.why.clone(),
            snapshots: self.snapshots.clone(),
        }
    }
}
