//! What was seen of each process in a period, as a Parquet file: a row for each await point and thing that tasks waited for there. Files of many hosts and many
//! periods are one table for whoever queries them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::origin;
use crate::profile::{Chain, ChainState, Process, Profile};
use crate::view::escape::{Escaped, named};
use crate::view::losses::{Counted, describe};

#[cfg(test)]
mod tests;

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
    sums.into_iter()
        .map(move |(place, [waiting, ready, running])| Row {
            profile,
            place,
            waiting,
            ready,
            running,
        })
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
        line: frame
            .and_then(|frame| i32::try_from(frame.line).ok())
            .filter(|line| *line > 0),
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
    required::<DoubleType>(group, &numbers(|row| row.running))
}

fn bytes(text: &str) -> ByteArray {
    ByteArray::from(text)
}

/// Writes the next column, in which each row has a value.
fn required<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    column::<T>(group, values, None)
}

/// Writes the next column, in which a row may have no value.
fn optional<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: impl Iterator<Item = Option<T::T>>,
) -> Result<(), ParquetError> {
    let values: Vec<Option<T::T>> = values.collect();
    let levels: Vec<i16> = values.iter().map(|it| i16::from(it.is_some())).collect();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    column::<T>(group, &values, Some(&levels))
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let too_many = || ParquetError::General("there is no such column".to_owned());
    let mut column = group.next_column()?.ok_or_else(too_many)?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}
