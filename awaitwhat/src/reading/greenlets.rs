//! Where a chain has gone through a greenlet: coroutines whose library runs plain functions on another stack, which calls coroutines again.
//!
//! Such a coroutine awaits on behalf of the greenlet that it has begun. That has given up its turn, and its stack is kept in the greenlet's own way: its frames
//! are not read. So that nobody takes the coroutine for the caller of what it awaits, their place is marked.
//!
//! Facts: `greenlet_spawn` (`sqlalchemy/util/concurrency.py`, until 2.0 `_concurrency_py3k.py`), `_greenback_shim` (`greenback/_impl.py`).

use crate::snapshot::Frame;

/// What the coroutines are called, and the endings of their files.
const DRIVERS: [(&str, &str); 3] = [
    ("greenlet_spawn", "sqlalchemy/util/concurrency.py"),
    ("greenlet_spawn", "sqlalchemy/util/_concurrency_py3k.py"),
    ("_greenback_shim", "greenback/_impl.py"),
];

/// Marks in the stack of a suspended task, innermost first, where frames of greenlets are missing.
pub fn mark(stack: &mut Vec<Frame>) {
    for at in (0..stack.len()).rev() {
        if stack.get(at).is_some_and(is_driver) {
            stack.insert(at, Frame::of_greenlet());
        }
    }
}

fn is_driver(frame: &Frame) -> bool {
    DRIVERS
        .iter()
        .any(|(function, file)| &*frame.function == *function && frame.file.ends_with(file))
}

#[cfg(test)]
mod tests {
    use super::mark;
    use crate::testing::frame;

    #[test]
    fn frames_of_greenlets_are_marked_below_what_drives_them() {
        let driver = || {
            frame(
                "greenlet_spawn",
                "/venv/site-packages/sqlalchemy/util/concurrency.py",
                209,
            )
        };
        let plain = |name| frame(name, "/srv/app.py", 1);
        let mut stack = vec![plain("query"), driver(), plain("job"), driver()];
        mark(&mut stack);
        let names: Vec<&str> = stack.iter().map(|it| &*it.function).collect();
        let gap = "… frames of a greenlet …";
        assert_eq!(
            names,
            ["query", gap, "greenlet_spawn", "job", gap, "greenlet_spawn"]
        );
        let mut own = vec![plain("query"), plain("greenlet_spawn")];
        mark(&mut own);
        assert_eq!(own.len(), 2);
    }
}
