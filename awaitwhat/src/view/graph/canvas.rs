//! What a picture is drawn on: `layout-rs` writes the SVG, but believes that a text is as high as it is long, so how large the picture is is
//! found out here.

use layout::backends::svg::SVGWriter;
use layout::core::format::{ClipHandle, RenderBackend};
use layout::core::geometry::Point;
use layout::core::style::StyleAttr;

/// Space around the picture.
const MARGIN: f64 = 5.0;

/// A canvas that knows what was drawn on it.
pub(super) struct Canvas {
    svg: SVGWriter,
    /// The corners of what was drawn so far.
    least: Point,
    most: Point,
}

impl Canvas {
    pub(super) fn new() -> Self {
        Self {
            svg: SVGWriter::new(),
            least: Point::new(f64::MAX, f64::MAX),
            most: Point::new(f64::MIN, f64::MIN),
        }
    }

    /// The picture, as large as what was drawn.
    pub(super) fn finished(self) -> String {
        let text = self.svg.finalize();
        if self.least.x > self.most.x {
            return text;
        }
        let (x, y) = (self.least.x - MARGIN, self.least.y - MARGIN);
        let (width, height) = (self.most.x + MARGIN - x, self.most.y + MARGIN - y);
        let head = format!(
            "<svg width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"{x:.0} {y:.0} {width:.0} {height:.0}\""
        );
        let Some((before, rest)) = text.split_once("<svg ") else {
            return text;
        };
        match rest.split_once(" xmlns=") {
            Some((_, behind)) => format!("{before}{head} xmlns={behind}"),
            None => text,
        }
    }

    fn reach(&mut self, point: Point) {
        self.least = Point::new(self.least.x.min(point.x), self.least.y.min(point.y));
        self.most = Point::new(self.most.x.max(point.x), self.most.y.max(point.y));
    }
}

impl RenderBackend for Canvas {
    fn draw_rect(
        &mut self,
        xy: Point,
        size: Point,
        look: &StyleAttr,
        properties: Option<String>,
        clip: Option<ClipHandle>,
    ) {
        self.reach(xy);
        self.reach(xy.add(size));
        self.svg.draw_rect(xy, size, look, properties, clip);
    }

    fn draw_line(&mut self, start: Point, stop: Point, look: &StyleAttr, properties: Option<String>) {
        self.reach(start);
        self.reach(stop);
        self.svg.draw_line(start, stop, look, properties);
    }

    fn draw_circle(&mut self, xy: Point, size: Point, look: &StyleAttr, properties: Option<String>) {
        self.reach(xy.sub(size));
        self.reach(xy.add(size));
        self.svg.draw_circle(xy, size, look, properties);
    }

    /// Texts lie within boxes, or along arrows.
    fn draw_text(&mut self, xy: Point, text: &str, look: &StyleAttr) {
        self.svg.draw_text(xy, text, look);
    }

    fn draw_arrow(
        &mut self,
        path: &[(Point, Point)],
        dashed: bool,
        head: (bool, bool),
        look: &StyleAttr,
        properties: Option<String>,
        text: &str,
    ) {
        for (one, other) in path {
            self.reach(*one);
            self.reach(*other);
        }
        self.svg.draw_arrow(path, dashed, head, look, properties, text);
    }

    fn create_clip(&mut self, xy: Point, size: Point, rounded_px: usize) -> ClipHandle {
        self.svg.create_clip(xy, size, rounded_px)
    }
}
