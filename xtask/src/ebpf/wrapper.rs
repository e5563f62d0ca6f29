//! Standing in for rustc, to give crates an identity that no path takes part in.
//!
//! Cargo derives `-C metadata` of a crate outside the registry from its absolute path, and with it the crate's id, the names of its
//! symbols and the order of its items. So while the object is built this program is cargo's `RUSTC_WRAPPER`, and what it changes is that
//! one value: it becomes the package's name and version and the crate's name.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

/// Set while this program stands in for rustc.
const REQUEST: &str = "AWAITWHAT_XTASK_IS_RUSTC_WRAPPER";

/// Makes `cargo` call this program in the place of rustc.
pub fn request(cargo: &mut Command) -> Result<()> {
    let program = env::current_exe().context("cannot find this program")?;
    cargo.env("RUSTC_WRAPPER", program).env(REQUEST, "1");
    Ok(())
}

/// Whether this program has been started in the place of rustc.
pub fn is_requested() -> bool {
    env::var_os(REQUEST).is_some()
}

/// Runs the rustc that the arguments begin with. Does not return where that works.
pub fn run() -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    let rustc = arguments.next().context("no rustc was given")?;
    let identity = identity();
    let arguments = arguments.map(|argument| replaced(argument, identity.as_deref()));
    let error = Command::new(&rustc).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", rustc.display()))
}

/// The identity of the crate that cargo is compiling; nothing where cargo only asks rustc a question.
fn identity() -> Option<String> {
    let part = |name| env::var(name).ok();
    Some(format!(
        "{}-{}-{}",
        part("CARGO_PKG_NAME")?,
        part("CARGO_PKG_VERSION")?,
        part("CARGO_CRATE_NAME")?
    ))
}

fn replaced(argument: OsString, identity: Option<&str>) -> OsString {
    let is_metadata = argument.as_encoded_bytes().starts_with(b"metadata=");
    match identity {
        Some(identity) if is_metadata => [OsStr::new("metadata="), OsStr::new(identity)]
            .into_iter()
            .collect(),
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn only_the_metadata_changes() {
        assert_eq!(replaced("metadata=0123".into(), Some("a-1-b")), "metadata=a-1-b");
        assert_eq!(
            replaced("extra-filename=-0123".into(), Some("a-1-b")),
            "extra-filename=-0123"
        );
        assert_eq!(replaced("metadata=0123".into(), None), "metadata=0123");
    }
}
