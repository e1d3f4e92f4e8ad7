//! Files that customers send with a message. The model is told what they are called, and shown the images if it sees; nothing
//! else of them is read.

use std::collections::HashMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::attachment::{Attachment, Uploader};
use domain::message::{Message, MessageKind};
use domain::{AttachmentId, DomainError, MessageId, WorkspaceId};
use models::{Catalogue, Image};
use storage::{Conn, StorageError, Tx, attachments, inbox};

use crate::images::{MAX_IMAGES, TYPES};
use crate::model::Candidate;
use crate::turn::{Agents, TurnRequest};

/// What marks the name of a file, for models and for people of any language.
const MARK: char = '\u{1f4ce}';

/// A file that goes with a message: an upload of the message's visitor that no message shows yet.
#[derive(Debug, Clone)]
pub struct SentFile {
    pub(crate) id: AttachmentId,
    pub(crate) name: String,
    is_image: bool,
    /// What a model that sees is shown.
    image: Option<Image>,
}

/// A file of the message that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TurnFile {
    pub(crate) name: String,
    /// The model sees it.
    pub(crate) seen: bool,
}

impl SentFile {
    /// A file of which the model is told the name.
    pub fn named(attachment: &Attachment) -> Self {
        Self {
            id: attachment.id,
            name: attachment.name.clone(),
            is_image: attachment.is_image(),
            image: None,
        }
    }

    /// An image that a model that sees may be shown, by its content.
    #[must_use]
    pub fn shown(self, attachment: &Attachment, content: &[u8]) -> Self {
        let image = format!("data:{};base64,{}", attachment.media_type, STANDARD.encode(content));
        Self { image: Some(Image::new(image)), ..self }
    }
}

impl Agents {
    /// Which of the files are worth reading for a model that sees: images that it can read, as many as one message may show.
    pub fn worth_showing(&self, files: &[Attachment]) -> Vec<AttachmentId> {
        let most = i64::try_from(self.inner.options.defaults.max_image_bytes).unwrap_or(i64::MAX);
        let readable = files
            .iter()
            .filter(|file| TYPES.contains(&file.media_type.as_str()) && file.bytes <= most);
        readable.take(MAX_IMAGES).map(|file| file.id).collect()
    }
}

/// What kind of message it is that comes with these files.
pub(crate) fn kind_of(files: &[SentFile]) -> MessageKind {
    if files.is_empty() {
        MessageKind::Text
    } else if files.iter().all(|file| file.is_image) {
        MessageKind::Image
    } else {
        MessageKind::File
    }
}

/// The images among the files, if the first model that may answer sees, and what is told of each file. Models that do not
/// see are no candidates then.
pub(crate) fn for_model(
    files: &[SentFile],
    candidates: &mut Vec<Candidate>,
    catalogue: &Catalogue,
) -> (Vec<Image>, Vec<TurnFile>) {
    let sees = candidates.first().is_some_and(|first| catalogue.sees(&first.name));
    let images: Vec<Image> =
        files.iter().filter(|_| sees).filter_map(|file| file.image.clone()).collect();
    if !images.is_empty() {
        candidates.retain(|candidate| catalogue.sees(&candidate.name));
    }
    let told =
        |file: &SentFile| TurnFile { name: file.name.clone(), seen: sees && file.image.is_some() };
    (images, files.iter().map(told).collect())
}

/// Has the message show its files and be found by their names, in the transaction that stores it.
///
/// Errors: 404 for a file that is not the visitor's own upload; 409 for one that a message shows already.
pub(crate) async fn attach(
    tx: &mut Tx,
    request: &TurnRequest,
    message: &Message,
) -> Result<(), DomainError> {
    let absent = || DomainError::not_found("attachment");
    for (place, file) in (0_i64..).zip(&request.files) {
        let visitor = request.visitor.clone().ok_or_else(absent)?;
        let (workspace, uploader) = (request.workspace, Uploader::Visitor(visitor));
        let to = (message.conversation_id, message.id, place);
        if !attachments::attach(tx, workspace, file.id, &uploader, to).await? {
            let found = attachments::get(tx, workspace, file.id).await?;
            found.filter(|found| found.uploader == uploader).ok_or_else(absent)?;
            let field = format!("attachmentIds[{place}]");
            let message = format!("`{field}` was sent with a message already; upload it again");
            return Err(DomainError::conflict("ATTACHMENT_USED", message));
        }
        inbox::add_words(tx, workspace, message.conversation_id, &file.name).await?;
    }
    Ok(())
}

/// The names of the files of a message.
pub(crate) async fn names_of(
    conn: &mut Conn,
    workspace: WorkspaceId,
    message: &Message,
) -> Result<Vec<String>, StorageError> {
    if message.kind == MessageKind::Text {
        return Ok(Vec::new());
    }
    let files = attachments::of_messages(conn, workspace, &[message.id]).await?;
    Ok(files.into_iter().map(|(_, file)| file.name).collect())
}

/// Whether some of the messages are to be read with [`name_files`].
pub(crate) fn have_files(messages: &[Message]) -> bool {
    messages.iter().any(|message| message.kind != MessageKind::Text)
}

/// Writes the names of files into the messages that they came with, as models are told them.
pub(crate) async fn name_files(
    conn: &mut Conn,
    workspace: WorkspaceId,
    messages: &mut [Message],
) -> Result<(), StorageError> {
    let with_files = messages.iter().filter(|message| message.kind != MessageKind::Text);
    let ids: Vec<MessageId> = with_files.map(|message| message.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let mut names: HashMap<MessageId, Vec<String>> = HashMap::new();
    for (message, file) in attachments::of_messages(conn, workspace, &ids).await? {
        names.entry(message).or_default().push(file.name);
    }
    for message in messages {
        if let Some(names) = names.get(&message.id) {
            message.content = spoken(&message.content, names.iter().map(String::as_str));
        }
    }
    Ok(())
}

/// A text with the names of its files beneath.
pub(crate) fn spoken<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut said = text.to_owned();
    for name in names {
        if !said.is_empty() {
            said.push('\n');
        }
        let _ = write!(said, "{MARK} {}", one_line(name));
    }
    said
}

/// As [`spoken`], of the message that is answered: with what the model can make of the files.
pub(crate) fn asked(text: &str, files: &[TurnFile]) -> String {
    let mut said = spoken(text, files.iter().map(|file| file.name.as_str()));
    if files.iter().any(|file| !file.seen) {
        said.push_str(if files.iter().any(|file| file.seen) {
            "\n(Files came with this message. Of those that you do not see you know the names alone; say so if it matters.)"
        } else {
            "\n(Files came with this message. You cannot open them and know their names alone; say so if it matters.)"
        });
    }
    said
}

/// The title of a conversation that begins with files alone.
pub(crate) fn title_of(files: &[SentFile]) -> String {
    files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// A name is data: a line break in it must not look like structure.
fn one_line(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, seen: bool) -> TurnFile {
        TurnFile { name: name.to_owned(), seen }
    }

    #[test]
    fn a_model_is_told_what_files_are_called_and_that_it_cannot_open_them() {
        let one = asked("¿Está bien?", &[file("boleta\n1.pdf", false)]);
        assert!(one.starts_with("¿Está bien?\n\u{1f4ce} boleta 1.pdf\n(Files came"), "{one}");
        assert!(one.contains("cannot open them"), "{one}");
        let seen = asked("", &[file("foto.png", true)]);
        assert_eq!(seen, "\u{1f4ce} foto.png");
        let both = asked("", &[file("foto.png", true), file("b.pdf", false)]);
        assert!(both.contains("do not see"), "{both}");
        assert_eq!(asked("hola", &[]), "hola");
    }
}
