//! Runs a command under a seccomp filter that kills it at `ptrace`, `process_vm_readv` and `process_vm_writev`.
//!
//! `no-ptrace COMMAND ARGUMENTS...`

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};

/// System calls that read or write another process, on x86-64.
const FORBIDDEN: [libc::c_long; 3] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
];
/// `AUDIT_ARCH_X86_64` of the kernel's `linux/audit.h`.
const X86_64: u32 = 0xC000_003E;
/// Offsets in the kernel's `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

fn main() -> ExitCode {
    match run() {
        Ok(never) => never,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let mut words = env::args_os().skip(1);
    let program = words.next().context("which command is to be run?")?;
    install(&filter())?;
    // Only returns when it fails.
    Err(Command::new(program).args(words).exec()).context("cannot start the command")
}

/// Kills at a forbidden call, and at any call of another architecture, whose numbers differ.
fn filter() -> Vec<libc::sock_filter> {
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let give = |action| statement(libc::BPF_RET | libc::BPF_K, action);
    let mut program = vec![
        load(ARCHITECTURE),
        skip_unless_equal(X86_64, 1),
        skip(1),
        give(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    for call in FORBIDDEN {
        // The numbers of system calls are small.
        let number = u32::try_from(call).unwrap_or(u32::MAX);
        program.push(skip_unless_equal(number, 1));
        program.push(give(libc::SECCOMP_RET_KILL_PROCESS));
    }
    program.push(give(libc::SECCOMP_RET_ALLOW));
    program
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    instruction(code, 0, 0, k)
}

fn skip(count: u32) -> libc::sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, count)
}

fn skip_unless_equal(value: u32, count: u8) -> libc::sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, count, value)
}

fn instruction(code: u32, jump_if_true: u8, jump_if_false: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        // Codes of classic BPF have 16 bits.
        code: u16::try_from(code).unwrap_or(u16::MAX),
        jt: jump_if_true,
        jf: jump_if_false,
        k,
    }
}

fn install(program: &[libc::sock_filter]) -> anyhow::Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len())?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: this option takes no pointers.
    let without_privileges = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    ensure!(
        without_privileges == 0,
        "no_new_privs: {}",
        io::Error::last_os_error()
    );
    // SAFETY: `filter` points to `len` instructions that live until the call returns; the kernel copies them and does not write.
    let filtered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    ensure!(filtered == 0, "seccomp: {}", io::Error::last_os_error());
    Ok(())
}
