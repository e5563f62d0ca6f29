//! Iterators over one thread or one process. aya attaches iterators to the whole host only, so the two system calls are made here.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};

use super::error::CaptureError;
use super::program::TRACE_ITER;
use super::system_calls::{Attributes, Command, bpf};

/// Size of the kernel's buffer for an iterator's output, in bytes (`kernel/bpf/bpf_iter.c`).
const PIECE_BYTES: usize = 32 << 10;

/// `bpf_attr.link_create` with `bpf_iter_link_info`.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    info: u64,
    info_length: u32,
    padding: u32,
}

// SAFETY: the padding is a field, and `of_thread` fills in the address of a live structure with its length.
unsafe impl Attributes for LinkCreate {}

/// `bpf_iter_link_info.task`.
#[repr(C)]
struct TaskInfo {
    tid: u32,
    pid: u32,
    pid_fd: u32,
    padding: u32,
}

/// `bpf_attr.iter_create`.
#[repr(C)]
struct IterCreate {
    link: u32,
    flags: u32,
}

// SAFETY: there is no padding, and no address.
unsafe impl Attributes for IterCreate {}

/// An iterator program bound to one thread or to one process.
pub(super) struct TaskIterator {
    link: OwnedFd,
}

impl TaskIterator {
    /// Binds `program` to the thread `tid`.
    pub(super) fn of_thread(program: &OwnedFd, tid: u32) -> Result<Self, CaptureError> {
        let info = TaskInfo {
            tid,
            pid: 0,
            pid_fd: 0,
            padding: 0,
        };
        let mut attributes = LinkCreate {
            program: program.as_raw_fd().cast_unsigned(),
            target: 0,
            attach_type: TRACE_ITER,
            flags: 0,
            info: (&raw const info).expose_provenance() as u64,
            info_length: size_of::<TaskInfo>() as u32,
            padding: 0,
        };
        Ok(Self {
            link: made(Command::LinkCreate, &mut attributes)?,
        })
    }

    /// Runs the program once, and fills `output`, which is not empty, with what it writes; returns how many bytes that are.
    pub(super) fn run(&self, output: &mut [u8]) -> Result<usize, CaptureError> {
        let mut attributes = IterCreate {
            link: self.link.as_raw_fd().cast_unsigned(),
            flags: 0,
        };
        let mut file = File::from(made(Command::IteratorCreate, &mut attributes)?);
        let mut filled = 0;
        while filled < output.len() {
            match file.read(&mut output[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                // EAGAIN: the kernel visited a million objects without output, and yields.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) => {}
                Err(error) => return Err(CaptureError::from_io("reading an eBPF iterator", error)),
            }
        }
        Ok(filled)
    }

    /// Runs the program once, and hands over what it writes, piece by piece, until `receive` has enough.
    pub(super) fn run_while(&self, mut receive: impl FnMut(&[u8]) -> bool) -> Result<(), CaptureError> {
        let mut attributes = IterCreate {
            link: self.link.as_raw_fd().cast_unsigned(),
            flags: 0,
        };
        let mut file = File::from(made(Command::IteratorCreate, &mut attributes)?);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) if receive(&piece[..count]) => {}
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CaptureError::from_io("reading an eBPF iterator", error)),
            }
        }
    }
}

fn made<T: Attributes>(command: Command, attributes: &mut T) -> Result<OwnedFd, CaptureError> {
    bpf(command, attributes).map_err(|error| CaptureError::from_io(command.name(), error))
}
