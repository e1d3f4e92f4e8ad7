//! `/v1`: the panel, for people who are signed in (and, for what is not their own, for programs with an API key).

mod ai;
mod api_keys;
mod audit;
mod audit_query;
mod auth;
mod canned_replies;
mod conversations;
mod end_users;
mod etag;
pub(crate) mod help;
mod inbox;
mod invitations;
mod kb;
mod live;
mod members;
mod oidc;
mod oidc_arrival;
mod paging;
mod projects;
mod retention;
mod second_factor;
mod sessions;
mod views;
mod widget;
mod widget_settings;
mod widget_words;
mod window;
mod workspaces;

use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Components, InfoBuilder, License, OpenApi, OpenApiBuilder, Paths, Server};

use crate::describe::tag_answers;
use crate::routes::{Routes, operations_mut};

/// Every route of the surface.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .with(auth::routes())
        .with(sessions::routes())
        .with(workspaces::routes())
        .with(members::routes())
        .with(projects::routes())
        .with(widget_settings::routes())
        .with(conversations::routes())
        .with(live::routes())
        .with(widget::routes())
        .with(canned_replies::routes())
        .with(inbox::routes())
        .with(end_users::routes())
        .with(retention::routes())
        .with(kb::routes())
        .with(ai::routes())
        .with(invitations::routes())
        .with(api_keys::routes())
        .with(audit::routes())
        .with(second_factor::routes())
        .with(oidc::routes())
}

/// What the routes are about, in the order in which a reader meets them.
const TAGS: [(&str, &str); 19] = [
    ("Account", "Registering, signing in and out, sessions, passwords, the second factor."),
    (
        "Workspaces",
        "The workspaces of a person, and for how long a workspace keeps what customers said.",
    ),
    ("Members", "Who works in a workspace, with which role."),
    ("Invitations", "Asking people into a workspace, and joining it."),
    ("Projects", "Sites and apps: their keys, origins and widgets."),
    ("Conversations", "The inbox: finding conversations, assigning, closing, handing back."),
    ("Conversation threads", "Messages, files, timeline and export of one conversation."),
    ("Notes", "What members tell each other about a conversation, and who is called in it."),
    ("Tags", "Words that conversations are sorted by."),
    ("Canned replies", "Texts that operators answer with again and again."),
    ("Inbox", "How conversations are handed out, and who is there for them."),
    ("Live", "What happens in a workspace, as it happens."),
    ("AI help", "Suggested replies, summaries, texts written anew."),
    ("End-users", "Customers: finding, changing, merging, blocking, exporting, erasing them."),
    (
        "Knowledge base",
        "Articles that customers read and agents answer from, and their categories.",
    ),
    ("Help centre", "The published articles, for everybody."),
    ("API keys", "Keys for programs, which hold on every surface."),
    ("Audit log", "Who changed what."),
    ("Widget", "For the pages of a site and their visitors."),
];

/// Operations whose answers carry an `ETag`.
const TAGGED: [&str; 41] = [
    "assignConversation",
    "blockEndUser",
    "closeConversation",
    "createArticle",
    "createArticleCategory",
    "createCannedReply",
    "createEndUser",
    "createNote",
    "createProject",
    "getArticle",
    "getCannedReply",
    "getConversation",
    "getEndUser",
    "getHelpArticle",
    "getHelpCentre",
    "getInboxSettings",
    "getNote",
    "getProject",
    "getRetention",
    "getTag",
    "getWidget",
    "getWorkspace",
    "handConversationBack",
    "listHelpArticles",
    "mergeEndUsers",
    "reopenConversation",
    "rotateSiteKey",
    "takeConversationOver",
    "unblockEndUser",
    "updateArticle",
    "updateArticleCategory",
    "updateCannedReply",
    "updateConversation",
    "updateEndUser",
    "updateInboxSettings",
    "updateNote",
    "updateProject",
    "updateRetention",
    "updateTag",
    "updateWidget",
    "updateWorkspace",
];

/// The description of the surface.
pub(crate) fn openapi() -> OpenApi {
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    let description = "For people who are signed in, for the widgets of sites, and, but for what is somebody's own, for \
        programs with an API key. Every answer carries `x-request-id`; every error is \
        `{\"error\": {code, message, details?, requestId}}`, in the language of `Accept-Language` (es, en, pt). \
        Lists take `page` and `take` and answer `{data, meta}`. A call acts in the workspace that the token names; \
        `X-Workspace-Id` may name another one of the caller's. What is edited has an `ETag`; a change that carries it as \
        `If-Match` is refused with 412 where somebody else was faster.";
    let info = InfoBuilder::new()
        .title("Vocero panel")
        .version("1")
        .description(Some(description))
        .license(Some(license))
        .build();
    let tag =
        |(name, text): (&str, &str)| TagBuilder::new().name(name).description(Some(text)).build();
    let credential = |scheme: &str| SecurityRequirement::new(scheme, Vec::<String>::new());
    let mut document = OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/")]))
        .tags(Some(TAGS.map(tag)))
        .paths(Paths::new())
        .components(Some(credentials()))
        .security(Some(["token", "apiKey"].map(credential)))
        .build();
    routes().describe(&mut document);
    help::routes().describe(&mut document);
    for item in document.paths.paths.values_mut() {
        for operation in operations_mut(item) {
            tag_answers(operation, &TAGGED);
        }
    }
    document
}

/// What callers show for who they are.
fn credentials() -> Components {
    let mut components = Components::new();
    for (name, format, text) in [
        ("token", "JWT", "The `token` of register, login, refresh or switch."),
        ("apiKey", "vk_…", "An API key of the workspace: `vk_` and 64 hexadecimal digits."),
    ] {
        let bearer = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format(format)
            .description(Some(text))
            .build();
        components.add_security_scheme(name, SecurityScheme::Http(bearer));
    }
    for (name, header, text) in [
        ("siteKey", "x-site-key", "The key of a project; `?siteKey=` is as good."),
        (
            "visitorToken",
            "x-visitor-token",
            "The `visitorToken` of init; `Authorization: Visitor …` is as good.",
        ),
    ] {
        let key =
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(header, text)));
        components.add_security_scheme(name, key);
    }
    components
}
