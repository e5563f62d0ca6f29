//! A hint for whoever names a process without tasks whose children have some.

use super::diagnostics::tell;
use crate::selection::Selection;
use crate::session::{self, Child, Options};
use crate::view::escape::fitted;

/// Children that are named.
const MAX_NAMED: usize = 4;
/// Columns that a process's name may take.
const COMMAND_WIDTH: usize = 40;

/// Says of `pids`, which were named and have no tasks, which of their children run event loops, unless these are looked at anyway.
pub(super) fn hint(pids: impl IntoIterator<Item = u32>, selection: &Selection, options: &Options) {
    if selection.subprocesses {
        return;
    }
    for pid in pids.into_iter().filter(|pid| selection.pids.contains(pid)) {
        // It is a hint only: whatever is in the way of it was said already, or is of no interest.
        if let Ok(children) = session::running_children(pid, options)
            && !children.is_empty()
        {
            tell(describe(pid, &children));
        }
    }
}

fn describe(pid: u32, children: &[Child]) -> String {
    let named = children.iter().take(MAX_NAMED).map(|child| {
        let command = fitted(&child.command, COMMAND_WIDTH);
        format!("{} ({command})", child.pid)
    });
    let mut named = named.collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = children.len().checked_sub(MAX_NAMED) {
        named += &format!(", and {more} more");
    }
    let verb = if children.len() == 1 {
        "its child runs an event loop"
    } else {
        "children of it run event loops"
    };
    format!("Process {pid} has no tasks itself; {verb}: {named}. --subprocesses looks at them, too.")
}

#[cfg(test)]
mod tests {
    use super::describe;
    use crate::session::Child;
    use crate::testing::HOSTILE;

    fn children(count: u32) -> Vec<Child> {
        let child = |pid| Child {
            pid,
            command: "python3".to_owned(),
        };
        (1..=count).map(child).collect()
    }

    #[test]
    fn children_are_named() {
        insta::assert_snapshot!(describe(9, &children(1)), @"Process 9 has no tasks itself; its child runs an event loop: 1 (python3). --subprocesses looks at them, too.");
        insta::assert_snapshot!(describe(9, &children(6)), @"Process 9 has no tasks itself; children of it run event loops: 1 (python3), 2 (python3), 3 (python3), 4 (python3), and 2 more. --subprocesses looks at them, too.");
        let mut hostile = children(1);
        hostile[0].command = HOSTILE.to_owned();
        assert!(!describe(9, &hostile).contains('\x1b'));
    }
}
