//! `record`: what `trace` sees, in a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::args::{GlobalArgs, RecordArgs};
use super::config::{self, TraceConfig};
use super::diagnostics::tell;
use super::exit::Exit;
use super::output::{NotWritten, are_one, with_least};
use super::trace;
use crate::recording::{self, Header, Snapshots, Why, Written, begins_like_one};
use crate::selection::Selection;
use crate::view::escape::Escaped;

/// What a recording begins with at most, as far as it is needed to know it.
const BEGINNING: u64 = 16;

/// Where to record to.
pub(super) struct ToRecord {
    path: PathBuf,
    file: RecordingFile,
    max_bytes: Option<u64>,
    snapshots: Option<Duration>,
}

pub(super) async fn run(args: RecordArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    let (path, max_bytes) = (args.output.clone(), args.max_size);
    let snapshots = config::snapshots(args.snapshots)?;
    let config = TraceConfig::of_recording(args, global)?;
    let is_it = |output: &&Path| **output == *path || are_one(output, &path);
    if let Some(output) = config.form.output.as_deref().filter(is_it) {
        return Err(config::Error::Recording(output.to_owned()).into());
    }
    let file = RecordingFile::open(&path)?;
    let made = file.is_new.then(|| path.clone());
    let to_record = ToRecord {
        path,
        file,
        max_bytes,
        snapshots,
    };
    let result = trace::run(config, Some(to_record)).await;
    // Of what was never looked at there is nothing to keep.
    if let (Err(_), Some(path)) = (&result, made)
        && fs::metadata(&path).is_ok_and(|it| it.len() == 0)
    {
        let _ = fs::remove_file(path);
    }
    result
}

/// Where a recording of `selection` is, and what begins it.
pub(super) fn parted(
    to_record: Option<ToRecord>,
    config: &TraceConfig,
    selection: &Selection,
) -> (Option<PathBuf>, Option<recording::Options>) {
    let Some(ToRecord {
        path,
        file,
        max_bytes,
        snapshots,
    }) = to_record
    else {
        return (None, None);
    };
    let options = &config.options;
    let is_single = selection.single().is_some();
    let recording = recording::Options {
        output: Box::new(file),
        header: Header::new(options.rate_hz, options.reading.max_frames, is_single),
        max_bytes,
        snapshots,
    };
    (Some(path), Some(recording))
}

/// Says what came of a recording.
///
/// # Errors
/// When it could not be written to its end.
pub(super) fn tell_written(place: &Path, written: &Written, seconds: f64) -> anyhow::Result<()> {
    let Written {
        bytes,
        why,
        snapshots,
    } = written;
    let place = place.display();
    if let Why::Failed(error) = why {
        let kept = match bytes {
            0 => String::new(),
            _ => format!(" (the recording, of which {bytes} bytes are there, and can be reported)"),
        };
        return Err(NotWritten {
            place: format!("{place}{kept}"),
            source: io::Error::other(error.clone()),
        }
        .into());
    }
    let size = shown_size(*bytes) + &shown_snapshots(snapshots);
    match why {
        Why::Size => tell(format_args!(
            "Wrote {place}: {seconds:.1} s, {size}. It ended there, as it may become no larger (--max-size)."
        )),
        _ => tell(format_args!("Wrote {place}: {seconds:.1} s, {size}.")),
    }
    if let (1.., Some(why)) = (snapshots.missing, &snapshots.why) {
        let what = plural(snapshots.missing, "snapshot is", "snapshots are");
        tell(format_args!("{what} missing: {}.", Escaped(why)));
    }
    Ok(())
}

/// `, 3 snapshots`; nothing where there are none.
fn shown_snapshots(snapshots: &Snapshots) -> String {
    match snapshots.kept {
        0 => String::new(),
        kept => format!(", {}", plural(kept, "snapshot", "snapshots")),
    }
}

fn plural(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

fn shown_size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// A file that is written to as it goes, so that it has its name from the beginning. What it held before is gone with the first write.
struct RecordingFile {
    file: File,
    /// A regular file that still holds what it held before.
    is_old: bool,
    is_new: bool,
}

impl RecordingFile {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let opened = with_least(|| Self::try_open(path)).map(|(file, _)| file);
        opened.with_context(|| {
            format!(
                "{} cannot be recorded to: nothing was looked at; choose another --output",
                path.display()
            )
        })
    }

    fn try_open(path: &Path) -> io::Result<Self> {
        // Text of the target is for whoever may look at it.
        let new = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match new {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            new => {
                let file = new?;
                claim(&file)?;
                return Ok(Self {
                    file,
                    is_old: false,
                    is_new: true,
                });
            }
        }
        let is_regular = fs::metadata(path)?.is_file();
        let file = OpenOptions::new().read(is_regular).write(true).open(path)?;
        if is_regular {
            claim(&file)?;
            let mut beginning = Vec::new();
            (&file).take(BEGINNING).read_to_end(&mut beginning)?;
            if !beginning.is_empty() && !begins_like_one(&beginning) {
                return Err(io::Error::other(
                    "there is a file of that name that is no recording, and it is not overwritten",
                ));
            }
        }
        Ok(Self {
            file,
            is_old: is_regular,
            is_new: false,
        })
    }
}

/// Makes sure that nobody else records to a file, as long as it is open.
fn claim(file: &File) -> io::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(io::Error::other("another awaitwhat records to it")),
        // Some file systems know no locks.
        _ => Ok(()),
    }
}

impl Write for RecordingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.is_old) {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{RecordingFile, shown_size};

    #[test]
    fn no_file_is_overwritten_that_is_no_recording() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.await");
        let mut file = RecordingFile::open(&path).unwrap();
        file.write_all(b"\x8eawait\r\n and more").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!((file.is_new, mode & 0o777), (true, 0o600));
        // Nothing is lost before there is something else.
        let error = RecordingFile::open(&path).map(|_| ()).unwrap_err();
        assert!(format!("{error:#}").contains("another awaitwhat"), "{error:#}");
        drop(file);
        let mut again = RecordingFile::open(&path).unwrap();
        assert_eq!((again.is_new, fs::read(&path).unwrap().len()), (false, 17));
        again.write_all(b"\x8eawait\r\n").unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), 8);
        drop(again);
        fs::write(&path, "a diary").unwrap();
        let error = RecordingFile::open(&path).map(|_| ()).unwrap_err();
        assert!(format!("{error:#}").contains("no recording"), "{error:#}");
        assert_eq!(fs::read(&path).unwrap(), b"a diary");
    }

    #[test]
    fn sizes_are_short() {
        let sizes = [999, 1_000, 45_678_901].map(shown_size);
        assert_eq!(sizes, ["999 bytes", "1.0 kB", "45.7 MB"]);
    }
}
