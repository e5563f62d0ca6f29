//! `diff`: two profiles that were written earlier, side by side.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::args::{DiffArgs, DiffBy, DiffFormat};
use super::exit::Exit;
use super::{machine_stdout, people_stdout, stdout_width};
use crate::export::{diff_json, flamegraph};
use crate::import::{self, Kind, Saved};
use crate::privileges;
use crate::profile::Diff;
use crate::view::diff as view;

/// Why files are not compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{} cannot be read", path.display())]
    NotRead { path: PathBuf, source: io::Error },
    #[error("{} cannot be compared", path.display())]
    NoProfile { path: PathBuf, source: import::Error },
    #[error("{} is of one process, and {} of several together: compare one with one, or all with all", single.display(), merged.display())]
    Kinds { single: PathBuf, merged: PathBuf },
    #[error("{} cannot be compared: its trace took no sample", .0.display())]
    NoSamples(PathBuf),
}

pub(super) fn run(args: &DiffArgs) -> anyhow::Result<Exit> {
    let files = open(&args.before).and_then(|before| Ok((before, open(&args.after)?)));
    // Files may be anything, and what they say is nobody's but their user's.
    privileges::nothing();
    let (before, after) = files?;
    let diff = compared((&args.before, before), (&args.after, after))?;
    if args.format == DiffFormat::Summary {
        let mut stdout = people_stdout();
        match args.by {
            DiffBy::AwaitPoint => view::write_points(&diff, stdout_width(), &mut stdout)?,
            DiffBy::Chain => view::write_chains(&diff, stdout_width(), &mut stdout)?,
        }
        stdout.flush()?;
        return Ok(Exit::Ok);
    }
    let mut stdout = machine_stdout();
    match (args.format, args.by) {
        (DiffFormat::Flamegraph, _) => flamegraph::write_diff(&diff, &mut stdout)?,
        (_, DiffBy::AwaitPoint) => diff_json::write_points(&diff, &mut stdout)?,
        (_, DiffBy::Chain) => diff_json::write_chains(&diff, &mut stdout)?,
    }
    stdout.flush()?;
    Ok(Exit::Ok)
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| not_read(path, source))
}

fn not_read(path: &Path, source: io::Error) -> Error {
    Error::NotRead {
        path: path.to_owned(),
        source,
    }
}

/// Reads both files and compares them, if they can be.
fn compared(before: (&Path, File), after: (&Path, File)) -> Result<Diff, Error> {
    let paths = (before.0, after.0);
    let (before, after) = (saved(before)?, saved(after)?);
    let kinds = |single: &Path, merged: &Path| Error::Kinds {
        single: single.to_owned(),
        merged: merged.to_owned(),
    };
    match (before.kind, after.kind) {
        (Kind::Single, Kind::Merged) => return Err(kinds(paths.0, paths.1)),
        (Kind::Merged, Kind::Single) => return Err(kinds(paths.1, paths.0)),
        (Kind::Single, Kind::Single) | (Kind::Merged, Kind::Merged) => {}
    }
    Ok(Diff::new(before.profile, after.profile))
}

fn saved((path, file): (&Path, File)) -> Result<Saved, Error> {
    let bytes = import::read(file).map_err(|source| not_read(path, source))?;
    let saved = import::profile(&bytes).map_err(|source| Error::NoProfile {
        path: path.to_owned(),
        source,
    })?;
    if saved.profile.samples == 0 || saved.profile.duration_seconds == 0.0 {
        return Err(Error::NoSamples(path.to_owned()));
    }
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{profile_json, survey_json};
    use crate::profile::Profile;
    use crate::survey::Refusals;
    use crate::testing::small_profile;

    fn error(before: &[u8], after: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let (before, after) = (write("a.json", before), write("b.json", after));
        let open = |path: &Path| File::open(path).unwrap();
        let error = compared((&before, open(&before)), (&after, open(&after))).unwrap_err();
        let error = format!("{:#}", anyhow::Error::from(error));
        error.replace(&folder.path().display().to_string(), "")
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let mut single = Vec::new();
        profile_json::write(&small_profile(), &mut single).unwrap();
        let mut merged = Vec::new();
        survey_json::write_merged(&small_profile(), &Refusals::default(), &mut merged).unwrap();
        let mut empty = Vec::new();
        let nothing = Profile {
            samples: 0,
            ..small_profile()
        };
        profile_json::write(&nothing, &mut empty).unwrap();
        let told = [
            error(&single, &merged),
            error(&merged, &single),
            error(&single, &empty),
            error(b"a;b 7\n", &single),
        ];
        insta::assert_snapshot!(told.join("\n"), @"
        /a.json is of one process, and /b.json of several together: compare one with one, or all with all
        /b.json is of one process, and /a.json of several together: compare one with one, or all with all
        /b.json cannot be compared: its trace took no sample
        /a.json cannot be compared: it is folded stacks, and no profile: `awaitwhat trace -o FILE.json` writes one
        ");
    }
}
