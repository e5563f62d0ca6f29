//! Has what the tasks of a pass wait for be read, while their thread rests or as long as they do not move.

use std::collections::HashMap;

use awaitwhat_common::event::TaskState as RawState;

use super::assemble::readable;
use super::gathering::{Gathering, Named};
use super::observer::Observer;
use super::turns::Turns;
use crate::memory::{Address, Fault};
use crate::waits::{Reader, Waiting};

/// Reads what the suspended tasks of `pass` wait for, of memory as far as it is not remembered.
///
/// Nothing of it holds before it is proven that the tasks had no turn meanwhile: see [`Gathering::doubt_waits`].
pub(super) fn read(observer: &Observer, pass: &mut Gathering, turns: &Turns) -> Result<(), Fault> {
    let mut readers: HashMap<u32, Option<Reader<'_>>> = HashMap::new();
    let mut clocks: HashMap<Address, Option<f64>> = HashMap::new();
    for id in &pass.order {
        let Some(visit) = pass.visits.get_mut(id) else {
            continue;
        };
        if visit.state != RawState::Waiting || visit.has_no_end {
            continue;
        }
        let reader = readers.entry(visit.layout).or_insert_with(|| {
            let is_asyncio = observer.interpreter.future_types(visit.layout).is_some();
            let frames = observer.interpreter.frames(&observer.memory, visit.layout);
            frames.filter(|_| is_asyncio).map(Reader::new)
        });
        let Some(reader) = reader else { continue };
        let chain = observer.names.chains.get(visit.chain);
        let now = clocks
            .entry(visit.event_loop)
            .or_insert_with(|| turns.time_of(visit.event_loop));
        let suspension = &visit.suspension;
        let task = Waiting {
            coroutine: visit.coroutine,
            stack: &chain.stack,
            codes: &chain.frames,
            awaited: if suspension.terminal.is_null() {
                suspension.fut_waiter
            } else {
                suspension.terminal
            },
            is_pending: suspension.awaits_pending(),
            now: *now,
        };
        if !reader.may_match(&task) {
            visit.named = Named::ByNoRule;
            continue;
        }
        visit.named = match readable(reader.resource(&task))? {
            Some(Some(resource)) => Named::As(Box::new(resource)),
            Some(None) => Named::Unfit,
            None => Named::Changed,
        };
    }
    Ok(())
}
