//! The description of the API is the one that is committed.

use std::collections::BTreeSet;
use std::path::Path;

use api::Surface;
use serde_json::Value;

fn document() -> Value {
    serde_json::to_value(api::openapi_v2()).unwrap()
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
fn each_route_of_the_panel_is_described() {
    let document = serde_json::to_value(api::openapi_v1()).unwrap();
    for route in api::routes_v1() {
        let operation = &document["paths"][&route.path][&route.method.as_str().to_lowercase()];
        let name = format!("{} {}", route.method, route.path);
        assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{name}");
        let open = operation["security"] == serde_json::json!([]);
        let is_for_visitors = matches!(route.surface, Surface::Sites | Surface::Visitors);
        assert_eq!(open, route.action.is_none() && !is_for_visitors, "{name}");
        let responses = operation["responses"].as_object().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(responses.contains_key("403"), !open, "{name}");
        for status in ["401", "429", "500", "503"] {
            assert!(responses.contains_key(status), "{name} {status}");
        }
    }
}

#[test]
fn it_is_openapi_3_1_and_describes_every_route_with_its_errors() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut operation_ids = BTreeSet::new();
    for route in api::routes_v2() {
        let name = format!("{} {}", route.method, route.path);
        let method = route.method.as_str().to_lowercase();
        let operation = &document["paths"][&route.path][&method];
        let responses = operation["responses"].as_object().unwrap_or_else(|| panic!("{name}"));
        for status in ["401", "403", "429", "500", "503"] {
            let reference = responses[status]["$ref"].as_str();
            let reference = reference.unwrap_or_else(|| panic!("{name} {status}"));
            let response = document.pointer(reference.trim_start_matches('#')).unwrap();
            let schema = &response["content"]["application/json"]["schema"];
            assert_eq!(schema["$ref"], "#/components/schemas/Error", "{name} {status}");
        }
        assert!(responses.contains_key("404") || !route.path.contains('{'), "{name}");
        let has_body = operation.get("requestBody").is_some();
        assert_eq!(responses.contains_key("415"), has_body, "{name}");
        assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{name}");
        assert!(operation_ids.insert(operation["operationId"].to_string()), "{name}");
    }
    let described: usize = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .map(|item| item.as_object().unwrap().len())
        .sum();
    assert_eq!(described, operation_ids.len(), "routes that the table does not know are described");
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut references = BTreeSet::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
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
