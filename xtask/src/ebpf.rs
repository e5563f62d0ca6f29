//! Building the eBPF object, the same bytes wherever it is built.
//!
//! The object depends on the source, on rustc 1.95.0, on the source of `core` that belongs to it and on bpf-linker 0.10.2, and on nothing
//! else: paths are remapped, crates get identities that no path takes part in ([`wrapper`]), and the debug information, which only served
//! to make the BTF, is taken out ([`object_file`]).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::repo;

mod funnel;
mod object_file;
mod toolchain;
pub mod wrapper;

/// Where the object is committed, from the root of the repository.
const COMMITTED: &str = "awaitwhat/ebpf/awaitwhat.bpf.o";

/// Builds the object and puts it where it is committed.
pub fn build() -> Result<()> {
    let object = compile()?;
    let path = repo::root()?.join(COMMITTED);
    let folder = path.parent().context("the object has no folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(&path, &object).with_context(|| format!("cannot write {}", path.display()))?;
    println!(
        "{COMMITTED}: {} bytes, sha256 {}",
        object.len(),
        object_file::sha256(&object)
    );
    Ok(())
}

/// Builds the object and fails when the committed one differs in any bit.
pub fn check() -> Result<()> {
    let path = repo::root()?.join(COMMITTED);
    let committed = std::fs::read(&path).with_context(|| {
        format!(
            "cannot read {}: build it by `cargo xtask build-ebpf`",
            path.display()
        )
    })?;
    let built = compile()?;
    if committed == built {
        println!(
            "{COMMITTED} is what the source gives: sha256 {}",
            object_file::sha256(&built)
        );
        return Ok(());
    }
    bail!(
        "{COMMITTED} is not what the source gives\n  committed: sha256 {}, {} bytes\n  built:     sha256 {}, {} bytes\n  \
         first difference: {}\nRebuild it by `cargo xtask build-ebpf` and commit it together with the source it is made from.",
        object_file::sha256(&committed),
        committed.len(),
        object_file::sha256(&built),
        built.len(),
        object_file::first_difference(&committed, &built)
    )
}

/// Lints the kernel side, for the target it is compiled for.
pub fn lint() -> Result<()> {
    funnel::check(&repo::root()?.join("awaitwhat-ebpf/src"))?;
    repo::run(cargo("clippy")?.args(["--", "-Dwarnings"]))
}

fn compile() -> Result<Vec<u8>> {
    let mut cargo = cargo("build")?;
    wrapper::request(&mut cargo)?;
    let messages = repo::output(cargo.arg("--message-format=json-render-diagnostics"))?;
    let linked = repo::executable(&messages)?;
    let bytes = std::fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
    object_file::without_debug_information(&bytes)
}

/// Cargo's `task` for the kernel side, with everything it takes.
fn cargo(task: &str) -> Result<Command> {
    let rust = toolchain::Rust::find()?;
    let core = toolchain::core_source(&rust)?;
    let linker = toolchain::bpf_linker(&rust)?;
    let root = repo::root()?;
    let source = root.join("awaitwhat-ebpf");

    // The registry's folder, whose name is remapped, has to exist before rustc is told about it.
    repo::run(
        rust.cargo()
            .args(["fetch", "--locked", "--quiet"])
            .current_dir(&source),
    )?;
    let mut cargo = rust.cargo();
    cargo
        .args([
            task,
            "--release",
            "--locked",
            "--target",
            "bpfel-unknown-none",
            "-Zbuild-std=core",
        ])
        .arg("--target-dir")
        .arg(repo::cache("ebpf-target")?)
        .current_dir(&source)
        // Unlocks `-Zbuild-std` on the stable compiler; the target has no precompiled `core`.
        .env("RUSTC_BOOTSTRAP", "1")
        // Where cargo looks for the source of `core` instead of in the toolchain, which stays as it is.
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", &core)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&root, &core)?);
    Ok(cargo)
}

/// The compiler's flags, in the encoding of `CARGO_ENCODED_RUSTFLAGS`.
fn flags(root: &Path, core: &Path) -> Result<OsString> {
    let rust_source = core.parent().context("the source of core has no parent folder")?;
    // A later mapping wins where several match: the caches lie below the root.
    let mut mappings = vec![
        (root.to_path_buf(), "/awaitwhat"),
        (rust_source.to_path_buf(), "/rust"),
    ];
    mappings.extend(registries()?.into_iter().map(|path| (path, "/registry")));

    let mut flags: Vec<OsString> = vec![
        r#"--cfg=bpf_target_arch="x86_64""#.into(),
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // Short copies are words, not calls of a loop over bytes, each turn of which the verifier follows.
        "-Clink-arg=--disable-expand-memcpy-in-order".into(),
    ];
    for (from, to) in mappings {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    }
    Ok(flags.join("\x1f".as_ref()))
}

/// The folders that hold the sources of crates: one per registry, named by a hash of its address.
fn registries() -> Result<Vec<PathBuf>> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir()
            .context("neither CARGO_HOME nor HOME is set")?
            .join(".cargo"),
    };
    let sources = home.join("registry/src");
    let entries =
        std::fs::read_dir(&sources).with_context(|| format!("cannot list {}", sources.display()))?;
    let mut folders = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    folders.sort();
    Ok(folders)
}
