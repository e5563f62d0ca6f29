//! Where the running kernel keeps what the eBPF programs read of it, from its own type information (BTF).
//!
//! aya keeps its BTF types to itself, and the libraries that do not take ten times as long to read them all; this notes where each of
//! them is, and looks at the few that matter. Format: `Documentation/bpf/btf.rst`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Deref;

use awaitwhat_common::kernel::KernelOffsets;
use bytes::Buf as _;
use foldhash::fast::RandomState;

use super::error::CaptureError;
use super::system_calls::FileMapping;

const BTF_FILE: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
/// What functions are called by that iterator programs are called for (`DEFINE_BPF_ITER_FUNC` of `include/linux/bpf.h`).
const ITERATOR: &str = "bpf_iter_";
/// Modifiers and nested unnamed structures that a look-up goes through at most.
const MAX_DEPTH: usize = 16;

/// Sizes that the eBPF programs read, in bytes.
const WORD: &[u32] = &[8];
const INT: &[u32] = &[4];
const SHORT: &[u32] = &[2];
const BYTE: &[u32] = &[1];
/// The slots of a node of an `xarray`: 64, unless the kernel is built for tiny machines.
const SLOTS: &[u32] = &[512];
/// Of 0 or 1 they read the lowest byte, however long it is.
const INT_OR_BYTE: &[u32] = &[4, 1];

/// Values of `BTF_INFO_KIND` that matter here.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// One type: `struct btf_type` and what follows it.
#[derive(Clone, Copy)]
struct Type<'a> {
    name: u32,
    kind: u32,
    /// The type that a modifier or typedef refers to; the size of an integer, structure, union, or enumeration.
    refers_to: u32,
    has_bit_fields: bool,
    /// Fields, values, or what an array is made of.
    members: &'a [u8],
}

/// The kernel's types.
pub(super) struct Types<'a> {
    types: &'a [u8],
    /// Where in `types` each one is, by number; type 0 is `void`, which is nowhere.
    places: Vec<u32>,
    strings: &'a [u8],
    structures: HashMap<&'a [u8], u32, RandomState>,
    /// The functions that iterator programs are called for: of all functions, of which there are many, these alone are looked for.
    iterators: Vec<u32>,
}

/// The running kernel's type information: mapped where the kernel can do that (from 6.16 on), else read, a page at a time.
pub(super) enum Blob {
    Mapped(FileMapping),
    Read(Vec<u8>),
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(mapping) => mapping.bytes(),
            Self::Read(bytes) => bytes,
        }
    }
}

/// The running kernel's type information.
///
/// # Errors
/// When the kernel has none.
pub(super) fn read() -> Result<Blob, CaptureError> {
    open().map_err(|error| {
        let limit = error
            .raw_os_error()
            .filter(|&errno| errno != libc::EPERM)
            .and_then(|errno| CaptureError::of_errno("the kernel's type information", errno));
        limit.unwrap_or_else(|| CaptureError::Btf(format!("{BTF_FILE}: {error}")))
    })
}

fn open() -> io::Result<Blob> {
    let mut file = File::open(BTF_FILE)?;
    if let Ok(mapping) = FileMapping::new(&file) {
        return Ok(Blob::Mapped(mapping));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Blob::Read(bytes))
}

/// Finds the offsets that the programs need.
///
/// # Errors
/// When one of the fields is not there.
pub(super) fn offsets(types: &Types<'_>) -> Result<KernelOffsets, CaptureError> {
    let find = |structure: &'static str, path: &[&str], sizes: &[u32], whole: &'static str| {
        let (offset, size) = types.field(structure, path).ok_or(CaptureError::KernelType {
            name: whole,
            problem: "is missing",
        })?;
        if !sizes.contains(&size) {
            return Err(CaptureError::KernelType {
                name: whole,
                problem: "has another size",
            });
        }
        Ok(offset)
    };
    let task = |field, sizes, whole| find("task_struct", &[field], sizes, whole);
    // The same in every kernel since 5.7. One that counts no more is read as before: a program's address space is told by its place alone.
    let exec_id = match types.field("task_struct", &["self_exec_id"]) {
        Some((offset, 8)) => offset,
        _ => task("mm", WORD, "task_struct.mm")?,
    };
    // A kernel may be built to count neither delays nor what its scheduler does.
    let of_queue = |field| match types.field("task_struct", &["sched_info", field]) {
        Some((offset, 8)) => offset,
        _ => 0,
    };
    let mapping = |field, whole| find("vm_area_struct", &[field], WORD, whole);
    let inode = |field, sizes, whole| find("inode", &[field], sizes, whole);
    let uptodate = types.enumerator("PG_uptodate").ok_or(CaptureError::KernelType {
        name: "PG_uptodate",
        problem: "is missing",
    })?;
    Ok(KernelOffsets {
        task_pid: task("pid", INT, "task_struct.pid")?,
        task_mm: task("mm", WORD, "task_struct.mm")?,
        task_exec_id: exec_id,
        task_on_cpu: task("on_cpu", INT_OR_BYTE, "task_struct.on_cpu")?,
        task_nvcsw: task("nvcsw", WORD, "task_struct.nvcsw")?,
        task_nivcsw: task("nivcsw", WORD, "task_struct.nivcsw")?,
        task_runtime: find(
            "task_struct",
            &["se", "sum_exec_runtime"],
            WORD,
            "task_struct.se.sum_exec_runtime",
        )?,
        task_last_queued: of_queue("last_queued"),
        task_last_arrival: of_queue("last_arrival"),
        vma_start: mapping("vm_start", "vm_area_struct.vm_start")?,
        vma_end: mapping("vm_end", "vm_area_struct.vm_end")?,
        vma_flags: mapping("vm_flags", "vm_area_struct.vm_flags")?,
        vma_pgoff: mapping("vm_pgoff", "vm_area_struct.vm_pgoff")?,
        vma_file: mapping("vm_file", "vm_area_struct.vm_file")?,
        vma_operations: mapping("vm_ops", "vm_area_struct.vm_ops")?,
        vma_written: mapping("anon_vma", "vm_area_struct.anon_vma")?,
        mm_program: find("mm_struct", &["exe_file"], WORD, "mm_struct.exe_file")?,
        file_inode: find("file", &["f_inode"], WORD, "file.f_inode")?,
        inode_mode: inode("i_mode", SHORT, "inode.i_mode")?,
        inode_superblock: inode("i_sb", WORD, "inode.i_sb")?,
        inode_mapping: inode("i_mapping", WORD, "inode.i_mapping")?,
        superblock_magic: find("super_block", &["s_magic"], WORD, "super_block.s_magic")?,
        superblock_device: find("super_block", &["s_bdev"], WORD, "super_block.s_bdev")?,
        mapping_pages: find(
            "address_space",
            &["i_pages", "xa_head"],
            WORD,
            "address_space.i_pages.xa_head",
        )?,
        node_shift: find("xa_node", &["shift"], BYTE, "xa_node.shift")?,
        node_slots: find("xa_node", &["slots"], SLOTS, "xa_node.slots")?,
        page_flags: find("page", &["flags"], WORD, "page.flags")?,
        uptodate_bit: uptodate,
        file_dentry: find("file", &["f_path", "dentry"], WORD, "file.f_path.dentry")?,
        dentry_name: find("dentry", &["d_name", "name"], WORD, "dentry.d_name.name")?,
    })
}

impl<'a> Types<'a> {
    /// # Errors
    /// When `bytes` are no type information.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, CaptureError> {
        Self::parsed(bytes).ok_or_else(|| CaptureError::Btf(format!("{BTF_FILE} is malformed")))
    }

    fn parsed(bytes: &'a [u8]) -> Option<Self> {
        let mut header = bytes.get(..24)?;
        if header.get_u16_le() != MAGIC {
            return None;
        }
        header.advance(2);
        let header_length = header.get_u32_le() as usize;
        let (types_at, types_length) = (header.get_u32_le() as usize, header.get_u32_le() as usize);
        let (strings_at, strings_length) = (header.get_u32_le() as usize, header.get_u32_le() as usize);
        let body = bytes.get(header_length..)?;
        let strings = body.get(strings_at..)?.get(..strings_length)?;
        let types = body.get(types_at..)?.get(..types_length)?;
        let mut this = Self {
            types,
            places: vec![u32::MAX],
            strings,
            structures: HashMap::default(),
            iterators: Vec::new(),
        };
        let mut rest = types;
        while !rest.is_empty() {
            let (found, behind) = parse_type(rest)?;
            let id = this.places.len() as u32;
            match found.kind {
                kind::STRUCT | kind::UNION => {
                    this.structures.entry(this.name(found.name)).or_insert(id);
                }
                kind::FUNC if this.text(found.name).starts_with(ITERATOR.as_bytes()) => {
                    this.iterators.push(id);
                }
                _ => {}
            }
            this.places.push((types.len() - rest.len()) as u32);
            rest = behind;
        }
        Some(this)
    }

    /// The type with this number, unless it is `void`.
    fn get(&self, id: u32) -> Option<Type<'a>> {
        let place = *self.places.get(id as usize)?;
        Some(parse_type(self.types.get(place as usize..)?)?.0)
    }

    fn all(&self) -> impl Iterator<Item = Type<'a>> {
        let places = self.places.iter();
        places.filter_map(|place| Some(parse_type(self.types.get(*place as usize..)?)?.0))
    }

    /// The number of the function that iterator programs over `objects` are called for.
    ///
    /// # Errors
    /// When the kernel has none.
    pub(super) fn iterator(&self, objects: &'static str) -> Result<u32, CaptureError> {
        let is_it = |id: &u32| {
            let name = self.get(*id).map(|found| self.name(found.name));
            name.and_then(|name| name.strip_prefix(ITERATOR.as_bytes())) == Some(objects.as_bytes())
        };
        let found = self.iterators.iter().copied().find(is_it);
        found.ok_or(CaptureError::KernelType {
            name: objects,
            problem: "has no iterator",
        })
    }

    /// The strings from the one at `at` on.
    fn text(&self, at: u32) -> &'a [u8] {
        self.strings.get(at as usize..).unwrap_or_default()
    }

    fn name(&self, at: u32) -> &'a [u8] {
        let mut names = self.text(at).split(|&byte| byte == 0);
        names.next().unwrap_or_default()
    }

    /// Byte offset and size of the field that `path` leads to, from the beginning of `structure`.
    fn field(&self, structure: &str, path: &[&str]) -> Option<(u32, u32)> {
        let mut id = *self.structures.get(structure.as_bytes())?;
        let mut offset = 0;
        for field in path {
            let (at, field_type) = self.member(id, field.as_bytes(), MAX_DEPTH)?;
            offset += at;
            id = field_type;
        }
        Some((offset, self.size_of(id)?))
    }

    /// The size of a number, pointer, structure, or an array of pointers; nothing for other kinds.
    fn size_of(&self, id: u32) -> Option<u32> {
        let found = self.resolve(id)?;
        match found.kind {
            kind::PTR => Some(8),
            kind::ARRAY => {
                let mut array = found.members;
                let element = array.try_get_u32_le().ok()?;
                let count = array.get(4..)?.try_get_u32_le().ok()?;
                let is_of_pointers = self.resolve(element)?.kind == kind::PTR;
                is_of_pointers.then(|| count.checked_mul(8))?
            }
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 => Some(found.refers_to),
            _ => None,
        }
    }

    /// Whether the kernel has a structure or union of this name.
    pub(super) fn has_structure(&self, name: &str) -> bool {
        self.structures.contains_key(name.as_bytes())
    }

    /// Whether the kernel has this field, of a structure or union.
    pub(super) fn has_field(&self, structure: &str, field: &str) -> bool {
        let owner = self.structures.get(structure.as_bytes());
        owner.is_some_and(|&id| self.member(id, field.as_bytes(), MAX_DEPTH).is_some())
    }

    /// Those of `names` that are values of some enumeration.
    pub(super) fn enumerators<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        let enumerations = self.all().filter_map(|it| match it.kind {
            // The name of a value, and 4 or 8 bytes of it.
            kind::ENUM => Some(it.members.chunks_exact(8)),
            kind::ENUM64 => Some(it.members.chunks_exact(12)),
            _ => None,
        });
        let declared = enumerations
            .flatten()
            .map(|mut value| self.name(value.get_u32_le()));
        declared
            .filter_map(|found| names.iter().find(|name| name.as_bytes() == found).copied())
            .collect()
    }

    /// The value of an enumeration that is called `name`.
    fn enumerator(&self, name: &str) -> Option<u32> {
        let enumerations = self.all().filter(|it| it.kind == kind::ENUM);
        enumerations
            .flat_map(|it| it.members.chunks_exact(8))
            .find_map(|mut value| {
                let is_it = self.name(value.get_u32_le()) == name.as_bytes();
                is_it.then(|| value.get_u32_le())
            })
    }

    /// Offset and type of a field, also inside unnamed structures and unions.
    fn member(&self, id: u32, name: &[u8], depth: usize) -> Option<(u32, u32)> {
        let owner = self.resolve(id)?;
        let mut members = owner.members;
        if !matches!(owner.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        while members.len() >= 12 && depth > 0 {
            let (member_name, member_type) = (members.get_u32_le(), members.get_u32_le());
            let position = members.get_u32_le();
            let bits = if owner.has_bit_fields {
                position & 0x00ff_ffff
            } else {
                position
            };
            if self.name(member_name) == name {
                return Some((bits / 8, member_type));
            }
            if member_name == 0
                && let Some((at, found)) = self.member(member_type, name, depth - 1)
            {
                return Some((bits / 8 + at, found));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type<'a>> {
        for _ in 0..MAX_DEPTH {
            let found = self.get(id)?;
            match found.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = found.refers_to
                }
                _ => return Some(found),
            }
        }
        None
    }
}

/// The first type of `bytes`, and what follows it.
fn parse_type(bytes: &[u8]) -> Option<(Type<'_>, &[u8])> {
    let mut head = bytes.get(..12)?;
    let (name, info, refers_to) = (head.get_u32_le(), head.get_u32_le(), head.get_u32_le());
    let count = (info & 0xffff) as usize;
    let kind = (info >> 24) & 0x1f;
    let length = match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => count * 12,
        kind::ENUM | kind::FUNC_PROTO => count * 8,
        _ => 0,
    };
    let members = bytes.get(12..12 + length)?;
    let behind = bytes.get(12 + length..)?;
    let members = match kind {
        kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::ARRAY => members,
        _ => &[],
    };
    Some((
        Type {
            name,
            kind,
            refers_to,
            has_bit_fields: info >> 31 == 1,
            members,
        },
        behind,
    ))
}

#[cfg(test)]
mod tests {
    use awaitwhat_fuzz::Target;
    use bytes::BufMut as _;

    use super::{Types, kind};

    /// A BTF blob with an enumeration and one structure `task_struct` of two fields: `on_cpu`, of a typedef of an integer of `on_cpu_size` bytes, and
    /// behind it the pointer `stack`, in an unnamed union.
    fn blob(on_cpu_size: u32) -> Vec<u8> {
        let strings = b"\0u8\0task_struct\0on_cpu\0stack\0bpf_iter_task\0";
        let (task_struct, on_cpu, stack, iterator) = (4, 16, 23, 29);
        let mut types = Vec::new();
        let mut put = |words: &[u32]| words.iter().for_each(|&word| types.put_u32_le(word));
        put(&[1, kind::INT << 24, on_cpu_size, 0]);
        put(&[1, kind::TYPEDEF << 24, 1]);
        put(&[0, kind::PTR << 24, 0]);
        put(&[0, (kind::UNION << 24) | 1, 8, stack, 3, 0]);
        put(&[task_struct, (kind::STRUCT << 24) | 2, 16, on_cpu, 2, 0, 0, 4, 64]);
        put(&[0, (kind::ENUM << 24) | 2, 4, stack, 0, on_cpu, 1]);
        put(&[iterator, kind::FUNC << 24, 0]);
        let mut blob = Vec::new();
        blob.put_u16_le(super::MAGIC);
        blob.put_u16_le(1);
        let (types_length, strings_length) = (types.len() as u32, strings.len() as u32);
        for word in [24, 0, types_length, types_length, strings_length] {
            blob.put_u32_le(word);
        }
        blob.extend(types);
        blob.extend(strings);
        blob
    }

    #[test]
    fn fields_have_offsets_and_sizes() {
        for size in [1, 4] {
            let blob = blob(size);
            let types = Types::parse(&blob).unwrap();
            assert_eq!(types.field("task_struct", &["on_cpu"]), Some((0, size)));
            assert_eq!(types.field("task_struct", &["stack"]), Some((8, 8)));
            assert_eq!(types.field("task_struct", &["gone"]), None);
        }
    }

    #[test]
    fn iterators_have_numbers() {
        let blob = blob(4);
        let types = Types::parse(&blob).unwrap();
        assert_eq!(types.iterator("task").unwrap(), 7);
        for objects in ["task_vma", "tas", "on_cpu"] {
            let error = types.iterator(objects).unwrap_err().to_string();
            assert!(error.contains(&format!("`{objects}` has no iterator")), "{error}");
        }
    }

    #[test]
    fn what_the_kernel_declares() {
        let blob = blob(4);
        let types = Types::parse(&blob).unwrap();
        assert!(types.has_structure("task_struct") && !types.has_structure("u8"));
        assert!(types.has_field("task_struct", "stack") && !types.has_field("task_struct", "u8"));
        assert_eq!(types.enumerators(&["on_cpu", "stack", "u8"]), ["stack", "on_cpu"]);
    }

    #[test]
    fn a_blob_that_is_cut_short_is_no_type_information() {
        let blob = blob(4);
        for length in 0..blob.len() {
            assert!(Types::parse(&blob[..length]).is_err(), "{length}");
        }
    }

    /// Whatever the blob is, each look-up ends: also through types that refer to themselves.
    #[test]
    fn fuzz_kernel_types() {
        let target = Target {
            name: "kernel_types",
            executions: 10_000,
            max_bytes: 1 << 20,
            places: &[
                ("parsed", 0),
                ("parsed", 1),
                ("field", 0),
                ("field", 1),
                ("has field", 0),
                ("has field", 1),
                ("offsets", 0),
                ("iterator", 0),
                ("iterator", 1),
                ("values", 0),
                ("values", 1),
            ],
        };
        target.run(|choices, reached| {
            let mut blob = blob(choices.pick(&[1, 4]));
            for _ in 0..choices.below(12) {
                let at = choices.below(blob.len() / 4) * 4;
                let word = match choices.below(3) {
                    // The number of a type, of a name, or a length.
                    0 => u32::from(choices.byte() % 32),
                    1 => u32::from(choices.byte() % 32) << 24 | u32::from(choices.byte() % 4),
                    _ => choices.number() as u32,
                };
                blob[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
            if choices.once_in(16) {
                blob.truncate(choices.below(blob.len()));
            }
            let types = Types::parse(&blob);
            reached.note_result("parsed", &types);
            let Ok(types) = types else { return };
            reached.note_result("offsets", &super::offsets(&types));
            reached.note_result("iterator", &types.iterator("task"));
            for field in ["on_cpu", "stack", "gone"] {
                reached.note_option(
                    "field",
                    &types.field("task_struct", &[field, "stack"][..1 + choices.below(2)]),
                );
                reached.note("has field", types.has_field("task_struct", field).into());
            }
            let values = types.enumerators(&["on_cpu", "stack", "u8"]);
            reached.note("values", u32::from(!values.is_empty()));
        });
    }
}
