//! How the time of one chain is shared among the things that its tasks waited for.

use std::sync::Arc;

use super::ratio;
use crate::resource::Resource;

/// What a task waited for; `None` where no rule knows it.
pub type Thing = Option<Arc<Resource>>;

/// Answers in a row that have to be equal before a chain is taken to be one that always waits for the same; and how many are enough where they have no name
/// for it, so that only the chain's functions say what it is.
const SETTLED: u32 = 24;
const SETTLED_WITHOUT_NAME: u32 = 4;
/// Things that are told apart. What else there is counts as the first of them of its kind, without what tells it apart.
const MAX_THINGS: usize = 32;
/// Answers of one pass that are told apart: some times as many as are asked for.
const MAX_CURRENT: usize = 1 << 16;
/// How long (s) an answer stands for at least: what is met once is not nothing.
const LEAST: f64 = 0.001;

/// A thing that tasks of a chain waited for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) thing: Thing,
    /// Its share of the chain's time, 0 to 1.
    pub(crate) share: f64,
    /// How many answers this stands on. Those that stand for longer count for more, so it is how many of equal weight would tell as much.
    pub(crate) answers: f64,
}

/// What tasks of one chain were found to wait for. An answer stands for its share of the chain's tasks until others come, or until no task is
/// there any more: what a task waits for changes with its turn, and not while it rests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Split {
    seconds: Vec<(Thing, f64)>,
    /// The squares of what each answer stands for (seconds), added up.
    squares: f64,
    /// The last answers: each with how many tasks it stands for.
    current: Vec<(Thing, f64)>,
    /// Since when (s) the current answers stand, and the pass that they are of.
    since: f64,
    pass: u64,
    /// Answers in a row that were equal.
    equal: u32,
    /// What was known before the period that counts: it holds where nothing was answered since.
    before: Vec<Part>,
}

impl Split {
    /// Takes what some of the `tasks` wait for that a part of a pass has met in the chain, at the moment `now` (s). Passes have numbers from 1 on.
    pub(crate) fn answer(&mut self, now: f64, pass: u64, tasks: u64, answers: Vec<Thing>) {
        if answers.is_empty() {
            return;
        }
        if self.pass != pass {
            self.end(now);
            self.pass = pass;
            self.since = now;
        }
        let each = tasks as f64 / answers.len() as f64;
        let room = MAX_CURRENT.saturating_sub(self.current.len());
        for thing in answers.into_iter().take(room) {
            let thing = self.known(thing);
            let is_as_before = self.seconds.iter().all(|(other, _)| *other == thing);
            self.equal = if is_as_before {
                self.equal.saturating_add(1)
            } else {
                0
            };
            add(&mut self.seconds, thing.clone(), 0.0);
            self.current.push((thing, each));
        }
    }

    /// No task is in the chain at the moment `now` (s), or it is not known what they wait for.
    pub(crate) fn end(&mut self, now: f64) {
        let lasted = (now - self.since).max(LEAST);
        for (thing, tasks) in std::mem::take(&mut self.current) {
            let seconds = tasks * lasted;
            self.squares += seconds * seconds;
            add(&mut self.seconds, thing, seconds);
        }
    }

    /// From the moment `now` (s) on another period counts. Answers that stand go on to.
    pub(crate) fn begin_period(&mut self, now: f64) {
        self.before = self.clone().into_parts(now);
        self.squares = 0.0;
        self.since = now;
        self.seconds.iter_mut().for_each(|(_, seconds)| *seconds = 0.0);
    }

    /// Whether an answer stands.
    pub(crate) fn is_standing(&self) -> bool {
        !self.current.is_empty()
    }

    /// Whether there was an answer.
    pub(crate) fn is_answered(&self) -> bool {
        !self.seconds.is_empty()
    }

    /// Whether there was an answer, and each was a thing like that.
    pub(crate) fn are_all(&self, is_one: impl Fn(&Resource) -> bool) -> bool {
        let is_like_that = |thing: &Thing| thing.as_deref().is_some_and(&is_one);
        self.is_answered() && self.seconds.iter().all(|(thing, _)| is_like_that(thing))
    }

    /// Whether its tasks need not be asked any more: all were found to wait for the same, and nothing in that depends on the task.
    pub(crate) fn is_settled(&self) -> bool {
        let things = || self.seconds.iter().filter_map(|(thing, _)| thing.as_deref());
        let depends_on_task = |it: &Resource| {
            let ends = [&it.local, &it.peer, &it.command, &it.query, &it.url];
            ends.into_iter().any(Option::is_some)
        };
        let needed = if things().any(|it| it.label.is_some()) {
            SETTLED
        } else {
            SETTLED_WITHOUT_NAME
        };
        self.equal >= needed && !things().any(depends_on_task)
    }

    /// What its tasks waited for: the shares are 1 together. Nothing where nobody was asked.
    pub(crate) fn into_parts(mut self, now: f64) -> Vec<Part> {
        self.end(now);
        let whole: f64 = self.seconds.iter().map(|(_, seconds)| seconds).sum();
        if whole == 0.0 && !self.before.is_empty() {
            return self.before;
        }
        // What the variance of a weighted mean says (L. Kish, Survey Sampling, 1965).
        let answers = ratio(whole * whole, self.squares);
        let part = |(thing, seconds)| {
            let share = ratio(seconds, whole);
            Part {
                thing,
                share,
                answers: share * answers,
            }
        };
        self.seconds.into_iter().map(part).collect()
    }

    /// The thing as it is told apart here.
    fn known(&self, thing: Thing) -> Thing {
        let is_new = self.seconds.iter().all(|(other, _)| *other != thing);
        match thing {
            Some(resource) if is_new && self.seconds.len() >= MAX_THINGS => Some(Arc::new(Resource {
                words: Arc::clone(&resource.words),
                ..Resource::of_kind(resource.kind)
            })),
            thing => thing,
        }
    }
}

/// Adds to the sum of a thing.
fn add(sums: &mut Vec<(Thing, f64)>, thing: Thing, more: f64) {
    match sums.iter_mut().find(|(other, _)| *other == thing) {
        Some((_, sum)) => *sum += more,
        None => sums.push((thing, more)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::ResourceKind;

    fn thing(label: &str, peer: Option<&str>) -> Thing {
        Some(Arc::new(Resource {
            label: Some(label.into()),
            peer: peer.map(Arc::from),
            ..Resource::of_kind(ResourceKind::Stream)
        }))
    }

    /// What each part is called, its share in percent, and its answers.
    fn parts(split: Split, now: f64) -> Vec<(String, u32, u32)> {
        let part = |part: Part| {
            let called = part.thing.map_or_else(String::new, |it| it.called());
            let rounded = |number: f64| number.round() as u32;
            (called, rounded(part.share * 100.0), rounded(part.answers))
        };
        split.into_parts(now).into_iter().map(part).collect()
    }

    #[test]
    fn an_answer_stands_until_the_next_and_for_all_tasks() {
        let mut split = Split::default();
        split.answer(0.0, 1, 2, vec![thing("a", None), thing("b", None)]);
        // Nobody moves for a long time, then some of four are asked, in two parts.
        split.answer(300.0, 2, 2, vec![thing("b", None)]);
        split.answer(300.0, 2, 2, vec![thing("b", None)]);
        let (a, b) = (("stream a".to_owned(), 30, 1), ("stream b".to_owned(), 70, 3));
        assert_eq!(parts(split, 400.0), [a, b]);
    }

    #[test]
    fn where_nobody_is_nobody_waits() {
        let mut split = Split::default();
        split.answer(0.0, 1, 1, vec![thing("a", None)]);
        split.end(100.0);
        split.answer(900.0, 2, 1, vec![None]);
        assert_eq!(
            parts(split, 1000.0),
            [("stream a".to_owned(), 50, 1), (String::new(), 50, 1)]
        );
        assert_eq!(parts(Split::default(), 1.0), []);
    }

    #[test]
    fn what_depends_on_the_task_is_asked_again() {
        let many = |thing: &Thing| vec![thing.clone(); SETTLED as usize];
        let some = |thing: &Thing| vec![thing.clone(); SETTLED_WITHOUT_NAME as usize];
        let settled = |answers: Vec<Thing>| {
            let mut split = Split::default();
            split.answer(0.0, 1, 1, answers);
            split.is_settled()
        };
        assert!(settled(many(&thing("a", None))));
        assert!(settled(some(&None)) && !settled(some(&thing("a", None))));
        assert!(!settled(many(&thing("a", Some("10.0.0.7:5432")))));
        assert!(!settled(
            [many(&thing("a", None)), vec![thing("b", None)]].concat()
        ));
        assert!(!settled(
            [vec![thing("b", None)], many(&thing("a", None))].concat()
        ));
        assert!(!settled(many(&thing("a", None))[1..].to_vec()));
    }

    #[test]
    fn things_have_a_bound() {
        let mut split = Split::default();
        for number in 0..100 * MAX_THINGS {
            split.answer(
                number as f64,
                number as u64,
                1,
                vec![thing(&number.to_string(), None)],
            );
        }
        assert_eq!(split.seconds.len(), MAX_THINGS + 1);
        let others = parts(split, 100.0 * MAX_THINGS as f64).pop();
        assert_eq!(others, Some(("stream".to_owned(), 99, 99 * MAX_THINGS as u32)));
    }
}
