//! Finds the interpreter in a process, and its event loops, from memory and mappings alone.

mod again;
mod asyncio;
mod awaitables;
mod bounded;
mod code_places;
pub(crate) mod data;
pub mod elf;
mod event_loops;
#[cfg(test)]
mod fuzz_tests;
mod jobs;
pub mod report;
mod scheduler;
mod self_check;
#[cfg(test)]
pub(crate) mod self_check_tests;
#[cfg(test)]
mod synthetic_tests;
mod task_shapes;
mod thread_frames;
mod thread_id;
mod trio;
mod turns;
mod unnamed;
mod version;
mod workers;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use awaitwhat_common::layout::{Layout, Links, Text};

use self::asyncio::Wrappers;
use self::bounded::Bounded;
use self::elf::Image;
pub use self::event_loops::{EventLoop, EventLoops};
pub use self::jobs::{Pool, QueuedJob, RunningJob, Workers};
use self::scheduler::Scheduler;
pub use self::scheduler::SchedulerError;
pub use self::self_check::Fact;
pub use self::task_shapes::TaskFields;
pub use self::thread_frames::ThreadFrame;
pub use self::trio::TrioError;
pub use self::turns::{HeldFrame, LoopMoment, Turn};
pub use self::workers::MAX_THREADS;
use crate::layout::{KNOWN, LayoutError, Offsets, Table, Version};
use crate::memory::{Address, Fault, Mapping, Memory};
use crate::python::dict::Search;
use crate::python::frame::Frames;
use crate::python::future::FutureTypes;
use crate::python::{Objects, ReadError, Types};

/// Images of a process that are searched for an interpreter.
const MAX_IMAGES: usize = 4096;
/// Pages that may be read for that: an honest image takes about ten.
const MAX_IMAGE_PAGES: u64 = 1 << 17;
/// Modules of all interpreters of the process whose places are remembered.
const MAX_SEARCHES: usize = 1024;

/// Why no interpreter was found, or why it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    #[error(
        "no Python interpreter was found in the process: none of its {images} mapped files defines `_PyRuntime`, \
         and none has the offsets that CPython publishes since 3.13 (one before 3.13 that exports no symbols is not recognised)"
    )]
    NotPython {
        images: usize,
        /// The C library is not among them: it is no dynamic program, or one that is still being loaded, with what it needs.
        is_without_libc: bool,
    },
    #[error("the process runs PyPy; awaitwhat reads CPython {KNOWN}")]
    PyPy,
    #[error("the process runs Python 2 (`{image}`); awaitwhat reads CPython {KNOWN}")]
    Python2 { image: String },
    #[error("the process runs a CPython older than those that awaitwhat reads, {KNOWN} (`{image}`)")]
    TooOld { image: String },
    #[error(
        "the interpreter (`{image}`) has no symbol `Py_Version`, as CPython 3.7 to 3.10 has none, but is laid out like no standard build of these: `sys.hexversion` is not where they have it"
    )]
    UnknownBuild { image: String },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A program that has just started; worth trying again a little later.
    #[error("the Python interpreter of the process has not been initialised yet")]
    NotInitialised,
    #[error("the interpreter (`{image}`) has no symbol `{symbol}`: this build of CPython is not supported")]
    MissingSymbol { image: String, symbol: &'static str },
    /// Of an interpreter without symbols: its types are those that modules name.
    #[error(
        "the interpreter has no symbols, and `{module}.{name}`, which is needed in their place, is not there (yet)"
    )]
    Unnamed {
        module: &'static str,
        name: &'static str,
    },
    #[error(
        "the interpreter is not laid out like a standard build of CPython {version}: {what} should be {expected}, and is {found}"
    )]
    SelfCheck {
        version: Version,
        what: String,
        expected: String,
        found: String,
    },
    #[error("the interpreter's memory cannot be read: {0}")]
    Read(#[from] ReadError),
}

impl From<Fault> for FindError {
    fn from(fault: Fault) -> Self {
        Self::Read(fault.into())
    }
}

impl FindError {
    /// Whether the next look may succeed: an interpreter that has just begun, or a child that was forked a moment ago, contradicts itself.
    pub(crate) const fn is_momentary(&self) -> bool {
        match self {
            Self::UnknownBuild { .. } | Self::SelfCheck { .. } => true,
            Self::Read(error) => error.is_momentary(),
            _ => false,
        }
    }
}

/// A CPython interpreter inside the target.
#[derive(Debug)]
pub struct Interpreter {
    pub version: Version,
    /// Base name of the file that the interpreter was found in.
    pub image: String,
    /// What its process calls itself, where that is known: what a child has from its parent still tells the parent's.
    pub process_id: Option<u32>,
    /// Version and image of other interpreters in the process, which are not looked at.
    pub others: Vec<(Version, String)>,
    /// Address of `_PyRuntime`.
    runtime: Address,
    offsets: Offsets,
    types: Types,
    /// What the walker needs, but for what the library says that schedules tasks.
    walk: Layout,
    wrappers: Wrappers,
    /// Where a `struct pthread` has its thread's id; `None` until it is known, or where nobody needs it.
    thread_id_place: Option<u64>,
    /// Those that were seen; their places are the numbers of their layouts.
    schedulers: Vec<Scheduler>,
    /// Where modules were found in `sys.modules`, or that they were not, by the interpreter's state and the name.
    searches: RefCell<HashMap<(Address, &'static str), Search>>,
}

/// Finds the interpreter of a process. Where there are several, one that has asyncio comes first, then the likeliest of [`images`].
///
/// # Errors
/// Where there is none, or none that can be read; [`FindError::NotInitialised`] is worth another try.
pub fn find_interpreter(memory: &dyn Memory, mappings: &[Mapping]) -> Result<Interpreter, FindError> {
    let mut images = images(mappings);
    let is_cut = images.len() > MAX_IMAGES;
    images.truncate(MAX_IMAGES);
    let bounded = Bounded::new(memory, MAX_IMAGE_PAGES);
    let mut search = ImageSearch {
        is_pypy: images.iter().any(|image| image.name.starts_with("libpypy")),
        ..ImageSearch::default()
    };
    for mapping in &images {
        // Every image takes some reads, so that a second interpreter is looked for where one may be expected only.
        if !search.found.is_empty() && !is_libpython(mapping) {
            break;
        }
        search.look_at(&bounded, mapping)?;
        if search.found.is_empty() {
            // Nothing of it is read again.
            memory.forget();
        }
    }
    if let Some(interpreter) = first_of(search.found, memory) {
        return Ok(interpreter);
    }
    if is_cut || bounded.is_used_up() {
        let what = "mapped files";
        return Err(ReadError::Exhausted { what }.into());
    }
    match (search.failure, search.too_old) {
        (Some(failure), _) => Err(failure),
        _ if search.is_pypy => Err(FindError::PyPy),
        (None, Some(error)) => Err(error),
        (None, None) => match unnamed::find_runtime(memory, mappings) {
            Some((runtime, mapping, version)) => {
                Interpreter::without_symbols(memory, mapping, runtime, version)?.checked(memory)
            }
            None => Err(FindError::NotPython {
                images: images.len(),
                is_without_libc: !images.iter().any(|image| is_libc(&image.name)),
            }),
        },
    }
}

/// What a process's images were found to be.
#[derive(Default)]
struct ImageSearch {
    found: Vec<Interpreter>,
    failure: Option<FindError>,
    too_old: Option<FindError>,
    is_pypy: bool,
}

impl ImageSearch {
    fn look_at(&mut self, memory: &dyn Memory, mapping: &Mapping) -> Result<(), FindError> {
        let Some(image) = Image::read(memory, mapping.start)? else {
            return Ok(());
        };
        let Some(runtime) = image.find(memory, "_PyRuntime")? else {
            if self.too_old.is_none() && image.find(memory, "_Py_NoneStruct")?.is_some() {
                let name = mapping.name.clone();
                // What `bytes` was called.
                self.too_old = Some(match image.find(memory, "PyString_Type")? {
                    Some(_) => FindError::Python2 { image: name },
                    None => FindError::TooOld { image: name },
                });
            }
            self.is_pypy |= image.find(memory, "pypy_main_startup")?.is_some();
            return Ok(());
        };
        match Interpreter::read(memory, mapping, &image, runtime) {
            Ok(interpreter) => self.found.push(interpreter),
            // A library that is there but unused says nothing against another one.
            Err(error) if matches!(self.failure, None | Some(FindError::NotInitialised)) => {
                self.failure = Some(error);
            }
            Err(_) => {}
        }
        Ok(())
    }
}

/// The interpreter to look at, which knows of the others.
fn first_of(mut found: Vec<Interpreter>, memory: &dyn Memory) -> Option<Interpreter> {
    if found.len() > 1 {
        found.sort_by_key(|interpreter| !interpreter.has_imported(memory, "asyncio"));
    }
    let mut found = found.into_iter();
    let mut first = found.next()?;
    first.others = found.map(|other| (other.version, other.image)).collect();
    Some(first)
}

/// The first mapping of each file with code, the likeliest first: the main executable (it has the lowest address), then libpython, then the
/// others. Files of data are none, however many there are.
fn images(mappings: &[Mapping]) -> Vec<&Mapping> {
    let with_code: HashSet<u64> = mappings
        .iter()
        .filter(|mapping| mapping.executable)
        .filter_map(|mapping| mapping.file)
        .collect();
    let mut images: Vec<&Mapping> = mappings
        .iter()
        .filter(|mapping| mapping.readable && mapping.file_offset == 0)
        .filter(|mapping| mapping.file.is_some_and(|file| with_code.contains(&file)))
        .collect();
    if let Some(others) = images.get_mut(1..) {
        others.sort_by_key(|mapping| !is_libpython(mapping));
    }
    images
}

fn is_libpython(mapping: &Mapping) -> bool {
    mapping.name.contains("libpython")
}

/// Whether it is the GNU C library, which the dynamic loader maps behind whatever a program names itself, libpython among it.
fn is_libc(name: &str) -> bool {
    name.starts_with("libc.so.") || name.starts_with("libc-2.")
}

impl Interpreter {
    /// Reads objects of this interpreter.
    pub fn objects<'a>(&'a self, memory: &'a dyn Memory) -> Objects<'a> {
        Objects {
            memory,
            offsets: &self.offsets,
            types: &self.types,
        }
    }

    /// Reads frames of tasks that have the layout with this number; `None` where there is no such layout.
    pub fn frames<'a>(&'a self, memory: &'a dyn Memory, layout: u32) -> Option<Frames<'a>> {
        Some(Frames {
            objects: self.objects(memory),
            layout: &self.scheduler(layout)?.layout,
        })
    }

    /// Types of futures that tasks with this layout wait for; `None` where they are not asyncio's.
    pub fn future_types(&self, layout: u32) -> Option<&FutureTypes> {
        Some(&self.asyncio(layout)?.types)
    }

    fn read(
        memory: &dyn Memory,
        mapping: &Mapping,
        image: &Image,
        runtime: Address,
    ) -> Result<Self, FindError> {
        Self::by_symbols(memory, mapping, image, runtime)?.checked(memory)
    }

    /// The interpreter with the layout of its version, which is still to be compared with what there is.
    fn by_symbols(
        memory: &dyn Memory,
        mapping: &Mapping,
        image: &Image,
        runtime: Address,
    ) -> Result<Self, FindError> {
        let name = &mapping.name;
        let (version, table, types) = match image.find(memory, "Py_Version")? {
            Some(symbol) => {
                let version = version::by_symbol(memory, symbol)?;
                let table = Table::for_interpreter(memory, version, runtime)?;
                (version, table, find_types(memory, image, name)?)
            }
            None => {
                let types = find_types(memory, image, name)?;
                let (version, table) = version::by_table(memory, &types, runtime, name)?;
                (version, table, types)
            }
        };
        Ok(Self::new(name, runtime, version, table, types))
    }

    /// The same, where the image names nothing.
    fn without_symbols(
        memory: &dyn Memory,
        mapping: &Mapping,
        runtime: Address,
        version: Version,
    ) -> Result<Self, FindError> {
        let table = Table::for_interpreter(memory, version, runtime)?;
        let types = unnamed::find_types(memory, &table.offsets, runtime)?;
        Ok(Self::new(&mapping.name, runtime, version, table, types))
    }

    fn new(image: &str, runtime: Address, version: Version, table: Table, types: Types) -> Self {
        let Table { offsets, walk } = table;
        Self {
            version,
            image: image.to_owned(),
            process_id: None,
            others: Vec::new(),
            runtime,
            offsets,
            types,
            walk: with_types(walk, &offsets, &types),
            wrappers: Wrappers::default(),
            thread_id_place: None,
            schedulers: Vec::new(),
            searches: RefCell::default(),
        }
    }

    /// The interpreter, if it is laid out as its version has to be.
    fn checked(mut self, memory: &dyn Memory) -> Result<Self, FindError> {
        self.check(memory)?;
        self.wrappers = Wrappers::find(&self.objects(memory));
        Ok(self)
    }

    /// The module of this name that the interpreter at `state` has imported. To ask again is cheap: a trace does, every second.
    fn module(
        &self,
        memory: &dyn Memory,
        state: Address,
        name: &'static str,
    ) -> Result<Option<Address>, ReadError> {
        let modules = memory.read_address(state.offset(self.offsets.interpreter.modules))?;
        let mut known = self.searches.borrow().get(&(state, name)).copied();
        let found = self.objects(memory).dict_get_again(modules, name, &mut known);
        let mut searches = self.searches.borrow_mut();
        if searches.len() >= MAX_SEARCHES {
            searches.clear();
        }
        searches.extend(known.map(|known| ((state, name), known)));
        found
    }

    /// Whether the main interpreter has this module.
    fn has_imported(&self, memory: &dyn Memory, module: &str) -> bool {
        let main = memory.read_address(self.runtime.offset(self.offsets.runtime_interpreters_head));
        let modules =
            main.and_then(|main| memory.read_address(main.offset(self.offsets.interpreter.modules)));
        modules.is_ok_and(|modules| matches!(self.objects(memory).dict_get(modules, module), Ok(Some(_))))
    }
}

/// The layout of a version, with the types of one interpreter.
fn with_types(walk: Layout, offsets: &Offsets, types: &Types) -> Layout {
    // An offset that is too large for the walker is found out by `Layout::is_within_bounds`.
    let short = |offset: u64| u16::try_from(offset).unwrap_or(u16::MAX);
    let unicode = &offsets.unicode;
    Layout {
        text: Text {
            type_address: types.unicode.0,
            length: short(unicode.length),
            state: short(unicode.state),
            kind_shift: unicode.kind_shift as u16,
            data: short(unicode.data),
        },
        links: Links {
            callback0: short(offsets.future.callback0),
            callbacks: short(offsets.future.callbacks),
            list_size: short(offsets.list.size),
            list_items: short(offsets.list.items),
            tuple_size: short(offsets.tuple.size),
            tuple_items: short(offsets.tuple.items),
            function_closure: short(offsets.function.closure),
            cell_contents: short(offsets.cell_contents),
            list_type: types.list.0,
            tuple_type: types.tuple.0,
            function_type: types.function.0,
            ..Links::default()
        },
        coroutine_type: types.coroutine.0,
        generator_type: types.generator.0,
        async_generator_type: types.async_generator.0,
        none_address: types.none.0,
        weakref_type: types.weak_reference.0,
        ..walk
    }
}

fn find_types(memory: &dyn Memory, image: &Image, name: &str) -> Result<Types, FindError> {
    let find = |symbol: &'static str| {
        image
            .find(memory, symbol)?
            .ok_or_else(|| FindError::MissingSymbol {
                image: name.to_owned(),
                symbol,
            })
    };
    Ok(Types {
        type_type: find("PyType_Type")?,
        unicode: find("PyUnicode_Type")?,
        bytes: find("PyBytes_Type")?,
        long: find("PyLong_Type")?,
        list: find("PyList_Type")?,
        tuple: find("PyTuple_Type")?,
        dict: find("PyDict_Type")?,
        set: find("PySet_Type")?,
        module: find("PyModule_Type")?,
        code: find("PyCode_Type")?,
        frame: find("PyFrame_Type")?,
        function: find("PyFunction_Type")?,
        cell: find("PyCell_Type")?,
        coroutine: find("PyCoro_Type")?,
        generator: find("PyGen_Type")?,
        async_generator: find("PyAsyncGen_Type")?,
        weak_reference: find("_PyWeakref_RefType")?,
        none: find("_Py_NoneStruct")?,
    })
}
