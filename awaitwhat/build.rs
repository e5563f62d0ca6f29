//! Says what `awaitwhat --version` tells of the build: the commit, the eBPF object, and the compiler.
//!
//! Nothing of the machine and no time goes into it, so that the same source gives the same program.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

/// The object that is embedded, in the package's folder.
const OBJECT: &str = "ebpf/awaitwhat.bpf.o";
/// What cargo adds to a package that it makes from a checkout.
const PACKAGED: &str = ".cargo_vcs_info.json";
/// What the program is made of, seen from the package's folder. Changes of anything else do not make another program.
const SOURCES: [&str; 5] = [
    ".",
    "../awaitwhat-common",
    "../awaitwhat-walker",
    "../Cargo.toml",
    "../Cargo.lock",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={OBJECT}");
    tell("AWAITWHAT_COMMIT", &commit());
    tell("AWAITWHAT_EBPF", &object_hash());
    tell("AWAITWHAT_RUSTC", &compiler());
}

fn tell(name: &str, value: &str) {
    println!("cargo::rustc-env={name}={value}");
}

/// The commit that is built, or why it is not known.
fn commit() -> String {
    if let Ok(text) = fs::read_to_string(PACKAGED) {
        return packaged_commit(&text);
    }
    if env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        // Each commit would otherwise make the tests be built anew.
        return "not noted in debug builds".to_owned();
    }
    // A package that lies in a repository of somebody else is not of that one's commits.
    if git(&["ls-files", "--error-unmatch", "Cargo.toml"]).is_none() {
        return "unknown (not built in a git checkout)".to_owned();
    }
    let Some(commit) = git(&["rev-parse", "HEAD"]) else {
        return "unknown (git names none)".to_owned();
    };
    watch();
    let changes = git(&[&["status", "--porcelain", "--"][..], &SOURCES].concat());
    match changes.as_deref() {
        Some("") => commit,
        Some(_) => format!("{commit}, with changes that are not committed"),
        None => format!("{commit}; whether all is committed is unknown"),
    }
}

/// The commit that cargo noted when it made the package.
fn packaged_commit(text: &str) -> String {
    let hash = text
        .split_once("\"sha1\"")
        .and_then(|(_, rest)| rest.split('"').nth(1));
    match hash {
        Some(hash) if text.contains("\"dirty\": true") => {
            format!("{hash}, with changes that are not committed")
        }
        Some(hash) => hash.to_owned(),
        None => format!("unknown ({PACKAGED} names none)"),
    }
}

/// Has this run again when another commit is checked out or made, or a source has changed.
fn watch() {
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for file in ["HEAD", "logs/HEAD"].into_iter().chain(branch.as_deref()) {
        let path = git(&["rev-parse", "--git-path", file]);
        // What does not exist would make every build begin anew.
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for source in SOURCES.into_iter().filter(|it| Path::new(it).exists()) {
        println!("cargo::rerun-if-changed={source}");
    }
}

/// The SHA-256 of the embedded object, as `sha256sum` writes it.
fn object_hash() -> String {
    let object = fs::read(OBJECT).unwrap_or_else(|error| panic!("cannot read {OBJECT}: {error}"));
    let digest = Sha256::digest(object);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    output(Command::new(rustc).arg("--version")).unwrap_or_else(|| "unknown".to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    output(Command::new("git").args(arguments))
}

/// What a program wrote, in one line; nothing where it is not there or failed.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().replace('\n', "; "))
}
