//! The memory of another process by `process_vm_readv` and its mappings by `/proc`: what the tool itself never uses, and so
//! an oracle for what it reads through eBPF.

use std::fs;

use anyhow::{Context, Result};
use awaitwhat::memory::{Address, Fault, Mapping, Memory};

/// Memory of a process that we may trace.
#[derive(Clone, Copy, Debug)]
pub struct PeerMemory {
    pid: libc::pid_t,
}

impl PeerMemory {
    /// The memory of process `pid`.
    pub fn new(pid: u32) -> Result<Self> {
        Ok(Self {
            pid: libc::pid_t::try_from(pid)?,
        })
    }
}

impl Memory for PeerMemory {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Fault> {
        if buffer.is_empty() {
            return Ok(());
        }
        let length = buffer.len();
        let local = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: length,
        };
        let remote = libc::iovec {
            iov_base: address.0 as *mut libc::c_void,
            iov_len: length,
        };
        // SAFETY: `local` describes `buffer`, which is borrowed mutably for the whole call; `remote` is an address of the
        // other process and is never dereferenced in this one.
        let read = unsafe { libc::process_vm_readv(self.pid, &raw const local, 1, &raw const remote, 1, 0) };
        if usize::try_from(read) == Ok(length) {
            return Ok(());
        }
        match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::ESRCH) if read < 0 => Err(Fault::Gone),
            Some(errno) if read < 0 && errno != libc::EFAULT => Err(Fault::Reader { errno }),
            _ => Err(Fault::Unreadable { address, length }),
        }
    }
}

/// The mappings of process `pid`, from `/proc/PID/maps`.
pub fn mappings(pid: u32) -> Result<Vec<Mapping>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    maps.lines()
        .map(|line| mapping(line).with_context(|| format!("unexpected line in maps: {line}")))
        .collect()
}

/// One line: `start-end permissions offset device inode   path`.
fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let file_offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let _device = fields.next()?;
    let inode: u64 = fields.next()?.parse().ok()?;
    let path = fields.collect::<Vec<_>>().join(" ");
    let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
    Some(Mapping {
        start: Address(u64::from_str_radix(start, 16).ok()?),
        end: Address(u64::from_str_radix(end, 16).ok()?),
        readable: permissions.contains('r'),
        writable: permissions.contains('w'),
        executable: permissions.contains('x'),
        written: permissions.contains('w'),
        file_offset,
        file: (inode != 0).then_some(inode),
        name: if inode == 0 {
            String::new()
        } else {
            path.rsplit('/').next().unwrap_or_default().to_owned()
        },
    })
}
