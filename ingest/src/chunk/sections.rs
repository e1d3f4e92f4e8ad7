//! Markdown headings cut a text into sections, each with the path of headings above it.

use std::ops::Range;

/// A stretch of text under one heading.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    /// Headings above, outermost first, joined by ` › `.
    pub(super) path: String,
    /// The text below the heading, in bytes; for a heading with nothing below, the heading's own line.
    pub(super) range: Range<usize>,
}

/// Longest heading that is believed, in characters; longer ones are paragraphs that begin with `#`.
const MAX_HEADING_CHARS: usize = 200;

/// All sections with text, in order. Headings inside of code fences are not headings.
pub(super) fn split(text: &str) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut open: Vec<(usize, Heading)> = Vec::new();
    let mut start = 0;
    let headings = headings(text);
    for (index, heading) in headings.iter().enumerate() {
        push(&mut sections, text, &open, start..heading.line.start);
        open.retain(|(level, _)| *level < heading.level);
        open.push((heading.level, heading.clone()));
        start = heading.line.end;
        let next = headings.get(index + 1);
        let ends = next.map_or(text.len(), |next| next.line.start);
        let is_bare = text[start..ends].trim().is_empty();
        let is_parent = next.is_some_and(|next| next.level > heading.level);
        if is_bare && !is_parent {
            let above = &open[..open.len() - 1];
            push(&mut sections, text, above, heading.words.clone());
        }
    }
    push(&mut sections, text, &open, start..text.len());
    sections
}

fn push(sections: &mut Vec<Section>, text: &str, open: &[(usize, Heading)], range: Range<usize>) {
    if text[range.clone()].trim().is_empty() {
        return;
    }
    let titles: Vec<&str> = open.iter().map(|(_, heading)| &text[heading.words.clone()]).collect();
    sections.push(Section { path: titles.join(" › "), range });
}

#[derive(Debug, Clone)]
struct Heading {
    level: usize,
    /// The whole line, or both lines of an underlined heading.
    line: Range<usize>,
    /// Its words alone.
    words: Range<usize>,
}

/// ATX (`# …`) and underlined headings (`CommonMark` 0.31, 4.2 and 4.3).
fn headings(text: &str) -> Vec<Heading> {
    let mut headings = Vec::new();
    let mut fence: Option<&str> = None;
    let mut before: Range<usize> = 0..0;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        let content = line.trim();
        if let Some(mark) = fence {
            if content.starts_with(mark) {
                fence = None;
            }
            continue;
        }
        if let Some(mark) = ["```", "~~~"].into_iter().find(|mark| content.starts_with(mark)) {
            fence = Some(mark);
            before = range.end..range.end;
            continue;
        }
        if let Some(level) = atx_level(line) {
            let words = trimmed(text, range.start + level..range.end);
            if !words.is_empty() && text[words.clone()].chars().count() <= MAX_HEADING_CHARS {
                headings.push(Heading { level, line: range.clone(), words });
            }
            before = range.end..range.end;
            continue;
        }
        if let Some(level) = underline_level(content) {
            let words = trimmed(text, before.clone());
            if is_title(&text[words.clone()]) {
                headings.push(Heading { level, line: before.start..range.end, words });
            }
            before = range.end..range.end;
            continue;
        }
        // Only the line right above an underline counts, and only when it stands alone.
        let is_second = !before.is_empty() && !text[before.clone()].trim().is_empty();
        before = if is_second || content.is_empty() { range.end..range.end } else { range };
    }
    headings
}

fn atx_level(line: &str) -> Option<usize> {
    let level = line.bytes().take_while(|b| *b == b'#').count();
    let is_heading = (1..=6).contains(&level) && line[level..].starts_with([' ', '\t']);
    is_heading.then_some(level)
}

fn underline_level(content: &str) -> Option<usize> {
    let all = |mark: u8| content.len() >= 3 && content.bytes().all(|b| b == mark);
    if all(b'=') {
        return Some(1);
    }
    all(b'-').then_some(2)
}

/// A line that an underline can make a heading: short and not an item or a row.
fn is_title(words: &str) -> bool {
    !words.is_empty()
        && words.chars().count() <= MAX_HEADING_CHARS / 2
        && !words.starts_with(['-', '*', '|', '>', '+'])
}

/// Without white space and closing `#` at the ends.
fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let slice = &text[range.clone()];
    let start = range.start + (slice.len() - slice.trim_start().len());
    let slice = text[start..range.end].trim_end();
    let closed = slice.trim_end_matches('#');
    // `# C#` keeps its mark: closing ones stand apart.
    let end = if closed.ends_with([' ', '\t']) { closed.trim_end().len() } else { slice.len() };
    start..start + end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<(String, &str)> {
        split(text).into_iter().map(|s| (s.path, text[s.range].trim())).collect()
    }

    #[test]
    fn sections_know_the_headings_above() {
        let text = "intro\n# A ##\n## B\nuno\n```\n# no\n```\n## C\n# D\ndos\nE\n===\ntres\n";
        assert_eq!(
            told(text),
            [
                (String::new(), "intro"),
                ("A › B".to_owned(), "uno\n```\n# no\n```"),
                ("A".to_owned(), "C"),
                ("D".to_owned(), "dos\nE\n===\ntres"),
            ]
        );
        assert_eq!(told("Título\n===\ntres"), [("Título".to_owned(), "tres")]);
        assert_eq!(told("# C#\nx"), [("C#".to_owned(), "x")]);
    }
}
