//! Which pages of a process may be read from outside.
//!
//! Such a read brings the page in where it is not there, as if the process had touched it: a page of shared memory is then made, and charged
//! to the process; a device's driver is asked; a file system may be waited for, without end, while the process's own
//! `mmap` waits too. So reads go only where an interpreter can be: anonymous memory, and private mappings of regular files.
//!
//! The kernel side asks before each read; user space uses the same rules to not even ask for what is never read.

/// `VM_WRITE`, `VM_SHARED`, `VM_MAYSHARE`, `VM_PFNMAP`, `VM_IO` and `VM_HUGETLB` (`include/linux/mm.h`).
const WRITE: u64 = 0x2;
const SHARED: u64 = 0x8 | 0x80;
const DEVICE: u64 = 0x400 | 0x4000;
const HUGE_PAGES: u64 = 0x40_0000;

/// `S_IFMT` and `S_IFREG` (`include/uapi/linux/stat.h`).
const FILE_TYPE: u64 = 0o17_0000;
const REGULAR_FILE: u64 = 0o10_0000;

/// `TMPFS_MAGIC` (`include/uapi/linux/magic.h`, as all that follow, where no other place is named).
const TMPFS: u64 = 0x0102_1994;
/// File systems without a block device below them whose pages nobody has to be waited for: ramfs, overlayfs, btrfs, ZFS (OpenZFS,
/// `zfs_vfsops.c`), bcachefs, UBIFS, JFFS2.
const LOCAL: [u64; 7] = [
    0x8584_58f6,
    0x794c_7630,
    0x9123_683e,
    0x2fc1_2fc1,
    0xca45_1a4e,
    0x2405_1905,
    0x72b6,
];
/// File systems that may have a block device, and still wait for others: FUSE, OCFS2, GFS2.
const WAITING: [u64; 3] = [0x6573_5546, 0x7461_636f, 0x0116_1970];

/// Why a page is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i64)]
pub enum Refusal {
    /// Others may map it too, and a read could make the page.
    Shared = 1,
    /// It belongs to a device, to a file that is none on a disk, or to the pool of huge pages.
    Device = 2,
    /// Nobody has touched this part of a file that lies in memory: a read would make the page.
    Untouched = 3,
    /// The file system may be waited for.
    Waits = 4,
    /// The same, but the process's own program lies there: a read that may wait is allowed to.
    OwnWaits = 5,
}

impl Refusal {
    /// The refusal that the status `value` of a read stands for, if any.
    pub const fn from_status(value: i64) -> Option<Self> {
        match value {
            1 => Some(Self::Shared),
            2 => Some(Self::Device),
            3 => Some(Self::Untouched),
            4 => Some(Self::Waits),
            5 => Some(Self::OwnWaits),
            _ => None,
        }
    }
}

/// What a page's mapping is, as the kernel describes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Place {
    /// `vm_area_struct.vm_flags`.
    pub flags: u64,
    /// `vm_area_struct.vm_file`: 0 where there is none.
    pub file: u64,
    /// `vm_area_struct.vm_ops`: 0 where memory is anonymous, whatever file was mapped.
    pub operations: u64,
    /// `vm_area_struct.anon_vma`: 0 where the process has written to no page of the mapping.
    pub written: u64,
    /// `inode.i_mode`.
    pub mode: u64,
    /// `super_block.s_magic`.
    pub magic: u64,
    /// `super_block.s_bdev`: 0 where the file system has no block device.
    pub device: u64,
}

impl Place {
    /// What is never read, whatever page of the mapping it is.
    #[inline(always)]
    pub const fn refusal(&self) -> Option<Refusal> {
        if self.flags & SHARED != 0 {
            return Some(Refusal::Shared);
        }
        if self.flags & (DEVICE | HUGE_PAGES) != 0 {
            return Some(Refusal::Device);
        }
        if self.is_of_file() && self.mode & FILE_TYPE != REGULAR_FILE {
            return Some(Refusal::Device);
        }
        None
    }

    /// Whether pages come from a file, until they are written to.
    #[inline(always)]
    pub const fn is_of_file(&self) -> bool {
        self.file != 0 && self.operations != 0
    }

    /// Whether the process may have pages of its own in place of the file's.
    #[inline(always)]
    pub const fn is_written(&self) -> bool {
        self.flags & WRITE != 0 && self.written != 0
    }

    /// Whether the file lies in memory: what nobody has touched is made by the first read.
    #[inline(always)]
    pub const fn is_in_memory(&self) -> bool {
        self.is_of_file() && self.magic == TMPFS
    }

    /// Whether a page of the file may have to be waited for: its file system asks a process or another machine. Where that is not known, it may.
    #[inline(always)]
    pub const fn may_wait(&self) -> bool {
        self.is_of_file()
            && self.magic != TMPFS
            && (contains(&WAITING, self.magic) || self.device == 0 && !contains(&LOCAL, self.magic))
    }
}

#[inline(always)]
const fn contains<const N: usize>(known: &[u64; N], magic: u64) -> bool {
    let mut index = 0;
    while index < N {
        if known[index] == magic {
            return true;
        }
        index += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{Place, Refusal};

    const PRIVATE: u64 = 0x8_0073;
    const EXT4: u64 = 0xef53;
    const NFS: u64 = 0x6969;
    const FUSE: u64 = 0x6573_5546;

    fn file(magic: u64, device: u64) -> Place {
        Place {
            flags: PRIVATE,
            file: 1,
            operations: 1,
            mode: 0o10_0755,
            magic,
            device,
            ..Place::default()
        }
    }

    #[test]
    fn private_memory_and_images_are_read() {
        let anonymous = Place {
            flags: PRIVATE,
            ..Place::default()
        };
        // `/dev/zero`, mapped privately, is anonymous memory.
        let zero = Place {
            mode: 0o02_0666,
            operations: 0,
            ..file(super::TMPFS, 0)
        };
        for place in [
            anonymous,
            zero,
            file(EXT4, 1),
            file(super::TMPFS, 0),
            file(super::LOCAL[2], 0),
        ] {
            assert_eq!(place.refusal(), None, "{place:?}");
            assert!(!place.may_wait(), "{place:?}");
        }
        assert!(file(super::TMPFS, 0).is_in_memory() && !zero.is_in_memory());
    }

    #[test]
    fn what_a_read_would_change_is_refused() {
        let place = file(EXT4, 1);
        for (flag, refusal) in [
            (0x8, Refusal::Shared),
            // Of a file that was opened for reading only.
            (0x80, Refusal::Shared),
            (0x400, Refusal::Device),
            (0x4000, Refusal::Device),
            (0x40_0000, Refusal::Device),
        ] {
            let flags = place.flags | flag;
            assert_eq!(Place { flags, ..place }.refusal(), Some(refusal), "{flag:#x}");
        }
        let mode = 0o02_0666;
        assert_eq!(Place { mode, ..place }.refusal(), Some(Refusal::Device));
    }

    #[test]
    fn file_systems_that_ask_others_may_wait() {
        // A file system of FUSE may have a block device; one that is not known may be anything.
        for place in [file(NFS, 0), file(FUSE, 0), file(FUSE, 1), file(0x1234, 0)] {
            assert!(place.may_wait(), "{place:?}");
        }
        assert!(!file(0x1234, 1).may_wait());
    }

    #[test]
    fn statuses_name_refusals() {
        for refusal in (0..10).filter_map(Refusal::from_status) {
            assert_eq!(Refusal::from_status(refusal as i64), Some(refusal));
        }
        assert_eq!(Refusal::from_status(0), None);
        assert_eq!(Refusal::from_status(-14), None);
    }
}
