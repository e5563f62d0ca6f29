//! The tools that make the object: rustc, the source of `core` that belongs to it, and bpf-linker.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::object_file::sha256;
use crate::{debian, repo};

/// The release of Rust that gives the committed object.
const RUST: &str = "1.95.0";
/// The last bpf-linker that uses the LLVM of rustc 1.95; later ones want one of the system.
const BPF_LINKER: &str = "0.10.2";
/// Debian's package of the source of Rust, for where rustup has none.
const RUST_SRC_VERSION: &str = "1.95.0+dfsg1-2~bpo13+1";
const RUST_SRC_SUITE: &str = "trixie-backports";
const RUST_SRC_SHA256: &str = "7b76db5b880a77f9e52975d2baa6209d2f76d2c9c2789515c3088cb960e2c83b";

/// Variables that would change what is built, or that belong to the cargo which runs this program; `CARGO*` are judged by [`KEPT`].
const REMOVED: &[&str] = &[
    "RUSTC",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
];
/// Beginnings of cargo's variables that only say where crates come from.
const KEPT: &[&str] = &[
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
];

/// The toolchain of release [`RUST`].
pub struct Rust {
    /// The name to give to `rustup run`; nothing where the default toolchain is the right one.
    rustup_name: Option<&'static str>,
}

impl Rust {
    /// Finds the right toolchain: the default one, or else the one that rustup knows by its version.
    pub fn find() -> Result<Self> {
        let candidates = [
            Rust { rustup_name: None },
            Rust {
                rustup_name: Some(RUST),
            },
        ];
        for rust in candidates {
            if rust.release().as_deref() == Some(RUST) {
                return Ok(rust);
            }
        }
        bail!(
            "the eBPF object is built by rustc {RUST}, bit for bit, and neither the default toolchain nor rustup's `{RUST}` is that release\n\
             Install it beside yours by `rustup toolchain install {RUST} --profile minimal`."
        )
    }

    /// A command that runs this toolchain's cargo, free of what the surrounding cargo has set.
    pub fn cargo(&self) -> Command {
        self.tool("cargo")
    }

    fn tool(&self, tool: &str) -> Command {
        let mut command = match self.rustup_name {
            Some(name) => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", name, tool]);
                rustup
            }
            None => Command::new(tool),
        };
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let is_setting = text.starts_with("CARGO") && !KEPT.iter().any(|kept| text.starts_with(kept));
            if is_setting || REMOVED.contains(&&*text) {
                command.env_remove(&name);
            }
        }
        command
    }

    fn release(&self) -> Option<String> {
        let output = self
            .tool("rustc")
            .arg("-vV")
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let release = text.lines().find_map(|line| line.strip_prefix("release: "))?;
        output.status.success().then(|| release.to_owned())
    }

    fn sysroot(&self) -> Result<PathBuf> {
        let sysroot = repo::output(self.tool("rustc").args(["--print", "sysroot"]))?;
        Ok(PathBuf::from(sysroot.trim_end()))
    }
}

/// The folder `library` of Rust's source: the toolchain's own where it is installed, else that of Debian's package.
pub fn core_source(rust: &Rust) -> Result<PathBuf> {
    let own = rust.sysroot()?.join("lib/rustlib/src/rust/library");
    if own.join("core/Cargo.toml").is_file() {
        return Ok(own);
    }
    let folder = repo::cache("rust-src")?;
    let library = folder.join(format!("usr/src/rustc-{RUST}/library"));
    // Written last, so that an unpacking that was cut short is begun anew.
    let finished = folder.join("finished");
    if std::fs::read_to_string(&finished).is_ok_and(|version| version == RUST_SRC_VERSION) {
        return Ok(library);
    }
    eprintln!("Getting the source of core: Debian's rust-src {RUST_SRC_VERSION}");
    let package = download_rust_src(&folder).with_context(|| {
        format!(
            "cannot get the source of core from Debian; where rustup reaches its server, `rustup component add rust-src --toolchain {RUST}` does as well"
        )
    })?;
    repo::run(Command::new("dpkg").arg("-x").arg(&package).arg(&folder))?;
    std::fs::write(&finished, RUST_SRC_VERSION).context("cannot note that the source is unpacked")?;
    Ok(library)
}

/// Downloads the package; it is known by its hash, so an old list does no harm.
fn download_rust_src(folder: &Path) -> Result<PathBuf> {
    let suite = debian::Suite::open(RUST_SRC_SUITE)?;
    suite.download(&[&format!("rust-src={RUST_SRC_VERSION}")], folder)?;
    let package = folder.join(format!("rust-src_{RUST_SRC_VERSION}_all.deb"));
    let bytes = std::fs::read(&package).with_context(|| format!("cannot read {}", package.display()))?;
    if sha256(&bytes) != RUST_SRC_SHA256 {
        bail!(
            "{} has sha256 {}, {RUST_SRC_SHA256} was expected",
            package.display(),
            sha256(&bytes)
        );
    }
    Ok(package)
}

/// The linker, built once into the cache by the toolchain whose LLVM it uses.
pub fn bpf_linker(rust: &Rust) -> Result<PathBuf> {
    let root = repo::cache("bpf-linker")?;
    let linker = root.join("bin/bpf-linker");
    if linker.is_file() && version_of(&linker)?.ends_with(BPF_LINKER) {
        return Ok(linker);
    }
    eprintln!("Building bpf-linker {BPF_LINKER}; this takes a minute, once");
    let mut cargo = rust.cargo();
    cargo
        .args(["install", "--quiet", "--locked", "--force", "--root"])
        .arg(&root);
    repo::run(cargo.arg(format!("bpf-linker@{BPF_LINKER}")))?;
    Ok(linker)
}

fn version_of(program: &Path) -> Result<String> {
    Ok(repo::output(Command::new(program).arg("--version"))?
        .trim_end()
        .to_owned())
}
