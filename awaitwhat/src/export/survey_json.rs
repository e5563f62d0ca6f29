//! Several processes as one JSON document: `awaitwhat.snapshots/1` and `awaitwhat.profiles/1`, described in `schemas/`.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::json::write_line;
use super::profile_json::{MergedDocument, ProfileDocument};
use super::snapshot_json::{Each, SnapshotDocument};
use crate::profile::Profile;
use crate::snapshot::Snapshot;
use crate::survey::Refusals;

/// Values of the key `schema`.
pub const SNAPSHOTS_SCHEMA: &str = "awaitwhat.snapshots/1";
pub const PROFILES_SCHEMA: &str = "awaitwhat.profiles/1";

/// Writes `snapshots` as one line of JSON.
///
/// # Errors
/// When `output` fails.
pub fn write_snapshots(
    snapshots: &[Snapshot],
    refused: &Refusals,
    output: &mut impl Write,
) -> io::Result<()> {
    let targets = Each(snapshots, SnapshotDocument);
    write_line(
        &Document::new(SNAPSHOTS_SCHEMA, "targets", targets, refused),
        output,
    )
}

/// Writes `profiles` as one line of JSON, each for itself.
///
/// # Errors
/// When `output` fails.
pub fn write_profiles(profiles: &[Profile], refused: &Refusals, output: &mut impl Write) -> io::Result<()> {
    let targets = Each(profiles, ProfileDocument);
    write_line(
        &Document::new(PROFILES_SCHEMA, "targets", targets, refused),
        output,
    )
}

/// Writes `merged`, the profile of several processes, as one line of JSON.
///
/// # Errors
/// When `output` fails.
pub fn write_merged(merged: &Profile, refused: &Refusals, output: &mut impl Write) -> io::Result<()> {
    let document = Document::new(PROFILES_SCHEMA, "merged", MergedDocument(merged), refused);
    write_line(&document, output)
}

/// What was found, under the key `name`, and whom there is nothing of.
struct Document<'a, T> {
    schema: &'static str,
    name: &'static str,
    found: T,
    refused: &'a Refusals,
}

impl<'a, T> Document<'a, T> {
    fn new(schema: &'static str, name: &'static str, found: T, refused: &'a Refusals) -> Self {
        Self {
            schema,
            name,
            found,
            refused,
        }
    }
}

impl<T: Serialize> Serialize for Document<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Survey", 5)?;
        document.serialize_field("schema", self.schema)?;
        document.serialize_field(self.name, &self.found)?;
        document.serialize_field("refused", &self.refused.each)?;
        document.serialize_field("more_refused", &self.refused.others)?;
        document.serialize_field("are_hidden", &self.refused.are_hidden)?;
        document.end()
    }
}
