//! Whose code a file holds: the application's, an installed package's, the standard library's.

use crate::snapshot::Frame;

/// Whose code a file holds, told from its path alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// Everything that is not recognised as one of the others.
    Application,
    /// The standard library; with the path below its folder, or the whole name of a frozen module.
    StandardLibrary(&'a str),
    /// An installed package (`site-packages`, `dist-packages`); with the path below that folder.
    Package(&'a str),
}

/// Tells whose code `file` (a `co_filename`) holds.
///
/// Installed packages lie below a folder `site-packages` or `dist-packages`. The standard library lies below
/// `lib/python3.X` or `lib64/python3.X` (in a zip file: `lib/python3X.zip`), or is frozen (`<frozen importlib._bootstrap>`).
#[must_use]
pub fn of(file: &str) -> Origin<'_> {
    for folder in ["/site-packages/", "/dist-packages/"] {
        if let Some((_, below)) = file.rsplit_once(folder) {
            return Origin::Package(below);
        }
    }
    if file.starts_with("<frozen ") {
        return Origin::StandardLibrary(file);
    }
    below_standard_library(file).map_or(Origin::Application, Origin::StandardLibrary)
}

fn below_standard_library(file: &str) -> Option<&str> {
    ["/lib/python", "/lib64/python"].iter().find_map(|folder| {
        // The last one: a virtual environment may lie below a folder of such a name.
        let (_, rest) = file.rsplit_once(folder)?;
        let (version, below) = rest.split_once('/')?;
        is_version(version).then_some(below)
    })
}

/// Whether `text` is what follows `python` in the folder's name: `3.12`, `3.13t`, `312.zip`.
fn is_version(text: &str) -> bool {
    let text = text.strip_suffix(".zip").unwrap_or(text);
    text.starts_with('3')
        && text
            .trim_end_matches(['t', 'd'])
            .chars()
            .all(|c| c.is_ascii_digit() || c == '.')
}

/// How many of the innermost frames are those by which any task of trio gives up its turn, whatever it waits for.
#[must_use]
pub fn trio_traps(stack: &[Frame]) -> usize {
    let is_trap = |frame: &&Frame| frame.file.ends_with("/trio/_core/_traps.py");
    stack.iter().take_while(is_trap).count()
}

/// Whether `file` belongs to the application: neither to the standard library nor to an installed package.
#[must_use]
pub fn is_application(file: &str) -> bool {
    of(file) == Origin::Application
}

/// The path as views show it: relative to the standard library or to the packages' folder where it lies there
/// (`asyncio/tasks.py`), else whole. Not escaped.
#[must_use]
pub fn short(file: &str) -> &str {
    match of(file) {
        Origin::Application => file,
        Origin::StandardLibrary(below) | Origin::Package(below) => below,
    }
}

#[cfg(test)]
mod tests {
    use super::{Origin, is_application, of, short};

    #[test]
    fn standard_library_and_packages_are_recognised() {
        let library = Origin::StandardLibrary("asyncio/tasks.py");
        assert_eq!(of("/usr/lib/python3.11/asyncio/tasks.py"), library);
        assert_eq!(of("/usr/lib64/python3.14/asyncio/tasks.py"), library);
        assert_eq!(
            of("/home/me/.pyenv/versions/3.12.1/lib/python3.12/asyncio/tasks.py"),
            library
        );
        assert_eq!(of("/opt/lib/python3.13t/asyncio/tasks.py"), library);
        assert_eq!(of("/usr/lib/python312.zip/asyncio/tasks.py"), library);
        assert_eq!(of("<frozen runpy>"), Origin::StandardLibrary("<frozen runpy>"));
        let package = Origin::Package("aiohttp/web.py");
        assert_eq!(of("/venv/lib/python3.12/site-packages/aiohttp/web.py"), package);
        assert_eq!(of("/usr/lib/python3/dist-packages/aiohttp/web.py"), package);
    }

    #[test]
    fn everything_else_is_the_application() {
        for file in [
            "/srv/app.py",
            "app.py",
            "<string>",
            "<stdin>",
            "",
            "/home/me/lib/pythonic/app.py",
            "/lib/python3.12",
        ] {
            assert!(is_application(file), "{file}");
        }
    }

    #[test]
    fn paths_are_short_where_nothing_is_lost() {
        assert_eq!(short("/usr/lib/python3.11/asyncio/tasks.py"), "asyncio/tasks.py");
        assert_eq!(short("/srv/app.py"), "/srv/app.py");
    }
}
