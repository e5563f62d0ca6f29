//! Futures themselves: how far each has come, what one stands for that no function's rule is about, and how many of several have ended.

use std::sync::Arc;

use super::path::Path;
use super::reader::{Reader, Waiting};
use super::rules::{FutureRule, Rule};
use crate::memory::Address;
use crate::python::frame::FrameAddress;
use crate::python::future::FutureTypes;
use crate::python::{Objects, ReadError};
use crate::resource::{Children, Resource, ResourceKind};
use crate::snapshot::FutureState;

/// Futures of one gather, or the like, whose ends are looked at; of more it is only told how many they are.
const MAX_CHILDREN: u64 = 10_000;
/// The same of all tasks together.
const MAX_ALL_CHILDREN: u64 = 1 << 17;

/// How a future has ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Pending,
    Done,
    Failed,
    Cancelled,
}

/// What a type of futures is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FutureKind {
    /// Laid out as `_asyncio.Future` is.
    is_native: bool,
    /// Derived from the future that is written in Python.
    is_python: bool,
    is_task: bool,
}

impl FutureKind {
    /// What is known of a type.
    pub(super) fn of(
        objects: &Objects<'_>,
        types: &FutureTypes,
        type_object: Address,
    ) -> Result<Self, ReadError> {
        let is_of =
            |base: Address| Ok::<_, ReadError>(!base.is_null() && objects.is_subtype(type_object, base)?);
        Ok(Self {
            is_native: is_of(types.future)?,
            is_python: is_of(types.python_future)?,
            is_task: is_of(types.task)? || is_of(types.python_task)?,
        })
    }

    const fn is_any(self) -> bool {
        self.is_native || self.is_python
    }
}

impl Reader<'_> {
    /// How far a future written in Python has come; `None` where it does not say.
    ///
    /// Facts: `Future._state` of `Lib/asyncio/futures.py`, and `_PENDING`, `_CANCELLED` and `_FINISHED` of `Lib/asyncio/base_futures.py`, of 3.7
    /// to 3.15.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn python_state(&mut self, future: Address) -> Result<Option<FutureState>, ReadError> {
        let Some(state) = self.member(future, "_state")? else {
            // The class has what it is until it ends.
            return Ok(Some(FutureState::Pending));
        };
        let objects = self.frames().objects;
        if !objects.is_exactly(state, objects.types.unicode)? {
            return Ok(None);
        }
        for (text, known) in [
            ("PENDING", FutureState::Pending),
            ("FINISHED", FutureState::Done),
            ("CANCELLED", FutureState::Cancelled),
        ] {
            if objects.str_equals(state, text)? {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// What the future that ends a task's chain stands for by itself; `None` where no rule is about it.
    pub(super) fn of_future(&mut self, task: &Waiting<'_>) -> Result<Option<Resource>, ReadError> {
        let Some(types) = self.future_types() else {
            return Ok(None);
        };
        if task.awaited.is_null() || !self.future_kind(task.awaited)?.is_any() {
            return Ok(None);
        }
        let Some((rule, object)) = self.rule_for(task.awaited, &types)? else {
            return Ok(None);
        };
        let mut resource = Resource::of_kind(rule.kind);
        if let Some(words) = &rule.words {
            resource.words = words.as_str().into();
        }
        resource.operation = rule.operation.as_deref().map(Arc::from);
        resource.id = Some(object);
        let kind = self.kind_of(object)?;
        resource.type_name = kind.names.first().cloned();
        if rule.kind == ResourceKind::Task && !self.future_kind(object)?.is_task {
            resource.kind = ResourceKind::Future;
        }
        if let Some(children) = &rule.children
            && let Some(children) = self.follow_from(object, children)?
        {
            resource.children = Some(self.children(children, true)?);
        }
        let frames = self.innermost_frames(task)?;
        resource.label = self.label_of(object, &frames, task)?;
        Ok(Some(resource))
    }

    /// The rule for a future, and the object that it is about.
    fn rule_for(
        &mut self,
        future: Address,
        types: &FutureTypes,
    ) -> Result<Option<(&'static FutureRule, Address)>, ReadError> {
        let kind = self.kind_of(future)?;
        let is_of = |rule: &&FutureRule| {
            let class = rule.class.as_deref();
            class.is_some_and(|class| kind.names.iter().any(|name| **name == *class))
        };
        if let Some(rule) = self.rules().of_futures().iter().find(is_of) {
            return Ok(Some((rule, future)));
        }
        let objects = self.frames().objects;
        for found in objects.future_callbacks(future, types)? {
            if let Some((rule, variable)) = self.rule_for_callback(found)? {
                let object = objects.closure_variable(found, variable)?;
                return Ok(object.map(|object| (rule, object)));
            }
        }
        Ok(None)
    }

    /// The rule for futures that have this callback, and the callback's variable; which one it is, is asked once of each function's code.
    fn rule_for_callback(
        &mut self,
        callback: Address,
    ) -> Result<Option<(&'static FutureRule, &'static str)>, ReadError> {
        let objects = self.frames().objects;
        if callback.is_null() || !objects.is_exactly(callback, objects.types.function)? {
            return Ok(None);
        }
        let code = callback.offset(objects.offsets.function.code);
        let code = objects.memory.read_address(code)?;
        let rules = self.rules().of_futures();
        let place = match self.known_callback(code) {
            Some(place) => place,
            None => {
                let mut place = None;
                for (number, rule) in rules.iter().enumerate() {
                    if let Some(wanted) = &rule.callback
                        && objects.is_function(callback, &wanted.function, &wanted.file)?
                    {
                        place = Some(number);
                    }
                }
                self.note_callback(code, place);
                place
            }
        };
        let rule = place.and_then(|place| rules.get(place));
        Ok(rule.and_then(|rule| Some((rule, &*rule.callback.as_ref()?.variable))))
    }

    /// What is known of the futures that a rule's function waits for.
    pub(super) fn follow_children(
        &mut self,
        rule: &'static Rule,
        at: FrameAddress,
    ) -> Result<Option<Children>, ReadError> {
        let located = |this: &mut Self, path: Option<&'static Path>| match path {
            Some(path) => this.locate(at, path),
            None => Ok(None),
        };
        let Some(container) = located(self, rule.children.as_ref())? else {
            return Ok(None);
        };
        let mut children = self.children(container, !rule.children_leave)?;
        if let Some(failed) = self.number_at(at, rule.failed.as_ref())?
            && rule.children_leave
        {
            children.failed = u64::try_from(failed).ok();
        }
        Ok(Some(children))
    }

    /// What is known of the futures in a container: of all that there were where `are_all`, or else of those that are left.
    fn children(&mut self, container: Address, are_all: bool) -> Result<Children, ReadError> {
        let count = self
            .length(container)?
            .and_then(|count| u64::try_from(count).ok());
        let mut children = Children {
            count: count.filter(|_| are_all),
            ..Children::default()
        };
        if count.is_none_or(|count| count > MAX_CHILDREN)
            || !self.may_look_at_children(count, MAX_ALL_CHILDREN)
        {
            return Ok(children);
        }
        let futures = self.items(container)?;
        if count != u64::try_from(futures.len()).ok() {
            return Ok(children);
        }
        let mut counts = [0_u64; 4];
        for future in futures {
            match self.outcome(future)? {
                Some(Outcome::Pending) => counts[0] += 1,
                Some(Outcome::Done) => counts[1] += 1,
                Some(Outcome::Failed) => counts[2] += 1,
                Some(Outcome::Cancelled) => counts[3] += 1,
                // Of one that does not say it nothing is known of any sum.
                None => return Ok(children),
            }
        }
        children.pending = Some(counts[0]);
        if are_all {
            children.done = Some(counts[1]);
            children.failed = Some(counts[2]);
            children.cancelled = Some(counts[3]);
        }
        Ok(children)
    }

    /// How a future has ended, or that it has not; `None` of what is none, or does not say it.
    ///
    /// Facts: `FutureObj_HEAD` of `Modules/_asynciomodule.c` (`fut_state`, and `fut_exception`, which follows `fut_callbacks`) and `Future._exception` of
    /// `Lib/asyncio/futures.py`, of 3.7 to 3.15.
    fn outcome(&mut self, future: Address) -> Result<Option<Outcome>, ReadError> {
        let objects = self.frames().objects;
        let kind = self.future_kind(future)?;
        let (state, exception) = if kind.is_native {
            let offset = self.frames().layout.task_state;
            if offset == awaitwhat_common::layout::ABSENT {
                return Ok(None);
            }
            let state = objects.read_u32(future.offset(offset.into()))?;
            let exception = future.offset(objects.offsets.future.exception());
            (
                FutureState::of_number(state),
                objects.memory.read_address(exception)?,
            )
        } else if kind.is_python {
            let exception = self.member(future, "_exception")?.unwrap_or_default();
            (self.python_state(future)?, exception)
        } else {
            return Ok(None);
        };
        let has_failed = !exception.is_null() && exception != objects.types.none;
        Ok(state.map(|state| match state {
            FutureState::Pending => Outcome::Pending,
            FutureState::Cancelled => Outcome::Cancelled,
            FutureState::Done if has_failed => Outcome::Failed,
            FutureState::Done => Outcome::Done,
        }))
    }
}
