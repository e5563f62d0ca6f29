//! Recordings: the observations of a trace in a file, written as they come, from which the same sums are made again. `docs/recording-format.md` describes the
//! file exactly.
//!
//! A file consists of [blocks](block), each of which is whole or not there. Most hold a run of observations, as [`encode`] writes them and [`decode`] reads
//! them; both go by the same [`passes`] and [`tables`]. Others hold [`snapshots`] of moments, and why the recording was kept ([`trigger`]).

mod block;
mod bytes;
mod decode;
mod encode;
mod entry;
mod lane;
mod moments;
mod passes;
mod read;
mod snapshots;
mod tables;
#[cfg(test)]
mod tests;
mod trigger;
mod write;

pub use entry::Target;
pub use moments::{At, Kept, kept};
pub use read::{Ending, Error, Recording, Window, read, read_with_timelines};
pub use snapshots::{Moment, NotPacked, Packed, pack};
pub use trigger::Trigger;
pub use write::{Next, Options, Recorder, Snapshots, Tape, Why, Written, begins_like_one};

/// Version of the format that is written, and the only one that is read.
const VERSION: u32 = 1;

/// What a recording says of itself before anything else.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Header {
    /// Version of the awaitwhat that has written it.
    pub awaitwhat: String,
    /// The machine, by its name and its architecture.
    pub host: String,
    pub architecture: String,
    pub started_at: jiff::Timestamp,
    /// Looks per second.
    pub rate_hz: u32,
    pub max_frames: usize,
    /// One process was named, and no more.
    pub is_single: bool,
}

impl Header {
    /// That of a recording which begins here and now.
    #[must_use]
    pub fn new(rate_hz: u32, max_frames: usize, is_single: bool) -> Self {
        Self {
            awaitwhat: env!("CARGO_PKG_VERSION").to_owned(),
            host: own_host(),
            architecture: std::env::consts::ARCH.to_owned(),
            started_at: jiff::Timestamp::now(),
            rate_hz,
            max_frames,
            is_single,
        }
    }
}

/// The name of this machine.
#[must_use]
pub fn own_host() -> String {
    let host = rustix::system::uname();
    host.nodename().to_string_lossy().into_owned()
}

/// What a recording says in the end, where it came to one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Trailer {
    started_at: jiff::Timestamp,
    duration_ns: u64,
    refused: crate::survey::Refusals,
}
