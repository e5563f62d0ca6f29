use crate::snapshot::{Frame, Losses, Snapshot, Task, TaskState, TrioState, WaitKind};
use crate::testing::{HOSTILE, frame, small_service, snapshot, task};

fn drawn(snapshot: &Snapshot) -> String {
    let mut output = Vec::new();
    super::write(snapshot, 512, &mut output).unwrap();
    anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string()
}

fn sleep() -> Frame {
    frame("sleep", "/usr/lib/python3.14/asyncio/tasks.py", 704)
}

fn worker(id: u64, name: &str) -> Task {
    task(id, name, &[sleep(), frame("worker", "/srv/app.py", 20)])
}

fn simple(id: u64, name: &str) -> Task {
    task(id, name, &[frame(name, "/srv/app.py", 1)])
}

#[test]
fn a_small_service() {
    insta::assert_snapshot!(drawn(&small_service()), @"
    Process 4711 (CPython 3.14.10): 4 tasks, 1 running, 1 awaited by no other

    ● Task-1
    │  main  /srv/app.py:61
    │  waits for all of 3 tasks (gather)
    ├─ ● busy  running
    │     job  /srv/app.py:9
    │     crunch  /srv/app.py:7
    └─ ● worker-0, worker-1  x2
          Pool.worker  /srv/app.py:20
          sleep  asyncio/tasks.py:704
          waits for Future
    ");
}

#[test]
fn what_is_no_moment_says_so() {
    let mut long = snapshot(Vec::new());
    long.span_seconds = 0.25;
    insta::assert_snapshot!(drawn(&long), @"
    Process 4711 (CPython 3.14.10): 0 tasks, 0 running, 0 awaited by no other
    Read over 250 ms: what tasks do is up to that far apart.
    ");
}

#[test]
fn nothing_to_see() {
    insta::assert_snapshot!(drawn(&snapshot(Vec::new())), @"Process 4711 (CPython 3.14.10): 0 tasks, 0 running, 0 awaited by no other");
}

/// The program of CPython's report on awaiter stacks: a task group that is still open waits for a sleep, not for its children.
#[test]
fn children_of_an_open_group_are_no_waits() {
    let runner = task(1, "Task-1", &[sleep(), frame("runner", "/srv/app.py", 23)]);
    let foo1 = |id, name: &str, waits: &[u64]| {
        let frames =
            [("foo12", 15), ("foo11", 8), ("foo1", 5)].map(|(name, line)| frame(name, "/srv/app.py", line));
        task(id, name, &frames).waiting_for(waits)
    };
    let foo2 = |id| task(id, "foo2", &[sleep(), frame("foo2", "/srv/app.py", 18)]);
    let mut tasks = vec![runner, foo1(2, "foo1.0", &[6, 7]), foo1(3, "foo1.1", &[8, 9])];
    tasks.extend((5..=9).map(foo2));
    insta::assert_snapshot!(drawn(&snapshot(tasks)), @"
    Process 4711 (CPython 3.14.10): 8 tasks, 0 running, 4 awaited by no other

    ● Task-1
       runner  /srv/app.py:23
       sleep  asyncio/tasks.py:704
       waits for Future
    ● foo2
       foo2  /srv/app.py:18
       sleep  asyncio/tasks.py:704
       waits for Future
    ● foo1.0, foo1.1  x2
    │  foo1  /srv/app.py:5
    │  foo11  /srv/app.py:8
    │  foo12  /srv/app.py:15
    │  waits for all of 2 tasks (gather)
    └─ ● foo2  x4
          foo2  /srv/app.py:18
          sleep  asyncio/tasks.py:704
          waits for Future
    ");
}

#[test]
fn children_of_a_group_that_is_awaited() {
    let exit = frame(
        "TaskGroup.__aexit__",
        "/usr/lib/python3.14/asyncio/taskgroups.py",
        72,
    );
    let main = task(1, "Task-1", &[exit, frame("main", "/srv/app.py", 4)]).waiting(
        WaitKind::TaskGroup,
        "Future",
        &[2, 3, 99],
    );
    let mut other = worker(3, "b");
    other.truncated = true;
    insta::assert_snapshot!(drawn(&snapshot(vec![main, worker(2, "a"), other])), @"
    Process 4711 (CPython 3.14.10): 3 tasks, 0 running, 1 awaited by no other

    ● Task-1
    │  main  /srv/app.py:4
    │  TaskGroup.__aexit__  asyncio/taskgroups.py:72
    │  waits for all of 3 tasks (TaskGroup)
    ├─ ● a
    │     worker  /srv/app.py:20
    │     sleep  asyncio/tasks.py:704
    │     waits for Future
    └─ ● b  truncated
          worker  /srv/app.py:20
          sleep  asyncio/tasks.py:704
          waits for Future
    ");
}

#[test]
fn a_thousand_equal_workers_are_one_line() {
    let ids: Vec<u64> = (1..=1000).collect();
    let mut tasks = vec![simple(5000, "main").waiting_for(&ids)];
    tasks.extend(ids.iter().map(|id| worker(*id, &format!("worker-{}", id - 1))));
    insta::assert_snapshot!(drawn(&snapshot(tasks)), @"
    Process 4711 (CPython 3.14.10): 1001 tasks, 0 running, 1 awaited by no other

    ● main
    │  main  /srv/app.py:1
    │  waits for all of 1000 tasks (gather)
    └─ ● worker-0 … worker-999  x1000
          worker  /srv/app.py:20
          sleep  asyncio/tasks.py:704
          waits for Future
    ");
}

#[test]
fn equal_roots_fold_with_all_that_is_below() {
    let roots = (1..=3).map(|id| simple(id, "root").waiting_for(&[id + 10]));
    let leaves = (11..=13).map(|id| simple(id, "leaf"));
    insta::assert_snapshot!(drawn(&snapshot(roots.chain(leaves).collect())), @"
    Process 4711 (CPython 3.14.10): 6 tasks, 0 running, 3 awaited by no other

    ● root  x3
    │  root  /srv/app.py:1
    │  waits for all of 1 task (gather)
    └─ ● leaf  x3
          leaf  /srv/app.py:1
          waits for Future
    ");
}

#[test]
fn a_diamond_is_drawn_once() {
    let tasks = vec![
        simple(1, "top").waiting_for(&[2, 3]),
        simple(2, "left").waiting(WaitKind::Task, "Task", &[4]),
        simple(3, "right").waiting(WaitKind::Task, "Task", &[4]),
        simple(4, "shared"),
    ];
    insta::assert_snapshot!(drawn(&snapshot(tasks)), @"
    Process 4711 (CPython 3.14.10): 4 tasks, 0 running, 1 awaited by no other

    ● top
    │  top  /srv/app.py:1
    │  waits for all of 2 tasks (gather)
    ├─ ● left
    │  │  left  /srv/app.py:1
    │  └─ ● shared
    │        shared  /srv/app.py:1
    │        waits for Future
    └─ ● right
       │  right  /srv/app.py:1
       └─ ● shared  (see above)
    ");
}

#[test]
fn equal_tasks_that_share_one_fold_above_it() {
    let mut tasks: Vec<Task> = (1..=5)
        .map(|id| simple(id, "asker").waiting(WaitKind::Task, "Task", &[9]))
        .collect();
    tasks.push(simple(9, "answer"));
    insta::assert_snapshot!(drawn(&snapshot(tasks)), @"
    Process 4711 (CPython 3.14.10): 6 tasks, 0 running, 5 awaited by no other

    ● asker  x5
    │  asker  /srv/app.py:1
    └─ ● answer
          answer  /srv/app.py:1
          waits for Future
    ");
}

#[test]
fn a_cycle_is_drawn_and_marked() {
    let tasks = vec![
        simple(1, "one").waiting(WaitKind::Task, "Task", &[2]),
        simple(2, "two").waiting(WaitKind::Task, "Task", &[1]),
        simple(3, "victim").waiting(WaitKind::Task, "Task", &[1]),
        simple(4, "selfish").waiting(WaitKind::Task, "Task", &[4]),
    ];
    insta::assert_snapshot!(drawn(&snapshot(tasks)), @"
    Process 4711 (CPython 3.14.10): 4 tasks, 0 running, 2 awaited by no other
    2 tasks wait for each other in a cycle: none of them can go on (one, two)
    1 task waits for itself: it cannot go on (selfish)

    ● selfish
    │  selfish  /srv/app.py:1
    └─ ● selfish  (see above: closes a cycle)
    ● victim
    │  victim  /srv/app.py:1
    └─ ● one
       │  one  /srv/app.py:1
       └─ ● two
          │  two  /srv/app.py:1
          └─ ● one  (see above: closes a cycle)
    ");
}

#[test]
fn several_threads_are_told_apart() {
    let mut tasks = vec![worker(1, "a"), worker(2, "b"), worker(3, "c")];
    tasks[2].tid = Some(200);
    tasks[2].state = TaskState::Running;
    tasks[2].waits_on = None;
    insta::assert_snapshot!(drawn(&snapshot(tasks)), @"
    Process 4711 (CPython 3.14.10): 3 tasks, 1 running, 3 awaited by no other

    ● a, b  x2  thread 100
       worker  /srv/app.py:20
       sleep  asyncio/tasks.py:704
       waits for Future
    ● c  running  thread 200
       worker  /srv/app.py:20
       sleep  asyncio/tasks.py:704
    ");
}

#[test]
fn a_task_that_is_gone_is_said_to_be() {
    let mut nameless = simple(1, "x").waiting(WaitKind::Task, "Task", &[99]);
    nameless.name = None;
    nameless.stack = [].into();
    let mut snapshot = snapshot(vec![nameless]);
    snapshot.losses = Losses {
        torn: 1,
        ..Losses::default()
    };
    insta::assert_snapshot!(drawn(&snapshot), @"
    Process 4711 (CPython 3.14.10): 1 task, 0 running, 1 awaited by no other

    ● task at 0x1
       waits for a task that is not shown (0xf00)

    Not shown: 1 of 2 tasks left out (changed while it was read)
    ");
}

#[test]
fn hostile_names_stay_harmless() {
    let mut hostile = task(1, HOSTILE, &[frame(HOSTILE, HOSTILE, 1)]);
    hostile = hostile.waiting(WaitKind::Other, HOSTILE, &[]);
    let mut snapshot = snapshot(vec![hostile]);
    snapshot.python = HOSTILE.to_owned();
    let text = drawn(&snapshot);
    insta::assert_snapshot!(text, @r#"
    Process 4711 (CPython a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7): 1 task, 0 running, 1 awaited by no other

    ● a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7
       a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7  a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7:1
       waits for a;b\n\x1b[31mred\x07\u{202e}evil\x9b<&"> 7
    "#);
    assert!(!text.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}']));
}

#[test]
fn a_long_row_of_tasks_stays_narrow() {
    let count = 10_000;
    let tasks = (1..=count)
        .map(|id| simple(id, "link").waiting(WaitKind::Task, "Task", &[id + 1]))
        .collect();
    let text = drawn(&snapshot(tasks));
    assert_eq!(text.matches("link  /srv/app.py:1").count(), 10_000);
    assert!(text.lines().all(|line| line.chars().count() < 140));
    assert!(text.contains("(goes on below, at #1)"));
    assert!(text.contains("\n#1 ● link"));
}

#[test]
fn a_long_cycle_ends() {
    let count: u64 = 1000;
    let next = |id| if id == count { 1 } else { id + 1 };
    let tasks = (1..=count)
        .map(|id| simple(id, "link").waiting(WaitKind::Task, "Task", &[next(id)]))
        .collect();
    let text = drawn(&snapshot(tasks));
    assert_eq!(text.matches("closes a cycle").count(), 1);
    assert!(text.starts_with("Process 4711"));
}

/// A run of trio: who waits for a nursery is drawn apart from who only has one open.
fn nurseries() -> Vec<Task> {
    let trap = || frame("wait_task_rescheduled", "/lib/trio/_core/_traps.py", 216);
    let exit = || frame("Nursery._nested_child_finished", "/lib/trio/_core/_run.py", 1310);
    let t = |id, name: &str, inner: Frame| task(id, name, &[trap(), inner, frame("work", "/srv/app.py", 7)]);
    let asleep = || frame("sleep", "/lib/trio/_timeouts.py", 87);
    let mut tasks = vec![
        t(1, "<init>", exit()).of_trio(None, &[(0xa, &[9]), (0xb, &[2])], true),
        t(2, "main", exit()).of_trio(Some(0xb), &[(0xc, &[3, 4])], true),
        t(3, "serve 0", asleep()).of_trio(Some(0xc), &[(0xd, &[5, 6]), (0xe, &[])], false),
        t(4, "serve 1", asleep()).of_trio(Some(0xc), &[(0xf, &[7, 8]), (0x10, &[])], false),
        t(9, "system", asleep()).of_trio(Some(0xa), &[], false),
    ];
    tasks.extend([(5, 0xd), (6, 0xd), (7, 0xf), (8, 0xf)].map(|(id, parent)| {
        t(id, "reader", asleep())
            .waiting(WaitKind::Parked, "SocketStream", &[])
            .with_nursery(parent)
    }));
    tasks
}

impl Task {
    fn with_nursery(self, parent: u64) -> Self {
        let waits_on = self.waits_on.clone();
        Self {
            waits_on,
            ..self.of_trio(Some(parent), &[], false)
        }
    }
}

#[test]
fn children_of_a_nursery_are_drawn_apart_from_waits() {
    let mut tasks = nurseries();
    for (index, state) in [(4, TrioState::Runnable), (5, TrioState::Cancelling)] {
        tasks[index].trio.as_mut().unwrap().state = state;
    }
    insta::assert_snapshot!(drawn(&snapshot(tasks)), @"
    Process 4711 (CPython 3.14.10): 9 tasks, 0 running, 6 awaited by no other

    ● <init>
    │  work  /srv/app.py:7
    │  Nursery._nested_child_finished  /lib/trio/_core/_run.py:1310
    │  waits for all of 1 task (nursery)
    ├─ ● main
    │  │  work  /srv/app.py:7
    │  │  Nursery._nested_child_finished  /lib/trio/_core/_run.py:1310
    │  │  waits for all of 2 tasks (nursery)
    │  ├─ ● serve 0
    │  │  │  work  /srv/app.py:7
    │  │  │  sleep  /lib/trio/_timeouts.py:87
    │  │  ├╌ nursery of 2 tasks, still open
    │  │  │  ├─ ● reader  cancelled, but waits
    │  │  │  │     work  /srv/app.py:7
    │  │  │  │     sleep  /lib/trio/_timeouts.py:87
    │  │  │  │     waits for SocketStream
    │  │  │  └─ ● reader
    │  │  │        work  /srv/app.py:7
    │  │  │        sleep  /lib/trio/_timeouts.py:87
    │  │  │        waits for SocketStream
    │  │  └╌ nursery of 0 tasks, still open
    │  └─ ● serve 1
    │     │  work  /srv/app.py:7
    │     │  sleep  /lib/trio/_timeouts.py:87
    │     ├╌ nursery of 2 tasks, still open
    │     │  └─ ● reader  x2
    │     │        work  /srv/app.py:7
    │     │        sleep  /lib/trio/_timeouts.py:87
    │     │        waits for SocketStream
    │     └╌ nursery of 0 tasks, still open
    └╌ nursery of 1 task, still open
       └─ ● system  runnable
             work  /srv/app.py:7
             sleep  /lib/trio/_timeouts.py:87
    ");
}

#[test]
fn equal_tasks_with_nurseries_are_one_entry() {
    insta::assert_snapshot!(drawn(&snapshot(nurseries())), @"
    Process 4711 (CPython 3.14.10): 9 tasks, 0 running, 6 awaited by no other

    ● <init>
    │  work  /srv/app.py:7
    │  Nursery._nested_child_finished  /lib/trio/_core/_run.py:1310
    │  waits for all of 1 task (nursery)
    ├─ ● main
    │  │  work  /srv/app.py:7
    │  │  Nursery._nested_child_finished  /lib/trio/_core/_run.py:1310
    │  │  waits for all of 2 tasks (nursery)
    │  └─ ● serve 0, serve 1  x2
    │     │  work  /srv/app.py:7
    │     │  sleep  /lib/trio/_timeouts.py:87
    │     ├╌ 2 nurseries of 4 tasks, still open
    │     │  └─ ● reader  x4
    │     │        work  /srv/app.py:7
    │     │        sleep  /lib/trio/_timeouts.py:87
    │     │        waits for SocketStream
    │     └╌ 2 nurseries of 0 tasks, still open
    └╌ nursery of 1 task, still open
       └─ ● system
             work  /srv/app.py:7
             sleep  /lib/trio/_timeouts.py:87
    ");
}

#[test]
fn a_loop_that_nobody_runs_is_said_to_be_so() {
    let mut left = task(1, "left behind", &[frame("worker", "/srv/app.py", 4)]);
    left.tid = None;
    let mut snapshot = snapshot(vec![left]);
    insta::assert_snapshot!(drawn(&snapshot).lines().nth(1).unwrap(), @"No thread runs the event loop of 1 task: it was stopped, or has not begun");
    snapshot.main_thread = vec![
        frame("Thread.join", "/usr/lib/python3.14/threading.py", 1119),
        frame(
            "ThreadPoolExecutor.shutdown",
            "/usr/lib/python3.14/concurrent/futures/thread.py",
            239,
        ),
        frame("stop", "/srv/app.py", 12),
        frame("<module>", "/srv/app.py", 20),
    ];
    insta::assert_snapshot!(drawn(&snapshot).lines().nth(1).unwrap(), @"No thread runs the event loop of 1 task: it was stopped, or has not begun; the main thread is in Thread.join (threading.py:1119), called from stop (/srv/app.py:12)");
}
