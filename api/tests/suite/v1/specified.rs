//! Bodies and queries of the specification, as they stand there.

use domain::Role;
use serde_json::{Value, json};

use super::threads::{begin, member};
use super::widget::Site;
use super::{PASSWORD, Person, open};
use crate::support::TestApp;

#[tokio::test]
async fn who_registers_and_signs_in_as_in_the_text_is_told_what_is_wrong_with_its_password() {
    for app in TestApp::on_each_database("specified accounts").await {
        let as_written =
            json!({ "name": "Andrea", "email": "andrea@ejemplo.com", "password": "xxx" });
        open(&app, "/v1/auth/register", &as_written).await.expect_field("password");
        let mut body = as_written;
        body["password"] = json!(PASSWORD);
        let made = open(&app, "/v1/auth/register", &body).await.expect(201);
        assert!(made["token"].is_string() && made["user"].is_object(), "{made}");
        assert!(made["workspace"].is_object(), "{made}");
        let login = json!({ "email": "andrea@ejemplo.com", "password": "xxx" });
        open(&app, "/v1/auth/login", &login).await.expect_error(401, "WRONG_CREDENTIALS");
        let login = json!({ "email": "andrea@ejemplo.com", "password": PASSWORD });
        let signed_in = open(&app, "/v1/auth/login", &login).await.expect(200);
        assert_eq!(signed_in["user"], made["user"]);
        assert_eq!(signed_in["workspace"], made["workspace"]);
        let refresh = json!({"refreshToken": signed_in["refreshToken"]});
        let refreshed = open(&app, "/v1/auth/refresh", &refresh).await.expect(200);
        let me = Person::of(&refreshed).get(&app, "/v1/auth/me").await.expect(200);
        assert_eq!((&me["user"], &me["workspaces"]), (&made["user"], &json!([made["workspace"]])));
        let agency = json!({ "name": "Agencia Latam" });
        let andrea = Person::of(&refreshed);
        let agency = andrea.post(&app, "/v1/workspaces", &agency).await.expect(201);
        assert_eq!((&agency["name"], &agency["role"]), (&json!("Agencia Latam"), &json!("owner")));
    }
}

#[tokio::test]
async fn a_visitor_of_the_text_is_nobody_until_the_server_has_named_them() {
    for app in TestApp::on_each_database("specified visitors").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        let message = json!({
            "visitorId": "abc123",
            "conversationId": "convo123",
            "content": "Hola tengo una duda"
        });
        let form = json!({
            "visitorId": "abc123",
            "name": "Andrea",
            "email": "andrea@ejemplo.com",
            "message": "Quiero cotizar un cumpleaños"
        });
        for (path, body, status) in [("/messages", &message, 200), ("/offline", &form, 201)] {
            let told = visitor.post(&app, path, body).await.expect_error(403, "FORBIDDEN");
            assert!(told.contains("visitorId") && told.contains("/v1/widget/init"), "{told}");
            let mut body = body.clone();
            body["visitorId"] = json!(visitor.id);
            if body.as_object_mut().unwrap().remove("conversationId").is_some() {
                let mut absent = body.clone();
                absent["conversationId"] = json!("convo123");
                visitor.post(&app, path, &absent).await.expect_error(404, "NOT_FOUND");
            }
            let said = visitor.post(&app, path, &body).await.expect(status);
            assert!(said["conversationId"].is_string(), "{said}");
        }
    }
}

async fn listed(app: &TestApp, person: &Person, query: &str) -> Vec<String> {
    let list = person.get(app, &format!("/v1/conversations?{query}")).await.expect(200);
    let mut ids: Vec<String> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(list["meta"]["itemCount"], ids.len(), "{query}: {list}");
    ids.sort();
    ids
}

#[tokio::test]
async fn the_filters_of_the_text_find_what_they_name_and_nothing_else() {
    for app in TestApp::on_each_database("specified filters").await {
        let ana = member(&app, "ana", Role::Agent).await;
        let eva = member(&app, "eva", Role::Agent).await;
        let leo = member(&app, "leo", Role::Agent).await;
        let (funpark, other) = (Site::of_tenant(&app).await, Site::of_tenant(&app).await);
        let mut begun = Vec::new();
        for site in [&funpark, &funpark, &funpark, &other] {
            let said = site.visitor(&app).await.say(&app, "Hola tengo una duda").await;
            begun.push(said["conversationId"].as_str().unwrap().to_owned());
        }
        begun.push(begin(&app, "hola").await);
        let at = |place: usize, rest: &str| format!("/v1/conversations/{}{rest}", begun[place]);
        ana.post(&app, &at(1, "/close"), &Value::Null).await.expect(200);
        ana.patch(&app, &at(2, ""), &json!({"status": "pending"})).await.expect(200);
        for (place, to) in [(0, &eva), (3, &ana), (4, &eva)] {
            let body = json!({ "assignedToUserId": to.id });
            ana.post(&app, &at(place, "/assign"), &body).await.expect(200);
        }
        let (project, elsewhere) = (&funpark.id, &other.id);
        for (query, expected) in [
            // The example.
            (format!("status=open&channel=web&projectId={project}"), vec![0]),
            (format!("status=pending&channel=web&projectId={project}"), vec![2]),
            (format!("status=closed&channel=web&projectId={project}"), vec![1]),
            (format!("status=closed&channel=web&projectId={elsewhere}"), vec![]),
            (format!("status=open&channel=api&projectId={project}"), vec![]),
            ("status=open".to_owned(), vec![0, 3, 4]),
            ("channel=web".to_owned(), vec![0, 1, 2, 3]),
            ("channel=api".to_owned(), vec![4]),
            ("channel=whatsapp".to_owned(), vec![]),
            ("channel=instagram".to_owned(), vec![]),
            ("channel=facebook".to_owned(), vec![]),
            ("channel=email".to_owned(), vec![]),
            (format!("projectId={project}"), vec![0, 1, 2]),
            (format!("projectId={elsewhere}"), vec![3]),
            (format!("assignedTo={}", eva.id), vec![0, 4]),
            (format!("assignedTo={}&channel=web", eva.id), vec![0]),
            (format!("assignedTo={}&projectId={elsewhere}", eva.id), vec![]),
            (format!("assignedTo={}", leo.id), vec![]),
            ("assignedTo=me".to_owned(), vec![3]),
            ("assignedTo=unassigned".to_owned(), vec![1, 2]),
        ] {
            let mut expected: Vec<String> =
                expected.iter().map(|&place: &usize| begun[place].clone()).collect();
            expected.sort();
            assert_eq!(listed(&app, &ana, &query).await, expected, "{query}");
        }
        assert_eq!(listed(&app, &eva, "assignedTo=me").await.len(), 2);
    }
}
