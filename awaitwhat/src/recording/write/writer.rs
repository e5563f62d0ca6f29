//! What is written to one file after the other: blocks, as they come to be whole.

use std::io::{self, Write};
use std::time::Instant;

use super::super::block::{Kind, Maker, preface};
use super::super::encode::Encoder;
use super::super::snapshots::Packed;
use super::super::trigger::Trigger;
use super::super::{Header, Trailer};
use super::{Next, Snapshots, Why, Written};
use crate::profile::Observation;
use crate::survey::Refusals;

/// A block is written as soon as it has so many bytes, or tells of so many ms.
const BLOCK_BYTES: usize = 256 << 10;
const BLOCK_MS: u64 = 1000;
/// What is left for the end of a recording that may not become larger.
const RESERVE: u64 = 128 << 10;

/// Where blocks go.
pub(super) enum Output {
    File(Box<dyn Write + Send>),
    /// Nowhere, until it is known whether they are to be kept.
    Memory(Vec<u8>),
}

pub(super) struct Writer {
    pub(super) output: Output,
    pub(super) maker: Option<Maker>,
    pub(super) next: Option<Next>,
    /// It is as large as it may be, and another file is to follow.
    pub(super) is_full: bool,
    pub(super) began: Instant,
    /// When a target was last looked at no longer, in ns since it began.
    pub(super) ended: Option<u64>,
    /// Bytes and number of the files before this one.
    pub(super) former: (u64, u64),
    pub(super) first: Header,
    /// What is written before anything else, once there is something.
    pub(super) header: Option<Header>,
    pub(super) encoder: Encoder,
    pub(super) max_bytes: Option<u64>,
    pub(super) written: u64,
    pub(super) why: Why,
    pub(super) snapshots: Snapshots,
    /// When the first entry of the block was seen, in ms since the recording began.
    pub(super) block_since: u64,
    /// When each target was first looked at, in the same.
    pub(super) targets_began: Vec<u64>,
}

impl Writer {
    pub(super) fn new(
        output: Output,
        header: Header,
        (max_bytes, next): (Option<u64>, Option<Next>),
    ) -> Self {
        Self {
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
        }
    }

    pub(super) fn let_out(&mut self, mut output: Box<dyn Write + Send>, max_bytes: Option<u64>) {
        self.max_bytes = max_bytes;
        if let Output::Memory(held) = &self.output
            && let Err(error) = output.write_all(held).and_then(|()| output.flush())
        {
            // How much of it is there is not known.
            self.written = 0;
            self.fail(&error);
        }
        self.output = Output::File(output);
    }

    pub(super) fn note(&mut self, trigger: &Trigger) {
        if self.header.is_some() {
            return;
        }
        self.put_observations();
        let content = serde_json::to_vec(trigger).unwrap_or_default();
        match self.block(Kind::Trigger, &content) {
            Ok(block) => self.put(&block),
            Err(error) => self.fail(&error),
        }
    }

    /// Writes what comes first. Until there is a target, what the file held before is left alone.
    pub(super) fn begin(&mut self) {
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

    pub(super) fn write(&mut self, target: usize, observation: &Observation) {
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

    pub(super) fn put_observations(&mut self) {
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

    pub(super) fn end_of_room(&mut self) {
        match self.next {
            Some(_) => self.is_full = true,
            None => self.why = Why::Size,
        }
    }

    pub(super) fn begin_next(&mut self) {
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
            Ok(output) => self.output = Output::File(output),
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
    pub(super) fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether it may become so much larger.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.max_bytes
            .is_none_or(|most| self.written.saturating_add(bytes).saturating_add(RESERVE) <= most)
    }

    /// What was observed before is written first, so that a file that is cut has all until then.
    pub(super) fn keep(&mut self, packed: &Packed) {
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
    pub(super) fn has_begun_well(&self) -> bool {
        self.max_bytes.is_some_and(|most| self.written > most / 2)
    }

    pub(super) fn miss(&mut self, why: String) {
        self.snapshots.missing += 1;
        self.snapshots.why = Some(why);
    }

    pub(super) fn block(&mut self, kind: Kind, content: &[u8]) -> io::Result<Vec<u8>> {
        match &mut self.maker {
            Some(maker) => maker.block(kind, content),
            None => Err(io::Error::other("nothing can be compressed")),
        }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        if let Why::Failed(_) = self.why {
            return;
        }
        let put = match &mut self.output {
            Output::File(file) => file.write_all(bytes).and_then(|()| file.flush()),
            Output::Memory(held) => {
                held.extend(bytes);
                Ok(())
            }
        };
        match put {
            Ok(()) => self.written += bytes.len() as u64,
            Err(error) => self.fail(&error),
        }
    }

    pub(super) fn fail(&mut self, error: &io::Error) {
        self.why = Why::Failed(error.to_string());
    }

    pub(super) fn finish(&mut self, trailer: &Trailer) -> Written {
        if self.header.is_some() {
            return Written {
                bytes: self.former.0,
                files: self.former.1,
                why: self.why.clone(),
                snapshots: self.snapshots.clone(),
                triggers: None,
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
            triggers: None,
        }
    }
}
