//! Screens, drawn into memory.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::{Key, Reaction, Settings, Top};
use crate::findings::{BlockedLoop, Finding, Holder, HolderKind};
use crate::memory::Address;
use crate::resource::{Resource, ResourceKind};
use crate::snapshot::{Losses, Snapshot, Task};
use crate::survey::{Refusals, Survey};
use crate::testing::{HOSTILE, frame, small_service, snapshot, task};

fn top() -> Top {
    let settings = Settings {
        max_frames: 512,
        is_coloured: false,
        every: Duration::from_secs(1),
    };
    Top::new(settings, None)
}

fn screen(top: &mut Top, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| top.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width).max(1));
    let text = rows.map(|row| {
        let text: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.trim_end().to_owned()
    });
    text.collect::<Vec<_>>().join("\n")
}

fn look(top: &mut Top, second: i64, targets: Vec<Snapshot>) {
    let at = |mut snapshot: Snapshot| {
        snapshot.captured_at = jiff::Timestamp::from_second(1_767_323_045 + second).unwrap();
        snapshot
    };
    let survey = Survey {
        targets: targets.into_iter().map(at).collect(),
        refused: Refusals::default(),
    };
    top.look(survey, Duration::from_millis(12));
}

/// A service with so many tasks that wait for an item of a queue.
fn service(consumers: u64) -> Snapshot {
    let mut service = small_service();
    let get = frame("Queue.get", "/usr/lib/python3.14/asyncio/queues.py", 186);
    let consumer = |id: u64| {
        let mut task = task(
            0x1000 + id,
            &format!("consumer-{id}"),
            &[get.clone(), frame("Shop.consume", "/srv/shop/orders.py", 88)],
        );
        if let Some(on) = &mut task.waits_on {
            on.resource = Some(Box::new(Resource {
                id: Some(Address(0xa0)),
                words: "an item of queue".into(),
                label: Some("self.orders".into()),
                waiters: Some(consumers),
                position: Some(id),
                ..Resource::of_kind(ResourceKind::Queue)
            }));
        }
        task
    };
    service.tasks.extend((1..=consumers).map(consumer));
    service
}

fn keys(top: &mut Top, keys: &[Key]) {
    for key in keys {
        assert_eq!(top.key(*key), Reaction::Stay, "{key:?}");
    }
}

fn typed(top: &mut Top, text: &str) {
    for character in text.chars() {
        keys(top, &[Key::Character(character)]);
    }
}

#[test]
fn groups_fold_equal_tasks_and_tell_what_has_changed() {
    let mut top = top();
    look(&mut top, 0, vec![service(40)]);
    look(&mut top, 1, vec![service(45)]);
    insta::assert_snapshot!(screen(&mut top, 80, 24));
    insta::assert_snapshot!(screen(&mut top, 200, 50));
}

#[test]
fn tasks_are_listed_one_by_one() {
    let mut top = top();
    look(&mut top, 0, vec![service(40)]);
    look(&mut top, 3, vec![service(40)]);
    keys(&mut top, &[Key::Tab]);
    insta::assert_snapshot!(screen(&mut top, 80, 24));
    keys(&mut top, &[Key::End, Key::Up]);
    insta::assert_snapshot!(screen(&mut top, 200, 50));
}

#[test]
fn enter_asks_why_and_closes() {
    let mut top = top();
    look(&mut top, 0, vec![service(2)]);
    keys(&mut top, &[Key::Down, Key::Enter]);
    insta::assert_snapshot!(screen(&mut top, 80, 24));
    keys(&mut top, &[Key::Enter]);
    assert!(!screen(&mut top, 80, 24).contains("Why"));
}

#[test]
fn findings_and_losses_come_first_and_never_take_the_table() {
    let mut blocked = service(3);
    let stack = [frame("crunch", "/srv/app.py", 7), frame("job", "/srv/app.py", 9)];
    let finding = Finding::BlockedLoop(BlockedLoop {
        tid: 100,
        seconds: 3.29,
        holder: Holder {
            kind: HolderKind::Task(Address(0x40)),
            name: Some("busy".into()),
            stack: stack.as_slice().into(),
            seconds: 3.0,
        },
        ready: 50,
        overdue_timers: Some(1),
    });
    blocked.findings = vec![finding; 30];
    blocked.losses = Losses {
        torn: 2,
        ..Losses::default()
    };
    let mut top = top();
    look(&mut top, 0, vec![blocked]);
    insta::assert_snapshot!(screen(&mut top, 80, 24));
}

#[test]
fn the_filter_is_typed_and_taken_back() {
    let mut top = top();
    look(&mut top, 0, vec![service(3)]);
    keys(&mut top, &[Key::Character('/')]);
    typed(&mut top, "quX");
    keys(&mut top, &[Key::Backspace]);
    // Keys are text now.
    typed(&mut top, "eue");
    assert!(screen(&mut top, 80, 24).contains("/queue"));
    keys(&mut top, &[Key::Enter]);
    let shown = screen(&mut top, 80, 24);
    assert!(shown.contains("1 group has \"queue\""), "{shown}");
    assert!(
        shown.contains("Shop.consume") && !shown.contains("Pool.worker"),
        "{shown}"
    );
    keys(&mut top, &[Key::Tab]);
    assert!(screen(&mut top, 80, 24).contains("3 tasks have \"queue\""));
    keys(&mut top, &[Key::Escape]);
    assert!(screen(&mut top, 80, 24).contains("worker-1"));
}

#[test]
fn the_selection_stays_with_what_was_selected() {
    let mut top = top();
    look(&mut top, 0, vec![service(3)]);
    keys(&mut top, &[Key::Tab, Key::Down, Key::Down]);
    let selected = top.selection();
    let mut later = service(3);
    later.tasks.reverse();
    later
        .tasks
        .retain(|task: &Task| task.name.as_deref() != Some("worker-0"));
    look(&mut top, 1, vec![later]);
    assert_eq!(top.selection(), selected);
    // What is gone leaves its row.
    look(&mut top, 2, vec![snapshot(Vec::new())]);
    assert_eq!(top.selection(), None);
    keys(
        &mut top,
        &[
            Key::Down,
            Key::PageDown,
            Key::End,
            Key::Enter,
            Key::Tab,
            Key::Enter,
        ],
    );
    screen(&mut top, 80, 24);
}

#[test]
fn a_pause_and_an_end_are_told() {
    let mut top = top();
    look(&mut top, 0, vec![service(3)]);
    assert!(!top.is_resting());
    keys(&mut top, &[Key::Character('p')]);
    assert!(top.is_resting() && screen(&mut top, 80, 24).contains("PAUSED"));
    keys(&mut top, &[Key::Character('p')]);
    assert!(!top.is_resting());
    top.end("The process has ended.".to_owned());
    let shown = screen(&mut top, 80, 24);
    assert!(top.is_resting() && shown.contains("The process has ended.  (q leaves)"));
    assert!(
        shown.contains("Shop.consume"),
        "what was seen last stays: {shown}"
    );
    assert_eq!(top.key(Key::Character('q')), Reaction::Leave);
}

#[test]
fn help_lists_the_keys() {
    let mut top = top();
    look(&mut top, 0, vec![service(3)]);
    keys(&mut top, &[Key::Character('?')]);
    insta::assert_snapshot!(screen(&mut top, 120, 24));
    keys(&mut top, &[Key::Character('?')]);
    assert!(screen(&mut top, 80, 24).contains("AWAIT POINT"));
}

#[test]
fn a_group_that_only_grows_for_a_minute_is_told() {
    let mut grows = top();
    let mut falls = top();
    for second in 0..=70 {
        let more = u64::try_from(second).unwrap() / 2;
        look(&mut grows, second, vec![service(10 + more)]);
        // It has been fewer once.
        let fewer = if second == 30 { 1 } else { more };
        look(&mut falls, second, vec![service(10 + fewer)]);
    }
    let shown = screen(&mut grows, 200, 24);
    insta::assert_snapshot!(shown.lines().nth(2).unwrap(), @"Growing: 15 tasks were in Shop.consume (/srv/shop/orders.py:88) a minute ago, and 45 are now; they were never fewer in between");
    assert!(!screen(&mut falls, 200, 24).contains("Growing"));
    let mut stays = top();
    (0..=70).for_each(|second| look(&mut stays, second, vec![service(10)]));
    assert!(!screen(&mut stays, 200, 24).contains("Growing"));
}

#[test]
fn several_processes_have_a_column() {
    let mut other = service(2);
    other.pid = 12;
    let mut top = top();
    look(&mut top, 0, vec![other, service(3)]);
    let shown = screen(&mut top, 100, 24);
    assert!(shown.contains("2 processes") && shown.contains("PID"), "{shown}");
    assert!(
        shown.contains("\n     12 ") && shown.contains("\n   4711 "),
        "{shown}"
    );
}

#[test]
fn hostile_names_stay_in_their_cells() {
    let wide = "漢字".repeat(300);
    let rtl = "שלום\u{202e}\u{200f}";
    let marks = "e".to_owned() + &"\u{301}".repeat(5000);
    let names = [
        HOSTILE,
        &wide,
        rtl,
        &marks,
        "",
        "\x1b[2J\x1b[H",
        "👩\u{200d}👩\u{200d}👧",
    ];
    let tasks = (1..)
        .zip(names)
        .map(|(id, name)| task(id, name, &[frame(name, name, 1)]));
    let mut top = top();
    let mut hostile = snapshot(tasks.collect());
    hostile.command = HOSTILE.to_owned();
    hostile.python = HOSTILE.to_owned();
    look(&mut top, 0, vec![hostile]);
    for _ in 0..2 {
        keys(&mut top, &[Key::Tab, Key::Enter]);
        let shown = screen(&mut top, 80, 24);
        let unsafe_ones = |text: &str| {
            text.chars()
                .any(|it| !crate::view::escape::is_safe(it) && it != '\n')
        };
        assert!(!unsafe_ones(&shown), "{shown}");
        assert!(shown.contains("STATE"), "{shown}");
        keys(&mut top, &[Key::Enter]);
    }
    keys(&mut top, &[Key::Character('/')]);
    typed(&mut top, HOSTILE);
    assert!(!screen(&mut top, 80, 24).contains('\x1b'));
}

#[test]
fn every_size_is_drawn() {
    let mut top = top();
    for (width, height) in [(1, 1), (0, 0), (3, 2), (20, 4), (80, 3), (500, 200)] {
        for _ in 0..4 {
            look(&mut top, 0, vec![service(60)]);
            keys(&mut top, &[Key::Tab, Key::Enter, Key::PageDown]);
            screen(&mut top, width, height);
            keys(&mut top, &[Key::Character('?')]);
            screen(&mut top, width, height);
            keys(&mut top, &[Key::Character('?'), Key::Escape, Key::End]);
            screen(&mut top, width, height);
        }
    }
}

/// By hand: `cargo test --release -p awaitwhat --lib top::tests -- --ignored --nocapture`.
#[test]
#[ignore = "measures, and asserts nothing"]
#[expect(clippy::print_stdout, reason = "what it measures is for whoever runs it")]
fn how_long_a_hundred_thousand_tasks_take() {
    let mut top = top();
    let started = std::time::Instant::now();
    let all = service(100_000);
    println!("made in {:?}", started.elapsed());
    look(&mut top, 0, vec![all.clone()]);
    let started = std::time::Instant::now();
    look(&mut top, 1, vec![all]);
    println!("taken in {:?}", started.elapsed());
    for mode in ["groups", "tasks"] {
        let mut terminal = Terminal::new(TestBackend::new(200, 50)).unwrap();
        for _ in 0..3 {
            let started = std::time::Instant::now();
            top.key(Key::Down);
            terminal.draw(|frame| top.draw(frame)).unwrap();
            println!("{mode}: a key, and drawn, in {:?}", started.elapsed());
        }
        let started = std::time::Instant::now();
        top.key(Key::Tab);
        println!("switched in {:?}", started.elapsed());
    }
}
