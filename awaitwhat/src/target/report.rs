//! What to say of an interpreter in a bug report: enough to find out what it is, and nothing of what it does.

use super::elf::{self, Image};
use super::self_check::Fact;
use super::{FindError, Interpreter, images, unnamed};
use crate::layout::{Version, published_words};
use crate::memory::{Address, Mapping, Memory};

/// Symbols that tell interpreters apart.
const TELLING: [&str; 6] = [
    // CPython 3.7+.
    RUNTIME,
    // CPython 3.11+.
    VERSION,
    // Every CPython.
    NONE,
    // CPython 2.
    "PyString_Type",
    // Builds with reference counts that are checked (`--with-pydebug`).
    DEBUG,
    // PyPy.
    "pypy_main_startup",
];
const RUNTIME: &str = "_PyRuntime";
const DEBUG: &str = "_Py_NegativeRefcount";
const VERSION: &str = "Py_Version";
const NONE: &str = "_Py_NoneStruct";
/// Types whose instances' sizes tell layouts apart.
const SIZES: [&str; 12] = [
    "PyType_Type",
    "PyUnicode_Type",
    "PyLong_Type",
    "PyTuple_Type",
    "PyDict_Type",
    "PySet_Type",
    "PyModule_Type",
    "PyFunction_Type",
    "PyCode_Type",
    "PyFrame_Type",
    "PyGen_Type",
    "PyCoro_Type",
];
/// Where `tp_basicsize` is behind the header of an object: after `ob_size` and `tp_name`, in every version.
const BASIC_SIZE_BEHIND_HEADER: u64 = 16;
/// Sizes of an object's header: of ordinary builds, and of free-threaded ones.
const HEADERS: [u64; 2] = [16, 32];
/// The largest instance that is believed.
const MAX_BASIC_SIZE: u64 = 1 << 16;
/// Characters of a name that was found in an unexpected place.
const MAX_FOUND: usize = 64;

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: &'static str,
    pub value: String,
}

/// What to say of the interpreter of a process. What cannot be read is left out.
pub fn report(memory: &dyn Memory, mappings: &[Mapping]) -> Vec<Entry> {
    let candidates = images(mappings);
    let mut best = None;
    for mapping in &candidates {
        let Ok(Some(image)) = Image::read(memory, mapping.start) else {
            continue;
        };
        let has = |symbol| matches!(image.find(memory, symbol), Ok(Some(_)));
        if has(RUNTIME) {
            best = Some((*mapping, image));
            break;
        }
        if best.is_none() && TELLING.iter().any(|symbol| has(symbol)) {
            best = Some((*mapping, image));
        }
    }
    let mut entries = Entries(Vec::new());
    match best {
        Some((mapping, image)) => entries.describe(memory, mapping, &image),
        None => {
            let meaning = format!("none of {} has symbols of an interpreter", candidates.len());
            entries.add("image", meaning);
            entries.describe_unnamed(memory, mappings);
        }
    }
    entries.0
}

struct Entries(Vec<Entry>);

impl Entries {
    fn add(&mut self, key: &'static str, value: impl Into<String>) {
        let value = value.into();
        self.0.push(Entry { key, value });
    }

    fn describe(&mut self, memory: &dyn Memory, mapping: &Mapping, image: &Image) {
        let find = |symbol: &str| image.find(memory, symbol).ok().flatten();
        self.add("image", mapping.name.clone());
        let id = elf::build_id(memory, mapping.start).ok().flatten();
        self.add("build id", id.unwrap_or_else(|| "none".to_owned()));
        let symbols: Vec<&str> = TELLING
            .into_iter()
            .filter(|symbol| find(symbol).is_some())
            .collect();
        self.add("symbols", symbols.join(" "));
        if let Some(hex) = find(VERSION).and_then(|symbol| memory.read_u64(symbol).ok()) {
            let version = Version::from_hex(u32::try_from(hex).unwrap_or(u32::MAX));
            self.add("Py_Version", format!("{version} ({hex:#x})"));
        }
        let runtime = find(RUNTIME);
        let is_debug = find(DEBUG).is_some();
        self.add("debug build", if is_debug { "yes" } else { "no" });
        if let Some(runtime) = runtime {
            self.describe_published(memory, runtime);
        }
        self.add("basic sizes", basic_sizes(memory, &find));
        let Some(runtime) = runtime else {
            return;
        };
        self.check_if_known(memory, Interpreter::by_symbols(memory, mapping, image, runtime));
    }

    /// An interpreter that is linked into a program without symbols, and publishes something.
    fn describe_unnamed(&mut self, memory: &dyn Memory, mappings: &[Mapping]) {
        let Some((runtime, mapping, version)) = unnamed::find_runtime(memory, mappings) else {
            return;
        };
        self.add(
            "image",
            format!("{}, which has a cookie of CPython {version}", mapping.name),
        );
        self.describe_published(memory, runtime);
        self.check_if_known(
            memory,
            Interpreter::without_symbols(memory, mapping, runtime, version),
        );
    }

    fn describe_published(&mut self, memory: &dyn Memory, runtime: Address) {
        let Some(words) = published_words(memory, runtime) else {
            return;
        };
        let is_free_threaded = words.get(1) != Some(&0);
        self.add("free-threaded build", if is_free_threaded { "yes" } else { "no" });
        let words: Vec<String> = words.iter().map(u64::to_string).collect();
        self.add("published offsets", words.join(" "));
    }

    fn check_if_known(&mut self, memory: &dyn Memory, interpreter: Result<Interpreter, FindError>) {
        match interpreter {
            Ok(interpreter) => self.check(memory, &interpreter),
            Err(error) => self.add("refused", error.to_string()),
        }
    }

    fn check(&mut self, memory: &dyn Memory, interpreter: &Interpreter) {
        self.add("layout", format!("of CPython {}", interpreter.version));
        match interpreter.facts(memory) {
            Ok(facts) => facts.iter().for_each(|fact| self.add_fact(fact)),
            Err(error) => return self.add("refused", error.to_string()),
        }
        let state = interpreter.main(memory).unwrap_or_default();
        match interpreter.find_asyncio(memory, state) {
            Ok(Some(_)) => self.add("asyncio", "found"),
            Ok(None) => self.add("asyncio", "not imported, or not to its end"),
            Err(error) => self.add("asyncio", error.to_string()),
        }
    }

    fn add_fact(&mut self, fact: &Fact) {
        let Fact {
            what,
            expected,
            found,
            holds,
        } = fact;
        if *holds {
            self.add("holds", format!("{what}: {}", harmless(found)));
        } else {
            self.add(
                "FAILS",
                format!("{what}: expected {expected}, found {}", harmless(found)),
            );
        }
    }
}

/// `tp_basicsize` of some types, at the two places where it can be.
fn basic_sizes(memory: &dyn Memory, find: &dyn Fn(&str) -> Option<Address>) -> String {
    let size = |type_object: Address, header: u64| {
        let at = type_object.offset(header + BASIC_SIZE_BEHIND_HEADER);
        let size = memory.read_u64(at).ok()?;
        (size != 0 && size <= MAX_BASIC_SIZE).then_some(size)
    };
    let sizes = SIZES.into_iter().filter_map(|symbol| {
        let type_object = find(symbol)?;
        let size = HEADERS.into_iter().find_map(|header| size(type_object, header))?;
        Some(format!("{symbol} {size}"))
    });
    sizes.collect::<Vec<_>>().join(", ")
}

/// What was found, where it looks like a name: in a wrong place there may be any text of the program's.
fn harmless(found: &str) -> &str {
    let is_name = |character: char| character.is_ascii_alphanumeric() || " _.<>`:()".contains(character);
    if found.len() <= MAX_FOUND && found.chars().all(is_name) {
        found
    } else {
        "something that is no name"
    }
}
