use awaitwhat_common::plan::LoopId;
use serde_json::Value;

use crate::memory::Address;
use crate::profile::{ChainState, Cut, Hold, HoldPlace, Look, Profile, SeenChain, Stay, TaskId, Timeline};
use crate::resource::{Resource, ResourceKind};
use crate::testing::{HOSTILE, frame, profile};

const LOOP: LoopId = LoopId { tid: 4712, slot: 0 };

fn chain(state: ChainState, functions: &[&str]) -> SeenChain {
    let frames = functions.iter().map(|function| frame(function, "/srv/app.py", 7));
    SeenChain {
        look: Look {
            stack: frames.collect(),
            state,
            terminal: (state == ChainState::Waiting).then(|| "Future".into()),
            resource: None,
        },
        things: Vec::new(),
    }
}

fn stay(task: usize, chain: usize, (begin, end): (u64, u64), seen: u64) -> Stay {
    Stay {
        task,
        chain,
        begin,
        end,
        seen,
        before: (begin > 1_000_000).then_some(begin - 500),
        looks: 2,
    }
}

/// A task that waits, is ready, runs, and ends; another one that comes after it; and one beside them.
pub(in crate::export) fn timeline() -> Timeline {
    let task = |address| TaskId {
        address: Address(address),
        ..TaskId::default()
    };
    let mut waiting = chain(ChainState::Waiting, &["acquire", "work"]);
    let lock = Resource {
        label: Some("self.lock".into()),
        ..Resource::of_kind(ResourceKind::Lock)
    };
    waiting.things.push(Some(lock.into()));
    let mut either = chain(ChainState::Waiting, &["get", "work"]);
    either.things = vec![None, Some(Resource::of_kind(ResourceKind::Queue).into())];
    Timeline {
        began: 1_000_000,
        ended: 9_000_000,
        tasks: [0x10, 0x20, 0x30].map(|it| (LOOP, task(it))).into(),
        stays: vec![
            stay(0, 0, (1_000_000, 2_000_123), 2_000_000),
            stay(0, 1, (2_000_123, 3_000_000), 2_500_000),
            stay(0, 2, (3_000_000, 4_000_000), 3_000_000),
            stay(1, 3, (4_500_000, 9_000_000), 9_000_000),
            stay(2, 0, (1_000_000, 9_000_000), 9_000_000),
        ],
        chains: vec![
            waiting,
            chain(ChainState::Ready, &["acquire", "work"]),
            chain(ChainState::Running, &["crunch", "work"]),
            either,
        ],
        ran: vec![(LOOP, 3_000_000, 2)],
        held: Vec::new(),
        cut: None,
    }
}

fn with(timeline: Timeline) -> Profile {
    Profile {
        timeline: Some(timeline),
        ..profile(Vec::new())
    }
}

fn written(profiles: &[Profile]) -> Value {
    let mut output = Vec::new();
    super::write(profiles, 512, &mut output).unwrap();
    serde_json::from_slice(&output).unwrap()
}

fn lines(document: &Value) -> String {
    let events = document["traceEvents"].as_array().unwrap().iter();
    events.map(|it| it.to_string()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_timeline() {
    let document = written(&[with(timeline())]);
    insta::assert_snapshot!(lines(&document), @r#"
    {"args":{"name":"python3 (pid 4711)"},"name":"process_name","ph":"M","pid":4711,"tid":0}
    {"args":{"name":"event loop (thread 4712)"},"name":"thread_name","ph":"M","pid":4711,"tid":4712}
    {"args":{"sort_index":0},"name":"thread_sort_index","ph":"M","pid":4711,"tid":4712}
    {"args":{"chain":"work (/srv/app.py:7) > crunch (/srv/app.py:7)"},"cat":"sample","name":"crunch (/srv/app.py:7)","ph":"i","pid":4711,"s":"t","tid":4712,"ts":2000.0}
    {"args":{"name":"work 1"},"name":"thread_name","ph":"M","pid":4711,"tid":4194304}
    {"args":{"sort_index":0},"name":"thread_sort_index","ph":"M","pid":4711,"tid":4194304}
    {"args":{"event_loop_thread":4712,"task":"0x10"},"cat":"task","dur":3000.0,"name":"work 0x10","ph":"X","pid":4711,"tid":4194304,"ts":0.0}
    {"args":{"await_point":"acquire (/srv/app.py:7)","chain":"work (/srv/app.py:7) > acquire (/srv/app.py:7)","end_uncertain_us":0.123,"looks":2},"cat":"waiting","dur":1000.123,"name":"acquire: lock self.lock","ph":"X","pid":4711,"tid":4194304,"ts":0.0}
    {"args":{"await_point":"acquire (/srv/app.py:7)","begin_uncertain_us":0.5,"chain":"work (/srv/app.py:7) > acquire (/srv/app.py:7)","end_uncertain_us":500.0,"looks":2},"cat":"ready","dur":999.877,"name":"ready","ph":"X","pid":4711,"tid":4194304,"ts":1000.123}
    {"args":{"await_point":"crunch (/srv/app.py:7)","begin_uncertain_us":0.5,"chain":"work (/srv/app.py:7) > crunch (/srv/app.py:7)","end_uncertain_us":1000.0,"looks":2},"cat":"running","dur":1000.0,"name":"running","ph":"X","pid":4711,"tid":4194304,"ts":2000.0}
    {"args":{"event_loop_thread":4712,"task":"0x20"},"cat":"task","dur":4500.0,"name":"work 0x20","ph":"X","pid":4711,"tid":4194304,"ts":3500.0}
    {"args":{"await_point":"get (/srv/app.py:7)","begin_uncertain_us":0.5,"chain":"work (/srv/app.py:7) > get (/srv/app.py:7)","end_uncertain_us":0.0,"looks":2,"tasks_here_waited_for":["something that no rule knows","queue"]},"cat":"waiting","dur":4500.0,"name":"get: Future","ph":"X","pid":4711,"tid":4194304,"ts":3500.0}
    {"args":{"name":"work 2"},"name":"thread_name","ph":"M","pid":4711,"tid":4194305}
    {"args":{"sort_index":1},"name":"thread_sort_index","ph":"M","pid":4711,"tid":4194305}
    {"args":{"event_loop_thread":4712,"task":"0x30"},"cat":"task","dur":8000.0,"name":"work 0x30","ph":"X","pid":4711,"tid":4194305,"ts":0.0}
    {"args":{"await_point":"acquire (/srv/app.py:7)","chain":"work (/srv/app.py:7) > acquire (/srv/app.py:7)","end_uncertain_us":0.0,"looks":2},"cat":"waiting","dur":8000.0,"name":"acquire: lock self.lock","ph":"X","pid":4711,"tid":4194305,"ts":0.0}
    "#);
    let other = &document["otherData"];
    assert_eq!(
        (&other["changes_left_out"], &other["not_shown"]),
        (&Value::from(0), &serde_json::json!([[]]))
    );
}

#[test]
fn what_is_left_out_is_told() {
    let mut cut = timeline();
    cut.cut = Some(Cut {
        at: 5_000_000,
        left_out: 7,
    });
    cut.held.push((
        8_000_000,
        Hold {
            place: HoldPlace::of(true, &[frame("hog", "/srv/app.py", 9)]),
            seconds: 0.25,
            turns: 1,
            longest_seconds: 0.25,
            ready_seconds: 2.5,
        },
    ));
    let document = written(&[with(cut)]);
    let text = lines(&document);
    for told in [
        "Nothing is drawn from here on: 7 changes are left out",
        "not shown: 7 changes that came after 0.004 s, as there was no room for more",
        "event loop held 0.250 s by hog (/srv/app.py:9)",
    ] {
        assert!(text.contains(told), "{told} is not in\n{text}");
    }
    assert_eq!(document["otherData"]["changes_left_out"], 7);
}

#[test]
fn a_process_that_became_another_program_is_two() {
    let document = written(&[with(timeline()), with(timeline())]);
    let mut pids: Vec<u64> = document["traceEvents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["pid"].as_u64().unwrap())
        .collect();
    pids.dedup();
    assert_eq!(pids.len(), 2);
    assert_ne!(pids[0], pids[1]);
}

#[test]
fn nothing_is_a_well_formed_result() {
    for profiles in [&[][..], &[profile(Vec::new())], &[with(Timeline::default())]] {
        assert!(written(profiles)["traceEvents"].is_array());
    }
}

#[test]
fn hostile_names_do_not_deceive() {
    let mut hostile = timeline();
    let frames = [frame(HOSTILE, HOSTILE, 1)];
    hostile.chains[0].look.stack = frames.into();
    hostile.chains[0].look.terminal = Some(HOSTILE.into());
    let mut profile = with(hostile);
    profile.processes[0].command = HOSTILE.to_owned();
    let document = written(&[profile]);
    let mut texts = vec![&document];
    while let Some(value) = texts.pop() {
        match value {
            Value::String(text) => {
                assert!(text.chars().all(crate::view::escape::is_safe), "{text:?}");
            }
            Value::Array(list) => texts.extend(list),
            Value::Object(fields) => texts.extend(fields.values()),
            _ => {}
        }
    }
}
