//! Memory of the target, as everything in user space reads it.
//!
//! The live implementation goes through an eBPF program (`capture`), so that no ptrace right is needed; tests read
//! recorded images.

use std::fmt;

use awaitwhat_common::reads::Refusal;

/// An address in the target. Never an address of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub u64);

impl Address {
    pub const NULL: Self = Self(0);

    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address `offset` bytes further on. Wraps, as garbage may be added to garbage: the read that follows fails.
    #[must_use]
    pub fn offset(self, offset: u64) -> Self {
        Self(self.0.wrapping_add(offset))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#x}", self.0)
    }
}

/// A read of the target's memory that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing is mapped there, or the pointer is garbage.
    #[error("the target's memory at {address} ({length} bytes) cannot be read")]
    Unreadable { address: Address, length: usize },
    /// Something is mapped there, but a read could do harm.
    #[error("the target's memory at {address} ({length} bytes) is not read: {}", in_words(*why))]
    Refused {
        address: Address,
        length: usize,
        why: Refusal,
    },
    /// The process has ended, or has replaced itself by another program.
    #[error("the target has exited, or replaced itself by another program")]
    Gone,
    /// The reader itself failed (a system call's `errno`).
    #[error("reading the target's memory failed: {}{}", std::io::Error::from_raw_os_error(*errno), advice(*errno))]
    Reader { errno: i32 },
}

/// What to do about an error number, where that is known.
const fn advice(errno: i32) -> &'static str {
    match errno {
        libc::EMFILE => "; raise `ulimit -n`, or look at fewer processes at a time",
        libc::ENOMEM => "; raise what limits this process (memory.max of its control group)",
        _ => "",
    }
}

const fn in_words(why: Refusal) -> &'static str {
    match why {
        Refusal::Shared => "it is shared, and a read could make pages, which are charged to the target",
        Refusal::Device => "it belongs to a device, or to huge pages",
        Refusal::Untouched => {
            "it is a part of a file in memory that nobody has touched, and a read would make it"
        }
        Refusal::Waits => "it lies in a file system that may have to be waited for",
        Refusal::OwnWaits => "the file system that the target's program lies on does not answer",
    }
}

impl Fault {
    /// Whether it says something of the place that was read, and not that nothing can be read any more.
    #[must_use]
    pub const fn is_of_place(&self) -> bool {
        matches!(self, Self::Unreadable { .. } | Self::Refused { .. })
    }
}

/// Reads the target's memory.
pub trait Memory {
    /// Fills `buffer` from `address` on.
    ///
    /// # Errors
    /// When any byte of it cannot be read; `buffer` then holds nothing of meaning.
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Fault>;

    /// Makes later reads see what the target has changed since, where an implementation remembers what it has read.
    fn forget(&self) {}

    /// Says what is going to be read from, which an implementation may read at one go. What cannot be read shows when it is read.
    fn prepare(&self, _addresses: &[Address]) {}

    /// Reads a little-endian 64-bit word.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn read_u64(&self, address: Address) -> Result<u64, Fault> {
        let mut word = [0; 8];
        self.read(address, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    /// Reads a pointer.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn read_address(&self, address: Address) -> Result<Address, Fault> {
        self.read_u64(address).map(Address)
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Fault> {
        (**self).read(address, buffer)
    }

    fn forget(&self) {
        (**self).forget();
    }

    fn prepare(&self, addresses: &[Address]) {
        (**self).prepare(addresses);
    }
}

/// A part of the target's memory as a record has it: how it was in the turn of the loop that the record is of.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// Address of the first byte.
    pub start: Address,
    pub bytes: &'a [u8],
}

impl Memory for Fragment<'_> {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault::Unreadable {
            address,
            length: buffer.len(),
        };
        let from = usize::try_from(address.0.wrapping_sub(self.start.0)).map_err(|_| fault)?;
        let end = from.checked_add(buffer.len()).ok_or(fault)?;
        buffer.copy_from_slice(self.bytes.get(from..end).ok_or(fault)?);
        Ok(())
    }
}

/// One mapping of the target's address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: Address,
    /// One past the last address.
    pub end: Address,
    /// Whether the target can read it, and a read from outside does no harm ([`awaitwhat_common::reads`]).
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
    /// Whether the target has written to a page of it.
    pub written: bool,
    /// Offset of `start` in the file, in bytes.
    pub file_offset: u64,
    /// Identity of the open file: equal for mappings of one file; `None` for anonymous memory.
    pub file: Option<u64>,
    /// Base name of the file (not a path: it works in any mount namespace, and when the file is deleted). Empty for anonymous memory.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::{Address, Fragment, Memory};

    #[test]
    fn a_fragment_has_what_it_has_and_nothing_else() {
        let bytes: Vec<u8> = (0..16).collect();
        let fragment = Fragment {
            start: Address(0x1000),
            bytes: &bytes,
        };
        assert_eq!(fragment.read_u64(Address(0x1008)).unwrap().to_le_bytes()[0], 8);
        for outside in [0, 0xff8, 0xfff, 0x1009, 0x1010, u64::MAX] {
            assert!(fragment.read_u64(Address(outside)).is_err(), "{outside:#x}");
        }
    }
}
