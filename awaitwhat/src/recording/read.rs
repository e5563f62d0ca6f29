//! Reads a recording, and sums up what it tells of.

use std::io::{self, Read};

use super::block::{Blocks, Kind, MAGIC, NoBlock, PREFACE};
use super::bytes::Malformed;
use super::decode::{Decoder, Told};
use super::{Header, Target, Trailer, Trigger, VERSION};
use crate::budget::{Budget, SUMS_BYTES};
use crate::file_kinds;
use crate::profile::{Changes, MAX_CHANGES, Observation, Profile, Sums};
use crate::survey::Refusals;

/// Bytes of text that sums may stand for: a trace adds them up long before.
const MAX_SUMS_BYTES: usize = 4 * SUMS_BYTES;
/// Reasons for which one is kept that are told.
const MAX_TRIGGERS: usize = 1000;
/// Bytes by which it is told what a file is.
const BEGINNING: usize = 256;

/// Why a file cannot be shown as a recording.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is no recording: it is {0}")]
    Foreign(String),
    #[error(
        "it is of version {found} of the format, and this awaitwhat reads version {VERSION}: read it with the awaitwhat that has written it, or a newer one"
    )]
    Version { found: u32 },
    #[error("it was cut off before it told of anything that could be shown")]
    Cut,
    #[error("it is damaged at its beginning, so that nothing can be shown: copy it anew, as binary")]
    Damaged,
    #[error(
        "it tells of no process that has tasks between these moments: before the later one it goes from 0 to {seconds:.1} s"
    )]
    Nothing { seconds: f64 },
    #[error(
        "it has no snapshots: `awaitwhat record` keeps some unless --snapshots is 0, and `awaitwhat report` shows what was traced"
    )]
    NoSnapshots,
    #[error(
        "its first snapshot is of {seconds:.2} s after it began, and it tells of no moment before: choose a later one for --at"
    )]
    TooEarly { seconds: f64 },
    #[error("it is damaged from byte {at} on, and has no snapshots before that")]
    DamagedBefore { at: u64 },
    #[error("its snapshot of that moment does not say {what}")]
    Nonsense { what: &'static str },
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
}

/// How far a recording goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// To its end.
    Whole,
    /// Its last block is missing.
    Cut,
    /// The block at this byte of the file makes no sense, and nothing is known of what comes after.
    Damaged { at: u64, why: String },
}

/// The period that counts, in ns since the recording began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub from: Option<u64>,
    pub to: Option<u64>,
}

/// What a recording comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    pub header: Header,
    /// When the period began, and how long it was, in ns.
    pub started_at: jiff::Timestamp,
    pub duration_ns: u64,
    /// In ascending order of process ids.
    pub profiles: Vec<Profile>,
    pub refused: Refusals,
    /// Why it was kept, where that was not just asked for: the first reasons.
    pub triggers: Vec<Trigger>,
    pub ending: Ending,
}

/// A target, as it is summed up.
struct Replayed {
    target: Target,
    sums: Sums,
    /// What each task did, where that is asked for.
    changes: Option<Changes>,
    /// Whether the period has begun, and is over.
    has_begun: bool,
    is_over: bool,
    /// When something was told last that comes after it, in ns since the target was first looked at.
    late: u64,
}

/// Reads a recording up to where it makes sense. What counts is the `window` that is chosen by what the recording says of itself.
///
/// # Errors
/// When nothing of it does, or it tells of nothing: see [`Error`].
pub fn read(input: impl Read, window: impl FnOnce(&Header) -> Window) -> Result<Recording, Error> {
    read_keeping(input, window, None)
}

/// The same, with what each task did: see [`Profile::timeline`].
///
/// # Errors
/// As [`read`].
pub fn read_with_timelines(
    input: impl Read,
    window: impl FnOnce(&Header) -> Window,
) -> Result<Recording, Error> {
    read_keeping(input, window, Some(Budget::new(MAX_CHANGES)))
}

fn read_keeping(
    input: impl Read,
    window: impl FnOnce(&Header) -> Window,
    changes: Option<Budget>,
) -> Result<Recording, Error> {
    let (header, mut blocks) = begin(input)?;
    let mut replay = Replay {
        window: window(&header),
        budget: Budget::new(usize::MAX),
        changes,
        targets: Vec::new(),
    };
    let mut decoder = Decoder::default();
    let mut trailer: Option<Trailer> = None;
    let mut triggers = Vec::new();
    let ending = loop {
        let at = blocks.offset;
        let damaged = |why: String| Ending::Damaged { at, why };
        match blocks.next_of(|kind| kind != Kind::Snapshots) {
            Ok((Kind::Observations, content)) if trailer.is_none() => {
                if let Err(malformed) = decoder.run(&content, |told| replay.take(told)) {
                    break damaged(malformed.to_string());
                }
            }
            Ok((Kind::Trailer, content)) if trailer.is_none() => match serde_json::from_slice(&content) {
                Ok(found) => trailer = Some(found),
                Err(_) => break damaged("its end is none".to_owned()),
            },
            Ok((Kind::Trigger, content)) => match serde_json::from_slice(&content) {
                Ok(trigger) if triggers.len() < MAX_TRIGGERS => triggers.push(trigger),
                Ok(_) => {}
                Err(_) => break damaged("what it was kept for is nothing".to_owned()),
            },
            Ok((Kind::Snapshots | Kind::Optional, _)) => {}
            Ok(_) => break damaged("its blocks are in no order".to_owned()),
            Err(NoBlock::End) if trailer.is_some() => break Ending::Whole,
            Err(NoBlock::End | NoBlock::Cut) => break Ending::Cut,
            Err(error @ NoBlock::Damaged) => break damaged(error.to_string()),
            Err(NoBlock::Unreadable(error)) => return Err(Error::Unreadable(error)),
        }
    };
    let recording = replay.finish(header, trailer, ending)?;
    Ok(Recording {
        triggers,
        ..recording
    })
}

/// Takes what a recording says of itself; the other blocks are to follow.
pub(super) fn begin<R: Read>(mut input: R) -> Result<(Header, Blocks<R>), Error> {
    preface(&mut input)?;
    let mut blocks = Blocks::new(input).map_err(Error::Unreadable)?;
    let header = match blocks.next() {
        Ok((Kind::Header, content)) => serde_json::from_slice(&content).map_err(|_| Error::Damaged)?,
        Ok(_) | Err(NoBlock::Damaged) => return Err(Error::Damaged),
        Err(NoBlock::End | NoBlock::Cut) => return Err(Error::Cut),
        Err(NoBlock::Unreadable(error)) => return Err(Error::Unreadable(error)),
    };
    Ok((header, blocks))
}

/// Takes the bytes that a recording begins with.
fn preface(input: &mut impl Read) -> Result<(), Error> {
    let mut beginning = Vec::new();
    let mut take = |bytes: usize| input.take(bytes as u64).read_to_end(&mut beginning);
    take(PREFACE).map_err(Error::Unreadable)?;
    let version = beginning.strip_prefix(&MAGIC[..]).map(<[u8]>::first_chunk);
    match version {
        Some(Some(version)) => match u32::from_le_bytes(*version) {
            VERSION => Ok(()),
            found => Err(Error::Version { found }),
        },
        Some(None) => Err(Error::Cut),
        None if !beginning.is_empty() && MAGIC.starts_with(&beginning) => Err(Error::Cut),
        None => {
            let rest = input
                .take((BEGINNING - PREFACE) as u64)
                .read_to_end(&mut beginning);
            rest.map_err(Error::Unreadable)?;
            Err(Error::Foreign(file_kinds::of(&beginning)))
        }
    }
}

/// Sums up what a recording tells.
struct Replay {
    window: Window,
    budget: Budget,
    /// What timelines may take, where they are kept.
    changes: Option<Budget>,
    targets: Vec<Replayed>,
}

impl Replay {
    fn take(&mut self, told: Told) -> Result<(), Malformed> {
        match told {
            Told::Target(target) => {
                let is_over = self.window.to.is_some_and(|to| target.began >= to);
                self.targets.push(Replayed {
                    sums: Sums::new(&self.budget),
                    changes: self.changes.as_ref().map(Changes::new),
                    has_begun: self.window.from.is_none_or(|from| from <= target.began),
                    is_over,
                    late: 0,
                    target,
                });
                Ok(())
            }
            Told::Seen(number, observation) => {
                let told = self.targets.get_mut(number);
                let told = told.ok_or(Malformed("which target it is about"))?;
                told.take(observation, self.window);
                (told.sums.bytes() <= MAX_SUMS_BYTES)
                    .then_some(())
                    .ok_or(Malformed(
                        "of so many chains, in a file that can be read with bounded memory",
                    ))
            }
        }
    }

    fn finish(self, header: Header, trailer: Option<Trailer>, ending: Ending) -> Result<Recording, Error> {
        let Window { from, to } = self.window;
        let first = self.targets.iter().map(|it| it.target.began).min().unwrap_or(0);
        let last = self.targets.iter().map(Replayed::latest).max().unwrap_or(0);
        // What is not windowed is as long as the trace was.
        let (started_at, duration_ns) = match &trailer {
            Some(trailer) if self.window == Window::default() => (trailer.started_at, trailer.duration_ns),
            _ => {
                let begin = from.unwrap_or(0).max(first);
                let end = to.unwrap_or(u64::MAX).min(last);
                (later(header.started_at, begin), end.saturating_sub(begin))
            }
        };
        let mut profiles: Vec<Profile> = self
            .targets
            .into_iter()
            .filter_map(Replayed::into_profile)
            .collect();
        profiles.sort_by_key(|profile| profile.processes.first().map(|process| process.pid));
        if profiles.is_empty() {
            return Err(match ending {
                _ if self.window != Window::default() && last > 0 => Error::Nothing {
                    seconds: last as f64 / 1e9,
                },
                Ending::Whole => Error::Nothing {
                    seconds: last as f64 / 1e9,
                },
                Ending::Cut => Error::Cut,
                Ending::Damaged { .. } => Error::Damaged,
            });
        }
        Ok(Recording {
            header,
            started_at,
            duration_ns,
            profiles,
            refused: trailer.map(|trailer| trailer.refused).unwrap_or_default(),
            triggers: Vec::new(),
            ending,
        })
    }
}

impl Replayed {
    fn take(&mut self, observation: Observation, window: Window) {
        if self.is_over {
            self.take_late(observation);
            return;
        }
        if let Observation::Tick { at_ms } = observation {
            let at = self.target.began.saturating_add(at_ms.saturating_mul(1_000_000));
            if !self.has_begun && window.from.is_some_and(|from| at >= from) {
                self.has_begun = true;
                self.sums.begin_period();
                if let Some(changes) = &mut self.changes {
                    changes.begin_period();
                }
                let since = self.sums.latest();
                self.target.started_at = later(self.target.started_at, since);
            }
            if window.to.is_some_and(|to| at >= to) {
                self.is_over = true;
                self.sums.settle_as_seen();
                return;
            }
        }
        if let Some(changes) = &mut self.changes {
            changes.take(&observation);
        }
        self.sums.take(observation);
    }

    /// Takes what comes after the window: a turn that is over by then may have held its loop within it.
    fn take_late(&mut self, observation: Observation) {
        match observation {
            Observation::Tick { at_ms } => self.late = at_ms.saturating_mul(1_000_000),
            Observation::Held(hold) if self.has_begun => self.sums.hold(hold, self.late),
            _ => {}
        }
    }

    /// The last moment that counts, in ns since the recording began.
    fn latest(&self) -> u64 {
        self.target.began.saturating_add(self.sums.latest())
    }

    /// `None` where it does not belong to the result.
    fn into_profile(self) -> Option<Profile> {
        let is_within = self.has_begun && self.sums.latest() > 0;
        let Target {
            process,
            started_at,
            is_shown_empty,
            ..
        } = self.target;
        let profile = Profile {
            timeline: self.changes.map(Changes::into_timeline),
            ..self.sums.into_profile(process, started_at)
        };
        (is_within && (is_shown_empty || profile.has_tasks())).then_some(profile)
    }
}

/// A moment so many ns after another one.
fn later(moment: jiff::Timestamp, nanoseconds: u64) -> jiff::Timestamp {
    let later = moment.checked_add(std::time::Duration::from_nanos(nanoseconds));
    later.unwrap_or(moment)
}
