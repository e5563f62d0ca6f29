//! What is said on standard error. All of it goes through here, as nothing may fail because nobody hears it: `eprintln!` panics then,
//! and the lints of this crate deny it.

use std::fmt::Display;
use std::io::{self, Write};

use super::exit::Exit;
use super::signals::Interrupted;
use crate::survey::Refusals;
use crate::view::escape::Escaped;
use crate::view::style::{ERROR, styled};
use crate::view::survey;

/// Says something, on a line of its own.
pub(super) fn tell(what: impl Display) {
    // Nobody is left to be told when standard error fails.
    let _ = writeln!(anstream::stderr().lock(), "{what}");
}

/// Says which processes are missing from the output, and why.
pub(super) fn complain(refused: &Refusals) {
    survey::describe_all(refused).for_each(tell);
}

/// Says what a read waits for.
pub(super) fn waits(what: &str) {
    tell(format_args!("waiting for {}", Escaped(what)));
}

/// Says why the run ends, unless nobody is interested, and with which code.
pub(super) fn report(error: &anyhow::Error) -> Exit {
    let exit = Exit::of(error);
    if exit != Exit::Ok && !error.is::<Interrupted>() {
        // As above.
        let _ = write_error(error, &mut anstream::stderr().lock());
    }
    exit
}

/// Writes an error and its causes, one per line; texts of the target may be part of them.
fn write_error(error: &anyhow::Error, stderr: &mut impl Write) -> io::Result<()> {
    for (number, cause) in error.chain().enumerate() {
        let before = if number == 0 {
            styled(ERROR, "error:").to_string()
        } else {
            "  because:".to_owned()
        };
        for (number, line) in cause.to_string().lines().enumerate() {
            let before = if number == 0 { &before } else { "   " };
            writeln!(stderr, "{before} {}", Escaped(line))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::write_error;

    #[test]
    fn errors_are_told_with_their_causes() {
        let source = "version \"4.0\x1b[31m\" is not known\nknown are 3.11 to 3.14".into();
        let error = crate::session::Error::Target { pid: 42, source };
        let error = Err::<(), _>(error).context("tracing failed").unwrap_err();
        let mut output = Vec::new();
        write_error(&error, &mut output).unwrap();
        let text = anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string();
        insta::assert_snapshot!(text, @r#"
        error: tracing failed
          because: process 42 cannot be looked at
          because: version "4.0\x1b[31m" is not known
            known are 3.11 to 3.14
        "#);
    }
}
