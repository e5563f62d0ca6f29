//! The terminal as a whole: taken for a while, and given back as it was, whatever happens.

use std::io::{self, IsTerminal as _, Stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::prelude::CrosstermBackend;
use signal_hook::consts::SIGTSTP;

/// Why there is no screen to draw on.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoScreen {
    #[error(
        "`top` draws on a terminal, and standard output is none: `awaitwhat ps --watch` writes one table after the other"
    )]
    NoTerminal,
    #[error(
        "`top` draws on the whole screen, and this terminal (TERM={0}) cannot be told where: use `awaitwhat ps --watch`"
    )]
    Dumb(String),
    #[error("the terminal cannot be switched to single keys: use `awaitwhat ps --watch`")]
    Failed(#[source] io::Error),
}

/// Whether the terminal has to be given back.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// The terminal, which is given back when this is dropped, and before a panic is reported.
pub(super) struct Taken {
    pub(super) terminal: ratatui::Terminal<CrosstermBackend<Stdout>>,
}

/// Makes sure that there is a screen to draw on.
pub(super) fn check() -> Result<(), NoScreen> {
    if !io::stdout().is_terminal() {
        return Err(NoScreen::NoTerminal);
    }
    let kind = std::env::var("TERM").unwrap_or_default();
    if kind.is_empty() || kind == "dumb" {
        return Err(NoScreen::Dumb(kind));
    }
    Ok(())
}

impl Taken {
    /// Takes the terminal.
    pub(super) fn take() -> Result<Self, NoScreen> {
        HOOK.call_once(|| {
            let next = panic::take_hook();
            panic::set_hook(Box::new(move |about| {
                give_back();
                next(about);
            }));
        });
        match screen() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(NoScreen::Failed(error))
            }
        }
    }

    /// Gives the terminal back and stops, as other programs do on Ctrl-Z; takes it again when somebody lets this one go on.
    pub(super) fn suspend(&mut self) -> Result<(), NoScreen> {
        give_back();
        let stopped = signal_hook::low_level::emulate_default_handler(SIGTSTP);
        // What was on the former screen has gone with it.
        self.terminal = stopped.and_then(|()| screen()).map_err(NoScreen::Failed)?;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

/// Switches the terminal to single keys, and to a screen of its own on which there is nothing yet.
fn screen() -> io::Result<ratatui::Terminal<CrosstermBackend<Stdout>>> {
    IS_TAKEN.store(true, Ordering::SeqCst);
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, Hide)?;
    ratatui::Terminal::new(CrosstermBackend::new(io::stdout()))
}

/// Gives the terminal back, once.
fn give_back() {
    if !IS_TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // Nobody sees it where that fails: the terminal has gone.
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}
