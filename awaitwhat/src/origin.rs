//! Whose code a file holds: the application's, an installed package's, the standard library's; and how much of its path is shown.

mod standard_library;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::pattern::Pattern;
use crate::snapshot::Frame;

/// Whose code it is, the one that matters most last: a chain's await point is its innermost frame of the highest rank that is there.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// Of a frame that cannot be named.
    #[default]
    Unknown,
    /// What comes with the interpreter.
    StandardLibrary,
    /// What was installed: packages, and applications that are shipped as one.
    Installed,
    /// Everything that is not recognised as one of the others; or what the user says is theirs.
    Application,
}

/// Whose code a file holds, and from which byte on its path is shown: what it has in common with all others of its place is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    pub rank: Rank,
    shown_from: u16,
}

impl Origin {
    fn new(rank: Rank, file: &str, shown: &str) -> Self {
        // What is shown is an end of the path. A path of more than 64 KiB is shown whole.
        let shown_from = u16::try_from(file.len() - shown.len()).unwrap_or(0);
        Self { rank, shown_from }
    }

    /// That of `file`, which somebody has judged before; by its path alone where no `rank` was said.
    #[must_use]
    pub fn told(rank: Option<Rank>, file: &str) -> Self {
        let found = Places::default().of(file, |_| None);
        Self {
            rank: rank.unwrap_or(found.rank),
            ..found
        }
    }

    /// As it was taken apart by [`Origin::shown_from`].
    pub(crate) const fn of_parts(rank: Rank, shown_from: u16) -> Self {
        Self { rank, shown_from }
    }

    /// From which byte on a path is shown.
    pub(crate) const fn shown_from(self) -> u16 {
        self.shown_from
    }

    /// The part of `file`, the path that this was said of, that is shown: `asyncio/tasks.py`. Not escaped.
    #[must_use]
    pub fn shown(self, file: &str) -> &str {
        file.get(self.shown_from.into()..).unwrap_or(file)
    }
}

/// Where a process has what code. What is not told is judged by the names of folders alone.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The folder of the standard library, as the code objects of its modules have it, with a slash at its end. Empty where they have
    /// none: what PyInstaller and others bundle has paths that are relative to the bundle, the application's too.
    pub standard_library: Option<String>,
    /// What the user says is theirs, in paths as code objects have them.
    pub mine: Arc<[Pattern]>,
}

/// Folders that packages are installed in: what is below is shown. `.bootstrap` is PEX's own.
const INSTALLED_FOLDERS: [&str; 3] = ["site-packages", "dist-packages", ".bootstrap"];
/// Endings of folders that are one package each.
const INSTALLED_ENDINGS: [&str; 2] = [".whl", ".egg"];
/// A folder that is called by so many hexadecimal digits, or more, is one that a tool has unpacked a program into: what is below is shown.
const HASH_DIGITS: usize = 32;
/// Modules that a relative path is looked up as.
const MAX_MODULES: usize = 8;

impl Places {
    /// Tells whose code `file` (a `co_filename`) holds. `file_of_module` tells the file of a module that the process has imported.
    #[must_use]
    pub fn of(&self, file: &str, file_of_module: impl Fn(&str) -> Option<String>) -> Origin {
        let found = self.place(file).unwrap_or_else(|| {
            // Where it was compiled says nothing of where it is: Cython's code has paths relative to where that was built.
            let mut modules = modules_of(file).take(MAX_MODULES);
            let place = |name: String| self.place(&file_of_module(&name)?);
            let rank = modules
                .find_map(place)
                .map_or(Rank::Application, |origin| origin.rank);
            Origin::new(rank, file, file)
        });
        let is_mine = || self.mine.iter().any(|pattern| pattern.is_in(file));
        let rank = match found.rank {
            rank if self.mine.is_empty() => rank,
            _ if is_mine() => Rank::Application,
            rank => rank.min(Rank::Installed),
        };
        Origin { rank, ..found }
    }

    /// Whose code it is by its path alone; `None` where that is relative, and so says nothing.
    fn place(&self, file: &str) -> Option<Origin> {
        if file.starts_with("<frozen ") {
            return Some(Origin::new(Rank::StandardLibrary, file, file));
        }
        if let Some(below) = self.below_standard_library(file) {
            return Some(Origin::new(Rank::StandardLibrary, file, below));
        }
        if let Some(below) = below_installed(file) {
            return Some(Origin::new(Rank::Installed, file, below));
        }
        if file.starts_with('/') || file.starts_with('<') {
            return Some(Origin::new(Rank::Application, file, below_hash(file)));
        }
        if self.standard_library.as_deref() == Some("") {
            // A bundle does not say where its parts are from: what is a package is taken for one that was installed.
            let rank = if file.contains('/') {
                Rank::Installed
            } else {
                Rank::Application
            };
            return Some(Origin::new(rank, file, file));
        }
        None
    }

    fn below_standard_library<'a>(&self, file: &'a str) -> Option<&'a str> {
        match self.standard_library.as_deref() {
            Some("") => standard_library::has(file).then_some(file),
            // Packages may be installed in a folder of its own.
            Some(folder) => file
                .strip_prefix(folder)
                .filter(|below| below_installed(&format!("/{below}")).is_none()),
            None if below_installed(file).is_some() => None,
            None => standard_library::below_usual_folder(file),
        }
    }
}

/// The path below the innermost folder of installed packages.
fn below_installed(file: &str) -> Option<&str> {
    below_last(file, |folder| {
        INSTALLED_FOLDERS.contains(&folder) || INSTALLED_ENDINGS.iter().any(|ending| folder.ends_with(ending))
    })
}

/// The path below the innermost folder that is called by a hash, or the whole.
fn below_hash(file: &str) -> &str {
    let is_hash =
        |folder: &str| folder.len() >= HASH_DIGITS && folder.bytes().all(|byte| byte.is_ascii_hexdigit());
    below_last(file, is_hash).unwrap_or(file)
}

/// The path below the innermost folder that `is_it`; `None` where none is.
fn below_last(file: &str, is_it: impl Fn(&str) -> bool) -> Option<&str> {
    let mut above = file;
    while let Some((rest, _)) = above.rsplit_once('/') {
        let folder = rest.rsplit_once('/').map_or(rest, |(_, folder)| folder);
        if is_it(folder) {
            return file.get(rest.len() + 1..);
        }
        above = rest;
    }
    None
}

/// Modules that a relative path may be one of, the likeliest first: `src/shop/stock.pyx` is `src.shop.stock`, `shop.stock` or `stock`. What
/// Python itself was told to run is in no package, and is called `__main__`.
fn modules_of(file: &str) -> impl Iterator<Item = String> {
    let (stem, ending) = file.rsplit_once('.').unwrap_or((file, ""));
    let names: Vec<&str> = stem
        .split('/')
        .filter(|name| !matches!(*name, "" | "."))
        .collect();
    // A script's name may also be that of a module that has nothing to do with it.
    let least = if ending == "py" { 2 } else { 1 };
    let names = (0..names.len())
        .map(|from| &names[from..])
        .filter(|names| names.len() >= least)
        .map(|names| names.join("."))
        .collect::<Vec<_>>();
    names.into_iter()
}

/// How many of the innermost frames are those by which any task of trio gives up its turn, whatever it waits for.
#[must_use]
pub fn trio_traps(stack: &[Frame]) -> usize {
    let is_trap = |frame: &&Frame| frame.file.ends_with("trio/_core/_traps.py");
    stack.iter().take_while(is_trap).count()
}

/// The place in a stack, innermost first, of its innermost frame of the highest rank that is there; 0 of an empty one.
#[must_use]
pub fn await_point(stack: &[Frame]) -> usize {
    let highest = stack.iter().map(|frame| frame.origin.rank).max();
    stack
        .iter()
        .position(|frame| Some(frame.origin.rank) == highest)
        .unwrap_or(0)
}
