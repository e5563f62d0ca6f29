//! `ps --watch`: one snapshot after the other, until Ctrl-C. On a terminal each one takes the place of the one before.

use std::io::{self, Write};
use std::time::Duration;

use signal_hook::consts::SIGINT;
use unicode_width::UnicodeWidthStr as _;

use super::diagnostics::{complain, tell};
use super::exit::Exit;
use super::people_stdout;
use super::signals::{Interrupted, Signals};
use super::snapshot::show_table;
use crate::privileges::{self, Set};
use crate::selection::Selection;
use crate::session::{self, Options, Watcher};
use crate::snapshot::Snapshot;
use crate::survey::Survey;
use crate::view::table::{Rows, Seen};

/// To another screen, without a cursor; and back.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l";
const END: &str = "\x1b[?25h\x1b[?1049l";
/// To the first place; what follows on a line; and what follows below.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST: &str = "\x1b[J";

/// Another screen of the terminal, which is left whatever happens.
struct Screen;

impl Screen {
    fn begin() -> io::Result<Self> {
        let screen = Self;
        let mut stdout = io::stdout().lock();
        stdout.write_all(BEGIN.as_bytes())?;
        stdout.flush()?;
        Ok(screen)
    }

    /// Shows as many of the lines as there is room for.
    fn show(&self, text: &str, (width, height): (usize, usize)) -> io::Result<()> {
        let mut screen = HOME.to_owned();
        let (shown, left) = fitting(text, width, height);
        for line in shown {
            screen += &format!("{line}{REST_OF_LINE}\r\n");
        }
        if left > 0 {
            screen += &format!("… and {left} lines more{REST_OF_LINE}\r\n");
        }
        screen += REST;
        let mut stdout = io::stdout().lock();
        stdout.write_all(screen.as_bytes())?;
        stdout.flush()
    }
}

/// The lines of a text that a screen has room for, with one to say how many are left and one below all; and how many these are.
fn fitting(text: &str, width: usize, height: usize) -> (Vec<&str>, usize) {
    let rows = |line: &str| {
        let plain = anstream::adapter::strip_str(line).to_string();
        plain.width().div_ceil(width.max(1)).max(1)
    };
    let lines: Vec<&str> = text.lines().collect();
    let all: usize = lines.iter().map(|line| rows(line)).sum();
    let mut room = height.saturating_sub(1);
    if all > room {
        room = room.saturating_sub(1);
    }
    let mut shown = Vec::new();
    for line in &lines {
        let Some(rest) = room.checked_sub(rows(line)) else {
            break;
        };
        room = rest;
        shown.push(*line);
    }
    let left = lines.len() - shown.len();
    (shown, left)
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut stdout = io::stdout().lock();
        // Nobody sees it where that fails.
        let _ = stdout.write_all(END.as_bytes()).and_then(|()| stdout.flush());
    }
}

/// Why it is over.
enum Ended {
    BySignal(i32),
    /// Nothing is left to look at.
    Gone(session::Error),
}

pub(super) async fn run(
    selection: &Selection,
    options: &Options,
    rows: &Rows,
    pause: Duration,
) -> anyhow::Result<Exit> {
    privileges::only_read(Set::empty());
    let mut watcher = Watcher::begin(selection, options)?;
    let mut signals = Signals::catch()?;
    // What cannot be looked at at all is said as `ps` says it.
    let first = tokio::select! {
        first = watcher.look() => first?,
        signal = signals.received() => return ended(Ended::BySignal(signal)),
    };
    let screen = super::stdout_size().map(|_| Screen::begin()).transpose()?;
    let watching = Watching {
        selection,
        options,
        rows,
        pause,
    };
    let result = watching
        .go_on(watcher, &mut signals, first, screen.as_ref())
        .await;
    drop(screen);
    privileges::nothing();
    ended(result?)
}

fn ended(how: Ended) -> anyhow::Result<Exit> {
    match how {
        Ended::BySignal(SIGINT) => Ok(Exit::Ok),
        Ended::BySignal(signal) => Err(Interrupted(signal).into()),
        Ended::Gone(error @ (session::Error::Target { .. } | session::Error::Nothing { .. })) => {
            tell(format_args!(
                "Nothing is left to look at: {:#}",
                anyhow::Error::from(error)
            ));
            Ok(Exit::TargetExited)
        }
        Ended::Gone(error) => Err(error.into()),
    }
}

struct Watching<'a> {
    selection: &'a Selection,
    options: &'a Options,
    rows: &'a Rows,
    pause: Duration,
}

impl Watching<'_> {
    async fn go_on(
        &self,
        mut watcher: Watcher<'_>,
        signals: &mut Signals,
        first: Survey<Snapshot>,
        screen: Option<&Screen>,
    ) -> anyhow::Result<Ended> {
        let mut seen = Seen::default();
        let mut found = first;
        let mut is_first = true;
        loop {
            seen.look(&found.targets);
            self.show(&found, &seen, screen, is_first)?;
            is_first = false;
            tokio::select! {
                () = tokio::time::sleep(self.pause) => {}
                signal = signals.received() => return Ok(Ended::BySignal(signal)),
            }
            found = tokio::select! {
                next = watcher.look() => match next {
                    Ok(next) => next,
                    Err(error) => return Ok(Ended::Gone(error)),
                },
                signal = signals.received() => return Ok(Ended::BySignal(signal)),
            };
        }
    }

    fn show(
        &self,
        found: &Survey<Snapshot>,
        seen: &Seen,
        screen: Option<&Screen>,
        is_first: bool,
    ) -> anyhow::Result<()> {
        let mut text = Vec::new();
        let single = self.selection.single().and(found.targets.first());
        if let Some(snapshot) = found.targets.first() {
            let every = self.pause.as_secs_f64();
            writeln!(text, "{:.0}, every {every} s", snapshot.captured_at)?;
        }
        show_table(found, single, self.rows, seen, self.options.max_frames, &mut text)?;
        let text = String::from_utf8_lossy(&text);
        match (screen, super::stdout_size()) {
            (Some(screen), Some(size)) => {
                // Whether colours are wanted is asked as of everything else.
                let mut styled = anstream::AutoStream::new(Vec::new(), super::people_choice());
                styled.write_all(text.as_bytes())?;
                screen.show(&String::from_utf8_lossy(&styled.into_inner()), size)?;
            }
            _ => {
                let mut stdout = people_stdout();
                if !is_first {
                    writeln!(stdout)?;
                }
                stdout.write_all(text.as_bytes())?;
                stdout.flush()?;
                complain(&found.refused);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::fitting;

    #[test]
    fn what_fits_is_shown_and_the_rest_is_counted() {
        let text = "one\ntwo\nthree\nfour";
        assert_eq!(fitting(text, 80, 5), (vec!["one", "two", "three", "four"], 0));
        assert_eq!(fitting(text, 80, 4), (vec!["one", "two"], 2));
        // A line that is too long takes two.
        assert_eq!(
            fitting("\x1b[31mabcdef\x1b[0m\nb\nc", 4, 5),
            (vec!["\x1b[31mabcdef\x1b[0m", "b", "c"], 0)
        );
        assert_eq!(fitting("abcdef\nb\nc", 4, 4), (vec!["abcdef"], 2));
        assert_eq!(fitting(text, 0, 0), (vec![], 4));
    }
}
