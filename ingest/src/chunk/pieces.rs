//! One section becomes pieces of limited size.

use std::ops::Range;

use models::tokens;
use text_splitter::{ChunkConfig, ChunkSizer, TextSplitter};

use super::ChunkOptions;
use super::sections::Section;

/// A part of a section.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    /// In bytes of the document's text, without white space at the ends.
    pub(super) range: Range<usize>,
    /// The section's path, and the columns where the piece begins inside of a table.
    pub(super) heading: String,
    /// Size in tokens; of several paragraphs, the sum of theirs.
    pub(super) tokens: usize,
}

/// What is never cut unless it is larger than a whole piece may be.
#[derive(Debug, Clone)]
struct Atom {
    range: Range<usize>,
    tokens: usize,
    /// The names of the columns, when this is a row further down in a table.
    columns: Option<String>,
    /// Sentences of prose may be repeated at the head of the next piece; rows may not.
    is_prose: bool,
}

/// Cuts a section into pieces of at most `max_tokens`, of about equal size.
pub(super) fn cut(text: &str, section: &Section, options: &ChunkOptions) -> Vec<Piece> {
    let max = options.max_tokens.max(16);
    let range = trim(text, section.range.clone());
    if range.is_empty() {
        return Vec::new();
    }
    let whole = &text[range.clone()];
    // The piece may be long: counting it is only worth it when it could fit.
    if whole.len() <= max * 8 {
        let tokens = tokens::estimate(whole);
        if tokens <= max {
            return vec![Piece { range, heading: section.path.clone(), tokens }];
        }
    }
    let overlap = options.overlap.min(max / 4);
    let atoms = atoms(text, range, max - overlap);
    fill(text, &atoms, section, max, overlap)
}

/// Packs atoms in order. The sizes aim at equal shares, so that no tiny rest is left over.
fn fill(text: &str, atoms: &[Atom], section: &Section, max: usize, overlap: usize) -> Vec<Piece> {
    let total: usize = atoms.iter().map(|atom| atom.tokens).sum();
    let room = max - overlap;
    let target = total.div_ceil(total.div_ceil(room).max(1));
    let mut pieces: Vec<Piece> = Vec::new();
    let mut index = 0;
    while index < atoms.len() {
        let first = &atoms[index];
        let (mut start, mut tokens) = (first.range.start, first.tokens);
        let before = index.checked_sub(1).map(|before| &atoms[before]);
        if let Some(before) = before.filter(|before| before.is_prose && first.is_prose) {
            let (from, repeated) = last_sentences(text, before, overlap);
            (start, tokens) = (from.unwrap_or(start), tokens + repeated);
        }
        let mut end = first.range.end;
        index += 1;
        while let Some(next) = atoms.get(index) {
            if tokens + next.tokens > max || tokens >= target {
                break;
            }
            tokens += next.tokens;
            end = next.range.end;
            index += 1;
        }
        let heading = heading(&section.path, first.columns.as_deref());
        pieces.push(Piece { range: trim(text, start..end), heading, tokens });
    }
    pieces
}

fn heading(path: &str, columns: Option<&str>) -> String {
    match columns {
        Some(columns) if path.is_empty() => columns.to_owned(),
        Some(columns) => format!("{path} › {columns}"),
        None => path.to_owned(),
    }
}

/// Where the last sentences of an atom begin that fit into `overlap` tokens, and their size.
fn last_sentences(text: &str, atom: &Atom, overlap: usize) -> (Option<usize>, usize) {
    if overlap == 0 {
        return (None, 0);
    }
    let slice = &text[atom.range.clone()];
    let starts: Vec<usize> = sentence_starts(slice).collect();
    let (mut from, mut size) = (None, 0);
    let mut end = slice.len();
    for start in starts.into_iter().rev() {
        let tokens = tokens::estimate(&slice[start..end]);
        // The whole atom again would be no overlap but a copy.
        if size + tokens > overlap || start == 0 {
            break;
        }
        size += tokens;
        from = Some(atom.range.start + start);
        end = start;
    }
    (from, size)
}

/// Sentences end with `.`, `!`, `?` or `…` and white space, or with a line.
fn sentence_starts(text: &str) -> impl Iterator<Item = usize> {
    let mut ended = true;
    let mut mark = false;
    text.char_indices().filter_map(move |(index, c)| {
        if c.is_whitespace() {
            ended |= mark || c == '\n';
            return None;
        }
        let starts = std::mem::take(&mut ended);
        mark = matches!(c, '.' | '!' | '?' | '…') || (mark && matches!(c, '"' | '»' | '”' | ')'));
        starts.then_some(index)
    })
}

/// Paragraphs, list items and tables; tables that are too large as rows, paragraphs that are too large as
/// groups of sentences.
fn atoms(text: &str, range: Range<usize>, max: usize) -> Vec<Atom> {
    let mut atoms = Vec::new();
    for block in blocks(text, range) {
        let slice = &text[block.clone()];
        let is_table = is_table(slice);
        let size = tokens::estimate(slice);
        if size <= max && (is_table || !is_list(slice)) {
            atoms.push(Atom { range: block, tokens: size, columns: None, is_prose: !is_table });
            continue;
        }
        if is_table {
            rows(text, block, max, &mut atoms);
        } else {
            lines(text, block, max, &mut atoms);
        }
    }
    atoms
}

/// Stretches between blank lines.
fn blocks(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let (mut block, mut start) = (range.start..range.start, range.start);
    for line in text[range].split_inclusive('\n') {
        let end = start + line.len();
        if line.trim().is_empty() {
            push_trimmed(&mut blocks, text, block);
            block = end..end;
        } else {
            block.end = end;
        }
        start = end;
    }
    push_trimmed(&mut blocks, text, block);
    blocks
}

fn push_trimmed(ranges: &mut Vec<Range<usize>>, text: &str, range: Range<usize>) {
    let range = trim(text, range);
    if !range.is_empty() {
        ranges.push(range);
    }
}

/// Rows of Markdown, or lines of cells apart by tabs.
fn is_table(block: &str) -> bool {
    block.starts_with('|') || block.lines().next().is_some_and(|line| line.contains('\t'))
}

fn is_list(block: &str) -> bool {
    block.starts_with("- ") || block.starts_with("* ") || block.starts_with("1. ")
}

/// Rows of a table, each knowing its columns; the first row stands for itself.
fn rows(text: &str, block: Range<usize>, max: usize, atoms: &mut Vec<Atom>) {
    let first = text[block.clone()].lines().next().unwrap_or_default();
    let columns: Vec<&str> =
        first.split(['|', '\t']).map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let columns: String = columns.join(" | ").chars().take(300).collect();
    let before = atoms.len();
    lines(text, block, max, atoms);
    for (index, atom) in atoms[before..].iter_mut().enumerate() {
        atom.is_prose = false;
        atom.columns = (index > 0).then(|| columns.clone());
    }
}

/// Lines; one that is too large is cut between sentences, words or, in the end, characters.
fn lines(text: &str, block: Range<usize>, max: usize, atoms: &mut Vec<Atom>) {
    let mut start = block.start;
    for line in text[block].split_inclusive('\n') {
        let range = trim(text, start..start + line.len());
        start += line.len();
        if range.is_empty() {
            continue;
        }
        let slice = &text[range.clone()];
        let size = if slice.len() <= max * 16 { tokens::estimate(slice) } else { usize::MAX };
        if size <= max {
            let is_prose = !is_list(slice);
            atoms.push(Atom { range, tokens: size, columns: None, is_prose });
            continue;
        }
        let splitter = TextSplitter::new(ChunkConfig::new(max).with_sizer(Sizer));
        for (offset, part) in splitter.chunk_indices(slice) {
            let from = range.start + offset;
            let tokens = tokens::estimate(part);
            atoms.push(Atom {
                range: from..from + part.len(),
                tokens,
                columns: None,
                is_prose: true,
            });
        }
    }
}

/// Sizes text in the same tokens as everything else.
struct Sizer;

impl ChunkSizer for Sizer {
    fn size(&self, chunk: &str) -> usize {
        tokens::estimate(chunk)
    }
}

fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let slice = &text[range.clone()];
    let start = range.start + (slice.len() - slice.trim_start().len());
    start..(start + text[start..range.end].trim_end().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_start_after_marks_and_lines() {
        let text = "Uno. ¿Dos? «Tres.» 4.5 cinco\nseis";
        let starts: Vec<&str> =
            sentence_starts(text).map(|s| text[s..].split_whitespace().next().unwrap()).collect();
        assert_eq!(starts, ["Uno.", "¿Dos?", "«Tres.»", "4.5", "seis"]);
    }
}
