//! Where results are written: known to be writable before anything is looked at, and untouched until it is over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::privileges::{self, Set};

mod unnamed;

use unnamed::Unnamed;

/// Names that are tried where the user did not choose one.
const MAX_NAMES: usize = 99;

/// A result could not be written to where it belongs.
#[derive(Debug, thiserror::Error)]
#[error("{place} could not be written to: make sure that there is room, and that the folder is still there")]
pub(super) struct NotWritten {
    pub(super) place: String,
    pub(super) source: io::Error,
}

/// A file that will be there, whole, once it is [committed](OutputFile::commit); until then nothing is changed.
#[derive(Debug)]
pub(super) struct OutputFile {
    kind: Kind,
    reserve: Set,
}

#[derive(Debug)]
enum Kind {
    /// A regular file: written beside its place, then moved there.
    Regular { file: Unnamed, place: PathBuf },
    /// A device or a pipe, which cannot be replaced.
    Special(File),
}

impl OutputFile {
    /// Makes sure that `path` can be written to.
    ///
    /// # Errors
    /// When it cannot: the folder is missing or must not be written to, it is a folder, ...
    pub(super) fn prepare(path: &Path) -> anyhow::Result<Self> {
        let (kind, reserve) = with_least(|| Kind::open(path)).with_context(|| {
            format!(
                "{} cannot be written to, so nothing was begun: choose another --output",
                path.display()
            )
        })?;
        Ok(Self { kind, reserve })
    }

    /// The capabilities that it needs again when it is committed.
    pub(super) fn reserve(&self) -> Set {
        self.reserve
    }

    /// Puts what was written in its place.
    ///
    /// # Errors
    /// When that fails; what was there before is then still there.
    pub(super) fn commit(mut self) -> io::Result<()> {
        self.flush()?;
        privileges::raised(self.reserve, || match self.kind {
            Kind::Regular { file, place } => match file.name(&place) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => file.replace(&place),
                result => result,
            },
            Kind::Special(_) => Ok(()),
        })
    }
}

impl Kind {
    fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_bytes().ends_with(b"/") {
            // There is no file of such a name, whether or not there is a folder.
            return Err(io::ErrorKind::IsADirectory.into());
        }
        match fs::metadata(path) {
            Ok(existing) if existing.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(existing) if existing.is_file() => {
                OpenOptions::new().write(true).open(path)?;
                let place = fs::canonicalize(path)?;
                let file = Unnamed::in_folder(folder_of(&place), Some(existing.mode()))?;
                Ok(Self::Regular { file, place })
            }
            Ok(_) => Ok(Self::Special(OpenOptions::new().write(true).open(path)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Regular {
                file: Unnamed::in_folder(folder_of(path), None)?,
                place: path.to_owned(),
            }),
            Err(error) => Err(error),
        }
    }
}

/// Does it with the user's own rights, and where these do not reach, with the privileges of the start; also tells which of them that takes.
pub(super) fn with_least<T>(open: impl Fn() -> io::Result<T>) -> io::Result<(T, Set)> {
    match privileges::lowered(privileges::WRITING | Set::DAC_READ_SEARCH, &open) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open().map(|opened| (opened, privileges::WRITING))
        }
        result => result.map(|opened| (opened, Set::empty())),
    }
}

/// Makes sure that files may be made and renamed where `path` is, with the user's own rights.
///
/// # Errors
/// What the kernel says otherwise.
pub(super) fn may_rename(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    let access = || accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    Ok(privileges::lowered(
        privileges::WRITING | Set::DAC_READ_SEARCH,
        access,
    )?)
}

/// Whether both paths lead to one file that is there.
pub(super) fn are_one(path: &Path, other: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    file(path).is_some_and(|it| Some(it) == file(other))
}

/// The folder of a file.
fn folder_of(path: &Path) -> &Path {
    or_here(path.parent().unwrap_or(path))
}

/// A folder, as the kernel has to be told of it: the current one is often left out.
fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Regular { file, .. } => file.write(bytes),
            Kind::Special(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Regular { file, .. } => file.flush(),
            Kind::Special(file) => file.flush(),
        }
    }
}

/// A file whose name the user did not choose: it is always a new one, and whatever has the name already is left alone.
#[derive(Debug)]
pub(super) struct NewFile {
    file: Unnamed,
    folder: PathBuf,
    reserve: Set,
}

impl NewFile {
    /// Makes sure that a file can be made in `folder`.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) fn prepare(folder: PathBuf) -> anyhow::Result<Self> {
        let shown = or_here(&folder);
        let (file, reserve) = with_least(|| Unnamed::in_folder(shown, None))
            .with_context(|| format!("no file can be made in {}", shown.display()))?;
        Ok(Self {
            file,
            folder,
            reserve,
        })
    }

    /// The capabilities that it needs again when it is committed.
    pub(super) fn reserve(&self) -> Set {
        self.reserve
    }

    /// Calls it `STEM.ENDING`, or `STEM-2.ENDING` and so on where that is taken, and returns its path.
    ///
    /// # Errors
    /// When all of these are taken, or the file cannot be made any more.
    pub(super) fn commit(mut self, stem: &str, ending: &str) -> anyhow::Result<PathBuf> {
        self.file.flush()?;
        for number in 1..=MAX_NAMES {
            let name = match number {
                1 => format!("{stem}.{ending}"),
                _ => format!("{stem}-{number}.{ending}"),
            };
            let path = self.folder.join(name);
            match privileges::raised(self.reserve, || self.file.name(&path)) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => {
                    let place = path.display().to_string();
                    return Err(NotWritten { place, source }.into());
                }
            }
        }
        bail!(
            "{stem}.{ending} and {} more names are taken in {}: remove some of these files, or change to another folder",
            MAX_NAMES - 1,
            or_here(&self.folder).display()
        )
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Standard output, whose errors say that they are its own.
pub(super) struct Stdout<W>(pub(super) W);

impl<W: Write> Write for Stdout<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(of_stdout)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(of_stdout)
    }
}

fn of_stdout(source: io::Error) -> io::Error {
    let place = "standard output".to_owned();
    match source.kind() {
        // Tried again by whoever writes.
        io::ErrorKind::Interrupted => source,
        kind => io::Error::new(kind, NotWritten { place, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use super::{Kind, MAX_NAMES, NewFile, OutputFile};

    #[test]
    fn an_existing_file_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.svg");
        fs::write(&path, "old").unwrap();
        let mut file = OutputFile::prepare(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_left_of_a_file_that_was_not_committed() {
        let folder = tempfile::tempdir().unwrap();
        let file = OutputFile::prepare(&folder.path().join("x.svg")).unwrap();
        // Not even before: nobody could remove it when this process is killed.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut output = OutputFile::prepare(&link).unwrap();
        output.write_all(b"new").unwrap();
        output.commit().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }

    #[test]
    fn a_device_is_not_replaced() {
        let mut output = OutputFile::prepare(Path::new("/dev/null")).unwrap();
        assert!(matches!(output.kind, Kind::Special(_)));
        output.write_all(b"x").unwrap();
        output.commit().unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            folder.path().join("missing/x.svg"),
            folder.path().to_owned(),
            folder.path().join("new.svg/"),
        ] {
            let error = OutputFile::prepare(&path).unwrap_err().to_string();
            assert!(error.contains("cannot be written to"), "{error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_new_file_takes_the_first_free_name() {
        let folder = tempfile::tempdir().unwrap();
        let new = || {
            let mut file = NewFile::prepare(folder.path().to_owned()).unwrap();
            file.write_all(b"new").unwrap();
            file.commit("x", "svg")
        };
        let victim = folder.path().join("victim");
        fs::write(&victim, "old").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("x.svg")).unwrap();
        assert_eq!(new().unwrap(), folder.path().join("x-2.svg"));
        assert_eq!(new().unwrap(), folder.path().join("x-3.svg"));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "old");
        assert_eq!(fs::read_to_string(folder.path().join("x-3.svg")).unwrap(), "new");
        for _ in 4..=MAX_NAMES {
            new().unwrap();
        }
        let error = new().unwrap_err().to_string();
        assert!(error.contains("98 more names are taken"), "{error}");
    }
}
