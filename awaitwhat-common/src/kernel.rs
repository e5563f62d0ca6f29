//! What user space tells the eBPF programs about the running kernel, and the requests it makes of them.

use crate::reads::Place;

/// Byte offsets inside kernel structures, from the kernel's own BTF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct KernelOffsets {
    /// `task_struct.pid` (the thread id).
    pub task_pid: u32,
    /// `task_struct.mm`.
    pub task_mm: u32,
    /// `task_struct.self_exec_id`: how often the thread, and whoever it was forked from, has become another program. Where a kernel does
    /// not count that, `task_mm` once more.
    pub task_exec_id: u32,
    /// `task_struct.on_cpu`.
    pub task_on_cpu: u32,
    /// `task_struct.nvcsw`.
    pub task_nvcsw: u32,
    /// `task_struct.nivcsw`.
    pub task_nivcsw: u32,
    /// `task_struct.se.sum_exec_runtime`.
    pub task_runtime: u32,
    /// `task_struct.sched_info.last_queued`: since when a thread that could run waits for a CPU; 0 of one that does not. The offset is 0, like the next
    /// one, where a kernel does not keep that.
    pub task_last_queued: u32,
    /// `task_struct.sched_info.last_arrival`: when the thread got its CPU. If that was another thread's until then, which could have gone on, this is the same
    /// moment as that one's `last_queued`.
    pub task_last_arrival: u32,
    /// `vm_area_struct.vm_start`.
    pub vma_start: u32,
    /// `vm_area_struct.vm_end`.
    pub vma_end: u32,
    /// `vm_area_struct.vm_flags`.
    pub vma_flags: u32,
    /// `vm_area_struct.vm_pgoff`.
    pub vma_pgoff: u32,
    /// `vm_area_struct.vm_file`.
    pub vma_file: u32,
    /// `vm_area_struct.vm_ops`.
    pub vma_operations: u32,
    /// `vm_area_struct.anon_vma`.
    pub vma_written: u32,
    /// `mm_struct.exe_file`.
    pub mm_program: u32,
    /// `file.f_inode`.
    pub file_inode: u32,
    /// `inode.i_mode`.
    pub inode_mode: u32,
    /// `inode.i_sb`.
    pub inode_superblock: u32,
    /// `inode.i_mapping`.
    pub inode_mapping: u32,
    /// `super_block.s_magic`.
    pub superblock_magic: u32,
    /// `super_block.s_bdev`.
    pub superblock_device: u32,
    /// `address_space.i_pages.xa_head`.
    pub mapping_pages: u32,
    /// `xa_node.shift`.
    pub node_shift: u32,
    /// `xa_node.slots`.
    pub node_slots: u32,
    /// `page.flags`.
    pub page_flags: u32,
    /// Number of the bit `PG_uptodate` of these.
    pub uptodate_bit: u32,
    /// `file.f_path.dentry`.
    pub file_dentry: u32,
    /// `dentry.d_name.name`.
    pub dentry_name: u32,
}

/// Bytes of one page of the target.
pub const PAGE_BYTES: usize = 4096;
/// Pages that one run of the memory reader returns: the kernel's buffer for an iterator is 32 KiB.
pub const MAX_READS: usize = 7;

/// Pages that the memory reader is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ReadRequest {
    /// How many of `pages` are wanted.
    pub count: u64,
    /// Whether a page may be waited for where it lies on the file system of the process's own program (0 or 1).
    pub may_wait: u64,
    /// Page-aligned addresses.
    pub pages: [u64; MAX_READS],
}

/// What precedes the bytes of a page in an answer: its status (0 where it was read, else a negative errno or a [`crate::reads::Refusal`]), and
/// the number of the address space that it was read from, which changes when the process replaces itself by another program. It is 0 where
/// there is none.
pub const READ_HEADER_BYTES: usize = 16;

/// Bytes of a file's base name in a [`Mapping`] record, with its terminating zero.
pub const NAME_BYTES: usize = 96;

/// One mapping of the target, as the mapping iterator writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// What it is. Its `flags` hold `VM_READ` (1), `VM_WRITE` (2) and `VM_EXEC` (4); its `file` is equal for mappings of one open file only.
    pub place: Place,
    /// Offset of the first address in its file, in pages.
    pub file_page: u64,
    /// Base name of the file, zero-terminated, cut at the end.
    pub name: [u8; NAME_BYTES],
}
