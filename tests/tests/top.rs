//! `awaitwhat top` in a terminal: tmux has the screen, and tells what is on it.

use std::fs;
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use awaitwhat_tests::environment::{self, Python};
use awaitwhat_tests::processes::{children_with, wait_for_end, wait_until};
use awaitwhat_tests::target::Target;
use awaitwhat_tests::tool;
use awaitwhat_tests::trials::{self, trial};
use libtest_mimic::Trial;

/// One is enough: what is on the screen is tested without a terminal.
const VERSION: &str = "3.12";
/// What the shell says before each command.
const PROMPT: &str = "ask> ";

type Check = fn(&Python) -> anyhow::Result<()>;

const CHECKS: [(&str, Check); 6] = [
    ("is_left_as_it_was", is_left_as_it_was),
    (
        "hostile_names_stay_in_their_cells",
        hostile_names_stay_in_their_cells,
    ),
    ("signals_give_the_terminal_back", signals_give_the_terminal_back),
    ("is_stopped_and_goes_on", is_stopped_and_goes_on),
    ("what_was_seen_last_stays", what_was_seen_last_stays),
    ("says_where_it_cannot_draw", says_where_it_cannot_draw),
];

fn main() -> anyhow::Result<()> {
    trials::run("top", list)
}

fn list() -> anyhow::Result<Vec<Trial>> {
    let pythons = environment::release_pythons()?;
    let of_version = pythons.into_iter().filter(|python| python.label == VERSION);
    let trials = of_version.flat_map(|python| {
        CHECKS.map(|(name, check)| {
            let python = python.clone();
            trial(format!("{VERSION}::{name}"), move || check(&python))
        })
    });
    Ok(trials.collect())
}

/// A terminal of tmux with a shell in it. It has a server of its own, which ends with it.
struct Terminal {
    socket: String,
    folder: tempfile::TempDir,
}

impl Terminal {
    fn start(width: u32, height: u32) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let terminal = Self {
            socket: folder.path().join("tmux").display().to_string(),
            folder,
        };
        let (width, height) = (width.to_string(), height.to_string());
        let shell = format!("exec env PS1='{PROMPT}' PATH=\"$PATH\" sh");
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &width,
            "-y",
            &height,
            &shell,
        ])?;
        terminal.wait_for("a prompt", |screen| screen.contains(PROMPT.trim_end()))?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new("tmux")
            .args(["-u", "-S", &self.socket])
            .args(arguments)
            .env_remove("TMUX")
            .output()
            .context("tmux cannot be started")?;
        ensure!(
            status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&stderr)
        );
        Ok(String::from_utf8(stdout)?)
    }

    fn screen(&self) -> anyhow::Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Types text as it is.
    fn types(&self, text: &str) -> anyhow::Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(|_| ())
    }

    fn press(&self, keys: &[&str]) -> anyhow::Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(|_| ())
    }

    /// Has the shell do something.
    fn run(&self, line: &str) -> anyhow::Result<()> {
        self.types(line)?;
        self.press(&["Enter"])
    }

    fn wait_for(&self, what: &str, is_there: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let mut screen = String::new();
        wait_until(what, || {
            screen = self.screen()?;
            Ok(is_there(&screen))
        })
        .with_context(|| format!("on the screen:\n{}", self.screen().unwrap_or_default()))?;
        Ok(screen)
    }

    /// How the terminal is set, and what tmux knows of its screen.
    fn settings(&self, name: &str) -> anyhow::Result<String> {
        let file = self.folder.path().join(name);
        self.run(&format!("stty -g > {0}.part; mv {0}.part {0}", file.display()))?;
        wait_until("the settings of the terminal", || Ok(file.exists()))?;
        let state = self.tmux(&[
            "display-message",
            "-p",
            "#{alternate_on} #{cursor_flag} #{mouse_any_flag}",
        ])?;
        Ok(fs::read_to_string(file)? + &state)
    }

    /// Has the shell start `top`, and say how it has ended. Waits until there is a table.
    fn top(&self, pid: u32) -> anyhow::Result<()> {
        let program = environment::program()?;
        self.run(&format!(
            "{} top --every 0.2 {pid}; echo left $?",
            program.display()
        ))?;
        self.wait_for("a table", |screen| {
            screen.contains("AWAIT POINT") && screen.contains("q quit")
        })?;
        Ok(())
    }

    /// Waits until `top` has left with this code, and the screen is what it was before.
    fn is_left(&self, code: i32, before: &str) -> anyhow::Result<()> {
        let left = format!("left {code}");
        let screen = self.wait_for(&left, |screen| screen.lines().any(|line| line == left))?;
        ensure!(screen.contains("seen before"), "the screen is gone:\n{screen}");
        ensure!(!screen.contains("AWAIT POINT"), "the table stays:\n{screen}");
        let after = self.settings("after")?;
        ensure!(after == before, "{after:?} was {before:?}");
        Ok(())
    }

    /// The process that draws.
    fn drawing(&self) -> anyhow::Result<u32> {
        let shell: u32 = self
            .tmux(&["display-message", "-p", "#{pane_pid}"])?
            .trim()
            .parse()?;
        let children = children_with(shell, "top")?;
        children.first().copied().context("nothing draws")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended where that fails.
        let _ = self.tmux(&["kill-server"]);
    }
}

/// A terminal on whose screen there is something yet, and its settings.
fn used_terminal(width: u32, height: u32) -> anyhow::Result<(Terminal, String)> {
    let terminal = Terminal::start(width, height)?;
    terminal.run("echo seen before")?;
    terminal.wait_for("what was seen before", |screen| {
        screen.lines().any(|line| line == "seen before")
    })?;
    let before = terminal.settings("before")?;
    Ok((terminal, before))
}

fn is_left_as_it_was(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "named_waits.py", &[])?;
    let (terminal, before) = used_terminal(80, 24)?;
    terminal.top(target.pid)?;
    terminal.press(&["Tab"])?;
    let narrow = terminal.wait_for("tasks", |screen| screen.contains("SINCE"))?;
    ensure!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    terminal.press(&["Enter"])?;
    terminal.wait_for("an answer", |screen| screen.contains("── Why"))?;
    terminal.tmux(&["resize-window", "-x", "200", "-y", "50"])?;
    terminal.wait_for("a larger screen", |screen| {
        let last = screen.lines().nth(49);
        last.is_some_and(|line| line.starts_with("q quit")) && screen.contains("── Why")
    })?;
    terminal.press(&["Escape"])?;
    terminal.wait_for("the table alone", |screen| !screen.contains("── Why"))?;
    terminal.types("/sleep")?;
    terminal.press(&["Enter"])?;
    terminal.wait_for("a filter", |screen| screen.contains("\"sleep\""))?;
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"])?;
    terminal.wait_for("a smaller screen", |screen| {
        screen
            .lines()
            .nth(23)
            .is_some_and(|line| line.starts_with("q quit"))
    })?;
    terminal.types("q")?;
    terminal.is_left(0, &before)
}

fn hostile_names_stay_in_their_cells(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "hostile_text.py", &[])?;
    let (terminal, before) = used_terminal(200, 50)?;
    let title = terminal.tmux(&["display-message", "-p", "#{pane_title}"])?;
    terminal.top(target.pid)?;
    terminal.wait_for("an escaped function", |screen| {
        screen.contains(r"evil\x1b]0;title\x07")
    })?;
    terminal.press(&["Tab"])?;
    let screen = terminal.wait_for("an escaped name", |screen| screen.contains(r"\x1b[2J\x07\x9b1m"))?;
    let line = |number: usize| screen.lines().nth(number).unwrap_or_default();
    ensure!(
        line(0).contains("CPython 3.12") && line(49).starts_with("q quit"),
        "{screen}"
    );
    ensure!(
        terminal.tmux(&["display-message", "-p", "#{pane_title}"])? == title,
        "a name set the title"
    );
    terminal.press(&["C-c"])?;
    terminal.is_left(0, &before)
}

fn is_stopped_and_goes_on(python: &Python) -> anyhow::Result<()> {
    /// What a shell says of a process that SIGSTOP has stopped.
    const STOPPED: i32 = 128 + 19;

    let target = Target::start::<&str>(python, "named_waits.py", &[])?;
    let (terminal, before) = used_terminal(80, 24)?;
    terminal.top(target.pid)?;
    terminal.press(&["C-z"])?;
    terminal.is_left(STOPPED, &before)?;
    terminal.run("fg; echo left $?")?;
    terminal.wait_for("the table again", |screen| {
        screen.contains("AWAIT POINT") && screen.contains("q quit")
    })?;
    terminal.types("q")?;
    terminal.is_left(0, &before)
}

fn signals_give_the_terminal_back(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "named_waits.py", &[])?;
    for (signal, number) in [("TERM", 15), ("HUP", 1)] {
        let (terminal, before) = used_terminal(80, 24)?;
        terminal.top(target.pid)?;
        let pid = terminal.drawing()?;
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &pid.to_string()])
            .status()?;
        ensure!(sent.success(), "it has ended by itself");
        wait_for_end(pid)?;
        terminal.is_left(128 + number, &before).context(signal)?;
    }
    Ok(())
}

fn what_was_seen_last_stays(python: &Python) -> anyhow::Result<()> {
    let mut target = Target::start::<&str>(python, "named_waits.py", &[])?;
    let (terminal, before) = used_terminal(80, 24)?;
    terminal.top(target.pid)?;
    target.kill()?;
    let screen = terminal.wait_for("the end", |screen| screen.contains("has ended"))?;
    ensure!(
        screen.contains("AWAIT POINT") && screen.contains("pending"),
        "{screen}"
    );
    terminal.types("q")?;
    terminal.is_left(5, &before)
}

fn says_where_it_cannot_draw(python: &Python) -> anyhow::Result<()> {
    let target = Target::start::<&str>(python, "named_waits.py", &[])?;
    let outcome = tool::run(&["top", &target.pid.to_string()])?;
    ensure!(outcome.code() == Some(1), "{outcome:?}");
    ensure!(
        outcome.stderr.contains("ps --watch") && outcome.stdout.is_empty(),
        "{outcome:?}"
    );
    let (terminal, before) = used_terminal(80, 24)?;
    let program = environment::program()?;
    terminal.run(&format!(
        "TERM=dumb {} top {}; echo left $?",
        program.display(),
        target.pid
    ))?;
    terminal.wait_for("what to do instead", |screen| screen.contains("ps --watch"))?;
    terminal.is_left(1, &before)
}
