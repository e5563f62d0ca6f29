//! Exports for machines: pure functions from the model to a stream, a file per format.

pub mod chrome;
pub mod diff_json;
mod finding_json;
pub mod firefox;
pub mod flamegraph;
pub mod folded;
pub mod graph_json;
pub mod html;
mod json;
pub mod otlp;
pub mod parquet;
pub mod pprof;
pub mod profile_json;
mod resource_json;
pub mod snapshot_json;
pub mod speedscope;
mod stay_text;
pub mod survey_json;
mod tracks;
pub mod why_json;

#[cfg(test)]
mod schema_tests;
