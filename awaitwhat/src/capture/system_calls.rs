//! The system calls that aya does not make, or makes only together with more than is wanted.
//!
//! Structures and numbers: `include/uapi/linux/{bpf,perf_event}.h`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr::NonNull;

/// Commands of the `bpf` system call that return a descriptor (`enum bpf_cmd`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Command {
    ProgramLoad = 5,
    TypesLoad = 18,
    LinkCreate = 28,
    IteratorCreate = 33,
}

impl Command {
    /// What the command is called in messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ProgramLoad => "bpf(BPF_PROG_LOAD)",
            Self::TypesLoad => "bpf(BPF_BTF_LOAD)",
            Self::LinkCreate => "bpf(BPF_LINK_CREATE)",
            Self::IteratorCreate => "bpf(BPF_ITER_CREATE)",
        }
    }
}

/// What a command takes: a `repr(C)` structure that begins as the command's member of `union bpf_attr` does.
///
/// # Safety
/// The structure has no padding, and all addresses in it are of live memory of the length that it says.
pub(super) unsafe trait Attributes {}

/// The `bpf` system call.
pub(super) fn bpf<T: Attributes>(command: Command, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: `attributes` is a live structure of the given size, whose addresses are as the trait demands.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as i32, attributes, size_of::<T>()) };
    descriptor(result)
}

/// `PERF_TYPE_SOFTWARE` and its `PERF_COUNT_SW_CPU_CLOCK`.
const SOFTWARE: u32 = 1;
const CPU_CLOCK: u64 = 0;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: u32 = 1 << 3;
/// The bit `disabled`: the event counts once it is enabled.
const DISABLED: u64 = 1;
/// `PERF_EVENT_IOC_SET_BPF` and `PERF_EVENT_IOC_ENABLE`.
const SET_PROGRAM: libc::Ioctl = 0x4004_2408;
const ENABLE: libc::Ioctl = 0x2400;

/// `struct perf_event_attr`, as long as in its first version.
#[repr(C)]
struct EventAttributes {
    event_type: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}

/// An event of the thread `tid`, once per `period` of its CPU time (ns). It runs `program` once it is enabled, until it is closed.
pub(super) fn cpu_clock_event(tid: u32, period: u64, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attributes = EventAttributes {
        event_type: SOFTWARE,
        size: size_of::<EventAttributes>() as u32,
        config: CPU_CLOCK,
        sample_period: period,
        sample_type: 0,
        read_format: 0,
        flags: DISABLED,
        wakeup_events: 0,
        breakpoint_type: 0,
        breakpoint_address: 0,
    };
    let (any_cpu, no_group) = (-1, -1);
    // SAFETY: the structure is live, and says how long it is.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            tid,
            any_cpu,
            no_group,
            CLOSE_ON_EXEC,
        )
    };
    let event = descriptor(result)?;
    // SAFETY: both descriptors are open, and the command takes one by its number.
    check(unsafe { libc::ioctl(event.as_raw_fd(), SET_PROGRAM, program.as_raw_fd()) })?;
    // SAFETY: the descriptor is open, and the command takes nothing.
    check(unsafe { libc::ioctl(event.as_raw_fd(), ENABLE, 0) })?;
    Ok(event)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The descriptor that a system call returned.
fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A file of the kernel's own, whose bytes never change, in this process's memory.
pub(super) struct FileMapping {
    start: NonNull<u8>,
    length: usize,
}

impl FileMapping {
    /// Maps the whole file.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let (anywhere, from) = (std::ptr::null_mut(), 0);
        // SAFETY: a new mapping replaces none.
        let start = unsafe {
            libc::mmap(
                anywhere,
                length,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                from,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, length })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is as long, lives as long as `self`, and nobody can write to it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for FileMapping {
    fn drop(&mut self) {
        // SAFETY: it is mapped, and nothing borrows it any more. An error would leave it mapped, which harms nobody.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
