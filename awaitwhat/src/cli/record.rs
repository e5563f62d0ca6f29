//! `record`: what `trace` sees, in a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::args::{GlobalArgs, RecordArgs};
use super::config::{self, Around, TraceConfig};
use super::diagnostics::tell;
use super::exit::Exit;
use super::output::{NotWritten, are_one, may_rename, with_least};
use super::trace;
use crate::recording::{self, Header, Next, Snapshots, Trigger, Why, Written, begins_like_one};
use crate::selection::Selection;
use crate::session::{self, News, When};
use crate::view::escape::Escaped;

/// What one of several files should hold at least, in seconds: a pass over very many tasks takes some of that.
const LEAST_SECONDS: f64 = 5.0;
/// What a recording begins with at most, as far as it is needed to know it.
const BEGINNING: u64 = 16;

/// Where to record to.
pub(super) struct ToRecord {
    path: PathBuf,
    file: RecordingFile,
    max_bytes: Option<u64>,
    snapshots: Option<Duration>,
    /// Around which moments; `None` where all is recorded.
    around: Option<Around>,
    /// How many files there are at most, one after the other.
    files: u32,
}

pub(super) async fn run(args: RecordArgs, global: &GlobalArgs) -> anyhow::Result<Exit> {
    let (path, max_bytes) = (args.output.clone(), args.max_size);
    let around = config::around(&args)?;
    let files = around.as_ref().map_or(1, |_| config::WHEN_FILES);
    let files = args.rotate.unwrap_or(files);
    let snapshots = config::snapshots(args.snapshots)?;
    let config = TraceConfig::of_recording(args, global)?;
    let is_it = |output: &&Path| **output == *path || are_one(output, &path);
    if let Some(output) = config.form.output.as_deref().filter(is_it) {
        return Err(config::Error::Recording(output.to_owned()).into());
    }
    let file = RecordingFile::open(&path, files)?;
    let made = file.is_new.then(|| path.clone());
    if let (Some(_), Some(path)) = (&around, &made) {
        // It could be made, and is not there before something has happened.
        fs::remove_file(path)?;
    }
    let to_record = ToRecord {
        path,
        file,
        max_bytes,
        snapshots,
        around,
        files,
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

/// Where a recording of `selection` is, and what is to be recorded.
pub(super) fn parted(
    to_record: Option<ToRecord>,
    config: &TraceConfig,
    selection: &Selection,
) -> (Option<PathBuf>, Option<session::ToRecord>) {
    let Some(ToRecord {
        path,
        file,
        max_bytes,
        snapshots,
        around,
        files,
    }) = to_record
    else {
        return (None, None);
    };
    let options = &config.options;
    let is_single = selection.single().is_some();
    let header = Header::new(options.rate_hz, options.reading.max_frames, is_single);
    let to_record = match around {
        None => session::ToRecord::All(recording::Options {
            output: Box::new(file),
            header,
            max_bytes,
            next: (files > 1).then(|| next_files(&path, files)),
            snapshots,
        }),
        Some(Around {
            conditions,
            before,
            after,
        }) => session::ToRecord::When(When {
            conditions,
            before,
            after,
            header,
            max_bytes,
            next: next_files(&path, files),
            snapshots,
            told: Box::new(|_| {}),
        }),
    };
    (Some(path), Some(to_record))
}

/// Has what happens while nothing is written yet be told, beside a progress bar.
pub(super) fn tell_news_beside(
    to_record: &mut Option<session::ToRecord>,
    place: Option<&Path>,
    bar: &ProgressBar,
) {
    if let (Some(session::ToRecord::When(when)), Some(place)) = (to_record, place) {
        let (place, bar, after) = (place.to_owned(), bar.clone(), when.after);
        when.told = Box::new(move |news| bar.suspend(|| tell(shown_news(news, &place, after))));
    }
}

fn shown_news(news: &News, place: &Path, after: Duration) -> String {
    let place = place.display();
    match news {
        News::Triggered { trigger, goes_back } => {
            let goes_on = match goes_back {
                Some(back) => format!(
                    "{place} goes back {:.1} s, and goes on for {} s.",
                    back.as_secs_f64(),
                    after.as_secs_f64()
                ),
                None => format!("{place} is being written already, and tells of this, too."),
            };
            format!("{} {goes_on}", shown_trigger(trigger))
        }
        News::Kept {
            written: Written {
                why: Why::Failed(error),
                ..
            },
            time: _,
        } => format!("{place} could not be written to its end: {}.", Escaped(error)),
        News::Kept { written, time } => {
            let size = shown_size(written.bytes) + &shown_snapshots(&written.snapshots);
            let end = match written.why {
                Why::Size => " It ended there, as it may become no larger (--max-size).",
                Why::Trace | Why::Failed(_) => "",
            };
            format!("{place} is whole: {:.1} s, {size}.{end}", time.as_secs_f64())
        }
    }
}

/// Says why a recording is kept.
pub(super) fn shown_trigger(trigger: &Trigger) -> String {
    let Trigger {
        condition,
        what,
        at,
        since: _,
    } = trigger;
    format!(
        "Triggered at {at:.3} by {}: {}.",
        Escaped(condition),
        Escaped(what)
    )
}

/// Makes room for one file after the other.
fn next_files(path: &Path, files: u32) -> Next {
    let path = path.to_owned();
    Box::new(move || {
        shift(&path, files)?;
        let file = RecordingFile::create(&path)?;
        Ok(Box::new(file))
    })
}

/// The name that a file gets when so many others have begun after it.
fn aged(path: &Path, age: u32) -> PathBuf {
    if age == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}

/// Lets each file become one older. Of so many `files` the oldest is replaced.
fn shift(path: &Path, files: u32) -> io::Result<()> {
    // Others may have written there since it was looked at first.
    refuse_foreign(path, 0..files)?;
    for age in (1..files).rev() {
        match fs::rename(aged(path, age - 1), aged(path, age)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// Makes sure that what older files are to be called is no file of anything else.
fn refuse_foreign(path: &Path, ages: Range<u32>) -> io::Result<()> {
    for age in ages {
        let path = aged(path, age);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let mut beginning = Vec::new();
        file.take(BEGINNING).read_to_end(&mut beginning)?;
        if !beginning.is_empty() && !begins_like_one(&beginning) {
            return Err(io::Error::other(format!(
                "{} is no recording, and would be replaced (--rotate, --when)",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Says what came of a recording.
///
/// # Errors
/// When it could not be written to its end.
pub(super) fn tell_written(place: &Path, written: &Written, seconds: f64) -> anyhow::Result<()> {
    let Written {
        bytes,
        files,
        why,
        snapshots,
        triggers,
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
    if let Some(triggers) = triggers {
        tell(match triggers {
            0 => format!("Nothing has triggered within {seconds:.1} s, so that {place} was not written."),
            _ => format!(
                "Wrote {} within {seconds:.1} s, as it triggered: the newest is {place} ({} in all).",
                plural(*triggers, "file", "files"),
                shown_size(*bytes)
            ),
        });
        tell_missing(snapshots);
        return Ok(());
    }
    let mut size = shown_size(*bytes);
    if *files > 1 {
        size += &format!(" in {files} files");
    }
    size += &shown_snapshots(snapshots);
    match why {
        Why::Size => tell(format_args!(
            "Wrote {place}: {seconds:.1} s, {size}. It ended there, as it may become no larger (--max-size)."
        )),
        _ => tell(format_args!("Wrote {place}: {seconds:.1} s, {size}.")),
    }
    let each = seconds / (*files).max(1) as f64;
    if *files > 1 && each < LEAST_SECONDS {
        tell(format_args!(
            "A file holds {each:.1} s on average: in each, a task counts from its first visit there, so that numbers are too low. Choose a larger --max-size."
        ));
    }
    tell_missing(snapshots);
    Ok(())
}

fn tell_missing(snapshots: &Snapshots) {
    if let (1.., Some(why)) = (snapshots.missing, &snapshots.why) {
        let what = plural(snapshots.missing, "snapshot is", "snapshots are");
        tell(format_args!("{what} missing: {}.", Escaped(why)));
    }
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
    path: PathBuf,
    /// How many files there are at most, one after the other.
    files: u32,
}

impl RecordingFile {
    fn open(path: &Path, files: u32) -> anyhow::Result<Self> {
        // While targets are read nobody may do what the user may not.
        let may_be_renamed = if files > 1 { may_rename(path) } else { Ok(()) };
        may_be_renamed.with_context(|| {
            format!(
                "files cannot be renamed later in the folder of {} (--rotate, --when): nothing was looked at; choose another --output",
                path.display()
            )
        })?;
        let opened = with_least(|| Self::try_open(path, files)).map(|(file, _)| file);
        opened.with_context(|| {
            format!(
                "{} cannot be recorded to: nothing was looked at; choose another --output",
                path.display()
            )
        })
    }

    /// Makes one that is not there yet.
    fn create(path: &Path) -> io::Result<Self> {
        // Text of the target is for whoever may look at it.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        claim(&file)?;
        Ok(Self {
            file,
            is_old: false,
            is_new: true,
            path: path.to_owned(),
            files: 1,
        })
    }

    fn try_open(path: &Path, files: u32) -> io::Result<Self> {
        refuse_foreign(path, 1..files)?;
        match Self::create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            new => return new,
        }
        let is_regular = fs::metadata(path)?.is_file();
        if files > 1 && !is_regular {
            return Err(io::Error::other(
                "it is no regular file, so that it cannot be renamed for the next one (--rotate, --when)",
            ));
        }
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
            path: path.to_owned(),
            files,
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
        let is_old = std::mem::take(&mut self.is_old);
        if is_old && self.files > 1 {
            shift(&self.path, self.files)?;
            *self = Self::create(&self.path)?;
        } else if is_old {
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

    use super::{RecordingFile, aged, next_files, shown_size};

    #[test]
    fn no_file_is_overwritten_that_is_no_recording() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.await");
        let mut file = RecordingFile::open(&path, 1).unwrap();
        file.write_all(b"\x8eawait\r\n and more").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!((file.is_new, mode & 0o777), (true, 0o600));
        // Nothing is lost before there is something else.
        let error = RecordingFile::open(&path, 1).map(|_| ()).unwrap_err();
        assert!(format!("{error:#}").contains("another awaitwhat"), "{error:#}");
        drop(file);
        let mut again = RecordingFile::open(&path, 1).unwrap();
        assert_eq!((again.is_new, fs::read(&path).unwrap().len()), (false, 17));
        again.write_all(b"\x8eawait\r\n").unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), 8);
        drop(again);
        fs::write(&path, "a diary").unwrap();
        let error = RecordingFile::open(&path, 1).map(|_| ()).unwrap_err();
        assert!(format!("{error:#}").contains("no recording"), "{error:#}");
        assert_eq!(fs::read(&path).unwrap(), b"a diary");
    }

    #[test]
    fn a_device_makes_no_room_for_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        RecordingFile::open(&link, 1).unwrap();
        let error = RecordingFile::open(&link, 2).map(|_| ()).unwrap_err();
        assert!(format!("{error:#}").contains("no regular file"), "{error:#}");
        assert!(link.exists());
    }

    #[test]
    fn files_become_older_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.await");
        let begin = |number: u8| [&b"\x8eawait\r\n"[..], &[number]].concat();
        let last = |age| fs::read(aged(&path, age)).ok().and_then(|it| it.last().copied());
        fs::write(&path, begin(0)).unwrap();
        let mut first = RecordingFile::open(&path, 3).unwrap();
        assert_eq!([last(0), last(1)], [Some(0), None]);
        // What was there before is the first to become older.
        first.write_all(&begin(9)).unwrap();
        first.write_all(&[1]).unwrap();
        assert_eq!([0, 1, 2].map(last), [Some(1), Some(0), None]);
        let mut next = next_files(&path, 3);
        for number in 2..5 {
            next().unwrap().write_all(&begin(number)).unwrap();
        }
        assert_eq!([0, 1, 2, 3].map(last), [Some(4), Some(3), Some(2), None]);
        // None of them may be something else.
        drop((first, next));
        fs::write(aged(&path, 2), "a diary").unwrap();
        fs::remove_file(&path).unwrap();
        let error = RecordingFile::open(&path, 3).map(|_| ()).unwrap_err();
        assert!(
            format!("{error:#}").contains("x.await.2 is no recording"),
            "{error:#}"
        );
        assert!(!path.exists() && fs::read(aged(&path, 2)).unwrap() == b"a diary");
    }

    #[test]
    fn sizes_are_short() {
        let sizes = [999, 1_000, 45_678_901].map(shown_size);
        assert_eq!(sizes, ["999 bytes", "1.0 kB", "45.7 MB"]);
    }
}
