//! What tasks wait for, in words: `lock self.pool_lock (held, place 2 of 4 in line)`.

use std::collections::HashMap;

use super::escape::fitted;
use super::{jobs, names};
use crate::memory::Address;
use crate::resource::{Children, Detail, Holding, Resource, ResourceKind};
use crate::snapshot::{FutureState, Task, WaitsOn};

/// Columns that a name from the target may take.
const NAME_WIDTH: usize = 60;
/// Columns that a query may take.
const QUERY_WIDTH: usize = 80;
/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

/// The tasks of a snapshot by their ids.
pub(super) type ById<'a> = HashMap<Address, &'a Task>;

/// Says what tasks of one shape wait for: what they have in common, and from where to where they differ.
pub(super) fn describe(resources: &[&Resource], by_id: &ById<'_>) -> Option<String> {
    let first = resources.first()?;
    if first.kind == ResourceKind::Thread {
        return Some(jobs::describe(resources));
    }
    let mut text = titled(first);
    let different = different(resources);
    match (&first.label, different) {
        (Some(_), _) => {}
        (None, 2..) => text += &format!(", {different} different ones"),
        (None, _) => {}
    }
    if let Some(query) = common(resources, |it| it.query.as_deref()) {
        text += &format!(" `{}`", fitted(query, QUERY_WIDTH));
    }
    if let Some(peer) = common(resources, |it| it.peer.as_deref()) {
        text += &format!(" {}", fitted(peer, NAME_WIDTH));
    }
    let facts = facts(resources, different, by_id);
    if !facts.is_empty() {
        text += &format!(" ({})", facts.join(", "));
    }
    Some(text)
}

/// As [`describe`], as a sentence about those that wait.
pub(super) fn sentence(resources: &[&Resource], by_id: &ById<'_>) -> Option<String> {
    let what = describe(resources, by_id)?;
    Some(match what.strip_prefix("sleep") {
        Some(rest) if resources.iter().all(|it| it.kind == ResourceKind::Timer) => format!("sleeps{rest}"),
        _ => format!("waits for {what}"),
    })
}

/// What a future is that is not pending any more, while the task that waits for it has not gone on.
pub(super) fn outcome(on: &WaitsOn) -> Option<&'static str> {
    match on.state? {
        FutureState::Pending => None,
        FutureState::Done => Some("done, but not woken yet"),
        FutureState::Cancelled => Some("cancelled, but not woken yet"),
    }
}

/// A text about a wait, with what is known of the future's end.
pub(super) fn with_outcome(text: String, on: &WaitsOn) -> String {
    match outcome(on) {
        Some(outcome) => format!("{text}: {outcome}"),
        None => text,
    }
}

/// What a thing is called: by the code, or else by its address.
pub(super) fn name(resource: &Resource) -> String {
    match (&resource.label, resource.id) {
        (None, Some(id)) => format!("{} at {id}", resource.words),
        _ => titled(resource),
    }
}

/// What it is, and what the code calls it.
fn titled(resource: &Resource) -> String {
    match resource.own_label() {
        Some(label) => format!("{} {}", resource.words, fitted(label, NAME_WIDTH)),
        None => resource.words.to_string(),
    }
}

/// How many different objects these are.
fn different(resources: &[&Resource]) -> usize {
    let mut ids: Vec<_> = resources.iter().filter_map(|it| it.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}

/// Of tasks that wait for one object, all of its state; of several, only what they have in common.
fn facts(resources: &[&Resource], different: usize, by_id: &ById<'_>) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(left) = time_left(resources) {
        facts.push(left);
    }
    let is_pool = resources[0].kind == ResourceKind::Pool;
    let is_held = common(resources, |it| it.held);
    if is_pool {
        facts.extend(in_use(resources, by_id));
    }
    match (is_held, common(resources, |it| held_by(it, by_id))) {
        _ if is_pool => {}
        (_, Some(holders)) => facts.push(holders),
        (Some(true), None) => facts.push("held".to_owned()),
        (Some(false), None) => facts.push("free".to_owned()),
        (None, None) => {}
    }
    let free = common(resources, |it| it.free);
    let limit = common(resources, |it| it.limit).filter(|limit| *limit > 0);
    match (free, common(resources, |it| it.size), limit) {
        (Some(free), _, Some(limit)) => facts.push(format!("{free} of {limit} free")),
        (Some(free), _, None) => facts.push(format!("{free} free")),
        _ if is_pool => {}
        (None, Some(size), Some(limit)) => facts.push(format!("{size} of {limit}")),
        (None, Some(0), None) => facts.push("empty".to_owned()),
        (None, Some(size), None) => facts.push(format!("holds {size}")),
        (None, _, _) => {}
    }
    if different <= 1 {
        facts.extend(line(resources));
    }
    if let Some(children) = common(resources, |it| it.children) {
        facts.extend(ended(&children));
    }
    // What is asked of the system runs in a thread.
    let is_job = resources[0].kind == ResourceKind::Dns;
    for (name, value) in &resources[0].detail {
        let is_common = resources.iter().all(|it| {
            it.detail
                .iter()
                .any(|(other, detail)| (other, detail) == (name, value))
        });
        // How long a sleep lasts is less than how long it still does.
        if is_common && resources[0].deadline_ns.is_none() && !(is_job && jobs::is_told_apart(name)) {
            facts.push(format!(
                "{} {}",
                name.replace('_', " "),
                match value {
                    Detail::Number(number) => number.to_string(),
                    Detail::Text(text) => fitted(text, NAME_WIDTH),
                }
            ));
        }
    }
    if is_job {
        facts.extend(jobs::facts(resources));
    }
    if let Some(arguments) = common(resources, |it| it.arguments.as_deref()) {
        facts.push(format!("with {}", fitted(arguments, QUERY_WIDTH)));
    }
    if let Some(fd) = common(resources, |it| it.fd) {
        facts.push(format!("fd {fd}"));
    }
    if let Some(pid) = common(resources, |it| it.pid) {
        facts.push(format!("pid {pid}"));
    }
    if let Some(command) = common(resources, |it| it.command.as_deref()) {
        facts.push(fitted(command, NAME_WIDTH));
    }
    facts
}

/// How much of a pool is in use, and by whom.
fn in_use(resources: &[&Resource], by_id: &ById<'_>) -> Option<String> {
    let size = common(resources, |it| it.size)?;
    let limit = common(resources, |it| it.limit).filter(|limit| *limit > 0);
    let limit = limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    let first = resources.first()?;
    let holders = match &first.holding {
        Holding::Tasks { tasks, are_all } if resources.iter().all(|it| it.holding == first.holding) => {
            let names = names::names(tasks.iter().filter_map(|id| by_id.get(id).copied()));
            let how = if *are_all { " by" } else { ", known holders:" };
            format!("{how} {names}")
        }
        Holding::Unknown => ", holders unknown".to_owned(),
        _ => String::new(),
    };
    Some(format!("{size}{limit} in use{holders}"))
}

/// Who has a thing; `None` where nobody was asked for.
pub(super) fn held_by(resource: &Resource, by_id: &ById<'_>) -> Option<String> {
    match &resource.holding {
        Holding::Nobody => None,
        Holding::Unknown => Some("held, holder unknown".to_owned()),
        Holding::OnlyWaiters => Some("held by nobody: only waiters are left".to_owned()),
        Holding::Tasks { tasks, .. } => {
            let known = tasks.iter().filter_map(|id| by_id.get(id).copied());
            Some(format!("held by {}", names::names(known)))
        }
    }
}

/// `3.2 s left`, `overdue by 0.5 s`, `1 to 3 s left`.
fn time_left(resources: &[&Resource]) -> Option<String> {
    let deadlines = || resources.iter().filter_map(|it| it.deadline_ns);
    let (first, last) = (deadlines().min()?, deadlines().max()?);
    let span = |from: i64, to: i64| {
        let (from, to) = (seconds(from), seconds(to));
        if from == to { to } else { format!("{from} to {to}") }
    };
    Some(match (first, last) {
        (..0, ..0) => format!(
            "overdue by {} s",
            span(last.saturating_neg(), first.saturating_neg())
        ),
        (..0, _) => format!(
            "overdue by up to {} s, or up to {} s left",
            seconds(first.saturating_neg()),
            seconds(last)
        ),
        _ => format!("{} s left", span(first, last)),
    })
}

/// A number of seconds with as many digits as say something.
fn seconds(nanoseconds: i64) -> String {
    let seconds = nanoseconds as f64 / SECOND;
    match seconds {
        ..1.0 => format!("{seconds:.3}"),
        ..100.0 => format!("{seconds:.1}"),
        _ => format!("{seconds:.0}"),
    }
}

/// The place in the line, or how long that is.
fn line(resources: &[&Resource]) -> Option<String> {
    let waiters = common(resources, |it| it.waiters)?;
    let places = || resources.iter().filter_map(|it| it.position);
    Some(match (places().min(), places().max()) {
        (Some(first), Some(last)) if first == last => format!("place {first} of {waiters} in line"),
        (Some(first), Some(last)) => format!("places {first} to {last} of {waiters} in line"),
        _ if waiters == 1 => "1 waits".to_owned(),
        _ => format!("{waiters} wait"),
    })
}

/// How many of several have ended, and how: `2 of 5 done, 1 failed`. Where those that have ended are forgotten, how many have not.
fn ended(children: &Children) -> Vec<String> {
    let Children {
        count,
        pending,
        failed,
        cancelled,
        ..
    } = children;
    let how_many = match (count, pending) {
        (Some(count), Some(pending)) => format!("{} of {count} done", count.saturating_sub(*pending)),
        (None, Some(pending)) => format!("{pending} not done"),
        (Some(count), None) => format!("{count} of them"),
        (None, None) => return Vec::new(),
    };
    let mut facts = vec![how_many];
    for (count, how) in [(failed, "failed"), (cancelled, "cancelled")] {
        facts.extend(
            count
                .filter(|count| *count > 0)
                .map(|count| format!("{count} {how}")),
        );
    }
    facts
}

/// What all have, where it is the same.
pub(super) fn common<'a, T: PartialEq>(
    resources: &[&'a Resource],
    fact: impl Fn(&'a Resource) -> Option<T>,
) -> Option<T> {
    let mut facts = resources.iter().map(|resource| fact(resource));
    let first = facts.next()??;
    facts.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::task;

    fn resource(kind: ResourceKind, id: u64) -> Resource {
        Resource {
            id: Some(Address(id)),
            ..Resource::of_kind(kind)
        }
    }

    fn said(resources: &[Resource]) -> String {
        let forgetful = task(0x10, "forgetful", &[]);
        let by_id = ById::from([(forgetful.id, &forgetful)]);
        describe(&resources.iter().collect::<Vec<_>>(), &by_id).expect("there is one")
    }

    #[test]
    fn one_of_each() {
        let lock = Resource {
            label: Some("self.pool_lock".into()),
            held: Some(true),
            waiters: Some(4),
            position: Some(2),
            ..resource(ResourceKind::Lock, 1)
        };
        let queue = |size, limit| Resource {
            words: "an item of queue".into(),
            size: Some(size),
            limit: Some(limit),
            waiters: Some(1),
            position: Some(1),
            ..resource(ResourceKind::Queue, 1)
        };
        let gate = Resource {
            free: Some(0),
            limit: Some(5),
            ..resource(ResourceKind::Semaphore, 1)
        };
        let sleep = |deadline_ns| Resource {
            words: "sleep".into(),
            deadline_ns: Some(deadline_ns),
            ..Resource::of_kind(ResourceKind::Timer)
        };
        let socket = Resource {
            words: "data from stream".into(),
            peer: Some("10.0.0.7:5432".into()),
            fd: Some(7),
            ..resource(ResourceKind::Stream, 1)
        };
        let all = [
            lock,
            queue(0, 0),
            queue(10, 10),
            gate,
            sleep(3_240_000_000),
            sleep(-500_000_000),
            socket,
        ];
        let all: Vec<String> = all.iter().map(|it| said(std::slice::from_ref(it))).collect();
        insta::assert_snapshot!(all.join("\n"), @"
        lock self.pool_lock (held, place 2 of 4 in line)
        an item of queue (empty, place 1 of 1 in line)
        an item of queue (10 of 10, place 1 of 1 in line)
        semaphore (0 of 5 free)
        sleep (3.2 s left)
        sleep (overdue by 0.500 s)
        data from stream 10.0.0.7:5432 (fd 7)
        ");
    }

    #[test]
    fn pools_and_queries() {
        let pool = |limit, holding| Resource {
            words: "a connection of asyncpg pool".into(),
            label: Some("self.db".into()),
            size: Some(2),
            limit,
            waiters: Some(15),
            position: Some(3),
            holding,
            ..resource(ResourceKind::Pool, 1)
        };
        let by = |are_all| Holding::Tasks {
            tasks: vec![Address(0x10)],
            are_all,
        };
        let query = Resource {
            query: Some("select * from t where id = $1".into()),
            peer: Some("127.0.0.1:5432".into()),
            arguments: Some("'x', 1".into()),
            fd: Some(7),
            ..Resource::of_kind(ResourceKind::Query)
        };
        let all = [
            pool(Some(2), by(true)),
            pool(Some(2), by(false)),
            pool(None, Holding::Unknown),
            query,
        ];
        let all: Vec<String> = all.iter().map(|it| said(std::slice::from_ref(it))).collect();
        insta::assert_snapshot!(all.join("\n"), @"
        a connection of asyncpg pool self.db (2 of 2 in use by forgetful, place 3 of 15 in line)
        a connection of asyncpg pool self.db (2 of 2 in use, known holders: forgetful, place 3 of 15 in line)
        a connection of asyncpg pool self.db (2 in use, holders unknown, place 3 of 15 in line)
        query `select * from t where id = $1` 127.0.0.1:5432 (with 'x', 1, fd 7)
        ");
    }

    #[test]
    fn what_the_code_calls_by_its_kind_is_said_once() {
        let called = |words: &str, label: &str| Resource {
            words: words.into(),
            label: Some(label.into()),
            ..resource(ResourceKind::Lock, 1)
        };
        let all = [
            called("lock", "lock"),
            called("an item of queue", "queue"),
            called("lock", "self.lock"),
        ];
        let all: Vec<String> = all.iter().map(|it| said(std::slice::from_ref(it))).collect();
        assert_eq!(all, ["lock", "an item of queue", "lock self.lock"]);
    }

    #[test]
    fn of_several_it_is_told_how_many_have_ended() {
        let of = |kind, children| Resource {
            children: Some(children),
            ..resource(kind, 1)
        };
        let some = Children {
            count: Some(5),
            pending: Some(2),
            done: Some(1),
            failed: Some(2),
            cancelled: Some(0),
        };
        let left = Children {
            pending: Some(3),
            failed: Some(1),
            ..Children::default()
        };
        let many = Children {
            count: Some(20_000),
            ..Children::default()
        };
        let all = [
            said(&[of(ResourceKind::Gather, some)]),
            said(&[of(ResourceKind::Group, left)]),
            said(&[of(ResourceKind::Gather, many)]),
            said(&[of(ResourceKind::Gather, some), of(ResourceKind::Gather, left)]),
        ];
        insta::assert_snapshot!(all.join("\n"), @"
        gather (3 of 5 done, 2 failed)
        group (3 not done, 1 failed)
        gather (20000 of them)
        gather
        ");
    }

    #[test]
    fn several_tell_how_they_differ() {
        let waiting = |id, position| Resource {
            held: Some(true),
            waiters: Some(3),
            position: Some(position),
            ..resource(ResourceKind::Lock, id)
        };
        let sleep = |deadline_ns| Resource {
            words: "sleep".into(),
            deadline_ns: Some(deadline_ns),
            ..Resource::of_kind(ResourceKind::Timer)
        };
        let said = [
            said(&[waiting(1, 1), waiting(1, 2), waiting(1, 3)]),
            said(&[waiting(1, 1), waiting(2, 1)]),
            said(&[sleep(1_000_000_000), sleep(2_500_000_000)]),
            said(&[sleep(-1_000_000_000), sleep(2_500_000_000)]),
            said(&[sleep(-1_000_000_000), sleep(-2_500_000_000)]),
        ];
        insta::assert_snapshot!(said.join("\n"), @"
        lock (held, places 1 to 3 of 3 in line)
        lock, 2 different ones (held)
        sleep (1.0 to 2.5 s left)
        sleep (overdue by up to 1.0 s, or up to 2.5 s left)
        sleep (overdue by 1.0 to 2.5 s)
        ");
    }

    #[test]
    fn who_has_it_is_named_as_far_as_it_is_known() {
        let lock = |holding| Resource {
            held: Some(true),
            holding,
            ..resource(ResourceKind::Lock, 1)
        };
        let tasks = |ids: &[u64]| Holding::Tasks {
            tasks: ids.iter().map(|id| Address(*id)).collect(),
            are_all: true,
        };
        let said = [
            said(&[lock(tasks(&[0x10]))]),
            said(&[lock(tasks(&[0x10])), lock(tasks(&[0x10]))]),
            said(&[lock(tasks(&[0x10])), lock(Holding::Unknown)]),
            said(&[lock(Holding::Unknown)]),
            said(&[lock(Holding::OnlyWaiters)]),
        ];
        insta::assert_snapshot!(said.join("\n"), @"
        lock (held by forgetful)
        lock (held by forgetful)
        lock (held)
        lock (held, holder unknown)
        lock (held by nobody: only waiters are left)
        ");
    }
}
