//! The walk from a registry of tasks to their terminal awaitables, written once.
//!
//! A walk is a resumable state machine: [`Walk::step`] does a bounded amount of work (one read at most) and says whether to go
//! on. Inside the kernel `bpf_loop` drives it; in user space, over recorded memory images, a `while` loop does.
//! It trusts its [`awaitwhat_common::layout::Layout`], which user space has validated, and nothing that it reads.
//!
//! One file per object walked: `registry` (lists and sets of tasks), `task`, `instance` (tasks written in Python),
//! `attributes` (those of such a task, where its dict has to be searched), `chain` (coroutines and what they await), `heap_frame`
//! (frames that are objects of their own), `aside` (what is read of a task besides its chain), `links` (what its callbacks lead to),
//! `running` (the frames of a thread), `apart` (those of a task inside a greenlet).
#![no_std]
#![forbid(unsafe_code)]

mod apart;
mod aside;
mod attributes;
mod chain;
mod heap_frame;
mod host;
mod instance;
mod links;
mod record;
mod registry;
mod running;
mod task;
mod walk;
mod window;

pub use host::Host;
pub use record::{MAX_RECORD_BYTES, Record};
pub use walk::{Flow, Walk};
pub use window::Window;
