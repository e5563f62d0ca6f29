//! Dynamic symbols of an ELF image, read from the memory that it is mapped into.
//!
//! Reading the mapped image instead of the file works in any mount namespace, for deleted and replaced files, and
//! without any access to the target's `/proc`. Everything is bounded: the image is as hostile as the rest.

use awaitwhat_common::reads::Refusal;
use object::LittleEndian;
use object::elf::{
    DT_GNU_HASH, DT_HASH, DT_NULL, DT_STRTAB, DT_SYMTAB, Dyn64, EM_X86_64, FileHeader64, GnuHashHeader,
    NT_GNU_BUILD_ID, NoteHeader32, PT_DYNAMIC, PT_LOAD, PT_NOTE, ProgramHeader64, SHN_UNDEF, Sym64, gnu_hash,
    hash,
};
use object::pod::{Pod, from_bytes};

use crate::memory::{Address, Fault, Memory};

/// Program headers of an image that are looked at.
const MAX_PROGRAM_HEADERS: u16 = 64;
/// Entries of a dynamic section that are looked at.
const MAX_DYNAMIC_ENTRIES: u64 = 512;
/// Symbols of one hash bucket that are looked at.
const MAX_BUCKET_SYMBOLS: u32 = 256;
/// Largest structure of an ELF file that is read here ([`FileHeader64`]).
const MAX_STRUCT_BYTES: usize = 64;

/// Notes of one segment that are looked at, and their bytes.
const MAX_NOTES: u32 = 64;
const MAX_NOTE_BYTES: u64 = 64 << 10;
/// Bytes of a build id: twenty, as a rule.
const MAX_BUILD_ID_BYTES: u32 = 64;

/// Whose notes have the build id.
const GNU: &[u8; 4] = b"GNU\0";

/// Bits of a word of the Bloom filter.
const BLOOM_BITS: u32 = 64;

type Header = FileHeader64<LittleEndian>;
type ProgramHeader = ProgramHeader64<LittleEndian>;
type Dynamic = Dyn64<LittleEndian>;
type Symbol = Sym64<LittleEndian>;
/// The fields have the same sizes in an image of 64 bits.
type NoteHeader = NoteHeader32<LittleEndian>;
type GnuHash = GnuHashHeader<LittleEndian>;

const LE: LittleEndian = LittleEndian;

/// The dynamic symbol table of one mapped image.
#[derive(Clone, Debug)]
pub struct Image {
    /// What is added to an address of the file to get one of memory.
    bias: u64,
    symbols: Address,
    strings: Address,
    table: HashTable,
}

#[derive(Clone, Copy, Debug)]
enum HashTable {
    Gnu(Address),
    SystemV(Address),
}

impl Image {
    /// Reads the headers of the image whose first byte is mapped at `base`.
    ///
    /// `None` where there is no usable x86-64 ELF image with dynamic symbols.
    ///
    /// # Errors
    /// Only when the target as a whole cannot be read any more.
    pub fn read(memory: &dyn Memory, base: Address) -> Result<Option<Self>, Fault> {
        absent_if_unreadable(Self::try_read(memory, base))
    }

    /// Address of the symbol `name` that this image defines.
    ///
    /// # Errors
    /// Only when the target as a whole cannot be read any more.
    pub fn find(&self, memory: &dyn Memory, name: &str) -> Result<Option<Address>, Fault> {
        absent_if_unreadable(match self.table {
            HashTable::Gnu(table) => self.find_gnu(memory, table, name.as_bytes()),
            HashTable::SystemV(table) => self.find_system_v(memory, table, name.as_bytes()),
        })
    }

    fn try_read(memory: &dyn Memory, base: Address) -> Result<Option<Self>, Fault> {
        let Some(segments) = Segments::read(memory, base)? else {
            return Ok(None);
        };
        match (segments.bias, segments.dynamic) {
            (Some(bias), Some(dynamic)) => {
                Self::from_dynamic(memory, base, bias, Address(dynamic).offset(bias))
            }
            _ => Ok(None),
        }
    }

    fn from_dynamic(
        memory: &dyn Memory,
        base: Address,
        bias: u64,
        section: Address,
    ) -> Result<Option<Self>, Fault> {
        let (mut symbols, mut strings, mut gnu, mut system_v) = (None, None, None, None);
        for index in 0..MAX_DYNAMIC_ENTRIES {
            let entry: Dynamic = read_struct(memory, section.offset(index * size_of::<Dynamic>() as u64))?;
            // glibc relocates these pointers in place, musl does not.
            let value = entry.d_val.get(LE);
            let address = Some(if value < base.0 {
                Address(value).offset(bias)
            } else {
                Address(value)
            });
            match entry.d_tag.get(LE) {
                DT_NULL => break,
                DT_SYMTAB => symbols = address,
                DT_STRTAB => strings = address,
                DT_GNU_HASH => gnu = address,
                DT_HASH => system_v = address,
                _ => {}
            }
        }
        let table = gnu.map(HashTable::Gnu).or(system_v.map(HashTable::SystemV));
        Ok(match (symbols, strings, table) {
            (Some(symbols), Some(strings), Some(table)) => Some(Self {
                bias,
                symbols,
                strings,
                table,
            }),
            _ => None,
        })
    }

    fn find_gnu(&self, memory: &dyn Memory, table: Address, name: &[u8]) -> Result<Option<Address>, Fault> {
        let header: GnuHash = read_struct(memory, table)?;
        let (buckets, first) = (header.bucket_count.get(LE), header.symbol_base.get(LE));
        let (bloom_words, bloom_shift) = (header.bloom_count.get(LE), header.bloom_shift.get(LE));
        if buckets == 0 || bloom_words == 0 {
            return Ok(None);
        }
        let hash = gnu_hash(name);
        let bloom = table.offset(size_of::<GnuHash>() as u64);
        let word = memory.read_u64(bloom.offset(u64::from(hash / BLOOM_BITS % bloom_words) * 8))?;
        let second = hash.checked_shr(bloom_shift).unwrap_or(0);
        if word >> (hash % BLOOM_BITS) & word >> (second % BLOOM_BITS) & 1 == 0 {
            return Ok(None);
        }
        let bucket_table = bloom.offset(u64::from(bloom_words) * 8);
        let chains = bucket_table.offset(u64::from(buckets) * 4);
        let start = read_u32(memory, bucket_table.offset(u64::from(hash % buckets) * 4))?;
        if start < first {
            return Ok(None);
        }
        for index in (start..=u32::MAX).take(MAX_BUCKET_SYMBOLS as usize) {
            let entry = read_u32(memory, chains.offset(u64::from(index - first) * 4))?;
            // The lowest bit marks the end of the chain; the others are the hash.
            if entry | 1 == hash | 1
                && let Some(address) = self.match_symbol(memory, index, name)?
            {
                return Ok(Some(address));
            }
            if entry & 1 == 1 {
                break;
            }
        }
        Ok(None)
    }

    fn find_system_v(
        &self,
        memory: &dyn Memory,
        table: Address,
        name: &[u8],
    ) -> Result<Option<Address>, Fault> {
        let buckets = read_u32(memory, table)?;
        if buckets == 0 {
            return Ok(None);
        }
        let bucket_table = table.offset(8);
        let chains = bucket_table.offset(u64::from(buckets) * 4);
        let mut index = read_u32(memory, bucket_table.offset(u64::from(hash(name) % buckets) * 4))?;
        for _ in 0..MAX_BUCKET_SYMBOLS {
            if index == 0 {
                break;
            }
            if let Some(address) = self.match_symbol(memory, index, name)? {
                return Ok(Some(address));
            }
            index = read_u32(memory, chains.offset(u64::from(index) * 4))?;
        }
        Ok(None)
    }

    /// The address of symbol number `index` if it is defined and has this name.
    fn match_symbol(&self, memory: &dyn Memory, index: u32, name: &[u8]) -> Result<Option<Address>, Fault> {
        let symbol: Symbol = read_struct(
            memory,
            self.symbols.offset(u64::from(index) * size_of::<Symbol>() as u64),
        )?;
        if symbol.st_shndx.get(LE) == SHN_UNDEF {
            return Ok(None);
        }
        let mut found = vec![0; name.len() + 1];
        memory.read(self.strings.offset(u64::from(symbol.st_name.get(LE))), &mut found)?;
        let is_equal = found
            .split_last()
            .is_some_and(|(end, text)| *end == 0 && text == name);
        Ok(is_equal.then(|| Address(symbol.st_value.get(LE)).offset(self.bias)))
    }
}

/// What the program headers of an image say.
#[derive(Default)]
struct Segments {
    /// What is added to an address of the file to get one of memory.
    bias: Option<u64>,
    /// Address of the dynamic section in the file.
    dynamic: Option<u64>,
    /// Addresses of notes in the file, and their sizes.
    notes: Vec<(u64, u64)>,
}

impl Segments {
    fn read(memory: &dyn Memory, base: Address) -> Result<Option<Self>, Fault> {
        let header: Header = read_struct(memory, base)?;
        // Class 2 is 64 bits, data 1 is little-endian (elf.h: ELFCLASS64, ELFDATA2LSB).
        let identity = &header.e_ident;
        if identity.magic != object::elf::ELFMAG
            || identity.class != object::elf::ELFCLASS64
            || identity.data != object::elf::ELFDATA2LSB
            || header.e_machine.get(LE) != EM_X86_64
        {
            return Ok(None);
        }
        let mut segments = Self::default();
        let headers = base.offset(header.e_phoff.get(LE));
        for index in 0..header.e_phnum.get(LE).min(MAX_PROGRAM_HEADERS) {
            let entry: ProgramHeader = read_struct(
                memory,
                headers.offset(u64::from(index) * size_of::<ProgramHeader>() as u64),
            )?;
            match entry.p_type.get(LE) {
                PT_LOAD if segments.bias.is_none() => {
                    let load = entry.p_vaddr.get(LE).wrapping_sub(entry.p_offset.get(LE));
                    segments.bias = Some(base.0.wrapping_sub(load));
                }
                PT_DYNAMIC => segments.dynamic = Some(entry.p_vaddr.get(LE)),
                PT_NOTE => segments
                    .notes
                    .push((entry.p_vaddr.get(LE), entry.p_memsz.get(LE))),
                _ => {}
            }
        }
        Ok(Some(segments))
    }
}

/// The build id of the image whose first byte is mapped at `base`, in hexadecimal, as `readelf -n` shows it; `None` where it has none.
///
/// # Errors
/// Only when the target as a whole cannot be read any more.
pub fn build_id(memory: &dyn Memory, base: Address) -> Result<Option<String>, Fault> {
    absent_if_unreadable(try_build_id(memory, base))
}

fn try_build_id(memory: &dyn Memory, base: Address) -> Result<Option<String>, Fault> {
    let Some(segments) = Segments::read(memory, base)? else {
        return Ok(None);
    };
    let bias = segments.bias.unwrap_or(0);
    for (start, size) in segments.notes {
        let mut note = Address(start).offset(bias);
        let end = note.offset(size.min(MAX_NOTE_BYTES));
        for _ in 0..MAX_NOTES {
            if note >= end {
                break;
            }
            let header: NoteHeader = read_struct(memory, note)?;
            let (name_size, size) = (header.n_namesz.get(LE), header.n_descsz.get(LE));
            let name = note.offset(size_of::<NoteHeader>() as u64);
            let description = name.offset(u64::from(name_size).next_multiple_of(4));
            let mut owner = [0; GNU.len()];
            memory.read(name, &mut owner)?;
            if header.n_type.get(LE) == NT_GNU_BUILD_ID && owner == *GNU && size <= MAX_BUILD_ID_BYTES {
                let mut bytes = vec![0; size as usize];
                memory.read(description, &mut bytes)?;
                return Ok(Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect()));
            }
            note = description.offset(u64::from(size).next_multiple_of(4));
        }
    }
    Ok(None)
}

/// A part of an image that cannot be read is an image without that symbol; a target that is gone is an error, and so is a file system that does
/// not answer, which says nothing of what is there.
fn absent_if_unreadable<T>(result: Result<Option<T>, Fault>) -> Result<Option<T>, Fault> {
    match result {
        Err(Fault::Unreadable { .. }) => Ok(None),
        Err(Fault::Refused { why, .. }) if why != Refusal::OwnWaits => Ok(None),
        other => other,
    }
}

fn read_u32(memory: &dyn Memory, address: Address) -> Result<u32, Fault> {
    let mut bytes = [0; 4];
    memory.read(address, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_struct<T: Pod + Copy>(memory: &dyn Memory, address: Address) -> Result<T, Fault> {
    let mut bytes = [0; MAX_STRUCT_BYTES];
    let unreadable = Fault::Unreadable {
        address,
        length: size_of::<T>(),
    };
    let bytes = bytes.get_mut(..size_of::<T>()).ok_or(unreadable)?;
    memory.read(address, bytes)?;
    from_bytes::<T>(bytes)
        .map(|(value, _)| *value)
        .map_err(|()| unreadable)
}

#[cfg(test)]
mod tests {
    use awaitwhat_fuzz::Target;

    use super::*;
    use crate::fuzz::hostile::{Hostile, Plain};
    use crate::python::image::MemoryImage;

    const BASE: u64 = 0x7f00_0000_0000;
    /// What the file's addresses begin at, so that the bias is not the base.
    const LINKED_AT: u64 = 0x10_0000;
    const DYNAMIC: u64 = 0x1000;
    const SYMBOLS: u64 = 0x2000;
    const STRINGS: u64 = 0x3000;
    const HASHES: u64 = 0x4000;

    const NAMES: [&str; 4] = ["Py_Version", "_PyRuntime", "PyCoro_Type", "imported"];

    fn headers(image: &mut MemoryImage) {
        image.write(BASE, b"\x7fELF\x02\x01\x01");
        image.write(BASE + 18, &62_u16.to_le_bytes());
        image.write_words(BASE + 32, &[64]);
        image.write(BASE + 56, &2_u16.to_le_bytes());
        // PT_LOAD, then PT_DYNAMIC: type and flags, offset, address.
        image.write_words(BASE + 64, &[1, 0, LINKED_AT]);
        image.write_words(BASE + 64 + 56, &[2, DYNAMIC, LINKED_AT + DYNAMIC]);
    }

    /// An image with `NAMES`, the last of which is not defined in it. `base` is added to pointers of the dynamic section.
    fn image(hash_tag: u64, hashes: &[u32], base: u64) -> MemoryImage {
        let mut image = MemoryImage::default();
        headers(&mut image);
        let dynamic = [
            hash_tag,
            base + HASHES,
            6,
            base + SYMBOLS,
            5,
            base + STRINGS,
            0,
            0,
        ];
        image.write_words(BASE + DYNAMIC, &dynamic);
        let mut name_at = 1_u32;
        for (index, name) in NAMES.iter().enumerate() {
            let symbol = BASE + SYMBOLS + (index as u64 + 1) * 24;
            image.write(symbol, &name_at.to_le_bytes());
            image.write(symbol + 6, &u16::from(*name != "imported").to_le_bytes());
            image.write_words(symbol + 8, &[LINKED_AT + 0x100 * (index as u64 + 1)]);
            image.write(BASE + STRINGS + u64::from(name_at), name.as_bytes());
            name_at += name.len() as u32 + 1;
        }
        for (index, word) in hashes.iter().enumerate() {
            image.write(BASE + HASHES + index as u64 * 4, &word.to_le_bytes());
        }
        image
    }

    /// One bucket with all symbols, and a Bloom filter that lets everything through.
    fn gnu_hashes() -> Vec<u32> {
        let mut words = vec![1, 1, 1, 6, u32::MAX, u32::MAX, 1];
        words.extend(NAMES.iter().map(|name| gnu_hash(name.as_bytes()) & !1));
        *words.last_mut().expect("there are names") |= 1;
        words
    }

    /// One bucket, whose chain goes through all symbols.
    fn system_v_hashes() -> Vec<u32> {
        vec![1, 5, 1, 0, 2, 3, 4, 0]
    }

    fn find(image: &MemoryImage, name: &str) -> Option<u64> {
        let found = Image::read(image, Address(BASE)).expect("nothing is gone")?;
        found
            .find(image, name)
            .expect("nothing is gone")
            .map(|address| address.0)
    }

    #[test]
    fn finds_symbols_by_either_hash_table() {
        for base in [LINKED_AT, BASE] {
            for image in [
                image(0x6fff_fef5, &gnu_hashes(), base),
                image(4, &system_v_hashes(), base),
            ] {
                assert_eq!(find(&image, "Py_Version"), Some(BASE + 0x100));
                assert_eq!(find(&image, "PyCoro_Type"), Some(BASE + 0x300));
                assert_eq!(find(&image, "imported"), None);
                assert_eq!(find(&image, "Py_Versio"), None);
                assert_eq!(find(&image, "Py_Versions"), None);
            }
        }
    }

    #[test]
    fn believes_the_bloom_filter() {
        let mut hashes = gnu_hashes();
        hashes[4] = 0;
        hashes[5] = 0;
        assert_eq!(find(&image(0x6fff_fef5, &hashes, LINKED_AT), "Py_Version"), None);
    }

    #[test]
    fn refuses_what_is_no_image() {
        let valid = || image(0x6fff_fef5, &gnu_hashes(), LINKED_AT);
        // Magic, class, byte order, machine.
        for at in [0, 4, 5, 18] {
            let mut image = valid();
            image.write(BASE + at, &[9]);
            assert_eq!(find(&image, "Py_Version"), None, "byte {at}");
        }
        assert_eq!(find(&MemoryImage::default(), "Py_Version"), None);
    }

    #[test]
    fn ends_chains_without_end() {
        let mut hashes = gnu_hashes();
        hashes.truncate(7);
        hashes.extend([2; 10_000]);
        let gnu = image(0x6fff_fef5, &hashes, LINKED_AT);
        // Symbol 1 follows itself.
        let cyclic = image(4, &[1, 5, 1, 0, 1], LINKED_AT);
        for image in [gnu, cyclic] {
            assert_eq!(find(&image, "missing"), None);
            assert!(*image.reads.borrow() < 20_000);
        }
    }

    /// Adds a build id, as a note in a segment of its own.
    fn add_build_id(image: &mut MemoryImage) {
        let notes = 0x5000_u64;
        image.write(BASE + 56, &3_u16.to_le_bytes());
        image.write_words(BASE + 64 + 2 * 56, &[4, notes, LINKED_AT + notes, 0, 0, 36]);
        image.write_words(
            BASE + notes,
            &[
                20 << 32 | 4,
                u64::from(u32::from_le_bytes(*GNU)) << 32 | 3,
                7,
                8,
                9,
            ],
        );
    }

    /// Whatever the image is, a symbol and the build id are found or not, after a bounded number of reads.
    #[test]
    fn fuzz_elf() {
        let images = [LINKED_AT, BASE].map(|base| {
            let hashes = [
                image(0x6fff_fef5, &gnu_hashes(), base),
                image(4, &system_v_hashes(), base),
            ];
            hashes.map(|mut image| {
                add_build_id(&mut image);
                Plain::new(&image)
            })
        });
        let images = images.as_flattened();
        let target = Target {
            name: "elf",
            executions: 5000,
            max_bytes: 4 << 20,
            places: &[
                ("image", 0),
                ("image", 1),
                ("image", 2),
                ("found", 0),
                ("found", 1),
                ("found", 2),
                ("build id", 0),
                ("build id", 1),
            ],
        };
        target.run(|choices, reached| {
            let memory = Hostile::new(&images[choices.below(images.len())], choices, &[]);
            let mut note = |name, found: Result<bool, Fault>| reached.note(name, found.map_or(2, u32::from));
            let id = memory.bounded(|| build_id(&memory, Address(BASE)));
            note("build id", id.map(|id| id.is_some()));
            let image = memory.bounded(|| Image::read(&memory, Address(BASE)));
            note(
                "image",
                image.as_ref().map(Option::is_some).map_err(|fault| *fault),
            );
            let Ok(Some(image)) = image else { return };
            for name in NAMES {
                let found = memory.bounded(|| image.find(&memory, name));
                note("found", found.map(|found| found.is_some()));
            }
        });
    }
}
