//! Finds what targets were at one moment of a recording.

use std::io::Read;

use super::Header;
use super::block::{Kind, NoBlock};
use super::bytes::Malformed;
use super::read::{Ending, Error, begin};
use super::snapshots::{Moment, Pieces};

/// A moment of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// So many ns after it began.
    Since(u64),
    /// By the clock of the machine that it is of.
    Time(jiff::Timestamp),
}

/// What a recording has of a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub header: Header,
    pub moment: Moment,
    /// How far the recording makes sense, as far as it had to be read.
    pub ending: Ending,
}

/// The snapshots that were taken last at a moment or before it; without one, the last of all.
///
/// # Errors
/// When there are none, or the file is no recording: see [`Error`].
pub fn kept(input: impl Read, at: Option<At>) -> Result<Kept, Error> {
    let (header, mut blocks) = begin(input)?;
    let mut found: Option<Pieces> = None;
    let mut coming: Option<Pieces> = None;
    let ending = loop {
        let before = blocks.offset;
        let damaged = |why: String| Ending::Damaged { at: before, why };
        match blocks.next_of(|kind| kind == Kind::Snapshots) {
            Ok((Kind::Snapshots, piece)) => {
                let pieces = match Pieces::take(coming.take(), &piece) {
                    Ok(pieces) => pieces,
                    Err(malformed) => break damaged(malformed.to_string()),
                };
                if at.is_some_and(|at| is_later(&pieces, at)) {
                    let seconds = pieces.since as f64 / 1e9;
                    found.as_ref().ok_or(Error::TooEarly { seconds })?;
                    break Ending::Whole;
                }
                if pieces.is_whole {
                    found = Some(pieces);
                } else {
                    coming = Some(pieces);
                }
            }
            Ok((Kind::Trailer, _)) => break Ending::Whole,
            Ok(_) => {}
            Err(NoBlock::End | NoBlock::Cut) => break Ending::Cut,
            Err(error @ NoBlock::Damaged) => break damaged(error.to_string()),
            Err(NoBlock::Unreadable(error)) => return Err(Error::Unreadable(error)),
        }
    };
    let found = found.ok_or(match ending {
        Ending::Damaged { at, .. } => Error::DamagedBefore { at },
        Ending::Whole | Ending::Cut => Error::NoSnapshots,
    })?;
    let moment = found.read().map_err(|Malformed(what)| Error::Nonsense { what })?;
    Ok(Kept {
        header,
        moment,
        ending,
    })
}

fn is_later(pieces: &Pieces, at: At) -> bool {
    match at {
        At::Since(since) => pieces.since > since,
        At::Time(time) => pieces.taken_at > time,
    }
}
