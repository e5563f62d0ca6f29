//! Lists the mappings of the target: `/proc/PID/maps` needs a ptrace right, this does not.

use awaitwhat_common::kernel::{KernelOffsets, Mapping, NAME_BYTES};
use awaitwhat_common::reads::Place;
use aya_ebpf::bindings::task_struct;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_seq_write};

use crate::kernel::{IteratorMeta, context_word, offsets, read};
use crate::reads::describe_mapping;

/// Context of a mapping iterator (`struct bpf_iter__task_vma`).
#[repr(C)]
pub struct MappingContext {
    meta: *mut IteratorMeta,
    task: *mut task_struct,
    vma: *mut u8,
}

/// Writes one [`Mapping`] through the iterator's file.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_vma")]
pub extern "C" fn list_mappings(context: *mut MappingContext) -> i32 {
    let _ = list(context);
    0
}

#[inline(always)]
fn list(context: *mut MappingContext) -> Option<()> {
    // SAFETY: the kernel passes a valid context with valid metadata.
    let seq = unsafe {
        if (*context).vma.is_null() || (*context).task.is_null() {
            return None;
        }
        (*(*context).meta).seq
    };
    let offsets = offsets()?;
    let vma = context_word(context, 2);
    let word = |offset: u32| read::<u64>(vma.wrapping_add(u64::from(offset)));
    let mut mapping = Mapping {
        start: 0,
        end: word(offsets.vma_end),
        place: Place::default(),
        file_page: word(offsets.vma_pgoff),
        name: [0; NAME_BYTES],
    };
    mapping.start = describe_mapping(offsets, vma, &mut mapping.place);
    read_name(offsets, &mut mapping);
    // SAFETY: the mapping is as long as the write.
    unsafe { bpf_seq_write(seq, (&raw const mapping).cast(), size_of::<Mapping>() as u32) };
    Some(())
}

/// Reads the base name of the mapping's file, where there is one.
#[inline(always)]
fn read_name(offsets: &KernelOffsets, mapping: &mut Mapping) {
    if mapping.place.file == 0 {
        return;
    }
    let dentry: u64 = read(mapping.place.file.wrapping_add(u64::from(offsets.file_dentry)));
    let name: u64 = read(dentry.wrapping_add(u64::from(offsets.dentry_name)));
    // SAFETY: the array is as long as the read; the helper checks the address and ends the string with a zero.
    unsafe {
        bpf_probe_read_kernel_str(
            mapping.name.as_mut_ptr().cast(),
            NAME_BYTES as u32,
            name as *const _,
        )
    };
}
