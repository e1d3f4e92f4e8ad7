//! Declares routes. A route cannot be added without the action that its caller needs.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::MethodRouter;
use domain::Action;
use http::Method;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Components, ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::auth::{Gate, authorize, limit};
use crate::error::ErrorEnvelope;
use crate::state::AppState;
use crate::visitors::admit;

/// A route and the action that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteInfo {
    /// Its method.
    pub method: Method,
    /// Its path, with `{parameters}`.
    pub path: String,
    /// What its caller must be allowed to do; `None` where nobody needs to be anybody, and for visitors, who do what is
    /// their own.
    pub action: Option<Action>,
    /// Whose credentials it takes.
    pub surface: Surface,
}

/// Whose credentials a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// API keys.
    Programs,
    /// The tokens of people, and API keys.
    Panel,
    /// The keys of sites, from their own pages.
    Sites,
    /// As above, with the token of a visitor.
    Visitors,
}

/// Routes with their actions, in the order of declaration.
pub(crate) struct Routes(Vec<Entry>);

struct Entry {
    action: Option<Action>,
    uploads: bool,
    surface: Surface,
    routes: UtoipaMethodRouter<AppState>,
}

impl Routes {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds the routes of `utoipa_axum::routes!`, which need `action`.
    pub fn route(mut self, action: Action, routes: UtoipaMethodRouter<AppState>) -> Self {
        let (action, surface) = (Some(action), Surface::Programs);
        self.0.push(Entry { action, uploads: false, surface, routes });
        self
    }

    /// As [`Self::route`], on the panel.
    pub fn panel(mut self, action: Action, routes: UtoipaMethodRouter<AppState>) -> Self {
        let (action, surface) = (Some(action), Surface::Panel);
        self.0.push(Entry { action, uploads: false, surface, routes });
        self
    }

    /// A route of the panel that anybody may call; how often, counts for their address.
    pub fn open(mut self, routes: UtoipaMethodRouter<AppState>) -> Self {
        self.0.push(Entry { action: None, uploads: false, surface: Surface::Panel, routes });
        self
    }

    /// A route for pages that carry the key of a site.
    pub fn site(mut self, routes: UtoipaMethodRouter<AppState>) -> Self {
        self.0.push(Entry { action: None, uploads: false, surface: Surface::Sites, routes });
        self
    }

    /// A route for a visitor of a site.
    pub fn visitor(mut self, routes: UtoipaMethodRouter<AppState>) -> Self {
        self.0.push(Entry { action: None, uploads: false, surface: Surface::Visitors, routes });
        self
    }

    /// As [`Self::visitor`], for a route that takes a file.
    pub fn visitor_upload(mut self, routes: UtoipaMethodRouter<AppState>) -> Self {
        self.0.push(Entry { action: None, uploads: true, surface: Surface::Visitors, routes });
        self
    }

    /// As [`Self::route`], for a route that takes a file.
    pub fn upload(mut self, action: Action, routes: UtoipaMethodRouter<AppState>) -> Self {
        let (action, surface) = (Some(action), Surface::Programs);
        self.0.push(Entry { action, uploads: true, surface, routes });
        self
    }

    /// As [`Self::panel`], for a route that takes a file.
    pub fn panel_upload(mut self, action: Action, routes: UtoipaMethodRouter<AppState>) -> Self {
        let (action, surface) = (Some(action), Surface::Panel);
        self.0.push(Entry { action, uploads: true, surface, routes });
        self
    }

    /// Adds the routes of another resource.
    pub fn with(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Every route with its action.
    pub fn table(&self) -> Vec<RouteInfo> {
        let mut table = Vec::new();
        for entry in &self.0 {
            for (path, item) in &entry.routes.1.paths {
                let methods = operations(item).into_iter().map(|(method, _)| method);
                let (action, surface) = (entry.action, entry.surface);
                table.extend(methods.map(|method| RouteInfo {
                    method,
                    path: path.clone(),
                    action,
                    surface,
                }));
            }
        }
        table
    }

    /// The service: each route behind its own check of key, limit and action.
    pub fn into_router(self, state: &AppState) -> Router<AppState> {
        let mut router = Router::new();
        for entry in self.0 {
            let (_, paths, mut methods) = entry.routes;
            if entry.uploads {
                // The extractor counts by itself: each part has its own limit.
                methods = methods.route_layer(DefaultBodyLimit::disable());
            }
            let (action, surface) = (entry.action, entry.surface);
            let gate = Gate { state: state.clone(), action, surface };
            methods = match surface {
                Surface::Sites | Surface::Visitors => {
                    methods.route_layer(middleware::from_fn_with_state(gate, admit))
                }
                _ if action.is_some() => {
                    methods.route_layer(middleware::from_fn_with_state(gate, authorize))
                }
                _ => methods.route_layer(middleware::from_fn_with_state(gate, limit)),
            };
            for path in paths.paths.keys() {
                router = router.route(path, methods.clone());
            }
        }
        router
    }

    /// Adds the routes to `document`, each with the errors that any route of its shape can answer.
    pub fn describe(self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_with(Components::new);
        let mut schemas = vec![(
            <ErrorEnvelope as utoipa::ToSchema>::name().into_owned(),
            <ErrorEnvelope as utoipa::PartialSchema>::schema(),
        )];
        <ErrorEnvelope as utoipa::ToSchema>::schemas(&mut schemas);
        components.schemas.extend(schemas);
        let errors = ERRORS.map(|(name, _, text)| (name.to_owned(), error_response(text).into()));
        components.responses.extend(errors);
        for entry in self.0 {
            let (schemas, paths, _) = entry.routes;
            components.schemas.extend(schemas);
            for (path, mut item) in paths.paths {
                for operation in operations_mut(&mut item) {
                    let is_public = entry.action.is_none()
                        && !matches!(entry.surface, Surface::Sites | Surface::Visitors);
                    add_errors(operation, &path, !is_public);
                    let note = match (entry.action.map(Action::needs), entry.surface) {
                        (Some((_, scope)), Surface::Programs) => {
                            format!("Needs the scope `{scope}`.")
                        }
                        (Some((role, scope)), Surface::Panel) => {
                            format!("Needs the role {role}; with an API key, the scope `{scope}`.")
                        }
                        (_, Surface::Sites) => {
                            operation.security = Some(needs(&["siteKey"]));
                            "Needs the key of a site, from one of its pages.".to_owned()
                        }
                        (_, Surface::Visitors) => {
                            operation.security = Some(needs(&["siteKey", "visitorToken"]));
                            "Needs the key of a site, from one of its pages, and the visitor's token."
                                .to_owned()
                        }
                        (None, _) => {
                            operation.security = Some(Vec::new());
                            "Needs no credential.".to_owned()
                        }
                    };
                    operation.description = Some(match operation.description.take() {
                        Some(text) if !text.is_empty() => format!("{text}\n\n{note}"),
                        _ => note,
                    });
                }
                match document.paths.paths.get_mut(&path) {
                    Some(known) => known.merge_operations(item),
                    None => {
                        document.paths.paths.insert(path, item);
                    }
                }
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

/// A service behind the check of key and limit alone: what is asked of it decides which action is needed, and
/// it checks that itself.
pub(crate) fn for_any_key(
    service: MethodRouter<AppState>,
    state: &AppState,
) -> MethodRouter<AppState> {
    let gate = Gate { state: state.clone(), action: None, surface: Surface::Programs };
    service.layer(middleware::from_fn_with_state(gate, authorize))
}

/// The errors that routes of a shape can answer: name in the document, status, description.
const ERRORS: [(&str, &str, &str); 10] = [
    ("Invalid", "400", "A parameter is not accepted; `details` names it."),
    ("Unauthorized", "401", "No API key, or one that does not hold."),
    ("Forbidden", "403", "The API key lacks the scope."),
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

fn add_errors(operation: &mut Operation, path: &str, has_caller: bool) {
    let has_path_ids = path.contains('{');
    let has_body = operation.request_body.is_some();
    let has_query = operation.parameters.iter().flatten().any(|parameter| {
        matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query)
    });
    let has_tag =
        operation.parameters.iter().flatten().any(
            |parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "If-Match"),
        );
    for (name, status, _) in ERRORS {
        let possible = match status {
            "400" => has_query || has_body,
            "412" => has_tag,
            "403" => has_caller,
            "404" => has_path_ids,
            "413" | "415" => has_body,
            _ => true,
        };
        if possible {
            let responses = &mut operation.responses.responses;
            let reference = || RefOr::Ref(Ref::from_response_name(name));
            responses.entry(status.to_owned()).or_insert_with(reference);
        }
    }
}

fn error_response(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

fn operations(item: &PathItem) -> Vec<(Method, &Operation)> {
    let all = [
        (Method::GET, &item.get),
        (Method::POST, &item.post),
        (Method::PUT, &item.put),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?))).collect()
}

fn operations_mut(item: &mut PathItem) -> Vec<&mut Operation> {
    let all = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
    all.into_iter().filter_map(Option::as_mut).collect()
}
