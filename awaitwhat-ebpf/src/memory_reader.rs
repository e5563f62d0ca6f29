//! Reads pages of the target for user space, which needs no ptrace right for that.

use core::ffi::c_void;

use awaitwhat_common::kernel::{MAX_READS, PAGE_BYTES, READ_HEADER_BYTES, ReadRequest};
use aya_ebpf::bindings::seq_file;
use aya_ebpf::helpers::generated::{bpf_loop, bpf_seq_write};

use crate::kernel::{TaskContext, address_space, context_word, offsets};
use crate::maps::{ANSWER, Answer, REQUEST};
use crate::reads::Reader;

/// Answers the request: for each page its status, its address space and its bytes, through the iterator's file.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter.s/task")]
pub extern "C" fn read_memory(context: *mut TaskContext) -> i32 {
    let _ = answer(context);
    0
}

#[inline(always)]
fn answer(context: *mut TaskContext) -> Option<()> {
    // SAFETY: the kernel passes a valid context with valid metadata.
    let (task, seq) = unsafe { ((*context).task, (*(*context).meta).seq) };
    if task.is_null() {
        return None;
    }
    let request = REQUEST.get(0)?;
    // A read that waits has a buffer of its own, as others are made meanwhile.
    let answer = ANSWER.get_ptr_mut((request.may_wait & 1) as u32)?;
    let offsets = offsets()?;
    let address = context_word(context, 1);
    let mut pages = Pages {
        reader: Reader { task, address },
        request,
        answer,
        seq,
        space: address_space(address, offsets),
    };
    // A loop of its own would be verified as often as it turns.
    // SAFETY: the callback has the type that `bpf_loop` calls, and the context outlives the call.
    unsafe {
        bpf_loop(
            MAX_READS as u32,
            answer_page as *const () as *mut c_void,
            (&raw mut pages).cast(),
            0,
        )
    };
    Some(())
}

/// What the answer to one page needs, as `bpf_loop` passes it on.
#[repr(C)]
struct Pages {
    reader: Reader,
    request: *const ReadRequest,
    answer: *mut Answer,
    seq: *mut seq_file,
    space: u64,
}

extern "C" fn answer_page(index: u32, pages: *mut c_void) -> i64 {
    // SAFETY: `answer` passes a pointer to live `Pages`, whose pointers are to map values, and to the iterator's file.
    let (pages, request, answer) = unsafe {
        let pages = &*pages.cast::<Pages>();
        (pages, &*pages.request, pages.answer)
    };
    let index = index as usize;
    if index >= MAX_READS || index as u64 >= request.count {
        return 1;
    }
    // SAFETY: the answer is a map value that only this program uses, once at a time, and its bytes are a page.
    unsafe {
        let bytes = (&raw mut (*answer).bytes).cast();
        let page = *request.pages.as_ptr().add(index);
        (*answer).status = pages.reader.copy(page, bytes, 0, request.may_wait & 1 == 1);
        (*answer).address_space = pages.space;
        bpf_seq_write(
            pages.seq,
            answer.cast_const().cast(),
            (READ_HEADER_BYTES + PAGE_BYTES) as u32,
        );
    }
    0
}
