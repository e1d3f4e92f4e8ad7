//! Excel: each sheet a section, each row a line that names its columns.

use std::io::Cursor;

use calamine::{DataRef, Reader, Xlsx};

use super::package::Package;
use super::{Document, ExtractError, Format, Input, docx, finish, rows};

/// Cells that are read from all sheets together.
const MAX_CELLS: usize = 2_000_000;
/// Columns further to the right are not read.
const MAX_COLUMNS: u32 = 512;

/// Visible sheets in the order of their tabs.
pub(super) fn extract(input: Input<'_>) -> Result<Document, ExtractError> {
    let title = measure(input.bytes)?;
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(input.bytes)).map_err(|_| unreadable())?;
    let sheets: Vec<String> = book
        .sheets_metadata()
        .iter()
        .filter(|sheet| sheet.visible == calamine::SheetVisible::Visible)
        .filter(|sheet| sheet.typ == calamine::SheetType::WorkSheet)
        .map(|sheet| sheet.name.clone())
        .collect();
    let mut out = String::new();
    let mut cells_left = MAX_CELLS;
    for sheet in sheets {
        let table = read_sheet(&mut book, &sheet, &mut cells_left)?;
        if table.is_empty() {
            continue;
        }
        out.push_str(&format!("# {}\n\n", rows::one_line(&sheet)));
        out.push_str(&rows::records(&table));
        out.push('\n');
    }
    finish::document(Format::Xlsx, title.as_deref(), &out)
}

/// Inflates every part once within the limits of [`Package`], because the reader of workbooks sets none.
/// Gives the title from the properties.
fn measure(bytes: &[u8]) -> Result<Option<String>, ExtractError> {
    let mut package = Package::open(bytes)?;
    let parts: Vec<String> = package.names().map(str::to_owned).collect();
    let is_xml = |name: &&String| {
        let extension = name.rsplit('.').next().unwrap_or_default();
        ["xml", "rels"].iter().any(|xml| extension.eq_ignore_ascii_case(xml))
    };
    for part in parts.iter().filter(is_xml) {
        package.read(part)?;
    }
    // Counted anew: the properties are read twice.
    docx::core_title(&mut Package::open(bytes)?)
}

/// Cells one by one: the sheet's own claim of its dimensions is not believed, so that two cells at
/// opposite corners do not make a table of billions.
fn read_sheet(
    book: &mut Xlsx<Cursor<&[u8]>>,
    sheet: &str,
    cells_left: &mut usize,
) -> Result<Vec<Vec<String>>, ExtractError> {
    let mut table: Vec<Vec<String>> = Vec::new();
    let mut last_row = None;
    let mut reader = book.worksheet_cells_reader(sheet).map_err(|_| unreadable())?;
    while let Some(cell) = reader.next_cell().map_err(|_| unreadable())? {
        let (row, column) = cell.get_position();
        let value = shown(cell.get_value());
        if value.is_empty() || column >= MAX_COLUMNS {
            continue;
        }
        *cells_left = cells_left.checked_sub(1).ok_or_else(|| {
            ExtractError::too_large(&format!("the workbook has more than {MAX_CELLS} cells"))
        })?;
        if last_row != Some(row) {
            table.push(Vec::new());
            last_row = Some(row);
        }
        if let Some(cells) = table.last_mut() {
            let column = column as usize;
            if cells.len() <= column {
                cells.resize(column + 1, String::new());
            }
            cells[column] = value;
        }
    }
    Ok(table)
}

fn shown(value: &DataRef<'_>) -> String {
    match value {
        DataRef::Int(number) => number.to_string(),
        DataRef::Float(number) => shown_number(*number),
        DataRef::String(text) => text.trim().to_owned(),
        DataRef::SharedString(text) => text.trim().to_owned(),
        DataRef::Bool(yes) => yes.to_string(),
        DataRef::DateTime(moment) if moment.is_duration() => {
            let minutes = (moment.as_f64() * 24.0 * 60.0).round();
            format!("{:02}:{:02}", (minutes / 60.0).floor(), minutes % 60.0)
        }
        DataRef::DateTime(moment) => {
            let (year, month, day, hour, minute, _, _) = moment.to_ymd_hms_milli();
            match (moment.as_f64() < 1.0, hour == 0 && minute == 0) {
                (true, _) => format!("{hour:02}:{minute:02}"),
                (false, true) => format!("{year:04}-{month:02}-{day:02}"),
                (false, false) => format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}"),
            }
        }
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => text.clone(),
        DataRef::Error(_) | DataRef::Empty => String::new(),
    }
}

/// Without the digits that binary fractions add: 0.1 + 0.2 is shown as 0.3.
fn shown_number(number: f64) -> String {
    let rounded = (number * 1e9).round() / 1e9;
    if rounded.is_finite() { rounded.to_string() } else { number.to_string() }
}

fn unreadable() -> ExtractError {
    ExtractError::unreadable("the workbook is damaged and cannot be read; save it anew")
}
