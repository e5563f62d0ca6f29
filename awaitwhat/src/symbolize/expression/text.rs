//! Expressions as text: how the program's code has them, but for what may be somebody's data.

use super::nodes::{Id, Items, Node, Nodes};
use crate::layout::opcodes::Facts;
use crate::memory::Address;
use crate::python::{Objects, ReadError};

/// Stands for what is not shown.
const LEFT_OUT: &str = "…";
/// Parts of one expression that are told.
const MAX_PARTS: u32 = 64;
/// Characters of an expression.
const MAX_TEXT: usize = 80;
/// Numbers from here on are left out: they may be of somebody, as texts are.
const LARGE: i64 = 1_000_000;
/// Fractions below are written with an exponent, which they are rarely in code.
const SMALL: f64 = 1e-4;

/// Tells expressions of one code object.
pub(super) struct Teller<'a> {
    objects: &'a Objects<'a>,
    code: Address,
    nodes: &'a Nodes,
    facts: &'a Facts,
    /// Parts that may still be told.
    left: u32,
}

impl<'a> Teller<'a> {
    pub(super) fn new(objects: &'a Objects<'a>, code: Address, nodes: &'a Nodes, facts: &'a Facts) -> Self {
        Self {
            objects,
            code,
            nodes,
            facts,
            left: 0,
        }
    }

    /// An expression as a whole; where that is long, without the arguments of its call, or `None`.
    pub(super) fn whole(&mut self, id: Id) -> Result<Option<String>, ReadError> {
        self.left = MAX_PARTS;
        let is_short = |text: &String| text.chars().count() <= MAX_TEXT;
        let text = self.expression(id)?;
        if text.is_none() || text.as_ref().is_some_and(is_short) {
            return Ok(text);
        }
        self.left = MAX_PARTS;
        let (Node::Call(of, ..) | Node::CallWithMany(of)) = self.nodes.get(id) else {
            return Ok(None);
        };
        let text = self.expression(of)?.map(|of| format!("{of}({LEFT_OUT})"));
        Ok(text.filter(is_short))
    }

    /// What has a value by its name; `None` for anything else.
    fn expression(&mut self, id: Id) -> Result<Option<String>, ReadError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        match self.nodes.get(id) {
            Node::Local(index) => self.local(u64::from(index)),
            Node::Shared(index) => self.shared(u64::from(index)),
            Node::Name(index) => self.name(index),
            Node::Common(index) => Ok(self.common(index)),
            Node::SuperAttribute(index) => Ok(self.name(index)?.map(|name| format!("super().{name}"))),
            Node::Attribute(of, index) => Ok(match (self.expression(of)?, self.name(index)?) {
                (Some(of), Some(name)) => Some(format!("{of}.{name}")),
                _ => None,
            }),
            Node::Item(of, key) => match self.expression(of)? {
                Some(of) => Ok(Some(format!("{of}[{}]", self.key(key)?))),
                None => Ok(None),
            },
            Node::Call(of, arguments, names) => match self.expression(of)? {
                Some(of) => Ok(Some(format!("{of}({})", self.arguments(&arguments, names)?))),
                None => Ok(None),
            },
            Node::CallWithMany(of) => Ok(self.expression(of)?.map(|of| format!("{of}({LEFT_OUT})"))),
            _ => Ok(None),
        }
    }

    fn key(&mut self, id: Id) -> Result<String, ReadError> {
        match self.nodes.get(id) {
            Node::Tuple(items) => self.arguments(&items, None),
            _ => self.argument(id),
        }
    }

    fn argument(&mut self, id: Id) -> Result<String, ReadError> {
        let text = match self.nodes.get(id) {
            Node::Constant(index) => self.constant(index)?,
            Node::SmallInt(number) => Some(number.to_string()),
            _ => self.expression(id)?,
        };
        Ok(text.unwrap_or_else(|| LEFT_OUT.to_owned()))
    }

    /// Arguments of a call, the last of which have names.
    fn arguments(&mut self, items: &Items, names: Option<u32>) -> Result<String, ReadError> {
        let Some((names, named)) = self.keywords(names)? else {
            return Ok(LEFT_OUT.to_owned());
        };
        let mut texts = Vec::new();
        let first_named = u64::from(items.count).saturating_sub(named);
        for (index, id) in items.told().iter().enumerate() {
            let text = self.argument(*id)?;
            let name = match (index as u64).checked_sub(first_named) {
                Some(place) if named > 0 => self.item_text(names, place)?,
                _ => None,
            };
            texts.push(match name {
                Some(name) => format!("{name}={text}"),
                None => text,
            });
        }
        if items.told().len() < items.count as usize {
            texts.push(LEFT_OUT.to_owned());
        }
        Ok(texts.join(", "))
    }

    /// The names of the last arguments, and how many there are; `None` where they are not to be found.
    fn keywords(&self, names: Option<u32>) -> Result<Option<(Address, u64)>, ReadError> {
        let Some(index) = names else {
            return Ok(Some((Address::NULL, 0)));
        };
        let Some(tuple) = self.field_item(self.objects.offsets.code.constants, index)? else {
            return Ok(None);
        };
        if !self.objects.is_exactly(tuple, self.objects.types.tuple)? {
            return Ok(None);
        }
        let count = self.objects.tuple_length(tuple)?;
        Ok(Some((tuple, count)))
    }

    /// Before 3.11 the names of variables that are shared follow those of the others, in tuples of their own.
    fn local(&self, mut index: u64) -> Result<Option<String>, ReadError> {
        let offsets = &self.objects.offsets.code;
        let shared = offsets.shared_names.into_iter().flatten();
        for offset in [offsets.local_names].into_iter().chain(shared) {
            let names = self.objects.memory.read_address(self.code.offset(offset))?;
            if let Some(name) = self.objects.tuple_item(names, index)? {
                return self.objects.identifier(name);
            }
            index = index.saturating_sub(self.objects.tuple_length(names)?);
        }
        Ok(None)
    }

    /// Before 3.11 variables that are shared are counted from the first of them.
    fn shared(&self, index: u64) -> Result<Option<String>, ReadError> {
        let offsets = &self.objects.offsets.code;
        if offsets.shared_names.is_none() {
            return self.local(index);
        }
        let names = self
            .objects
            .memory
            .read_address(self.code.offset(offsets.local_names))?;
        self.local(index.saturating_add(self.objects.tuple_length(names)?))
    }

    /// `co_names` at an index.
    pub(super) fn name(&self, index: u32) -> Result<Option<String>, ReadError> {
        match self.field_item(self.objects.offsets.code.names, index)? {
            Some(name) => self.objects.identifier(name),
            None => Ok(None),
        }
    }

    fn common(&self, index: u32) -> Option<String> {
        let text = self.facts.common.get(index as usize)?;
        (*text != "-").then(|| (*text).to_owned())
    }

    /// A constant, if it is a number, or one of the few that have a name.
    fn constant(&self, index: u32) -> Result<Option<String>, ReadError> {
        let objects = self.objects;
        let Some(value) = self.field_item(objects.offsets.code.constants, index)? else {
            return Ok(None);
        };
        if value == objects.types.none {
            return Ok(Some("None".to_owned()));
        }
        let type_object = objects.type_of(value)?;
        if type_object == objects.types.long {
            let number = objects.integer(value)?;
            let small = number.filter(|number| (-LARGE + 1..LARGE).contains(number));
            return Ok(small.map(|number| number.to_string()));
        }
        if [objects.types.unicode, objects.types.bytes, objects.types.tuple].contains(&type_object) {
            return Ok(None);
        }
        Ok(match objects.full_type_name(type_object)?.as_str() {
            "bool" => objects.integer(value)?.and_then(|number| match number {
                0 => Some("False".to_owned()),
                1 => Some("True".to_owned()),
                _ => None,
            }),
            "float" => objects.float(value)?.and_then(shown_float),
            _ => None,
        })
    }

    /// An item of a tuple that the code object has.
    fn field_item(&self, offset: u64, index: u32) -> Result<Option<Address>, ReadError> {
        let tuple = self.objects.memory.read_address(self.code.offset(offset))?;
        self.objects.tuple_item(tuple, u64::from(index))
    }

    fn item_text(&self, tuple: Address, index: u64) -> Result<Option<String>, ReadError> {
        match self.objects.tuple_item(tuple, index)? {
            Some(name) => self.objects.identifier(name),
            None => Ok(None),
        }
    }
}

/// As `repr` has it, where that needs no exponent.
#[expect(clippy::cast_precision_loss, reason = "the bound is small enough to be exact")]
fn shown_float(value: f64) -> Option<String> {
    let size = value.abs();
    let is_plain = size == 0.0 || (SMALL..LARGE as f64).contains(&size);
    is_plain.then(|| format!("{value:?}"))
}

#[cfg(test)]
mod tests {
    use super::shown_float;

    #[test]
    fn shows_plain_fractions() {
        let shown = [0.0, 0.5, 3.0, -1.25, 0.0001, 1e6, 1e-5, f64::NAN, f64::INFINITY].map(shown_float);
        let expected = ["0.0", "0.5", "3.0", "-1.25", "0.0001"].map(|text| Some(text.to_owned()));
        assert_eq!(shown[..5], expected);
        assert_eq!(shown[5..], [None, None, None, None]);
    }
}
