//! Word: paragraphs, headings, lists, tables, notes, headers and footers, text boxes.

use std::collections::HashMap;

use super::package::{Package, Relation};
use super::xml::{Element, Event};
use super::{Document, ExtractError, Format, Input, finish, rows, xml};

/// Reads the main part and what it relates to.
pub(super) fn extract(input: Input<'_>) -> Result<Document, ExtractError> {
    let mut package = Package::open(input.bytes)?;
    let main = main_part(&mut package)?;
    let relations = package.relations(&main)?;
    let styles = read_related(&mut package, &relations, "styles")?;
    let numbering = read_related(&mut package, &relations, "numbering")?;
    let mut context = Context {
        heading_styles: styles.map_or_else(|| Ok(HashMap::new()), |text| heading_styles(&text))?,
        numbered: numbering.map_or_else(|| Ok(HashMap::new()), |text| numbered_lists(&text))?,
        notes: HashMap::new(),
    };
    for kind in ["footnotes", "endnotes"] {
        if let Some(text) = read_related(&mut package, &relations, kind)? {
            let notes = read_notes(&text, &context)?;
            context
                .notes
                .extend(notes.into_iter().map(|(id, note)| ((kind_initial(kind), id), note)));
        }
    }
    let body = package.read_text(&main)?.ok_or_else(missing_main)?;
    let mut text = margin_text(&mut package, &relations, "header", &context)?;
    text.push_str(&write(&body, &context)?);
    text.push_str(&margin_text(&mut package, &relations, "footer", &context)?);
    let title = core_title(&mut package)?;
    finish::document(Format::Docx, title.as_deref(), &text)
}

fn missing_main() -> ExtractError {
    ExtractError::unreadable("the file is damaged: it has no document inside; save it anew")
}

fn main_part(package: &mut Package<'_>) -> Result<String, ExtractError> {
    let relations = package.relations("")?;
    let main = relations.into_values().find(|relation| relation.kind == "officeDocument");
    Ok(main.map_or_else(|| "word/document.xml".to_owned(), |relation| relation.target))
}

fn read_related(
    package: &mut Package<'_>,
    relations: &HashMap<String, Relation>,
    kind: &str,
) -> Result<Option<String>, ExtractError> {
    match relations.values().find(|relation| relation.kind == kind) {
        Some(relation) => package.read_text(&relation.target),
        None => Ok(None),
    }
}

/// The title in the document's properties, shared by all Office formats.
pub(super) fn core_title(package: &mut Package<'_>) -> Result<Option<String>, ExtractError> {
    let Some(text) = package.read_text("docProps/core.xml")? else { return Ok(None) };
    let mut title = String::new();
    let mut is_title = false;
    let walked = xml::walk(&text, |event| {
        match event {
            Event::Start { name, .. } => is_title = name == "title",
            Event::Text(text) if is_title => title.push_str(text),
            Event::End { .. } => is_title = false,
            Event::Text(_) => {}
        }
        Ok(())
    });
    // Properties are a courtesy: a document without readable ones is still a document.
    Ok(walked.ok().map(|()| title).filter(|title| !title.trim().is_empty()))
}

/// Headers or footers, each text once, in the order of their parts' names.
fn margin_text(
    package: &mut Package<'_>,
    relations: &HashMap<String, Relation>,
    kind: &str,
    context: &Context,
) -> Result<String, ExtractError> {
    let mut parts: Vec<&str> =
        relations.values().filter(|r| r.kind == kind).map(|r| r.target.as_str()).collect();
    parts.sort_unstable();
    let mut texts: Vec<String> = Vec::new();
    for part in parts {
        let Some(part) = package.read_text(part)? else { continue };
        let text = write(&part, context)?.trim().to_owned();
        let has_words = text.chars().filter(|c| c.is_alphabetic()).count() > 3;
        if has_words && !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("\n\n{}\n\n", texts.join("\n\n")))
}

/// What the writer must know about the rest of the package.
struct Context {
    /// Style id → heading level, 1 to 6.
    heading_styles: HashMap<String, usize>,
    /// (list id, level) → whether it counts.
    numbered: HashMap<(String, usize), bool>,
    /// (`f` or `e`, id) → text of the note.
    notes: HashMap<(char, String), String>,
}

fn kind_initial(kind: &str) -> char {
    kind.chars().next().unwrap_or('f')
}

/// Styles that make headings: by outline level, by the built-in English name, or based on one that does.
fn heading_styles(text: &str) -> Result<HashMap<String, usize>, ExtractError> {
    let mut levels = HashMap::new();
    let mut parents: Vec<(String, String)> = Vec::new();
    let mut id = String::new();
    xml::walk(text, |event| {
        let Event::Start { name, element } = event else { return Ok(()) };
        match name {
            "style" => id = element.attribute("styleId").unwrap_or_default(),
            "name" => {
                let name = element.attribute("val").unwrap_or_default();
                if let Some(level) = level_of_style_name(&name) {
                    levels.insert(id.clone(), level);
                }
            }
            "basedOn" => {
                parents.push((id.clone(), element.attribute("val").unwrap_or_default()));
            }
            "outlineLvl" if !id.is_empty() => {
                if let Some(level) = outline_level(&element) {
                    levels.insert(id.clone(), level);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    for _ in 0..4 {
        for (child, parent) in &parents {
            if let (Some(&level), false) = (levels.get(parent), levels.contains_key(child)) {
                levels.insert(child.clone(), level);
            }
        }
    }
    Ok(levels)
}

fn level_of_style_name(name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    if name == "title" {
        return Some(1);
    }
    let level: usize = name.strip_prefix("heading ")?.trim().parse().ok()?;
    Some(level.clamp(1, 6))
}

fn outline_level(element: &Element<'_>) -> Option<usize> {
    let level: usize = element.attribute("val")?.parse().ok()?;
    (level < 9).then(|| (level + 1).min(6))
}

/// Which lists count and which have bullets.
fn numbered_lists(text: &str) -> Result<HashMap<(String, usize), bool>, ExtractError> {
    let mut abstract_levels: HashMap<(String, usize), bool> = HashMap::new();
    let mut instances: Vec<(String, String)> = Vec::new();
    let (mut abstract_id, mut instance, mut level) = (String::new(), String::new(), 0);
    xml::walk(text, |event| {
        let Event::Start { name, element } = event else { return Ok(()) };
        match name {
            "abstractNum" => abstract_id = element.attribute("abstractNumId").unwrap_or_default(),
            "num" => instance = element.attribute("numId").unwrap_or_default(),
            "lvl" => level = number(&element, "ilvl"),
            "numFmt" => {
                let counts = element.attribute("val").is_some_and(|f| f != "bullet" && f != "none");
                abstract_levels.insert((abstract_id.clone(), level), counts);
            }
            "abstractNumId" => {
                instances.push((instance.clone(), element.attribute("val").unwrap_or_default()));
            }
            _ => {}
        }
        Ok(())
    })?;
    let mut lists = HashMap::new();
    for (instance, of) in instances {
        for level in 0..9 {
            if let Some(&counts) = abstract_levels.get(&(of.clone(), level)) {
                lists.insert((instance.clone(), level), counts);
            }
        }
    }
    Ok(lists)
}

fn number(element: &Element<'_>, attribute: &str) -> usize {
    element.attribute(attribute).and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn read_notes(text: &str, context: &Context) -> Result<HashMap<String, String>, ExtractError> {
    let mut notes = HashMap::new();
    let mut id = None;
    let mut writer = Writer::new(context);
    xml::walk(text, |event| {
        match &event {
            Event::Start { name: "footnote" | "endnote", element } => {
                let is_text = element.attribute("type").is_none_or(|kind| kind == "normal");
                id = element.attribute("id").filter(|_| is_text);
                writer = Writer::new(context);
            }
            Event::End { name: "footnote" | "endnote" } => {
                if let Some(id) = id.take() {
                    notes.insert(id, rows::one_line(&writer.out));
                }
            }
            _ => writer.event(&event),
        }
        Ok(())
    })?;
    Ok(notes)
}

fn write(text: &str, context: &Context) -> Result<String, ExtractError> {
    let mut writer = Writer::new(context);
    xml::walk(text, |event| {
        writer.event(&event);
        Ok(())
    })?;
    Ok(writer.out)
}

#[derive(Default)]
struct Paragraph {
    text: String,
    heading: Option<usize>,
    list: Option<(String, usize)>,
    /// Notes that it refers to, to be set below it.
    notes: Vec<String>,
}

#[derive(Default)]
struct Table {
    rows: Vec<Vec<String>>,
    cell: String,
    span: usize,
}

struct Writer<'a> {
    context: &'a Context,
    out: String,
    /// Paragraphs that are open: a text box stands inside of one.
    paragraphs: Vec<Paragraph>,
    tables: Vec<Table>,
    /// Counters of numbered lists.
    counters: HashMap<(String, usize), usize>,
    in_text: bool,
    /// Depth inside of something that is not shown; 0 outside.
    skipping: usize,
    hidden_run: bool,
}

impl<'a> Writer<'a> {
    fn new(context: &'a Context) -> Self {
        Self {
            context,
            out: String::new(),
            paragraphs: Vec::new(),
            tables: Vec::new(),
            counters: HashMap::new(),
            in_text: false,
            skipping: 0,
            hidden_run: false,
        }
    }

    fn event(&mut self, event: &Event<'_>) {
        match event {
            // Word writes text boxes twice, once for old readers; moved and deleted text is not there.
            Event::Start { name: "Fallback" | "del" | "moveFrom", .. } => self.skipping += 1,
            Event::End { name: "Fallback" | "del" | "moveFrom" } => {
                self.skipping = self.skipping.saturating_sub(1);
            }
            _ if self.skipping > 0 => {}
            Event::Start { name, element } => self.start(name, element),
            Event::End { name } => self.end(name),
            Event::Text(text) if self.in_text && !self.hidden_run => self.push(text),
            Event::Text(_) => {}
        }
    }

    fn push(&mut self, text: &str) {
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.text.push_str(text);
        }
    }

    fn start(&mut self, name: &str, element: &Element<'_>) {
        match name {
            "p" => self.paragraphs.push(Paragraph::default()),
            "r" => self.hidden_run = false,
            "vanish" => {
                self.hidden_run = element.attribute("val").is_none_or(|v| v != "0" && v != "false");
            }
            "t" => self.in_text = true,
            "tab" | "ptab" if !self.paragraphs.is_empty() => self.push(" "),
            "br" | "cr" => self.push("\n"),
            "noBreakHyphen" => self.push("-"),
            "footnoteReference" | "endnoteReference" => {
                let key = (kind_initial(name), element.attribute("id").unwrap_or_default());
                let note = self.context.notes.get(&key).cloned();
                if let (Some(note), Some(paragraph)) = (note, self.paragraphs.last_mut()) {
                    paragraph.notes.push(note);
                }
            }
            "tbl" => self.tables.push(Table::default()),
            "tr" => {
                if let Some(table) = self.tables.last_mut() {
                    table.rows.push(Vec::new());
                }
            }
            "tc" => {
                if let Some(table) = self.tables.last_mut() {
                    table.cell.clear();
                    table.span = 1;
                }
            }
            "gridSpan" => {
                if let Some(table) = self.tables.last_mut() {
                    table.span = number(element, "val").clamp(1, 64);
                }
            }
            _ => self.paragraph_property(name, element),
        }
    }

    fn paragraph_property(&mut self, name: &str, element: &Element<'_>) {
        let Some(paragraph) = self.paragraphs.last_mut() else { return };
        match name {
            "pStyle" => {
                let style = element.attribute("val").unwrap_or_default();
                paragraph.heading = self.context.heading_styles.get(&style).copied();
                if paragraph.list.is_none() && style.to_lowercase().starts_with("list") {
                    paragraph.list = Some((style, 0));
                }
            }
            "outlineLvl" => paragraph.heading = outline_level(element),
            "ilvl" => {
                let id = paragraph.list.take().map(|(id, _)| id).unwrap_or_default();
                paragraph.list = Some((id, number(element, "val").min(8)));
            }
            "numId" => {
                let level = paragraph.list.take().map_or(0, |(_, level)| level);
                let id = element.attribute("val").unwrap_or_default();
                // The id 0 takes a paragraph out of its style's list.
                paragraph.list = (id != "0").then_some((id, level));
            }
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "p" => self.end_paragraph(),
            "t" => self.in_text = false,
            "r" => self.hidden_run = false,
            "tc" => {
                if let Some(table) = self.tables.last_mut() {
                    let (cell, span) = (std::mem::take(&mut table.cell), table.span);
                    if let Some(row) = table.rows.last_mut() {
                        row.push(cell);
                        row.extend((1..span).map(|_| String::new()));
                    }
                }
            }
            "tbl" => {
                let Some(table) = self.tables.pop() else { return };
                let text = rows::table(&table.rows);
                match self.tables.last_mut() {
                    // A table in a cell is told as its words.
                    Some(outer) => {
                        let words = table.rows.concat().join(" ");
                        push_cell(&mut outer.cell, &words);
                    }
                    None => self.block(&text),
                }
            }
            _ => {}
        }
    }

    fn end_paragraph(&mut self) {
        let Some(paragraph) = self.paragraphs.pop() else { return };
        let text = paragraph.text.trim();
        if let Some(table) = self.tables.last_mut() {
            push_cell(&mut table.cell, text);
            for note in &paragraph.notes {
                push_cell(&mut table.cell, note);
            }
            return;
        }
        if !text.is_empty() {
            match (paragraph.heading, &paragraph.list) {
                (Some(level), _) => {
                    self.block(&format!("{} {}", "#".repeat(level), rows::one_line(text)));
                }
                (None, Some(list)) => self.list_item(list, text),
                (None, None) => self.block(text),
            }
        }
        for note in &paragraph.notes {
            self.block(note);
        }
    }

    fn list_item(&mut self, list: &(String, usize), text: &str) {
        let is_numbered = self.context.numbered.get(list).copied().unwrap_or(false);
        let mark = if is_numbered {
            let counter = self.counters.entry(list.clone()).or_insert(0);
            *counter += 1;
            format!("{counter}.")
        } else {
            "-".to_owned()
        };
        // A deeper level starts anew below each item of this one.
        self.counters.retain(|(id, level), _| *id != list.0 || *level <= list.1);
        let item = format!("{}{mark} {}\n", "  ".repeat(list.1), rows::one_line(text));
        if !self.out.ends_with('\n') && !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str(&item);
    }

    fn block(&mut self, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if !self.out.is_empty() {
            self.out.push_str(if self.out.ends_with('\n') { "\n" } else { "\n\n" });
        }
        self.out.push_str(text);
        self.out.push_str("\n\n");
    }
}

fn push_cell(cell: &mut String, text: &str) {
    if !cell.is_empty() && !text.is_empty() {
        cell.push(' ');
    }
    cell.push_str(text);
}
