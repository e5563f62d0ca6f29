use super::*;
use crate::memory::Address;
use crate::profile::HoldPlace;
use crate::profile::{Cut, Hold, PointWaits, SeenChain, Stay, TaskId, Timeline};
use crate::resource::ResourceKind;
use crate::snapshot::Losses;
use crate::survey::Refused;
use crate::testing::{HOSTILE, chain, frame, named, profile, ready, running, small_profile};

/// Names that try to be markup, and to end what they are in.
const MARKUP: &str = "<script>alert(1)</script>]]>\"'--><img src=x onerror=alert(2)>&lt;\x1b\u{202e}";

fn written(whole: &Profile, parts: &[Profile], refused: &Refusals) -> String {
    let mut output = Vec::new();
    let report = Report {
        whole,
        parts,
        refused,
        max_frames: 512,
        root: Root::Outermost,
    };
    write(&report, &mut output).unwrap();
    String::from_utf8(output).unwrap()
}

fn of(profile: &Profile) -> String {
    written(profile, std::slice::from_ref(profile), &Refusals::default())
}

#[test]
fn a_profile() {
    let mut profile = small_profile();
    profile.losses = Losses {
        torn: 2,
        ..Losses::default()
    };
    let text = of(&profile);
    let body = text.split_once("<body>").unwrap().1;
    insta::assert_snapshot!(body.split_once("<svg").unwrap().0.trim(), @r#"
    <h1>What tasks await</h1>
    <h2>python3[4711] (CPython 3.14.10)</h2>
    <p>Traced for 10.0 s from 2026-01-02 03:04:05 UTC on: 990 samples, 9900 task visits, 10.0 tasks on average; threads with event loops: 1, each on a CPU 5.0 % of the time.</p>
    <p class="lost">Not shown: 2 of 9902 task visits left out (changed while it was read)</p>
    <h3>Findings</h3>
    <ul>
    <li>slow-wait: a task waited for 28.0 s in Pool.worker (/srv/app.py:22), which awaits Lock.acquire</li>
    <li>slow-wait: a task waited for 10.0 s at least in main (/srv/app.py:61), which awaits _GatheringFuture</li>
    </ul>
    <h3>Await points: where tasks waited (99.25 task-seconds, and 0.00 in which they were ready to go on)</h3>
    <table>
    <tr><th class="number">task-seconds</th><th class="number">share</th><th class="number">mean tasks</th><th class="number">ready task-seconds</th><th>function</th><th>where</th><th>awaits</th></tr>
    <tr><td class="number">60.00</td><td class="number">60.5 %</td><td class="number">6.00</td><td class="number">0.00</td><td>Pool.worker</td><td>/srv/app.py:20</td><td>sleep</td></tr>
    <tr><td class="number">29.00</td><td class="number">29.2 %</td><td class="number">2.90</td><td class="number">0.00</td><td>Pool.worker</td><td>/srv/app.py:22</td><td>Lock.acquire</td></tr>
    <tr><td class="number">10.00</td><td class="number">10.1 %</td><td class="number">1.00</td><td class="number">0.00</td><td>main</td><td>/srv/app.py:61</td><td>_GatheringFuture</td></tr>
    <tr><td class="number">0.25</td><td class="number">0.3 %</td><td class="number">0.03</td><td class="number">0.00</td><td>rare</td><td>/srv/app.py:99</td><td>Future</td></tr>
    </table>
    <h3>Waits: for how long tasks were seen in each, in seconds (to within ±, and 1 %)</h3>
    <p>Waits shorter than the time between two looks are mostly missed. A task that goes on and
    is back in the same await by the next look passes for one that has waited on.</p>
    <p>&lt;: shorter than that. Looks lie too far apart to tell more.</p>
    <p>IN PART: begun before the first look, or not over by the last one.</p>
    <table>
    <tr><th class="number">waits</th><th class="number">p50</th><th class="number">p90</th><th class="number">p99</th><th class="number">longest</th><th class="number">±</th><th class="number">in part</th><th class="number">at least</th><th>function</th><th>where</th><th>awaits</th></tr>
    <tr><td class="number">100</td><td class="number">0.60</td><td class="number">0.61</td><td class="number">0.61</td><td class="number">0.61</td><td class="number">0.01</td><td class="number">2</td><td class="number">0.30</td><td>Pool.worker</td><td>/srv/app.py:20</td><td>sleep</td></tr>
    <tr><td class="number">3</td><td class="number">&lt;0.03</td><td class="number">27.96</td><td class="number">27.96</td><td class="number">27.96</td><td class="number">0.01</td><td class="number">-</td><td class="number">-</td><td>Pool.worker</td><td>/srv/app.py:22</td><td>Lock.acquire</td></tr>
    <tr><td class="number">0</td><td class="number">-</td><td class="number">-</td><td class="number">-</td><td class="number">-</td><td class="number">-</td><td class="number">1</td><td class="number">10.00</td><td>main</td><td>/srv/app.py:61</td><td>_GatheringFuture</td></tr>
    </table>
    <h3>Running: where tasks were at work (0.50 task-seconds)</h3>
    <table>
    <tr><th class="number">task-seconds</th><th class="number">share</th><th class="number">mean tasks</th><th class="number">ready task-seconds</th><th>function</th><th>where</th><th>calls</th></tr>
    <tr><td class="number">0.50</td><td class="number">100.0 %</td><td class="number">0.05</td><td class="number">0.00</td><td>crunch</td><td>/srv/app.py:7</td><td></td></tr>
    </table>
    <h2>Flame graph</h2>
    <div class="flame">
    "#);
    assert!(body.ends_with("</svg></div>\n</body>\n</html>\n"), "{body}");
}

#[test]
fn several_processes_are_parts_of_one_report() {
    let mut other = small_profile();
    other.processes[0].pid = 12;
    let parts = [small_profile(), other];
    let merged = Profile::merged(&parts, parts[0].started_at, 10.0);
    let refused = Refusals {
        each: vec![Refused {
            pid: 7,
            command: MARKUP.to_owned(),
            reason: MARKUP.to_owned(),
        }],
        others: 0,
        are_hidden: false,
    };
    let each = written(&merged, &parts, &refused);
    for text in ["<h2>python3[4711] ", "<h2>python3[12] ", "<title>python3[12] ("] {
        assert_eq!(each.matches(text).count(), 1, "{text}");
    }
    let together = written(&merged, std::slice::from_ref(&merged), &refused);
    assert!(together.contains("<h2>python3[4711] (CPython 3.14.10), python3[12] (CPython 3.14.10)</h2>"));
    assert!(!together.contains("<title>python3[12]"));
    assert!(each.contains("&lt;img") && !each.contains("<img"));
}

#[test]
fn no_name_is_markup() {
    for name in [MARKUP, HOSTILE] {
        let at = [frame(name, name, 1)];
        let mut hostile = profile(vec![
            named(ResourceKind::Lock, name, chain(&at, Some(name), 1.0)),
            ready(&at, Some(name), 1.0),
            running(&at, 1.0),
        ]);
        hostile.processes[0].command = name.to_owned();
        hostile.processes[0].python = name.to_owned();
        hostile.timeline = Some(timeline(&hostile, 2));
        hostile.holds.push(Hold {
            place: HoldPlace::of(true, &at),
            seconds: 1.0,
            turns: 1,
            longest_seconds: 1.0,
            ready_seconds: 1.0,
        });
        let (text, plain) = (of(&hostile), of(&small_profile()));
        for tag in ["<script", "</script", "<img", "<![CDATA[", "]]>", "-->"] {
            let count = |text: &str| text.matches(tag).count();
            assert_eq!(count(&text), count(&plain), "{tag} of {name:?}");
        }
        let is_safe = |character| character == '\n' || crate::view::escape::is_safe(character);
        let body = text.split_once("<body>").unwrap().1;
        let body = body.split_once("<div class=\"flame\">").unwrap().0;
        assert!(body.chars().all(is_safe));
        assert!(!body.contains("alert(1)</script>") && body.contains("&lt;"));
    }
}

#[test]
fn it_asks_for_nothing() {
    let text = of(&small_profile());
    assert!(text.contains("default-src 'none'"));
    for word in ["src=\"", "@import", "url(http", "href=\"http"] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn many_rows_are_summed_up() {
    let chains = (1..=150).map(|line| chain(&[frame("f", "/srv/app.py", line)], Some("Future"), 1.0));
    let text = of(&profile(chains.collect()));
    assert!(text.contains("<td class=\"number\">50.00</td>") && text.contains("<td>(50 more)</td>"));
}

#[test]
fn nothing_seen_is_a_report() {
    let text = of(&profile(Vec::new()));
    assert!(text.contains("No task was seen waiting.") && text.contains("no tasks seen"));
}

/// Each chain of a profile, one after the other, by each of so many tasks, of which all begin alike.
fn timeline(profile: &Profile, tasks: usize) -> Timeline {
    let second = 1_000_000_000;
    let chains: Vec<SeenChain> = profile
        .chains
        .iter()
        .map(|chain| SeenChain {
            look: crate::profile::Look {
                stack: chain.stack.clone(),
                state: chain.state,
                terminal: chain.terminal.clone(),
                resource: None,
            },
            things: vec![chain.resource.clone()],
        })
        .collect();
    let stay = |task, chain| Stay {
        task,
        chain,
        begin: 5 * second + chain as u64 * second,
        end: 5 * second + (chain + 1) as u64 * second,
        seen: 0,
        before: None,
        looks: 9,
    };
    let id = |number: usize| TaskId {
        address: Address(number as u64 + 0x10),
        coroutine: Address(1),
        name: Address(2),
    };
    let count = chains.len();
    Timeline {
        began: 5 * second,
        ended: 5 * second + count as u64 * second,
        tasks: (0..tasks)
            .map(|task| (crate::testing::origin(0).event_loop, id(task)))
            .collect(),
        stays: (0..tasks)
            .flat_map(|task| (0..count).map(move |chain| stay(task, chain)))
            .collect(),
        chains,
        ran: Vec::new(),
        held: profile
            .holds
            .iter()
            .map(|hold| (6 * second, hold.clone()))
            .collect(),
        cut: None,
    }
}

#[test]
fn what_each_task_did_is_drawn() {
    let at = [
        frame("sleep", "/usr/lib/python3.14/asyncio/tasks.py", 704),
        frame("worker", "/srv/app.py", 7),
    ];
    let mut one = profile(vec![
        named(ResourceKind::Lock, "self.lock", chain(&at, Some("Future"), 1.0)),
        running(&at[1..], 1.0),
    ]);
    one.holds.push(Hold {
        place: HoldPlace::of(true, &at[1..]),
        seconds: 0.5,
        turns: 1,
        longest_seconds: 0.5,
        ready_seconds: 1.0,
    });
    one.timeline = Some(timeline(&one, 1));
    let text = of(&one);
    let drawn = text
        .split_once("<rect")
        .unwrap()
        .1
        .split_once("</svg>")
        .unwrap()
        .0;
    insta::assert_snapshot!(drawn.trim(), @r#"
    class="held" x="440.0" y="18" width="250.0" height="14.0"><title>event loop held for 0.500 s by worker (/srv/app.py:7)</title></rect>
    <text x="0" y="28.0">worker 1</text>
    <rect class="waiting" x="190.0" y="18.0" width="499.0" height="12.0"><title>0x10, 1.000 s from 0.000 s on: worker: lock self.lock, in worker (/srv/app.py:7)</title></rect>
    <rect class="running" x="690.0" y="18.0" width="499.0" height="12.0"><title>0x10, 1.000 s from 1.000 s on: running, in worker (/srv/app.py:7)</title></rect>
    "#);
    // No task is drawn where none was seen, or timelines were not kept.
    one.timeline = None;
    assert!(!of(&one).contains("<rect class=\"waiting\""));
}

#[test]
fn what_there_is_no_room_for_is_counted() {
    let mut many = profile(vec![chain(&[frame("f", "/srv/app.py", 1)], Some("Future"), 1.0)]);
    let mut timeline = timeline(&many, 250);
    timeline.cut = Some(Cut {
        at: 5_500_000_000,
        left_out: 7,
    });
    many.timeline = Some(timeline);
    let text = of(&many);
    assert_eq!(text.matches("<rect class=\"waiting\"").count(), 200);
    assert!(
        text.contains("Not shown: 50 more rows, and 50 boxes in them"),
        "{text}"
    );
    assert!(
        text.contains("Not shown: 7 changes that came after 0.500 s"),
        "{text}"
    );
}

#[test]
fn what_stands_out_comes_first() {
    let mut one = small_profile();
    one.waits = vec![
        PointWaits::of(&one.chains[0], &[(12_000, 12_000)], &[]),
        PointWaits::of(&one.chains[1], &[(100, 100)], &[30_000]),
        PointWaits::of(&one.chains[2], &[(9_000, 9_000)], &[9_000]),
    ];
    one.holds.push(Hold {
        place: HoldPlace::of(true, &[frame("crunch", "/srv/app.py", 7)]),
        seconds: 1.5,
        turns: 2,
        longest_seconds: 1.0,
        ready_seconds: 1.0,
    });
    let text = of(&one);
    let found = text
        .split_once("<h3>Findings</h3>")
        .unwrap()
        .1
        .split_once("<h3>")
        .unwrap()
        .0;
    insta::assert_snapshot!(found.trim(), @"
    <ul>
    <li>blocked-loop: an event loop did not turn for 1.50 s in all, and for 1.00 s at the longest, as task crunch was at work in crunch (/srv/app.py:7)</li>
    <li>slow-wait: a task waited for 30.0 s at least in Pool.worker (/srv/app.py:22), which awaits Lock.acquire</li>
    <li>slow-wait: a task waited for 12.0 s in Pool.worker (/srv/app.py:20), which awaits sleep</li>
    </ul>
    ");
    // A timer is no slow wait: it takes as long as it was told to.
    let timer = named(ResourceKind::Timer, "1 h", one.chains.remove(0));
    one.chains.push(timer);
    let text = of(&one);
    assert!(text.contains("slow-wait: a task waited for 30.0 s") && !text.contains("for 12.0 s in"));
}
