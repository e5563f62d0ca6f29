//! The compiled object: its maps, and the instructions of its programs.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use aya::maps::{Map, MapData, MapError};
use aya_obj::Function;
use aya_obj::btf::BtfFeatures;
use aya_obj::generated::bpf_map_type;

use super::error::CaptureError;
use super::program::{self, Code, Kind};

/// The compiled programs: `cargo xtask build-ebpf` makes them, and `--check` proves it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/awaitwhat.bpf.o");

/// What Linux 6.1 and later know of types: all kinds of them, and no section without a length.
static KERNEL_TYPES: BtfFeatures = BtfFeatures::new(true, true, true, false, true, true, true, true);

/// The object, whose maps are made, and whose programs refer to them.
pub(super) struct Object {
    maps: HashMap<String, Map>,
    programs: HashMap<String, Function>,
    /// The types of its functions.
    types: OwnedFd,
    license: CString,
}

impl Object {
    /// Makes the maps, with as many entries as `max_entries` says of some of them.
    ///
    /// # Errors
    /// When a privilege or memory is missing.
    pub(super) fn new(max_entries: &[(&str, u32)]) -> Result<Self, CaptureError> {
        let mut object = aya_obj::Object::parse(OBJECT).map_err(|error| malformed(&error))?;
        let types = object
            .fixup_and_sanitize_btf(&KERNEL_TYPES)
            .map_err(|error| malformed(&error))?
            .ok_or(CaptureError::Object(".BTF"))?;
        let types = program::load_types(&types.to_bytes())?;
        let mut made = Vec::new();
        for (name, mut map) in object.maps.drain() {
            if let Some((_, entries)) = max_entries.iter().find(|(of, _)| *of == name) {
                map.set_max_entries(*entries);
            }
            let description = map.clone();
            let map = MapData::create(map, &name, None).map_err(CaptureError::make)?;
            made.push((name, description, map));
        }
        let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let places = made
            .iter()
            .map(|(name, description, map)| (name.as_str(), map.fd().as_fd().as_raw_fd(), description));
        object
            .relocate_maps(places, &sections)
            .map_err(|error| malformed(&error))?;
        object
            .relocate_calls(&sections)
            .map_err(|error| malformed(&error))?;
        let functions = &mut object.functions;
        let programs = object.programs.iter().filter_map(|(name, program)| {
            let function = functions.remove(&program.function_key())?;
            Some((name.clone(), function))
        });
        let maps = made
            .into_iter()
            .filter_map(|(name, description, map)| Some((name, typed(description.map_type(), map)?)));
        Ok(Self {
            programs: programs.collect(),
            types,
            maps: maps.collect(),
            license: object.license,
        })
    }

    /// Takes the map with this name out of the object. It has to stay open as long as programs are loaded that refer to it.
    pub(super) fn take_map<M: TryFrom<Map, Error = MapError>>(
        &mut self,
        name: &'static str,
    ) -> Result<M, CaptureError> {
        let map = self.maps.remove(name).ok_or(CaptureError::Object(name))?;
        M::try_from(map).map_err(|error| CaptureError::take(name, &error))
    }

    /// The map with this name, which stays.
    pub(super) fn map_mut<'a, M: TryFrom<&'a mut Map, Error = MapError>>(
        &'a mut self,
        name: &'static str,
    ) -> Result<M, CaptureError> {
        let map = self.maps.get_mut(name).ok_or(CaptureError::Object(name))?;
        M::try_from(map).map_err(|error| CaptureError::take(name, &error))
    }

    /// Loads the program with this name.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn load(&self, name: &'static str, kind: Kind) -> Result<OwnedFd, CaptureError> {
        let code = Code {
            name,
            function: self.programs.get(name).ok_or(CaptureError::Object(name))?,
            license: &self.license,
            types: &self.types,
        };
        program::load(&code, kind)
    }
}

/// A program that is loaded once it is needed, or by a thread meanwhile: the kernel takes its time to verify it.
pub(super) struct Program {
    name: &'static str,
    kind: Kind,
    begun: Option<JoinHandle<Result<OwnedFd, CaptureError>>>,
    loaded: Option<OwnedFd>,
}

impl Program {
    /// A program whose loading waits until it is needed.
    pub(super) const fn later(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            begun: None,
            loaded: None,
        }
    }

    /// Begins to load a program, in a thread if there can be one.
    pub(super) fn begin(object: &Arc<Object>, name: &'static str, kind: Kind) -> Self {
        let object = Arc::clone(object);
        let thread = thread::Builder::new().spawn(move || object.load(name, kind));
        Self {
            begun: thread.ok(),
            ..Self::later(name, kind)
        }
    }

    /// The program, once it is loaded. One that the kernel refused is tried again, as the reason has to be told each time.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn load(&mut self, object: &Object) -> Result<&OwnedFd, CaptureError> {
        let loaded = match self.loaded.take() {
            Some(loaded) => loaded,
            None => match self.begun.take().map(JoinHandle::join) {
                Some(Ok(result)) => result?,
                _ => object.load(self.name, self.kind)?,
            },
        };
        Ok(self.loaded.insert(loaded))
    }
}

/// A map as what it is; the object has maps of these kinds.
fn typed(kind: u32, map: MapData) -> Option<Map> {
    if kind == bpf_map_type::BPF_MAP_TYPE_ARRAY as u32 {
        Some(Map::Array(map))
    } else if kind == bpf_map_type::BPF_MAP_TYPE_HASH as u32 {
        Some(Map::HashMap(map))
    } else if kind == bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32 {
        Some(Map::RingBuf(map))
    } else {
        None
    }
}

fn malformed(error: &dyn std::error::Error) -> CaptureError {
    CaptureError::MalformedObject(error.to_string())
}
