//! The licences of all that is linked into the program, as their packages have them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::repo;

/// How the names of files begin that hold a licence, or what it asks to be passed on.
const BEGINNINGS: [&str; 6] = ["LICEN", "COPYING", "NOTICE", "UNLICENSE", "COPYRIGHT", "AUTHORS"];
/// Folders below a package's in which they are looked for: zstd's own are in one.
const DEPTH: u32 = 1;

/// What is linked besides packages of cargo.
const BESIDES: &str = "\
The standard library of Rust: MIT OR Apache-2.0, https://www.rust-lang.org/policies/licenses\n\
The GNU C Library, of which parts are linked statically: LGPL-2.1-or-later, https://www.gnu.org/software/libc/.\n\
\x20 Whoever wants to link another version of it can build awaitwhat from its source, by `cargo xtask dist`.\n";

/// What cargo tells of all packages, as far as it is needed here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// Nothing for what is linked.
    kind: Option<String>,
}

/// All of them: first a list, then every text once.
pub fn text() -> Result<String> {
    let json = repo::output(Command::new("cargo").current_dir(repo::root()?).args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]))?;
    let metadata: Metadata = serde_json::from_str(&json).context("cargo's metadata is not as expected")?;
    let linked = linked(&metadata)?;
    let mut text =
        format!("What is linked into awaitwhat, and its licences.\n\n{BESIDES}\nPackages of cargo:\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in linked {
        let name = format!("{} {}", package.name, package.version);
        let license = package.license.as_deref().unwrap_or("see its text below");
        let folder = package
            .manifest_path
            .parent()
            .context("a manifest lies in a folder")?;
        let mut files = Vec::new();
        find(folder, DEPTH, &mut files)?;
        let note = if files.is_empty() {
            " (the package has no text of it)"
        } else {
            ""
        };
        text.push_str(&format!("{name}: {license}{note}\n"));
        for file in files {
            let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let licence = String::from_utf8_lossy(&bytes).trim().to_owned();
            texts.entry(licence).or_default().push(name.clone());
        }
    }
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_by(|left, right| left.1.cmp(&right.1));
    for (licence, mut names) in texts {
        names.dedup();
        text.push_str(&format!(
            "\n{}\n{}:\n\n{licence}\n",
            "-".repeat(80),
            names.join(", ")
        ));
    }
    Ok(text)
}

/// The packages of others that `awaitwhat` is linked with, by name.
fn linked(metadata: &Metadata) -> Result<Vec<&Package>> {
    let packages: BTreeMap<_, _> = metadata.packages.iter().map(|it| (it.id.as_str(), it)).collect();
    let nodes: BTreeMap<_, _> = metadata
        .resolve
        .nodes
        .iter()
        .map(|it| (it.id.as_str(), it))
        .collect();
    let first = metadata
        .packages
        .iter()
        .find(|it| it.name == "awaitwhat" && it.source.is_none())
        .context("cargo's metadata have no awaitwhat")?;
    let (mut seen, mut open) = (BTreeSet::new(), vec![first.id.as_str()]);
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = nodes
            .get(id)
            .with_context(|| format!("no dependencies of {id}"))?;
        let is_linked = |it: &&Dependency| it.dep_kinds.iter().any(|kind| kind.kind.is_none());
        open.extend(node.deps.iter().filter(is_linked).map(|it| it.pkg.as_str()));
    }
    let mut linked: Vec<_> = seen
        .into_iter()
        .filter_map(|id| packages.get(id).copied())
        .collect();
    linked.retain(|it| it.source.is_some());
    linked.sort_by(|left, right| (&left.name, &left.version).cmp(&(&right.name, &right.version)));
    Ok(linked)
}

/// Files of `folder`, and of folders `depth` below, that hold licences.
fn find(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<_> = entries
        .map(|it| it.map(|it| it.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_uppercase();
        if path.is_dir() && depth > 0 {
            find(&path, depth - 1, found)?;
        } else if path.is_file() && BEGINNINGS.iter().any(|it| name.starts_with(it)) && !name.ends_with(".RS")
        {
            found.push(path);
        }
    }
    Ok(())
}
