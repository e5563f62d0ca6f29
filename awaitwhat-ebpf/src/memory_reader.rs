//! Reads pages of the target for user space, which needs no ptrace right for that.

use awaitwhat_common::kernel::{MAX_READS, PAGE_BYTES, READ_HEADER_BYTES};
use aya_ebpf::helpers::generated::bpf_seq_write;

use crate::kernel::{TaskContext, address_space, context_word, offsets};
use crate::maps::{ANSWER, REQUEST};
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
    let space = address_space(address, offsets);
    let reader = Reader { task, address };
    let may_wait = request.may_wait & 1 == 1;
    for index in 0..MAX_READS {
        if index as u64 >= request.count {
            break;
        }
        // SAFETY: the answer is a map value that only this program uses, once at a time, and its bytes are a page.
        unsafe {
            let bytes = (&raw mut (*answer).bytes).cast();
            (*answer).status = reader.copy(request.pages[index], bytes, 0, may_wait);
            (*answer).address_space = space;
            bpf_seq_write(
                seq,
                answer.cast_const().cast(),
                (READ_HEADER_BYTES + PAGE_BYTES) as u32,
            );
        }
    }
    Some(())
}
