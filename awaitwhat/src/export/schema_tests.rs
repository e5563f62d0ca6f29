//! The published schemas hold for what is written.

use jsonschema::Validator;
use serde_json::Value;

use super::{profile_json, snapshot_json};
use crate::profile::Profile;
use crate::snapshot::{Frame, FrameKind, Losses, WaitKind};
use crate::testing::{HOSTILE, chain, frame, profile, running, small_profile, small_service, snapshot, task};

fn validator(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap()
}

fn snapshot_validator() -> Validator {
    validator(include_str!("../../../schemas/awaitwhat.snapshot-1.schema.json"))
}

fn profile_validator() -> Validator {
    validator(include_str!("../../../schemas/awaitwhat.profile-1.schema.json"))
}

fn assert_valid(validator: &Validator, document: &Value) {
    let errors: Vec<_> = validator
        .iter_errors(document)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
}

fn snapshot_document(snapshot: &crate::snapshot::Snapshot) -> Value {
    let mut output = Vec::new();
    snapshot_json::write(snapshot, &mut output).unwrap();
    serde_json::from_slice(&output).unwrap()
}

fn profile_document(profile: &Profile) -> Value {
    let mut output = Vec::new();
    profile_json::write(profile, &mut output).unwrap();
    serde_json::from_slice(&output).unwrap()
}

/// One task of every kind of wait, one frame of every kind, and the values that are seldom there.
fn varied_snapshot() -> crate::snapshot::Snapshot {
    use FrameKind::{AsyncGenerator, Coroutine, Function, Generator, Unknown};
    use WaitKind::{Future, Gather, Other, TaskGroup, Wait};
    let kinds = [Coroutine, AsyncGenerator, Generator, Function, Unknown];
    let frames = kinds.map(|kind| Frame {
        kind,
        ..frame(HOSTILE, HOSTILE, 0)
    });
    let waits = [Future, WaitKind::Task, Gather, TaskGroup, Wait, Other];
    let mut tasks: Vec<_> = (1..)
        .zip(waits)
        .map(|(id, kind)| task(id, HOSTILE, &frames).waiting(kind, HOSTILE, &[1, 2]))
        .collect();
    tasks[0].name = None;
    tasks[1].tid = None;
    tasks[2].truncated = true;
    tasks[3].waits_on = None;
    snapshot(tasks)
}

#[test]
fn snapshots_are_valid() {
    let validator = snapshot_validator();
    for snapshot in [small_service(), varied_snapshot(), snapshot(Vec::new())] {
        assert_valid(&validator, &snapshot_document(&snapshot));
    }
}

#[test]
fn profiles_are_valid() {
    let validator = profile_validator();
    let hostile = profile(vec![
        chain(&[frame(HOSTILE, HOSTILE, 1)], None, 1.0),
        chain(&[], None, 0.0),
        running(&[], 1.0),
    ]);
    for profile in [small_profile(), hostile, profile(Vec::new())] {
        assert_valid(&validator, &profile_document(&profile));
    }
}

#[test]
fn every_key_is_described() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../schemas/awaitwhat.snapshot-1.schema.json")).unwrap();
    let document = snapshot_document(&varied_snapshot());
    let described = |keys: &Value, definition: &Value| {
        for key in keys.as_object().unwrap().keys() {
            assert!(
                definition["properties"].get(key).is_some(),
                "{key} is not described"
            );
        }
    };
    described(&document, &schema);
    described(&document["lost"], &schema["$defs"]["lost"]);
    described(&document["tasks"][0], &schema["$defs"]["task"]);
    described(&document["tasks"][0]["stack"][0], &schema["$defs"]["frame"]);
    described(&document["tasks"][0]["waits_on"], &schema["$defs"]["waits_on"]);
    assert_eq!(
        document["lost"].as_object().unwrap().len(),
        serde_json::to_value(Losses::default())
            .unwrap()
            .as_object()
            .unwrap()
            .len()
    );
}

#[test]
fn the_schemas_refuse_what_is_wrong() {
    let valid = snapshot_document(&small_service());
    for (pointer, wrong) in [
        ("/schema", Value::from("awaitwhat.snapshot/2")),
        ("/captured_at", Value::from("yesterday")),
        ("/tasks/0/id", Value::from(7)),
        ("/tasks/0/state", Value::from("sleeping")),
        ("/tasks/0/stack/0/line", Value::from(-1)),
        ("/tasks/0/waits_on/kind", Value::from("lock")),
        ("/lost/torn", Value::Null),
    ] {
        let mut document = valid.clone();
        *document.pointer_mut(pointer).unwrap() = wrong;
        assert!(!snapshot_validator().is_valid(&document), "{pointer}");
    }
    let mut document = profile_document(&small_profile());
    document["chains"][0]["task_seconds"] = Value::from(-1.0);
    assert!(!profile_validator().is_valid(&document));
}

#[test]
fn the_readme_explains_every_loss() {
    let readme = include_str!("../../../README.md");
    for key in serde_json::to_value(Losses::default())
        .unwrap()
        .as_object()
        .unwrap()
        .keys()
    {
        assert!(readme.contains(&format!("\n| `{key}` | ")), "{key}");
    }
}
