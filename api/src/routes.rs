//! Declares routes. A route cannot be added without the action that its caller needs.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::MethodRouter;
use domain::Action;
use http::Method;
use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{Components, OpenApi, RefOr, Schema};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::auth::{Gate, authorize, limit};
use crate::describe::{self, Shape};
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
    /// Whom of those it takes.
    pub callers: Callers,
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

/// Whom of those that its surface knows a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Nobody needs to be anybody.
    Anybody,
    /// Everybody whose credential holds and allows the action.
    Known,
    /// Of those, people who are signed in: an API key is nobody.
    People,
    /// Whose credential comes over the connection that the route makes; the route checks it by itself.
    Connected,
}

/// Routes with their actions, in the order of declaration.
pub(crate) struct Routes {
    entries: Vec<Entry>,
    schemas: Vec<(String, RefOr<Schema>)>,
}

struct Entry {
    action: Option<Action>,
    uploads: bool,
    surface: Surface,
    callers: Callers,
    schemas: Vec<(String, RefOr<Schema>)>,
    /// Taken out of the map that they come in, which has room for eleven of five kilobytes each.
    paths: Box<[(String, PathItem)]>,
    methods: MethodRouter<AppState>,
}

impl Entry {
    /// A route for who may do `action`.
    fn of(action: Action, surface: Surface, routes: UtoipaMethodRouter<AppState>) -> Self {
        Self { action: Some(action), ..Self::free(surface, Callers::Known, routes) }
    }

    /// A route without an action.
    fn free(surface: Surface, callers: Callers, routes: UtoipaMethodRouter<AppState>) -> Self {
        let (schemas, paths, methods) = routes;
        let paths = paths.paths.into_iter().collect();
        Self { action: None, uploads: false, surface, callers, schemas, paths, methods }
    }
}

impl Routes {
    pub fn new() -> Self {
        Self { entries: Vec::new(), schemas: Vec::new() }
    }

    fn add(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Adds the routes of `utoipa_axum::routes!`, which need `action`.
    pub fn route(self, action: Action, routes: UtoipaMethodRouter<AppState>) -> Self {
        self.add(Entry::of(action, Surface::Programs, routes))
    }

    /// As [`Self::route`], on the panel.
    pub fn panel(self, action: Action, routes: UtoipaMethodRouter<AppState>) -> Self {
        self.add(Entry::of(action, Surface::Panel, routes))
    }

    /// As [`Self::panel`], for what only somebody who is signed in can do: an API key gets 403.
    pub fn person(self, action: Action, routes: UtoipaMethodRouter<AppState>) -> Self {
        let entry = Entry::of(action, Surface::Panel, routes);
        self.add(Entry { callers: Callers::People, ..entry })
    }

    /// A route of the panel that anybody may call; how often, counts for their address.
    pub fn open(self, routes: UtoipaMethodRouter<AppState>) -> Self {
        self.add(Entry::free(Surface::Panel, Callers::Anybody, routes))
    }

    /// As [`Self::open`], for a live connection of the panel, over which the credential comes.
    pub fn connection(self, routes: UtoipaMethodRouter<AppState>) -> Self {
        self.add(Entry::free(Surface::Panel, Callers::Connected, routes))
    }

    /// A route for pages that carry the key of a site.
    pub fn site(self, routes: UtoipaMethodRouter<AppState>) -> Self {
        self.add(Entry::free(Surface::Sites, Callers::Known, routes))
    }

    /// A route for a visitor of a site.
    pub fn visitor(self, routes: UtoipaMethodRouter<AppState>) -> Self {
        self.add(Entry::free(Surface::Visitors, Callers::Known, routes))
    }

    /// As [`Self::visitor`], for a route that takes a file.
    pub fn visitor_upload(self, routes: UtoipaMethodRouter<AppState>) -> Self {
        let entry = Entry::free(Surface::Visitors, Callers::Known, routes);
        self.add(Entry { uploads: true, ..entry })
    }

    /// As [`Self::route`], for a route that takes a file.
    pub fn upload(self, action: Action, routes: UtoipaMethodRouter<AppState>) -> Self {
        let entry = Entry::of(action, Surface::Programs, routes);
        self.add(Entry { uploads: true, ..entry })
    }

    /// As [`Self::person`], for a route that takes a file.
    pub fn person_upload(self, action: Action, routes: UtoipaMethodRouter<AppState>) -> Self {
        let entry = Entry::of(action, Surface::Panel, routes);
        self.add(Entry { uploads: true, callers: Callers::People, ..entry })
    }

    /// Describes a type that stands in query parameters alone: those of bodies are found without this.
    pub fn schema<T: ToSchema>(mut self) -> Self {
        self.schemas.push((T::name().into_owned(), T::schema()));
        self
    }

    /// Adds the routes of another resource.
    pub fn with(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self.schemas.extend(other.schemas);
        self
    }

    /// Every route with its action.
    pub fn table(&self) -> Vec<RouteInfo> {
        let mut table = Vec::new();
        for entry in &self.entries {
            for (path, item) in &entry.paths {
                let methods = operations(item).into_iter().map(|(method, _)| method);
                let (action, surface, callers) = (entry.action, entry.surface, entry.callers);
                table.extend(methods.map(|method| RouteInfo {
                    method,
                    path: path.clone(),
                    action,
                    surface,
                    callers,
                }));
            }
        }
        table
    }

    /// The service: each route behind its own check of key, limit and action.
    pub fn into_router(self, state: &AppState) -> Router<AppState> {
        let mut router = Router::new();
        for entry in self.entries {
            let mut methods = entry.methods;
            if entry.uploads {
                // The extractor counts by itself: each part has its own limit.
                methods = methods.route_layer(DefaultBodyLimit::disable());
            }
            let (action, surface, callers) = (entry.action, entry.surface, entry.callers);
            let gate = Gate { state: state.clone(), action, surface, callers };
            methods = match surface {
                Surface::Sites | Surface::Visitors => {
                    methods.route_layer(middleware::from_fn_with_state(gate, admit))
                }
                _ if action.is_some() => {
                    methods.route_layer(middleware::from_fn_with_state(gate, authorize))
                }
                _ => methods.route_layer(middleware::from_fn_with_state(gate, limit)),
            };
            for (path, _) in &entry.paths {
                router = router.route(path, methods.clone());
            }
        }
        router
    }

    /// Adds the routes to `document`, each with what [`crate::describe`] knows of any route of its shape.
    pub fn describe(self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_with(Components::new);
        describe::add_error(components);
        components.schemas.extend(self.schemas);
        for entry in self.entries {
            components.schemas.extend(entry.schemas);
            for (path, mut item) in entry.paths {
                let (action, surface, callers) = (entry.action, entry.surface, entry.callers);
                let shape = Shape { path: &path, action, surface, callers };
                for operation in operations_mut(&mut item) {
                    shape.complete(operation, components);
                }
                match document.paths.paths.get_mut(&path) {
                    Some(known) => known.merge_operations(item),
                    None => {
                        document.paths.paths.insert(path, item);
                    }
                }
            }
        }
        describe::write_enums(components);
    }
}

/// A service behind the check of key and limit alone: what is asked of it decides which action is needed, and
/// it checks that itself.
pub(crate) fn for_any_key(
    service: MethodRouter<AppState>,
    state: &AppState,
) -> MethodRouter<AppState> {
    let (surface, callers) = (Surface::Programs, Callers::Known);
    let gate = Gate { state: state.clone(), action: None, surface, callers };
    service.layer(middleware::from_fn_with_state(gate, authorize))
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

/// The operations of a path.
pub(crate) fn operations_mut(item: &mut PathItem) -> Vec<&mut Operation> {
    let all = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
    all.into_iter().filter_map(Option::as_mut).collect()
}
