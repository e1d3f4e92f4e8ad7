//! E-mail: who wrote what and when, the text, the names of what was attached.

use mail_parser::{Address, MessageParser, MimeHeaders, PartType};

use super::{Document, ExtractError, Format, Input, finish, html, rows};

/// Headers as lines, then the body (plain text where there is one, else HTML), then attachments by name.
pub(super) fn extract(input: Input<'_>) -> Result<Document, ExtractError> {
    let message = MessageParser::default().parse(input.bytes).ok_or_else(unreadable)?;
    if message.headers().is_empty() {
        return Err(unreadable());
    }
    let subject = message.subject().map(rows::one_line).filter(|subject| !subject.is_empty());
    let mut out = String::new();
    if let Some(subject) = &subject {
        out.push_str(&format!("# {subject}\n\n"));
    }
    push_header(&mut out, "From", message.from().map(shown));
    push_header(&mut out, "To", message.to().map(shown));
    push_header(&mut out, "Date", message.date().map(mail_parser::DateTime::to_rfc3339));
    out.push('\n');
    out.push_str(&body(&message));
    for attachment in message.attachments() {
        let name = attachment.attachment_name().map(rows::one_line);
        push_header(&mut out, "\nAttachment", name);
    }
    finish::document(Format::Eml, subject.as_deref(), &out)
}

fn body(message: &mail_parser::Message<'_>) -> String {
    let mut out = String::new();
    for part in message.text_bodies() {
        match &part.body {
            PartType::Text(text) => out.push_str(text),
            PartType::Html(page) => out.push_str(&html::read_whole(page).1),
            _ => continue,
        }
        out.push_str("\n\n");
    }
    out
}

fn push_header(out: &mut String, name: &str, value: Option<String>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        out.push_str(&format!("{name}: {value}\n"));
    }
}

fn shown(addresses: &Address<'_>) -> String {
    let shown = addresses.iter().map(|address| {
        let name = address.name().map(rows::one_line).filter(|name| !name.is_empty());
        match (name, address.address()) {
            (Some(name), Some(address)) => format!("{name} <{}>", rows::one_line(address)),
            (Some(name), None) => name,
            (None, address) => address.map(rows::one_line).unwrap_or_default(),
        }
    });
    shown.filter(|one| !one.is_empty()).take(50).collect::<Vec<_>>().join(", ")
}

fn unreadable() -> ExtractError {
    ExtractError::unreadable("the file is not an e-mail message; export it as .eml")
}
