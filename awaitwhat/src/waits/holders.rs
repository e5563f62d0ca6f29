//! Which of the things that tasks wait for a suspended task has: those whose blocks it is inside of, and where a rule says so, those that it is
//! in a function for, or has in a variable.

use foldhash::{HashSet, HashSetExt as _};

use super::path::Path;
use super::reader::{Reader, Waiting, in_places};
use super::rules::HolderRule;
use crate::memory::Address;
use crate::python::ReadError;
use crate::python::frame::FrameAddress;
use crate::python::inside::of_place;

/// Variables of a frame that are looked at.
const MAX_VARIABLES: usize = 64;
/// Things of one task that are told.
const MAX_HELD: usize = 1024;
/// Functions and types that are remembered; then all are forgotten.
const MAX_KNOWN: usize = 1 << 14;

/// Something that a task has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub object: Address,
    /// The part of it, where there are several to have.
    pub part: Option<Address>,
    /// Whether it has that for itself: other tasks may have the same variable.
    pub is_own: bool,
}

impl Reader<'_> {
    /// Those of the objects of `wanted` that the task has, each as often as it has it.
    ///
    /// # Errors
    /// When its frames cannot be read, or are others than those that its chain was read with.
    pub fn held(&mut self, task: &Waiting<'_>, wanted: &HashSet<Address>) -> Result<Vec<Held>, ReadError> {
        let chain = self.chain(task.coroutine)?;
        let frames = in_places(&chain, task, usize::MAX)?;
        let mut held = Vec::new();
        for block in self.blocks_of(&chain)?.iter() {
            if wanted.contains(&block.object) {
                held.push(Held {
                    object: block.object,
                    part: None,
                    is_own: true,
                });
            } else if let Some(had) = self.had_by(block.object, task, &frames)? {
                held.push(had);
            }
            if let Some(generator) = block.generator {
                held.extend(self.had_in(generator)?);
            }
        }
        for frame in frames.iter().filter(|at| !at.frame.is_null()) {
            held.extend(self.had_in(*frame)?);
            if self.asks_for_variables {
                self.had_by_variables(*frame, &mut held)?;
            }
        }
        held.retain(|had| wanted.contains(&had.object));
        Ok(without_repetition(held))
    }

    /// Whether an object is a task group.
    ///
    /// # Errors
    /// When its type cannot be read.
    pub fn is_group(&mut self, object: Address) -> Result<bool, ReadError> {
        let kind = self.kind_of(object)?;
        let mut rules = self.rules().of_groups().iter();
        Ok(rules.any(|rule| kind.is_a(&rule.class)))
    }

    /// What a task has while it is inside of another object's block, where a rule says so.
    fn had_by(
        &mut self,
        block: Address,
        task: &Waiting<'_>,
        frames: &[FrameAddress],
    ) -> Result<Option<Held>, ReadError> {
        let kind = self.kind_of(block)?;
        let rules = self.rules().of_holders().iter();
        let mut rules = rules.filter(|rule| !rule.variable && rule.is_of_class(&kind.names));
        let Some(rule) = rules.next() else {
            return Ok(None);
        };
        if self.is_given_up(rule, block, task, frames)? {
            return Ok(None);
        }
        self.had(rule, |this, path| this.follow_from(block, path))
    }

    /// What a task has that is in a function, be it one of its own chain or that of a generator whose block it is inside of.
    fn had_in(&mut self, at: FrameAddress) -> Result<Option<Held>, ReadError> {
        let rule = match self.holding_functions.get(&at.code) {
            Some(known) => *known,
            None => {
                let objects = self.frames().objects;
                let text = |offset| {
                    let text = objects.memory.read_address(at.code.offset(offset))?;
                    Ok::<_, ReadError>(objects.text(text)?.text)
                };
                let code = &objects.offsets.code;
                let name = of_place(text(code.qualified_name))?;
                let file = of_place(text(code.filename))?;
                let mut rules = self.rules().of_holders().iter();
                let rule = name.zip(file).and_then(|(name, file)| {
                    let is_it = |rule: &&HolderRule| rule.is_of_function(&name, &file);
                    rules.find(is_it)
                });
                if self.holding_functions.len() >= MAX_KNOWN {
                    self.holding_functions.clear();
                }
                self.holding_functions.insert(at.code, rule);
                rule
            }
        };
        match rule {
            Some(rule) => self.had(rule, |this, path| this.locate(at, path)),
            None => Ok(None),
        }
    }

    /// What a task has as one of its frames has an object in a variable.
    fn had_by_variables(&mut self, at: FrameAddress, held: &mut Vec<Held>) -> Result<(), ReadError> {
        let count = self.frames().objects.local_names(at.code)?.len();
        for index in 0..count.min(MAX_VARIABLES) {
            // What a variable refers to may be anything, also something that cannot be read.
            held.extend(of_place(self.had_by_variable(at, index))?.flatten());
        }
        Ok(())
    }

    fn had_by_variable(&mut self, at: FrameAddress, index: usize) -> Result<Option<Held>, ReadError> {
        let Some(object) = self.frames().local_in(at, &[index])? else {
            return Ok(None);
        };
        match self.holding_type(object)? {
            Some(rule) => self.had(rule, |this, path| this.follow_from(object, path)),
            None => Ok(None),
        }
    }

    /// The rule for those who have an object of this type in a variable.
    fn holding_type(&mut self, object: Address) -> Result<Option<&'static HolderRule>, ReadError> {
        let type_object = self.frames().objects.type_of(object)?;
        if let Some(known) = self.holding_types.get(&type_object) {
            return Ok(*known);
        }
        let kind = self.kind_of(object)?;
        let mut rules = self.rules().of_holders().iter();
        let rule = rules.find(|rule| rule.variable && rule.is_of_class(&kind.names));
        if self.holding_types.len() >= MAX_KNOWN {
            self.holding_types.clear();
        }
        self.holding_types.insert(type_object, rule);
        Ok(rule)
    }

    /// What a rule says that a task has; `follow` leads from where its paths begin.
    fn had(
        &mut self,
        rule: &'static HolderRule,
        mut follow: impl FnMut(&mut Self, &'static Path) -> Result<Option<Address>, ReadError>,
    ) -> Result<Option<Held>, ReadError> {
        if let Some(when) = &rule.when
            && follow(self, when)?.is_none()
        {
            return Ok(None);
        }
        let mut found = None;
        for path in rule.object.all() {
            if found.is_none() {
                found = follow(self, path)?;
            }
        }
        let Some(object) = found else {
            return Ok(None);
        };
        let part = rule.part.as_ref().map_or(Ok(None), |path| follow(self, path))?;
        Ok(Some(Held {
            object,
            part,
            is_own: !rule.variable,
        }))
    }

    /// Whether the task is in the function that gives up what it has for as long as it waits.
    fn is_given_up(
        &self,
        rule: &HolderRule,
        block: Address,
        task: &Waiting<'_>,
        frames: &[FrameAddress],
    ) -> Result<bool, ReadError> {
        let Some(unless) = &rule.unless else {
            return Ok(false);
        };
        let plain = unless.rsplit('.').next().unwrap_or_default();
        for (frame, at) in task.stack.iter().zip(frames) {
            let is_it = frame.function.as_ref() == unless || frame.function.as_ref() == plain;
            if is_it && !at.frame.is_null() && self.frames().first_local(*at)? == Some(block) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Leaves one of each part, the one that is the task's own before others.
fn without_repetition(mut held: Vec<Held>) -> Vec<Held> {
    held.sort_by_key(|had| !had.is_own);
    let mut seen = HashSet::new();
    held.retain(|had| had.part.is_none_or(|part| seen.insert((had.object, part))));
    held.truncate(MAX_HELD);
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_counts_once_and_what_has_no_parts_as_often_as_it_is_had() {
        let had = |object, part: Option<u64>, is_own| Held {
            object: Address(object),
            part: part.map(Address),
            is_own,
        };
        let held = vec![
            had(1, Some(7), false),
            had(1, Some(7), true),
            had(1, Some(8), false),
            had(2, None, true),
            had(2, None, true),
        ];
        let left = [
            had(1, Some(7), true),
            had(2, None, true),
            had(2, None, true),
            had(1, Some(8), false),
        ];
        assert_eq!(without_repetition(held), left);
    }
}
