//! Which of the things that tasks wait for a suspended task has: those whose blocks it is inside of.

use std::collections::HashSet;

use super::reader::{Reader, Waiting, changed, is_plain};
use super::rules::HolderRule;
use crate::memory::Address;
use crate::python::ReadError;
use crate::python::frame::FrameAddress;

impl Reader<'_> {
    /// Those of the objects of `wanted` that the task is inside of, each as often as it is.
    ///
    /// # Errors
    /// When its frames cannot be read, or are others than those that its chain was read with.
    pub fn held(&mut self, task: &Waiting<'_>, wanted: &HashSet<Address>) -> Result<Vec<Address>, ReadError> {
        // The outermost first, as against the chain that is known.
        let frames = self.chain(task.coroutine)?;
        let codes = frames.iter().rev().map(|frame| frame.code);
        if !codes.eq(task.codes.iter().map(|known| known.0)) {
            return Err(changed(task.coroutine));
        }
        let mut held = Vec::new();
        for block in self.blocks_of(&frames)?.iter() {
            if wanted.contains(&block.object) {
                held.push(block.object);
            } else if let Some(object) = self.had_by(block.object, task, &frames)?
                && wanted.contains(&object)
            {
                held.push(object);
            }
        }
        self.used(task, &frames, wanted, &mut held)?;
        Ok(held)
    }

    /// Adds those of the objects of `wanted` that the task uses, as rules say of its functions, unless it is inside of their block as well.
    fn used(
        &mut self,
        task: &Waiting<'_>,
        frames: &[FrameAddress],
        wanted: &HashSet<Address>,
        held: &mut Vec<Address>,
    ) -> Result<(), ReadError> {
        for (frame, at) in task.stack.iter().zip(frames.iter().rev()) {
            if !is_plain(frame) {
                continue;
            }
            for rule in self.rules().of_users(&frame.function, &frame.file) {
                if self.is_method(&rule.function, frame, *at)?
                    && let Some(object) = self.locate(*at, &rule.object)?
                    && wanted.contains(&object)
                    && !held.contains(&object)
                {
                    held.push(object);
                }
            }
        }
        Ok(())
    }

    /// Whether an object is a task group.
    ///
    /// # Errors
    /// When its type cannot be read.
    pub fn is_group(&mut self, object: Address) -> Result<bool, ReadError> {
        let kind = self.kind_of(object)?;
        let mut rules = self.rules().of_groups().iter();
        Ok(rules.any(|rule| kind.names.iter().any(|name| **name == rule.class)))
    }

    /// What a task has while it is inside of another object's block, where a rule says so.
    fn had_by(
        &mut self,
        block: Address,
        task: &Waiting<'_>,
        frames: &[FrameAddress],
    ) -> Result<Option<Address>, ReadError> {
        let kind = self.kind_of(block)?;
        let rules = self.rules().of_holders();
        let Some(rule) = rules
            .iter()
            .find(|rule| kind.names.iter().any(|name| **name == rule.class))
        else {
            return Ok(None);
        };
        if self.is_given_up(rule, block, task, frames)? {
            return Ok(None);
        }
        self.follow_from(block, &rule.object)
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
        for (frame, at) in task.stack.iter().zip(frames.iter().rev()) {
            let is_it = frame.function.as_ref() == unless || frame.function.as_ref() == plain;
            if is_it && self.frames().first_local(*at)? == Some(block) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
