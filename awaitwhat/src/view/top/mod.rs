//! `top`: what is on the screen, and what keys do to it. It knows no terminal and no clock.
//!
//! A look is taken as a whole; from then on only what is on the screen is put into words, however many tasks there are.

mod draw;
mod groups;
mod loops;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use super::chosen::{self, Rows, Seen, Sort};
use super::losses::{self, Counted};
use super::{table, why};
use crate::memory::Address;
use crate::snapshot::{Snapshot, Task};
use crate::survey::{Refusals, Survey};
use groups::{Groups, Key as GroupKey};
use loops::Loops;

/// Characters of a filter.
const MAX_FILTER: usize = 200;
/// Members of a group whose names are compared with a filter, and whose waits are summed up.
const MAX_MEMBERS: usize = 1000;

/// What does not change while it is looked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Frames that chains were cut at.
    pub max_frames: usize,
    pub is_coloured: bool,
    /// The pause between two looks.
    pub every: Duration,
}

/// A key that is of any use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    Enter,
    Escape,
    Backspace,
    Character(char),
}

/// What comes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    Stay,
    Leave,
}

/// A task in what was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    process: u32,
    task: u32,
}

impl Place {
    fn process_of(self, snapshots: &[Snapshot]) -> Option<&Snapshot> {
        snapshots.get(self.process as usize)
    }

    fn task_of(self, snapshots: &[Snapshot]) -> Option<&Task> {
        self.process_of(snapshots)?.tasks.get(self.task as usize)
    }
}

/// What the table has a row for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Groups,
    Tasks,
}

/// What groups are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupSort {
    Count,
    Change,
    Minute,
    AwaitPoint,
}

/// What is selected, so that it is found again in the next look.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Selected {
    Group(GroupKey),
    Task(u32, Address),
}

/// Why a task does not go on, as it was when that was asked for.
#[derive(Clone, Debug)]
struct Pane {
    title: String,
    lines: Vec<String>,
    scroll: usize,
}

/// What is shown.
#[derive(Debug)]
pub struct Top {
    settings: Settings,
    snapshots: Vec<Snapshot>,
    refused: Refusals,
    /// How long the last look took.
    took: Duration,
    seen: Seen,
    groups: Groups,
    loops: Loops,
    mode: Mode,
    group_sort: GroupSort,
    task_sort: Sort,
    filter: Option<String>,
    /// A filter that is being typed.
    typed: Option<String>,
    is_paused: bool,
    is_helping: bool,
    pane: Option<Pane>,
    /// Of groups, their places; of tasks, theirs: in the order in which they are shown.
    group_rows: Vec<usize>,
    task_rows: Vec<Place>,
    selected: usize,
    /// The row at the top of the screen, and how many there is room for.
    first: usize,
    room: usize,
    /// Why nothing more will come.
    ended: Option<String>,
}

impl Top {
    #[must_use]
    pub fn new(settings: Settings, filter: Option<String>) -> Self {
        Self {
            settings,
            snapshots: Vec::new(),
            refused: Refusals::default(),
            took: Duration::ZERO,
            seen: Seen::default(),
            groups: Groups::default(),
            loops: Loops::default(),
            mode: Mode::Groups,
            group_sort: GroupSort::Count,
            task_sort: Sort::Since,
            filter,
            typed: None,
            is_paused: false,
            is_helping: false,
            pane: None,
            group_rows: Vec::new(),
            task_rows: Vec::new(),
            selected: 0,
            first: 0,
            room: 1,
            ended: None,
        }
    }

    /// Takes what a look has found, which took so long.
    pub fn look(&mut self, found: Survey<Snapshot>, took: Duration) {
        let selected = self.selection();
        self.seen.look(&found.targets);
        self.groups.look(&found.targets);
        self.loops.look(&found.targets);
        self.snapshots = found.targets;
        self.refused = found.refused;
        self.took = took;
        self.arrange();
        self.select(selected);
    }

    /// Nothing more will come; what was seen last stays.
    pub fn end(&mut self, why: String) {
        self.ended = Some(why);
    }

    /// Whether no look is wanted.
    #[must_use]
    pub const fn is_resting(&self) -> bool {
        self.is_paused || self.ended.is_some()
    }

    /// Takes a key.
    pub fn key(&mut self, key: Key) -> Reaction {
        if self.typed.is_some() {
            self.type_filter(key);
            return Reaction::Stay;
        }
        match key {
            Key::Character('q') => return Reaction::Leave,
            Key::Character('?') => self.is_helping = !self.is_helping,
            Key::Character('p') => self.is_paused = !self.is_paused,
            Key::Character('/') => self.typed = Some(self.filter.clone().unwrap_or_default()),
            Key::Character('s') => self.sort_by_next(),
            Key::Tab => self.switch(),
            Key::Enter if self.pane.is_none() => self.ask_why(),
            Key::Enter => self.pane = None,
            Key::Escape if self.is_helping => self.is_helping = false,
            Key::Escape if self.pane.is_some() => self.pane = None,
            Key::Escape => self.set_filter(None),
            Key::Up | Key::Character('k') => self.move_by(-1),
            Key::Down | Key::Character('j') => self.move_by(1),
            Key::PageUp => self.move_by(-self.page()),
            Key::PageDown => self.move_by(self.page()),
            Key::Home => self.move_by(i64::MIN),
            Key::End => self.move_by(i64::MAX),
            Key::Backspace | Key::Character(_) => {}
        }
        Reaction::Stay
    }

    fn type_filter(&mut self, key: Key) {
        let Some(typed) = &mut self.typed else { return };
        match key {
            Key::Character(character) if typed.chars().count() < MAX_FILTER => typed.push(character),
            Key::Backspace => {
                typed.pop();
            }
            Key::Enter => {
                let filter = self.typed.take().filter(|typed| !typed.is_empty());
                self.set_filter(filter);
            }
            Key::Escape => self.typed = None,
            _ => {}
        }
    }

    fn set_filter(&mut self, filter: Option<String>) {
        let selected = self.selection();
        self.filter = filter;
        self.arrange();
        self.select(selected);
    }

    fn sort_by_next(&mut self) {
        let selected = self.selection();
        match self.mode {
            Mode::Groups => {
                self.group_sort = match self.group_sort {
                    GroupSort::Count => GroupSort::Change,
                    GroupSort::Change => GroupSort::Minute,
                    GroupSort::Minute => GroupSort::AwaitPoint,
                    GroupSort::AwaitPoint => GroupSort::Count,
                };
            }
            Mode::Tasks => {
                self.task_sort = match self.task_sort {
                    Sort::Since => Sort::State,
                    Sort::State => Sort::WaitsFor,
                    Sort::WaitsFor => Sort::Name,
                    Sort::Name => Sort::Since,
                };
            }
        }
        self.arrange();
        self.select(selected);
    }

    /// To the other table; from a group to the first of its tasks.
    fn switch(&mut self) {
        let selected = match self.selection() {
            Some(Selected::Group(_)) => {
                let group = self.group_rows.get(self.selected);
                let group = group.and_then(|group| self.groups.all.get(*group));
                group.and_then(|group| {
                    let id = groups::ids(group, &self.snapshots).next()?;
                    Some(Selected::Task(group.key.pid, id))
                })
            }
            Some(Selected::Task(pid, id)) => {
                let has_it = |group: &&groups::Group| {
                    group.key.pid == pid && groups::ids(group, &self.snapshots).any(|member| member == id)
                };
                let group = self.groups.all.iter().find(has_it);
                group.map(|group| Selected::Group(group.key.clone()))
            }
            None => None,
        };
        self.mode = match self.mode {
            Mode::Groups => Mode::Tasks,
            Mode::Tasks => Mode::Groups,
        };
        self.pane = None;
        self.arrange();
        self.select(selected);
    }

    /// Puts the rows of the table that is shown in order.
    fn arrange(&mut self) {
        match self.mode {
            Mode::Groups => {
                self.task_rows = Vec::new();
                self.arrange_groups();
            }
            Mode::Tasks => {
                self.group_rows = Vec::new();
                self.arrange_tasks();
            }
        }
    }

    fn arrange_groups(&mut self) {
        let Self {
            groups,
            snapshots,
            filter,
            ..
        } = self;
        let mut rows: Vec<usize> = (0..groups.all.len()).collect();
        if let Some(text) = filter {
            let by_id: Vec<_> = snapshots.iter().map(by_id).collect();
            rows.retain(|row| {
                let members = groups.all[*row].members.iter().take(MAX_MEMBERS);
                members.into_iter().any(|place| {
                    let known = by_id.get(place.process as usize);
                    let task = place.task_of(snapshots);
                    task.zip(known).is_some_and(|(task, known)| {
                        chosen::matches(task, text, &|task| table::waits_for(task, known))
                    })
                })
            });
        }
        // Where they are equal in it, the larger ones come first, and then those that lie closer in the code.
        rows.sort_by_cached_key(|row| {
            let group = &groups.all[*row];
            let place = why::place_of(&group.key.stack);
            (std::cmp::Reverse(group.members.len()), place, group.key.state)
        });
        let change = |change: Option<i64>| std::cmp::Reverse(change.unwrap_or(0));
        match self.group_sort {
            GroupSort::Count => {}
            GroupSort::Change => rows.sort_by_key(|row| change(groups.all[*row].change)),
            GroupSort::Minute => rows.sort_by_key(|row| change(groups.all[*row].minute)),
            GroupSort::AwaitPoint => {
                rows.sort_by_cached_key(|row| why::place_of(&groups.all[*row].key.stack))
            }
        }
        self.group_rows = rows;
    }

    fn arrange_tasks(&mut self) {
        let rows = Rows {
            filter: self.filter.clone(),
            sort: self.task_sort,
        };
        let mut places = Vec::new();
        for (process, snapshot) in (0_u32..).zip(&self.snapshots) {
            let known = if rows.filter.is_some() || rows.sort == Sort::WaitsFor {
                by_id(snapshot)
            } else {
                HashMap::new()
            };
            let waits_for = |task: &Task| table::waits_for(task, &known);
            let order = chosen::order(snapshot, &rows, &self.seen, &waits_for);
            places.extend(order.into_iter().map(|task| Place {
                process,
                task: task as u32,
            }));
        }
        self.task_rows = places;
    }

    /// How many rows there are.
    fn rows(&self) -> usize {
        match self.mode {
            Mode::Groups => self.group_rows.len(),
            Mode::Tasks => self.task_rows.len(),
        }
    }

    fn page(&self) -> i64 {
        self.room.saturating_sub(1).max(1) as i64
    }

    /// Moves the selection, or what a pane shows.
    fn move_by(&mut self, rows: i64) {
        let moved = |place: usize, last: usize| {
            let place = (place as i64).saturating_add(rows).max(0);
            usize::try_from(place).unwrap_or_default().min(last)
        };
        if let Some(pane) = &mut self.pane {
            pane.scroll = moved(pane.scroll, pane.lines.len().saturating_sub(1));
        } else {
            self.selected = moved(self.selected, self.rows().saturating_sub(1));
        }
    }

    fn selection(&self) -> Option<Selected> {
        match self.mode {
            Mode::Groups => {
                let group = self.groups.all.get(*self.group_rows.get(self.selected)?)?;
                Some(Selected::Group(group.key.clone()))
            }
            Mode::Tasks => {
                let place = *self.task_rows.get(self.selected)?;
                let snapshot = place.process_of(&self.snapshots)?;
                Some(Selected::Task(snapshot.pid, place.task_of(&self.snapshots)?.id))
            }
        }
    }

    /// Selects what was selected before, where it is there; else the row in its place. The first row stays first: that is where what is most of
    /// interest comes to.
    fn select(&mut self, selected: Option<Selected>) {
        let last = self.rows().saturating_sub(1);
        self.selected = self.selected.min(last);
        if self.selected == 0 {
            return;
        }
        let found = match selected {
            Some(Selected::Group(key)) => self
                .group_rows
                .iter()
                .position(|row| self.groups.all.get(*row).is_some_and(|group| group.key == key)),
            Some(Selected::Task(pid, id)) => self.task_rows.iter().position(|place| {
                let process = place.process_of(&self.snapshots);
                process.is_some_and(|process| process.pid == pid)
                    && place.task_of(&self.snapshots).is_some_and(|task| task.id == id)
            }),
            None => None,
        };
        self.selected = found.unwrap_or(self.selected);
    }

    /// Tells why the selected task does not go on, or the first one of the selected group.
    fn ask_why(&mut self) {
        let (place, others) = match self.mode {
            Mode::Groups => {
                let group = self.group_rows.get(self.selected);
                let Some(group) = group.and_then(|group| self.groups.all.get(*group)) else {
                    return;
                };
                (group.members.first().copied(), group.members.len() - 1)
            }
            Mode::Tasks => (self.task_rows.get(self.selected).copied(), 0),
        };
        let Some((place, snapshot)) =
            place.and_then(|place| Some((place, place.process_of(&self.snapshots)?)))
        else {
            return;
        };
        let mut text = Vec::new();
        // Writing into memory cannot fail.
        let _ = why::write(snapshot, &[place.task as usize], &mut text);
        let text = anstream::adapter::strip_bytes(&text).into_vec();
        let text = String::from_utf8_lossy(&text).into_owned();
        let of = match others {
            0 => String::new(),
            others => format!(" of one of {} equal tasks", others + 1),
        };
        self.pane = Some(Pane {
            title: format!("Why{of}, at {}", time(snapshot)),
            lines: text.lines().map(str::to_owned).collect(),
            scroll: 0,
        });
    }

    /// What is told above all else: findings, then what is lost.
    fn notes(&self) -> Vec<String> {
        let several = self.snapshots.len() > 1;
        let whose = |snapshot: &Snapshot| {
            if several {
                format!("{}: ", snapshot.pid)
            } else {
                String::new()
            }
        };
        let mut notes = Vec::new();
        for snapshot in &self.snapshots {
            let found = snapshot.findings.iter().map(super::findings::describe);
            notes.extend(found.map(|text| whose(snapshot) + &text));
        }
        notes.extend(self.groups.all.iter().filter_map(growth));
        for snapshot in &self.snapshots {
            let count = snapshot.tasks.len() as u64;
            let lost = losses::describe(&snapshot.losses, Counted::Tasks, count, self.settings.max_frames);
            notes.extend(
                lost.iter()
                    .map(|lost| format!("{}Not shown: {lost}", whose(snapshot))),
            );
        }
        let refused = self.refused.each.len() as u64 + self.refused.others;
        if refused > 0 {
            notes.push(format!(
                "Not shown: {refused} of the processes, which could not be read"
            ));
        }
        notes
    }
}

/// That a group has only grown for a minute.
fn growth(group: &groups::Group) -> Option<String> {
    let before = group.grew_from?;
    let place = why::place_of(&group.key.stack).unwrap_or_else(|| "no frame".to_owned());
    Some(format!(
        "Growing: {before} tasks were in {place} a minute ago, and {} are now; they were never fewer in between",
        group.members.len()
    ))
}

/// The time of day of a look.
fn time(snapshot: &Snapshot) -> String {
    snapshot.captured_at.strftime("%H:%M:%S").to_string()
}

fn by_id(snapshot: &Snapshot) -> HashMap<Address, &Task> {
    snapshot.tasks.iter().map(|task| (task.id, task)).collect()
}
