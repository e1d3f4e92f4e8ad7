//! A tree becomes Markdown. The text itself is kept verbatim: nothing is escaped, because passages are
//! shown and quoted, not rendered.

use ego_tree::NodeRef;
use scraper::{Html, Node};

use crate::extract::rows;

/// Writes the body of a page, headings with `#`, lists with `-`, tables as lines with tabs.
pub(super) fn write(tree: &Html) -> String {
    let mut writer = Writer::default();
    writer.children(*tree.root_element());
    writer.end_block();
    writer.out
}

#[derive(Default)]
struct Writer {
    out: String,
    /// The block being collected; white space collapsed except for breaks.
    line: String,
    /// What stands before the next block: `## `, `- `.
    mark: String,
    /// Counters of the lists that are open; `None` for bullets.
    lists: Vec<Option<usize>>,
    /// Whether the last block was a list item, so that lists stay together.
    after_item: bool,
    preformatted: bool,
}

impl Writer {
    fn children(&mut self, node: NodeRef<'_, Node>) {
        for child in node.children() {
            match child.value() {
                Node::Text(text) => self.text(text),
                Node::Element(element) => self.element(child, element.name()),
                _ => {}
            }
        }
    }

    fn text(&mut self, text: &str) {
        if self.preformatted {
            self.line.push_str(text);
            return;
        }
        for c in text.chars() {
            if c.is_whitespace() && c != '\u{A0}' {
                if !self.line.is_empty() && !self.line.ends_with([' ', '\n']) {
                    self.line.push(' ');
                }
            } else {
                self.line.push(c);
            }
        }
    }

    fn element(&mut self, node: NodeRef<'_, Node>, name: &str) {
        match name {
            "head" | "title" | "script" | "style" | "noscript" => {}
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                let level = usize::from(name.as_bytes()[1] - b'0');
                let words = rows::one_line(&text_of(node));
                self.end_block();
                if !words.is_empty() {
                    self.mark = format!("{} ", "#".repeat(level));
                    self.line = words;
                    self.end_block();
                }
            }
            "br" => {
                while self.line.ends_with(' ') {
                    self.line.pop();
                }
                self.line.push('\n');
            }
            "hr" | "wbr" => {
                if name == "hr" {
                    self.end_block();
                }
            }
            "ul" | "ol" | "menu" => {
                self.end_block();
                let is_counted = name == "ol";
                self.lists.push(is_counted.then_some(0));
                self.children(node);
                self.end_block();
                self.lists.pop();
                self.after_item = self.after_item && !self.lists.is_empty();
            }
            "li" => self.item(node),
            "table" => self.table(node),
            "pre" | "textarea" => {
                self.end_block();
                self.preformatted = true;
                self.children(node);
                self.preformatted = false;
                self.end_block();
            }
            _ if is_inline(name) => self.children(node),
            _ => {
                self.end_block();
                self.children(node);
                self.end_block();
            }
        }
    }

    fn item(&mut self, node: NodeRef<'_, Node>) {
        self.end_block();
        let indent = "  ".repeat(self.lists.len().saturating_sub(1));
        let mark = match self.lists.last_mut() {
            Some(Some(counter)) => {
                *counter += 1;
                format!("{counter}.")
            }
            _ => "-".to_owned(),
        };
        self.mark = format!("{indent}{mark} ");
        self.children(node);
        self.end_block();
        self.mark.clear();
    }

    /// Data becomes a table; a table that holds tables, lists or headings is layout and is read through.
    fn table(&mut self, node: NodeRef<'_, Node>) {
        self.end_block();
        if is_layout(node) {
            self.children(node);
            self.end_block();
            return;
        }
        let mut table = Vec::new();
        for row in node.descendants().filter(|node| is_named(*node, "tr")) {
            let mut cells = Vec::new();
            for cell in row.children().filter(|node| is_named(*node, "td") || is_named(*node, "th"))
            {
                cells.push(rows::one_line(&text_of(cell)));
                let span = cell.value().as_element().and_then(|e| e.attr("colspan")).unwrap_or("1");
                let span: usize = span.parse().unwrap_or(1);
                cells.extend((1..span.min(32)).map(|_| String::new()));
            }
            table.push(cells);
        }
        drop_empty_columns(&mut table);
        if let Some(caption) = node.children().find(|node| is_named(*node, "caption")) {
            self.line = rows::one_line(&text_of(caption));
            self.end_block();
        }
        rows::table(&table).trim_end().clone_into(&mut self.line);
        self.end_block();
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.line);
        let block = block.trim();
        if block.is_empty() {
            return;
        }
        let mark = std::mem::take(&mut self.mark);
        let is_item = !mark.is_empty() && !mark.starts_with('#');
        if !self.out.is_empty() {
            self.out.push_str(if is_item && self.after_item { "\n" } else { "\n\n" });
        }
        self.out.push_str(&mark);
        self.out.push_str(block);
        self.after_item = is_item;
    }
}

/// All text below a node; blocks in it are set apart by a space.
fn text_of(node: NodeRef<'_, Node>) -> String {
    let mut text = String::new();
    for below in node.descendants() {
        match below.value() {
            Node::Text(part) => text.push_str(part),
            Node::Element(element) if !is_inline(element.name()) => text.push(' '),
            _ => {}
        }
    }
    text
}

fn is_layout(table: NodeRef<'_, Node>) -> bool {
    let holds_blocks = table.descendants().skip(1).any(|node| {
        node.value().as_element().is_some_and(|element| {
            matches!(
                element.name(),
                "table" | "ul" | "ol" | "h1" | "h2" | "h3" | "h4" | "pre" | "article"
            )
        })
    });
    let is_one_row = table.descendants().filter(|node| is_named(*node, "tr")).take(2).count() < 2;
    let has_long_cell = || {
        let cells = table.descendants().filter(|node| is_named(*node, "td"));
        cells.take(200).any(|cell| text_of(cell).len() > 1500)
    };
    holds_blocks || is_one_row || has_long_cell()
}

/// Spacer columns are common in tables made by office programs.
fn drop_empty_columns(table: &mut [Vec<String>]) {
    let width = table.iter().map(Vec::len).max().unwrap_or(0);
    for column in (0..width).rev() {
        if table.iter().all(|row| row.get(column).is_none_or(String::is_empty)) {
            for row in table.iter_mut().filter(|row| row.len() > column) {
                row.remove(column);
            }
        }
    }
}

fn is_named(node: NodeRef<'_, Node>, name: &str) -> bool {
    node.value().as_element().is_some_and(|element| element.name() == name)
}

fn is_inline(name: &str) -> bool {
    matches!(
        name,
        "a" | "abbr"
            | "acronym"
            | "b"
            | "bdi"
            | "bdo"
            | "big"
            | "cite"
            | "code"
            | "data"
            | "del"
            | "dfn"
            | "em"
            | "font"
            | "i"
            | "ins"
            | "kbd"
            | "label"
            | "mark"
            | "nobr"
            | "output"
            | "q"
            | "ruby"
            | "s"
            | "samp"
            | "small"
            | "span"
            | "strike"
            | "strong"
            | "sub"
            | "sup"
            | "time"
            | "tt"
            | "u"
            | "var"
            | "wbr"
    )
}
