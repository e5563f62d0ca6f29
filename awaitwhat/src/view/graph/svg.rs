//! A picture as SVG, laid out by `layout-rs`.

use layout::core::base::Orientation;
use layout::core::color::Color;
use layout::core::geometry::Point;
use layout::core::style::{LineStyleKind, StyleAttr};
use layout::std_shapes::shapes::{Arrow as Line, Element, LineEndKind, ShapeKind};
use layout::topo::layout::VisualGraph;
use unicode_width::UnicodeWidthStr as _;

use super::canvas::Canvas;
use super::{Picture, Tile};
use crate::graph::EdgeKind;

/// Boxes, and arrows, that are laid out: it takes time in proportion to the square of both.
const MAX_BOXES: usize = 400;
const MAX_ARROWS: usize = 1200;
/// Size of letters, in pixels, and what a letter and a line take, with the space around all lines.
const FONT: usize = 13;
const LETTER: f64 = 7.0;
const LINE: f64 = 18.0;
const SPACE: f64 = 24.0;

/// There is more than is laid out.
#[derive(Debug, thiserror::Error)]
#[error(
    "the graph has {boxes} boxes and {arrows} arrows, also where equal tasks are one box: more than are laid out\n\
     write it with --format dot, and have Graphviz lay it out"
)]
pub struct TooLarge {
    boxes: usize,
    arrows: usize,
}

/// Lays it out, from left to right.
pub(super) fn drawn(picture: &Picture) -> Result<String, TooLarge> {
    let (boxes, arrows) = (picture.tiles.len(), picture.arrows.len());
    if boxes > MAX_BOXES || arrows > MAX_ARROWS {
        return Err(TooLarge { boxes, arrows });
    }
    let mut svg = Canvas::new();
    if boxes == 0 {
        return Ok(svg.finished());
    }
    let mut graph = VisualGraph::new(Orientation::LeftToRight);
    let places: Vec<_> = picture
        .tiles
        .iter()
        .map(|it| graph.add_node(element(it)))
        .collect();
    for arrow in &picture.arrows {
        if let (Some(from), Some(to)) = (places.get(arrow.edge.from), places.get(arrow.edge.to)) {
            let kind = match arrow.edge.kind {
                EdgeKind::Awaits | EdgeKind::WaitsFor => LineStyleKind::Normal,
                EdgeKind::HeldBy | EdgeKind::Opened => LineStyleKind::Dashed,
            };
            let look = look(arrow.is_stuck, false);
            let (none, end) = (LineEndKind::None, LineEndKind::Arrow);
            graph.add_edge(
                Line::new(none, end, kind, arrow.text, &look, &None, &None),
                *from,
                *to,
            );
        }
    }
    graph.do_it(false, false, false, &mut svg);
    Ok(svg.finished())
}

fn element(it: &Tile) -> Element {
    let widest = it.lines.iter().map(|line| line.width()).max().unwrap_or_default();
    let size = Point::new(
        widest as f64 * LETTER + SPACE,
        it.lines.len() as f64 * LINE + SPACE,
    );
    let shape = ShapeKind::new_box(&it.lines.join("\n"));
    Element::create(
        shape,
        look(it.is_stuck, it.is_resource),
        Orientation::LeftToRight,
        size,
    )
}

fn look(is_stuck: bool, is_resource: bool) -> StyleAttr {
    let line = Color::fast(if is_stuck { "red" } else { "dimgray" });
    let fill = Color::fast(if is_resource { "lightyellow" } else { "white" });
    let rounded = if is_resource { 12 } else { 0 };
    StyleAttr::new(line, if is_stuck { 2 } else { 1 }, Some(fill), rounded, FONT)
}
