//! The contract between the kernel side and user space.
//!
//! Everything here is plain data with a fixed layout (`repr(C)`), understood by the eBPF programs, by the
//! user-space driver of the walker, and by the decoder. It knows offsets and quirks, never CPython versions.
#![no_std]
#![forbid(unsafe_code)]

pub mod event;
pub mod kernel;
pub mod layout;
pub mod limits;
pub mod plan;
pub mod reads;
pub mod status;
