use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use crate::profile::{PointWaits, Profile};
use crate::resource::ResourceKind;
use crate::testing::{chain, frame, hostile_profile, named, profile, ready, running, small_profile};

/// What is told of waits where there were none.
const NO_WAITS: &str = ", waits: null, wait_p50_seconds: null, wait_p90_seconds: null, wait_p99_seconds: null, wait_max_seconds: null, \
    wait_precision_seconds: null, waits_in_part: null, longest_in_part_seconds: null, returns: null";

fn written(profiles: &[Profile]) -> SerializedFileReader<Bytes> {
    let mut output = Vec::new();
    super::write(profiles, "db-1", 512, &mut output).unwrap();
    SerializedFileReader::new(Bytes::from(output)).unwrap()
}

fn rows(file: &SerializedFileReader<Bytes>) -> Vec<String> {
    let rows = file.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().to_string()).collect()
}

#[test]
fn a_row_for_each_place_and_thing() {
    let at = [
        frame("sleep", "/usr/lib/python3.14/asyncio/tasks.py", 704),
        frame("worker", "/srv/app.py", 7),
    ];
    let lock = |seconds| {
        named(
            ResourceKind::Lock,
            "self.lock",
            chain(&at, Some("Future"), seconds),
        )
    };
    let one = profile(vec![
        lock(1.5),
        chain(&at, Some("Future"), 2.0),
        ready(&at, Some("Future"), 0.25),
        running(&at[1..], 0.5),
        chain(&[], None, 0.125),
        chain(&at, None, -1.0),
    ]);
    let shown = rows(&written(&[one])).join("\n");
    let shown = shown.replace(NO_WAITS, "");
    insta::assert_snapshot!(shown, @r#"
    {host: "db-1", pid: 4711, command: "python3", python: "3.14.10", started_at: 2026-01-02 03:04:05.678901 +00:00, duration_seconds: 10.0, function: "", file: "", line: null, awaits: "", resource: null, waiting_seconds: 0.125, ready_seconds: 0E0, running_seconds: 0E0}
    {host: "db-1", pid: 4711, command: "python3", python: "3.14.10", started_at: 2026-01-02 03:04:05.678901 +00:00, duration_seconds: 10.0, function: "worker", file: "/srv/app.py", line: 7, awaits: "", resource: null, waiting_seconds: 0E0, ready_seconds: 0E0, running_seconds: 0.5}
    {host: "db-1", pid: 4711, command: "python3", python: "3.14.10", started_at: 2026-01-02 03:04:05.678901 +00:00, duration_seconds: 10.0, function: "worker", file: "/srv/app.py", line: 7, awaits: "sleep", resource: null, waiting_seconds: 2.0, ready_seconds: 0.25, running_seconds: 0E0}
    {host: "db-1", pid: 4711, command: "python3", python: "3.14.10", started_at: 2026-01-02 03:04:05.678901 +00:00, duration_seconds: 10.0, function: "worker", file: "/srv/app.py", line: 7, awaits: "sleep", resource: "lock self.lock", waiting_seconds: 1.5, ready_seconds: 0E0, running_seconds: 0E0}
    "#);
}

#[test]
fn how_long_waits_took_is_told_once_for_each_await_point() {
    let at = [
        frame("sleep", "/usr/lib/python3.14/asyncio/tasks.py", 704),
        frame("worker", "/srv/app.py", 7),
    ];
    let lock = |label| named(ResourceKind::Lock, label, chain(&at, Some("Future"), 1.0));
    let nameless = chain(&at[1..], None, 1.0);
    let mut one = profile(vec![lock("self.lock"), lock("self.other"), nameless]);
    one.waits = vec![
        PointWaits::of(&one.chains[0], &[(1000, 1000), (3000, 3020)], &[10_000, 500]).with_returns(3),
        PointWaits::of(&one.chains[2], &[], &[2000]),
    ];
    let shown = rows(&written(&[one]));
    let after = |row: &String| row.split_once("running_seconds: 0E0, ").unwrap().1.to_owned();
    let shown: Vec<String> = shown.iter().map(after).collect();
    insta::assert_snapshot!(shown.join("\n"), @"
    waits: 0, wait_p50_seconds: null, wait_p90_seconds: null, wait_p99_seconds: null, wait_max_seconds: null, wait_precision_seconds: null, waits_in_part: 1, longest_in_part_seconds: 2.0, returns: 0}
    waits: 2, wait_p50_seconds: 1.0016, wait_p90_seconds: 3.008, wait_p99_seconds: 3.008, wait_max_seconds: 3.008, wait_precision_seconds: 0.00005, waits_in_part: 2, longest_in_part_seconds: 10.0, returns: 3}
    waits: null, wait_p50_seconds: null, wait_p90_seconds: null, wait_p99_seconds: null, wait_max_seconds: null, wait_precision_seconds: null, waits_in_part: null, longest_in_part_seconds: null, returns: null}
    ");
}

#[test]
fn several_together_have_no_process() {
    let merged = Profile::merged(
        &[small_profile(), small_profile()],
        small_profile().started_at,
        10.0,
    );
    let rows = rows(&written(&[merged]));
    assert!(
        !rows.is_empty() && rows.iter().all(|row| row.contains("pid: null")),
        "{rows:?}"
    );
}

#[test]
fn losses_are_told_and_hostile_names_do_not_deceive() {
    let file = written(&[hostile_profile()]);
    let told = file.metadata().file_metadata().key_value_metadata().unwrap();
    assert_eq!(
        (told[0].key.as_str(), told[0].value.as_deref()),
        (
            "awaitwhat.not_shown",
            Some("process 4711: 3 of 9903 task visits left out (changed while it was read)")
        )
    );
    let text = rows(&file).join("");
    assert!(text.chars().all(crate::view::escape::is_safe), "{text:?}");
}

#[test]
fn nothing_is_a_table_without_rows() {
    for profiles in [&[][..], &[profile(Vec::new())]] {
        assert_eq!(rows(&written(profiles)).len(), 0);
    }
}
