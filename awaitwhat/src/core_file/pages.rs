//! The pages of a core file.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::notes::{FilePart, part_at};
use super::{CoreError, Places, Segment};

/// Bytes of a page.
const PAGE: usize = 4096;
/// Files that are held open.
const MAX_FILES: usize = 256;

/// Reads pages: of the core file, and those that it leaves out of the files that they are of.
#[derive(Debug)]
pub struct CorePages {
    core: File,
    segments: Vec<Segment>,
    files: Vec<FilePart>,
    /// The file that stands in for the one with this number.
    executable: Option<(usize, PathBuf)>,
    /// The folder that was the root of the process.
    root: Option<PathBuf>,
    /// By number: `None` where it is not there any more, or another one.
    open: RefCell<HashMap<usize, Option<File>>>,
}

impl Segment {
    /// Whether the core file should have the page at an address of the segment.
    fn has(&self, address: u64) -> bool {
        (address - self.start)
            .checked_add(PAGE as u64)
            .is_some_and(|end| end <= self.kept)
    }
}

impl CorePages {
    pub(super) fn new(
        core: File,
        segments: Vec<Segment>,
        files: Vec<FilePart>,
        places: &Places,
    ) -> Result<Self, CoreError> {
        // A program lies before what it loads.
        let program = files.first().map(|part| part.file);
        let mut pages = Self {
            core,
            segments,
            files,
            executable: None,
            root: places.root.clone(),
            open: RefCell::default(),
        };
        let Some((path, program)) = places.executable.clone().zip(program) else {
            return Ok(pages);
        };
        match open_regular(&path) {
            Err(source) => return Err(CoreError::Executable { path, source }),
            Ok(file) if !pages.is_same(program, &file) => return Err(CoreError::OtherExecutable { path }),
            Ok(_) => pages.executable = Some((program, path)),
        }
        Ok(pages)
    }

    /// The page at an address; `None` where nothing was mapped there, or it is not to be had any more.
    pub fn page(&self, address: u64) -> Option<Box<[u8; PAGE]>> {
        let mut page = Box::new([0; PAGE]);
        let segment = self.segment_at(address)?;
        if segment.has(address) {
            // Where the core file was cut, the file would tell what was there at first.
            self.read_kept(segment, address, &mut page)?;
        } else if !segment.is_writable {
            self.read_of_file(address, &mut page)?;
        } else {
            return None;
        }
        Some(page)
    }

    /// The files that were asked for and are not there, not to be read, or others by now.
    pub fn missing_files(&self) -> Vec<PathBuf> {
        let open = self.open.borrow();
        let is_missing = |part: &&FilePart| matches!(open.get(&part.file), Some(None));
        let mut missing: Vec<PathBuf> = self
            .files
            .iter()
            .filter(is_missing)
            .map(|part| self.path_of(part))
            .collect();
        missing.dedup();
        missing
    }

    fn segment_at(&self, address: u64) -> Option<&Segment> {
        let after = self.segments.partition_point(|it| it.start <= address);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        (address < segment.end).then_some(segment)
    }

    /// Reads a page that the core file should have.
    fn read_kept(&self, segment: &Segment, address: u64, page: &mut [u8; PAGE]) -> Option<()> {
        let offset = segment.offset.checked_add(address - segment.start)?;
        self.core.read_exact_at(page, offset).ok()
    }

    /// Reads a page of the file that was mapped there. Behind the end of the file there is nothing but zeros.
    fn read_of_file(&self, address: u64, page: &mut [u8; PAGE]) -> Option<()> {
        let part = part_at(&self.files, address)?;
        let mut open_files = self.open.borrow_mut();
        if open_files.len() >= MAX_FILES {
            open_files.clear();
        }
        let file = open_files.entry(part.file).or_insert_with(|| {
            let file = open_regular(&self.path_of(part)).ok()?;
            self.is_same(part.file, &file).then_some(file)
        });
        let offset = part.offset_of(address);
        read_up_to_end(file.as_ref()?, offset, page).filter(|length| *length > 0)?;
        Some(())
    }

    fn path_of(&self, part: &FilePart) -> PathBuf {
        match (&self.executable, &self.root) {
            (Some((number, path)), _) if *number == part.file => path.clone(),
            (_, Some(root)) => root.join(part.path.strip_prefix("/").unwrap_or(&part.path)),
            (_, None) => part.path.clone(),
        }
    }

    /// Whether a file may be the one that was mapped: where the core file has its first page (`coredump_filter`, core(5)), it is that.
    fn is_same(&self, number: usize, file: &File) -> bool {
        let mut parts = self.files.iter().filter(|part| part.file == number);
        let Some(first) = parts.find(|part| part.offset_of(part.start) == 0) else {
            return true;
        };
        let (mut kept, mut found) = ([0; PAGE], [0; PAGE]);
        let segment = self.segment_at(first.start).filter(|it| it.has(first.start));
        let was_kept = segment.and_then(|segment| self.read_kept(segment, first.start, &mut kept));
        if was_kept.is_none() {
            return true;
        }
        read_up_to_end(file, 0, &mut found).is_some() && kept == found
    }
}

/// Opens a file, and does not wait for another end where it is a pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

fn open_regular(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Fills `page` from `offset` on, as far as the file goes; returns how many bytes that are.
fn read_up_to_end(file: &File, offset: u64, page: &mut [u8; PAGE]) -> Option<usize> {
    let mut filled = 0;
    while filled < PAGE {
        let at = offset.checked_add(filled as u64)?;
        match file.read_at(&mut page[filled..], at) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    Some(filled)
}
