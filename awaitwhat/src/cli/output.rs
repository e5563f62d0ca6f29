//! Where a trace is written: known to be writable before tracing begins, and untouched until it is over.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::NamedTempFile;

/// A file that will be there, whole, once it is [committed](OutputFile::commit); until then nothing is changed.
#[derive(Debug)]
pub(super) enum OutputFile {
    /// A regular file: written beside its place, then moved there.
    Regular { temporary: NamedTempFile, path: PathBuf },
    /// A device or a pipe, which cannot be replaced.
    Special(File),
}

impl OutputFile {
    /// Makes sure that `path` can be written to.
    ///
    /// # Errors
    /// When it cannot: the folder is missing or must not be written to, it is a folder, ...
    pub(super) fn prepare(path: &Path) -> anyhow::Result<Self> {
        Self::open(path).with_context(|| {
            format!(
                "{} cannot be written to: nothing was traced; choose another --output",
                path.display()
            )
        })
    }

    fn open(path: &Path) -> io::Result<Self> {
        // Read and write for everybody whom the umask lets.
        let usual = Permissions::from_mode(0o666);
        match fs::metadata(path) {
            Ok(existing) if existing.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(existing) if existing.is_file() => {
                OpenOptions::new().write(true).open(path)?;
                Self::regular(fs::canonicalize(path)?, existing.permissions())
            }
            Ok(_) => Ok(Self::Special(OpenOptions::new().write(true).open(path)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::regular(path.to_owned(), usual),
            Err(error) => Err(error),
        }
    }

    fn regular(path: PathBuf, permissions: Permissions) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let temporary = tempfile::Builder::new()
            .prefix(".awaitwhat-")
            .permissions(permissions)
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        Ok(Self::Regular { temporary, path })
    }

    /// Puts what was written in its place.
    ///
    /// # Errors
    /// When that fails; what was there before is then still there.
    pub(super) fn commit(mut self) -> io::Result<()> {
        self.flush()?;
        match self {
            Self::Regular { temporary, path } => {
                temporary.persist(path).map(drop).map_err(|failed| failed.error)
            }
            Self::Special(_) => Ok(()),
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Regular { temporary, .. } => temporary.write(bytes),
            Self::Special(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Regular { temporary, .. } => temporary.flush(),
            Self::Special(file) => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use super::OutputFile;

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
        drop(OutputFile::prepare(&folder.path().join("x.svg")).unwrap());
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
        assert!(matches!(output, OutputFile::Special(_)));
        output.write_all(b"x").unwrap();
        output.commit().unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("missing/x.svg"), folder.path().to_owned()] {
            let error = OutputFile::prepare(&path).unwrap_err().to_string();
            assert!(error.contains("cannot be written to"), "{error}");
        }
    }
}
