//! What was seen of each process in a period, as a Parquet file: a row for each await point and thing that tasks waited for there. Files of many hosts and many
//! periods are one table for whoever queries them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::origin;
use crate::profile::{Chain, ChainState, Point, Process, Profile, WaitTimes, WholeWaits, await_points};
use crate::view::escape::{Escaped, named};
use crate::view::losses::{Counted, describe};

mod columns;
#[cfg(test)]
mod tests;

use columns::{optional, required};

/// What an await point awaits that is not known.
const UNKNOWN: &str = "?";

/// The columns, in the order in which [`write_rows`] writes them.
const SCHEMA: &str = "
    message awaitwhat {
        REQUIRED BYTE_ARRAY host (STRING);
        OPTIONAL INT32 pid;
        REQUIRED BYTE_ARRAY command (STRING);
        REQUIRED BYTE_ARRAY python (STRING);
        REQUIRED INT64 started_at (TIMESTAMP(MICROS, true));
        REQUIRED DOUBLE duration_seconds;
        REQUIRED BYTE_ARRAY function (STRING);
        REQUIRED BYTE_ARRAY file (STRING);
        OPTIONAL INT32 line;
        REQUIRED BYTE_ARRAY awaits (STRING);
        OPTIONAL BYTE_ARRAY resource (STRING);
        REQUIRED DOUBLE waiting_seconds;
        REQUIRED DOUBLE ready_seconds;
        REQUIRED DOUBLE running_seconds;
        OPTIONAL INT64 waits;
        OPTIONAL DOUBLE wait_p50_seconds;
        OPTIONAL DOUBLE wait_p90_seconds;
        OPTIONAL DOUBLE wait_p99_seconds;
        OPTIONAL DOUBLE wait_max_seconds;
        OPTIONAL DOUBLE wait_precision_seconds;
        OPTIONAL INT64 waits_in_part;
        OPTIONAL DOUBLE longest_in_part_seconds;
        OPTIONAL INT64 returns;
    }
";

/// What makes chains one row of a process. Escaped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    function: String,
    file: String,
    line: Option<i32>,
    awaits: String,
    resource: Option<String>,
}

/// One row: the place, and the time that tasks spent there, in seconds.
struct Row<'a> {
    profile: &'a Profile,
    place: Place,
    waiting: f64,
    ready: f64,
    running: f64,
    /// How long waits took at the await point: told in the first row of it, as it is not known which of them were for which thing.
    waits: Option<WaitTimes>,
}

/// Writes each of `profiles`, taken on `host` with chains of at most `max_frames` frames.
///
/// # Errors
/// When `output` fails.
pub fn write(profiles: &[Profile], host: &str, max_frames: usize, output: &mut impl Write) -> io::Result<()> {
    let rows: Vec<Row<'_>> = profiles.iter().flat_map(rows_of).collect();
    let lost = profiles.iter().flat_map(|profile| {
        let losses = describe(&profile.losses, Counted::Visits, profile.task_visits, max_frames);
        let process = profile.processes.first().map_or(0, |it| it.pid);
        losses
            .into_iter()
            .map(move |loss| format!("process {process}: {loss}"))
    });
    let lost: Vec<String> = lost.collect();
    let file = file(&rows, host, &lost).map_err(io::Error::other)?;
    output.write_all(&file)
}

fn rows_of(profile: &Profile) -> impl Iterator<Item = Row<'_>> {
    let mut sums: BTreeMap<Place, [f64; 3]> = BTreeMap::new();
    for chain in profile.chains.iter().filter(|chain| chain.task_seconds > 0.0) {
        let [waiting, ready, running] = sums.entry(place_of(chain)).or_default();
        let sum = match chain.state {
            ChainState::Waiting => waiting,
            ChainState::Ready => ready,
            ChainState::Running => running,
        };
        *sum += chain.task_seconds;
    }
    let mut waits: BTreeMap<Place, WaitTimes> = await_points(profile)
        .into_iter()
        .filter(|point| point.waits != WaitTimes::default())
        .map(|point| (place_of_waits(&point), point.waits))
        .collect();
    sums.into_iter().map(move |(place, [waiting, ready, running])| {
        let of_point = Place {
            resource: None,
            ..place.clone()
        };
        Row {
            profile,
            place,
            waiting,
            ready,
            running,
            waits: waits.remove(&of_point),
        }
    })
}

/// The await point that waits were at, as rows have it.
fn place_of_waits(point: &Point) -> Place {
    let awaits = match &*point.awaits {
        UNKNOWN => "",
        awaits => named(awaits),
    };
    Place {
        function: escaped(named(&point.function)),
        file: escaped(&point.file),
        line: line(point.line),
        awaits: escaped(awaits),
        resource: None,
    }
}

fn line(line: u32) -> Option<i32> {
    i32::try_from(line).ok().filter(|line| *line > 0)
}

/// The await point of a chain, and what it awaits.
fn place_of(chain: &Chain) -> Place {
    let index = origin::await_point(&chain.stack);
    let inner = index.checked_sub(1).and_then(|inner| chain.stack.get(inner));
    let awaits = match (inner, &chain.terminal) {
        (Some(inner), _) => named(&inner.function),
        (None, Some(terminal)) => named(terminal),
        (None, None) => "",
    };
    let frame = chain.stack.get(index);
    Place {
        function: escaped(frame.map_or("", |frame| named(&frame.function))),
        file: escaped(frame.map_or("", |frame| &frame.file)),
        line: frame.and_then(|frame| line(frame.line)),
        awaits: escaped(awaits),
        resource: chain
            .resource
            .as_ref()
            .map(|resource| escaped(&resource.called())),
    }
}

fn escaped(text: &str) -> String {
    Escaped(text).to_string()
}

fn file(rows: &[Row<'_>], host: &str, lost: &[String]) -> Result<Vec<u8>, ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let lost = lost
        .iter()
        .map(|loss| KeyValue::new("awaitwhat.not_shown".to_owned(), loss.clone()));
    let properties = WriterProperties::builder()
        .set_created_by(concat!("awaitwhat ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(lost.collect()))
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    write_rows(rows, host, &mut group)?;
    group.close()?;
    writer.into_inner()
}

fn write_rows(
    rows: &[Row<'_>],
    host: &str,
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
) -> Result<(), ParquetError> {
    let process = |row: &Row<'_>| -> Option<Process> {
        let [process] = row.profile.processes.as_slice() else {
            return None;
        };
        Some(process.clone())
    };
    let process_text = |text: fn(&Process) -> &str| -> Vec<ByteArray> {
        let texts = rows.iter().map(process);
        texts
            .map(|it| bytes(&escaped(it.as_ref().map_or("", text))))
            .collect()
    };
    let texts = |text: fn(&Place) -> &str| -> Vec<ByteArray> {
        rows.iter().map(|row| bytes(text(&row.place))).collect()
    };
    let numbers = |number: fn(&Row<'_>) -> f64| -> Vec<f64> { rows.iter().map(number).collect() };
    let pids = rows.iter().map(|row| process(row).map(|it| it.pid as i32));
    let resources = rows.iter().map(|row| row.place.resource.as_deref().map(bytes));
    let started_at = rows.iter().map(|row| row.profile.started_at.as_microsecond());
    required::<ByteArrayType>(group, &vec![bytes(&escaped(host)); rows.len()])?;
    optional::<Int32Type>(group, pids)?;
    required::<ByteArrayType>(group, &process_text(|process| &process.command))?;
    required::<ByteArrayType>(group, &process_text(|process| &process.python))?;
    required::<Int64Type>(group, &started_at.collect::<Vec<_>>())?;
    required::<DoubleType>(group, &numbers(|row| row.profile.duration_seconds))?;
    required::<ByteArrayType>(group, &texts(|place| &place.function))?;
    required::<ByteArrayType>(group, &texts(|place| &place.file))?;
    optional::<Int32Type>(group, rows.iter().map(|row| row.place.line))?;
    required::<ByteArrayType>(group, &texts(|place| &place.awaits))?;
    optional::<ByteArrayType>(group, resources)?;
    required::<DoubleType>(group, &numbers(|row| row.waiting))?;
    required::<DoubleType>(group, &numbers(|row| row.ready))?;
    required::<DoubleType>(group, &numbers(|row| row.running))?;
    write_waits(rows, group)
}

/// The columns that tell how long waits took.
fn write_waits(
    rows: &[Row<'_>],
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
) -> Result<(), ParquetError> {
    type Number = fn(&WholeWaits) -> f64;
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let waits = || rows.iter().map(|row| row.waits);
    let whole = || waits().map(|it| it?.whole);
    optional::<Int64Type>(
        group,
        waits().map(|it| Some(count(it?.whole.map_or(0, |it| it.count)))),
    )?;
    let lengths: [Number; 5] = [
        |it| it.p50,
        |it| it.p90,
        |it| it.p99,
        |it| it.longest,
        |it| it.precision,
    ];
    for length in lengths {
        optional::<DoubleType>(group, whole().map(|it| Some(length(&it?))))?;
    }
    optional::<Int64Type>(group, waits().map(|it| Some(count(it?.in_part))))?;
    let longest = |it: WaitTimes| (it.in_part > 0).then_some(it.longest_in_part);
    optional::<DoubleType>(group, waits().map(|it| longest(it?)))?;
    optional::<Int64Type>(group, waits().map(|it| Some(count(it?.returns))))
}

fn bytes(text: &str) -> ByteArray {
    ByteArray::from(text)
}
