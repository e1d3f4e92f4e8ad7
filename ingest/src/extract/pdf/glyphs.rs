//! Glyphs of one page, as `pdf-extract` gives them, put together to lines in reading order.

use pdf_extract::{MediaBox, OutputDev, OutputError, Transform};

/// A run of glyphs on one baseline. Lengths are in points.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) text: String,
    /// Where it starts and ends along the line.
    pub(super) left: f64,
    pub(super) right: f64,
    /// Its baseline, growing downwards.
    pub(super) baseline: f64,
    /// Height of the font.
    pub(super) size: f64,
}

/// Collects the lines of a page.
#[derive(Debug, Default)]
pub(super) struct Collector {
    pub(super) lines: Vec<Line>,
    current: Option<Line>,
    /// Which way the current line runs, in quarter turns.
    turn: u8,
    chars: usize,
}

/// More characters than a page can show are a trick or a damaged file.
const MAX_PAGE_CHARS: usize = 2_000_000;
/// A gap of this share of the font's size is a space. Narrower ones are kerning.
const SPACE_GAP: f64 = 0.18;
/// A step back of this share of the size starts a new run even on the same baseline.
const BACK_STEP: f64 = 1.0;

impl Collector {
    fn end_run(&mut self) {
        let Some(mut line) = self.current.take() else { return };
        line.text.truncate(line.text.trim_end().len());
        if line.text.trim().is_empty() {
            return;
        }
        self.lines.push(line);
    }

    fn glyph(&mut self, text: &str, place: Place) {
        let joins = self.turn == place.turn
            && self.current.as_ref().is_some_and(|line| {
                let step = (place.across - line.baseline).abs();
                step < line.size.max(place.size) * 0.45
                    && place.along > line.right - line.size * BACK_STEP
            });
        if !joins {
            self.end_run();
            self.turn = place.turn;
        }
        let line = self.current.get_or_insert_with(|| Line {
            text: String::new(),
            left: place.along,
            right: place.along,
            baseline: place.across,
            size: place.size,
        });
        let gap = place.along - line.right;
        let is_apart = !line.text.is_empty() && !line.text.ends_with(' ');
        if is_apart && gap > place.size * SPACE_GAP && !text.starts_with(' ') {
            line.text.push(' ');
        }
        push_plain(&mut line.text, text);
        line.right = line.right.max(place.along + place.width);
        // Superscripts must not make a line of text look small.
        line.size = line.size.max(place.size);
    }
}

/// Where a glyph stands, along and across the direction of its line.
#[derive(Clone, Copy)]
struct Place {
    along: f64,
    across: f64,
    width: f64,
    size: f64,
    turn: u8,
}

fn place(trm: &Transform, width: f64, font_size: f64) -> Option<Place> {
    let (run_x, run_y) = (trm.m11 * font_size, trm.m12 * font_size);
    let (up_x, up_y) = (trm.m21 * font_size, trm.m22 * font_size);
    let scale = run_x.hypot(run_y);
    let size = up_x.hypot(up_y);
    let is_sound = [trm.m31, trm.m32, scale, size].into_iter().all(f64::is_finite);
    if !is_sound || size < 0.5 {
        return None;
    }
    let (x, y) = (trm.m31, trm.m32);
    let (turn, along, across) = match (run_x.abs() >= run_y.abs(), run_x >= 0.0, run_y >= 0.0) {
        (true, true, _) => (0, x, -y),
        (true, false, _) => (2, -x, y),
        (false, _, true) => (1, y, x),
        (false, _, false) => (3, -y, -x),
    };
    Some(Place { along, across, width: width * scale, size, turn })
}

/// Ligatures become letters, so that words can be found.
fn push_plain(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\u{FB00}' => out.push_str("ff"),
            '\u{FB01}' => out.push_str("fi"),
            '\u{FB02}' => out.push_str("fl"),
            '\u{FB03}' => out.push_str("ffi"),
            '\u{FB04}' => out.push_str("ffl"),
            '\u{FB05}' | '\u{FB06}' => out.push_str("st"),
            '\n' | '\r' | '\t' | '\u{A0}' => out.push(' '),
            // Bullets of the Symbol and Wingdings fonts.
            '\u{F0B7}' | '\u{F0A7}' => out.push('•'),
            c => out.push(c),
        }
    }
}

impl OutputDev for Collector {
    fn begin_page(
        &mut self,
        _page: u32,
        _media_box: &MediaBox,
        _art_box: Option<(f64, f64, f64, f64)>,
    ) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), OutputError> {
        self.end_run();
        Ok(())
    }

    fn output_character(
        &mut self,
        trm: &Transform,
        width: f64,
        _spacing: f64,
        font_size: f64,
        text: &str,
    ) -> Result<(), OutputError> {
        self.chars += text.len();
        if self.chars > MAX_PAGE_CHARS {
            return Err(OutputError::FormatError(std::fmt::Error));
        }
        if let Some(place) = place(trm, width, font_size).filter(|_| !text.is_empty()) {
            self.glyph(text, place);
        }
        Ok(())
    }

    fn begin_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}
