//! Tables as CSV (RFC 4180), for spreadsheets.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};

/// Whether `Accept` asks for a table.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|entry| {
        entry.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/csv")
    })
}

/// An answer that is a table; `name` is what the file is called when it is saved.
pub(crate) fn response(name: &'static str, table: Vec<u8>) -> Response {
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8")),
        (
            header::CONTENT_DISPOSITION,
            disposition.unwrap_or(HeaderValue::from_static("attachment")),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, table).into_response()
}

/// A table from its rows, the heading first.
pub(crate) fn table(rows: impl IntoIterator<Item = Vec<String>>) -> Vec<u8> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    for row in rows {
        // Writing into memory does not fail, and rows of a table are of one length.
        let _ = writer.write_record(row.iter().map(|cell| harmless(cell)));
    }
    writer.into_inner().unwrap_or_default()
}

/// A cell that no spreadsheet takes for a formula (CWE-1236): what customers write ends up here.
fn harmless(cell: &str) -> String {
    let number = cell.trim_start_matches('+').bytes().all(|b| b.is_ascii_digit());
    match cell.chars().next() {
        Some('+') if number => cell.to_owned(),
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{cell}"),
        _ => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        let rows = [["name", "phone"], ["Ana \"la\", 2", "+56987654321"], ["=1+1", "-@x"]];
        let rows = rows.map(|row| row.map(ToOwned::to_owned).to_vec());
        let text = String::from_utf8(table(rows)).unwrap();
        assert_eq!(text, "name,phone\n\"Ana \"\"la\"\", 2\",+56987654321\n'=1+1,'-@x\n");
    }
}
