//! A profile as speedscope reads it: a profile of weighted stacks for each process and what its tasks did, over one table of frames.
//!
//! Weights are seconds of task time. The innermost frame of a stack is what ends the chain, as in folded stacks.

use std::collections::HashMap;
use std::io::{self, Write};

use serde::Serialize;

use super::folded;
use super::json::write_line;
use crate::profile::{Chain, ChainState, Profile};
use crate::view::escape::{Escaped, named};
use crate::view::losses::{Counted, describe};

/// The schema that its authors have published, by its name.
const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

/// What tasks did, in the order in which it is offered.
const STATES: [(ChainState, &str); 3] = [
    (ChainState::Waiting, "waiting"),
    (ChainState::Ready, "ready"),
    (ChainState::Running, "running"),
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: &'static str,
    name: String,
    active_profile_index: usize,
    shared: Shared,
    profiles: Vec<Weighted>,
}

#[derive(Serialize)]
struct Shared {
    frames: Vec<Frame>,
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
struct Frame {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// A profile of the type `sampled`: stacks, outermost frame first, and the weight of each.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Weighted {
    r#type: &'static str,
    name: String,
    unit: &'static str,
    start_value: f64,
    end_value: f64,
    samples: Vec<Vec<usize>>,
    weights: Vec<f64>,
}

/// Writes `profile`, taken with chains of at most `max_frames` frames, as one line of JSON.
///
/// # Errors
/// When `output` fails.
pub fn write(profile: &Profile, max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    write_parts(profile, std::slice::from_ref(profile), max_frames, output)
}

/// Writes several profiles in one file. `merged` is all of them as one.
///
/// # Errors
/// When `output` fails.
pub fn write_each(
    profiles: &[Profile],
    merged: &Profile,
    max_frames: usize,
    output: &mut impl Write,
) -> io::Result<()> {
    write_parts(merged, profiles, max_frames, output)
}

fn write_parts(
    whole: &Profile,
    parts: &[Profile],
    max_frames: usize,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut profiles: Vec<Weighted> = Vec::new();
    for part in parts {
        let stacks = STATES.map(|(state, word)| frames.weighted(part, state, word));
        profiles.extend(stacks.into_iter().filter(|it| !it.weights.is_empty()));
    }
    if profiles.is_empty() {
        // The viewer has nothing to begin with where there is no profile at all.
        profiles.push(frames.weighted(
            &Profile {
                chains: Vec::new(),
                ..whole.clone()
            },
            ChainState::Waiting,
            "no tasks seen",
        ));
    }
    let document = Document {
        schema: SCHEMA,
        exporter: concat!("awaitwhat ", env!("CARGO_PKG_VERSION")),
        name: title(whole, max_frames),
        active_profile_index: 0,
        shared: Shared { frames: frames.list },
        profiles,
    };
    write_line(&document, output)
}

/// What was traced, and what of it is not shown.
fn title(profile: &Profile, max_frames: usize) -> String {
    let losses = describe(&profile.losses, Counted::Visits, profile.task_visits, max_frames);
    let lost = losses.iter().map(|loss| format!("; not shown: {loss}"));
    format!(
        "What the tasks of {} await, traced for {:.1} s{}",
        who(profile),
        profile.duration_seconds,
        lost.collect::<String>()
    )
}

fn who(profile: &Profile) -> String {
    match profile.processes.as_slice() {
        [process] => format!("{}[{}]", Escaped(&process.command), process.pid),
        several => format!("{} processes", several.len()),
    }
}

/// The frames of all stacks, each once.
#[derive(Default)]
struct Frames {
    list: Vec<Frame>,
    places: HashMap<Frame, usize>,
}

impl Frames {
    /// The chains of `profile` in this state, those with time. `word` is what the state is called.
    fn weighted(&mut self, profile: &Profile, state: ChainState, word: &str) -> Weighted {
        let is_wanted = |chain: &&Chain| chain.state == state && chain.task_seconds > 0.0;
        let chains = profile.chains.iter().filter(is_wanted);
        let mut stacks: Vec<_> = chains
            .map(|chain| (self.stack(chain), chain.task_seconds))
            .collect();
        // Stacks that begin alike side by side: they are drawn as one as far as they do.
        stacks.sort_by(|(one, _), (other, _)| one.cmp(other));
        let (samples, weights): (Vec<_>, Vec<_>) = stacks.into_iter().unzip();
        Weighted {
            r#type: "sampled",
            name: format!("{}: {word}", who(profile)),
            unit: "seconds",
            start_value: 0.0,
            // Not `sum()`: of nothing that is -0.
            end_value: weights.iter().fold(0.0, |sum: f64, weight| sum + weight),
            samples,
            weights,
        }
    }

    /// The stack of a chain, outermost first.
    fn stack(&mut self, chain: &Chain) -> Vec<usize> {
        let mut stack: Vec<usize> = chain.stack.iter().rev().map(|frame| self.frame(frame)).collect();
        stack.push(self.place(Frame {
            name: Escaped(&folded::leaf(chain)).to_string(),
            file: None,
            line: None,
        }));
        stack
    }

    fn frame(&mut self, frame: &crate::snapshot::Frame) -> usize {
        self.place(Frame {
            name: Escaped(named(&frame.function)).to_string(),
            file: (!frame.file.is_empty()).then(|| Escaped(&frame.file).to_string()),
            line: (frame.line > 0).then_some(frame.line),
        })
    }

    fn place(&mut self, frame: Frame) -> usize {
        if let Some(place) = self.places.get(&frame) {
            return *place;
        }
        self.list.push(frame.clone());
        self.places.insert(frame, self.list.len() - 1);
        self.list.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::profile::Profile;
    use crate::resource::ResourceKind;
    use crate::snapshot::Losses;
    use crate::testing::{HOSTILE, chain, frame, named, profile, ready, running, small_profile};

    /// What the format's documentation demands of a file of weighted stacks.
    fn schema() -> Value {
        json!({
            "type": "object",
            "required": ["$schema", "shared", "profiles"],
            "properties": {
                "$schema": { "const": "https://www.speedscope.app/file-format-schema.json" },
                "name": { "type": "string" },
                "exporter": { "type": "string" },
                "activeProfileIndex": { "type": "integer", "minimum": 0 },
                "shared": {
                    "type": "object",
                    "required": ["frames"],
                    "properties": {
                        "frames": { "type": "array", "items": {
                            "type": "object",
                            "required": ["name"],
                            "additionalProperties": false,
                            "properties": {
                                "name": { "type": "string" },
                                "file": { "type": "string" },
                                "line": { "type": "integer", "minimum": 1 },
                                "col": { "type": "integer" }
                            }
                        } }
                    }
                },
                "profiles": { "type": "array", "minItems": 1, "items": {
                    "type": "object",
                    "required": ["type", "name", "unit", "startValue", "endValue", "samples", "weights"],
                    "additionalProperties": false,
                    "properties": {
                        "type": { "const": "sampled" },
                        "name": { "type": "string" },
                        "unit": { "enum": ["none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"] },
                        "startValue": { "type": "number" },
                        "endValue": { "type": "number" },
                        "samples": { "type": "array", "items": { "type": "array", "items": { "type": "integer", "minimum": 0 } } },
                        "weights": { "type": "array", "items": { "type": "number" } }
                    }
                } }
            }
        })
    }

    /// What is written, once it is known to keep to the format: its schema, and what that cannot say.
    fn checked(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Value {
        let mut output = Vec::new();
        write(&mut output).unwrap();
        let document: Value = serde_json::from_slice(&output).unwrap();
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&document)
            .map(|it| it.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
        let frames = document["shared"]["frames"].as_array().unwrap();
        let profiles = document["profiles"].as_array().unwrap();
        assert!(document["activeProfileIndex"].as_u64().unwrap() < profiles.len() as u64);
        for profile in profiles {
            let (samples, weights) = (&profile["samples"], &profile["weights"]);
            let (samples, weights) = (samples.as_array().unwrap(), weights.as_array().unwrap());
            assert_eq!(samples.len(), weights.len());
            let places = samples.iter().flat_map(|stack| stack.as_array().unwrap());
            assert!(
                places
                    .clone()
                    .all(|it| it.as_u64().unwrap() < frames.len() as u64)
            );
            let sum: f64 = weights.iter().map(|it| it.as_f64().unwrap()).sum();
            let end = profile["endValue"].as_f64().unwrap();
            assert!((sum - end).abs() <= 1e-9 * sum.abs(), "{sum} and {end}");
        }
        document
    }

    fn written(profile: &Profile) -> Value {
        checked(|output| super::write(profile, 512, output))
    }

    #[test]
    fn a_profile() {
        let document = written(&small_profile());
        insta::assert_snapshot!(document["shared"]["frames"].to_string().replace("},{", "}\n{"), @r#"
        [{"file":"/srv/app.py","line":20,"name":"Pool.worker"}
        {"file":"/usr/lib/python3.14/asyncio/tasks.py","line":704,"name":"sleep"}
        {"name":"[Future]"}
        {"file":"/srv/app.py","line":22,"name":"Pool.worker"}
        {"file":"/usr/lib/python3.14/asyncio/locks.py","line":113,"name":"Lock.acquire"}
        {"file":"/srv/app.py","line":61,"name":"main"}
        {"name":"[_GatheringFuture]"}
        {"file":"/srv/app.py","line":99,"name":"rare"}
        {"file":"/srv/app.py","line":25,"name":"Pool.worker"}
        {"file":"/srv/app.py","line":7,"name":"crunch"}
        {"name":"[running]"}]
        "#);
        let shown = document["profiles"].to_string().replace("},{", "}\n{");
        insta::assert_snapshot!(shown, @r#"
        [{"endValue":99.25,"name":"python3[4711]: waiting","samples":[[0,1,2],[3,4,2],[5,6],[7,2]],"startValue":0.0,"type":"sampled","unit":"seconds","weights":[60.0,29.0,10.0,0.25]}
        {"endValue":0.5,"name":"python3[4711]: running","samples":[[8,9,10]],"startValue":0.0,"type":"sampled","unit":"seconds","weights":[0.5]}]
        "#);
        assert_eq!(
            document["name"],
            "What the tasks of python3[4711] await, traced for 10.0 s"
        );
    }

    #[test]
    fn times_are_those_of_the_profile() {
        let at = [frame("worker", "/srv/app.py", 1)];
        let profile = profile(vec![
            named(ResourceKind::Lock, "self.lock", chain(&at, Some("Future"), 1.5)),
            ready(&at, None, 2.5),
            running(&at, 0.5),
        ]);
        let document = written(&profile);
        let ends = document["profiles"].as_array().unwrap().iter();
        let ends: Vec<_> = ends
            .map(|it| (it["name"].clone(), it["endValue"].clone()))
            .collect();
        let name = |word: &str| json!(format!("python3[4711]: {word}"));
        assert_eq!(
            ends,
            [
                (name("waiting"), json!(1.5)),
                (name("ready"), json!(2.5)),
                (name("running"), json!(0.5))
            ]
        );
        assert_eq!(document["shared"]["frames"][1]["name"], "[lock self.lock]");
    }

    #[test]
    fn processes_are_profiles_of_their_own() {
        let mut other = profile(vec![chain(&[frame("main", "/srv/b.py", 1)], Some("Future"), 1.0)]);
        other.processes[0].command = HOSTILE.to_owned();
        other.processes[0].pid = 12;
        let each = [small_profile(), other];
        let merged = Profile::merged(&each, each[0].started_at, 10.0);
        let names = |document: &Value| -> Vec<String> {
            let profiles = document["profiles"].as_array().unwrap().iter();
            profiles
                .map(|it| it["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let document = checked(|output| super::write_each(&each, &merged, 512, output));
        insta::assert_snapshot!(names(&document).join("\n"), @r#"
        python3[4711]: waiting
        python3[4711]: running
        a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7[12]: waiting
        "#);
        insta::assert_snapshot!(names(&written(&merged)).join("\n"), @"
        2 processes: waiting
        2 processes: running
        ");
        assert_eq!(
            document["name"],
            "What the tasks of 2 processes await, traced for 10.0 s"
        );
    }

    #[test]
    fn hostile_names_do_not_deceive() {
        let hostile = chain(&[frame(HOSTILE, HOSTILE, 1)], Some(HOSTILE), 1.0);
        let frames = written(&profile(vec![hostile]))["shared"]["frames"].clone();
        for frame in frames.as_array().unwrap() {
            let name = frame["name"].as_str().unwrap();
            assert!(name.chars().all(crate::view::escape::is_safe), "{name:?}");
        }
    }

    #[test]
    fn nothing_seen_is_one_empty_profile() {
        let nothing = vec![
            chain(&[], None, 0.0),
            chain(&[], None, -1.0),
            chain(&[], None, f64::NAN),
        ];
        for chains in [nothing, Vec::new()] {
            let document = written(&profile(chains));
            assert_eq!(document["profiles"][0]["name"], "python3[4711]: no tasks seen");
            assert_eq!(document["profiles"][0]["samples"], json!([]));
        }
    }

    #[test]
    fn losses_are_told() {
        let losses = Losses {
            torn: 3,
            ..Losses::default()
        };
        let document = written(&Profile {
            losses,
            ..small_profile()
        });
        let name = document["name"].as_str().unwrap();
        assert!(name.ends_with("; not shown: 3 of 9903 task visits left out (changed while it was read)"));
    }
}
