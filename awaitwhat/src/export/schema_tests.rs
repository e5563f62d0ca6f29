//! The published schemas hold for what is written.

use jsonschema::{Retrieve, Uri, Validator};
use serde_json::Value;

use super::{diff_json, graph_json, profile_json, snapshot_json, survey_json, why_json};
use crate::findings::{
    BlockedLoop, Deadlock, Deadlocked, Finding, Holder, HolderKind, Mentioned, MentionedTask, NeverWoken,
    SlowWait, UsedUp,
};
use crate::memory::Address;
use crate::profile::{Diff, Hold, HoldPlace, Profile};
use crate::resource::{Children, Holding, Resource, ResourceKind, ThreadState, WorkerThread};
use crate::snapshot::{Frame, FrameKind, LoopState, Losses, WaitKind};
use crate::survey::{Refusals, Refused};
use crate::testing::{
    HOSTILE, chain, frame, named, profile, ready, running, small_profile, small_service, snapshot, task,
};

/// The schemas that others refer to.
struct Published;

impl Retrieve for Published {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let text = match uri.path().as_str().trim_start_matches('/') {
            "awaitwhat.snapshot-1.schema.json" => {
                include_str!("../../../schemas/awaitwhat.snapshot-1.schema.json")
            }
            "awaitwhat.profile-1.schema.json" => {
                include_str!("../../../schemas/awaitwhat.profile-1.schema.json")
            }
            other => return Err(format!("{other} is no published schema").into()),
        };
        Ok(serde_json::from_str(text)?)
    }
}

fn validator(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::options()
        .should_validate_formats(true)
        .with_retriever(Published)
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
    let mut snapshot = snapshot(tasks);
    for kind in [
        HolderKind::Task(Address(16)),
        HolderKind::Callback,
        HolderKind::Unknown,
    ] {
        snapshot.findings.push(Finding::BlockedLoop(BlockedLoop {
            tid: 7,
            seconds: 1.5,
            holder: Holder {
                kind,
                name: matches!(kind, HolderKind::Task(_)).then(|| HOSTILE.into()),
                stack: frames.to_vec().into(),
                seconds: 0.1,
            },
            ready: 3,
            overdue_timers: matches!(kind, HolderKind::Callback).then_some(2),
        }));
    }
    let waits_for = [Some(Box::new(held_lock())), None];
    let deadlocked = waits_for.map(|waits_for| Deadlocked {
        task: Address(16),
        name: waits_for.is_some().then(|| HOSTILE.into()),
        deadline_ns: waits_for.is_none().then_some(1_500_000_000),
        waits_for,
    });
    snapshot.findings.push(Finding::Deadlock(Deadlock {
        tasks: deadlocked.into(),
        behind: 1,
    }));
    let waiting = || Mentioned {
        count: 7,
        first: [Some(HOSTILE.into()), None]
            .map(|name| MentionedTask {
                task: Address(16),
                name,
            })
            .into(),
    };
    snapshot.loops = [(Some(0.5), None), (None, Some(2.5))]
        .map(|(turn_seconds, cpu_seconds)| LoopState {
            tid: 7,
            turn_seconds,
            cpu_seconds,
        })
        .into();
    snapshot.findings.extend([
        Finding::UsedUp(UsedUp {
            resource: Box::new(held_lock()),
            waiting: waiting(),
        }),
        Finding::CancelledButWaits(waiting()),
        Finding::SlowWait(SlowWait {
            slow: 10.0,
            longest: 12.5,
            waiting: waiting(),
        }),
        Finding::NeverWoken(NeverWoken {
            tid: 7,
            seconds: 0.1,
            ready: waiting(),
        }),
    ]);
    snapshot
}

fn held_lock() -> Resource {
    Resource {
        id: Some(Address(32)),
        held: Some(true),
        holding: Holding::Tasks {
            tasks: vec![Address(16)],
            are_all: true,
        },
        waited_ns: Some(5),
        children: Some(Children {
            count: Some(3),
            pending: Some(0),
            done: Some(1),
            failed: Some(1),
            cancelled: Some(1),
        }),
        thread: Some(Box::new(WorkerThread {
            tid: Some(4711),
            name: Some(HOSTILE.into()),
            state: Some(ThreadState::Sleeping),
            stack: [frame("render", "/srv/report.py", 12)].into(),
            is_moving: false,
        })),
        ..Resource::of_kind(ResourceKind::Lock)
    }
}

#[test]
fn snapshots_are_valid() {
    let validator = snapshot_validator();
    for snapshot in [small_service(), varied_snapshot(), snapshot(Vec::new())] {
        assert_valid(&validator, &snapshot_document(&snapshot));
    }
}

#[test]
fn graphs_are_valid_and_every_key_is_described() {
    let text = include_str!("../../../schemas/awaitwhat.graph-1.schema.json");
    let (validator, schema) = (validator(text), serde_json::from_str::<Value>(text).unwrap());
    let mut held = varied_snapshot();
    for task in &mut held.tasks {
        if let Some(on) = &mut task.waits_on {
            on.resource = Some(Box::new(held_lock()));
        }
    }
    let document = |snapshot: &crate::snapshot::Snapshot| -> Value {
        let mut output = Vec::new();
        graph_json::write(snapshot, &mut output).unwrap();
        serde_json::from_slice(&output).unwrap()
    };
    for snapshot in [&small_service(), &varied_snapshot(), &held, &snapshot(Vec::new())] {
        assert_valid(&validator, &document(snapshot));
    }
    let graph = document(&held);
    described(&graph, &schema);
    let nodes = graph["nodes"].as_array().unwrap();
    for kind in ["tasks", "resource"] {
        let node = nodes.iter().find(|node| node["kind"] == kind).unwrap();
        described(node, &schema["$defs"][kind]);
    }
    described(&nodes[0]["tasks"][0], &schema["$defs"]["member"]);
    described(&graph["edges"][0], &schema["$defs"]["edge"]);
    for pointer in [
        "/nodes/0/kind",
        "/nodes/0/tasks/0/id",
        "/edges/0/kind",
        "/lost/torn",
    ] {
        let mut wrong = graph.clone();
        *wrong.pointer_mut(pointer).unwrap() = Value::from("wrong");
        assert!(!validator.is_valid(&wrong), "{pointer}");
    }
}

#[test]
fn answers_are_valid_and_every_key_is_described() {
    let text = include_str!("../../../schemas/awaitwhat.why-1.schema.json");
    let (validator, schema) = (validator(text), serde_json::from_str::<Value>(text).unwrap());
    let document = |snapshot: &crate::snapshot::Snapshot| -> Value {
        let positions: Vec<usize> = (0..snapshot.tasks.len()).collect();
        let mut output = Vec::new();
        why_json::write(snapshot, &positions, 3, &mut output).unwrap();
        serde_json::from_slice(&output).unwrap()
    };
    let mut cycle = snapshot(vec![
        task(1, HOSTILE, &[frame("a", "/srv/app.py", 1)]).waiting(WaitKind::Task, "Task", &[2]),
        task(2, "b", &[]).waiting(WaitKind::Task, "Task", &[1]),
    ]);
    cycle.tasks[1].name = None;
    // Of what they wait for it is known that no timeout ends it.
    for on in cycle.tasks.iter_mut().filter_map(|task| task.waits_on.as_mut()) {
        on.resource = Some(Box::new(Resource::of_kind(ResourceKind::Lock)));
    }
    for snapshot in [
        small_service(),
        varied_snapshot(),
        cycle.clone(),
        snapshot(Vec::new()),
    ] {
        assert_valid(&validator, &document(&snapshot));
    }
    let answers = document(&cycle);
    described(&answers, &schema);
    described(&answers["answers"][0], &schema["$defs"]["answer"]);
    let steps = &answers["answers"][0]["steps"];
    described(&steps[0], &schema["$defs"]["step"]);
    let tasks: Vec<&Value> = (0..3).map(|step| &steps[step]["task"]).collect();
    assert_eq!(tasks, ["0x1", "0x2", "0x1"]);
    assert_eq!((&steps[1]["parent"], &steps[2]["parent"]), (&0.into(), &1.into()));
    assert_eq!(steps[2]["repetition"], "closes_deadlock");
    for pointer in ["/answers/0/steps/0/lead", "/answers/0/steps/0/task", "/more"] {
        let mut wrong = answers.clone();
        *wrong.pointer_mut(pointer).unwrap() = Value::from("wrong");
        assert!(!validator.is_valid(&wrong), "{pointer}");
    }
}

/// Each key of a document is one that its definition describes.
fn described(keys: &Value, definition: &Value) {
    for key in keys.as_object().unwrap().keys() {
        assert!(
            definition["properties"].get(key).is_some(),
            "{key} is not described"
        );
    }
}

#[test]
fn profiles_are_valid() {
    let validator = profile_validator();
    let mut hostile = profile(vec![
        chain(&[frame(HOSTILE, HOSTILE, 1)], None, 1.0),
        ready(&[frame(HOSTILE, HOSTILE, 1)], None, 1.0),
        chain(&[], None, 0.0),
        running(&[], 1.0),
        named(
            ResourceKind::Query,
            HOSTILE,
            chain(&[frame(HOSTILE, HOSTILE, 1)], None, 1.0),
        ),
    ]);
    hostile.holds.push(Hold {
        place: HoldPlace::of(false, &[frame(HOSTILE, HOSTILE, 1)]),
        seconds: 1.5,
        turns: 2,
        longest_seconds: 1.0,
        ready_seconds: 30.0,
    });
    for profile in [small_profile(), hostile, profile(Vec::new())] {
        assert_valid(&validator, &profile_document(&profile));
    }
}

#[test]
fn comparisons_are_valid_and_every_key_is_described() {
    let text = include_str!("../../../schemas/awaitwhat.diff-1.schema.json");
    let (validator, schema) = (validator(text), serde_json::from_str::<Value>(text).unwrap());
    let hostile = profile(vec![
        named(
            ResourceKind::Query,
            HOSTILE,
            chain(&[frame(HOSTILE, HOSTILE, 1)], Some(HOSTILE), 1.0),
        ),
        ready(&[frame(HOSTILE, HOSTILE, 1)], None, 1.0),
        running(&[], 1.0),
    ]);
    let document = |write: &dyn Fn(&mut Vec<u8>)| -> Value {
        let mut output = Vec::new();
        write(&mut output);
        serde_json::from_slice(&output).unwrap()
    };
    for (before, after) in [
        (small_profile(), hostile.clone()),
        (hostile, small_profile()),
        (profile(Vec::new()), small_profile()),
        (profile(Vec::new()), profile(Vec::new())),
    ] {
        let diff = Diff::new(before, after);
        let points = document(&|output| diff_json::write_points(&diff, output).unwrap());
        let chains = document(&|output| diff_json::write_chains(&diff, output).unwrap());
        for (document, kind) in [(&points, "point"), (&chains, "chain")] {
            assert_valid(&validator, document);
            described(document, &schema);
            described(&document["before"], &schema["$defs"]["side"]);
            for change in document["changes"].as_array().unwrap() {
                described(&change["before"], &schema["$defs"]["amount"]);
                let mut keys = schema["$defs"]["change"]["properties"].clone();
                let more = schema["$defs"][kind]["properties"].as_object().unwrap();
                keys.as_object_mut().unwrap().extend(more.clone());
                described(change, &serde_json::json!({ "properties": keys }));
            }
        }
    }
    let diff = Diff::new(small_profile(), profile(Vec::new()));
    let valid = document(&|output| diff_json::write_points(&diff, output).unwrap());
    for pointer in [
        "/before/lost/torn",
        "/changes/0/before/mean_tasks",
        "/changes/0/line",
        "/by",
    ] {
        let mut wrong = valid.clone();
        *wrong.pointer_mut(pointer).unwrap() = Value::from("wrong");
        assert!(!validator.is_valid(&wrong), "{pointer}");
    }
}

#[test]
fn surveys_are_valid() {
    let document = |write: &dyn Fn(&mut Vec<u8>)| -> Value {
        let mut output = Vec::new();
        write(&mut output);
        serde_json::from_slice(&output).unwrap()
    };
    let refused = Refusals {
        each: vec![Refused {
            pid: 7,
            command: HOSTILE.to_owned(),
            reason: HOSTILE.to_owned(),
        }],
        others: 2,
        are_hidden: true,
    };
    let snapshots = validator(include_str!("../../../schemas/awaitwhat.snapshots-1.schema.json"));
    let valid = document(&|output| {
        survey_json::write_snapshots(&[small_service(), varied_snapshot()], &refused, output).unwrap();
    });
    assert_valid(&snapshots, &valid);
    let profiles = validator(include_str!("../../../schemas/awaitwhat.profiles-1.schema.json"));
    let each = document(&|output| {
        survey_json::write_profiles(&[small_profile(), small_profile()], &refused, output).unwrap();
    });
    let merged = Profile::merged(
        &[small_profile(), small_profile()],
        small_profile().started_at,
        10.0,
    );
    let merged =
        document(&|output| survey_json::write_merged(&merged, &Refusals::default(), output).unwrap());
    assert_valid(&profiles, &each);
    assert_valid(&profiles, &merged);
    assert_eq!(each["refused"][0]["reason"], HOSTILE);
    assert_eq!(
        (&each["more_refused"], &merged["more_refused"]),
        (&2.into(), &0.into())
    );
    assert_eq!(
        (&each["are_hidden"], &merged["are_hidden"]),
        (&true.into(), &false.into())
    );
    assert_eq!(merged["merged"]["processes"][1]["pid"], 4711);
    for (validator, document, pointer) in [
        (&snapshots, &valid, "/targets/1/tasks/0/id"),
        (&snapshots, &valid, "/refused/0/reason"),
        (&profiles, &each, "/targets/1/chains"),
        (&profiles, &merged, "/merged/processes/0/pid"),
        (&profiles, &merged, "/merged/mean_tasks"),
    ] {
        let mut document = document.clone();
        *document.pointer_mut(pointer).unwrap() = Value::Bool(true);
        assert!(!validator.is_valid(&document), "{pointer}");
    }
}

#[test]
fn every_key_is_described() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../schemas/awaitwhat.snapshot-1.schema.json")).unwrap();
    let document = snapshot_document(&varied_snapshot());
    described(&document, &schema);
    described(&document["lost"], &schema["$defs"]["lost"]);
    described(&document["tasks"][0], &schema["$defs"]["task"]);
    described(&document["tasks"][0]["stack"][0], &schema["$defs"]["frame"]);
    described(&document["tasks"][0]["waits_on"], &schema["$defs"]["waits_on"]);
    described(&document["findings"][0], &schema["$defs"]["finding"]);
    described(&document["findings"][0]["holder"], &schema["$defs"]["holder"]);
    let deadlock = &document["findings"][3];
    described(deadlock, &schema["$defs"]["finding"]);
    described(&deadlock["tasks"][0], &schema["$defs"]["deadlocked"]);
    let resource = &deadlock["tasks"][0]["waits_for"];
    described(resource, &schema["$defs"]["resource"]);
    described(&resource["children"], &schema["$defs"]["children"]);
    described(&resource["thread"], &schema["$defs"]["thread"]);
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
fn the_manual_explains_every_loss() {
    let manual = include_str!("../../../docs/manual.md");
    for key in serde_json::to_value(Losses::default())
        .unwrap()
        .as_object()
        .unwrap()
        .keys()
    {
        assert!(manual.contains(&format!("\n| `{key}` | ")), "{key}");
    }
}
