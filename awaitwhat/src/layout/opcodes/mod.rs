//! What the numbers of instructions mean in each version, one text file per version.
//!
//! Every line of a file comes from the interpreter itself: `tests/targets/opcodes.py` prints it and says what the fields are, and
//! `tests/tests/expressions.rs` holds each file against every interpreter there is. A file has what code objects have in memory, where
//! instructions are specialised (`Python/specialize.c`) and instrumented (`Python/instrumentation.c`) in place. An instruction that is
//! kept elsewhere meanwhile (`INSTRUMENTED_LINE`, `ENTER_EXECUTOR`) is left out, so that it is as unknown as any other number.

use std::fmt;

/// The file of a version, as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OpcodeListing(&'static str);

impl fmt::Debug for OpcodeListing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OpcodeListing({} lines)", self.0.lines().count())
    }
}

pub(super) const V3_7: OpcodeListing = OpcodeListing(include_str!("3.7.txt"));
pub(super) const V3_8: OpcodeListing = OpcodeListing(include_str!("3.8.txt"));
pub(super) const V3_9: OpcodeListing = OpcodeListing(include_str!("3.9.txt"));
pub(super) const V3_10: OpcodeListing = OpcodeListing(include_str!("3.10.txt"));
pub(super) const V3_11: OpcodeListing = OpcodeListing(include_str!("3.11.txt"));
pub(super) const V3_12: OpcodeListing = OpcodeListing(include_str!("3.12.txt"));
pub(super) const V3_13: OpcodeListing = OpcodeListing(include_str!("3.13.txt"));
pub(super) const V3_14: OpcodeListing = OpcodeListing(include_str!("3.14.txt"));
pub(super) const V3_15: OpcodeListing = OpcodeListing(include_str!("3.15.txt"));

/// Those of all versions.
#[cfg(test)]
pub(crate) const ALL: [OpcodeListing; 9] = [V3_7, V3_8, V3_9, V3_10, V3_11, V3_12, V3_13, V3_14, V3_15];

impl OpcodeListing {
    /// The lines of the file.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.0
    }

    /// What they say.
    #[must_use]
    pub fn read(self) -> Opcodes {
        let mut opcodes = Opcodes::default();
        for line in self.0.lines() {
            let fields: Vec<_> = line.split(' ').collect();
            match fields.as_slice() {
                [name, values @ ..] if name.starts_with('.') => opcodes.facts.set(name, values),
                [number, name, caches, jump, effect, when_it_jumps, others @ ..] => {
                    let opcode = Opcode {
                        name,
                        caches: caches.parse().unwrap_or(0),
                        jump: Jump::read(jump),
                        effect: Effect::read(effect),
                        effect_of_jump: Effect::read(when_it_jumps),
                    };
                    for number in std::iter::once(number).chain(others) {
                        opcodes.add(number, opcode);
                    }
                }
                _ => {}
            }
        }
        opcodes
    }
}

/// The instructions of a version.
#[derive(Clone, Debug, Default)]
pub struct Opcodes {
    /// By number; `None` where a number means nothing that is known.
    by_number: Vec<Option<Opcode>>,
    pub facts: Facts,
}

impl Opcodes {
    fn add(&mut self, number: &str, opcode: Opcode) {
        let Ok(number) = number.parse::<u8>() else {
            return;
        };
        self.by_number.resize(usize::from(u8::MAX) + 1, None);
        if let Some(place) = self.by_number.get_mut(usize::from(number)) {
            *place = Some(opcode);
        }
    }

    /// The instruction of this number, which is what a specialised or instrumented one stands for.
    #[must_use]
    pub fn get(&self, number: u8) -> Option<Opcode> {
        self.by_number.get(usize::from(number)).copied().flatten()
    }

    /// The first number of the instruction of this name.
    #[cfg(test)]
    pub(crate) fn number(&self, name: &str) -> Option<u8> {
        let is_it = |opcode: &Option<Opcode>| opcode.is_some_and(|opcode| opcode.name == name);
        let index = self.by_number.iter().position(is_it);
        index.and_then(|index| u8::try_from(index).ok())
    }

    /// The instruction of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Opcode> {
        self.by_number
            .iter()
            .flatten()
            .copied()
            .find(|opcode| opcode.name == name)
    }
}

/// What holds for all instructions of a version.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Bytes that an argument of a jump counts by.
    pub jump_unit: u32,
    /// Values that `MAKE_FUNCTION` takes, with no flag set.
    pub function_values: u32,
    /// The argument by which `BINARY_OP` is `[]`.
    pub subscript: Option<u32>,
    /// The arguments by which `LOAD_SPECIAL` is `__aenter__` and `__aexit__`.
    pub enter: Option<u32>,
    pub exit: Option<u32>,
    /// What `LOAD_COMMON_CONSTANT` loads, as it is written; `-` where that is not shown.
    pub common: Vec<&'static str>,
}

impl Facts {
    fn set(&mut self, name: &str, values: &[&'static str]) {
        let number = values.first().and_then(|value| value.parse().ok());
        match name {
            ".unit" => self.jump_unit = number.unwrap_or_default(),
            ".function" => self.function_values = number.unwrap_or_default(),
            ".subscript" => self.subscript = number,
            ".aenter" => self.enter = number,
            ".aexit" => self.exit = number,
            ".common" => self.common = values.to_vec(),
            _ => {}
        }
    }
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opcode {
    pub name: &'static str,
    /// Code units of its inline cache, which follow it.
    pub caches: u8,
    pub jump: Jump,
    pub effect: Effect,
    /// The same where it jumps.
    pub effect_of_jump: Effect,
}

/// Where an instruction may go on, besides what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    None,
    /// So far behind the end of the instruction.
    Forward,
    Backward,
    /// So far behind the beginning of the code.
    Absolute,
}

impl Jump {
    fn read(field: &str) -> Self {
        match field {
            ">" => Self::Forward,
            "<" => Self::Backward,
            "@" => Self::Absolute,
            _ => Self::None,
        }
    }
}

/// How many values the stack has more after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It depends on the argument, or is not known.
    Varies,
    Always(i32),
    /// With the lowest bit of the argument clear, and set.
    ByBit([i32; 2]),
}

impl Effect {
    fn read(field: &str) -> Self {
        let number = |text: &str| text.parse::<i32>().ok();
        match field.split_once('/') {
            Some((clear, set)) => match (number(clear), number(set)) {
                (Some(clear), Some(set)) => Self::ByBit([clear, set]),
                _ => Self::Varies,
            },
            None => number(field).map_or(Self::Varies, Self::Always),
        }
    }

    /// With this argument.
    #[must_use]
    pub fn of(self, argument: u32) -> Option<i32> {
        match self {
            Self::Varies => None,
            Self::Always(effect) => Some(effect),
            Self::ByBit([clear, set]) => Some(if argument & 1 == 0 { clear } else { set }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Effect, Jump, OpcodeListing};

    #[test]
    fn reads_lines() {
        let listing = OpcodeListing(
            ".unit 2\n.common tuple - None\n93 FOR_ITER 1 > +1 -1 62 248\n106 LOAD_ATTR 9 - +0/+1 - 70\nnonsense\n999 MANY 0 - ? -\n",
        );
        let opcodes = listing.read();
        assert_eq!(opcodes.facts.jump_unit, 2);
        assert_eq!(opcodes.facts.common, ["tuple", "-", "None"]);
        let [iterates, specialised] = [93, 248].map(|number| opcodes.get(number).unwrap());
        assert_eq!(
            (iterates.name, iterates.caches, iterates.jump),
            ("FOR_ITER", 1, Jump::Forward)
        );
        assert_eq!(
            (iterates.effect, iterates.effect_of_jump),
            (Effect::Always(1), Effect::Always(-1))
        );
        assert_eq!(iterates, specialised);
        assert_eq!(
            [0, 1].map(|argument| opcodes.get(70).unwrap().effect.of(argument)),
            [Some(0), Some(1)]
        );
        assert_eq!((opcodes.get(0), opcodes.get(255)), (None, None));
    }
}
