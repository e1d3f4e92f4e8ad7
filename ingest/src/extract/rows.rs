//! Rows of cells become text: tables as lines of cells, long lists of records as one line a row.

/// A table as a block of lines, one a row, its cells apart by tabs: read as text, the words of a row follow
/// each other as they do on paper, without marks between them. A table of one column is given as
/// paragraphs, because it is layout and not data.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let (row_end, cell_end) = if width <= 1 { ("\n\n", "") } else { ("\n", "\t") };
    let mut out = String::new();
    for row in rows.iter().filter(|row| filled(row) > 0) {
        let cells: Vec<String> = row.iter().map(|cell| one_line(cell)).collect();
        out.push_str(cells.join(cell_end).trim_end());
        out.push_str(row_end);
    }
    out
}

/// Records as one line a row, `Header: value; Header: value`, so that every row can be understood alone.
/// The first row is the header when all its cells are words; without a header the values stand alone.
pub(super) fn records(rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    let Some(start) = header_row(rows) else {
        for row in rows {
            push_record(&mut out, None, row);
        }
        return out;
    };
    for row in &rows[..start] {
        push_record(&mut out, None, row);
    }
    if rows.len() == start + 1 {
        push_record(&mut out, None, &rows[start]);
    }
    for row in &rows[start + 1..] {
        push_record(&mut out, Some(&rows[start]), row);
    }
    out
}

/// The header is the first of the leading rows that fills (nearly) all columns with words; titles above
/// a table fill one or two.
fn header_row(rows: &[Vec<String>]) -> Option<usize> {
    let width = rows.iter().take(100).map(|row| filled(row)).max().unwrap_or(0);
    if width < 2 {
        return None;
    }
    let index = rows.iter().take(10).position(|row| filled(row) * 4 >= width * 3)?;
    let is_words = |cell: &String| cell.trim().is_empty() || cell.chars().any(char::is_alphabetic);
    let is_short = |cell: &String| cell.chars().count() <= 80;
    rows[index].iter().all(|cell| is_words(cell) && is_short(cell)).then_some(index)
}

fn filled(row: &[String]) -> usize {
    row.iter().filter(|cell| !cell.trim().is_empty()).count()
}

fn push_record(out: &mut String, header: Option<&[String]>, row: &[String]) {
    let mut is_first = true;
    for (index, cell) in row.iter().enumerate() {
        let cell = one_line(cell);
        if cell.is_empty() {
            continue;
        }
        out.push_str(if is_first { "- " } else { "; " });
        is_first = false;
        let name = header.and_then(|header| header.get(index)).map(|name| one_line(name));
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            out.push_str(name.trim_end_matches(':'));
            out.push_str(": ");
        }
        out.push_str(&cell);
    }
    if !is_first {
        out.push('\n');
    }
}

/// White space collapsed.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect()).collect()
    }

    #[test]
    fn records_repeat_their_headers() {
        let table_rows =
            rows(&[&["Lista 2026", ""], &["Torta", "Precio"], &["Mora", "12.990"], &["", ""]]);
        assert_eq!(records(&table_rows), "- Lista 2026\n- Torta: Mora; Precio: 12.990\n");
        assert_eq!(records(&rows(&[&["1", "2"], &["3", "4"]])), "- 1; 2\n- 3; 4\n");
        assert_eq!(records(&rows(&[&["a", "b"]])), "- a; b\n");
    }

    #[test]
    fn tables_are_lines_and_single_columns_are_prose() {
        let two = rows(&[&["a|b", "c\nd"], &["", "e"], &["f", ""]]);
        assert_eq!(table(&two), "a|b\tc d\n\te\nf\n");
        assert_eq!(table(&rows(&[&["uno"], &["dos"]])), "uno\n\ndos\n\n");
    }
}
