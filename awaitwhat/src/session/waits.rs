//! Has what the tasks of a pass wait for be read, while their thread rests or as long as they do not move.

use awaitwhat_common::event::TaskState as RawState;
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::gathering::{Gathering, Named, Visit};
use super::observer::Observer;
use super::sockets;
use super::turns::Turns;
use crate::chains::ChainId;
use crate::decode::TaskRecord;
use crate::memory::{Address, Fault};
use crate::python::readable;
use crate::reading::ends::{Kinds, Suspension};
use crate::resource::{Holding, Resource, ResourceKind};
use crate::snapshot::{Frame, FutureState};
use crate::waits::{Held, Reader, Waiting};

/// Objects that callbacks lead to, of which it is asked whether they are task groups.
const MAX_LINKS: usize = 1 << 17;
/// Sockets of which the kernel is asked.
const MAX_SOCKETS: usize = 10_000;
/// Tasks whose pages are asked for at a time.
const AHEAD: usize = 256;

/// Reads what the suspended tasks of `pass` wait for, and which of them have what others do, of memory as far as it is not remembered.
///
/// Nothing of it holds before it is proven that the tasks had no turn meanwhile: see [`Gathering::doubt_waits`].
/// Says whether the kernel was asked for sockets: then that has to be proven from here on.
pub(super) fn read(observer: &Observer, pass: &mut Gathering, turns: &Turns) -> Result<bool, Fault> {
    let mut sockets = 0;
    let mut readers = Readers::new();
    let mut clocks: HashMap<Address, Option<f64>> = HashMap::new();
    let mut wanted = HashSet::new();
    let mut kinds = Kinds::default();
    for (number, id) in pass.order.iter().enumerate() {
        if number % AHEAD == 0 {
            fetch_ahead(observer, pass, number)?;
        }
        let Some(visit) = pass.visits.get_mut(id).filter(|visit| is_suspended(visit)) else {
            continue;
        };
        let Some(reader) = reader(&mut readers, observer, visit.layout) else {
            continue;
        };
        visit.python_state = python_state(observer, visit, reader, &mut kinds)?;
        let now = clocks
            .entry(visit.event_loop)
            .or_insert_with(|| turns.time_of(visit.event_loop));
        let task = waiting(observer, &visit.suspended(), *now);
        let is_known = reader.may_match(&task);
        visit.named = match readable(reader.resource(&task))? {
            Some(Some(mut resource)) => {
                if sockets < MAX_SOCKETS && sockets::find(observer.pid, &mut resource) {
                    sockets += 1;
                }
                Named::As(Box::new(resource))
            }
            Some(None) if is_known => Named::Unfit,
            None if is_known => Named::Changed,
            Some(None) | None => Named::ByNoRule,
        };
        match &visit.named {
            Named::As(resource) => {
                if resource.holding == Holding::Unknown {
                    wanted.extend(resource.id);
                    wanted.extend(resource.parts.iter());
                }
            }
            Named::ByNoRule | Named::Unfit => {
                let future = bare_future(observer, reader, &visit.suspended(), visit.layout)?;
                if let Some(future) = future {
                    visit.named = Named::As(Box::new(future));
                }
            }
            Named::No | Named::Changed => {}
        }
    }
    let groups = groups(observer, pass, &mut readers)?;
    wanted.extend(&groups);
    if wanted.is_empty() {
        return Ok(sockets > 0);
    }
    // In the order of the registry, in which tasks lie near each other.
    for id in &pass.order {
        let Some(visit) = pass.visits.get_mut(id).filter(|visit| is_suspended(visit)) else {
            continue;
        };
        if let Some(reader) = reader(&mut readers, observer, visit.layout) {
            let held = readable(reader.held(&waiting(observer, &visit.suspended(), None), &wanted))?;
            visit.is_held_unknown = held.is_none();
            let inside = held.unwrap_or_default().into_iter();
            let (of_groups, held): (Vec<Held>, _) = inside.partition(|held| groups.contains(&held.object));
            (visit.groups, visit.held) = (of_groups.iter().map(|held| held.object).collect(), held);
        }
    }
    Ok(sockets > 0)
}

/// How far the future has come that a task waits for, where it is one written in Python.
fn python_state(
    observer: &Observer,
    visit: &Visit,
    reader: &mut Reader<'_>,
    kinds: &mut Kinds,
) -> Result<Option<FutureState>, Fault> {
    let Some(types) = observer.interpreter.future_types(visit.layout) else {
        return Ok(None);
    };
    let objects = observer.interpreter.objects(&observer.memory);
    match readable(kinds.python_future(objects, types, &visit.suspension))? {
        Some(Some(future)) => Ok(readable(reader.python_state(future))?.flatten()),
        Some(None) | None => Ok(None),
    }
}

/// The task groups that callbacks of tasks lead to.
fn groups<'a>(
    observer: &'a Observer,
    pass: &Gathering,
    readers: &mut Readers<'a>,
) -> Result<HashSet<Address>, Fault> {
    let mut asked = HashSet::new();
    let mut groups = HashSet::new();
    for visit in pass.order.iter().filter_map(|id| pass.visits.get(id)) {
        let Some(reader) = reader(readers, observer, visit.layout) else {
            continue;
        };
        for link in &visit.links {
            if asked.len() < MAX_LINKS
                && asked.insert(*link)
                && readable(reader.is_group(*link))? == Some(true)
            {
                groups.insert(*link);
            }
        }
    }
    Ok(groups)
}

/// Has the pages be read of some tasks that follow, as it takes less time to ask for several at a time.
fn fetch_ahead(observer: &Observer, pass: &Gathering, from: usize) -> Result<(), Fault> {
    let next = pass.order.iter().skip(from).take(AHEAD);
    let visits = next
        .filter_map(|id| pass.visits.get(id))
        .filter(|visit| is_suspended(visit));
    observer
        .memory
        .fetch_ahead(visits.flat_map(|visit| visit.suspended().first_read()))
}

/// Readers by layout.
pub(super) type Readers<'a> = HashMap<u32, Option<Reader<'a>>>;

pub(super) fn reader<'a, 'r>(
    readers: &'r mut Readers<'a>,
    observer: &'a Observer,
    layout: u32,
) -> Option<&'r mut Reader<'a>> {
    let new = || {
        let frames = observer.interpreter.frames(&observer.memory, layout)?;
        let futures = observer.interpreter.future_types(layout).copied();
        Some(Reader::new(frames, futures, observer.tells_arguments()))
    };
    readers.entry(layout).or_insert_with(new).as_mut()
}

fn is_suspended(visit: &Visit) -> bool {
    visit.state == RawState::Waiting && !visit.has_no_end
}

/// The future that a task waits for of which no rule knows more, by what the application calls it; `None` where it waits for anything else, or
/// the application does not say.
pub(super) fn bare_future(
    observer: &Observer,
    reader: &mut Reader<'_>,
    task: &Suspended,
    layout: u32,
) -> Result<Option<Resource>, Fault> {
    let Some(types) = observer.interpreter.future_types(layout) else {
        return Ok(None);
    };
    let Suspension {
        terminal,
        terminal_type,
        ..
    } = task.suspension;
    if terminal.is_null() || ![types.future, types.python_future].contains(&terminal_type) {
        return Ok(None);
    }
    let label = readable(reader.future_label(&waiting(observer, task, None)))?;
    Ok(label.flatten().map(|label| Resource {
        id: Some(terminal),
        type_name: observer.names.chains.get(task.chain).terminal.clone(),
        label: Some(label),
        ..Resource::of_kind(ResourceKind::Future)
    }))
}

/// A suspended task, as it was visited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspended {
    chain: ChainId,
    coroutine: Address,
    suspension: Suspension,
}

impl Suspended {
    /// What a record says.
    pub(super) fn of(record: &TaskRecord<'_>, chain: ChainId) -> Self {
        Self {
            chain,
            coroutine: record.coroutine,
            suspension: Suspension::of(record),
        }
    }

    /// What wakes it.
    pub(super) fn awaited(&self) -> Address {
        self.suspension.awaited()
    }

    /// Its frames, innermost first.
    pub(super) fn stack<'a>(&self, observer: &'a Observer) -> &'a [Frame] {
        &observer.names.chains.get(self.chain).stack
    }

    /// Where reading begins.
    pub(super) fn first_read(&self) -> [Address; 2] {
        [self.coroutine, self.suspension.awaited()]
    }
}

impl Visit {
    pub(super) const fn suspended(&self) -> Suspended {
        Suspended {
            chain: self.chain,
            coroutine: self.coroutine,
            suspension: self.suspension,
        }
    }
}

/// What there is to know of a task before it is asked what it waits for. `now` is the loop's clock, in seconds, where it is known.
pub(super) fn waiting<'a>(observer: &'a Observer, task: &Suspended, now: Option<f64>) -> Waiting<'a> {
    let chain = observer.names.chains.get(task.chain);
    Waiting {
        coroutine: task.coroutine,
        stack: &chain.stack,
        codes: &chain.frames,
        awaited: task.suspension.awaited(),
        is_pending: task.suspension.awaits_pending(),
        now,
    }
}
