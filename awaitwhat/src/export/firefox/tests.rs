use std::io::Read as _;

use serde_json::Value;

use crate::export::chrome::tests::timeline;
use crate::profile::{Cut, Profile, Timeline};
use crate::testing::{HOSTILE, frame, profile};

fn with(timeline: Timeline) -> Profile {
    Profile {
        timeline: Some(timeline),
        ..profile(Vec::new())
    }
}

fn written(profiles: &[Profile]) -> Value {
    let (mut output, mut text) = (Vec::new(), String::new());
    super::write(profiles, 512, &mut output).unwrap();
    let mut decoder = flate2::read::GzDecoder::new(&*output);
    decoder.read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The stack of a sample, outermost frame first.
fn stack(document: &Value, place: &Value) -> String {
    let shared = &document["shared"];
    let at = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let mut place = at(place);
    let mut names = Vec::new();
    loop {
        let frame = at(&shared["stackTable"]["frame"][place]);
        let function = at(&shared["frameTable"]["func"][frame]);
        let name = at(&shared["funcTable"]["name"][function]);
        names.insert(0, shared["stringArray"][name].as_str().unwrap().to_owned());
        match at(&shared["stackTable"]["prefixOffset"][place]) {
            0 => return names.join(" > "),
            offset => place -= offset,
        }
    }
}

#[test]
fn tasks_that_begin_alike_are_one_track() {
    let document = written(&[with(timeline())]);
    let threads = document["threads"].as_array().unwrap();
    let names: Vec<&str> = threads.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["event loop (thread 4712)", "work"]);
    let samples = &threads[1]["samples"];
    let lines: Vec<String> = (0..5)
        .map(|row| {
            let stack = stack(&document, &samples["stack"][row]);
            format!(
                "{} ms from {}: {stack}",
                samples["weight"][row], samples["time"][row]
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "1.000123 ms from 0.0: work > acquire > [lock self.lock]",
            "8.0 ms from 0.0: work > acquire > [lock self.lock]",
            "0.999877 ms from 1.000123: work > acquire > [ready]",
            "1.0 ms from 2.0: work > crunch > [running]",
            "4.5 ms from 3.5: work > get > [Future]",
        ]
    );
    let markers = &threads[1]["markers"];
    assert_eq!(
        (&markers["length"], &markers["data"][0]["task"]),
        (&3.into(), &"0x10".into())
    );
    let ran = &threads[0]["samples"];
    assert_eq!(stack(&document, &ran["stack"][0]), "work > crunch > [running]");
}

#[test]
fn what_is_left_out_is_told_and_hostile_names_do_not_deceive() {
    let mut hostile = timeline();
    hostile.cut = Some(Cut {
        at: 5_000_000,
        left_out: 7,
    });
    hostile.chains[0].look.stack = [frame(HOSTILE, HOSTILE, 1)].into();
    let mut profile = with(hostile);
    profile.processes[0].command = HOSTILE.to_owned();
    let document = written(&[profile]);
    let told = document["meta"]["extra"].to_string();
    assert!(
        told.contains("7 changes, as there was no room for more"),
        "{told}"
    );
    let mut texts = vec![&document];
    while let Some(value) = texts.pop() {
        match value {
            Value::String(text) => assert!(text.chars().all(crate::view::escape::is_safe), "{text:?}"),
            Value::Array(list) => texts.extend(list),
            Value::Object(fields) => texts.extend(fields.values()),
            _ => {}
        }
    }
}

#[test]
fn nothing_is_a_well_formed_result() {
    for profiles in [&[][..], &[profile(Vec::new())], &[with(Timeline::default())]] {
        assert_eq!(written(profiles)["threads"].as_array().unwrap().len(), 0);
    }
}
