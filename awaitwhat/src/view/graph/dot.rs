//! A picture in the language of Graphviz (DOT).

use std::io::{self, Write};

use super::{Arrow, Picture, Tile};
use crate::graph::EdgeKind;

/// Writes it as a directed graph.
pub(super) fn write(picture: &Picture, output: &mut impl Write) -> io::Result<()> {
    writeln!(output, "digraph waits {{")?;
    writeln!(output, "  rankdir=LR;")?;
    writeln!(
        output,
        "  node [shape=box, fontname=\"sans-serif\", fontsize=11];"
    )?;
    writeln!(output, "  edge [fontname=\"sans-serif\", fontsize=9];")?;
    for (place, it) in picture.tiles.iter().enumerate() {
        let Tile { lines, .. } = it;
        let label: Vec<String> = lines.iter().map(|line| quoted(line)).collect();
        writeln!(
            output,
            "  n{place} [label=\"{}\"{}];",
            label.join("\\n"),
            style_of_tile(it)
        )?;
    }
    for Arrow { edge, text, is_stuck } in &picture.arrows {
        let style = match edge.kind {
            EdgeKind::Awaits | EdgeKind::WaitsFor => "",
            EdgeKind::HeldBy => ", style=dashed",
            EdgeKind::Opened => ", style=dotted",
        };
        let colour = if *is_stuck { ", color=red" } else { "" };
        writeln!(
            output,
            "  n{} -> n{} [label=\"{text}\"{style}{colour}];",
            edge.from, edge.to
        )?;
    }
    writeln!(output, "}}")
}

const fn style_of_tile(it: &Tile) -> &'static str {
    match (it.is_resource, it.is_stuck) {
        (true, _) => ", style=\"rounded,filled\", fillcolor=lightyellow",
        (false, true) => ", color=red, penwidth=2",
        (false, false) => "",
    }
}

/// Text within quotes: a backslash has a meaning of its own in labels.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
