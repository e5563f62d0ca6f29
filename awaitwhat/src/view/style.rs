//! The few styles that views use. Whether they reach the user is decided by the stream (`--color`, `NO_COLOR`, terminal or not).

use std::fmt;

use anstyle::{AnsiColor, Style};

/// Headings.
pub const HEADING: Style = Style::new().bold();
/// Names of tasks.
pub const TASK: Style = AnsiColor::Cyan.on_default().bold();
/// Files, lines, and everything that frames the content.
pub const FAINT: Style = Style::new().dimmed();
/// Tasks that run.
pub const RUNNING: Style = AnsiColor::Green.on_default();
/// Cycles, losses, truncation.
pub const WARNING: Style = AnsiColor::Yellow.on_default();
/// What is missing.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Shows `content` in `style`.
pub fn styled(style: Style, content: impl fmt::Display) -> impl fmt::Display {
    Styled { style, content }
}

struct Styled<T> {
    style: Style,
    content: T,
}

impl<T: fmt::Display> fmt::Display for Styled<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}{}{}",
            self.style.render(),
            self.content,
            self.style.render_reset()
        )
    }
}
