//! The lines that hold a tree together.

/// Which place an entry has among its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It has no parent, and is drawn without lines.
    Top,
    Middle,
    Last,
}

/// What is drawn before each line: it grows by one column of lines per level.
#[derive(Debug, Default)]
pub(super) struct Branches {
    indent: String,
    ends: Vec<usize>,
}

impl Branches {
    /// Levels entered.
    pub(super) fn depth(&self) -> usize {
        self.ends.len()
    }

    /// What comes before the first line of an entry.
    pub(super) fn before_entry(&self, place: Place) -> String {
        let branch = match place {
            Place::Top => "",
            Place::Middle => "├─ ",
            Place::Last => "└─ ",
        };
        format!("{}{branch}", self.indent)
    }

    /// The same, for an entry that is not waited for.
    pub(super) fn before_open_entry(&self, place: Place) -> String {
        let branch = match place {
            Place::Top => "",
            Place::Middle => "├╌ ",
            Place::Last => "└╌ ",
        };
        format!("{}{branch}", self.indent)
    }

    /// Goes down into the entry at `place`.
    pub(super) fn enter(&mut self, place: Place) {
        self.ends.push(self.indent.len());
        self.indent.push_str(match place {
            Place::Top => "",
            Place::Middle => "│  ",
            Place::Last => "   ",
        });
    }

    /// What comes before the further lines of the entry that was entered last.
    pub(super) fn before_line(&self, has_children: bool) -> String {
        format!("{}{}", self.indent, if has_children { "│  " } else { "   " })
    }

    /// Comes back up from the entry that was entered last.
    pub(super) fn leave(&mut self) {
        if let Some(end) = self.ends.pop() {
            self.indent.truncate(end);
        }
    }
}
