//! Core files in place of processes.

use super::args::CoreArgs;
use super::config;
use super::diagnostics::tell;
use crate::core_file::Places;
use crate::privileges;
use crate::session::{self, Options, PostMortem};
use crate::snapshot::Snapshot;
use crate::view::escape::Escaped;

/// Signals whose names are told; they are the same on every Linux of x86-64 (signal(7)).
const SIGNALS: [(u32, &str); 9] = [
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (11, "SIGSEGV"),
    (24, "SIGXCPU"),
];

/// The snapshot of a process that a core file is of; `None` where no core file was named. Says besides how the process ended.
pub(super) fn snapshot(args: &CoreArgs, options: &Options) -> anyhow::Result<Option<Snapshot>> {
    let Some(path) = &args.core else {
        // Said by hand: to clap, what a process stands in for is not missing.
        return match (&args.exe, &args.sysroot) {
            (None, None) => Ok(None),
            _ => Err(config::Error::NoCore.into()),
        };
    };
    let places = Places {
        executable: args.exe.clone(),
        root: args.sysroot.clone(),
    };
    // What it leads to is read with the user's own rights.
    privileges::nothing();
    let PostMortem {
        snapshot,
        signal,
        lack,
    } = session::post_mortem(path, &places, options)?;
    match signal {
        Some(signal) => tell(format_args!(
            "The process was ended by signal {}.",
            name_of(signal)
        )),
        None => tell(format_args!("The process went on when its memory was copied.")),
    }
    if !lack.is_nothing() {
        // It has paths from the file.
        tell(format_args!(
            "Not all can be told: {}.",
            Escaped(&lack.to_string())
        ));
    }
    Ok(Some(snapshot))
}

fn name_of(signal: u32) -> String {
    let known = SIGNALS.iter().find(|(number, _)| *number == signal);
    known.map_or_else(
        || signal.to_string(),
        |(number, name)| format!("{number} ({name})"),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::cli::config::Error;
    use crate::cli::exit::Exit;

    fn options() -> Options {
        Options {
            budget: Duration::ZERO,
            max_frames: 8,
            mine: [].into(),
            arguments: false,
            slow: Duration::MAX,
            ring_bytes: 4096,
        }
    }

    #[test]
    fn what_is_about_a_core_file_needs_one() {
        let args = CoreArgs {
            exe: Some(Path::new("python3").to_owned()),
            ..CoreArgs::default()
        };
        let error = snapshot(&args, &options()).expect_err("there is none");
        assert_eq!(error.downcast_ref(), Some(&Error::NoCore));
    }

    #[test]
    fn a_core_file_that_is_none_is_no_target() {
        let path = Path::new("/nonexistent/core");
        let opened = session::post_mortem(path, &Places::default(), &options());
        let error = opened.err().expect("there is none");
        assert_eq!(Exit::of(&error.into()), Exit::Target);
    }

    #[test]
    fn signals_are_called_by_their_names() {
        assert_eq!(
            (name_of(11), name_of(42)),
            ("11 (SIGSEGV)".to_owned(), "42".to_owned())
        );
    }
}
