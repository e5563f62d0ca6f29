//! Exports for machines: pure functions from the model to a stream, a file per format.

pub mod diff_json;
mod finding_json;
pub mod flamegraph;
pub mod folded;
pub mod graph_json;
pub mod html;
mod json;
pub mod pprof;
pub mod profile_json;
mod resource_json;
pub mod snapshot_json;
pub mod speedscope;
pub mod survey_json;
pub mod why_json;

#[cfg(test)]
mod schema_tests;
