//! Reads Python objects of the target.
//!
//! Every reader is bounded and total: what an object claims about itself (lengths, pointers, kinds) is checked before
//! it is believed, since it may be garbage or change underneath.

mod callable;
pub mod dict;
pub mod event_loop;
pub mod executor;
pub mod frame;
#[cfg(test)]
mod frame_tests;
pub mod future;
#[cfg(test)]
pub(crate) mod image;
pub mod inside;
#[cfg(test)]
mod inside_tests;
pub(crate) mod instance;
mod number;
pub mod sequence;
mod slot;
mod str;
mod task;
#[cfg(test)]
mod tests;
mod thread_local;
pub mod trio;
mod r#type;

pub use self::str::Text;

use crate::layout::Offsets;
use crate::memory::{Address, Fault, Memory};

/// Why an object could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The memory was read, but it is not such an object, or it was changing.
    #[error("the object at {address} is not a well-formed {what}")]
    Malformed { what: &'static str, address: Address },
    /// A bound on the work for one snapshot was hit.
    #[error("there are too many {what} to look at all of them")]
    Exhausted { what: &'static str },
}

/// The value, `None` where it cannot be read, or the fault where nothing can be read any more.
///
/// # Errors
/// When the process is gone, or the reader itself fails: see [`Fault::is_of_place`].
pub fn readable<T>(result: Result<T, ReadError>) -> Result<Option<T>, Fault> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::Fault(fault)) if !fault.is_of_place() => Err(fault),
        Err(_) => Ok(None),
    }
}

impl ReadError {
    /// Whether it may be owed to what the target changed meanwhile (a thread that ends, a dict that grows), so that the next look may
    /// succeed.
    pub const fn is_momentary(&self) -> bool {
        match self {
            Self::Malformed { .. } => true,
            Self::Fault(fault) => fault.is_of_place(),
            Self::Exhausted { .. } => false,
        }
    }
}

/// Addresses of type objects and singletons of one interpreter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Types {
    /// `PyType_Type`.
    pub type_type: Address,
    /// `PyUnicode_Type`.
    pub unicode: Address,
    /// `PyBytes_Type`.
    pub bytes: Address,
    /// `PyLong_Type`.
    pub long: Address,
    /// `PyList_Type`.
    pub list: Address,
    /// `PyTuple_Type`.
    pub tuple: Address,
    /// `PyDict_Type`.
    pub dict: Address,
    /// `PySet_Type`.
    pub set: Address,
    /// `PyModule_Type`.
    pub module: Address,
    /// `PyCode_Type`.
    pub code: Address,
    /// `PyFrame_Type`.
    pub frame: Address,
    /// `PyFunction_Type`.
    pub function: Address,
    /// `PyCell_Type`.
    pub cell: Address,
    /// `PyCoro_Type`.
    pub coroutine: Address,
    /// `PyGen_Type`.
    pub generator: Address,
    /// `PyAsyncGen_Type`.
    pub async_generator: Address,
    /// `_PyWeakref_RefType`.
    pub weak_reference: Address,
    /// `_Py_NoneStruct`, that is `None` itself.
    pub none: Address,
}

/// Reads objects of one interpreter.
#[derive(Clone, Copy)]
pub struct Objects<'a> {
    pub memory: &'a dyn Memory,
    pub offsets: &'a Offsets,
    pub types: &'a Types,
}

impl Objects<'_> {
    /// `Py_TYPE(object)`.
    ///
    /// # Errors
    /// When the object cannot be read.
    pub fn type_of(&self, object: Address) -> Result<Address, ReadError> {
        Ok(self
            .memory
            .read_address(object.offset(self.offsets.object_type))?)
    }

    /// Whether the object's type is exactly `type_object`.
    ///
    /// # Errors
    /// When the object cannot be read.
    pub fn is_exactly(&self, object: Address, type_object: Address) -> Result<bool, ReadError> {
        Ok(self.type_of(object)? == type_object)
    }

    /// Reads the pointers of an array.
    fn pointers(&self, start: Address, count: usize) -> Result<Vec<Address>, ReadError> {
        let mut bytes = vec![0; count * 8];
        self.memory.read(start, &mut bytes)?;
        let (words, _) = bytes.as_chunks::<8>();
        Ok(words
            .iter()
            .map(|word| Address(u64::from_le_bytes(*word)))
            .collect())
    }

    pub(crate) fn read_u32(&self, address: Address) -> Result<u32, ReadError> {
        let mut bytes = [0; 4];
        self.memory.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}

/// What a pointer says when it is not NULL.
pub(crate) fn non_null(address: Address) -> Option<Address> {
    (!address.is_null()).then_some(address)
}
