//! Comma-, semicolon-, tab- or bar-separated values.

use super::{Document, ExtractError, Format, Input, encoding, finish, rows};

/// Rows that are looked at to tell the delimiter.
const SNIFFED_ROWS: usize = 20;

/// Each row becomes a line that names its columns.
pub(super) fn extract(input: Input<'_>) -> Result<Document, ExtractError> {
    let text = encoding::decode(input.bytes, input.charset)?;
    let delimiter = sniff(&text);
    let mut reader = ::csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut table = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|_| unreadable())?;
        table.push(record.iter().map(str::to_owned).collect());
    }
    finish::document(Format::Csv, None, &rows::records(&table))
}

/// The delimiter that cuts the first rows into the most columns of one number.
fn sniff(text: &str) -> u8 {
    let mut best = (0, b',');
    for delimiter in [b',', b';', b'\t', b'|'] {
        let mut reader = ::csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let widths: Vec<usize> =
            reader.records().take(SNIFFED_ROWS).flatten().map(|record| record.len()).collect();
        let Some(&first) = widths.first() else { continue };
        let agreeing = widths.iter().filter(|width| **width == first).count();
        // All rows agree: each column counts. Otherwise only a clear majority is worth something.
        let score = match first {
            0 | 1 => 0,
            _ if agreeing == widths.len() => first * 100,
            _ => first * 50 * agreeing / widths.len(),
        };
        if score > best.0 {
            best = (score, delimiter);
        }
    }
    best.1
}

fn unreadable() -> ExtractError {
    ExtractError::unreadable("the table cannot be read as delimited text; save it as csv in UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_told_by_agreement() {
        assert_eq!(sniff("a;b;c\n1,5;2;3\n"), b';');
        assert_eq!(sniff("a\tb\n1, 2\t3\n"), b'\t');
        assert_eq!(sniff("a,b\n\"x;y;z\",2\n"), b',');
        assert_eq!(sniff("solo"), b',');
    }
}
