//! `top`: the screen, until `q`, Ctrl-C or a signal.

use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::SIGINT;
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::sleep_until;

use super::args::{GlobalArgs, TopArgs};
use super::config;
use super::exit::Exit;
use super::signals::{Interrupted, Signals};
use super::terminal::{self, NoScreen, Taken};
use crate::privileges::{self, Set};
use crate::session::{self, Look, Looks};
use crate::view::top::{Key, Reaction, Settings, Top};

/// Events of the terminal that wait to be taken.
const MAX_EVENTS: usize = 64;
/// From the end of a look to the next one it takes so many times as long as the look took, at least: where there are very many tasks, looking at
/// them must not take all of a processor.
const REST: u32 = 2;

/// Why it is over.
enum Ended {
    ByUser,
    BySignal(i32),
}

pub(super) async fn run(args: &TopArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    let (options, every) = config::top(args, global)?;
    let selection = config::selection(&args.selection, &args.processes)?;
    terminal::check()?;
    let settings = Settings {
        max_frames: options.max_frames,
        is_coloured: super::people_choice() != anstream::ColorChoice::Never,
        every,
    };
    privileges::only_read(Set::empty());
    let mut looks = Looks::begin(selection, options)?;
    privileges::nothing();
    let mut signals = Signals::catch()?;
    looks.ask();
    // What cannot be looked at at all is said as `ps` says it.
    let first = tokio::select! {
        first = looks.found() => first?,
        signal = signals.received() => return over(Ended::BySignal(signal), false),
    };
    let screen = Taken::take()?;
    let mut watching = Watching {
        top: Top::new(settings, args.filter.clone()),
        looks,
        events: events()?,
        signals,
        screen,
        next: Some(Instant::now()),
        every,
        is_gone: false,
    };
    watching.take(first);
    let ended = watching.go_on().await;
    let Watching { screen, is_gone, .. } = watching;
    drop(screen);
    over(ended?, is_gone)
}

fn over(how: Ended, is_gone: bool) -> anyhow::Result<Exit> {
    match how {
        Ended::ByUser | Ended::BySignal(SIGINT) if is_gone => Ok(Exit::TargetExited),
        Ended::ByUser | Ended::BySignal(SIGINT) => Ok(Exit::Ok),
        Ended::BySignal(signal) => Err(Interrupted(signal).into()),
    }
}

struct Watching {
    top: Top,
    looks: Looks,
    events: Receiver<Event>,
    signals: Signals,
    screen: Taken,
    /// When the next look is due; `None` while one is under way.
    next: Option<Instant>,
    every: Duration,
    /// Nothing is left to look at.
    is_gone: bool,
}

impl Watching {
    async fn go_on(&mut self) -> anyhow::Result<Ended> {
        loop {
            self.screen.terminal.draw(|frame| self.top.draw(frame))?;
            let due = self.next.filter(|_| !self.top.is_resting());
            tokio::select! {
                signal = self.signals.received() => return Ok(Ended::BySignal(signal)),
                event = self.events.recv() => match event {
                    Some(event) => if self.event(&event)? == Reaction::Leave {
                        return Ok(Ended::ByUser);
                    },
                    // The terminal is not there any more.
                    None => return Ok(Ended::ByUser),
                },
                found = self.looks.found() => match found {
                    Ok(found) => self.take(found),
                    Err(error @ (session::Error::Target { .. } | session::Error::Nothing { .. })) => {
                        self.is_gone = true;
                        self.top.end(ended_with(&error));
                    }
                    Err(error) => return Err(error.into()),
                },
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                    self.next = None;
                    self.looks.ask();
                }
            }
        }
    }

    fn take(&mut self, found: Look) {
        let pause = self.every.saturating_sub(found.took).max(found.took * REST);
        self.next = Some(Instant::now() + pause);
        self.top.look(found.survey, found.took);
    }

    fn event(&mut self, event: &Event) -> Result<Reaction, NoScreen> {
        Ok(match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => match wish_of(*key) {
                Some(Wish::Leave) => Reaction::Leave,
                Some(Wish::Suspend) => {
                    self.screen.suspend()?;
                    Reaction::Stay
                }
                Some(Wish::Key(key)) => self.top.key(key),
                None => Reaction::Stay,
            },
            // Whatever else has happened, the screen is drawn anew.
            _ => Reaction::Stay,
        })
    }
}

/// Why nothing more will come, on one line.
fn ended_with(error: &session::Error) -> String {
    match error {
        session::Error::Target { pid, .. } => format!("Process {pid} has ended, or cannot be read any more."),
        _ => "Nothing is left to look at.".to_owned(),
    }
}

/// What a key is for: the terminal acts on none of them by itself.
enum Wish {
    Leave,
    Suspend,
    Key(Key),
}

/// What a key is for; `None` where it is for nothing.
fn wish_of(key: KeyEvent) -> Option<Wish> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(Wish::Key(match key.code {
        KeyCode::Char('c') if is_control => return Some(Wish::Leave),
        KeyCode::Char('z') if is_control => return Some(Wish::Suspend),
        KeyCode::Char(_)
            if key
                .modifiers
                .intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) =>
        {
            return None;
        }
        KeyCode::Char(character) => Key::Character(character),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab | KeyCode::BackTab => Key::Tab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    }))
}

/// Takes what comes of the terminal in a thread of its own, which ends with this process, or when the terminal does.
fn events() -> anyhow::Result<Receiver<Event>> {
    let (sender, receiver) = mpsc::channel(MAX_EVENTS);
    thread::Builder::new()
        .name("terminal".to_owned())
        .spawn(move || {
            while let Ok(event) = event::read() {
                if sender.blocking_send(event).is_err() {
                    return;
                }
            }
        })?;
    Ok(receiver)
}
