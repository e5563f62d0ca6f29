//! A profile as pprof reads it: gzip of the message `Profile` of its profile.proto.
//!
//! A sample has three values, the nanoseconds that tasks waited, were ready, and ran, of which one is not 0: what waited is what readers
//! show first. The innermost frame of a stack is what ends the chain, as in folded stacks.

use std::collections::HashMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;

use self::message::{Function, Label, Line, Location, Sample, ValueType};
use super::folded;
use crate::profile::{Chain, ChainState, Process, Profile};
use crate::snapshot::Frame;
use crate::view::escape::{Escaped, named};
use crate::view::losses::{Counted, describe};

mod message;

/// Kinds of values, in their order.
const STATES: [(ChainState, &str); 3] = [
    (ChainState::Waiting, "waiting"),
    (ChainState::Ready, "ready"),
    (ChainState::Running, "running"),
];

/// Writes `profile`, taken with chains of at most `max_frames` frames. Of several processes as one it is not told which task belongs to which.
///
/// # Errors
/// When `output` fails.
pub fn write(profile: &Profile, max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    write_samples(profile, std::slice::from_ref(profile), max_frames, output)
}

/// Writes several profiles as one, with the process of each sample as its labels `process` and `pid`. `merged` is all of them as one.
///
/// # Errors
/// When `output` fails.
pub fn write_each(
    profiles: &[Profile],
    merged: &Profile,
    max_frames: usize,
    output: &mut impl Write,
) -> io::Result<()> {
    write_samples(merged, profiles, max_frames, output)
}

fn write_samples(
    whole: &Profile,
    parts: &[Profile],
    max_frames: usize,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut writer = GzEncoder::new(output, Compression::default());
    writer.write_all(&message(whole, parts, max_frames).encode_to_vec())?;
    writer.finish()?;
    Ok(())
}

fn message(whole: &Profile, parts: &[Profile], max_frames: usize) -> message::Profile {
    let mut tables = Tables::default();
    // The first text is the empty one, by which readers know that there is none.
    tables.text("");
    let sample_type: Vec<ValueType> = STATES.map(|(_, name)| tables.value_type(name)).into();
    let sample = parts
        .iter()
        .flat_map(|part| {
            let process = process_of(part);
            part.chains.iter().map(move |chain| (process, chain))
        })
        .filter_map(|(process, chain)| tables.sample(process, chain))
        .collect();
    let comments = comments(whole, max_frames);
    message::Profile {
        sample_type,
        sample,
        comment: comments.iter().map(|comment| tables.text(comment)).collect(),
        default_sample_type: tables.text(STATES[0].1),
        time_nanos: i64::try_from(whole.started_at.as_nanosecond()).unwrap_or(0),
        duration_nanos: nanoseconds(whole.duration_seconds),
        location: tables.locations,
        function: tables.functions,
        string_table: tables.texts,
    }
}

/// What tells the samples of one process from those of others; `None` where they are those of several.
fn process_of(profile: &Profile) -> Option<&Process> {
    match profile.processes.as_slice() {
        [process] => Some(process),
        _ => None,
    }
}

fn called(process: &Process) -> String {
    format!("{}[{}]", Escaped(&process.command), process.pid)
}

/// What was traced, and what of it is not shown.
fn comments(profile: &Profile, max_frames: usize) -> Vec<String> {
    let processes = profile.processes.iter().map(|process| {
        format!(
            "process {}, CPython {}",
            called(process),
            Escaped(&process.python)
        )
    });
    let counts = format!("{} samples, {} task visits", profile.samples, profile.task_visits);
    let losses = describe(&profile.losses, Counted::Visits, profile.task_visits, max_frames);
    processes
        .chain([counts])
        .chain(losses.iter().map(|loss| format!("not shown: {loss}")))
        .collect()
}

/// A number of nanoseconds; what is none is 0.
fn nanoseconds(seconds: f64) -> i64 {
    // The float becomes the nearest number that the type has.
    (seconds * 1e9).round().max(0.0) as i64
}

/// What samples refer to. An id is the place in its table, from 1 on; of a text from 0 on.
#[derive(Default)]
struct Tables {
    texts: Vec<String>,
    text_ids: HashMap<String, i64>,
    functions: Vec<Function>,
    function_ids: HashMap<(i64, i64), u64>,
    locations: Vec<Location>,
    location_ids: HashMap<(u64, i64), u64>,
}

impl Tables {
    fn text(&mut self, text: &str) -> i64 {
        if let Some(id) = self.text_ids.get(text) {
            return *id;
        }
        // A table that fits in memory has fewer texts than that.
        let id = i64::try_from(self.texts.len()).unwrap_or(i64::MAX);
        self.texts.push(text.to_owned());
        self.text_ids.insert(text.to_owned(), id);
        id
    }

    fn value_type(&mut self, name: &str) -> ValueType {
        ValueType {
            r#type: self.text(name),
            unit: self.text("nanoseconds"),
        }
    }

    /// The sample of a chain; `None` where its time is less than half a nanosecond.
    fn sample(&mut self, process: Option<&Process>, chain: &Chain) -> Option<Sample> {
        let value = nanoseconds(chain.task_seconds);
        if value == 0 {
            return None;
        }
        let mut location_id = vec![self.location(&folded::leaf(chain), "", 0)];
        location_id.extend(chain.stack.iter().map(|frame| self.frame(frame)));
        let (_, state) = STATES.iter().find(|(state, _)| *state == chain.state)?;
        let mut label = vec![self.label("state", state)];
        if chain.state == ChainState::Waiting {
            let resource = Escaped(&folded::waited_for(chain)).to_string();
            label.push(self.label("resource", &resource));
        }
        if let Some(process) = process {
            label.push(self.label("process", &called(process)));
            // By itself, too, as a number asked for is compared with numbers only.
            label.push(Label {
                key: self.text("pid"),
                num: process.pid.into(),
                ..Label::default()
            });
        }
        Some(Sample {
            location_id,
            value: STATES
                .map(|(state, _)| if state == chain.state { value } else { 0 })
                .into(),
            label,
        })
    }

    fn label(&mut self, key: &str, text: &str) -> Label {
        Label {
            key: self.text(key),
            str: self.text(text),
            num: 0,
        }
    }

    fn frame(&mut self, frame: &Frame) -> u64 {
        self.location(named(&frame.function), &frame.file, frame.line)
    }

    fn location(&mut self, function: &str, file: &str, line: u32) -> u64 {
        let (function_id, line) = (self.function(function, file), i64::from(line));
        if let Some(id) = self.location_ids.get(&(function_id, line)) {
            return *id;
        }
        let id = self.locations.len() as u64 + 1;
        self.locations.push(Location {
            id,
            line: vec![Line { function_id, line }],
        });
        self.location_ids.insert((function_id, line), id);
        id
    }

    fn function(&mut self, name: &str, file: &str) -> u64 {
        let name = self.text(&Escaped(name).to_string());
        let filename = self.text(&Escaped(file).to_string());
        if let Some(id) = self.function_ids.get(&(name, filename)) {
            return *id;
        }
        let id = self.functions.len() as u64 + 1;
        self.functions.push(Function { id, name, filename });
        self.function_ids.insert((name, filename), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use prost::Message as _;

    use super::message;
    use crate::profile::{ChainState, Profile};
    use crate::resource::ResourceKind;
    use crate::snapshot::Losses;
    use crate::testing::{HOSTILE, chain, frame, named, profile, ready, small_profile};

    fn decoded(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> message::Profile {
        let mut output = Vec::new();
        write(&mut output).unwrap();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&*output)
            .read_to_end(&mut bytes)
            .unwrap();
        message::Profile::decode(&*bytes).unwrap()
    }

    fn written(profile: &Profile) -> message::Profile {
        decoded(|output| super::write(profile, 512, output))
    }

    /// One line per sample: stack from the innermost frame outwards, values, labels.
    fn shown(message: &message::Profile) -> String {
        let text = |id: i64| message.string_table[usize::try_from(id).unwrap()].as_str();
        let place = |id: &u64| {
            let location = message.location.iter().find(|it| it.id == *id).unwrap();
            let [line] = location.line.as_slice() else {
                panic!("{location:?}")
            };
            let mut functions = message.function.iter();
            let function = functions.find(|it| it.id == line.function_id).unwrap();
            format!(
                "{}@{}:{}",
                text(function.name),
                text(function.filename),
                line.line
            )
        };
        let lines = message.sample.iter().map(|sample| {
            let places: Vec<_> = sample.location_id.iter().map(place).collect();
            let labels = sample.label.iter();
            let value = |it: &message::Label| match it.num {
                0 => text(it.str).to_owned(),
                number => number.to_string(),
            };
            let labels: Vec<_> = labels
                .map(|it| format!("{}={}", text(it.key), value(it)))
                .collect();
            format!(
                "{} {:?} {}\n",
                places.join(" < "),
                sample.value,
                labels.join(", ")
            )
        });
        lines.collect()
    }

    fn comments(message: &message::Profile) -> Vec<&str> {
        let text = |id: &i64| message.string_table[usize::try_from(*id).unwrap()].as_str();
        message.comment.iter().map(text).collect()
    }

    #[test]
    fn a_profile() {
        let message = written(&small_profile());
        insta::assert_snapshot!(shown(&message), @"
        [Future]@:0 < sleep@/usr/lib/python3.14/asyncio/tasks.py:704 < Pool.worker@/srv/app.py:20 [60000000000, 0, 0] state=waiting, resource=Future, process=python3[4711], pid=4711
        [Future]@:0 < Lock.acquire@/usr/lib/python3.14/asyncio/locks.py:113 < Pool.worker@/srv/app.py:22 [29000000000, 0, 0] state=waiting, resource=Future, process=python3[4711], pid=4711
        [_GatheringFuture]@:0 < main@/srv/app.py:61 [10000000000, 0, 0] state=waiting, resource=_GatheringFuture, process=python3[4711], pid=4711
        [Future]@:0 < rare@/srv/app.py:99 [250000000, 0, 0] state=waiting, resource=Future, process=python3[4711], pid=4711
        [running]@:0 < crunch@/srv/app.py:7 < Pool.worker@/srv/app.py:25 [0, 0, 500000000] state=running, process=python3[4711], pid=4711
        ");
        insta::assert_snapshot!(comments(&message).join("\n"), @"
        process python3[4711], CPython 3.14.10
        990 samples, 9900 task visits
        ");
        let text = |id: i64| message.string_table[usize::try_from(id).unwrap()].as_str();
        let types = message.sample_type.iter();
        let types: Vec<_> = types.map(|it| (text(it.r#type), text(it.unit))).collect();
        assert_eq!(
            types,
            ["waiting", "ready", "running"].map(|name| (name, "nanoseconds"))
        );
        assert_eq!(text(message.default_sample_type), "waiting");
        assert_eq!(message.string_table[0], "");
        assert_eq!(message.duration_nanos, 10_000_000_000);
        assert_eq!(message.time_nanos, 1_767_323_045_678_901_234);
    }

    /// A number of protobuf's wire format, and what comes after it.
    fn number(bytes: &[u8]) -> (u64, &[u8]) {
        let length = bytes.iter().position(|byte| *byte < 0x80).unwrap() + 1;
        let groups = bytes[..length].iter().rev();
        let value = groups.fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
        (value, &bytes[length..])
    }

    /// The fields of a message, by their numbers alone. Those of `messages` are messages in turn, `packed` ones lists of numbers.
    fn fields(mut bytes: &[u8], messages: &[u64], packed: &[u64]) -> Vec<String> {
        let mut shown = Vec::new();
        while !bytes.is_empty() {
            let (tag, rest) = number(bytes);
            let (value, rest) = number(rest);
            bytes = rest;
            let field = tag >> 3;
            if tag & 7 == 0 {
                shown.push(format!("{field}={value}"));
                continue;
            }
            assert_eq!(tag & 7, 2, "neither a number nor a text");
            let (mut content, rest) = bytes.split_at(usize::try_from(value).unwrap());
            bytes = rest;
            shown.push(if messages.contains(&field) {
                format!("{field}={{{}}}", fields(content, &[3, 4], &[1, 2]).join(" "))
            } else if packed.contains(&field) {
                let mut numbers = Vec::new();
                while !content.is_empty() {
                    let (value, rest) = number(content);
                    numbers.push(value);
                    content = rest;
                }
                format!("{field}={numbers:?}")
            } else {
                format!("{field}={:?}", String::from_utf8(content.to_vec()).unwrap())
            });
        }
        shown
    }

    /// Fields have the numbers that profile.proto gives them: a reader knows them by nothing else.
    #[test]
    fn fields_have_their_numbers() {
        let at = [frame("main", "/srv/app.py", 61)];
        let profile = profile(vec![chain(&at, Some("Future"), 0.000_000_2)]);
        let bytes = message(&profile, std::slice::from_ref(&profile), 512).encode_to_vec();
        let shown = fields(&bytes, &[1, 2, 4, 5], &[13]);
        insta::assert_snapshot!(shown.join("\n"), @r#"
        1={1=1 2=2}
        1={1=3 2=2}
        1={1=4 2=2}
        2={1=[1, 2] 2=[200, 0, 0] 3={1=8 2=1} 3={1=9 2=10} 3={1=11 2=12} 3={1=13 3=4711}}
        4={1=1 4={1=1}}
        4={1=2 4={1=2 2=61}}
        5={1=1 2=5}
        5={1=2 2=6 4=7}
        6=""
        6="waiting"
        6="nanoseconds"
        6="ready"
        6="running"
        6="[Future]"
        6="main"
        6="/srv/app.py"
        6="state"
        6="resource"
        6="Future"
        6="process"
        6="python3[4711]"
        6="pid"
        6="process python3[4711], CPython 3.14.10"
        6="990 samples, 9900 task visits"
        9=1767323045678901234
        10=10000000000
        13=[14, 15]
        14=1
        "#);
    }

    #[test]
    fn sums_are_those_of_the_profile() {
        let at = [frame("worker", "/srv/app.py", 1)];
        let mut profile = small_profile();
        profile.chains.push(ready(&at, None, 2.5));
        profile.chains.push(named(
            ResourceKind::Lock,
            "self.lock",
            chain(&at, Some("Future"), 1.5),
        ));
        let message = written(&profile);
        for (place, state) in [ChainState::Waiting, ChainState::Ready, ChainState::Running]
            .into_iter()
            .enumerate()
        {
            let sum: i64 = message.sample.iter().map(|sample| sample.value[place]).sum();
            assert_eq!(sum as f64 / 1e9, profile.task_seconds(state), "{state:?}");
        }
    }

    #[test]
    fn processes_are_told_apart_by_a_label() {
        let mut other = profile(vec![chain(&[frame("main", "/srv/b.py", 1)], Some("Future"), 1.0)]);
        other.processes[0].command = HOSTILE.to_owned();
        other.processes[0].pid = 12;
        let one = profile(vec![chain(&[frame("main", "/srv/b.py", 1)], Some("Future"), 2.0)]);
        let each = [one, other];
        let merged = Profile::merged(&each, each[0].started_at, 10.0);
        let message = decoded(|output| super::write_each(&each, &merged, 512, output));
        insta::assert_snapshot!(shown(&message), @r#"
        [Future]@:0 < main@/srv/b.py:1 [2000000000, 0, 0] state=waiting, resource=Future, process=python3[4711], pid=4711
        [Future]@:0 < main@/srv/b.py:1 [1000000000, 0, 0] state=waiting, resource=Future, process=a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7[12], pid=12
        "#);
        // Who of several as one has spent it is not known.
        insta::assert_snapshot!(shown(&written(&merged)), @"[Future]@:0 < main@/srv/b.py:1 [3000000000, 0, 0] state=waiting, resource=Future");
        assert_eq!(comments(&written(&merged)).len(), 3);
    }

    #[test]
    fn hostile_names_reach_no_terminal() {
        let hostile = named(
            ResourceKind::Queue,
            HOSTILE,
            chain(&[frame(HOSTILE, HOSTILE, 1)], Some(HOSTILE), 1.0),
        );
        let message = written(&profile(vec![hostile]));
        for text in &message.string_table {
            assert!(text.chars().all(crate::view::escape::is_safe), "{text:?}");
        }
        assert!(
            message
                .string_table
                .contains(&crate::view::escape::Escaped(HOSTILE).to_string())
        );
    }

    #[test]
    fn nothing_seen_is_a_profile_and_no_time_is_no_sample() {
        let nothing = profile(vec![
            chain(&[], None, 0.0),
            chain(&[], None, -1.0),
            chain(&[], None, f64::NAN),
        ]);
        for profile in [nothing, profile(Vec::new())] {
            let message = written(&profile);
            assert_eq!((message.sample.len(), message.sample_type.len()), (0, 3));
        }
    }

    #[test]
    fn losses_are_told() {
        let losses = Losses {
            torn: 3,
            ..Losses::default()
        };
        let message = written(&Profile {
            losses,
            ..small_profile()
        });
        let last = comments(&message).pop();
        assert_eq!(
            last,
            Some("not shown: 3 of 9903 task visits left out (changed while it was read)")
        );
    }
}
