//! Exit codes: what scripts learn from a run.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use super::asked_task::NoSuchTask;
use super::output::NotWritten;
use super::program::NotStarted;
use super::recorded::WrongProcess;
use super::{config, diff};
use crate::{recording, session};

/// The part of `--help` that documents the codes.
pub const HELP: &str = "\
Exit codes:
  0  all went well
  1  something unexpected failed
  2  the command line is wrong
  3  the target cannot be used: no such process, task or core file, not
     Python, or a version that is not known; or a file is no recording, or
     holds no profile to compare
  4  a capability or a feature of the kernel is missing (`awaitwhat doctor`
     says which)
  5  the target ended before the time was over (of several: all of them
     did); what was seen until then is written
  6  of several targets some cannot be used; what was seen of the others is
     written
  7  the result could not be written to where it belongs; where that is a
     file, the summary is still on standard output";

/// How a run ended. The numbers are a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    Failure = 1,
    Usage = 2,
    Target = 3,
    Privilege = 4,
    TargetExited = 5,
    SomeTargets = 6,
    NotWritten = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The code for an error that ended the run.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(error) = error.downcast_ref::<session::Error>() {
            return match error {
                session::Error::Target { .. }
                | session::Error::Nothing { .. }
                | session::Error::Core { .. } => Self::Target,
                session::Error::Privilege { .. } => Self::Privilege,
                session::Error::Failed { .. }
                | session::Error::NotBegun { .. }
                | session::Error::NoThread { .. } => Self::Failure,
            };
        }
        if error.is::<diff::Error>() || error.is::<recording::Error>() {
            return Self::Target;
        }
        if error.is::<NotStarted>() || error.is::<NoSuchTask>() || error.is::<WrongProcess>() {
            return Self::Target;
        }
        if error.is::<config::Error>() {
            return Self::Usage;
        }
        let mut failed = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>());
        // Whoever read our output has seen enough of it.
        if failed.clone().any(|cause| cause.kind() == ErrorKind::BrokenPipe) {
            return Self::Ok;
        }
        let is_output = |cause: &io::Error| cause.get_ref().is_some_and(|it| it.is::<NotWritten>());
        if error.is::<NotWritten>() || failed.any(is_output) {
            Self::NotWritten
        } else {
            Self::Failure
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Exit, HELP};
    use crate::cli::config;
    use crate::cli::output::{NotWritten, Stdout};
    use crate::cli::program::NotStarted;
    use crate::session;

    #[test]
    fn errors_have_their_codes() {
        let source = || "why".into();
        let target = session::Error::Target {
            pid: 1,
            source: source(),
        };
        assert_eq!(
            Exit::of(&anyhow::Error::new(target).context("while tracing")),
            Exit::Target
        );
        let nothing = session::Error::Nothing {
            refused: crate::survey::Refusals::default(),
        };
        assert_eq!(Exit::of(&nothing.into()), Exit::Target);
        assert_eq!(
            Exit::of(&session::Error::Privilege { source: source() }.into()),
            Exit::Privilege
        );
        assert_eq!(
            Exit::of(
                &session::Error::Failed {
                    pid: 1,
                    source: source()
                }
                .into()
            ),
            Exit::Failure
        );
        assert_eq!(Exit::of(&config::Error::Rate(0).into()), Exit::Usage);
        let not_started = NotStarted {
            program: "x".to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        assert_eq!(Exit::of(&not_started.into()), Exit::Target);
        assert_eq!(Exit::of(&anyhow::anyhow!("else")), Exit::Failure);
        let closed = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(Exit::of(&closed.into()), Exit::Ok);
        let not_written = NotWritten {
            place: "x.svg".to_owned(),
            source: std::io::ErrorKind::StorageFull.into(),
        };
        assert_eq!(Exit::of(&not_written.into()), Exit::NotWritten);
    }

    /// Writes that always fail.
    struct Failing(std::io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn standard_output_that_fails_is_no_surprise_unless_nobody_reads_it() {
        for (kind, exit) in [
            (std::io::ErrorKind::StorageFull, Exit::NotWritten),
            (std::io::ErrorKind::BrokenPipe, Exit::Ok),
        ] {
            let error = Stdout(Failing(kind)).write_all(b"x").unwrap_err();
            let error = anyhow::Error::from(error);
            assert_eq!(Exit::of(&error), exit);
            assert!(error.to_string().contains("standard output"), "{error}");
            assert_eq!(error.chain().count(), 2);
        }
    }

    #[test]
    fn every_code_is_documented() {
        for exit in [
            Exit::Ok,
            Exit::Failure,
            Exit::Usage,
            Exit::Target,
            Exit::Privilege,
            Exit::TargetExited,
            Exit::SomeTargets,
            Exit::NotWritten,
        ] {
            assert!(HELP.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
            let manual = include_str!("../../../docs/manual.md");
            assert!(manual.contains(&format!("\n| {} | ", exit as u8)), "{exit:?}");
        }
    }
}
