//! `http`: one declared request, filled in by the model within what the operator declared, through the guarded client.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use domain::tool::{HttpParameter, HttpSettings, placeholders};
use fetch::{Limits, Method, Request, check_header};
use serde_json::{Map, Value, json};
use serde_json_path::JsonPath;
use url::Url;

use super::Called;
use super::headers::{self, Secrets};
use crate::run::Work;

/// Longest answer that the model is told, in characters.
const MAX_TOLD: usize = 20_000;

/// Longest answer of a failure that the model is told, in characters.
const MAX_FAILURE: usize = 500;

pub(super) fn spec(settings: &HttpSettings) -> (String, Value) {
    let open = || settings.parameters.iter().filter(|parameter| parameter.value.is_none());
    let properties: Map<String, Value> =
        open().map(|parameter| (parameter.name.clone(), schema(parameter))).collect();
    let required: Vec<&str> = open()
        .filter(|parameter| parameter.required)
        .map(|parameter| parameter.name.as_str())
        .collect();
    let parameters = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    (settings.description.clone(), parameters)
}

fn schema(parameter: &HttpParameter) -> Value {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!(parameter.kind.name()));
    if let Some(description) = &parameter.description {
        schema.insert("description".to_owned(), json!(description));
    }
    if !parameter.allowed.is_empty() {
        schema.insert("enum".to_owned(), json!(parameter.allowed));
    }
    Value::Object(schema)
}

/// Sends the request and reads what the model is to be told of the answer.
pub(super) async fn run(
    work: &Work,
    settings: &HttpSettings,
    arguments: &Map<String, Value>,
) -> Called {
    let (request, secrets) = match prepare(work, settings, arguments) {
        Ok(prepared) => prepared,
        Err(reason) => return Called::Failed(reason),
    };
    let limits = Limits {
        timeout: Duration::from_secs(settings.timeout),
        max_bytes: settings.result.max_bytes,
        content_types: &[],
    };
    let answer = match work.inner.options.fetch.send(request, &limits).await {
        Ok(answer) => answer,
        Err(error) => return Called::Failed(error.message),
    };
    let text = secrets.hide(String::from_utf8_lossy(&answer.body).into_owned());
    if !answer.status.is_success() {
        let said = cut(&text, MAX_FAILURE);
        return Called::Failed(format!("the service answered {}: {said}", answer.status.as_u16()));
    }
    match select(settings, &text) {
        Ok(selected) => Called::Told(cut(&selected, MAX_TOLD)),
        Err(reason) => Called::Failed(reason),
    }
}

/// Whether the request could be made with these arguments; if not, why.
pub(super) fn check(settings: &HttpSettings, arguments: &Map<String, Value>) -> Result<(), String> {
    address(settings, &values(settings, arguments)?).map(drop)
}

fn prepare(
    work: &Work,
    settings: &HttpSettings,
    arguments: &Map<String, Value>,
) -> Result<(Request, Secrets), String> {
    let values = values(settings, arguments)?;
    let mut request = Request::get(address(settings, &values)?);
    request.method = Method::from_bytes(settings.method.name().as_bytes())
        .map_err(|_| "the method is not known".to_owned())?;
    let (headers, secrets) = headers::open(work, &settings.headers)?;
    request.headers = headers;
    if let Some(body) = body(settings, &values) {
        request.body = body.to_string().into();
        let (name, value) =
            check_header("content-type", "application/json").map_err(|error| error.message)?;
        request.headers.entry(name).or_insert(value);
    }
    Ok((request, secrets))
}

/// The values of the parameters, by name: the fixed ones, and the model's where they are allowed.
fn values(
    settings: &HttpSettings,
    arguments: &Map<String, Value>,
) -> Result<HashMap<String, Value>, String> {
    let mut values = HashMap::new();
    for (name, value) in arguments {
        let parameter = settings.parameter(name).filter(|parameter| parameter.value.is_none());
        let Some(parameter) = parameter else {
            return Err(format!("there is no parameter `{name}`"));
        };
        if value.is_null() {
            continue;
        }
        if !parameter.kind.fits(value) {
            return Err(format!("`{name}` must be of the type {}", parameter.kind.name()));
        }
        if !parameter.allowed.is_empty() && !parameter.allowed.contains(value) {
            return Err(format!("`{name}` must be one of {}", json!(parameter.allowed)));
        }
        values.insert(name.clone(), value.clone());
    }
    for parameter in &settings.parameters {
        match &parameter.value {
            Some(fixed) => {
                values.insert(parameter.name.clone(), fixed.clone());
            }
            None if parameter.required && !values.contains_key(&parameter.name) => {
                return Err(format!("`{}` is missing; ask the customer for it", parameter.name));
            }
            None => {}
        }
    }
    Ok(values)
}

/// The address with its parameters. A value is one piece of a path or of a query and never structure.
fn address(settings: &HttpSettings, values: &HashMap<String, Value>) -> Result<Url, String> {
    let encode = |name: &str| {
        let mut text = String::new();
        for byte in values.get(name).map(plain).unwrap_or_default().bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                let _ = write!(text, "%{byte:02X}");
            }
        }
        text
    };
    let wrong = |_| "the parameters make no address".to_owned();
    let mut url = Url::parse(&fill(&settings.url, encode)).map_err(wrong)?;
    // `..` would lead to another path; the parser resolves it, so that there are fewer pieces then.
    let pieces = |url: &Url| url.path().split('/').count();
    let template = Url::parse(&fill(&settings.url, |_| "x".to_owned())).map_err(wrong)?;
    if pieces(&url) != pieces(&template) {
        return Err("a parameter may not lead to another path".to_owned());
    }
    if !settings.method.has_body() {
        let used: Vec<&str> = placeholders(&settings.url).collect();
        for parameter in &settings.parameters {
            let name = parameter.name.as_str();
            if let Some(value) = values.get(name).filter(|_| !used.contains(&name)) {
                url.query_pairs_mut().append_pair(name, &plain(value));
            }
        }
    }
    Ok(url)
}

fn body(settings: &HttpSettings, values: &HashMap<String, Value>) -> Option<Value> {
    if !settings.method.has_body() {
        return None;
    }
    if let Some(template) = &settings.body {
        return Some(filled(template, values));
    }
    let used: Vec<&str> = placeholders(&settings.url).collect();
    let rest = values.iter().filter(|(name, _)| !used.contains(&name.as_str()));
    Some(Value::Object(rest.map(|(name, value)| (name.clone(), value.clone())).collect()))
}

/// The template with its parameters; one without a value is null, or nothing within a text.
fn filled(template: &Value, values: &HashMap<String, Value>) -> Value {
    match template {
        Value::String(text) => {
            let whole = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
            if let Some(name) = whole.filter(|name| placeholders(text).eq([*name])) {
                return values.get(name).cloned().unwrap_or(Value::Null);
            }
            let value_of = |name: &str| values.get(name).map(plain).unwrap_or_default();
            Value::String(fill(text, value_of))
        }
        Value::Array(items) => items.iter().map(|item| filled(item, values)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| (name.clone(), filled(field, values)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// The text with each `{name}` replaced. What is put in is not looked at again.
fn fill(template: &str, value_of: impl Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        text.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        let name = placeholders(&rest[start..]).next().filter(|name| after.starts_with(*name));
        if let Some(name) = name {
            text.push_str(&value_of(name));
            rest = &after[name.len() + 1..];
        } else {
            text.push('{');
            rest = after;
        }
    }
    text.push_str(rest);
    text
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// What of the answer the model is told.
fn select(settings: &HttpSettings, text: &str) -> Result<String, String> {
    let Some(path) = &settings.result.path else { return Ok(text.to_owned()) };
    let path = JsonPath::parse(path).map_err(|error| error.to_string())?;
    let answer: Value =
        serde_json::from_str(text).map_err(|_| "the service did not answer JSON".to_owned())?;
    let found = path.query(&answer).all();
    Ok(match found.as_slice() {
        [] => "The service answered, but there is nothing of what was asked for.".to_owned(),
        [one] => one.to_string(),
        many => json!(many).to_string(),
    })
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use domain::agent::{AgentTool, ToolKind};
    use domain::tool::ToolSettings;

    use super::*;

    fn settings(json: Value) -> HttpSettings {
        let Value::Object(settings) = json else { panic!("an object") };
        let tool = AgentTool { kind: ToolKind::Http, id: None, settings };
        match ToolSettings::read("tools[0]", &tool).unwrap() {
            ToolSettings::Http(settings) => *settings,
            other => panic!("{other:?}"),
        }
    }

    fn filled_in(
        settings: &HttpSettings,
        arguments: Value,
    ) -> Result<(String, Option<Value>), String> {
        let Value::Object(arguments) = arguments else { panic!("an object") };
        let values = values(settings, &arguments)?;
        Ok((address(settings, &values)?.to_string(), body(settings, &values)))
    }

    fn order() -> HttpSettings {
        settings(json!({
            "name": "find_order",
            "description": "Finds an order.",
            "url": "https://api.example.com/orders/{order}/items?full={full}",
            "parameters": [
                {"name": "order", "required": true},
                {"name": "full", "type": "boolean", "value": true},
                {"name": "size", "enum": ["s", "m"]},
            ],
        }))
    }

    #[test]
    fn a_value_is_one_piece_of_the_address_whatever_it_holds() {
        let of = |order_number: &str| filled_in(&order(), json!({"order": order_number}));
        assert_eq!(
            of("A 1/ñ?x#y&z").unwrap().0,
            "https://api.example.com/orders/A%201%2F%C3%B1%3Fx%23y%26z/items?full=true"
        );
        assert_eq!(
            of("{full}").unwrap().0,
            "https://api.example.com/orders/%7Bfull%7D/items?full=true"
        );
        for bad in ["..", "."] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!(
            of("%2e%2e").unwrap().0,
            "https://api.example.com/orders/%252e%252e/items?full=true"
        );
        let sized = filled_in(&order(), json!({"order": "1", "size": "m"})).unwrap();
        assert_eq!(
            sized,
            ("https://api.example.com/orders/1/items?full=true&size=m".to_owned(), None)
        );
    }

    #[test]
    fn what_is_not_declared_is_refused() {
        for (arguments, about) in [
            (json!({}), "`order` is missing"),
            (json!({"order": 7}), "must be of the type string"),
            (json!({"order": "1", "full": false}), "no parameter `full`"),
            (json!({"order": "1", "size": "xl"}), "must be one of"),
            (json!({"order": "1", "url": "https://x"}), "no parameter `url`"),
        ] {
            let reason = filled_in(&order(), arguments.clone()).unwrap_err();
            assert!(reason.contains(about), "{arguments}: {reason}");
        }
    }

    #[test]
    fn a_body_is_filled_by_type_and_never_by_structure() {
        let create = settings(json!({
            "name": "book",
            "description": "Books.",
            "method": "POST",
            "url": "https://api.example.com/bookings",
            "parameters": [{"name": "people", "type": "integer"}, {"name": "name"}, {"name": "note"}],
            "body": {"for": "{people}", "who": "Sr. {name}", "tags": ["{note}", 1]},
        }));
        let (_, body) = filled_in(&create, json!({"people": 4, "name": "\"}{people}"})).unwrap();
        assert_eq!(body.unwrap(), json!({"for": 4, "who": "Sr. \"}{people}", "tags": [null, 1]}));
        let plain = settings(json!({
            "name": "book",
            "description": "Books.",
            "method": "POST",
            "url": "https://api.example.com/{name}",
            "parameters": [{"name": "people", "type": "integer"}, {"name": "name"}],
        }));
        let (url, body) = filled_in(&plain, json!({"people": 4, "name": "a"})).unwrap();
        assert_eq!((url.as_str(), body), ("https://api.example.com/a", Some(json!({"people": 4}))));
    }

    #[test]
    fn a_path_selects_from_the_answer() {
        let mut of = order();
        of.result.path = Some("$.items[*].name".to_owned());
        let answer = json!({"items": [{"name": "a"}, {"name": "b"}]}).to_string();
        assert_eq!(select(&of, &answer).unwrap(), r#"["a","b"]"#);
        assert!(select(&of, "<html>").is_err());
        assert!(select(&of, "{}").unwrap().contains("nothing"));
    }
}
