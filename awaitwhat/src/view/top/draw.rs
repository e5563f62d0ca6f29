//! The screen.

use std::collections::HashMap;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::{GroupSort, MAX_MEMBERS, Mode, Place, Top, by_id, time};
use crate::memory::Address;
use crate::snapshot::{Snapshot, Task, TaskState};
use crate::view::chosen::{Since, Sort};
use crate::view::escape::{Escaped, fitted};
use crate::view::table::{self, state_word};
use crate::view::tree::plural;
use crate::view::{names, waits, why};

/// Lines that the table has at least, where there is room for them.
const LEAST_ROWS: usize = 5;
/// Lines that all notes may take, and each of them.
const MAX_NOTE_LINES: usize = 9;
const LINES_OF_NOTE: usize = 3;
/// The head of the column for await points.
const PLACE: &str = "AWAIT POINT";
/// Columns between two columns.
const GAP: usize = 2;
/// Columns that the name of a command may take.
const COMMAND_WIDTH: usize = 30;

const HELP: [&str; 11] = [
    "Tab            groups of equal tasks, or each task",
    "Enter          why the selected task does not go on; Enter again closes that",
    "/              only what has a text in its name, functions or WAITS FOR",
    "Esc            all again",
    "s              sort by the next column",
    "p              pause, and go on",
    "arrows, j, k, PgUp, PgDn, Home, End",
    "q, Ctrl-C      leave",
    "",
    "CHANGE: how many tasks more or less than in the look before. MINUTE: than a minute ago, or in the first look where that is later.",
    "SINCE: how long a task has waited. `seen`: so long each look has found it in the same wait; between two looks it may have moved and come back.",
];

/// One column of a table.
struct Column {
    head: &'static str,
    /// What it takes, or a share of what is left.
    width: Width,
    is_right: bool,
}

#[derive(Clone, Copy)]
enum Width {
    Fixed(usize),
    Share(usize),
}

const fn fixed(head: &'static str, width: usize) -> Column {
    Column {
        head,
        width: Width::Fixed(width),
        is_right: false,
    }
}

const fn number(head: &'static str, width: usize) -> Column {
    Column {
        head,
        width: Width::Fixed(width),
        is_right: true,
    }
}

const fn share(head: &'static str, share: usize) -> Column {
    Column {
        head,
        width: Width::Share(share),
        is_right: false,
    }
}

impl Top {
    /// Draws everything.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        let mut screen = Screen {
            buffer: frame.buffer_mut(),
            width,
            is_coloured: self.settings.is_coloured,
        };
        if width == 0 || height == 0 {
            return;
        }
        let last = height - 1;
        let mut line = self.draw_head(&mut screen, last);
        let end = self.draw_pane(&mut screen, line, last);
        if self.is_helping {
            let lines = wrapped(&HELP.map(str::to_owned), width);
            for text in lines.iter().take(end.saturating_sub(line)) {
                screen.put(line, 0, text, width, Style::new());
                line += 1;
            }
        } else {
            self.draw_table(&mut screen, line, end);
        }
        self.draw_foot(&mut screen, last);
    }

    /// Whom it is about, what its tasks do, and what is to be known; returns the next line.
    fn draw_head(&self, screen: &mut Screen<'_>, end: usize) -> usize {
        let mut lines = vec![(self.title(), screen.bold()), (self.counts(), Style::new())];
        lines.extend(self.loops.describe().map(|text| (text, Style::new())));
        let notes = self.notes();
        let room = end
            .saturating_sub(lines.len() + 1 + LEAST_ROWS)
            .min(MAX_NOTE_LINES);
        let warning = screen.warning();
        let mut told = 0;
        let mut taken = 0;
        for note in &notes {
            let mut note_lines = wrapped(std::slice::from_ref(note), screen.width);
            note_lines.truncate(LINES_OF_NOTE);
            // One line is left to say that there is more.
            let needed = taken + note_lines.len() + usize::from(told + 1 < notes.len());
            if needed > room {
                break;
            }
            taken += note_lines.len();
            told += 1;
            lines.extend(note_lines.into_iter().map(|line| (line, warning)));
        }
        if told < notes.len() && room > 0 {
            let more = format!(
                "… and {} more: `awaitwhat ps` tells all of it",
                notes.len() - told
            );
            lines.push((more, warning));
        }
        let count = lines.len().min(end);
        for (number, (text, style)) in lines.into_iter().take(count).enumerate() {
            screen.put(number, 0, &text, screen.width, style);
        }
        count
    }

    fn title(&self) -> String {
        let who = match self.snapshots.as_slice() {
            [] => "no process".to_owned(),
            [one] => format!(
                "{} ({}), CPython {}",
                fitted(&one.command, COMMAND_WIDTH),
                one.pid,
                Escaped(&one.python)
            ),
            several => plural(several.len(), "process", "processes"),
        };
        let at = self
            .snapshots
            .first()
            .map(|snapshot| format!(" · {}", time(snapshot)));
        let mut title = format!("{who}{}", at.unwrap_or_default());
        if self.ended.is_none() {
            let every = self.settings.every.as_secs_f64();
            title += &format!(
                " · every {every} s, a look takes {}",
                brief(self.took.as_secs_f64())
            );
        }
        title
    }

    fn counts(&self) -> String {
        let tasks = || self.snapshots.iter().flat_map(|snapshot| &snapshot.tasks);
        let count = |state| tasks().filter(|task| task.state == state).count();
        let (running, ready) = (count(TaskState::Running), count(TaskState::Ready));
        let all = tasks().count();
        let mut text = format!(
            "{}: {running} running, {ready} ready, {} waiting",
            plural(all, "task", "tasks"),
            all - running - ready
        );
        if let (Mode::Groups, None) = (self.mode, &self.filter) {
            text += &format!("; {}", plural(self.rows(), "group", "groups"));
        }
        if let Some(filter) = &self.filter {
            let rows = match self.mode {
                Mode::Groups => plural(self.rows(), "group has", "groups have"),
                Mode::Tasks => plural(self.rows(), "task has", "tasks have"),
            };
            text += &format!("; {rows} \"{}\"", fitted(filter, COMMAND_WIDTH));
        }
        text
    }

    /// What a key does, what is being typed, or that it is over.
    fn draw_foot(&self, screen: &mut Screen<'_>, line: usize) {
        let width = screen.width;
        if let Some(typed) = &self.typed {
            let text = format!("/{}▏", fitted_end(typed, width.saturating_sub(2)));
            screen.put(line, 0, &text, width, screen.bold());
            return;
        }
        let other = match self.mode {
            Mode::Groups => "tasks",
            Mode::Tasks => "groups",
        };
        let sort = match (self.mode, self.group_sort, self.task_sort) {
            (Mode::Groups, GroupSort::Count, _) => "count",
            (Mode::Groups, GroupSort::Change, _) => "change",
            (Mode::Groups, GroupSort::Minute, _) => "minute",
            (Mode::Groups, GroupSort::AwaitPoint, _) => "await point",
            (Mode::Tasks, _, Sort::Since) => "since",
            (Mode::Tasks, _, Sort::State) => "state",
            (Mode::Tasks, _, Sort::WaitsFor) => "waits for",
            (Mode::Tasks, _, Sort::Name) => "name",
        };
        let why = if self.pane.is_some() { "close" } else { "why" };
        let keys = format!("q quit  Tab {other}  Enter {why}  / filter  s by {sort}  p pause  ? help");
        let (text, style) = match (&self.ended, self.is_paused) {
            (Some(ended), _) => (format!("{ended}  (q leaves)"), screen.warning()),
            (None, true) => (format!("PAUSED  {keys}"), screen.warning()),
            (None, false) => (keys, screen.faint()),
        };
        screen.put(line, 0, &text, width, style);
    }

    /// The answer that was asked for, in the lower half of the lines up to `end`. Returns where it begins.
    fn draw_pane(&mut self, screen: &mut Screen<'_>, begin: usize, end: usize) -> usize {
        let Some(pane) = &mut self.pane else {
            return end;
        };
        let room = end.saturating_sub(begin);
        let lines = wrapped(&pane.lines, screen.width);
        let height = (lines.len() + 1).min(room / 2 + room % 2).max(room.min(2));
        let top = end - height;
        let shown = height.saturating_sub(1);
        pane.scroll = pane.scroll.min(lines.len().saturating_sub(shown));
        let below = lines.len().saturating_sub(pane.scroll + shown);
        let more = if below > 0 {
            format!(" ({below} lines more: Down)")
        } else {
            String::new()
        };
        let title = format!("── {}{more} ", pane.title);
        let rule = "─".repeat(screen.width);
        screen.put(top, 0, &rule, screen.width, screen.faint());
        screen.put(top, 0, &title, screen.width, screen.bold());
        for (number, text) in lines.iter().skip(pane.scroll).take(shown).enumerate() {
            screen.put(top + 1 + number, 0, text, screen.width, Style::new());
        }
        top
    }

    /// The table from line `begin` to `end`.
    fn draw_table(&mut self, screen: &mut Screen<'_>, begin: usize, end: usize) {
        let Some(room) = end.checked_sub(begin + 1) else {
            return;
        };
        self.room = room.max(1);
        self.first = self.first.min(self.selected);
        if self.selected >= self.first + self.room {
            self.first = self.selected + 1 - self.room;
        }
        // No empty space below where there are rows above.
        self.first = self.first.min(self.rows().saturating_sub(self.room));
        let columns = self.columns();
        let widths = widths(&columns, screen.width);
        let heads: Vec<String> = columns.iter().map(|column| column.head.to_owned()).collect();
        let bold = screen.bold();
        screen.row(begin, &columns, &widths, &heads, bold);
        let place = columns.iter().position(|column| column.head == PLACE);
        let cells = Cells::new(self, place.map_or(0, |place| widths[place]));
        for number in 0..room {
            let row = self.first + number;
            let (cells, state) = match self.mode {
                Mode::Groups => match self.group_rows.get(row) {
                    Some(group) => cells.group(*group),
                    None => break,
                },
                Mode::Tasks => match self.task_rows.get(row) {
                    Some(place) => cells.task(*place),
                    None => break,
                },
            };
            let mut style = match state {
                Some(TaskState::Running) => screen.running(),
                _ => Style::new(),
            };
            if row == self.selected {
                style = style.add_modifier(Modifier::REVERSED);
            }
            screen.row(begin + 1 + number, &columns, &widths, &cells, style);
        }
    }

    fn columns(&self) -> Vec<Column> {
        let mut columns = Vec::new();
        if self.snapshots.len() > 1 {
            columns.push(number("PID", 7));
        }
        match self.mode {
            Mode::Groups => columns.extend([
                number("TASKS", 6),
                number("CHANGE", 6),
                number("MINUTE", 6),
                fixed("STATE", 10),
                share(PLACE, 1),
                share("WAITS FOR", 1),
            ]),
            Mode::Tasks => columns.extend([
                fixed("STATE", 10),
                number("SINCE", 11),
                share("TASK", 2),
                share(PLACE, 3),
                share("WAITS FOR", 3),
            ]),
        }
        columns
    }
}

/// Makes the cells of rows.
struct Cells<'a> {
    top: &'a Top,
    /// The tasks of each process that there are rows of, by their ids.
    by_id: Vec<HashMap<Address, &'a Task>>,
    /// Columns for an await point.
    place_width: usize,
}

impl<'a> Cells<'a> {
    fn new(top: &'a Top, place_width: usize) -> Self {
        Self {
            top,
            place_width,
            by_id: top.snapshots.iter().map(by_id).collect(),
        }
    }

    fn known(&self, place: Place) -> Option<(&'a Snapshot, &'a Task, &HashMap<Address, &'a Task>)> {
        Some((
            place.process_of(&self.top.snapshots)?,
            place.task_of(&self.top.snapshots)?,
            self.by_id.get(place.process as usize)?,
        ))
    }

    /// The innermost frame of the program itself; where there is little room, without the folders that its file is in.
    fn place(&self, stack: &[crate::snapshot::Frame]) -> String {
        use unicode_width::UnicodeWidthStr as _;
        match why::place_of(stack) {
            None => "-".to_owned(),
            Some(place) if place.width() <= self.place_width => place,
            Some(place) => why::short_place_of(stack).unwrap_or(place),
        }
    }

    fn group(&self, position: usize) -> (Vec<String>, Option<TaskState>) {
        let Some(group) = self.top.groups.all.get(position) else {
            return (Vec::new(), None);
        };
        let mut cells = self.pid(group.key.pid);
        let first = group.members.first().and_then(|place| self.known(*place));
        let shown = group.members.iter().take(MAX_MEMBERS);
        let resources: Vec<_> = shown
            .filter_map(|place| {
                place
                    .task_of(&self.top.snapshots)?
                    .waits_on
                    .as_ref()?
                    .resource
                    .as_deref()
            })
            .collect();
        let waits_for = first.map(|(_, task, by_id)| match group.members.len() {
            1 => table::waits_for(task, by_id),
            _ => match waits::describe(&resources, by_id) {
                Some(text) => task
                    .waits_on
                    .as_ref()
                    .map_or_else(|| text.clone(), |on| waits::with_outcome(text.clone(), on)),
                None => task
                    .waits_on
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |on| fitted(&on.type_name, 60)),
            },
        });
        cells.extend([
            group.members.len().to_string(),
            signed(group.change),
            signed(group.minute),
            group.key.state.to_owned(),
            self.place(&group.key.stack),
            waits_for.unwrap_or_default(),
        ]);
        (cells, first.map(|(_, task, _)| task.state))
    }

    fn task(&self, place: Place) -> (Vec<String>, Option<TaskState>) {
        let Some((snapshot, task, by_id)) = self.known(place) else {
            return (Vec::new(), None);
        };
        let mut cells = self.pid(snapshot.pid);
        let since = self.top.seen.since(task, snapshot);
        cells.extend([
            state_word(task).to_owned(),
            since.map_or_else(|| "-".to_owned(), Since::text),
            names::name(task),
            self.place(&task.stack),
            table::waits_for(task, by_id),
        ]);
        (cells, Some(task.state))
    }

    fn pid(&self, pid: u32) -> Vec<String> {
        if self.top.snapshots.len() > 1 {
            vec![pid.to_string()]
        } else {
            Vec::new()
        }
    }
}

/// `+3`, `-3`, and nothing where nothing has changed; `?` where it is not known.
fn signed(change: Option<i64>) -> String {
    match change {
        None => "?".to_owned(),
        Some(0) => "·".to_owned(),
        Some(change) => format!("{change:+}"),
    }
}

/// `12 ms`, `1.2 s`.
pub(super) fn brief(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

/// The end of a text that is being typed, escaped.
fn fitted_end(text: &str, width: usize) -> String {
    let escaped = Escaped(text).to_string();
    let skipped = escaped.chars().count().saturating_sub(width);
    escaped.chars().skip(skipped).collect()
}

/// Lines that are escaped yet, broken where they are too long, between words if there are any.
fn wrapped(lines: &[String], width: usize) -> Vec<String> {
    use unicode_width::UnicodeWidthChar as _;
    let width = width.max(8);
    let mut all = Vec::new();
    for line in lines {
        let mut current = String::new();
        let mut used = 0;
        for character in line.chars() {
            let columns = character.width().unwrap_or(0);
            if used + columns > width {
                let indent = "    ";
                let (head, rest) = match current.rsplit_once(' ') {
                    Some((head, rest)) if !head.trim().is_empty() && rest.len() < width / 2 => {
                        (head.to_owned(), rest.to_owned())
                    }
                    _ => (current.clone(), String::new()),
                };
                all.push(head);
                current = format!("{indent}{rest}");
                used = current.chars().map(|it| it.width().unwrap_or(0)).sum();
            }
            current.push(character);
            used += columns;
        }
        all.push(current);
    }
    all
}

/// The widths of columns on a screen.
fn widths(columns: &[Column], width: usize) -> Vec<usize> {
    let mut free = width.saturating_sub(GAP * columns.len().saturating_sub(1));
    let mut shares = 0;
    for column in columns {
        match column.width {
            Width::Fixed(width) => free = free.saturating_sub(width),
            Width::Share(share) => shares += share,
        }
    }
    let given = |column: &Column| match column.width {
        Width::Fixed(width) => width,
        Width::Share(share) => free * share / shares.max(1),
    };
    columns.iter().map(given).collect()
}

/// Where it is drawn.
struct Screen<'a> {
    buffer: &'a mut Buffer,
    width: usize,
    is_coloured: bool,
}

impl Screen<'_> {
    /// Puts text, which is escaped and is cut where it is too long.
    fn put(&mut self, line: usize, column: usize, text: &str, width: usize, style: Style) {
        let area = self.buffer.area;
        let (Ok(x), Ok(y)) = (u16::try_from(column), u16::try_from(line)) else {
            return;
        };
        let width = width.min(usize::from(area.width).saturating_sub(column));
        if y >= area.height || width == 0 {
            return;
        }
        self.buffer
            .set_stringn(area.x + x, area.y + y, text, width, style);
    }

    /// Puts the cells of a row; each is escaped, and cut where it is too long.
    fn row(&mut self, line: usize, columns: &[Column], widths: &[usize], cells: &[String], style: Style) {
        let area = self.buffer.area;
        if let Ok(y) = u16::try_from(line)
            && y < area.height
        {
            self.buffer
                .set_style(Rect::new(area.x, area.y + y, area.width, 1), style);
        }
        let mut x = 0;
        for ((column, &width), cell) in columns.iter().zip(widths).zip(cells) {
            let cell = cut(cell, width);
            let used = unicode_width::UnicodeWidthStr::width(cell.as_str());
            let indent = if column.is_right {
                width.saturating_sub(used)
            } else {
                0
            };
            self.put(line, x + indent, &cell, width - indent, style);
            x += width + GAP;
        }
    }

    fn bold(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn faint(&self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn warning(&self) -> Style {
        if self.is_coloured {
            Style::new().fg(Color::Yellow)
        } else {
            self.bold()
        }
    }

    fn running(&self) -> Style {
        if self.is_coloured {
            Style::new().fg(Color::Green)
        } else {
            self.bold()
        }
    }
}

/// Text that is escaped yet, cut to a width, with `…` at its end where something is left out.
fn cut(text: &str, width: usize) -> String {
    use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};
    if text.width() <= width {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut used = 0;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used >= width {
            break;
        }
        shown.push(character);
    }
    if width > 0 {
        shown.push('…');
    }
    shown
}
