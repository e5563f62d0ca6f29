//! What the Firefox Profiler demands of a processed profile of version 70, by its published types (`src/types/profile.ts` of firefox-devtools/profiler).

use anyhow::{Context, ensure};
use serde_json::Value;

/// The columns of each table: its name in `shared`, and what its columns hold.
const TABLES: [(&str, &[(&str, Holds)]); 6] = [
    (
        "stackTable",
        &[
            ("frame", Holds::PlaceIn("frameTable")),
            ("prefixOffset", Holds::Number),
        ],
    ),
    (
        "frameTable",
        &[
            ("address", Holds::Number),
            ("lib", Holds::Number),
            ("inlineDepth", Holds::Number),
            ("category", Holds::Number),
            ("subcategory", Holds::Number),
            ("func", Holds::PlaceIn("funcTable")),
            ("nativeSymbol", Holds::Nothing),
            ("innerWindowID", Holds::Nothing),
            ("line", Holds::NumberOrNothing),
            ("column", Holds::Nothing),
            ("originalLocation", Holds::Nothing),
        ],
    ),
    (
        "funcTable",
        &[
            ("name", Holds::Text),
            ("isJS", Holds::Flag),
            ("relevantForJS", Holds::Flag),
            ("resource", Holds::Number),
            ("source", Holds::PlaceOrNothing("sources")),
            ("lineNumber", Holds::Nothing),
            ("columnNumber", Holds::Nothing),
            ("originalLocation", Holds::Nothing),
        ],
    ),
    (
        "sources",
        &[
            ("id", Holds::Nothing),
            ("filename", Holds::Text),
            ("startLine", Holds::Number),
            ("startColumn", Holds::Number),
            ("sourceMapURL", Holds::Nothing),
            ("content", Holds::Nothing),
        ],
    ),
    (
        "resourceTable",
        &[
            ("name", Holds::Text),
            ("host", Holds::Nothing),
            ("type", Holds::Number),
        ],
    ),
    (
        "nativeSymbols",
        &[
            ("libIndex", Holds::Number),
            ("address", Holds::Number),
            ("name", Holds::Text),
            ("functionSize", Holds::Nothing),
        ],
    ),
];

/// What a column holds.
#[derive(Clone, Copy, Debug)]
enum Holds {
    Number,
    NumberOrNothing,
    Nothing,
    Flag,
    /// A place in `stringArray`.
    Text,
    PlaceIn(&'static str),
    PlaceOrNothing(&'static str),
}

/// What a thread comes to.
#[derive(Clone, Debug)]
pub struct Thread {
    pub name: String,
    pub pid: String,
    /// Its samples' weights by the name of the category of their innermost frames, in ms.
    pub weights: Vec<(String, f64)>,
    /// When markers begin and end, in ms.
    pub markers: Vec<(f64, f64)>,
}

/// The threads of a profile, once it is known to keep to the format.
///
/// # Errors
/// When it does not.
pub fn threads(profile: &Value) -> anyhow::Result<Vec<Thread>> {
    let (meta, shared) = (&profile["meta"], &profile["shared"]);
    ensure!(meta["preprocessedProfileVersion"] == 70, "{meta}");
    for key in ["interval", "startTime", "processType", "stackwalk", "version"] {
        ensure!(meta[key].is_number(), "meta.{key}");
    }
    ensure!(
        meta["product"].is_string() && profile["libs"].is_array(),
        "{meta}"
    );
    let categories = meta["categories"].as_array().context("categories")?;
    ensure!(
        categories.iter().any(|it| it["color"] == "grey"),
        "no default category"
    );
    let schemas = meta["markerSchema"].as_array().context("markerSchema")?;
    for (name, columns) in TABLES {
        check_table(shared, name, columns).with_context(|| name.to_owned())?;
    }
    for (place, offset) in list(&shared["stackTable"]["prefixOffset"])?.iter().enumerate() {
        let offset = offset.as_u64().context("offset")?;
        ensure!(offset <= place as u64, "a stack on one that is not there");
    }
    for category in list(&shared["frameTable"]["category"])? {
        place(category, categories.len())?;
    }
    let threads = list(&profile["threads"])?;
    let threads = threads.iter().map(|it| thread(it, shared, categories, schemas));
    threads.collect()
}

fn list(value: &Value) -> anyhow::Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("no list: {value}"))
}

fn place(value: &Value, length: usize) -> anyhow::Result<usize> {
    let place = value.as_u64().with_context(|| format!("no place: {value}"))? as usize;
    ensure!(place < length, "{place} of {length}");
    Ok(place)
}

fn length(table: &Value) -> anyhow::Result<usize> {
    Ok(table["length"].as_u64().context("length")? as usize)
}

fn check_table(shared: &Value, name: &str, columns: &[(&str, Holds)]) -> anyhow::Result<()> {
    let rows = length(&shared[name])?;
    let texts = list(&shared["stringArray"])?.len();
    for (column, holds) in columns {
        let values = list(&shared[name][*column]).with_context(|| (*column).to_owned())?;
        ensure!(values.len() == rows, "{column}: {} rows of {rows}", values.len());
        for value in values {
            let is_right = match holds {
                Holds::Number => value.is_number(),
                Holds::NumberOrNothing => value.is_number() || value.is_null(),
                Holds::Nothing => value.is_null(),
                Holds::Flag => value.is_boolean(),
                Holds::Text => place(value, texts).is_ok(),
                Holds::PlaceIn(table) => place(value, length(&shared[*table])?).is_ok(),
                Holds::PlaceOrNothing(table) => {
                    value.is_null() || place(value, length(&shared[*table])?).is_ok()
                }
            };
            ensure!(is_right, "{column}: {value} is no {holds:?}");
        }
    }
    Ok(())
}

fn thread(thread: &Value, shared: &Value, categories: &[Value], schemas: &[Value]) -> anyhow::Result<Thread> {
    for key in ["processType", "name", "pid"] {
        ensure!(thread[key].is_string(), "{key}");
    }
    for key in ["processStartupTime", "registerTime"] {
        ensure!(thread[key].is_number(), "{key}");
    }
    ensure!(
        thread["isMainThread"].is_boolean() && thread["pausedRanges"].is_array(),
        "{thread}"
    );
    ensure!(thread["tid"].is_string() || thread["tid"].is_number(), "tid");
    let samples = &thread["samples"];
    let rows = length(samples)?;
    let (stacks, times) = (list(&samples["stack"])?, list(&samples["time"])?);
    ensure!(stacks.len() == rows && times.len() == rows, "samples");
    ensure!(
        times.is_sorted_by_key(|it| it.as_f64()),
        "samples are in no order"
    );
    let weight_type = samples["weightType"].as_str();
    ensure!(
        matches!(weight_type, Some("samples" | "tracing-ms")),
        "{weight_type:?}"
    );
    let weights = match &samples["weight"] {
        Value::Null => vec![0.0; rows],
        weights => list(weights)?.iter().filter_map(Value::as_f64).collect(),
    };
    ensure!(weights.len() == rows, "weights");
    let mut sums: Vec<(String, f64)> = Vec::new();
    for (stack, weight) in stacks.iter().zip(weights) {
        let stack = place(stack, length(&shared["stackTable"])?)?;
        let frame = &shared["stackTable"]["frame"][stack];
        let frame = place(frame, length(&shared["frameTable"])?)?;
        let category = place(&shared["frameTable"]["category"][frame], categories.len())?;
        let name = categories[category]["name"].as_str().unwrap_or_default();
        match sums.iter_mut().find(|(it, _)| it == name) {
            Some((_, sum)) => *sum += weight,
            None => sums.push((name.to_owned(), weight)),
        }
    }
    let texts = list(&shared["stringArray"])?.len();
    Ok(Thread {
        name: thread["name"].as_str().unwrap_or_default().to_owned(),
        pid: thread["pid"].as_str().unwrap_or_default().to_owned(),
        weights: sums,
        markers: markers(&thread["markers"], texts, categories.len(), schemas)?,
    })
}

fn markers(
    markers: &Value,
    texts: usize,
    categories: usize,
    schemas: &[Value],
) -> anyhow::Result<Vec<(f64, f64)>> {
    let rows = length(markers)?;
    let column = |key: &str| -> anyhow::Result<&Vec<Value>> {
        let values = list(&markers[key])?;
        ensure!(values.len() == rows, "{key} of markers");
        Ok(values)
    };
    let (names, data, phases) = (column("name")?, column("data")?, column("phase")?);
    let (begins, ends) = (column("startTime")?, column("endTime")?);
    let category = column("category")?;
    let mut found = Vec::new();
    for row in 0..rows {
        place(&names[row], texts)?;
        place(&category[row], categories)?;
        ensure!(phases[row] == 1, "no interval");
        let schema = schemas.iter().find(|it| it["name"] == data[row]["type"]);
        let fields = list(&schema.context("a marker without a schema")?["fields"])?;
        let payload = data[row].as_object().context("no payload")?;
        for key in payload.keys().filter(|key| *key != "type") {
            ensure!(fields.iter().any(|it| it["key"] == *key), "{key} is not shown");
        }
        let (begin, end) = (begins[row].as_f64(), ends[row].as_f64());
        let (begin, end) = (begin.context("begin")?, end.context("end")?);
        ensure!(begin <= end, "it ends before it begins");
        found.push((begin, end));
    }
    Ok(found)
}
