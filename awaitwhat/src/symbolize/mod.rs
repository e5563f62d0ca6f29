//! From code objects to functions, files and lines, remembered per code object.

pub mod expression;
mod line_table;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use awaitwhat_common::event::OPAQUE_FRAME;
use awaitwhat_common::limits::USER_ADDRESSES;

use crate::memory::{Address, Fault};
use crate::origin::{Origin, Places};
use crate::pattern::Pattern;
use crate::python::{Objects, ReadError, readable};
use crate::snapshot::{Frame, FrameKind};

/// What a function is called that cannot be read.
const UNREADABLE: &str = "<unreadable>";
/// Bytes of a line table that are read.
const MAX_LINE_TABLE_BYTES: usize = 1 << 20;
/// Copies of one code object's instructions that are looked at, one for each thread of a free-threaded build.
const MAX_COPIES: u64 = 1 << 12;
/// Bytes of instructions that a code object is believed to have.
const MAX_INSTRUCTION_BYTES: u64 = 1 << 28;

/// Instructions whose lines are remembered, of all code objects; then all are forgotten.
const MAX_LINES: usize = 1 << 16;

/// Bits of `co_flags` (cpython/code.h).
mod flags {
    pub const GENERATOR: u32 = 0x20;
    pub const COROUTINE: u32 = 0x80;
    pub const ASYNC_GENERATOR: u32 = 0x200;
}

/// The code objects of one interpreter that were seen so far.
#[derive(Debug, Default)]
pub struct CodeCache {
    /// Where the process has what code.
    places: Places,
    /// `sys.modules`, or NULL where it is not known.
    modules: Address,
    entries: HashMap<Address, Entry>,
    strings: HashSet<Arc<str>>,
    /// How long these are together.
    string_bytes: usize,
    /// Instructions whose lines are remembered.
    lines: usize,
    /// Frames of code objects that could not be read, since the last time this was asked for.
    unreadable: u64,
}

/// What tells one code object from another one that takes its address later: pointers and numbers of its header that
/// never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    type_object: Address,
    flags: u32,
    first_line: u32,
    filename: Address,
    qualified_name: Address,
    line_table: Address,
    local_names: Address,
}

#[derive(Debug)]
struct Entry {
    fingerprint: Fingerprint,
    function: Arc<str>,
    file: Arc<str>,
    kind: FrameKind,
    origin: Origin,
    /// Lines by offset of the instruction. The table that tells them is not kept: it may be long, and be shared by many.
    lines: HashMap<i64, u32>,
    /// Asked for since the last revalidation.
    is_used: bool,
    /// It was the same at a revalidation.
    is_settled: bool,
}

impl CodeCache {
    /// Of an interpreter in which code is the application's that lies in one of the files `mine`, where there are such.
    #[must_use]
    pub fn new(mine: Arc<[Pattern]>) -> Self {
        let places = Places {
            mine,
            ..Places::default()
        };
        Self {
            places,
            ..Self::default()
        }
    }

    /// Whether the folder of the standard library is still to be told: an interpreter that has just begun does not say it.
    #[must_use]
    pub fn wants_places(&self) -> bool {
        self.places.standard_library.is_none()
    }

    /// Says where the interpreter has its standard library ([`Places::standard_library`]), and its modules: the dict `sys.modules`.
    pub fn set_places(&mut self, standard_library: Option<String>, modules: Address) {
        self.places.standard_library = standard_library;
        self.modules = modules;
    }

    /// The frame of `code` at `instruction`.
    ///
    /// Where the code object cannot be read, or is none, the frame's kind is [`FrameKind::Unknown`], and the frame counts as
    /// unreadable.
    ///
    /// # Errors
    /// Only when the target as a whole cannot be read any more.
    pub fn frame(
        &mut self,
        objects: &Objects<'_>,
        code: Address,
        instruction: Address,
    ) -> Result<Frame, Fault> {
        if (code.is_null() || code == objects.types.none)
            && let Some(name) = opaque_name(instruction)
        {
            return self.opaque_frame_without_code(objects, name);
        }
        if !self.entries.contains_key(&code) {
            // What cannot be read may be readable the next time.
            let loaded = readable(self.load(objects, code))?;
            self.entries.extend(loaded.map(|entry| (code, entry)));
        }
        let Some(entry) = self.entries.get_mut(&code) else {
            self.unreadable += 1;
            return Ok(self.unreadable_frame());
        };
        entry.is_used = true;
        if let Some(name) = opaque_name(instruction) {
            let frame = Frame {
                function: Arc::clone(&entry.function),
                file: Arc::clone(&entry.file),
                line: 0,
                kind: FrameKind::Opaque,
                origin: entry.origin,
            };
            return self.opaque_frame(objects, name, frame);
        }
        let base = instructions(objects, code, instruction);
        let offset = instruction.0.wrapping_sub(base.0).cast_signed();
        let mut frame = Frame {
            function: Arc::clone(&entry.function),
            file: Arc::clone(&entry.file),
            line: 0,
            kind: entry.kind,
            origin: entry.origin,
        };
        if let Some(&line) = entry.lines.get(&offset) {
            frame.line = line;
            return Ok(frame);
        }
        if let Some(line) = readable(entry.line(objects, offset))? {
            frame.line = line;
            entry.lines.insert(offset, line);
            self.lines += 1;
            self.forget_lines();
        }
        Ok(frame)
    }

    fn forget_lines(&mut self) {
        if self.lines > MAX_LINES {
            self.entries.values_mut().for_each(|entry| entry.lines.clear());
            self.lines = 0;
        }
    }

    /// The frame of a coroutine without a Python frame. Its code is named like the function, as `frame` is; `name` is qualified.
    fn opaque_frame(
        &mut self,
        objects: &Objects<'_>,
        name: Address,
        mut frame: Frame,
    ) -> Result<Frame, Fault> {
        let qualified = match objects.is_exactly(name, objects.types.unicode) {
            Ok(true) => objects.text(name).map(|text| Some(text.into_shown())),
            other => other.map(|_| None),
        };
        if let Some(qualified) = readable(qualified)?.flatten() {
            frame.function = self.intern(&qualified);
        }
        Ok(frame)
    }

    /// The same where there is no code: what Cython 0.29 made of the methods of its own classes has none, and so no file.
    fn opaque_frame_without_code(&mut self, objects: &Objects<'_>, name: Address) -> Result<Frame, Fault> {
        let unknown = Frame {
            function: self.intern(UNREADABLE),
            file: self.intern(""),
            line: 0,
            kind: FrameKind::Opaque,
            origin: Origin::default(),
        };
        let frame = self.opaque_frame(objects, name, unknown)?;
        if &*frame.function != UNREADABLE {
            return Ok(frame);
        }
        self.unreadable += 1;
        Ok(self.unreadable_frame())
    }

    /// Has the next [`CodeCache::revalidate`] look at `code`, as if its frames had been asked for.
    pub fn touch(&mut self, code: Address) {
        if let Some(entry) = self.entries.get_mut(&code) {
            entry.is_used = true;
        }
    }

    /// Reads the headers of the code objects again that were asked for since the last call, and returns the addresses
    /// of those that have changed: what was said of them since may be wrong. They are forgotten.
    ///
    /// # Errors
    /// Only when the target as a whole cannot be read any more.
    pub fn revalidate(&mut self, objects: &Objects<'_>) -> Result<Vec<Address>, Fault> {
        let mut changed = Vec::new();
        for (&code, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.is_used) {
            entry.is_used = false;
            match readable(fingerprint(objects, code))? {
                Some(fingerprint) if fingerprint == entry.fingerprint => entry.is_settled = true,
                Some(_) | None => changed.push(code),
            }
        }
        for code in &changed {
            self.entries.remove(code);
        }
        Ok(changed)
    }

    /// Reads those of the code objects again, with their names, that no revalidation has found to be the same yet. Returns the addresses of
    /// those that are others now, which are forgotten. Strings come from free lists too, so that their addresses alone would prove nothing.
    ///
    /// # Errors
    /// Only when the target as a whole cannot be read any more.
    pub fn read_again(
        &mut self,
        objects: &Objects<'_>,
        codes: impl Iterator<Item = Address>,
    ) -> Result<Vec<Address>, Fault> {
        let mut changed = Vec::new();
        for code in codes {
            if self.entries.get(&code).is_none_or(|entry| entry.is_settled) {
                continue;
            }
            let now = readable(self.load(objects, code))?;
            let is_same = |now: &Entry| self.entries.get(&code).is_some_and(|entry| entry.is_like(now));
            if !now.as_ref().is_some_and(is_same) {
                self.entries.remove(&code);
                changed.push(code);
            }
        }
        Ok(changed)
    }

    /// Forgets all but these code objects, and the names that nobody has any more.
    pub fn keep_only(&mut self, codes: &HashSet<Address>) {
        self.entries.retain(|code, _| codes.contains(code));
        self.entries.shrink_to(2 * self.entries.len());
        self.strings.retain(|text| Arc::strong_count(text) > 1);
        self.strings.shrink_to(2 * self.strings.len());
        self.string_bytes = self.strings.iter().map(|text| string_bytes(text)).sum();
        self.lines = self.entries.values().map(|entry| entry.lines.len()).sum();
    }

    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        /// With a place in a map.
        const ENTRY: usize = 2 * size_of::<(Address, Entry)>();
        const LINE: usize = 2 * size_of::<(i64, u32)>();
        self.string_bytes + self.entries.len() * ENTRY + self.lines * LINE
    }

    /// How many frames had code that could not be read, since the last call.
    pub fn take_unreadable(&mut self) -> u64 {
        std::mem::take(&mut self.unreadable)
    }

    /// One allocation for equal texts.
    pub fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.string_bytes += string_bytes(&new);
        self.strings.insert(Arc::clone(&new));
        new
    }

    fn load(&mut self, objects: &Objects<'_>, code: Address) -> Result<Entry, ReadError> {
        let fingerprint = fingerprint(objects, code)?;
        let malformed = |what| ReadError::Malformed { what, address: code };
        if fingerprint.type_object != objects.types.code {
            return Err(malformed("code object"));
        }
        if !objects.is_exactly(fingerprint.line_table, objects.types.bytes)? {
            return Err(malformed("line table"));
        }
        let text = |address| {
            if objects.is_exactly(address, objects.types.unicode)? {
                Ok(objects.text(address)?.into_shown())
            } else {
                Err(malformed("name of a code object"))
            }
        };
        let (function, file) = (text(fingerprint.qualified_name)?, text(fingerprint.filename)?);
        Ok(Entry {
            fingerprint,
            function: self.intern(&function),
            file: self.intern(&file),
            kind: kind(fingerprint.flags),
            origin: self
                .places
                .of(&file, |name| objects.module_file(self.modules, name)),
            lines: HashMap::new(),
            is_used: false,
            is_settled: false,
        })
    }

    fn unreadable_frame(&mut self) -> Frame {
        Frame {
            function: self.intern(UNREADABLE),
            file: self.intern(""),
            line: 0,
            kind: FrameKind::Unknown,
            origin: Origin::default(),
        }
    }
}

impl Entry {
    /// Whether both are of the same code object, as far as is said of it.
    fn is_like(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.function == other.function && self.file == other.file
    }

    /// The line of the instruction at `offset`, 0 where it has none.
    fn line(&self, objects: &Objects<'_>, offset: i64) -> Result<u32, ReadError> {
        let Fingerprint {
            first_line,
            line_table,
            ..
        } = self.fingerprint;
        let table = objects.bytes(line_table, MAX_LINE_TABLE_BYTES)?;
        let format = objects.offsets.code.line_table_format;
        Ok(line_table::line_at(format, &table, first_line, offset).unwrap_or(0))
    }
}

/// Bytes that a name takes, with its place in the set of all.
fn string_bytes(text: &str) -> usize {
    text.len() + 4 * size_of::<usize>()
}

/// Where the instructions of `code` begin that `instruction` is one of: in the code object itself, or, in a free-threaded build,
/// in the copy that one of the threads has for itself (`_PyCodeArray`, cpython/code.h of 3.14: the number of copies, then pointers to them).
/// NULL where an instruction counts from there.
fn instructions(objects: &Objects<'_>, code: Address, instruction: Address) -> Address {
    let Some(offset) = objects.offsets.code.instructions else {
        return Address::NULL;
    };
    let own = code.offset(offset);
    let is_in = |start: &Address, bytes: u64| instruction.0.wrapping_sub(start.0) < bytes;
    let find = || {
        let copies = code.offset(objects.offsets.code.copies?);
        // `ob_size` of a code object is its number of code units.
        let units = objects
            .memory
            .read_u64(code.offset(objects.offsets.header_bytes()))
            .ok()?;
        let bytes = units.saturating_mul(2).min(MAX_INSTRUCTION_BYTES);
        if is_in(&own, bytes) {
            return None;
        }
        let array = objects.memory.read_address(copies).ok()?;
        let count = objects.memory.read_u64(array).ok()?.min(MAX_COPIES);
        (1..=count)
            .map_while(|index| objects.memory.read_address(array.offset(index * 8)).ok())
            .find(|start| !start.is_null() && is_in(start, bytes))
    };
    find().unwrap_or(own)
}

/// The name that a coroutine without a Python frame has in place of an instruction. What a frame has that has not begun, until 3.9, is
/// odd too (-1), but no address.
fn opaque_name(instruction: Address) -> Option<Address> {
    let is_opaque = instruction.0 & OPAQUE_FRAME != 0 && USER_ADDRESSES.contains(&instruction.0);
    is_opaque.then_some(Address(instruction.0 & !OPAQUE_FRAME))
}

fn kind(bits: u32) -> FrameKind {
    if bits & flags::COROUTINE != 0 {
        FrameKind::Coroutine
    } else if bits & flags::ASYNC_GENERATOR != 0 {
        FrameKind::AsyncGenerator
    } else if bits & flags::GENERATOR != 0 {
        FrameKind::Generator
    } else {
        FrameKind::Function
    }
}

fn fingerprint(objects: &Objects<'_>, code: Address) -> Result<Fingerprint, ReadError> {
    let offsets = &objects.offsets.code;
    let pointer = |offset| objects.memory.read_address(code.offset(offset));
    Ok(Fingerprint {
        type_object: objects.type_of(code)?,
        flags: objects.read_u32(code.offset(offsets.flags))?,
        first_line: objects.read_u32(code.offset(offsets.first_line))?,
        filename: pointer(offsets.filename)?,
        qualified_name: pointer(offsets.qualified_name)?,
        line_table: pointer(offsets.line_table)?,
        local_names: pointer(offsets.local_names)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{CodeCache, OPAQUE_FRAME, flags};
    use crate::layout::{Table, Version};
    use crate::memory::Address;
    use crate::python::image::{Heap, MemoryImage};
    use crate::snapshot::{Frame, FrameKind};

    fn heap() -> Heap {
        let version = Version::from_hex(0x030c_00f0);
        let table = Table::for_interpreter(&MemoryImage::default(), version, Address::NULL);
        Heap::new(table.expect("3.12 publishes nothing").offsets)
    }

    /// Where a code object has its instructions.
    fn instructions_at(heap: &Heap) -> u64 {
        heap.offsets.code.instructions.expect("they are in place")
    }

    /// A code object that begins at line 10; each code unit is one line further on.
    fn code(heap: &mut Heap, name: &str, bits: u32) -> Address {
        let (file, name, table) = (
            heap.text("app.py"),
            heap.text(name),
            heap.bytes(&[0xd8, 0, 0, 0xd8, 0, 0]),
        );
        let offsets = heap.offsets.code;
        let code = heap.object(heap.types.code, 256);
        heap.image.write(code.0 + offsets.flags, &bits.to_le_bytes());
        heap.image
            .write(code.0 + offsets.first_line, &10_u32.to_le_bytes());
        heap.set(code, offsets.filename, file.0);
        heap.set(code, offsets.qualified_name, name.0);
        heap.set(code, offsets.line_table, table.0);
        code
    }

    fn frame(cache: &mut CodeCache, heap: &Heap, code: Address, unit: u64) -> Frame {
        let instruction = code.offset(instructions_at(heap) + unit * 2);
        cache
            .frame(&heap.objects(), code, instruction)
            .expect("the target is there")
    }

    #[test]
    fn names_frames() {
        let (mut heap, mut cache) = (heap(), CodeCache::default());
        for (bits, kind) in [
            (flags::COROUTINE, FrameKind::Coroutine),
            (flags::ASYNC_GENERATOR, FrameKind::AsyncGenerator),
            // CO_ITERABLE_COROUTINE: a generator that `types.coroutine` made awaitable.
            (flags::GENERATOR | 0x100, FrameKind::Generator),
            (0, FrameKind::Function),
        ] {
            let code = code(&mut heap, "Server.run", bits);
            let found = frame(&mut cache, &heap, code, 1);
            assert_eq!(
                (&*found.function, &*found.file, found.line, found.kind),
                ("Server.run", "app.py", 12, kind)
            );
            assert_eq!(frame(&mut cache, &heap, code, 0).line, 11);
            assert_eq!(frame(&mut cache, &heap, code, 9).line, 0);
        }
        assert_eq!(cache.take_unreadable(), 0);
    }

    #[test]
    fn finds_lines_in_the_copies_of_other_threads() {
        let (mut heap, mut cache) = (heap(), CodeCache::default());
        // Where nothing else of the code object of 3.12 is.
        heap.offsets.code.copies = Some(232);
        let (code, other) = (code(&mut heap, "run", 0), heap.allocate(16));
        heap.set(code, heap.offsets.header_bytes(), 4);
        let array = heap.allocate(32);
        heap.image
            .write_words(array.0, &[3, code.0 + instructions_at(&heap), 0, other.0]);
        heap.set(code, 232, array.0);
        let mut line = |heap: &Heap, instruction| {
            let found = cache.frame(&heap.objects(), code, instruction);
            found.expect("the target is there").line
        };
        assert_eq!(line(&heap, code.offset(instructions_at(&heap) + 2)), 12);
        assert_eq!(line(&heap, other), 11);
        assert_eq!(line(&heap, other.offset(2)), 12);
        // In none of them.
        assert_eq!(line(&heap, other.offset(8)), 0);
        heap.set(code, 232, 8);
        assert_eq!(line(&heap, other), 0);
    }

    #[test]
    fn counts_what_is_no_code_object() {
        let (mut heap, mut cache) = (heap(), CodeCache::default());
        let text = heap.text("not code");
        for address in [text, Address(8), Address(u64::MAX)] {
            assert_eq!(frame(&mut cache, &heap, address, 0).kind, FrameKind::Unknown);
        }
        assert_eq!(cache.take_unreadable(), 3);
        assert_eq!(cache.take_unreadable(), 0);
    }

    #[test]
    fn what_is_compiled_without_code_has_its_name() {
        let (mut heap, mut cache) = (heap(), CodeCache::default());
        let name = heap.text("Protocol.query");
        let none = heap.types.none;
        let mut named = |code, name: Address| {
            let found = cache.frame(&heap.objects(), code, name.offset(OPAQUE_FRAME));
            let found = found.expect("the target is there");
            (found.function.to_string(), found.file.to_string(), found.kind)
        };
        for code in [Address::NULL, none] {
            let expected = ("Protocol.query".to_owned(), String::new(), FrameKind::Opaque);
            assert_eq!(named(code, name), expected);
        }
        assert_eq!(named(Address::NULL, none).2, FrameKind::Unknown);
        assert_eq!(cache.take_unreadable(), 1);
    }

    #[test]
    fn finds_out_that_a_name_was_replaced_at_its_place() {
        let (mut heap, mut cache) = (heap(), CodeCache::default());
        let (one, other) = (code(&mut heap, "made_1", 0), code(&mut heap, "other", 0));
        let both = || [one, other].into_iter();
        frame(&mut cache, &heap, one, 0);
        frame(&mut cache, &heap, other, 0);
        assert_eq!(cache.read_again(&heap.objects(), both()), Ok(vec![]));
        let name = cache.entries[&one].fingerprint.qualified_name;
        let text = heap.offsets.unicode.ascii_data;
        heap.image.write(name.0 + text, b"made_2");
        assert_eq!(cache.read_again(&heap.objects(), both()), Ok(vec![one]));
        assert_eq!(&*frame(&mut cache, &heap, one, 0).function, "made_2");
        // What was the same for a second is not read again.
        cache.revalidate(&heap.objects()).unwrap();
        heap.image.write(name.0 + text, b"made_3");
        assert_eq!(cache.read_again(&heap.objects(), both()), Ok(vec![]));
    }

    #[test]
    fn forgets_code_that_is_not_needed_and_names_that_nobody_has() {
        let (mut heap, mut cache) = (heap(), CodeCache::default());
        let kept = code(&mut heap, "kept", 0);
        let _has = frame(&mut cache, &heap, kept, 0);
        let bytes = cache.bytes();
        let mut held = Vec::new();
        for number in 0..100 {
            let code = code(&mut heap, &format!("made_{number}"), 0);
            held.push(frame(&mut cache, &heap, code, 0));
        }
        assert!(cache.bytes() > bytes + 100 * 10);
        cache.keep_only(&[kept].into());
        assert_eq!(cache.entries.len(), 1);
        // "app.py", "kept" and the names that are still held.
        assert_eq!(cache.strings.len(), 102);
        held.clear();
        cache.keep_only(&[kept].into());
        assert_eq!(cache.bytes(), bytes);
    }

    #[test]
    fn keeps_lines_and_no_tables() {
        let (mut heap, mut cache) = (heap(), CodeCache::default());
        let code = code(&mut heap, "run", 0);
        assert_eq!(frame(&mut cache, &heap, code, 1).line, 12);
        // One that is too long to be read: what was asked before is known, and what is asked now is not.
        let long = heap.bytes(&vec![0xd8; super::MAX_LINE_TABLE_BYTES + 1]);
        heap.set(code, heap.offsets.code.line_table, long.0);
        let table = cache.entries[&code].fingerprint.line_table;
        heap.set(table, heap.offsets.bytes.size, u64::MAX);
        assert_eq!(frame(&mut cache, &heap, code, 1).line, 12);
        assert_eq!(frame(&mut cache, &heap, code, 0).line, 0);
        assert_eq!(cache.lines, 1);
        cache.lines = super::MAX_LINES + 1;
        cache.forget_lines();
        assert_eq!(frame(&mut cache, &heap, code, 1).line, 0);
    }

    #[test]
    fn finds_out_that_a_code_object_was_replaced() {
        let (mut heap, mut cache) = (heap(), CodeCache::default());
        let (first, other) = (code(&mut heap, "first", 0), code(&mut heap, "other", 0));
        frame(&mut cache, &heap, first, 0);
        frame(&mut cache, &heap, other, 0);
        assert_eq!(cache.revalidate(&heap.objects()), Ok(vec![]));
        let name = heap.text("second");
        heap.set(first, heap.offsets.code.qualified_name, name.0);
        // Unused since the last time: nothing that was said can be wrong.
        assert_eq!(cache.revalidate(&heap.objects()), Ok(vec![]));
        cache.touch(first);
        frame(&mut cache, &heap, other, 0);
        assert_eq!(cache.revalidate(&heap.objects()), Ok(vec![first]));
        assert_eq!(&*frame(&mut cache, &heap, first, 0).function, "second");
    }
}
