//! What the objects at the end of a path say.

use std::sync::Arc;

use super::path::Path;
use super::reader::Reader;
use super::sql;
use crate::memory::Address;
use crate::python::{Objects, ReadError};
use crate::resource::Detail;

/// Items of a list or a tuple that are looked at for those that wait.
const MAX_LINE: u64 = 10_000;
/// Places of a set's table that are looked at: it has up to four times as many as items, rounded up to a power of two.
const MAX_SET: u64 = 1 << 16;
/// Characters of a text that are kept.
const MAX_CHARACTERS: usize = 200;
/// Keys of a dict of which any is taken.
const MAX_ANY_KEY: i64 = 64;
/// Bytes of a query that are looked at.
const MAX_QUERY: usize = 1 << 16;
/// Items of a list of words (a command's arguments) that are looked at.
const MAX_WORDS: u64 = 64;

/// `PyMemoryViewObject.view.len`, from the end of the header on (`Include/cpython/memoryobject.h` of 3.7 to 3.15).
const VIEW_LENGTH: u64 = 56;

/// What is known of a type.
#[derive(Debug)]
pub(super) struct Kind {
    /// Its name, and those of the types that it is derived from.
    pub(super) names: Vec<Arc<str>>,
    /// The full names of those among them that an extension module has: no program makes such types while it runs.
    extensions: Vec<String>,
    container: Option<Container>,
    is_integer: bool,
    is_socket: bool,
    is_memory_view: bool,
    /// It is bound to an object (`method`).
    pub(super) is_method: bool,
}

/// Containers whose items are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Deque,
    List,
    Tuple,
    Dict,
    Set,
    Bytes,
}

impl Kind {
    /// What a type says of itself, which is asked first whether it is one.
    pub(super) fn of(objects: &Objects<'_>, type_object: Address) -> Result<Self, ReadError> {
        let names = objects.names_in_order(type_object)?;
        let types = objects.types;
        let mut kind = Self {
            names: names.into_iter().map(Arc::from).collect(),
            extensions: Vec::new(),
            container: None,
            is_integer: false,
            is_socket: false,
            is_memory_view: false,
            is_method: false,
        };
        for base in objects.resolution_order(type_object)? {
            let container = match base {
                _ if base == types.list => Container::List,
                _ if base == types.tuple => Container::Tuple,
                _ if base == types.dict => Container::Dict,
                _ if base == types.set => Container::Set,
                _ if base == types.bytes => Container::Bytes,
                _ => match &*objects.full_type_name(base)? {
                    "collections.deque" => Container::Deque,
                    "bytearray" if !objects.is_heap_type(base)? => Container::Bytes,
                    name => {
                        kind.is_integer |= base == types.long;
                        kind.is_socket |= name == "_socket.socket";
                        kind.is_method |= name == "method" && !objects.is_heap_type(base)?;
                        kind.is_memory_view |= name == "memoryview" && !objects.is_heap_type(base)?;
                        if name.contains('.') && !objects.is_heap_type(base)? {
                            kind.extensions.push(name.to_owned());
                        }
                        continue;
                    }
                },
            };
            kind.container = Some(container);
        }
        Ok(kind)
    }

    /// Whether it is a class of this name, or derived from one; a full name (`uvloop.loop.Loop`) is that of an extension module's class.
    pub(super) fn is_a(&self, class: &str) -> bool {
        if class.contains('.') {
            return self.extensions.iter().any(|name| name == class);
        }
        self.names.iter().any(|name| **name == *class)
    }
}

impl Reader<'_> {
    fn container(&mut self, object: Address) -> Result<Option<Container>, ReadError> {
        Ok(self.kind_of(object)?.container)
    }

    /// The number of a container's items; `None` where it is none.
    ///
    /// Facts: `deque`, `bytes` and `bytearray` are var-sized (`Py_SIZE`), `PyDictObject.ma_used` and `PyListObject.ob_size` follow the header,
    /// `PySetObject.used` follows `fill` (3.7 to 3.15).
    pub(super) fn length(&mut self, object: Address) -> Result<Option<i64>, ReadError> {
        let Some(container) = self.container(object)? else {
            return Ok(None);
        };
        let objects = self.frames().objects;
        let header = objects.offsets.header_bytes();
        let offset = match container {
            Container::Deque | Container::Dict | Container::Bytes => header,
            Container::List => objects.offsets.list.size,
            Container::Tuple => objects.offsets.tuple.size,
            Container::Set => header + 8,
        };
        let count = objects.memory.read_u64(object.offset(offset))?;
        Ok(i64::try_from(count).ok())
    }

    /// What a path asks for besides the object at its end: how many items that has, or bytes.
    pub(super) fn measure(&mut self, object: Address, path: &Path) -> Result<Option<i64>, ReadError> {
        if path.is_length {
            return self.length(object);
        }
        if self.container(object)? != Some(Container::Deque) {
            return self.bytes(object);
        }
        let pieces = self.items(object)?;
        if self.length(object)? != i64::try_from(pieces.len()).ok() {
            return Ok(None);
        }
        let mut sum = 0_i64;
        for piece in pieces {
            let Some(bytes) = self.bytes(piece)? else {
                return Ok(None);
            };
            sum = sum.saturating_add(bytes);
        }
        Ok(Some(sum))
    }

    /// The number of bytes in a `bytes`, a `bytearray` or a `memoryview`.
    fn bytes(&mut self, object: Address) -> Result<Option<i64>, ReadError> {
        let kind = self.kind_of(object)?;
        if kind.is_memory_view {
            let objects = self.frames().objects;
            let length = object.offset(objects.offsets.header_bytes() + VIEW_LENGTH);
            return Ok(i64::try_from(objects.memory.read_u64(length)?).ok());
        }
        match kind.container {
            Some(Container::Bytes) => self.length(object),
            _ => Ok(None),
        }
    }

    /// The items of a sequence or a set, as far as they are looked at; of anything else none.
    pub(super) fn items(&mut self, object: Address) -> Result<Vec<Address>, ReadError> {
        let container = self.container(object)?;
        let objects = self.frames().objects;
        match container {
            Some(Container::Deque) => objects.first_deque_items(object),
            Some(Container::List) => objects.first_list_items(object, MAX_LINE),
            Some(Container::Tuple) => objects.first_tuple_items(object, MAX_LINE),
            Some(Container::Set) => objects.first_set_items(object, MAX_SET),
            Some(Container::Dict | Container::Bytes) | None => Ok(Vec::new()),
        }
    }

    /// An item of a tuple or a list.
    pub(super) fn item(&mut self, object: Address, index: u64) -> Result<Option<Address>, ReadError> {
        let container = self.container(object)?;
        let objects = self.frames().objects;
        let items = match container {
            Some(Container::List) => objects.first_list_items(object, index + 1)?,
            Some(Container::Tuple) => objects.first_tuple_items(object, index + 1)?,
            _ => Vec::new(),
        };
        let item = usize::try_from(index).ok().and_then(|index| items.get(index));
        Ok(item.copied().filter(|item| !item.is_null()))
    }

    /// What a dict has under a key.
    pub(super) fn value_of_key(&mut self, object: Address, key: &str) -> Result<Option<Address>, ReadError> {
        match self.container(object)? {
            Some(Container::Dict) => self.frames().objects.dict_get(object, key),
            _ => Ok(None),
        }
    }

    /// What a dict has under its first key, unless it has very many.
    pub(super) fn first_value(&mut self, object: Address) -> Result<Option<Address>, ReadError> {
        let is_small = self.length(object)?.is_some_and(|length| length <= MAX_ANY_KEY);
        if self.container(object)? != Some(Container::Dict) || !is_small {
            return Ok(None);
        }
        let items = self.frames().objects.dict_items(object)?;
        Ok(items.first().map(|(_, value)| *value))
    }

    /// The value of an `int` or a `bool`; of a socket its descriptor, which it begins with (`PySocketSockObject.sock_fd`, an `int`, of 3.7 to
    /// 3.15). One that is closed has none.
    pub(super) fn number(&mut self, object: Address) -> Result<Option<i64>, ReadError> {
        let kind = self.kind_of(object)?;
        let objects = self.frames().objects;
        if kind.is_integer {
            return objects.integer(object);
        }
        if !kind.is_socket {
            return Ok(None);
        }
        let descriptor = objects.read_u32(object.offset(objects.offsets.header_bytes()))?;
        Ok(Some(descriptor.cast_signed().into()).filter(|descriptor| *descriptor >= 0))
    }

    /// Whether an `int` or a `bool` is true.
    pub(super) fn truth(&mut self, object: Address) -> Result<Option<bool>, ReadError> {
        Ok(self.number(object)?.map(|number| number != 0))
    }

    /// A number of seconds.
    pub(super) fn seconds(&mut self, object: Address) -> Result<Option<f64>, ReadError> {
        match self.number(object)? {
            Some(number) => Ok(Some(number as f64)),
            None => self.frames().objects.float(object),
        }
    }

    /// A text; the words of a list or a tuple of them in a row.
    pub(super) fn words(&mut self, object: Address) -> Result<Option<Arc<str>>, ReadError> {
        let objects = self.frames().objects;
        if let Some(text) = self.text(object)? {
            return Ok(Some(text));
        }
        let words = match self.container(object)? {
            Some(Container::List) => objects.first_list_items(object, MAX_WORDS)?,
            Some(Container::Tuple) => objects.first_tuple_items(object, MAX_WORDS)?,
            _ => return Ok(None),
        };
        let mut joined = Vec::new();
        for word in words {
            joined.push(self.text(word)?.unwrap_or_else(|| "…".into()));
        }
        Ok(Some(cut(&joined.join(" "))))
    }

    /// A text, or bytes that are one.
    pub(super) fn plain_text(&mut self, object: Address) -> Result<Option<Arc<str>>, ReadError> {
        let objects = self.frames().objects;
        if !objects.is_exactly(object, objects.types.bytes)? {
            return self.text(object);
        }
        let (bytes, is_cut) = objects.first_bytes(object, MAX_CHARACTERS)?;
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if is_cut {
            text.push('…');
        }
        Ok(Some(text.into()))
    }

    /// What a server was asked, on one line. Literals in it are told only where arguments are.
    pub(super) fn query(&mut self, object: Address) -> Result<Option<Arc<str>>, ReadError> {
        let objects = self.frames().objects;
        let (text, is_cut) = if self.kind_of(object)?.container == Some(Container::Bytes) {
            match objects.is_exactly(object, objects.types.bytes)? {
                true => (objects.bytes(object, MAX_QUERY)?, false),
                false => return Ok(None),
            }
        } else if objects.is_exactly(object, objects.types.unicode)? {
            let text = objects.text(object)?;
            (text.text.into_bytes(), text.is_cut)
        } else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&text);
        let shown = match self.tells_arguments {
            true => sql::on_one_line(&text),
            false => sql::without_literals(&text, is_cut),
        };
        Ok(Some(cut(&shown)).filter(|shown| !shown.is_empty()))
    }

    /// The values of a list or a tuple of arguments, or of one that is alone, in a row.
    pub(super) fn arguments(&mut self, object: Address) -> Result<Option<Arc<str>>, ReadError> {
        let items = match self.container(object)? {
            Some(Container::List | Container::Tuple) => self.items(object)?,
            _ => vec![object],
        };
        let mut shown = Vec::new();
        for item in items.iter().take(MAX_WORDS as usize) {
            shown.push(match self.plain_value(*item)? {
                Some(Detail::Text(text)) if self.text(*item)?.is_some() => format!("'{text}'"),
                Some(Detail::Text(text)) => text.to_string(),
                Some(Detail::Number(number)) => number.to_string(),
                None if *item == self.frames().objects.types.none => "None".to_owned(),
                None => "…".to_owned(),
            });
        }
        Ok(Some(cut(&shown.join(", "))).filter(|shown| !shown.is_empty()))
    }

    fn text(&mut self, object: Address) -> Result<Option<Arc<str>>, ReadError> {
        let objects = self.frames().objects;
        if !objects.is_exactly(object, objects.types.unicode)? {
            return Ok(None);
        }
        Ok(Some(cut(&objects.text(object)?.into_shown())))
    }

    /// The address of one end of a connection: `(host, port)` as IP has it, or a path.
    pub(super) fn endpoint(&mut self, object: Address) -> Result<Option<Arc<str>>, ReadError> {
        if let Some(path) = self.text(object)? {
            return Ok(Some(path).filter(|path| !path.is_empty()));
        }
        let (Some(host), Some(port)) = (self.item(object, 0)?, self.item(object, 1)?) else {
            return Ok(None);
        };
        let (host, port) = (self.text(host)?, self.number(port)?);
        Ok(host.map(|host| joined(&host, port)))
    }

    /// A number or a text, as it is; a number of seconds in ms.
    pub(super) fn plain_value(&mut self, object: Address) -> Result<Option<Detail>, ReadError> {
        if let Some(number) = self.number(object)? {
            return Ok(Some(Detail::Number(number)));
        }
        if let Some(number) = self.frames().objects.float(object)? {
            return Ok(Some(Detail::Text(number.to_string().into())));
        }
        Ok(self.text(object)?.map(Detail::Text))
    }
}

/// `host:port`, with brackets around an address of IPv6.
pub(super) fn joined(host: &str, port: Option<i64>) -> Arc<str> {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    match port {
        Some(port) => format!("{host}:{port}").into(),
        None => host.into(),
    }
}

fn cut(text: &str) -> Arc<str> {
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
