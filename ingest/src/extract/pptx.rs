//! `PowerPoint`: each slide a page with its title, lists, tables and notes.

use super::package::Package;
use super::xml::Event;
use super::{Document, ExtractError, Format, Input, docx, finish, rows, xml};

/// Slides in the order they are shown.
pub(super) fn extract(input: Input<'_>) -> Result<Document, ExtractError> {
    let mut package = Package::open(input.bytes)?;
    let main = "ppt/presentation.xml";
    let presentation = package.read_text(main)?.ok_or_else(|| {
        ExtractError::unreadable("the file is damaged: it has no presentation inside; save it anew")
    })?;
    let relations = package.relations(main)?;
    let mut pages = Vec::new();
    for id in slide_ids(&presentation)? {
        let Some(slide) = relations.get(&id) else { continue };
        let Some(text) = package.read_text(&slide.target)? else { continue };
        let mut page = write(&text)?;
        let notes = package.relations(&slide.target)?;
        let notes = notes.into_values().find(|relation| relation.kind == "notesSlide");
        if let Some(notes) = notes
            && let Some(text) = package.read_text(&notes.target)?
        {
            page.push_str("\n\n");
            page.push_str(&write(&text)?);
        }
        pages.push(page);
    }
    let title = docx::core_title(&mut package)?;
    finish::paged(Format::Pptx, title.as_deref(), &pages)
}

fn slide_ids(text: &str) -> Result<Vec<String>, ExtractError> {
    let mut ids = Vec::new();
    xml::walk(text, |event| {
        if let Event::Start { name: "sldId", element } = event {
            ids.extend(element.prefixed_attribute("r:id"));
        }
        Ok(())
    })?;
    Ok(ids)
}

fn write(text: &str) -> Result<String, ExtractError> {
    let mut writer = Writer::default();
    xml::walk(text, |event| {
        writer.event(&event);
        Ok(())
    })?;
    Ok(writer.out)
}

#[derive(Default)]
struct Writer {
    out: String,
    paragraph: String,
    level: usize,
    /// The kind of placeholder the current shape is: `title`, `body`, `sldNum`.
    placeholder: String,
    in_text: bool,
    table: Option<Vec<Vec<String>>>,
    cell: String,
}

impl Writer {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Start { name: "sp", .. } => self.placeholder.clear(),
            Event::Start { name: "ph", element } => {
                self.placeholder = element.attribute("type").unwrap_or_else(|| "body".to_owned());
            }
            Event::Start { name: "pPr", element } => {
                self.level =
                    element.attribute("lvl").and_then(|l| l.parse().ok()).unwrap_or(0).min(8);
            }
            Event::Start { name: "p", .. } => {
                self.paragraph.clear();
                self.level = 0;
            }
            Event::Start { name: "t", .. } => self.in_text = true,
            Event::End { name: "t" } => self.in_text = false,
            Event::Start { name: "br" | "tab", .. } => self.paragraph.push(' '),
            Event::Text(text) if self.in_text => self.paragraph.push_str(text),
            Event::End { name: "p" } => self.end_paragraph(),
            Event::Start { name: "tbl", .. } => self.table = Some(Vec::new()),
            Event::Start { name: "tr", .. } => {
                if let Some(table) = &mut self.table {
                    table.push(Vec::new());
                }
            }
            Event::Start { name: "tc", .. } => self.cell.clear(),
            Event::End { name: "tc" } => {
                let cell = std::mem::take(&mut self.cell);
                if let Some(row) = self.table.as_mut().and_then(|table| table.last_mut()) {
                    row.push(cell);
                }
            }
            Event::End { name: "tbl" } => {
                if let Some(table) = self.table.take() {
                    self.out.push_str(&format!("\n\n{}\n", rows::table(&table)));
                }
            }
            _ => {}
        }
    }

    fn end_paragraph(&mut self) {
        let text = rows::one_line(&self.paragraph);
        self.paragraph.clear();
        if text.is_empty() {
            return;
        }
        if self.table.is_some() {
            if !self.cell.is_empty() {
                self.cell.push(' ');
            }
            self.cell.push_str(&text);
            return;
        }
        match self.placeholder.as_str() {
            // Numbers, dates and footers are the frame of every slide.
            "sldNum" | "dt" | "ftr" | "hdr" => {}
            "title" | "ctrTitle" => self.out.push_str(&format!("\n\n# {text}\n\n")),
            "" | "subTitle" => self.out.push_str(&format!("\n{text}\n")),
            _ => self.out.push_str(&format!("{}- {text}\n", "  ".repeat(self.level))),
        }
    }
}
