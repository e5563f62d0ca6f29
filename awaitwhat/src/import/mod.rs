//! Files that were written earlier, read back. They are hostile input as much as a target's memory: a file may be anything.

use std::io::{self, Read};

mod profile_json;

pub use profile_json::{Error, Kind, Saved, profile};

/// Bytes that a file may have.
pub const MAX_BYTES: u64 = 1 << 30;

/// Reads all of a file; one byte more than [`MAX_BYTES`] of a larger one.
///
/// # Errors
/// When it cannot be read.
pub fn read(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
