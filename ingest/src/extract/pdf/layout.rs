//! Lines become paragraphs: wrapped lines are joined, hyphenated words too, headings are told by their
//! size, headers and footers that repeat on most pages are left out.

use std::collections::HashMap;

use super::glyphs::Line;

/// A heading's font is at least this much taller than the text's.
const HEADING_RATIO: f64 = 1.15;
/// Longer lines are text, however tall.
const HEADING_MAX_CHARS: usize = 160;
/// A heading that repeats on this share of pages, or more, is a running one.
const RUNNING_SHARE: f64 = 0.6;

/// Markdown of each page.
pub(super) fn write_pages(pages: &[Vec<Line>]) -> Vec<String> {
    let joined: Vec<Vec<Line>> = pages.iter().map(|lines| join_baselines(lines)).collect();
    let sizes = Sizes::of(&joined);
    let running = running_lines(&joined);
    joined.iter().map(|lines| write_page(lines, &sizes, &running)).collect()
}

/// Runs on one baseline that follow each other are one line: cells of a row, words set apart.
fn join_baselines(runs: &[Line]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::with_capacity(runs.len());
    for run in runs {
        if let Some(line) = lines.last_mut() {
            let same = (line.baseline - run.baseline).abs() < line.size.min(run.size) * 0.3;
            if same && run.left >= line.right - line.size * 0.5 {
                let gap = run.left - line.right;
                if gap > line.size * 0.18 && !line.text.ends_with(' ') {
                    line.text.push(' ');
                }
                line.text.push_str(&run.text);
                line.right = line.right.max(run.right);
                line.size = line.size.max(run.size);
                continue;
            }
        }
        lines.push(run.clone());
    }
    lines
}

/// The font sizes of a document.
struct Sizes {
    /// The size most characters have.
    body: f64,
    /// Sizes of headings, tallest first.
    headings: Vec<f64>,
}

impl Sizes {
    fn of(pages: &[Vec<Line>]) -> Self {
        let mut chars_by_size: HashMap<i64, usize> = HashMap::new();
        for line in pages.iter().flatten() {
            *chars_by_size.entry(half_points(line.size)).or_default() += line.text.chars().count();
        }
        let total: usize = chars_by_size.values().sum();
        let body = chars_by_size.iter().max_by_key(|(size, chars)| (**chars, **size));
        let body = body.map_or(0, |(size, _)| *size);
        let mut headings: Vec<(i64, usize)> = chars_by_size
            .into_iter()
            .filter(|(size, _)| *size as f64 >= body as f64 * HEADING_RATIO)
            .collect();
        headings.sort_unstable_by_key(|(size, _)| -size);
        // Where much of the text is tall, tall means nothing.
        if headings.iter().map(|(_, chars)| chars).sum::<usize>() * 3 > total {
            headings.clear();
        }
        Self {
            body: body as f64 / 2.0,
            headings: headings.into_iter().map(|(size, _)| size as f64 / 2.0).collect(),
        }
    }

    /// The level of a heading of this size, 1 to 4.
    fn level(&self, size: f64) -> Option<usize> {
        let size = half_points(size) as f64 / 2.0;
        if size < self.body * HEADING_RATIO {
            return None;
        }
        self.headings.iter().position(|heading| size >= *heading).map(|rank| rank.min(3) + 1)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "font sizes are small; the cast saturates")]
fn half_points(size: f64) -> i64 {
    (size * 2.0).round() as i64
}

/// First and last lines that most pages share, digits aside: letterheads and page numbers.
fn running_lines(pages: &[Vec<Line>]) -> Vec<String> {
    let with_text: Vec<&Vec<Line>> = pages.iter().filter(|lines| !lines.is_empty()).collect();
    if with_text.len() < 4 {
        return Vec::new();
    }
    let mut counts: HashMap<String, usize> = HashMap::new();
    for lines in &with_text {
        let mut edges: Vec<String> =
            edge_lines(lines).map(|line| without_digits(&line.text)).collect();
        edges.sort_unstable();
        edges.dedup();
        for edge in edges {
            *counts.entry(edge).or_default() += 1;
        }
    }
    let enough = with_text.len() as f64 * RUNNING_SHARE;
    counts.into_iter().filter(|(_, count)| *count as f64 >= enough).map(|(text, _)| text).collect()
}

/// The two lines nearest to the top and to the bottom of a page.
fn edge_lines(lines: &[Line]) -> impl Iterator<Item = &Line> {
    let mut by_height: Vec<&Line> = lines.iter().collect();
    by_height.sort_by(|a, b| a.baseline.total_cmp(&b.baseline));
    let bottom = by_height.split_off(by_height.len().min(2));
    let bottom_two = bottom.len().saturating_sub(2);
    by_height.into_iter().chain(bottom.into_iter().skip(bottom_two))
}

fn without_digits(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect()
}

fn write_page(lines: &[Line], sizes: &Sizes, running: &[String]) -> String {
    let kept: Vec<&Line> = lines
        .iter()
        .filter(|line| running.is_empty() || !running.contains(&without_digits(&line.text)))
        .collect();
    let margins = right_margins(&kept);
    let mut out = String::new();
    let mut heading: Option<usize> = None;
    for (index, line) in kept.iter().enumerate() {
        let is_short = line.text.chars().count() <= HEADING_MAX_CHARS;
        let has_words = line.text.chars().filter(|c| c.is_alphabetic()).count() >= 2;
        let level = sizes.level(line.size).filter(|_| is_short && has_words);
        let before = index.checked_sub(1).map(|before| kept[before]);
        let joint = before.map_or(Joint::Start, |before| joint(before, line, margins[index - 1]));
        match (joint, level == heading) {
            (Joint::Start | Joint::Paragraph, _) | (_, false) => {
                if !out.is_empty() {
                    out.push_str("\n\n");
                }
                if let Some(level) = level {
                    out.push_str(&"#".repeat(level));
                    out.push(' ');
                }
            }
            // A heading over two lines stays one heading.
            (_, true) if level.is_some() => out.push(' '),
            (Joint::Break, true) => out.push('\n'),
            (Joint::Space, true) => out.push(' '),
            (Joint::Hyphen, true) => {
                out.pop();
            }
        }
        out.push_str(line.text.trim());
        heading = level;
    }
    out
}

/// How two lines meet.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Joint {
    /// Nothing before.
    Start,
    /// A new paragraph begins.
    Paragraph,
    /// The writer broke the line on purpose: an item, a row, a line of an address.
    Break,
    /// The line was wrapped.
    Space,
    /// The line was wrapped inside of a word.
    Hyphen,
}

fn joint(before: &Line, line: &Line, margin: f64) -> Joint {
    let step = line.baseline - before.baseline;
    let size = before.size.max(line.size);
    let differs = (before.size - line.size).abs() > size * 0.12;
    if differs || step > size * 1.9 {
        return Joint::Paragraph;
    }
    let text = &line.text;
    let goes_back = step < -size * 0.5;
    let is_open =
        before.text.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ',' | ';' | '-'));
    if goes_back {
        // A new column or region: the sentence may go on there.
        let goes_on = is_open && text.starts_with(char::is_lowercase);
        return if goes_on { wrapped(before, line) } else { Joint::Paragraph };
    }
    if starts_item(text) {
        return Joint::Break;
    }
    let char_width = (line.right - line.left) / line.text.chars().count().max(1) as f64;
    let first_word = text.split_whitespace().next().unwrap_or_default().chars().count();
    let room = margin - before.right;
    let would_fit = room > (first_word as f64 + 1.0) * char_width + size * 0.5;
    let ends_sentence = before.text.ends_with(['.', ':', '!', '?', '»', '”']);
    let is_indented = line.left > before.left + size * 0.8;
    if ends_sentence && (would_fit || is_indented) && step > size * 1.45 {
        return Joint::Paragraph;
    }
    if would_fit || (ends_sentence && is_indented) {
        return Joint::Break;
    }
    wrapped(before, line)
}

/// «reser-» + «vas» is one word; «post-» + «Guerra» or a dash after a number keep theirs.
fn wrapped(before: &Line, line: &Line) -> Joint {
    let mut ending = before.text.chars().rev();
    let has_hyphen = matches!(ending.next(), Some('-' | '\u{2010}' | '\u{AD}'));
    let is_word = has_hyphen && ending.next().is_some_and(char::is_alphabetic);
    if is_word && line.text.starts_with(char::is_lowercase) {
        return Joint::Hyphen;
    }
    Joint::Space
}

/// Bullets, `1.`, `1)`, `a)`, `(a)`.
fn starts_item(text: &str) -> bool {
    let text = text.trim_start();
    let Some(first) = text.chars().next() else { return false };
    if matches!(first, '•' | '◦' | '▪' | '‣' | '●' | '○' | '■' | '–' | '—' | '·' | '*')
    {
        return true;
    }
    let word = text.split_whitespace().next().unwrap_or_default();
    let core = word.trim_start_matches('(').trim_end_matches(['.', ')']);
    let is_marked = core.len() < word.len() && word.ends_with(['.', ')']);
    let is_number = !core.is_empty() && core.len() <= 3 && core.bytes().all(|b| b.is_ascii_digit());
    let is_letter = core.len() == 1 && word.ends_with(')');
    is_marked && (is_number || is_letter)
}

/// For each line, how far lines reach to the right where it stands: nine in ten of the lines that start
/// at about the same place end before it.
fn right_margins(lines: &[&Line]) -> Vec<f64> {
    let mut columns: Vec<(f64, Vec<f64>)> = Vec::new();
    let mut column_of = Vec::with_capacity(lines.len());
    for line in lines {
        let found = columns.iter().position(|(left, _)| (left - line.left).abs() < line.size * 2.5);
        let index = found.unwrap_or_else(|| {
            columns.push((line.left, Vec::new()));
            columns.len() - 1
        });
        columns[index].1.push(line.right);
        column_of.push(index);
    }
    for (_, rights) in &mut columns {
        rights.sort_by(f64::total_cmp);
    }
    column_of
        .into_iter()
        .map(|index| {
            let rights = &columns[index].1;
            rights[((rights.len() - 1) * 9).div_ceil(10)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a page set in columns of characters half as wide as they are tall.
    fn page(lines: &[(&str, f64, f64)]) -> Vec<Line> {
        let line = |&(text, baseline, size): &(&str, f64, f64)| Line {
            text: text.to_owned(),
            left: 50.0,
            right: 50.0 + text.chars().count() as f64 * size / 2.0,
            baseline,
            size,
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn wrapped_lines_and_hyphenated_words_are_joined() {
        let lines = page(&[
            ("Horarios", 20.0, 18.0),
            ("Las reservas se hacen con veinticuatro horas de antici-", 50.0, 10.0),
            ("pación y se pagan al retirar el pedido en la sucursal de", 62.0, 10.0),
            ("la avenida principal.", 74.0, 10.0),
            ("Lunes a viernes: 9 a 18", 100.0, 10.0),
            ("Sábados: 10 a 14", 112.0, 10.0),
        ]);
        assert_eq!(
            write_pages(&[lines]),
            [
                "# Horarios\n\nLas reservas se hacen con veinticuatro horas de anticipación y se pagan al \
              retirar el pedido en la sucursal de la avenida principal.\n\nLunes a viernes: 9 a 18\nSábados: \
              10 a 14"
            ]
        );
    }

    #[test]
    fn running_headers_go_and_items_stay_apart() {
        let pages: Vec<Vec<Line>> = (1..=5)
            .map(|number| {
                let letter = ["a", "b", "c", "d", "e"][number - 1];
                let own = format!("texto de la página {letter}");
                let last = format!("• dos {letter}");
                let foot = format!("Página {number} de 5");
                page(&[
                    ("Manual interno", 10.0, 10.0),
                    (&own, 40.0, 10.0),
                    ("• uno", 52.0, 10.0),
                    (&last, 64.0, 10.0),
                    (&foot, 90.0, 10.0),
                ])
            })
            .collect();
        assert_eq!(write_pages(&pages)[1], "texto de la página b\n• uno\n• dos b");
    }
}
