//! The kernel side: thin drivers around the walker.
//!
//! - `sample_thread` (perf event) walks a thread that runs, in its own context.
//! - `walk_thread` (sleepable task iterator) walks a thread that rests, from the observer's CPU.
//! - `read_memory` (sleepable task iterator) reads single pages for user space.
//! - `list_mappings` (mapping iterator) lists the target's address space.
//!
//! Nothing here writes to the target, and nothing knows a CPython version.
#![no_std]
#![no_main]

mod iterator;
mod kernel;
mod mappings;
mod maps;
mod memory_reader;
mod reads;
mod sampler;
mod slice;

/// Some helpers (`bpf_probe_read_user`, `bpf_copy_from_user_task`) are for programs under a licence compatible with the GPL only.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
