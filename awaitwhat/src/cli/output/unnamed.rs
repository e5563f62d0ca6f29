//! A file that has no name until it is whole: nothing of it stays behind, whatever ends this process.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, linkat};
use tempfile::{Builder, NamedTempFile};

/// How the names begin that files have for a moment.
const PREFIX: &str = ".awaitwhat-";
/// Read and write for everybody whom the umask lets.
const USUAL: u32 = 0o666;
/// The bits of a file's mode that are passed on to what replaces it.
const PERMISSIONS: u32 = 0o777;

/// What will be a file of a folder.
#[derive(Debug)]
pub(super) struct Unnamed {
    folder: PathBuf,
    mode: Option<u32>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// See `O_TMPFILE` in open(2).
    File(File),
    /// Where the file system has no such files (NFS, FAT, many of FUSE): written at the very end.
    Memory(Vec<u8>),
}

impl Unnamed {
    /// Makes one that can be given a name in `folder`. Its permissions are those of `mode`, or the usual ones.
    ///
    /// # Errors
    /// When no file can be made there.
    pub(super) fn in_folder(folder: &Path, mode: Option<u32>) -> io::Result<Self> {
        match nameless(folder, mode) {
            Ok(file) => Ok(Self {
                folder: folder.to_owned(),
                mode,
                content: Content::File(file),
            }),
            // The latter is what kernels say whose file system does not know the flag.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
                Self::in_memory(folder, mode)
            }
            Err(error) => Err(error),
        }
    }

    fn in_memory(folder: &Path, mode: Option<u32>) -> io::Result<Self> {
        let file = Self {
            folder: folder.to_owned(),
            mode,
            content: Content::Memory(Vec::new()),
        };
        // Whether it could be made; it is gone again at once.
        file.named().map(|_| file)
    }

    /// A file that has a name, and is removed with its value.
    fn named(&self) -> io::Result<NamedTempFile> {
        let file = Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(USUAL))
            .tempfile_in(&self.folder)?;
        permit(file.as_file(), self.mode)?;
        Ok(file)
    }

    /// Gives it a name that nothing has. A symbolic link is something, wherever it leads.
    ///
    /// # Errors
    /// `AlreadyExists` where something has the name: another one may be tried. Others where it cannot be done.
    pub(super) fn name(&self, path: &Path) -> io::Result<()> {
        match &self.content {
            Content::File(file) => link(file, path),
            Content::Memory(bytes) => {
                let mut named = self.named()?;
                named.write_all(bytes)?;
                named
                    .persist_noclobber(path)
                    .map(drop)
                    .map_err(|failed| failed.error)
            }
        }
    }

    /// Gives it the name `path`, also where something has it.
    ///
    /// # Errors
    /// When that cannot be done: what was there before is then still there.
    pub(super) fn replace(&self, path: &Path) -> io::Result<()> {
        match &self.content {
            Content::File(file) => {
                // A file that has a name can take another one's place, one without cannot.
                let named = Builder::new()
                    .prefix(PREFIX)
                    .make_in(&self.folder, |path| link(file, path))?;
                named.persist(path).map(drop).map_err(|failed| failed.error)
            }
            Content::Memory(bytes) => {
                let mut named = self.named()?;
                named.write_all(bytes)?;
                named.persist(path).map(drop).map_err(|failed| failed.error)
            }
        }
    }
}

fn nameless(folder: &Path, mode: Option<u32>) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .mode(USUAL)
        .open(folder)?;
    permit(&file, mode)?;
    Ok(file)
}

/// Gives a file the permissions of the one whose mode this is.
fn permit(file: &File, mode: Option<u32>) -> io::Result<()> {
    mode.map_or(Ok(()), |mode| {
        file.set_permissions(Permissions::from_mode(mode & PERMISSIONS))
    })
}

/// Gives a file without a name its first one. To do it by the descriptor itself (`AT_EMPTY_PATH`) asks for a capability.
fn link(file: &File, path: &Path) -> io::Result<()> {
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

impl Write for Unnamed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.content {
            Content::File(file) => file.write(bytes),
            Content::Memory(memory) => memory.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.content {
            Content::File(file) => file.flush(),
            Content::Memory(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{self, Write as _};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use tempfile::TempDir;

    use super::Unnamed;

    type Make = fn(&Path, Option<u32>) -> io::Result<Unnamed>;

    /// Both kinds.
    const KINDS: [Make; 2] = [Unnamed::in_folder, Unnamed::in_memory];

    fn folder_with(make: Make, mode: Option<u32>) -> (TempDir, Unnamed) {
        let folder = tempfile::tempdir().unwrap();
        let mut file = make(folder.path(), mode).unwrap();
        file.write_all(b"new").unwrap();
        (folder, file)
    }

    fn count(folder: &TempDir) -> usize {
        fs::read_dir(folder.path()).unwrap().count()
    }

    #[test]
    fn there_is_no_file_before_it_has_a_name() {
        for make in KINDS {
            let (folder, file) = folder_with(make, None);
            assert_eq!(count(&folder), 0);
            file.name(&folder.path().join("x")).unwrap();
            assert_eq!(count(&folder), 1);
            assert_eq!(fs::read(folder.path().join("x")).unwrap(), b"new");
        }
    }

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        for make in KINDS {
            let (folder, file) = folder_with(make, None);
            let (other, link) = (folder.path().join("other"), folder.path().join("link"));
            fs::write(&other, "old").unwrap();
            symlink(folder.path().join("nowhere"), &link).unwrap();
            for path in [&other, &link] {
                let error = file.name(path).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            }
            assert_eq!(fs::read(&other).unwrap(), b"old");
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(count(&folder), 2);
        }
    }

    #[test]
    fn it_takes_the_place_of_another() {
        for make in KINDS {
            let (folder, file) = folder_with(make, Some(0o4604));
            let path = folder.path().join("x");
            fs::write(&path, "old").unwrap();
            file.replace(&path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o604);
            assert_eq!(count(&folder), 1);
        }
    }

    #[test]
    fn nothing_stays_where_it_cannot_have_its_name() {
        for make in KINDS {
            let (folder, file) = folder_with(make, None);
            let taken = folder.path().join("folder");
            fs::create_dir(&taken).unwrap();
            file.replace(&taken).unwrap_err();
            assert_eq!(count(&folder), 1);
            let path = folder.path().to_owned();
            drop(folder);
            file.name(&path.join("x")).unwrap_err();
            file.replace(&path.join("x")).unwrap_err();
        }
    }
}
