//! What the code calls the thing that a task waits for.
//!
//! The frames outside of the rule's own say it: `async with self.lock`, `await self.jobs.get()`. Where that is not to be told, what one of them was
//! given (`stack.enter_async_context(self.lock)`) or has in a variable is the object, and tells its name. A name that leads
//! to another object is none of it.

use std::sync::Arc;

use super::path::Path;
use super::reader::{Reader, Waiting, in_places, innermost, is_plain};
use super::rules::Rule;
use crate::memory::Address;
use crate::origin::Rank;
use crate::python::ReadError;
use crate::python::frame::FrameAddress;
use crate::symbolize::expression::Awaited;

/// What methods call their own object, and a part of it.
const OWN: [&str; 2] = ["self", "super()"];
/// Variables of a frame that are looked at.
const MAX_VARIABLES: usize = 64;
/// Attributes that a name leads through.
const MAX_ATTRIBUTES: usize = 8;

impl Reader<'_> {
    /// What the code calls `object`, which the rule for the frame at the place `own` has found. Where that is a part of what the frame's function
    /// is a method of (the state that both ends of a stream share), it is the whole that code has a name for.
    ///
    /// # Errors
    /// Only where nothing can be read any more: code that cannot be read says nothing.
    pub(super) fn label(
        &mut self,
        rule: &'static Rule,
        own: usize,
        frames: &[FrameAddress],
        task: &Waiting<'_>,
        object: Address,
    ) -> Result<Option<Arc<str>>, ReadError> {
        let is_of_its_method = |path: &Path| path.local == OWN[0] && !path.is_length;
        let subject = match frames.get(own) {
            Some(at) if rule.object.as_ref().is_some_and(is_of_its_method) => self.variable(*at, OWN[0])?,
            _ => None,
        };
        let mut label = None;
        if let Some(subject) = subject {
            label = told(self.receiver(own, frames, task, subject))?;
        }
        if label.is_none() {
            label = told(self.name_of(subject.unwrap_or(object), own + 1, frames, task))?;
        }
        Ok(label.map(Arc::from))
    }

    /// What the application's code calls the future that it waits for itself: `self.done`, `self.replies[number]`, or the call that made it.
    ///
    /// # Errors
    /// When nothing can be read any more, or the task has changed since the chain was read.
    pub fn future_label(&mut self, task: &Waiting<'_>) -> Result<Option<Arc<str>>, ReadError> {
        let Some((place, frame)) = innermost(task) else {
            return Ok(None);
        };
        if frame.origin.rank != Rank::Application {
            return Ok(None);
        }
        let chain = self.chain(task.coroutine)?;
        let frames = in_places(&chain, task, place + 1)?;
        let Some(at) = frames.get(place).copied() else {
            return Ok(None);
        };
        let label = told(self.expression_of(place, at, task))?;
        Ok(label.map(Arc::from))
    }

    /// What a frame awaits, as its code says it, unless that is another object than the one that the chain ends with.
    fn expression_of(
        &mut self,
        place: usize,
        at: FrameAddress,
        task: &Waiting<'_>,
    ) -> Result<Option<String>, ReadError> {
        let Some(text) = self.awaited(place, task)?.and_then(|it| it.expression) else {
            return Ok(None);
        };
        let found = self.evaluate(&text, at)?;
        Ok(Some(text).filter(|_| found.is_none_or(|found| found == task.awaited)))
    }

    /// What the application's code calls a future that a task awaits, or that stands behind it.
    ///
    /// # Errors
    /// As [`Reader::label`].
    pub(super) fn label_of(
        &mut self,
        future: Address,
        frames: &[FrameAddress],
        task: &Waiting<'_>,
    ) -> Result<Option<Arc<str>>, ReadError> {
        Ok(told(self.name_of(future, 0, frames, task))?.map(Arc::from))
    }

    /// What the first function outside calls the object, of which those inside are methods.
    fn receiver(
        &mut self,
        own: usize,
        frames: &[FrameAddress],
        task: &Waiting<'_>,
        object: Address,
    ) -> Result<Option<String>, ReadError> {
        for (place, at) in frames.iter().enumerate().skip(own + 1) {
            let Some(awaited) = self.awaited(place, task)? else {
                return Ok(None);
            };
            match awaited.receiver {
                // One method of the object calls another.
                Some(text) if OWN.contains(&&*text) => {
                    if self.variable(*at, OWN[0])? != Some(object) {
                        return Ok(None);
                    }
                }
                Some(text) => {
                    let found = self.evaluate(&text, *at)?;
                    return Ok(Some(text).filter(|_| found.is_none_or(|found| found == object)));
                }
                None => return self.handed_over(place, frames, task, object),
            }
        }
        Ok(None)
    }

    /// Where a function awaits what it was given (`asyncio.wait_for`): the object is that of the call among the arguments in the frame
    /// outside, if there is one such call of the method.
    fn handed_over(
        &mut self,
        place: usize,
        frames: &[FrameAddress],
        task: &Waiting<'_>,
        object: Address,
    ) -> Result<Option<String>, ReadError> {
        let method = place.checked_sub(1).and_then(|inner| task.stack.get(inner));
        let method = method.and_then(|frame| frame.function.rsplit('.').next());
        let (Some(method), Some(awaited), Some(at)) =
            (method, self.awaited(place + 1, task)?, frames.get(place + 1))
        else {
            return Ok(None);
        };
        let mut calls = awaited.calls.into_iter().filter(|call| call.method == method);
        let (Some(call), None) = (calls.next(), calls.next()) else {
            return Ok(None);
        };
        let found = self.evaluate(&call.receiver, *at)?;
        let is_it = !OWN.contains(&&*call.receiver) && found.is_none_or(|found| found == object);
        Ok(is_it.then_some(call.receiver))
    }

    /// What the code says at the place where a frame waits; `None` where there is no such frame.
    fn awaited(&mut self, place: usize, task: &Waiting<'_>) -> Result<Option<Awaited>, ReadError> {
        let frame = task.stack.get(place).filter(|frame| is_plain(frame));
        let (Some(_), Some((code, instruction))) = (frame, task.code_at(place)) else {
            return Ok(None);
        };
        let objects = self.frames().objects;
        self.expressions_mut()
            .awaited(&objects, code, instruction)
            .map(Some)
    }

    /// What one of the frames from a place on was given, calls a method of, or has in a variable, that is the object. In a library's functions
    /// variables are called after what they are for: a library that does not lie where packages are installed is asked last.
    fn name_of(
        &mut self,
        object: Address,
        first: usize,
        frames: &[FrameAddress],
        task: &Waiting<'_>,
    ) -> Result<Option<String>, ReadError> {
        let mut of_library = None;
        for (place, at) in frames.iter().enumerate().skip(first) {
            let Some(awaited) = self.awaited(place, task)? else {
                break;
            };
            let Some(frame) = task.stack.get(place) else { break };
            if frame.origin.rank != Rank::Application {
                continue;
            }
            let is_library = self.rules().is_of_known_package(&frame.file);
            if is_library && of_library.is_some() {
                continue;
            }
            let name = self.name_in(object, *at, awaited)?;
            if is_library {
                of_library = name;
            } else if name.is_some() {
                return Ok(name);
            }
        }
        Ok(of_library)
    }

    /// What one frame calls an object.
    fn name_in(
        &mut self,
        object: Address,
        at: FrameAddress,
        awaited: Awaited,
    ) -> Result<Option<String>, ReadError> {
        for text in awaited.names.into_iter().chain(awaited.receiver) {
            if !OWN.contains(&&*text) && self.evaluate(&text, at)? == Some(object) {
                return Ok(Some(text));
            }
        }
        self.variable_for(object, at)
    }

    /// The variable of a frame that refers to an object.
    fn variable_for(&self, object: Address, at: FrameAddress) -> Result<Option<String>, ReadError> {
        let reading = self.frames();
        let names = reading.objects.local_names(at.code)?;
        for (index, name) in names.into_iter().enumerate().take(MAX_VARIABLES) {
            if reading.local_in(at, &[index])? == Some(object)
                && let Some(name) = reading.objects.identifier(name)?
                && !OWN.contains(&&*name)
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The object that a variable, or an attribute of what it refers to, is in a frame. `None` where it is anything else, or a property.
    fn evaluate(&mut self, text: &str, at: FrameAddress) -> Result<Option<Address>, ReadError> {
        let is_part = |character: char| character == '_' || character.is_alphanumeric();
        let is_path = text
            .chars()
            .all(|character| character == '.' || is_part(character));
        if !is_path || text.split('.').count() > MAX_ATTRIBUTES + 1 {
            return Ok(None);
        }
        let mut parts = text.split('.');
        let mut object = self.variable(at, parts.next().unwrap_or_default())?;
        for name in parts {
            let Some(from) = object else { break };
            object = self.member(from, name)?;
        }
        Ok(object)
    }
}

/// Nothing, where what was read makes no sense: it is about names only.
fn told(result: Result<Option<String>, ReadError>) -> Result<Option<String>, ReadError> {
    match result {
        Err(error @ ReadError::Fault(fault)) if !fault.is_of_place() => Err(error),
        result => Ok(result.unwrap_or_default()),
    }
}
