//! What can go wrong between us and the kernel.

use std::error::Error as StdError;
use std::io;

use aya::maps::MapError;

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
    /// A limit on open files (EMFILE, ENFILE).
    #[error(
        "no more files can be opened for {what}: each process takes a few, and each event loop\n\
         raise `ulimit -n` (of the whole machine: fs.file-max), or look at fewer processes at a time"
    )]
    Files { what: &'static str },
    /// ENOMEM.
    #[error(
        "the kernel has no memory for {what}\n\
         raise what limits this process (memory.max of its control group, `ulimit -v`, `ulimit -l`), or look at fewer processes at a time"
    )]
    Memory { what: &'static str },
    /// ENOSYS.
    #[error(
        "this kernel does not know the system call for {what}, or a sandbox hides it\n\
         the kernel has to be built with CONFIG_BPF_SYSCALL and CONFIG_PERF_EVENTS; from inside a sandbox, look from the host instead"
    )]
    NoSystemCall { what: &'static str },
    /// The kernel's type information is missing.
    #[error(
        "this kernel does not describe its own types ({0})\n\
         awaitwhat needs a kernel of version 6.1 or later built with CONFIG_DEBUG_INFO_BTF (/sys/kernel/btf/vmlinux; in a container: with /sys)"
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
    /// The embedded object cannot be read.
    #[error("the embedded eBPF object is malformed ({0}): rebuild it with `cargo xtask build-ebpf`")]
    MalformedObject(String),
    /// A map operation failed: most likely, there is no room in it.
    #[error(
        "an eBPF map refused an operation: {0}\n\
         if it says that something is too long or that there is no space, look at fewer processes at a time"
    )]
    Map(String),
    /// A system call failed.
    #[error("{call} failed: {error}")]
    SystemCall { call: &'static str, error: io::Error },
}

impl CaptureError {
    /// What an error number says for itself, whatever failed with it.
    pub(crate) fn of_errno(what: &'static str, errno: i32) -> Option<Self> {
        match errno {
            libc::EPERM => Some(Self::Permission { what }),
            libc::EMFILE | libc::ENFILE => Some(Self::Files { what }),
            libc::ENOMEM => Some(Self::Memory { what }),
            libc::ENOSYS => Some(Self::NoSystemCall { what }),
            _ => None,
        }
    }

    /// What loading programs failed with, where the number says it. (EACCES does not: it is what the verifier says to a bad program.)
    pub(super) fn of_refusal(error: &io::Error) -> Option<Self> {
        match error.raw_os_error()? {
            // Signals came in the way, again and again.
            libc::EAGAIN => Some(Self::SystemCall {
                call: "bpf(BPF_PROG_LOAD)",
                error: io::Error::from_raw_os_error(libc::EAGAIN),
            }),
            errno => Self::of_errno("loading eBPF programs", errno),
        }
    }

    /// What loading a program failed with, and the verifier's words.
    pub(super) fn load(program: &'static str, error: &io::Error, words: &str) -> Self {
        Self::of_refusal(error).unwrap_or_else(|| Self::Load {
            program,
            reason: reason(error, words),
        })
    }

    /// What making a map failed with.
    pub(super) fn make(error: MapError) -> Self {
        errno(&error)
            .and_then(|errno| Self::of_errno("loading eBPF programs", errno))
            .unwrap_or_else(|| Self::Load {
                program: "maps",
                reason: chain(&error),
            })
    }

    /// What attaching a perf event failed with.
    pub(super) fn attach(call: &'static str, error: io::Error) -> Self {
        Self::from_call("perf events", call, error)
    }

    pub(super) fn map(error: MapError) -> Self {
        errno(&error)
            .and_then(|errno| Self::of_errno("eBPF maps", errno))
            .unwrap_or_else(|| Self::Map(chain(&error)))
    }

    /// What taking the map `name` out of the object failed with: a buffer is mapped into this process then.
    pub(super) fn take(name: &'static str, error: &MapError) -> Self {
        errno(error)
            .and_then(|errno| Self::of_errno("the buffer of an eBPF map", errno))
            .unwrap_or(Self::Object(name))
    }

    pub(super) fn from_io(call: &'static str, error: io::Error) -> Self {
        match error.raw_os_error() {
            // What is looked for by its number, and is not there.
            Some(libc::ENOENT) => Self::Gone,
            _ => Self::from_call(call, call, error),
        }
    }

    fn from_call(what: &'static str, call: &'static str, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ESRCH) => Self::Gone,
            Some(libc::EACCES) => Self::Permission { what },
            Some(errno) => Self::of_errno(what, errno).unwrap_or(Self::SystemCall { call, error }),
            None => Self::SystemCall { call, error },
        }
    }

    /// The number of the error, where there is one.
    pub(super) fn errno(&self) -> Option<i32> {
        match self {
            Self::Permission { .. } => Some(libc::EPERM),
            Self::Files { .. } => Some(libc::EMFILE),
            Self::Memory { .. } => Some(libc::ENOMEM),
            Self::NoSystemCall { .. } => Some(libc::ENOSYS),
            Self::SystemCall { error, .. } => error.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the kernel, or a privilege, lacks something for good.
    pub(crate) const fn is_about_kernel(&self) -> bool {
        matches!(
            self,
            Self::Permission { .. }
                | Self::NoSystemCall { .. }
                | Self::Btf(_)
                | Self::KernelType { .. }
                | Self::Load { .. }
        )
    }
}

/// An error, and the end of what the verifier says, which can be very long.
fn reason(error: &io::Error, words: &str) -> String {
    let lines: Vec<_> = words.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = lines.len().saturating_sub(LOG_LINES);
    let lines = lines.into_iter().skip(end).map(str::to_owned);
    let all: Vec<_> = std::iter::once(error.to_string()).chain(lines).collect();
    all.join("\n")
}

/// An error and its causes in one line each.
fn chain(error: &(dyn StdError + 'static)) -> String {
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

/// The number of the system call's error that caused it.
fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::CreateError { io_error, .. } | MapError::IoError(io_error) => io_error.raw_os_error(),
        MapError::SyscallError(call) => call.io_error.raw_os_error(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::maps::MapError;
    use aya::sys::SyscallError;

    use super::CaptureError;

    fn os(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    fn failed(errno: i32) -> MapError {
        MapError::SyscallError(SyscallError {
            call: "bpf_map_update_elem",
            io_error: os(errno),
        })
    }

    fn not_made(errno: i32) -> MapError {
        MapError::CreateError {
            name: "RECORDS".to_owned(),
            io_error: os(errno),
        }
    }

    /// Every way in which a system call's error comes here.
    fn all_ways(errno: i32) -> Vec<CaptureError> {
        vec![
            CaptureError::make(not_made(errno)),
            CaptureError::load("walk_thread", &os(errno), ""),
            CaptureError::attach("perf_event_open", os(errno)),
            CaptureError::map(failed(errno)),
            CaptureError::map(MapError::IoError(os(errno))),
            CaptureError::take("RECORDS", &failed(errno)),
            CaptureError::from_io("bpf(BPF_LINK_CREATE)", os(errno)),
        ]
    }

    #[test]
    fn what_an_error_number_means_is_said_wherever_it_comes_from() {
        for (errno, words, never) in [
            (libc::EMFILE, "ulimit -n", "rejects"),
            (libc::ENFILE, "fs.file-max", "rejects"),
            (libc::ENOMEM, "has no memory", "rebuild"),
            (libc::ENOSYS, "does not know the system call", "rejects"),
            (libc::EPERM, "CAP_BPF", "rejects"),
        ] {
            for error in all_ways(errno) {
                let text = error.to_string();
                assert!(text.contains(words), "{errno}: {text}");
                assert!(!text.contains(never), "{errno}: {text}");
                assert_eq!(
                    error.errno(),
                    Some(if errno == libc::ENFILE {
                        libc::EMFILE
                    } else {
                        errno
                    })
                );
            }
        }
    }

    #[test]
    fn a_verifiers_rejection_is_no_want_of_permission() {
        let words = (0..100)
            .map(|line| format!("{line}: a word\n"))
            .collect::<String>();
        let error = CaptureError::load("walk_thread", &os(libc::EACCES), &words);
        assert!(matches!(error, CaptureError::Load { .. }), "{error}");
        // The reason is at the end of what the verifier says.
        let text = error.to_string();
        assert!(
            text.contains("Permission denied") && text.ends_with("99: a word"),
            "{text}"
        );
        assert!(!text.contains("87: a word"), "{text}");
        let error = CaptureError::attach("perf_event_open", os(libc::EACCES));
        assert!(matches!(error, CaptureError::Permission { .. }), "{error}");
    }

    #[test]
    fn what_has_ended_is_gone() {
        let error = CaptureError::attach("perf_event_open", os(libc::ESRCH));
        assert!(matches!(error, CaptureError::Gone), "{error}");
        for errno in [libc::ESRCH, libc::ENOENT] {
            let error = CaptureError::from_io("bpf(BPF_LINK_CREATE)", os(errno));
            assert!(matches!(error, CaptureError::Gone), "{error}");
        }
        // No such event, which is nothing that a thread has.
        let error = CaptureError::attach("perf_event_open", os(libc::ENOENT));
        assert_eq!(
            error.to_string(),
            "perf_event_open failed: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn what_has_no_number_is_the_objects_fault() {
        let error = CaptureError::take("RECORDS", &MapError::InvalidMapType { map_type: 1 });
        assert!(error.to_string().contains("`RECORDS`"), "{error}");
        let error = CaptureError::map(failed(libc::E2BIG));
        assert!(error.to_string().contains("fewer processes"), "{error}");
    }
}
