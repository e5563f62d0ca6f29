//! A profile as OpenTelemetry has it: the message `ProfilesData` of OTLP's profiles signal (v1development, which is still in the making).
//!
//! Each process is a resource. It has a profile for each state, of what waited first, as a profile has but one kind of value: nanoseconds of task time. The
//! innermost frame of a stack is what ends the chain, as in folded stacks.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::io::{self, Write};

use prost::Message as _;

use self::message::{
    AnyValue, Attribute, Dictionary, Function, KeyValue, Line, Location, ProfilesData, Resource,
    ResourceProfiles, Sample, Scope, ScopeProfiles, Stack, Value, ValueType,
};
use super::folded;
use crate::profile::{Chain, ChainState, Profile};
use crate::snapshot::Frame;
use crate::view::escape::{Escaped, named};
use crate::view::losses::{Counted, describe};

mod message;
#[cfg(test)]
mod tests;

/// Kinds of values, in the order of their profiles.
const STATES: [(ChainState, &str); 3] = [
    (ChainState::Waiting, "waiting"),
    (ChainState::Ready, "ready"),
    (ChainState::Running, "running"),
];

/// Writes each of `profiles`, taken on `host` with chains of at most `max_frames` frames. One of several processes together says of none of its tasks whose it is.
///
/// # Errors
/// When `output` fails.
pub fn write(profiles: &[Profile], host: &str, max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    output.write_all(&message(profiles, host, max_frames).encode_to_vec())
}

fn message(profiles: &[Profile], host: &str, max_frames: usize) -> ProfilesData {
    let mut tables = Tables::default();
    let of_process = |profile| of_process(profile, host, max_frames, &mut tables);
    ProfilesData {
        resource_profiles: profiles.iter().map(of_process).collect(),
        dictionary: Some(tables.into_dictionary()),
    }
}

fn of_process(profile: &Profile, host: &str, max_frames: usize, tables: &mut Tables) -> ResourceProfiles {
    let losses = describe(&profile.losses, Counted::Visits, profile.task_visits, max_frames);
    let not_shown: Vec<i32> = losses
        .iter()
        .map(|loss| tables.attribute("awaitwhat.not_shown", Value::Text(loss.clone())))
        .collect();
    let profiles = STATES.map(|(state, word)| message::Profile {
        sample_type: Some(ValueType {
            type_strindex: tables.text(word),
            unit_strindex: tables.text("nanoseconds"),
        }),
        samples: tables.samples(profile, state),
        time_unix_nano: u64::try_from(profile.started_at.as_nanosecond()).unwrap_or(0),
        duration_nano: nanoseconds(profile.duration_seconds).unsigned_abs(),
        attribute_indices: not_shown.clone(),
    });
    ResourceProfiles {
        resource: Some(Resource {
            attributes: resource_attributes(profile, host),
        }),
        scope_profiles: vec![ScopeProfiles {
            scope: Some(Scope {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            profiles: profiles.into(),
        }],
    }
}

/// Who was traced, by the names of OpenTelemetry's semantic conventions.
fn resource_attributes(profile: &Profile, host: &str) -> Vec<KeyValue> {
    let host = text("host.name", &Escaped(host).to_string());
    let [process] = profile.processes.as_slice() else {
        return vec![text("service.name", "unknown_service"), host];
    };
    let command = Escaped(&process.command).to_string();
    vec![
        // What nobody has named is called so.
        text("service.name", &format!("unknown_service:{command}")),
        host,
        KeyValue {
            key: "process.pid".to_owned(),
            value: Some(AnyValue {
                value: Some(Value::Number(process.pid.into())),
            }),
        },
        text("process.executable.name", &command),
        text("process.runtime.name", "cpython"),
        text("process.runtime.version", &Escaped(&process.python).to_string()),
    ]
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::Text(value.to_owned())),
        }),
    }
}

/// A number of nanoseconds; what is none is 0.
fn nanoseconds(seconds: f64) -> i64 {
    // The float becomes the nearest number that the type has.
    (seconds * 1e9).round().max(0.0) as i64
}

/// A table of things that are there once; the first one is the empty one.
struct Table<T> {
    list: Vec<T>,
    places: HashMap<T, i32>,
}

impl<T: Clone + Default + Eq + Hash> Default for Table<T> {
    fn default() -> Self {
        Self {
            list: vec![T::default()],
            places: HashMap::from([(T::default(), 0)]),
        }
    }
}

impl<T: Clone + Eq + Hash> Table<T> {
    fn place(&mut self, thing: T) -> i32 {
        if let Some(place) = self.places.get(&thing) {
            return *place;
        }
        // A table that fits in memory has fewer entries than that.
        let place = i32::try_from(self.list.len()).unwrap_or(i32::MAX);
        self.list.push(thing.clone());
        self.places.insert(thing, place);
        place
    }
}

/// What samples refer to.
#[derive(Default)]
struct Tables {
    texts: Table<String>,
    functions: Table<Function>,
    locations: Table<Location>,
    stacks: Table<Stack>,
    attributes: Table<Attribute>,
}

impl Tables {
    fn text(&mut self, text: &str) -> i32 {
        self.texts.place(text.to_owned())
    }

    fn attribute(&mut self, key: &str, value: Value) -> i32 {
        let key_strindex = self.text(key);
        self.attributes.place(Attribute {
            key_strindex,
            value: Some(AnyValue { value: Some(value) }),
        })
    }

    /// The chains in this state: those that look the same are one.
    fn samples(&mut self, profile: &Profile, state: ChainState) -> Vec<Sample> {
        let mut samples: BTreeMap<(i32, Vec<i32>), i64> = BTreeMap::new();
        for chain in profile.chains.iter().filter(|chain| chain.state == state) {
            let value = nanoseconds(chain.task_seconds);
            if value > 0 {
                let sum = samples
                    .entry((self.stack(chain), self.attributes_of(chain)))
                    .or_default();
                *sum = sum.saturating_add(value);
            }
        }
        let samples = samples.into_iter();
        samples
            .map(|((stack_index, attribute_indices), value)| Sample {
                stack_index,
                attribute_indices,
                values: vec![value],
            })
            .collect()
    }

    fn attributes_of(&mut self, chain: &Chain) -> Vec<i32> {
        if chain.state != ChainState::Waiting {
            return Vec::new();
        }
        let resource = Escaped(&folded::waited_for(chain)).to_string();
        vec![self.attribute("awaitwhat.resource", Value::Text(resource))]
    }

    fn stack(&mut self, chain: &Chain) -> i32 {
        let mut location_indices = vec![self.location(&folded::leaf(chain), "", 0)];
        location_indices.extend(chain.stack.iter().map(|frame| self.frame(frame)));
        self.stacks.place(Stack { location_indices })
    }

    fn frame(&mut self, frame: &Frame) -> i32 {
        self.location(named(&frame.function), &frame.file, frame.line)
    }

    /// A place in code; what has no file is none, and stands for something else.
    fn location(&mut self, function: &str, file: &str, line: u32) -> i32 {
        let name_strindex = self.text(&Escaped(function).to_string());
        let filename_strindex = self.text(&Escaped(file).to_string());
        let function_index = self.functions.place(Function {
            name_strindex,
            filename_strindex,
        });
        let attribute_indices = if file.is_empty() {
            Vec::new()
        } else {
            vec![self.attribute("profile.frame.type", Value::Text("cpython".to_owned()))]
        };
        self.locations.place(Location {
            lines: vec![Line {
                function_index,
                line: line.into(),
            }],
            attribute_indices,
        })
    }

    fn into_dictionary(self) -> Dictionary {
        Dictionary {
            mapping_table: vec![message::Empty {}],
            location_table: self.locations.list,
            function_table: self.functions.list,
            link_table: vec![message::Empty {}],
            string_table: self.texts.list,
            attribute_table: self.attributes.list,
            stack_table: self.stacks.list,
        }
    }
}
