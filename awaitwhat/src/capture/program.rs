//! Loads one program of the object.
//!
//! aya loads programs as well. Its loader reads and parses all types of the kernel first: for relocations, of which the object has none, and again for
//! the number of one function. See `docs/adr/0012`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use aya_obj::Function;

use super::error::CaptureError;
use super::system_calls::{Attributes, Command, bpf};

/// `BPF_PROG_TYPE_PERF_EVENT` and `BPF_PROG_TYPE_TRACING` of `enum bpf_prog_type`.
const PERF_EVENT: u32 = 7;
const TRACING: u32 = 26;
/// `BPF_TRACE_ITER` of `enum bpf_attach_type`.
pub(super) const TRACE_ITER: u32 = 28;
/// `BPF_F_SLEEPABLE`.
const SLEEPABLE: u32 = 1 << 4;

/// How often a load is repeated that a signal has interrupted (EAGAIN).
const MAX_ATTEMPTS: u32 = 64;
/// Room for what the verifier says to a program that it rejects. Older kernels say nothing where it does not fit.
const LOG_BYTES: usize = 16 << 20;

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Runs in the context of a perf event.
    PerfEvent,
    /// Iterates over what the kernel's function with this number (in its type information) is called for.
    Iterator { function: u32, is_sleepable: bool },
}

/// The part of `union bpf_attr` for `BPF_PROG_LOAD` that is used here.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
    types: u32,
    function_info_bytes: u32,
    function_info: u64,
    function_info_count: u32,
    line_info_bytes: u32,
    line_info: u64,
    line_info_count: u32,
    attach_function: u32,
}

// SAFETY: there is no padding, and `load` fills in addresses of live slices with their lengths.
unsafe impl Attributes for ProgramLoad {}

/// The part of `union bpf_attr` for `BPF_BTF_LOAD` that is used here.
#[repr(C)]
struct TypesLoad {
    types: u64,
    log: u64,
    length: u32,
    log_bytes: u32,
    log_level: u32,
    padding: u32,
}

// SAFETY: the padding is a field, and `load_types` fills in the address of a live slice with its length.
unsafe impl Attributes for TypesLoad {}

/// Loads the types of the object's own functions: the kernel demands them of functions that a helper calls back.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn load_types(types: &[u8]) -> Result<OwnedFd, CaptureError> {
    let mut attributes = TypesLoad {
        types: types.as_ptr().expose_provenance() as u64,
        log: 0,
        length: types.len() as u32,
        log_bytes: 0,
        log_level: 0,
        padding: 0,
    };
    bpf(Command::TypesLoad, &mut attributes).map_err(|error| CaptureError::load("types", &error, ""))
}

/// A program as the object has it.
pub(super) struct Code<'a> {
    pub(super) name: &'static str,
    pub(super) function: &'a Function,
    pub(super) license: &'a CStr,
    /// What [`load_types`] has loaded.
    pub(super) types: &'a OwnedFd,
}

/// Loads a program.
///
/// # Errors
/// When the kernel refuses: with the verifier's words, where it has any.
pub(super) fn load(code: &Code<'_>, kind: Kind) -> Result<OwnedFd, CaptureError> {
    let refused = match attempt(code, kind, &mut []) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    if let Some(plain) = CaptureError::of_refusal(&refused) {
        return Err(plain);
    }
    let mut log = vec![0; LOG_BYTES];
    // It is asked once more for the reason. Whatever it says now, the first answer is the one that counts.
    let _ = attempt(code, kind, &mut log);
    let words = CStr::from_bytes_until_nul(&log).unwrap_or_default();
    Err(CaptureError::load(code.name, &refused, &words.to_string_lossy()))
}

/// Loads a program, and has the verifier fill `log`, if there is room in it, with its words and the lines of source that they are about.
fn attempt(code: &Code<'_>, kind: Kind, log: &mut [u8]) -> io::Result<OwnedFd> {
    let (program_type, attach_type, attach_function, flags) = match kind {
        Kind::PerfEvent => (PERF_EVENT, 0, 0, 0),
        Kind::Iterator {
            function,
            is_sleepable,
        } => (
            TRACING,
            TRACE_ITER,
            function,
            if is_sleepable { SLEEPABLE } else { 0 },
        ),
    };
    let instructions = &code.function.instructions;
    let functions = code.function.func_info.func_info_bytes();
    let (lines, line_count) = if log.is_empty() {
        (Vec::new(), 0)
    } else {
        let info = &code.function.line_info;
        (info.line_info_bytes(), info.len() as u32)
    };
    let mut attributes = ProgramLoad {
        program_type,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr().expose_provenance() as u64,
        license: code.license.as_ptr().expose_provenance() as u64,
        log_level: u32::from(!log.is_empty()),
        log_bytes: log.len() as u32,
        log: if log.is_empty() {
            0
        } else {
            log.as_mut_ptr().expose_provenance() as u64
        },
        kernel_version: 0,
        flags,
        name: short_name(code.name),
        interface: 0,
        attach_type,
        types: code.types.as_raw_fd().cast_unsigned(),
        function_info_bytes: code.function.func_info_rec_size as u32,
        function_info: functions.as_ptr().expose_provenance() as u64,
        function_info_count: code.function.func_info.len() as u32,
        line_info_bytes: code.function.line_info_rec_size as u32,
        line_info: lines.as_ptr().expose_provenance() as u64,
        line_info_count: line_count,
        attach_function,
    };
    let mut attempts = 0;
    loop {
        attempts += 1;
        match bpf(Command::ProgramLoad, &mut attributes) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && attempts < MAX_ATTEMPTS => {}
            result => return result,
        }
    }
}

/// As much of a name as the kernel keeps, and a zero behind it.
fn short_name(name: &str) -> [u8; 16] {
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    short
}
