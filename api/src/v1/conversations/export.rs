//! A conversation as a file: for people, for other programs.

use axum::extract::State;
use axum::response::Response;
use domain::conversation::Conversation;
use domain::{Action, ConversationId, WorkspaceId};
use serde::{Deserialize, Serialize};
use storage::{Conn, messages, notes};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::found;
use super::notes::NoteView;
use super::views::{MessageView, whole};
use super::words::MessageAuthor;
use crate::auth::Caller;
use crate::download;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Query};
use crate::routes::Routes;
use crate::state::AppState;

/// Messages read at once.
const BATCH: i64 = 500;

pub(super) fn routes() -> Routes {
    Routes::new().panel(Action::ReadConversations, routes!(export))
}

/// What a file is to be.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// `json`, `txt` or `html`.
    #[param(value_type = String, pattern = "^(json|txt|html)$", default = "json", required = false)]
    format: Option<String>,
    /// `true`: with the notes. For members, who must not hand the file on to customers.
    #[param(value_type = bool, required = false)]
    notes: Option<String>,
    /// The language of headings: `es`, `en` or `pt`.
    #[param(value_type = String, pattern = "^(es|en|pt)$", default = "es", required = false)]
    lang: Option<String>,
}

/// A conversation with everything that was said in it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ExportedConversation)]
struct Export {
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    id: String,
    title: String,
    channel: &'static str,
    /// `open`, `pending` or `closed`.
    status: &'static str,
    /// RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// Oldest first.
    messages: Vec<MessageView>,
    /// Absent where they were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    notes: Option<Vec<NoteView>>,
}

/// Words of the files.
struct Headings {
    language: &'static str,
    conversation: &'static str,
    customer: &'static str,
    agent: &'static str,
    operator: &'static str,
    note: &'static str,
    files: &'static str,
}

const SPANISH: Headings = Headings {
    language: "es",
    conversation: "Conversación",
    customer: "Cliente",
    agent: "Agente",
    operator: "Operador",
    note: "Nota interna",
    files: "Archivos",
};
const ENGLISH: Headings = Headings {
    language: "en",
    conversation: "Conversation",
    customer: "Customer",
    agent: "Agent",
    operator: "Operator",
    note: "Internal note",
    files: "Files",
};
const PORTUGUESE: Headings = Headings {
    language: "pt",
    conversation: "Conversa",
    customer: "Cliente",
    agent: "Agente",
    operator: "Operador",
    note: "Nota interna",
    files: "Arquivos",
};

/// Export a conversation
///
/// As a download. Without the notes unless they are asked for.
#[utoipa::path(
    get,
    path = "/v1/conversations/{conversationId}/export",
    tag = "Conversation threads",
    operation_id = "exportConversation",
    params(("conversationId" = String, Path), ExportQuery),
    responses((
        status = 200,
        description = "The file.",
        content(
            (Export = "application/json"),
            (String = "text/plain"),
            (String = "text/html"),
        ),
    )),
)]
#[tracing::instrument(name = "handler.v1.conversations.export", skip_all)]
async fn export(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Query(query): Query<ExportQuery>,
) -> ApiResult<Response> {
    let with_notes = match query.notes.as_deref() {
        None | Some("false") => false,
        Some("true") => caller.person().map(|_| true)?,
        Some(_) => return Err(ApiError::invalid("notes", "`notes` must be true or false")),
    };
    let headings = match query.lang.as_deref() {
        None | Some("es") => &SPANISH,
        Some("en") => &ENGLISH,
        Some("pt") => &PORTUGUESE,
        Some(_) => return Err(ApiError::invalid("lang", "`lang` must be es, en or pt")),
    };
    let format = query.format.as_deref().unwrap_or("json");
    if !["json", "txt", "html"].contains(&format) {
        return Err(ApiError::invalid("format", "`format` must be json, txt or html"));
    }
    let mut conn = state.db.read().await?;
    let conversation = found(&mut conn, &caller, id).await?;
    let export = read(&mut conn, caller.workspace(), conversation, with_notes).await?;
    drop(conn);
    let (media_type, content) = match format {
        "txt" => ("text/plain; charset=utf-8", export.as_text(headings).into_bytes()),
        "html" => ("text/html; charset=utf-8", export.as_page(headings).into_bytes()),
        _ => ("application/json", export.as_json()?),
    };
    Ok(download::response(&format!("{id}.{format}"), media_type, content.into()))
}

async fn read(
    conn: &mut Conn,
    workspace: WorkspaceId,
    conversation: Conversation,
    with_notes: bool,
) -> ApiResult<Export> {
    let mut views: Vec<MessageView> = Vec::new();
    loop {
        let after = views.last().map_or(0, |message| message.seq);
        let page = messages::list(conn, workspace, conversation.id, after, BATCH).await?;
        if page.is_empty() {
            break;
        }
        views.extend(whole(conn, workspace, page).await?);
    }
    let notes = if with_notes {
        let notes = notes::list(conn, workspace, conversation.id).await?;
        Some(notes.into_iter().map(NoteView::from).collect())
    } else {
        None
    };
    Ok(Export {
        id: conversation.id.to_string(),
        title: conversation.title,
        channel: conversation.channel.name(),
        status: conversation.status.name(),
        created_at: conversation.created_at.to_rfc3339(),
        messages: views,
        notes,
    })
}

/// What a person reads: when, who, what, and which files.
struct Line<'a> {
    at: &'a str,
    who: String,
    class: &'static str,
    text: &'a str,
    files: Vec<&'a str>,
}

impl Export {
    fn as_json(&self) -> ApiResult<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| {
            tracing::error!(%error, "a conversation is no JSON");
            ApiError::internal()
        })
    }

    /// Messages and notes by time.
    fn lines(&self, headings: &Headings) -> Vec<Line<'_>> {
        let messages = self.messages.iter().map(|message| Line {
            at: &message.created_at,
            who: headings.of(message),
            class: match message.author.kind {
                MessageAuthor::Customer => "customer",
                MessageAuthor::Agent => "agent",
                MessageAuthor::Operator => "operator",
            },
            text: &message.content,
            files: message.attachments.iter().map(|file| file.name.as_str()).collect(),
        });
        let notes = self.notes.iter().flatten().map(|note| Line {
            at: &note.created_at,
            who: match &note.author {
                Some(author) => format!("{} · {}", headings.note, author.name),
                None => headings.note.to_owned(),
            },
            class: "note",
            text: &note.content,
            files: Vec::new(),
        });
        let mut lines: Vec<Line<'_>> = messages.chain(notes).collect();
        // RFC 3339 in UTC sorts as text; what is of one instant stays in its order.
        lines.sort_by_key(|line| line.at);
        lines
    }

    fn as_text(&self, headings: &Headings) -> String {
        let mut text = format!("{} {}\n{}\n", headings.conversation, self.id, self.title);
        for line in self.lines(headings) {
            text.push_str(&format!("\n[{}] {}:\n", line.at, line.who));
            for row in line.text.lines() {
                text.push_str(&format!("  {row}\n"));
            }
            if !line.files.is_empty() {
                text.push_str(&format!("  {}: {}\n", headings.files, line.files.join(", ")));
            }
        }
        text
    }

    /// A page that needs nothing else, and in which nothing runs.
    fn as_page(&self, headings: &Headings) -> String {
        let title = escaped(&self.title);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
             <p class=\"id\">{} {}</p>\n",
            headings.language,
            headings.conversation,
            escaped(&self.id),
        );
        for line in self.lines(headings) {
            page.push_str(&format!(
                "<section class=\"{}\"><h2>{}</h2><time>{}</time><p>{}</p>",
                line.class,
                escaped(&line.who),
                escaped(line.at),
                escaped(line.text),
            ));
            if !line.files.is_empty() {
                let names: Vec<String> = line.files.iter().map(|name| escaped(name)).collect();
                page.push_str(&format!("<p>{}: {}</p>", headings.files, names.join(", ")));
            }
            page.push_str("</section>\n");
        }
        page.push_str("</body>\n</html>\n");
        page
    }
}

const STYLE: &str = "body{font-family:sans-serif;max-width:45rem;margin:2rem auto;padding:0 1rem}\
    section{border-left:4px solid #ccc;margin:1rem 0;padding:.25rem .75rem}\
    section.operator{border-color:#00aeef}section.agent{border-color:#7a5af8}\
    section.note{border-color:#f5b301;background:#fffbeb}\
    h1{font-size:1.3rem}h2{font-size:1rem;margin:0}time,.id{color:#666;font-size:.8rem}\
    p{white-space:pre-wrap;overflow-wrap:anywhere;margin:.25rem 0}";

impl Headings {
    fn of(&self, message: &MessageView) -> String {
        let author = &message.author;
        let word = match author.kind {
            MessageAuthor::Customer => self.customer,
            MessageAuthor::Agent => self.agent,
            MessageAuthor::Operator => self.operator,
        };
        match &author.name {
            Some(name) => format!("{word} · {name}"),
            None => word.to_owned(),
        }
    }
}

/// Text for a page: also within quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
