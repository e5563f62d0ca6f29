//! What can go wrong between us and the kernel.

use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

/// Lines of a verifier's log that are worth showing: the reason is at its end.
const LOG_LINES: usize = 12;

/// An error of the kernel side.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The process or thread has ended.
    #[error("the target has exited")]
    Gone,
    /// The kernel refuses for want of a capability.
    #[error(
        "the kernel does not permit {what}: awaitwhat needs the capabilities CAP_BPF and CAP_PERFMON\n\
         run it with sudo, or see `awaitwhat doctor` for what is missing and how to grant it"
    )]
    Permission { what: &'static str },
    /// The kernel's type information is missing.
    #[error(
        "this kernel does not describe its own types ({0})\n\
         awaitwhat needs a kernel of version 6.1 or later built with CONFIG_DEBUG_INFO_BTF (/sys/kernel/btf/vmlinux)"
    )]
    Btf(String),
    /// A field is not in the kernel's type information, or not as the programs read it.
    #[error(
        "in this kernel's type information `{name}` {problem}: please report it with the output of `uname -r`"
    )]
    KernelType {
        name: &'static str,
        problem: &'static str,
    },
    /// The kernel rejects a program.
    #[error(
        "the kernel rejects the eBPF program `{program}`\n\
         awaitwhat needs a kernel of version 6.1 or later; `awaitwhat doctor` tells what this one lacks\n\
         the kernel's own words: {reason}"
    )]
    Load { program: &'static str, reason: String },
    /// The embedded object is not what this program expects.
    #[error(
        "the embedded eBPF object has no `{0}`: it does not belong to this build, rebuild it with `cargo xtask build-ebpf`"
    )]
    Object(&'static str),
    /// A map operation failed.
    #[error("an eBPF map refused an operation: {0}")]
    Map(String),
    /// A system call failed.
    #[error("{call} failed: {error}")]
    SystemCall { call: &'static str, error: io::Error },
    #[error("a file descriptor could not be duplicated: {0}")]
    Descriptor(io::Error),
}

impl CaptureError {
    pub(super) fn load<E: std::error::Error + 'static>(program: &'static str, error: &E) -> Self {
        if is_permission(error) {
            return Self::Permission {
                what: "loading eBPF programs",
            };
        }
        Self::Load {
            program,
            reason: reason(error),
        }
    }

    pub(super) fn attach(error: &ProgramError) -> Self {
        if let ProgramError::SyscallError(call) = error {
            match call.io_error.raw_os_error() {
                Some(libc::ESRCH) => return Self::Gone,
                Some(libc::EPERM | libc::EACCES) => return Self::Permission { what: "perf events" },
                _ => {}
            }
        }
        Self::Load {
            program: "sample_thread",
            reason: reason(error),
        }
    }

    pub(super) fn map(error: MapError) -> Self {
        Self::Map(chain(&error))
    }

    pub(super) fn call(call: &'static str) -> Self {
        Self::from_io(call, io::Error::last_os_error())
    }

    pub(super) fn from_io(call: &'static str, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ESRCH | libc::ENOENT) => Self::Gone,
            Some(libc::EPERM | libc::EACCES) => Self::Permission { what: call },
            _ => Self::SystemCall { call, error },
        }
    }
}

/// The end of a message that can have the length of a verifier's log.
fn reason<E: std::error::Error + 'static>(error: &E) -> String {
    let text = chain(error);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// An error and its causes in one line each.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Whether the cause of all is that the kernel does not permit it. (EACCES is what the verifier says to a bad program.)
fn is_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io_error =
            error
                .downcast_ref::<io::Error>()
                .or_else(|| match error.downcast_ref::<ProgramError>() {
                    Some(ProgramError::LoadError { io_error, .. }) => Some(io_error),
                    Some(ProgramError::SyscallError(call)) => Some(&call.io_error),
                    _ => match error.downcast_ref::<EbpfError>() {
                        Some(EbpfError::MapError(MapError::CreateError { io_error, .. })) => Some(io_error),
                        _ => None,
                    },
                });
        if let Some(io_error) = io_error
            && io_error.raw_os_error() == Some(libc::EPERM)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
