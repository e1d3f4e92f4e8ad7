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
use utoipa::openapi::{Components, InfoBuilder, License, OpenApi, OpenApiBuilder, Paths, Server};

use crate::routes::Routes;

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

/// The description of the surface.
pub(crate) fn openapi() -> OpenApi {
    let mut components = Components::new();
    let token = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("The `token` of register, login, refresh or switch; or an API key."))
        .build();
    components.add_security_scheme("token", SecurityScheme::Http(token));
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
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    let description = "The panel: people, workspaces, members, projects and their widgets. \
        Every answer carries `x-request-id`; every error is `{\"error\": {code, message, details?, requestId}}`. \
        Lists take `page` and `take` and answer `{data, meta}`. A call acts in the workspace that the token names; \
        `X-Workspace-Id` may name another one of the caller's.";
    let info = InfoBuilder::new()
        .title("Vocero panel")
        .version("1")
        .description(Some(description))
        .license(Some(license))
        .build();
    let mut document = OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/")]))
        .paths(Paths::new())
        .components(Some(components))
        .security(Some([SecurityRequirement::new("token", Vec::<String>::new())]))
        .build();
    routes().describe(&mut document);
    help::routes().describe(&mut document);
    document
}
