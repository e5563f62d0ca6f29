//! Blocks: what a file consists of. A block is compressed, and has a checksum: it is whole, or it is not there.

use std::io::{self, Read};

use zstd::bulk::{Compressor, Decompressor};

use super::VERSION;

/// What a recording begins with: a byte that no text begins with, what it is, and the two ends of lines, which careless tools change.
pub(super) const MAGIC: [u8; 8] = *b"\x8eawait\r\n";
/// The magic bytes, and the format's version.
pub(super) const PREFACE: usize = MAGIC.len() + 4;
/// Kind, stored length, raw length, checksum.
const HEAD: usize = 16;
/// Bytes that the content of a block has at most, before and after it was compressed. A run of observations is ended long before.
pub(super) const MAX_RAW: usize = 8 << 20;
const MAX_STORED: usize = MAX_RAW + (MAX_RAW >> 7) + 512;
/// The compression of zstd: more of it takes time of a thread that has targets to look at.
const LEVEL: i32 = 3;

/// What a block holds. Kinds from 128 on may be left out by whoever does not know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Header,
    Observations,
    Trailer,
    /// A piece of the snapshots of one moment. Who does not know it reads the rest.
    Snapshots,
    /// Why the recording is kept. Who does not know it reads the rest.
    Trigger,
    /// One that this version does not know, and need not.
    Optional,
}

impl Kind {
    const fn number(self) -> u32 {
        match self {
            Self::Header => 1,
            Self::Observations => 2,
            Self::Trailer => 3,
            Self::Snapshots => 128,
            Self::Trigger => 129,
            Self::Optional => 130,
        }
    }

    const fn of_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Header),
            2 => Some(Self::Observations),
            3 => Some(Self::Trailer),
            128 => Some(Self::Snapshots),
            129 => Some(Self::Trigger),
            130..=255 => Some(Self::Optional),
            _ => None,
        }
    }
}

/// What a file begins with.
pub(super) fn preface() -> [u8; PREFACE] {
    let mut bytes = [0; PREFACE];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()..].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// Makes blocks.
pub(super) struct Maker(Compressor<'static>);

impl Maker {
    pub(super) fn new() -> io::Result<Self> {
        Compressor::new(LEVEL).map(Self)
    }

    /// A block, as it is written.
    pub(super) fn block(&mut self, kind: Kind, content: &[u8]) -> io::Result<Vec<u8>> {
        if content.len() > MAX_RAW {
            return Err(io::Error::other("a block of a recording would be too large"));
        }
        let stored = self.0.compress(content)?;
        let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let mut block = Vec::with_capacity(HEAD + stored.len());
        block.extend(kind.number().to_le_bytes());
        block.extend(word(stored.len()));
        block.extend(word(content.len()));
        let checksum = checksum(&block, &stored);
        block.extend(checksum.to_le_bytes());
        block.extend(stored);
        Ok(block)
    }
}

fn checksum(head: &[u8], stored: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(head);
    checksum.update(stored);
    checksum.finalize()
}

/// Why there is no other block.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoBlock {
    /// The file ends between two blocks.
    #[error("the file ends")]
    End,
    #[error("the file ends within a block")]
    Cut,
    #[error("a block is damaged")]
    Damaged,
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
}

/// Takes blocks from a file.
pub(super) struct Blocks<R> {
    input: R,
    decompressor: Decompressor<'static>,
    /// Bytes of the file before the next block.
    pub(super) offset: u64,
}

impl<R: Read> Blocks<R> {
    /// `input` stands behind the preface.
    pub(super) fn new(input: R) -> io::Result<Self> {
        Ok(Self {
            input,
            decompressor: Decompressor::new()?,
            offset: PREFACE as u64,
        })
    }

    /// The next block.
    pub(super) fn next(&mut self) -> Result<(Kind, Vec<u8>), NoBlock> {
        self.next_of(|_| true)
    }

    /// The next block. What it holds is left out where it `is_wanted` by nobody.
    pub(super) fn next_of(
        &mut self,
        is_wanted: impl FnOnce(Kind) -> bool,
    ) -> Result<(Kind, Vec<u8>), NoBlock> {
        let mut head = [0; HEAD];
        match self.fill(&mut head)? {
            0 => return Err(NoBlock::End),
            HEAD => {}
            _ => return Err(NoBlock::Cut),
        }
        let word = |index: usize| {
            let bytes = head[4 * index..].first_chunk();
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let (stored, raw) = (word(1) as usize, word(2) as usize);
        if stored > MAX_STORED || raw > MAX_RAW {
            return Err(NoBlock::Damaged);
        }
        let mut content = vec![0; stored];
        if self.fill(&mut content)? < stored {
            return Err(NoBlock::Cut);
        }
        if checksum(&head[..HEAD - 4], &content) != word(3) {
            return Err(NoBlock::Damaged);
        }
        let kind = Kind::of_number(word(0)).ok_or(NoBlock::Damaged)?;
        if !is_wanted(kind) {
            self.offset += (HEAD + stored) as u64;
            return Ok((kind, Vec::new()));
        }
        let content = self
            .decompressor
            .decompress(&content, raw)
            .map_err(|_| NoBlock::Damaged)?;
        if content.len() != raw {
            return Err(NoBlock::Damaged);
        }
        self.offset += (HEAD + stored) as u64;
        Ok((kind, content))
    }

    /// Reads until there is no more room, or no more to read; returns how much that was.
    fn fill(&mut self, room: &mut [u8]) -> Result<usize, NoBlock> {
        let mut filled = 0;
        while filled < room.len() {
            match self.input.read(&mut room[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NoBlock::Unreadable(error)),
            }
        }
        Ok(filled)
    }
}
