//! A profile from JSON: what `export/profile_json` and `export/survey_json` have written.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::error::Category;

use super::MAX_BYTES;
use crate::export::{profile_json, survey_json};
use crate::file_kinds::{self, shortened};
use crate::origin::{Origin, Rank};
use crate::profile::{Chain, ChainState, Process, Profile};
use crate::resource::{Resource, ResourceKind};
use crate::snapshot::{Frame, FrameKind, Losses};

/// Times that make sense, in seconds: some 30,000 years of one task. Sums of as many as a file may have are numbers still.
const MAX_SECONDS: f64 = 1e12;

/// Whose profile a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One process's.
    Single,
    /// That of several processes together.
    Merged,
}

/// A profile that a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    pub kind: Kind,
    pub profile: Profile,
}

/// Why a file holds no profile that can be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is larger than {} MiB, the most that is read", MAX_BYTES >> 20)]
    TooLarge,
    #[error("it is {0}, and no profile: `awaitwhat trace -o FILE.json` writes one")]
    NoProfile(String),
    #[error("it is JSON that is damaged or was cut off: {0}")]
    NoJson(serde_json::Error),
    #[error("it is a profile of the schema {0:?}, and this awaitwhat reads {known}: use one that is as new as the file", known = profile_json::SCHEMA)]
    Version(String),
    #[error(
        "it holds a profile for each of {0} processes: trace one process (--pid once), or all of them together (--merge)"
    )]
    Several(usize),
    #[error("it says that it is a profile, but is not like one: {0}")]
    Malformed(String),
    #[error("it says that it is a profile, but one of its times is no number of seconds: {0:e}")]
    Seconds(f64),
}

#[derive(Deserialize)]
struct Schema<'a> {
    #[serde(borrow)]
    schema: Cow<'a, str>,
}

#[derive(Deserialize)]
struct SurveyDocument<'a> {
    #[serde(borrow)]
    merged: Option<ProfileDocument<'a>>,
    #[serde(borrow, default)]
    targets: Vec<ProfileDocument<'a>>,
}

/// Of one process, or of several.
#[derive(Deserialize)]
struct ProfileDocument<'a> {
    pid: Option<u32>,
    #[serde(default)]
    command: String,
    python: Option<String>,
    processes: Option<Vec<Process>>,
    started_at: jiff::Timestamp,
    duration_seconds: f64,
    samples: u64,
    task_visits: u64,
    threads: usize,
    busy_seconds: f64,
    target_exited: bool,
    #[serde(borrow)]
    chains: Vec<ChainDocument<'a>>,
    #[serde(default)]
    lost: Losses,
}

#[derive(Deserialize)]
struct ChainDocument<'a> {
    #[serde(borrow)]
    frames: Vec<FrameDocument<'a>>,
    state: ChainState,
    terminal: Option<String>,
    resource: Option<ResourceDocument>,
    #[serde(default)]
    answers: f64,
    task_seconds: f64,
}

#[derive(Deserialize)]
struct FrameDocument<'a> {
    #[serde(borrow)]
    function: Cow<'a, str>,
    #[serde(borrow)]
    file: Cow<'a, str>,
    line: u32,
    kind: FrameKind,
    rank: Option<Rank>,
}

#[derive(Deserialize)]
struct ResourceDocument {
    kind: ResourceKind,
    words: Option<Arc<str>>,
    r#type: Option<Arc<str>>,
    label: Option<Arc<str>>,
    operation: Option<Arc<str>>,
    method: Option<Arc<str>>,
    url: Option<Arc<str>>,
    local: Option<Arc<str>>,
    peer: Option<Arc<str>>,
    command: Option<Arc<str>>,
    query: Option<Arc<str>>,
}

/// The profile that `bytes`, the content of a file, holds.
///
/// # Errors
/// See [`Error`].
pub fn profile(bytes: &[u8]) -> Result<Saved, Error> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Error::NoProfile(file_kinds::of(bytes)))?;
    if !text.trim_start().starts_with(['{', '[']) {
        return Err(Error::NoProfile(file_kinds::of(bytes)));
    }
    // All of it is looked at before anything is kept.
    let Schema { schema } = serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => Error::NoProfile(file_kinds::json(text)),
        Category::Io | Category::Syntax | Category::Eof => Error::NoJson(error),
    })?;
    match &*schema {
        profile_json::SCHEMA => Ok(Saved {
            kind: Kind::Single,
            profile: parsed::<ProfileDocument<'_>>(text)?.profile()?,
        }),
        survey_json::PROFILES_SCHEMA => parsed::<SurveyDocument<'_>>(text)?.saved(),
        other if other.starts_with("awaitwhat.profile/") || other.starts_with("awaitwhat.profiles/") => {
            Err(Error::Version(shortened(other)))
        }
        _ => Err(Error::NoProfile(file_kinds::json(text))),
    }
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| malformed(&error))
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::Malformed(shortened(&error.to_string()))
}

impl SurveyDocument<'_> {
    fn saved(mut self) -> Result<Saved, Error> {
        if let Some(merged) = self.merged {
            return Ok(Saved {
                kind: Kind::Merged,
                profile: merged.profile()?,
            });
        }
        match self.targets.pop() {
            Some(only) if self.targets.is_empty() => Ok(Saved {
                kind: Kind::Single,
                profile: only.profile()?,
            }),
            Some(_) => Err(Error::Several(self.targets.len() + 1)),
            None => Err(Error::NoProfile(
                "a list of profiles with nothing in it".to_owned(),
            )),
        }
    }
}

impl ProfileDocument<'_> {
    fn profile(self) -> Result<Profile, Error> {
        let processes = match (self.processes, self.pid, self.python) {
            (Some(processes), ..) => processes,
            (None, Some(pid), Some(python)) => vec![Process {
                pid,
                command: self.command,
                python,
            }],
            _ => {
                return Err(malformed(&serde::de::Error::missing_field(
                    "pid and python, or processes",
                )));
            }
        };
        let mut names = Names::default();
        let chains = self.chains.into_iter().map(|chain| chain.chain(&mut names));
        Ok(Profile {
            chains: chains.collect::<Result<_, _>>()?,
            processes,
            started_at: self.started_at,
            duration_seconds: seconds(self.duration_seconds)?,
            samples: self.samples,
            task_visits: self.task_visits,
            busy_seconds: seconds(self.busy_seconds)?,
            threads: self.threads,
            // They are not compared.
            waits: Vec::new(),
            holds: Vec::new(),
            losses: self.lost,
            target_exited: self.target_exited,
            timeline: None,
        })
    }
}

/// A time in seconds, or another number of which there cannot be less than none.
fn seconds(value: f64) -> Result<f64, Error> {
    if (0.0..=MAX_SECONDS).contains(&value) {
        Ok(value)
    } else {
        Err(Error::Seconds(value))
    }
}

impl ChainDocument<'_> {
    fn chain(self, names: &mut Names) -> Result<Chain, Error> {
        let frames = self.frames.into_iter().map(|frame| names.frame(frame));
        Ok(Chain {
            stack: frames.collect(),
            state: self.state,
            terminal: self.terminal.map(|name| names.text(&name)),
            resource: self.resource.map(|it| Arc::new(it.resource())),
            answers: seconds(self.answers)?,
            task_seconds: seconds(self.task_seconds)?,
        })
    }
}

impl ResourceDocument {
    fn resource(self) -> Resource {
        Resource {
            words: self.words.unwrap_or_else(|| self.kind.words().into()),
            type_name: self.r#type,
            label: self.label,
            operation: self.operation,
            method: self.method,
            url: self.url,
            local: self.local,
            peer: self.peer,
            command: self.command,
            query: self.query,
            ..Resource::of_kind(self.kind)
        }
    }
}

/// Texts that occur again and again, each once, and what was found out of files.
#[derive(Default)]
struct Names {
    texts: HashMap<Box<str>, Arc<str>>,
    origins: HashMap<(Arc<str>, Option<Rank>), Origin>,
}

impl Names {
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.insert(text.into(), Arc::clone(&new));
        new
    }

    fn frame(&mut self, frame: FrameDocument<'_>) -> Frame {
        let (function, file) = (self.text(&frame.function), self.text(&frame.file));
        let key = (Arc::clone(&file), frame.rank);
        let origin = *self
            .origins
            .entry(key)
            .or_insert_with_key(|(file, rank)| Origin::told(*rank, file));
        Frame {
            function,
            file,
            line: frame.line,
            kind: frame.kind,
            origin,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use serde_json::{Value, json};

    use super::*;
    use crate::survey::Refusals;
    use crate::testing::{HOSTILE, chain, frame, named, profile as model, ready, small_profile};

    fn written(profile: &Profile) -> Vec<u8> {
        let mut output = Vec::new();
        profile_json::write(profile, &mut output).unwrap();
        output
    }

    fn varied() -> Profile {
        let mut lock = named(
            ResourceKind::Queue,
            HOSTILE,
            chain(&[frame(HOSTILE, "/srv/a.py", 1)], Some(HOSTILE), 1.0),
        );
        let resource = Resource {
            words: "an item of queue".into(),
            operation: Some("get".into()),
            peer: Some("10.0.0.7:5432".into()),
            ..(**lock.resource.as_ref().unwrap()).clone()
        };
        lock.resource = Some(Arc::new(resource));
        let mut profile = small_profile();
        profile.chains.push(lock);
        profile
            .chains
            .push(ready(&[Frame::left_out(Some(3)), frame("x", "", 0)], None, 0.5));
        profile.losses.torn = 7;
        profile
    }

    /// How long waits took is told by percentiles, which are not read.
    fn without_waits(profile: Profile) -> Profile {
        Profile {
            waits: Vec::new(),
            ..profile
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for original in [small_profile(), varied(), model(Vec::new())] {
            let read = profile(&written(&original)).unwrap();
            assert_eq!((read.kind, read.profile), (Kind::Single, without_waits(original)));
        }
        let each = [small_profile(), varied()];
        let merged = Profile::merged(&each, each[0].started_at, 10.0);
        let mut output = Vec::new();
        survey_json::write_merged(&merged, &Refusals::default(), &mut output).unwrap();
        let read = profile(&output).unwrap();
        assert_eq!((read.kind, read.profile), (Kind::Merged, without_waits(merged)));
        let mut output = Vec::new();
        survey_json::write_profiles(&each[..1], &Refusals::default(), &mut output).unwrap();
        assert_eq!(profile(&output).unwrap().kind, Kind::Single);
    }

    #[test]
    fn older_files_are_read_with_what_they_have() {
        let mut document: Value = serde_json::from_slice(&written(&varied())).unwrap();
        let object = document.as_object_mut().unwrap();
        object.retain(|key, _| !["command", "blocked", "await_points"].contains(&key.as_str()));
        object.insert("lost".to_owned(), json!({ "torn": 2, "of_tomorrow": 1 }));
        for chain in document["chains"].as_array_mut().unwrap() {
            let object = chain.as_object_mut().unwrap();
            object.retain(|key, _| !["resource", "answers"].contains(&key.as_str()));
            for frame in chain["frames"].as_array_mut().unwrap() {
                frame.as_object_mut().unwrap().remove("rank");
            }
        }
        let read = profile(document.to_string().as_bytes()).unwrap().profile;
        let ranks = |profile: &Profile| -> Vec<Rank> {
            let frames = profile.chains.iter().flat_map(|chain| chain.stack.iter());
            frames.map(|frame| frame.origin.rank).take(6).collect()
        };
        assert_eq!(ranks(&read), ranks(&varied()));
        assert_eq!((read.losses.torn, &*read.processes[0].command), (2, ""));
    }

    #[test]
    fn errors_say_what_the_file_is() {
        let mut each = Vec::new();
        survey_json::write_profiles(
            &[small_profile(), small_profile()],
            &Refusals::default(),
            &mut each,
        )
        .unwrap();
        let with = |pointer: &str, value: Value| {
            let mut document: Value = serde_json::from_slice(&written(&small_profile())).unwrap();
            *document.pointer_mut(pointer).unwrap() = value;
            document.to_string().into_bytes()
        };
        let whole = written(&small_profile());
        let long = "x".repeat(10_000);
        let cases = [
            with("/chains/0/state", json!(long)),
            with("/schema", json!(format!("awaitwhat.profile/{long}"))),
            with("/schema", json!(long)),
            b"<svg>".to_vec(),
            b"a;b 1\n".to_vec(),
            br#"{"schema":"awaitwhat.snapshot/1"}"#.to_vec(),
            whole[..whole.len() / 2].to_vec(),
            with("/schema", json!("awaitwhat.profile/2")),
            with("/chains", json!(7)),
            with("/chains/0/task_seconds", json!(-1.0)),
            with("/chains/0/frames/0/line", json!(-1)),
            with("/duration_seconds", json!(1e300)),
            each,
            br#"{"schema":"awaitwhat.profiles/1"}"#.to_vec(),
        ];
        let told: Vec<String> = cases
            .iter()
            .map(|it| profile(it).unwrap_err().to_string())
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        it says that it is a profile, but is not like one: unknown variant `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
        it is a profile of the schema "awaitwhat.profile/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…", and this awaitwhat reads awaitwhat.profile/1: use one that is as new as the file
        it is JSON of the schema "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…", and no profile: `awaitwhat trace -o FILE.json` writes one
        it is a picture (SVG), perhaps a flame graph, and no profile: `awaitwhat trace -o FILE.json` writes one
        it is folded stacks, and no profile: `awaitwhat trace -o FILE.json` writes one
        it is a snapshot of one moment, as `ps --json` writes it (schema "awaitwhat.snapshot/1"), and no profile: `awaitwhat trace -o FILE.json` writes one
        it is JSON that is damaged or was cut off: EOF while parsing a string at line 1 column 1652
        it is a profile of the schema "awaitwhat.profile/2", and this awaitwhat reads awaitwhat.profile/1: use one that is as new as the file
        it says that it is a profile, but is not like one: invalid type: integer `7`, expected a sequence at line 1 column 1510
        it says that it is a profile, but one of its times is no number of seconds: -1e0
        it says that it is a profile, but is not like one: invalid value: integer `-1`, expected u32 at line 1 column 1629
        it says that it is a profile, but one of its times is no number of seconds: 1e300
        it holds a profile for each of 2 processes: trace one process (--pid once), or all of them together (--merge)
        it is a list of profiles with nothing in it, and no profile: `awaitwhat trace -o FILE.json` writes one
        "#);
        assert!(told.iter().all(|it| it.len() < 500));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let inside = format!("{{\"schema\":\"awaitwhat.profile/1\",\"chains\":{deep}}}");
        let named = format!("{{\"schema\":{deep}}}");
        let other = format!("{{\"schema\":\"awaitwhat.profile/1\",\"pid\":7,\"other\":{deep}}}");
        for text in [deep, inside, named, other] {
            let error = profile(text.as_bytes()).unwrap_err();
            assert!(
                matches!(error, Error::NoProfile(_) | Error::Malformed(_)),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes: Vec<u8>, at: usize, with in any::<u8>(), length: usize) {
            let _ = profile(&bytes);
            let mut damaged = written(&varied());
            let at = at % damaged.len();
            damaged[at] = with;
            if let Ok(saved) = profile(&damaged) {
                assert!(saved.profile.mean_tasks().is_finite());
            }
            damaged.truncate(length % damaged.len());
            assert!(profile(&damaged).is_err());
        }
    }
}
