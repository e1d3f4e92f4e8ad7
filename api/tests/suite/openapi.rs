//! The description of the API is the one that is committed.

use std::collections::BTreeSet;
use std::path::Path;

use api::{Callers, RouteInfo, Surface};
use serde_json::{Value, json};

/// The reference to the schema of errors.
const ERROR: &str = "#/components/schemas/Error";

fn panel() -> Value {
    serde_json::to_value(api::openapi_v1()).unwrap()
}

/// Every document that is committed, with the routes that it describes.
fn documents() -> [(Value, Vec<RouteInfo>); 2] {
    let programs = serde_json::to_value(api::openapi_v2()).unwrap();
    [(panel(), api::routes_v1()), (programs, api::routes_v2())]
}

fn operation<'a>(document: &'a Value, route: &RouteInfo) -> &'a Value {
    &document["paths"][&route.path][&route.method.as_str().to_lowercase()]
}

/// What a reference leads to; what is none is what it is.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

/// What a response says that errors look like.
fn error_of<'a>(document: &'a Value, response: &'a Value) -> &'a str {
    let schema = &resolved(document, response)["content"]["application/json"]["schema"];
    schema["$ref"].as_str().unwrap_or_default()
}

#[test]
fn the_committed_document_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/v2.json");
    let text = api::openapi_v2().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "api/openapi/v2.json is not what the code says; review the change, then run \
         UPDATE_OPENAPI=1 cargo test -p api openapi"
    );
}

#[test]
fn the_committed_document_of_the_panel_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/v1.json");
    let text = api::openapi_v1().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "api/openapi/v1.json is not what the code says; review the change, then run \
         UPDATE_OPENAPI=1 cargo test -p api openapi"
    );
}

#[test]
fn each_route_of_the_panel_says_who_may_call_it() {
    let document = panel();
    for route in api::routes_v1() {
        let name = format!("{} {}", route.method, route.path);
        let operation = operation(&document, &route);
        let security = operation.get("security");
        let all = document["security"].as_array().unwrap();
        assert_eq!(all.len(), 2, "tokens and API keys");
        let is_for_visitors = matches!(route.surface, Surface::Sites | Surface::Visitors);
        assert_eq!(route.action.is_some(), !is_for_visitors && asks_for_role(&route), "{name}");
        let text = operation["description"].as_str().unwrap();
        match route.callers {
            Callers::Anybody => {
                assert_eq!(security, Some(&json!([])), "{name}");
                assert!(text.ends_with("Needs no credential."), "{name}");
            }
            Callers::People => {
                assert_eq!(security, Some(&json!([{"token": []}])), "{name}");
                assert!(text.ends_with("an API key gets 403."), "{name}");
            }
            Callers::Known if is_for_visitors => {
                assert!(security.unwrap()[0]["siteKey"].is_array(), "{name}");
                assert!(text.contains("Needs the key of a site"), "{name}");
            }
            Callers::Known => {
                assert_eq!(security, None, "{name}");
                assert!(text.contains("with an API key, the scope"), "{name}");
            }
            Callers::Connected => {
                assert_eq!(security, None, "{name}");
                assert!(text.contains("in the first frame"), "{name}");
            }
        }
    }
}

fn asks_for_role(route: &RouteInfo) -> bool {
    matches!(route.callers, Callers::Known | Callers::People)
}

#[test]
fn each_route_is_described_with_its_errors() {
    for (document, routes) in documents() {
        assert_eq!(document["openapi"], "3.1.0");
        let mut operation_ids = BTreeSet::new();
        for route in routes {
            let name = format!("{} {}", route.method, route.path);
            let operation = operation(&document, &route);
            let responses = operation["responses"].as_object().unwrap_or_else(|| panic!("{name}"));
            let refusals: &[&str] = if asks_for_role(&route) { &["401", "403"] } else { &[] };
            for status in refusals.iter().chain(&["429", "500", "503"]) {
                assert_eq!(error_of(&document, &responses[*status]), ERROR, "{name} {status}");
            }
            for (status, response) in responses {
                let is_error = status.starts_with('4') || status.starts_with('5');
                if is_error {
                    assert_eq!(error_of(&document, response), ERROR, "{name} {status}");
                }
            }
            assert!(responses.contains_key("404") || !route.path.contains('{'), "{name}");
            let has_body = operation.get("requestBody").is_some();
            assert_eq!(responses.contains_key("415"), has_body, "{name}");
            assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{name}");
            assert!(operation_ids.insert(operation["operationId"].to_string()), "{name}");
        }
        let paths = document["paths"].as_object().unwrap().values();
        let described: usize = paths.map(|item| item.as_object().unwrap().len()).sum();
        assert_eq!(
            described,
            operation_ids.len(),
            "routes that the table does not know are described"
        );
    }
}

#[test]
fn no_response_speaks_of_credentials_that_its_surface_does_not_take() {
    let document = panel();
    for route in api::routes_v1() {
        if asks_for_role(&route) && !matches!(route.surface, Surface::Panel) {
            let responses = &operation(&document, &route)["responses"];
            for status in ["401", "403"] {
                let text = resolved(&document, &responses[status])["description"].to_string();
                assert!(!text.contains("API key"), "{} {}: {text}", route.method, route.path);
            }
        }
    }
}

#[test]
fn what_stands_in_a_path_says_what_it_looks_like() {
    for (document, routes) in documents() {
        for route in routes {
            let operation = operation(&document, &route);
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            for parameter in parameters.filter(|parameter| parameter["in"] == "path") {
                let name = format!("{} of {} {}", parameter["name"], route.method, route.path);
                let schema = &parameter["schema"];
                let is_number = schema["type"] == "integer" && schema["minimum"].is_number();
                assert!(is_number || schema["pattern"].is_string(), "{name}");
                assert!(is_number || parameter["description"].is_string(), "{name}");
            }
        }
    }
}

#[test]
fn what_takes_if_match_answers_with_an_etag() {
    let document = panel();
    let mut found = 0;
    for item in document["paths"].as_object().unwrap().values() {
        let operations = item.as_object().unwrap();
        let takes_tag = |operation: &Value| {
            let mut parameters = operation["parameters"].as_array().into_iter().flatten();
            parameters.any(|parameter| parameter["name"] == "If-Match")
        };
        if !operations.values().any(takes_tag) {
            continue;
        }
        for (method, operation) in operations.iter().filter(|(method, _)| *method != "delete") {
            let answer = &operation["responses"]["200"];
            let is_tagged = answer["headers"]["ETag"].is_object();
            assert!(is_tagged, "{method} {}", operation["operationId"]);
            found += 1;
        }
    }
    assert!(found > 15, "{found}");
}

#[test]
fn each_tag_of_the_panel_is_explained_and_used() {
    let document = panel();
    let explained: Vec<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut used = BTreeSet::new();
    for route in api::routes_v1() {
        used.insert(operation(&document, &route)["tags"][0].as_str().unwrap().to_owned());
    }
    let explained: BTreeSet<String> = explained.into_iter().map(str::to_owned).collect();
    assert_eq!(explained, used);
}

#[test]
fn no_schema_is_named_after_a_type_of_rust() {
    for (document, _) in documents() {
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            let is_of_rust =
                ["Map", "Vec", "Option", "Value"].iter().any(|end| name.ends_with(end));
            assert!(!is_of_rust, "{name}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    for (document, _) in documents() {
        let mut references = BTreeSet::new();
        collect_references(&document, &mut references);
        assert!(references.len() > 20);
        for reference in references {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.insert(reference.clone());
            }
            fields.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}
