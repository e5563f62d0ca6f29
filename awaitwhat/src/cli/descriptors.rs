//! The limit of open files: several targets take more than the usual 1,024.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit that this process was started with.
static FOUND: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit to the hard one, which every process may do.
pub(super) fn raise() {
    let found = *FOUND.get_or_init(|| getrlimit(Resource::Nofile));
    // Where that is not allowed, there is as much room as there was.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: found.maximum,
            ..found
        },
    );
}

/// Starts something under the limit that this process was started with, and not under its own: programs that use `select` rely on it.
pub(super) fn as_found<T>(start: impl FnOnce() -> T) -> T {
    let own = getrlimit(Resource::Nofile);
    if let Some(found) = FOUND.get() {
        // A lower limit closes nothing, and may be raised again.
        let _ = setrlimit(Resource::Nofile, *found);
    }
    let started = start();
    let _ = setrlimit(Resource::Nofile, own);
    started
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::{as_found, raise};

    #[test]
    fn what_is_started_has_the_limit_that_was_found() {
        let found = Rlimit {
            current: Some(900),
            ..getrlimit(Resource::Nofile)
        };
        setrlimit(Resource::Nofile, found).unwrap();
        raise();
        assert_eq!(getrlimit(Resource::Nofile).current, found.maximum);
        let mut shell = Command::new("sh");
        let output = as_found(|| shell.args(["-c", "ulimit -Sn"]).output()).unwrap();
        assert_eq!(output.stdout, b"900\n");
        assert_eq!(getrlimit(Resource::Nofile).current, found.maximum);
    }
}
