//! What the JSON trace event format demands of a file (its published description, "Trace Event Format"), as far as viewers hang on it.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// How far (µs) two times may lie apart that are equal: they are written as decimal fractions.
const ROUNDING: f64 = 0.000_6;

/// A slice of a file that keeps to the format.
#[derive(Clone, Debug)]
pub struct Slice {
    pub name: String,
    pub category: String,
    pub pid: u64,
    pub tid: u64,
    /// In µs.
    pub begin: f64,
    pub duration: f64,
    pub args: Value,
}

/// The slices of a document, once it is known to keep to the format.
///
/// # Errors
/// When it does not.
pub fn slices(document: &Value) -> anyhow::Result<Vec<Slice>> {
    let unit = document["displayTimeUnit"].as_str();
    ensure!(matches!(unit, Some("ms" | "ns")), "displayTimeUnit is {unit:?}");
    let events = document["traceEvents"].as_array().context("no traceEvents")?;
    let (mut slices, mut named) = (Vec::new(), HashSet::new());
    for event in events {
        let checked = event_of(event, &mut named).with_context(|| event.to_string())?;
        slices.extend(checked);
    }
    for slice in &slices {
        ensure!(
            named.contains(&(slice.pid, None)),
            "process {} has no name",
            slice.pid
        );
        let has_name = named.contains(&(slice.pid, Some(slice.tid)));
        ensure!(has_name, "thread {} has no name", slice.tid);
    }
    check_nesting(&slices)?;
    Ok(slices)
}

/// Checks one event; the slice, if it is one.
fn event_of(event: &Value, named: &mut HashSet<(u64, Option<u64>)>) -> anyhow::Result<Option<Slice>> {
    let number = |key: &str| {
        event[key]
            .as_f64()
            .filter(|it| *it >= 0.0)
            .context(key.to_owned())
    };
    let id = |key: &str| event[key].as_u64().context(key.to_owned());
    let (pid, tid) = (id("pid")?, id("tid")?);
    let name = event["name"].as_str().context("name")?;
    let args = &event["args"];
    ensure!(args.is_object(), "args");
    match event["ph"].as_str().context("ph")? {
        "X" => Ok(Some(Slice {
            name: name.to_owned(),
            category: event["cat"].as_str().context("cat")?.to_owned(),
            pid,
            tid,
            begin: number("ts")?,
            duration: number("dur")?,
            args: args.clone(),
        })),
        "i" => {
            number("ts")?;
            ensure!(matches!(event["s"].as_str(), Some("g" | "p" | "t")), "scope");
            Ok(None)
        }
        "M" => {
            match name {
                "process_name" => ensure!(args["name"].is_string() && named.insert((pid, None)), "twice"),
                "thread_name" => ensure!(
                    args["name"].is_string() && named.insert((pid, Some(tid))),
                    "twice"
                ),
                "process_labels" => ensure!(args["labels"].is_string(), "labels"),
                "process_sort_index" | "thread_sort_index" => ensure!(args["sort_index"].is_i64(), "index"),
                other => bail!("metadata {other}"),
            }
            Ok(None)
        }
        other => bail!("a phase {other}, which is not written"),
    }
}

/// Slices of one thread lie within each other, or beside each other.
fn check_nesting(slices: &[Slice]) -> anyhow::Result<()> {
    let mut threads: BTreeMap<(u64, u64), Vec<&Slice>> = BTreeMap::new();
    for slice in slices {
        threads.entry((slice.pid, slice.tid)).or_default().push(slice);
    }
    for mut slices in threads.into_values() {
        slices.sort_by(|one, other| {
            let longest_first = other.duration.total_cmp(&one.duration);
            one.begin.total_cmp(&other.begin).then(longest_first)
        });
        let mut open: Vec<&Slice> = Vec::new();
        for slice in slices {
            let end = |it: &Slice| it.begin + it.duration;
            while open.last().is_some_and(|it| end(it) <= slice.begin + ROUNDING) {
                open.pop();
            }
            if let Some(outer) = open.last() {
                let fits = end(slice) <= end(outer) + ROUNDING;
                ensure!(fits, "{slice:?} is not within {outer:?}");
            }
            open.push(slice);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn document(events: &[Value]) -> Value {
        let name = |what: &str| json!({"ph": "M", "name": what, "pid": 1, "tid": 2, "args": {"name": "x"}});
        let mut all = vec![name("process_name"), name("thread_name")];
        all.extend_from_slice(events);
        json!({"displayTimeUnit": "ms", "traceEvents": all})
    }

    fn slice(begin: f64, duration: f64) -> Value {
        json!({"ph": "X", "name": "s", "cat": "c", "pid": 1, "tid": 2, "ts": begin, "dur": duration, "args": {}})
    }

    #[test]
    fn slices_lie_within_each_other_or_beside() {
        let good = [
            slice(0.0, 10.0),
            slice(0.0, 4.0),
            slice(4.0, 6.0),
            slice(10.0, 1.0),
        ];
        assert_eq!(super::slices(&document(&good)).unwrap().len(), 4);
        for bad in [
            vec![slice(0.0, 10.0), slice(5.0, 6.0)],
            vec![slice(-1.0, 10.0)],
            vec![json!({"ph": "Q", "name": "s", "pid": 1, "tid": 2, "args": {}})],
            vec![
                json!({"ph": "X", "name": "s", "cat": "c", "pid": 1, "tid": 3, "ts": 0, "dur": 0, "args": {}}),
            ],
        ] {
            super::slices(&document(&bad)).unwrap_err();
        }
    }
}
