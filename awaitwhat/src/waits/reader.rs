//! Finds the rule for a suspended task, and follows it.

use std::rc::Rc;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use super::futures::FutureKind;
use super::known::Known;
use super::path::{Path, Step};
use super::rules::{self, HolderRule, Places, Rule, Rules, Sums};
use super::values::Kind;
use crate::layout::OpcodeListing;
use crate::memory::Address;
use crate::origin::{self, Rank};
use crate::python::frame::{FrameAddress, Frames};
use crate::python::future::FutureTypes;
use crate::python::inside::{Blocks, Inside};
use crate::python::{ReadError, non_null};
use crate::resource::{Detail, Holding, Resource, ResourceKind};
use crate::snapshot::{Frame, FrameKind};
use crate::symbolize::expression::Expressions;

/// Innermost frames that rules are looked for.
const MAX_FRAMES: usize = 16;
/// What a method calls the object that it is of.
const METHOD_SELF: &str = "__self__";
/// Types that are remembered.
const MAX_TYPES: usize = 1 << 16;
/// Places in lines that are remembered, of all lines together, and parts of things.
const MAX_PLACES: usize = 1 << 20;
/// Chains whose frames are remembered.
const MAX_CHAINS: usize = 1 << 15;

/// A suspended task.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    pub coroutine: Address,
    /// What its frames stand for, and their code objects with the instruction of each; innermost first.
    pub stack: &'a [Frame],
    pub codes: &'a [(Address, Address)],
    /// The future that it waits for, or null.
    pub awaited: Address,
    /// Whether that is not done: of what is done, others may have taken note already.
    pub is_pending: bool,
    /// The loop's clock at that moment, in seconds; `None` where it is not known.
    pub now: Option<f64>,
}

/// What a reader has learnt of code and of types: it outlives one moment.
pub struct Learnt {
    /// The places of variables, by code object and name.
    variables: Known<Rc<[usize]>>,
    /// Where objects of a type have a slot, by type and name.
    slots: Known<Option<u16>>,
    types: HashMap<Address, Rc<Kind>>,
    /// What code says where it waits.
    expressions: Expressions,
}

impl Learnt {
    /// Nothing yet, of an interpreter with these instructions.
    fn new(opcodes: OpcodeListing) -> Self {
        Self {
            variables: Known::default(),
            slots: Known::default(),
            types: HashMap::new(),
            expressions: Expressions::new(opcodes),
        }
    }

    /// Forgets what may have changed since it was learnt: code objects that are others now, and all types, as a class may have gone, and
    /// another one have come to its place.
    pub fn forget(&mut self, codes: &[Address]) {
        self.slots = Known::default();
        self.types.clear();
        if !codes.is_empty() {
            self.variables = Known::default();
            self.expressions.forget(codes);
        }
    }
}

/// Reads what tasks wait for.
///
/// What it has read holds as long as memory does not change.
pub struct Reader<'a> {
    frames: Frames<'a>,
    rules: &'static Rules,
    /// Whether arguments are told, which are somebody's data.
    pub(super) tells_arguments: bool,
    /// Whether a task was met that waits for what others may have in a variable.
    pub(super) asks_for_variables: bool,
    /// The rules about what is had by those who are in a function, and by those who have an object of a type in a variable.
    pub(super) holding_functions: HashMap<Address, Option<&'static HolderRule>>,
    pub(super) holding_types: HashMap<Address, Option<&'static HolderRule>>,
    learnt: Learnt,
    /// The futures in a line and their places, by the address of the container.
    lines: HashMap<Address, Rc<Line>>,
    places_in_lines: usize,
    /// The parts of things, by the address of the container, and how many these are.
    parts: HashMap<Address, Arc<[Address]>>,
    parts_in_all: usize,
    /// The frames of a coroutine's chain, outermost first.
    chains: HashMap<Address, Rc<[FrameAddress]>>,
    /// What the frames of a chain are inside of, by the first of them.
    inside: HashMap<Address, Rc<[Inside]>>,
    blocks: Blocks<'a>,
    /// Types of futures; `None` where tasks wait for others (trio).
    futures: Option<FutureTypes>,
    /// Kinds of futures, by their types.
    future_kinds: HashMap<Address, FutureKind>,
    /// Which rule is for futures with a callback of this code.
    callbacks: HashMap<Address, Option<usize>>,
    /// Futures that were looked at as some of several that a task waits for.
    children: u64,
}

/// Those that wait for one thing, in order.
#[derive(Debug)]
struct Line {
    count: u64,
    places: HashMap<Address, u64>,
}

/// A rule that fits, and the frame of its function.
struct Match {
    rule: &'static Rule,
    frame: usize,
}

impl Waiting<'_> {
    /// The code object and the instruction of the frame at a place of the stack, which also has marks of missing frames.
    pub(super) fn code_at(&self, place: usize) -> Option<(Address, Address)> {
        let (before, from) = self.stack.split_at_checked(place)?;
        if is_mark(from.first()?) {
            return None;
        }
        let marks = before.iter().filter(|frame| is_mark(frame)).count();
        self.codes.get(place - marks).copied()
    }
}

impl<'a> Reader<'a> {
    /// A reader that knows nothing yet. All tasks that it is asked for have to have the layout of `frames`.
    pub fn new(frames: Frames<'a>, futures: Option<FutureTypes>, tells_arguments: bool) -> Self {
        let learnt = Learnt::new(frames.objects.offsets.opcodes);
        Self::with(frames, futures, tells_arguments, learnt)
    }

    /// A reader that knows what another one has learnt of the same interpreter.
    pub fn with(
        frames: Frames<'a>,
        futures: Option<FutureTypes>,
        tells_arguments: bool,
        learnt: Learnt,
    ) -> Self {
        Self {
            frames,
            rules: Rules::built_in(),
            tells_arguments,
            asks_for_variables: false,
            holding_functions: HashMap::new(),
            holding_types: HashMap::new(),
            learnt,
            lines: HashMap::new(),
            places_in_lines: 0,
            parts: HashMap::new(),
            parts_in_all: 0,
            chains: HashMap::new(),
            inside: HashMap::new(),
            blocks: Blocks::new(frames),
            futures,
            future_kinds: HashMap::new(),
            callbacks: HashMap::new(),
            children: 0,
        }
    }

    /// What it has learnt.
    pub fn into_learnt(self) -> Learnt {
        self.learnt
    }

    /// What the task waits for, as the rule for the functions that it waits in says, or else the one for its future; `None` where none fits.
    ///
    /// # Errors
    /// When it cannot be read, or does not fit together: it has changed since the chain was read.
    pub fn resource(&mut self, task: &Waiting<'_>) -> Result<Option<Resource>, ReadError> {
        let by_function = if self.may_match(task) {
            self.of_function(task)?
        } else {
            None
        };
        let found = match by_function {
            Some(resource) => Some(resource),
            None => self.of_future(task)?,
        };
        let Some(mut resource) = found else {
            return Ok(None);
        };
        if let (None, Some(now)) = (resource.deadline_ns, task.now) {
            let chain = self.chain(task.coroutine)?;
            let deadline = self.deadline_of(&chain)?;
            resource.deadline_ns = deadline.map(|deadline| nanoseconds(deadline - now));
        }
        Ok(Some(resource))
    }

    /// What the task waits for, as the rule for the functions that it waits in says.
    fn of_function(&mut self, task: &Waiting<'_>) -> Result<Option<Resource>, ReadError> {
        let frames = self.innermost_frames(task)?;
        let matches = self.matches(task, &frames)?;
        let Some((Match { rule, frame }, inner)) = matches.split_last() else {
            return Ok(None);
        };
        let (rule, frame) = (*rule, *frame);
        let mut resource = self.follow(rule, frames[frame], task)?;
        for Match { rule, frame } in inner.iter().rev() {
            self.add_ends(rule, frames[*frame], &mut resource)?;
        }
        if let Some(object) = resource.id {
            resource.label = self.label(rule, frame, &frames, task, object)?;
        }
        Ok(Some(resource))
    }

    /// Whether there is a rule for the innermost function, whatever its class.
    pub fn may_match(&self, task: &Waiting<'_>) -> bool {
        innermost(task).is_some_and(|(_, frame)| {
            self.rules
                .of_function(&frame.function, &frame.file)
                .next()
                .is_some()
        })
    }

    /// Whether as many futures more may be looked at, which count from then on.
    pub(super) fn may_look_at_children(&mut self, count: Option<u64>, most: u64) -> bool {
        let all = self.children.saturating_add(count.unwrap_or_default());
        let may = all <= most;
        if may {
            self.children = all;
        }
        may
    }

    pub(super) const fn future_types(&self) -> Option<FutureTypes> {
        self.futures
    }

    /// Which rule is for futures with a callback of this code; `None` where it is not known yet.
    pub(super) fn known_callback(&self, code: Address) -> Option<Option<usize>> {
        self.callbacks.get(&code).copied()
    }

    pub(super) fn note_callback(&mut self, code: Address, rule: Option<usize>) {
        if self.callbacks.len() >= MAX_TYPES {
            self.callbacks.clear();
        }
        self.callbacks.insert(code, rule);
    }

    /// What an object is among the futures of asyncio.
    pub(super) fn future_kind(&mut self, object: Address) -> Result<FutureKind, ReadError> {
        let Some(types) = self.futures else {
            return Ok(FutureKind::default());
        };
        let objects = self.frames.objects;
        let type_object = objects.type_of(object)?;
        if let Some(kind) = self.future_kinds.get(&type_object) {
            return Ok(*kind);
        }
        let kind = FutureKind::of(&objects, &types, type_object)?;
        if self.future_kinds.len() >= MAX_TYPES {
            self.future_kinds.clear();
        }
        self.future_kinds.insert(type_object, kind);
        Ok(kind)
    }

    /// The innermost frames of a task, innermost first, in the places that they have in its stack.
    pub(super) fn innermost_frames(&mut self, task: &Waiting<'_>) -> Result<Vec<FrameAddress>, ReadError> {
        let chain = self.chain(task.coroutine)?;
        in_places(&chain, task, MAX_FRAMES)
    }

    /// The rules of the functions that there are some for, as far as they are about what the innermost one waits for. The outermost one, which
    /// knows best, is the last.
    fn matches(&mut self, task: &Waiting<'_>, frames: &[FrameAddress]) -> Result<Vec<Match>, ReadError> {
        let mut matches = Vec::new();
        let Some((first, _)) = innermost(task) else {
            return Ok(matches);
        };
        let mut base = None;
        for (position, at) in frames.iter().enumerate().skip(first) {
            let Some(frame) = task.stack.get(position) else {
                break;
            };
            // What is behind a greenlet awaits on its behalf.
            if is_mark(frame) && *frame == Frame::of_greenlet() {
                continue;
            }
            if !is_known(frame) {
                break;
            }
            let mut found = None;
            for rule in self.rules.of_function(&frame.function, &frame.file) {
                let is_over = is_over(rule, base) && is_called(rule, task, position);
                if found.is_none() && is_over && self.fits(rule, frame, *at)? {
                    found = Some(rule);
                }
            }
            if position == first {
                let Some(rule) = found else { break };
                base = Some(rule.function.as_str());
            }
            // A library need not lie where packages are installed.
            let is_own =
                || frame.origin.rank == Rank::Application && !self.rules.is_of_known_package(&frame.file);
            if found.is_none() && is_own() {
                // What is outside of the application's own function is about other things than what that one waits for.
                break;
            }
            if let Some(rule) = found {
                matches.push(Match {
                    rule,
                    frame: position,
                });
            }
        }
        let is_doubtful = |only: &Match| task.stack.get(only.frame).is_none_or(|it| it.file.is_empty());
        if matches!(&matches[..], [only] if is_doubtful(only)) {
            matches.clear();
        }
        Ok(matches)
    }

    /// Whether the frame is of a release that the rule is for, and of the rule's class, where its code object does not say so itself.
    fn fits(&mut self, rule: &'static Rule, frame: &Frame, at: FrameAddress) -> Result<bool, ReadError> {
        if let Some(path) = &rule.awaited
            && !at.frame.is_null()
            && self.places(at.code, &path.local)?.is_empty()
        {
            return Ok(false);
        }
        if rule.when.is_some() && self.located(at, rule.when.as_ref())?.is_none() {
            return Ok(false);
        }
        self.is_method(&rule.function, frame, at)
    }

    /// Whether the frame is of the class that the qualified name of a rule's function says, where its code object does not say so itself.
    fn is_method(
        &mut self,
        function: &'static str,
        frame: &Frame,
        at: FrameAddress,
    ) -> Result<bool, ReadError> {
        let Some(class) = rules::class_of(function).filter(|_| !frame.function.contains('.')) else {
            return Ok(true);
        };
        match self.variable(at, "self")? {
            Some(own) => self.is_a(own, class),
            None => Ok(false),
        }
    }

    /// Whether an object is of a class of this name, or of one that is derived from such a class.
    pub(super) fn is_a(&mut self, object: Address, class: &str) -> Result<bool, ReadError> {
        Ok(self.kind_of(object)?.is_a(class))
    }

    /// Reads what a rule says.
    fn follow(
        &mut self,
        rule: &'static Rule,
        at: FrameAddress,
        task: &Waiting<'_>,
    ) -> Result<Resource, ReadError> {
        let mut resource = Resource::of_kind(rule.kind);
        if let Some(words) = &rule.words {
            resource.words = words.as_str().into();
        }
        resource.operation = rule.operation.as_deref().map(Arc::from);
        if let Some(path) = &rule.awaited {
            let found = self.locate(at, path)?;
            if task.is_pending && found != Some(task.awaited) {
                return Err(changed(at.frame));
            }
        }
        if let Some(object) = self.located(at, rule.object.as_ref())? {
            resource.id = Some(object);
            resource.type_name = self.kind_of(object)?.names.first().cloned();
        }
        if let Some(held) = self.located(at, rule.held.as_ref())? {
            resource.held = self.truth(held)?;
        }
        if let Some(owner) = self.located(at, rule.owner.as_ref())? {
            resource.held = Some(true);
            resource.holding = Holding::Tasks {
                tasks: vec![owner],
                are_all: true,
            };
        }
        if let Some(parts) = self.located(at, rule.parts.as_ref())? {
            resource.parts = self.parts_in(parts)?;
            resource.holding = Holding::Unknown;
        }
        if rule.holders && resource.id.is_some() && resource.held != Some(false) {
            resource.holding = Holding::Unknown;
            self.asks_for_variables |= rule.kind == ResourceKind::Pool;
        }
        if let Some(path) = &rule.line {
            self.stand_in_line(at, path, task, &mut resource)?;
        } else if let Some(waiters) = self.located(at, rule.waiters.as_ref())? {
            resource.waiters = self.length(waiters)?.and_then(|count| u64::try_from(count).ok());
        }
        self.follow_numbers(rule, at, task, &mut resource)?;
        self.follow_ends(rule, at, &mut resource)?;
        self.follow_request(rule, at, &mut resource)?;
        resource.children = self.follow_children(rule, at)?;
        for (name, path) in &rule.detail {
            if let Some(detail) = self.detail(at, path)? {
                resource.detail.push((name.as_str().into(), detail));
            }
        }
        Ok(resource)
    }

    /// How many stand in the line of a rule, and where this task does: it has to be in it as long as it waits.
    fn stand_in_line(
        &mut self,
        at: FrameAddress,
        path: &'static Path,
        task: &Waiting<'_>,
        resource: &mut Resource,
    ) -> Result<(), ReadError> {
        let Some(line) = self.locate(at, path)? else {
            return if task.is_pending {
                Err(changed(at.frame))
            } else {
                Ok(())
            };
        };
        let line = self.line(line)?;
        resource.waiters = Some(line.count);
        resource.position = line.places.get(&task.awaited).copied();
        let is_all = line.places.len() as u64 == line.count;
        if task.is_pending && resource.position.is_none() && is_all {
            return Err(changed(at.frame));
        }
        Ok(())
    }

    fn follow_numbers(
        &mut self,
        rule: &'static Rule,
        at: FrameAddress,
        task: &Waiting<'_>,
        resource: &mut Resource,
    ) -> Result<(), ReadError> {
        resource.size = self.first_sum(at, rule.size.as_ref())?;
        resource.limit = self.first_sum(at, rule.limit.as_ref())?;
        resource.free = self.first_sum(at, rule.free.as_ref())?;
        resource.fd = self.number_at(at, rule.fd.as_ref())?;
        resource.pid = self.number_at(at, rule.pid.as_ref())?;
        let deadline = self.first_of(at, rule.deadline.as_ref(), |this, object| this.seconds(object))?;
        if let (Some(deadline), Some(now)) = (deadline, task.now) {
            resource.deadline_ns = Some(nanoseconds(deadline - now));
            let lasts = self.first_of(at, rule.lasts.as_ref(), |this, object| this.seconds(object))?;
            let waited = lasts.map(|lasts| nanoseconds(lasts - (deadline - now)));
            // What was asked for anew, or makes no sense, says nothing.
            resource.waited_ns = waited.filter(|waited| *waited >= 0);
        }
        Ok(())
    }

    fn follow_ends(
        &mut self,
        rule: &'static Rule,
        at: FrameAddress,
        resource: &mut Resource,
    ) -> Result<(), ReadError> {
        let address = |this: &mut Self, object| this.endpoint(object);
        resource.local = self.first_of(at, rule.local.as_ref(), address)?;
        resource.peer = self.first_of(at, rule.peer.as_ref(), address)?;
        resource.command = self.first_of(at, rule.command.as_ref(), |this, object| this.words(object))?;
        resource.query = self.first_of(at, rule.query.as_ref(), |this, object| this.query(object))?;
        if self.tells_arguments {
            let arguments = rule.arguments.as_ref();
            resource.arguments = self.first_of(at, arguments, |this, object| this.arguments(object))?;
        }
        if resource.peer.is_none() {
            let host = self.first_of(at, rule.host.as_ref(), |this, object| this.words(object))?;
            let port = self.number_at(at, rule.port.as_ref())?;
            resource.peer = host.map(|host| super::values::joined(&host, port));
        }
        Ok(())
    }

    /// Adds what a rule of an inner function knows of the two ends of a connection, where that is not known yet.
    fn add_ends(
        &mut self,
        rule: &'static Rule,
        at: FrameAddress,
        resource: &mut Resource,
    ) -> Result<(), ReadError> {
        let address = |this: &mut Self, object| this.endpoint(object);
        if resource.fd.is_none() {
            resource.fd = self.number_at(at, rule.fd.as_ref())?;
        }
        if resource.local.is_none() {
            resource.local = self.first_of(at, rule.local.as_ref(), address)?;
        }
        if resource.peer.is_none() {
            resource.peer = self.first_of(at, rule.peer.as_ref(), address)?;
        }
        self.follow_transports(rule, at, resource)
    }

    fn detail(&mut self, at: FrameAddress, path: &'static Path) -> Result<Option<Detail>, ReadError> {
        let Some(object) = self.locate(at, path)? else {
            return Ok(None);
        };
        if path.is_length || path.is_bytes {
            return Ok(self.measure(object, path)?.map(Detail::Number));
        }
        self.plain_value(object)
    }

    /// The first sum of which all terms are known.
    fn first_sum(&mut self, at: FrameAddress, sums: Option<&'static Sums>) -> Result<Option<i64>, ReadError> {
        'sums: for sum in sums.map_or(&[][..], Sums::all) {
            let mut result = 0_i64;
            for (path, is_taken_away) in &sum.terms {
                let Some(term) = self.number_of(at, path)? else {
                    continue 'sums;
                };
                result = match is_taken_away {
                    true => result.saturating_sub(term),
                    false => result.saturating_add(term),
                };
            }
            return Ok(Some(result));
        }
        Ok(None)
    }

    /// The number at the end of a path, or that it is about.
    fn number_of(&mut self, at: FrameAddress, path: &'static Path) -> Result<Option<i64>, ReadError> {
        match self.locate(at, path)? {
            Some(object) if path.is_length || path.is_bytes => self.measure(object, path),
            Some(object) => self.number(object),
            None => Ok(None),
        }
    }

    pub(super) fn number_at(
        &mut self,
        at: FrameAddress,
        places: Option<&'static Places>,
    ) -> Result<Option<i64>, ReadError> {
        for path in places.map_or(&[][..], Places::all) {
            let number = self.number_of(at, path)?;
            if number.is_some() {
                return Ok(number);
            }
        }
        Ok(None)
    }

    pub(super) fn first_of<T>(
        &mut self,
        at: FrameAddress,
        places: Option<&'static Places>,
        value: impl Fn(&mut Self, Address) -> Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        self.first_found(places, |this, path| this.locate(at, path), value)
    }

    /// What stands at the first of several places that says something; `locate` leads to a place.
    pub(super) fn first_found<T>(
        &mut self,
        places: Option<&'static Places>,
        locate: impl Fn(&mut Self, &'static Path) -> Result<Option<Address>, ReadError>,
        value: impl Fn(&mut Self, Address) -> Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        for path in places.map_or(&[][..], Places::all) {
            if let Some(object) = locate(self, path)?
                && let Some(value) = value(self, object)?
            {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    pub(super) fn located(
        &mut self,
        at: FrameAddress,
        path: Option<&'static Path>,
    ) -> Result<Option<Address>, ReadError> {
        path.map_or(Ok(None), |path| self.locate(at, path))
    }

    /// The object at the end of a path; `None` where there is none, or it is `None`.
    pub(super) fn locate(
        &mut self,
        at: FrameAddress,
        path: &'static Path,
    ) -> Result<Option<Address>, ReadError> {
        match self.variable(at, &path.local)? {
            Some(object) => self.follow_from(object, path),
            None => Ok(None),
        }
    }

    /// As [`Reader::locate`], from the object that the path begins with.
    pub(super) fn follow_from(
        &mut self,
        object: Address,
        path: &'static Path,
    ) -> Result<Option<Address>, ReadError> {
        let mut object = Some(object);
        for step in &path.steps {
            let Some(from) = object else { return Ok(None) };
            object = match step {
                Step::Attribute(name) => self.member(from, name)?,
                Step::Item(index) => self.item(from, *index)?,
                Step::Key(key) => self.value_of_key(from, key)?,
                Step::AnyKey => self.first_value(from)?,
            };
        }
        let none = self.frames.objects.types.none;
        Ok(object.filter(|object| *object != none))
    }

    /// The value of a variable.
    pub(super) fn variable(&mut self, at: FrameAddress, name: &str) -> Result<Option<Address>, ReadError> {
        if at.frame.is_null() {
            return Ok(None);
        }
        let places = self.places(at.code, name)?;
        self.frames.local_in(at, &places)
    }

    /// The places of a variable in frames of a code object, which are looked for once; none where it has no such variable.
    fn places(&mut self, code: Address, name: &str) -> Result<Rc<[usize]>, ReadError> {
        let objects = self.frames.objects;
        let find = || Ok(objects.local_indices(code, name)?.into());
        self.learnt.variables.get_or(code, name, find)
    }

    /// What an object has under a name: in a slot of its class or of one that this is derived from, or else in its `__dict__`, or in a field that a
    /// rule knows.
    pub(super) fn member(&mut self, object: Address, name: &str) -> Result<Option<Address>, ReadError> {
        let objects = self.frames.objects;
        let type_object = objects.type_of(object)?;
        if name == METHOD_SELF && self.kind_of(object)?.is_method {
            let instance = object.offset(objects.offsets.method.instance);
            return Ok(non_null(objects.memory.read_address(instance)?));
        }
        let find = || objects.inherited_slot(type_object, name);
        match self.learnt.slots.get_or(type_object, name, find)? {
            Some(offset) => {
                let value = objects.memory.read_address(object.offset(offset.into()))?;
                Ok((!value.is_null()).then_some(value))
            }
            None => match objects.attribute(object, name)? {
                Some(value) => Ok(Some(value)),
                None => self.field(object, name),
            },
        }
    }

    /// What is known of an object's type.
    pub(super) fn kind_of(&mut self, object: Address) -> Result<Rc<Kind>, ReadError> {
        let type_object = self.frames.objects.type_of(object)?;
        if let Some(kind) = self.learnt.types.get(&type_object) {
            return Ok(Rc::clone(kind));
        }
        let kind = Rc::new(Kind::of(&self.frames.objects, type_object)?);
        if self.learnt.types.len() >= MAX_TYPES {
            self.learnt.types.clear();
        }
        self.learnt.types.insert(type_object, Rc::clone(&kind));
        Ok(kind)
    }

    /// The parts of a thing, which are read once; none where those of all things are too many.
    fn parts_in(&mut self, container: Address) -> Result<Arc<[Address]>, ReadError> {
        if let Some(parts) = self.parts.get(&container) {
            return Ok(Arc::clone(parts));
        }
        let mut parts = self.items(container)?;
        if self.parts_in_all + parts.len() > MAX_PLACES {
            parts.clear();
        }
        self.parts_in_all += parts.len();
        let parts: Arc<[Address]> = parts.into();
        if self.parts.len() < MAX_CHAINS {
            self.parts.insert(container, Arc::clone(&parts));
        }
        Ok(parts)
    }

    /// The line that a container is, which is read once.
    fn line(&mut self, container: Address) -> Result<Rc<Line>, ReadError> {
        if let Some(line) = self.lines.get(&container) {
            return Ok(Rc::clone(line));
        }
        let items = self.items(container)?;
        let count = self.length(container)?.unwrap_or_default();
        if self.places_in_lines >= MAX_PLACES {
            self.lines.clear();
            self.places_in_lines = 0;
        }
        self.places_in_lines += items.len() + 1;
        let line = Rc::new(Line {
            count: u64::try_from(count).unwrap_or_default(),
            places: items.into_iter().zip(1..).collect(),
        });
        self.lines.insert(container, Rc::clone(&line));
        Ok(line)
    }

    /// The frames of a chain, outermost first, which are followed once.
    pub(super) fn chain(&mut self, coroutine: Address) -> Result<Rc<[FrameAddress]>, ReadError> {
        if let Some(chain) = self.chains.get(&coroutine) {
            return Ok(Rc::clone(chain));
        }
        let chain: Rc<[FrameAddress]> = self.frames.chain_frames(coroutine)?.into();
        if self.chains.len() >= MAX_CHAINS {
            self.chains.clear();
        }
        self.chains.insert(coroutine, Rc::clone(&chain));
        Ok(chain)
    }

    pub(super) const fn rules(&self) -> &'static Rules {
        self.rules
    }

    /// What the frames of a chain are inside of, which is looked for once.
    pub(super) fn blocks_of(&mut self, chain: &[FrameAddress]) -> Result<Rc<[Inside]>, ReadError> {
        let first = chain.first().map(|first| first.frame).unwrap_or_default();
        if let Some(inside) = self.inside.get(&first) {
            return Ok(Rc::clone(inside));
        }
        let inside: Rc<[Inside]> = self.blocks.of_chain(chain)?.into();
        if self.inside.len() >= MAX_CHAINS {
            self.inside.clear();
        }
        self.inside.insert(first, Rc::clone(&inside));
        Ok(inside)
    }

    pub(super) const fn frames(&self) -> Frames<'a> {
        self.frames
    }

    pub(super) const fn expressions_mut(&mut self) -> &mut Expressions {
        &mut self.learnt.expressions
    }
}

/// Whether the rule is for a function that waits in the one that the innermost rule is for; `None` where it would be that one itself.
fn is_over(rule: &Rule, base: Option<&str>) -> bool {
    match (&rule.over, base) {
        (Some(over), Some(base)) => over.contains(base),
        (over, base) => over.is_none() && base.is_none(),
    }
}

/// Whether the function at a place waits in the one that the rule says, if it says one.
fn is_called(rule: &Rule, task: &Waiting<'_>, position: usize) -> bool {
    let Some(function) = rule.calls.as_deref() else {
        return true;
    };
    let inner = position.checked_sub(1).and_then(|inner| task.stack.get(inner));
    inner.is_some_and(|frame| *frame.function == *function || *frame.function == *rules::plain_name(function))
}

/// A time in seconds as nanoseconds, the longest where it is longer.
fn nanoseconds(seconds: f64) -> i64 {
    (seconds * 1e9) as i64
}

/// The innermost frame that rules are about, with its place: not the one of a future written in Python, which awaits itself, nor those by which
/// trio's functions give up their turn.
pub(super) fn innermost<'a>(task: &Waiting<'a>) -> Option<(usize, &'a Frame)> {
    let traps = origin::trio_traps(task.stack);
    let is_of_future = |frame: &Frame| {
        frame.file.ends_with("asyncio/futures.py")
            && matches!(frame.function.rsplit('.').next(), Some("__await__" | "__iter__"))
    };
    let mut frames = task.stack.iter().enumerate().skip(traps).take(2);
    frames
        .find(|(_, frame)| !is_of_future(frame))
        .filter(|(_, frame)| is_known(frame))
}

/// The frames of a chain in the places that they have in a task's stack, innermost first, `most` at most: they have to be of the code that the
/// chain was read with. What is compiled, or is a mark, has no frame ([`FrameAddress::frame`] is null).
pub(super) fn in_places(
    chain: &[FrameAddress],
    task: &Waiting<'_>,
    most: usize,
) -> Result<Vec<FrameAddress>, ReadError> {
    let mut frames = chain.iter().rev();
    let mut codes = task.codes.iter();
    let mut placed = Vec::new();
    for frame in task.stack.iter().take(most) {
        let mut placeholder = FrameAddress {
            frame: Address::NULL,
            code: Address::NULL,
        };
        if !is_mark(frame) {
            let Some((code, _)) = codes.next() else { break };
            placeholder.code = *code;
            if frame.kind != FrameKind::Opaque {
                let at = frames.next().filter(|at| at.code == *code);
                placeholder = *at.ok_or(changed(task.coroutine))?;
            }
        }
        placed.push(placeholder);
    }
    Ok(placed)
}

/// Whether it stands for frames that are missing.
fn is_mark(frame: &Frame) -> bool {
    frame.kind == FrameKind::LeftOut
}

/// Whether the function of a frame is known, be it compiled or one of Python's.
fn is_known(frame: &Frame) -> bool {
    is_plain(frame) || frame.kind == FrameKind::Opaque
}

/// Whether the frame is one of Python's, that is in its place.
pub(super) const fn is_plain(frame: &Frame) -> bool {
    !matches!(
        frame.kind,
        FrameKind::LeftOut | FrameKind::Opaque | FrameKind::Unknown
    )
}

/// What was found does not belong to the chain.
const fn changed(address: Address) -> ReadError {
    ReadError::Malformed {
        what: "wait of this chain",
        address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::frame;

    #[test]
    fn frames_stand_beside_what_they_are_shown_as() {
        let at = |place: u64| FrameAddress {
            frame: Address(0x100 + place),
            code: Address(0x10 + place),
        };
        let compiled = Frame {
            kind: FrameKind::Opaque,
            ..frame("query", "protocol.pyx", 0)
        };
        let stack = [
            compiled,
            frame("fetch", "a.py", 1),
            Frame::of_greenlet(),
            frame("main", "b.py", 2),
        ];
        let codes = [7, 0x12, 0x11].map(|code| (Address(code), Address(0)));
        let task = Waiting {
            coroutine: Address(1),
            stack: &stack,
            codes: &codes,
            awaited: Address(2),
            is_pending: true,
            now: None,
        };
        let placed = in_places(&[at(1), at(2)], &task, 16).expect("they are the same");
        let frames: Vec<u64> = placed.iter().map(|at| at.frame.0).collect();
        assert_eq!(frames, [0, 0x102, 0, 0x101]);
        assert_eq!(in_places(&[at(1), at(2)], &task, 2).expect("so far").len(), 2);
        assert_eq!(task.code_at(2), None);
        assert_eq!(task.code_at(3), Some(codes[2]));
        in_places(&[at(2), at(1)], &task, 16).expect_err("others");
        in_places(&[at(2)], &task, 16).expect_err("one is missing");
    }
}
