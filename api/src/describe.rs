//! What the description of a route says by itself: who may call it, the errors that any route of its shape can answer,
//! what the ids in its address look like.

use domain::Action;
use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    Components, ContentBuilder, HeaderBuilder, Object, ObjectBuilder, Ref, RefOr, Required,
    Response, ResponseBuilder, Schema, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::error::ErrorEnvelope;
use crate::routes::{Callers, Surface};

/// An error that is described once: its name in the document, its status, what it means.
type SharedError = (&'static str, &'static str, &'static str);

/// What is wrong with a request whoever sends it, and what goes wrong here.
const ERRORS: [SharedError; 8] = [
    ("Invalid", "400", "A parameter is not accepted; `details` names it."),
    ("NotFound", "404", "Absent, or another workspace's."),
    ("Stale", "412", "Somebody has changed it since it was read with that `ETag`."),
    ("TooLarge", "413", "The body is too large."),
    ("UnsupportedType", "415", "The content type is not taken."),
    ("RateLimited", "429", "Too many requests: wait as long as `Retry-After` says."),
    ("Internal", "500", "Something went wrong on the server's side."),
    (
        "Unavailable",
        "503",
        "The database, the index or a model is not available: try again as `Retry-After` says.",
    ),
];

const FOREIGN_PAGE: &str =
    "The page is of none of the site's origins, or the visitor may not do this: `code` says which.";

/// The header that names a workspace, by its name in the document.
const WORKSPACE: &str = "WorkspaceId";

/// What ids and names in addresses look like: parameter, pattern, whose it is. Of query parameters those that end in `Id`.
const NAMES: [(&str, &str, &str); 32] = [
    ("agentId", "^agent_[0-9a-f]{32}$", "The id of an agent."),
    ("approvalId", "^appr_[0-9a-f]{32}$", "The id of a call that waits for approval."),
    ("articleId", "^art_[0-9a-f]{32}$", "The id of an article."),
    ("attachmentId", "^att_[0-9a-f]{32}$", "The id of a file."),
    ("budgetId", "^budget_[0-9a-f]{32}$", "The id of a budget."),
    ("cannedReplyId", "^canned_[0-9a-f]{32}$", "The id of a canned reply."),
    ("categoryId", "^cat_[0-9a-f]{32}$", "The id of a category."),
    ("chunkId", "^chunk_[0-9a-f]{32}$", "The id of a passage."),
    ("contactId", "^contact_[0-9a-f]{32}$", "The id of a customer."),
    ("conversationId", "^conv_[0-9a-f]{32}$", "The id of a conversation."),
    ("datasetId", "^evalset_[0-9a-f]{32}$", "The id of a dataset of questions."),
    ("datastoreId", "^ds_[0-9a-f]{32}$", "The id of a datastore."),
    ("endUserId", "^contact_[0-9a-f]{32}$", "The id of a customer."),
    ("evalDatasetId", "^evalset_[0-9a-f]{32}$", "The id of a dataset of questions."),
    ("evalRunId", "^evalrun_[0-9a-f]{32}$", "The id of a run of an evaluation."),
    ("gapId", "^gap_[0-9a-f]{32}$", "The id of a question that could not be answered."),
    ("invitationId", "^inv_[0-9a-f]{32}$", "The id of an invitation."),
    ("keyId", "^key_[0-9a-f]{32}$", "The id of an API key; the key itself is no id."),
    ("memberId", "^user_[0-9a-f]{32}$", "The id of a member: that of the person."),
    ("messageId", "^msg_[0-9a-f]{32}$", "The id of a message."),
    ("noteId", "^note_[0-9a-f]{32}$", "The id of a note."),
    ("projectId", "^proj_[0-9a-f]{32}$", "The id of a project."),
    ("providerId", "^prov_[0-9a-f]{32}$", "The id of a model provider."),
    ("publicationId", "^pub_[0-9a-f]{32}$", "The id of a publication."),
    ("sessionId", "^sess_[0-9a-f]{32}$", "The id of a session."),
    ("slug", "^[a-z0-9]+(-[a-z0-9]+)*$", "The name in addresses."),
    ("sourceId", "^src_[0-9a-f]{32}$", "The id of a source."),
    ("tagId", "^tag_[0-9a-f]{32}$", "The id of a tag."),
    ("token", "^[0-9a-f]{64}$", "What stands at the end of the link."),
    ("visitorId", "^.{1,200}$", "The name that a site or program knows a visitor by."),
    ("workspaceCode", "^[a-z0-9_-]{1,100}$", "The code of a workspace, or a site key of it."),
    ("workspaceId", "^ws_[0-9a-f]{32}$", "The id of a workspace."),
];

/// Adds what every error looks like.
pub(crate) fn add_error(components: &mut Components) {
    let mut schemas = vec![(ErrorEnvelope::name().into_owned(), ErrorEnvelope::schema())];
    ErrorEnvelope::schemas(&mut schemas);
    components.schemas.extend(schemas);
}

/// What is known of a route without reading its handler.
pub(crate) struct Shape<'a> {
    pub path: &'a str,
    pub action: Option<Action>,
    pub surface: Surface,
    pub callers: Callers,
}

impl Shape<'_> {
    /// Writes what is known into the description of the route; what several routes share goes into `components`.
    pub fn complete(&self, operation: &mut Operation, components: &mut Components) {
        for parameter in operation.parameters.iter_mut().flatten() {
            if let RefOr::T(parameter) = parameter {
                refine(parameter);
            }
        }
        self.add_errors(operation, components);
        if self.takes_workspace() {
            components.parameters.entry(WORKSPACE.to_owned()).or_insert_with(workspace_header);
            let reference = Ref::new(format!("#/components/parameters/{WORKSPACE}"));
            operation.parameters.get_or_insert_default().push(RefOr::Ref(reference));
        }
        if let Some(security) = self.security() {
            operation.security = Some(security);
        }
        let note = self.note();
        operation.description = Some(match operation.description.take() {
            Some(text) if !text.is_empty() => format!("{text}\n\n{note}"),
            _ => note,
        });
    }

    /// Whether `X-Workspace-Id` may name another workspace than that of the token.
    fn takes_workspace(&self) -> bool {
        let of_caller = self.surface == Surface::Panel && self.callers != Callers::Anybody;
        of_caller && !self.path.starts_with("/v1/workspaces/{workspaceId}")
    }

    /// The credentials, where they are not those of the whole document.
    fn security(&self) -> Option<Vec<SecurityRequirement>> {
        match (self.surface, self.callers) {
            (Surface::Sites, _) => Some(needs(&["siteKey"])),
            (Surface::Visitors, _) => Some(needs(&["siteKey", "visitorToken"])),
            (_, Callers::Anybody) => Some(Vec::new()),
            (_, Callers::People) => Some(needs(&["token"])),
            (_, Callers::Known | Callers::Connected) => None,
        }
    }

    fn note(&self) -> String {
        let needed = self.action.map(Action::needs);
        match (self.surface, self.callers, needed) {
            (Surface::Sites, ..) => "Needs the key of a site, from one of its pages.".to_owned(),
            (Surface::Visitors, ..) => {
                "Needs the key of a site, from one of its pages, and the visitor's token."
                    .to_owned()
            }
            (_, Callers::Connected, _) => {
                "Needs the token of a member, or an API key with the scope `read`: in the first frame, or in \
                `Authorization` from programs."
                    .to_owned()
            }
            (_, Callers::People, Some((role, _))) if self.action != Some(Action::OwnAccount) => {
                format!(
                    "Needs somebody who is signed in and has the role {role}; an API key gets 403."
                )
            }
            (_, Callers::People, _) => {
                "Needs somebody who is signed in; an API key gets 403.".to_owned()
            }
            (Surface::Programs, _, Some((_, scope))) => format!("Needs the scope `{scope}`."),
            (Surface::Panel, _, Some((role, scope))) => {
                format!("Needs the role {role}; with an API key, the scope `{scope}`.")
            }
            (_, _, None) => "Needs no credential.".to_owned(),
        }
    }

    /// The errors of who does not come with the right credential, in the words of the surface.
    fn refusals(&self) -> [Option<SharedError>; 2] {
        match (self.surface, self.callers) {
            (Surface::Programs, _) => [
                Some(("Unauthorized", "401", "No API key, or one that does not hold.")),
                Some(("Forbidden", "403", "The API key lacks the scope.")),
            ],
            (Surface::Sites, _) => [
                Some(("NoSite", "401", "No site key, or one that no site has.")),
                Some(("ForeignPage", "403", FOREIGN_PAGE)),
            ],
            (Surface::Visitors, _) => [
                Some((
                    "NoVisitor",
                    "401",
                    "No site key or no visitor token, or one that does not hold.",
                )),
                Some(("ForeignPage", "403", FOREIGN_PAGE)),
            ],
            (Surface::Panel, Callers::Anybody | Callers::Connected) => [None, None],
            (Surface::Panel, Callers::People) => [
                Some(("NotSignedIn", "401", "Not signed in, or no longer.")),
                Some((
                    "NotAPerson",
                    "403",
                    "The role does not allow it, or the caller is an API key.",
                )),
            ],
            (Surface::Panel, Callers::Known) => [
                Some(("NoCaller", "401", "Neither signed in nor an API key that holds.")),
                Some((
                    "NotAllowed",
                    "403",
                    "The role does not allow it, or the API key lacks the scope.",
                )),
            ],
        }
    }

    fn add_errors(&self, operation: &mut Operation, components: &mut Components) {
        let parameters = || {
            operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
                RefOr::T(parameter) => Some(parameter),
                RefOr::Ref(_) => None,
            })
        };
        let has_query = parameters().any(|one| one.parameter_in == ParameterIn::Query);
        let has_tag = parameters().any(|one| one.name == "If-Match");
        let has_body = operation.request_body.is_some();
        let names_something = self.path.contains('{') || self.takes_workspace();
        let is_possible = |status: &str| match status {
            "400" => has_query || has_body || has_tag,
            "404" => names_something && self.callers != Callers::Connected,
            "412" => has_tag,
            "413" | "415" => has_body,
            _ => true,
        };
        let shared = ERRORS.into_iter().filter(|(_, status, _)| is_possible(status));
        for (name, status, text) in shared.chain(self.refusals().into_iter().flatten()) {
            let responses = &mut operation.responses.responses;
            if !responses.contains_key(status) {
                responses.insert(status.to_owned(), RefOr::Ref(Ref::from_response_name(name)));
                let response = || RefOr::T(error_response(text));
                components.responses.entry(name.to_owned()).or_insert_with(response);
            }
        }
    }
}

/// All of these credentials together.
fn needs(schemes: &[&str]) -> Vec<SecurityRequirement> {
    let none = Vec::<String>::new;
    let first = SecurityRequirement::default();
    vec![schemes.iter().fold(first, |all, scheme| all.add(*scheme, none()))]
}

fn error_response(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

fn workspace_header() -> RefOr<Parameter> {
    let text = "Another workspace of the caller's to act in than the one that the token names. 404 where it is not theirs.";
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^ws_[0-9a-f]{32}$"));
    let parameter = ParameterBuilder::new()
        .name("X-Workspace-Id")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(text))
        .schema(Some(schema))
        .build();
    RefOr::T(parameter)
}

/// Says of a parameter what its name tells, and writes closed sets of words as such.
fn refine(parameter: &mut Parameter) {
    let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema else { return };
    if parameter.parameter_in == ParameterIn::Header {
        // A header that is not sent is absent, never null.
        if let SchemaType::Array(_) = &object.schema_type {
            object.schema_type = SchemaType::Type(Type::String);
        }
    }
    let is_named = match parameter.parameter_in {
        ParameterIn::Path => true,
        ParameterIn::Query => parameter.name.ends_with("Id"),
        _ => false,
    };
    let known = NAMES.iter().find(|(name, ..)| is_named && *name == parameter.name);
    if let Some((_, pattern, text)) = known.filter(|_| is_plain_text(object)) {
        object.pattern = Some((*pattern).to_owned());
        parameter.description.get_or_insert_with(|| (*text).to_owned());
    }
    write_enum(object);
}

fn is_plain_text(object: &Object) -> bool {
    matches!(object.schema_type, SchemaType::Type(Type::String))
        && object.pattern.is_none()
        && object.format.is_none()
        && object.enum_values.is_none()
}

/// Writes closed sets of words in the properties of schemas as such.
pub(crate) fn write_enums(components: &mut Components) {
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::Object(object)) = schema else { continue };
        for property in object.properties.values_mut() {
            if let RefOr::T(Schema::Object(property)) = property {
                write_enum(property);
            }
        }
    }
}

/// A pattern that is a list of words, `^(es|en|pt)$`, becomes an enum, which clients can be made of.
fn write_enum(object: &mut Object) {
    if !matches!(object.schema_type, SchemaType::Type(Type::String)) {
        return;
    }
    let Some(words) = object.pattern.as_deref().and_then(listed) else { return };
    object.enum_values = Some(words);
    object.pattern = None;
}

fn listed(pattern: &str) -> Option<Vec<Value>> {
    let words = pattern.strip_prefix("^(")?.strip_suffix(")$")?;
    let is_plain = words.chars().all(|c| c.is_ascii_alphanumeric() || "-_|".contains(c));
    is_plain.then(|| words.split('|').map(Value::from).collect())
}

/// Says of operations, by their ids, that their answers carry an `ETag`.
pub(crate) fn tag_answers(operation: &mut Operation, tagged: &[&str]) {
    let is_tagged = operation.operation_id.as_deref().is_some_and(|id| tagged.contains(&id));
    if !is_tagged {
        return;
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if ["200", "201", "304"].contains(&status.as_str()) {
            let text = "Names the state that was answered; send it as `If-Match` with a change, where that is taken.";
            let schema = ObjectBuilder::new().schema_type(Type::String);
            let header = HeaderBuilder::new().description(Some(text)).schema(Some(schema)).build();
            response.headers.insert("ETag".to_owned(), RefOr::T(header));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_lists_words_is_an_enum() {
        assert_eq!(listed("^(ASC|DESC)$"), Some(vec!["ASC".into(), "DESC".into()]));
        assert_eq!(listed("^(a+|b)$"), None);
        assert_eq!(listed("^ws_[0-9a-f]{32}$"), None);
    }

    #[test]
    fn names_are_in_order_each_once() {
        assert!(NAMES.is_sorted_by(|one, next| one.0 < next.0));
    }
}
