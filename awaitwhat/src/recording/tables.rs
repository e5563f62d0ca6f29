//! Texts, frames, stacks and resources have numbers, from 0 on, in the order in which they are defined; until all of them are forgotten at once, as they take
//! too much room.

use std::collections::HashMap;
use std::sync::Arc;

use super::bytes::Malformed;
use crate::origin::Rank;
use crate::profile::ChainState;
use crate::resource::Resource;
use crate::snapshot::{Frame, FrameKind, Stack};

/// Entries and bytes of text after which the writer begins anew, and the most that a reader takes.
pub(super) const FULL: usize = 1 << 17;
pub(super) const FULL_BYTES: usize = 16 << 20;
const MAX_ENTRIES: usize = 2 * FULL;
const MAX_BYTES: usize = 4 * FULL_BYTES;
/// What an entry takes besides its text.
const ENTRY: usize = 64;

/// Numbers by values.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) texts: HashMap<Arc<str>, u64>,
    pub(super) frames: HashMap<Frame, u64>,
    pub(super) stacks: HashMap<Stack, u64>,
    pub(super) resources: HashMap<Arc<Resource>, u64>,
    pub(super) bytes: usize,
}

impl Numbers {
    /// Whether it is time to begin anew.
    pub(super) fn is_full(&self) -> bool {
        let most = [
            self.texts.len(),
            self.frames.len(),
            self.stacks.len(),
            self.resources.len(),
        ];
        self.bytes >= FULL_BYTES || most.into_iter().any(|entries| entries >= FULL)
    }

    /// Notes that something with so many bytes of content was defined.
    pub(super) fn grow(&mut self, bytes: usize) {
        self.bytes += ENTRY + bytes;
    }
}

/// Values by numbers.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) texts: Vec<Arc<str>>,
    pub(super) frames: Vec<Frame>,
    pub(super) stacks: Vec<Stack>,
    pub(super) resources: Vec<Arc<Resource>>,
    bytes: usize,
}

impl Values {
    /// Notes that something is defined, with so many bytes of content.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.bytes += ENTRY + bytes;
        let most = [
            self.texts.len(),
            self.frames.len(),
            self.stacks.len(),
            self.resources.len(),
        ];
        let fits = self.bytes <= MAX_BYTES && most.into_iter().all(|entries| entries < MAX_ENTRIES);
        fits.then_some(()).ok_or(Malformed("when its tables are full"))
    }
}

/// Values that are written as the places that they have here.
pub(super) const FRAME_KINDS: [FrameKind; 7] = [
    FrameKind::Coroutine,
    FrameKind::AsyncGenerator,
    FrameKind::Generator,
    FrameKind::Function,
    FrameKind::Opaque,
    FrameKind::Unknown,
    FrameKind::LeftOut,
];
pub(super) const RANKS: [Rank; 4] = [
    Rank::Unknown,
    Rank::StandardLibrary,
    Rank::Installed,
    Rank::Application,
];
pub(super) const STATES: [ChainState; 3] = [ChainState::Waiting, ChainState::Ready, ChainState::Running];

/// The place of a value.
pub(super) fn place_of<T: PartialEq>(values: &[T], value: &T) -> u8 {
    let place = values.iter().position(|it| it == value);
    place
        .and_then(|place| u8::try_from(place).ok())
        .unwrap_or(u8::MAX)
}

/// The value at a place.
pub(super) fn at<T: Copy>(values: &[T], place: u8) -> Result<T, Malformed> {
    let value = values.get(usize::from(place));
    value.copied().ok_or(Malformed("which of several values it is"))
}
