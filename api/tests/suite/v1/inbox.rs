//! The inbox: the list of conversations and what people do with them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use domain::conversation::Conversation;
use domain::{Ambient, ManualClock, Role, SystemEntropy, Timestamp};
use http::Method;
use serde_json::{Value, json};
use storage::conversations;

use super::Person;
use crate::support::{PATIENCE, Reply, TestApp, read, woken};

/// Somebody with a role in the first workspace, signed in there.
async fn staff(app: &TestApp, name: &str, role: Role) -> Person {
    let person = Person::register(app, name).await;
    let mut tx = app.db.write().await.unwrap();
    let (workspace, user) = (app.tenant.workspace, person.id.parse().unwrap());
    storage::members::insert(&mut tx, workspace, user, role, app.ambient.now()).await.unwrap();
    tx.commit().await.unwrap();
    let switch = format!("/v1/workspaces/{workspace}/switch");
    Person::of(&person.post(app, &switch, &Value::Null).await.expect(200))
}

/// A new conversation, begun by a customer's message; its id.
async fn begin(app: &TestApp, query: &str) -> String {
    let answer = app.post(&app.chat_path(), &json!({"query": query})).await.expect(200);
    answer["conversationId"].as_str().unwrap().to_owned()
}

/// A further message of the customer.
async fn write(app: &TestApp, conversation: &str, query: &str) -> Value {
    let body = json!({"query": query, "conversationId": conversation});
    app.post(&app.chat_path(), &body).await.expect(200)
}

fn at(conversation: &str, rest: &str) -> String {
    format!("/v1/conversations/{conversation}{rest}")
}

async fn shown(app: &TestApp, person: &Person, conversation: &str) -> Value {
    person.get(app, &at(conversation, "")).await.expect(200)
}

async fn patch(app: &TestApp, person: &Person, conversation: &str, body: &Value) -> Reply {
    person.ask(app, Method::PATCH, &at(conversation, ""), body).await
}

/// The ids of a list.
async fn listed(app: &TestApp, person: &Person, query: &str) -> Vec<String> {
    let list = person.get(app, &format!("/v1/conversations?{query}")).await.expect(200);
    ids(&list)
}

fn ids(list: &Value) -> Vec<String> {
    let data = list["data"].as_array().unwrap().iter();
    data.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

#[tokio::test]
async fn the_bodies_of_the_text_are_taken_as_they_stand() {
    for app in TestApp::on_each_database("inbox bodies").await {
        let andrea = staff(&app, "andrea", Role::Agent).await;
        let id = begin(&app, "Hola, quiero cotizar un cumpleaños").await;

        let body = json!({
            "status": "pending",
            "assignedToUserId": andrea.id,
            "tags": ["vip", "venta"]
        });
        let changed = patch(&app, &andrea, &id, &body).await.expect(200);
        assert_eq!(changed["status"], "pending");
        assert_eq!(changed["handler"], "operator");
        assert_eq!(changed["assignee"], json!({"id": andrea.id, "name": "andrea"}));
        assert_eq!(changed["tags"], json!(["venta", "vip"]));
        assert_eq!(shown(&app, &andrea, &id).await, changed);

        let body = json!({ "assignedToUserId": andrea.id });
        let assigned = andrea.post(&app, &at(&id, "/assign"), &body).await.expect(200);
        assert_eq!(assigned["assignee"]["id"], andrea.id.as_str());
        let closed = andrea.post(&app, &at(&id, "/close"), &Value::Null).await.expect(200);
        assert_eq!(closed["status"], "closed");
        assert!(closed["closedAt"].is_string());
        let open = andrea.post(&app, &at(&id, "/reopen"), &Value::Null).await.expect(200);
        assert_eq!((&open["status"], &open["handler"]), (&json!("open"), &json!("operator")));

        // Both surfaces say the same, each in its words.
        let v2 = format!("/api/v2/conversations/{id}");
        assert_eq!(app.get(&v2).await.expect(200)["status"], "open");
        let set = json!({"status": "unresolved"});
        app.put(&format!("{v2}/status"), &set).await.expect(200);
        assert_eq!(shown(&app, &andrea, &id).await["status"], "pending");
        andrea.post(&app, &at(&id, "/close"), &Value::Null).await.expect(200);
        assert_eq!(app.get(&v2).await.expect(200)["status"], "resolved");

        let path = "status=closed&channel=api&assignedTo=me";
        assert_eq!(listed(&app, &andrea, path).await, [id.as_str()]);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_change_is_named() {
    let app = TestApp::start().await;
    let ana = staff(&app, "ana", Role::Agent).await;
    let vera = staff(&app, "vera", Role::Viewer).await;
    let id = begin(&app, "hola").await;
    for (field, body) in [
        ("status", json!({"status": "resolved"})),
        ("status", json!({})),
        ("assignedToUserId", json!({"assignedToUserId": "user123"})),
        ("assignedToUserId", json!({"assignedToUserId": vera.id})),
        ("tags[1]", json!({"tags": ["a", " "]})),
        ("tags", json!({"tags": vec!["x"; 21]})),
        ("priority", json!({"priority": "asap"})),
        ("snoozedUntil", json!({"snoozedUntil": "mañana"})),
        ("snoozedUntil", json!({"snoozedUntil": "2020-01-01T00:00:00Z"})),
        ("snoozedUntil", json!({"snoozedUntil": "2120-01-01T00:00:00Z"})),
        ("title", json!({"title": ""})),
        ("title", json!({"title": "x".repeat(201)})),
    ] {
        patch(&app, &ana, &id, &body).await.expect_field(field);
    }
    for (query, field) in [
        ("status=resolved", "status"),
        ("channel=fax", "channel"),
        ("handler=me", "handler"),
        ("assignedTo=ana", "assignedTo"),
        ("agentId=x", "agentId"),
        ("projectId=x", "projectId"),
        ("contactId=x", "contactId"),
        ("priority=1", "priority"),
        ("unread=yes", "unread"),
        ("snoozed=1", "snoozed"),
        ("criteria=%21", "criteria"),
        ("orderBy=title", "orderBy"),
        ("order=down", "order"),
        ("page=0", "page"),
        ("take=101", "take"),
        ("cursor=x", "cursor"),
    ] {
        ana.get(&app, &format!("/v1/conversations?{query}")).await.expect_field(field);
    }
    let eva = Person::register(&app, "eva").await;
    let body = json!({"assignedToUserId": eva.id});
    ana.post(&app, &at(&id, "/assign"), &body).await.expect_error(404, "NOT_FOUND");
    ana.post(&app, &at(&id, "/assign"), &json!({})).await.expect_field("assignedToUserId");
    // Another workspace's is absent, as is what never was.
    let message = eva.get(&app, &at(&id, "")).await.expect_error(404, "NOT_FOUND");
    let never = at(&format!("conv_{}", "0".repeat(32)), "");
    assert_eq!(ana.get(&app, &never).await.expect_error(404, "NOT_FOUND"), message);
    assert!(listed(&app, &eva, "").await.is_empty());
    // A key is nobody.
    app.get("/v1/conversations?unread=true").await.expect_field("unread");
    app.get("/v1/conversations?assignedTo=me").await.expect_field("assignedTo");
    assert_eq!(app.get("/v1/conversations").await.expect(200)["data"][0]["unread"], Value::Null);
    let path = at(&id, "/take-over");
    app.post(&path, &json!({})).await.expect_error(403, "FORBIDDEN");
}

#[tokio::test]
async fn of_two_who_take_over_at_once_one_has_it_and_the_other_is_told() {
    for app in TestApp::on_each_database("take over at once").await {
        let beside = app.beside().await;
        let ana = staff(&app, "ana", Role::Agent).await;
        let eva = staff(&app, "eva", Role::Agent).await;
        for _ in 0..5 {
            let id = begin(&app, "hola").await;
            let path = at(&id, "/take-over");
            let null = Value::Null;
            let (one, other) =
                tokio::join!(ana.post(&app, &path, &null), eva.post(&beside, &path, &null));
            let ((winner, won), (loser, lost)) = if one.status == 200 {
                ((&ana, one), (&eva, other))
            } else {
                ((&eva, other), (&ana, one))
            };
            let won = won.expect(200);
            assert_eq!(won["assignee"]["id"], winner.id.as_str());
            assert_eq!((&won["status"], &won["handler"]), (&json!("open"), &json!("operator")));
            let message = lost.expect_error(409, "CONVERSATION_TAKEN");
            assert!(message.contains(&winner.id), "{message}");
            // Whoever has it may say so again; the other can have it assigned.
            winner.post(&app, &path, &null).await.expect(200);
            let body = json!({"assignedToUserId": loser.id});
            let moved = loser.post(&app, &at(&id, "/assign"), &body).await.expect(200);
            assert_eq!(moved["assignee"]["id"], loser.id.as_str());
            winner.post(&app, &path, &null).await.expect_error(409, "CONVERSATION_TAKEN");
            // Nothing answers meanwhile.
            assert_eq!(write(&app, &id, "¿hay alguien?").await["answer"], "");
            assert!(shown(&app, &ana, &id).await["waitingSince"].is_string());
            let back = loser.post(&app, &at(&id, "/hand-back"), &null).await.expect(200);
            assert_eq!((&back["handler"], &back["assignee"]), (&json!("bot"), &Value::Null));
            assert_eq!(back["waitingSince"], Value::Null);
            assert_ne!(write(&app, &id, "hola").await["answer"], "");
        }
    }
}

#[tokio::test]
async fn a_stale_edit_is_refused_and_new_messages_make_none_stale() {
    for app in TestApp::on_each_database("stale edits").await {
        let ana = staff(&app, "ana", Role::Agent).await;
        let id = begin(&app, "hola").await;
        let read_once = ana.get(&app, &at(&id, "")).await;
        let tag = read_once.header("etag").to_owned();
        write(&app, &id, "¿siguen ahí?").await;
        let edit = async |tag: &str, body: Value| {
            let request = app.request_as(&ana.token, Method::PATCH, &at(&id, ""));
            read(request.header("if-match", tag).json(&body)).await
        };
        let first = edit(&tag, json!({"priority": "high"})).await;
        let now = first.header("etag").to_owned();
        assert_eq!(first.expect(200)["priority"], "high");
        edit(&tag, json!({"title": "Otra cosa"})).await.expect_error(412, "STALE");
        let both = [json!({"title": "Una"}), json!({"title": "Otra"})];
        let (one, other) = tokio::join!(edit(&now, both[0].clone()), edit(&now, both[1].clone()));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412]);
    }
}

#[tokio::test]
async fn counting_ends_at_a_thousand_of_a_search_at_two_hundred_or_behind_the_page() {
    for app in TestApp::on_each_database("inbox counted").await {
        let ana = staff(&app, "ana", Role::Agent).await;
        let workspace = app.tenant.workspace;
        let first = begin(&app, "una piñata azul").await.parse().unwrap();
        let mut tx = app.db.write().await.unwrap();
        let first = conversations::get(&mut tx, workspace, first).await.unwrap().unwrap();
        for _ in 0..1_000 {
            let another = Conversation { id: app.ambient.new_id(), ..first.clone() };
            conversations::insert(&mut tx, &another, None).await.unwrap();
        }
        tx.commit().await.unwrap();
        for (query, counted, capped) in [
            ("", 1_000, true),
            ("criteria=%20", 1_000, true),
            ("take=100&page=11", 1_001, false),
            ("criteria=pinata", 200, true),
            ("criteria=pi%C3%B1ata&take=100&page=3", 300, true),
            ("criteria=pi%C3%B1ata&take=100&page=11", 1_001, false),
            ("criteria=tambor", 0, false),
        ] {
            let list = ana.get(&app, &format!("/v1/conversations?{query}")).await.expect(200);
            let told = (&list["meta"]["itemCount"], &list["meta"]["itemCountCapped"]);
            assert_eq!(told, (&json!(counted), &json!(capped)), "{query}");
        }
    }
}

#[tokio::test]
async fn conversations_are_filtered_searched_ordered_and_paged() {
    for app in TestApp::on_each_database("inbox list").await {
        let ana = staff(&app, "ana", Role::Agent).await;
        let mut made = Vec::new();
        for text in ["una piñata azul", "horarios del domingo", "devolver entradas", "otra piñata"]
        {
            made.push(begin(&app, text).await);
        }
        let contact = json!({
            "query": "hola",
            "contact": {"firstName": "Belén", "email": "belen@ejemplo.com"}
        });
        let with_contact = app.post(&app.chat_path(), &contact).await.expect(200);
        made.push(with_contact["conversationId"].as_str().unwrap().to_owned());

        let list = ana.get(&app, "/v1/conversations").await.expect(200);
        assert_eq!(list["meta"]["itemCount"], 5);
        assert_eq!(list["meta"]["itemCountCapped"], false);
        let newest = &list["data"][0];
        assert_eq!(newest["contact"]["name"], "Belén");
        assert_eq!(newest["contact"]["email"], "belen@ejemplo.com");
        assert_eq!(newest["lastMessage"]["author"], "agent");
        // Of the customer; what the agent answered is nobody's to read.
        assert_eq!(newest["unread"], 1);
        let contact = newest["contact"]["id"].as_str().unwrap().to_owned();

        for (query, expected) in [
            ("criteria=pi%C3%B1ata", vec![0, 3]),
            ("criteria=PINATA%20azul", vec![0]),
            ("criteria=belen", vec![4]),
            ("criteria=nadie", vec![]),
            (&format!("contactId={contact}"), vec![4]),
            ("channel=web", vec![]),
            ("handler=bot&status=open&assignedTo=unassigned", vec![0, 1, 2, 3, 4]),
            ("orderBy=createdAt&order=ASC", vec![0, 1, 2, 3, 4]),
            ("unread=true&snoozed=any", vec![0, 1, 2, 3, 4]),
            ("assignedTo=me", vec![]),
            (&format!("projectId=proj_{}", "0".repeat(32)), vec![]),
        ] {
            let expected: Vec<String> =
                expected.iter().map(|&at: &usize| made[at].clone()).collect();
            let found = listed(&app, &ana, query).await;
            assert_eq!(sorted(found), sorted(expected), "{query}");
        }
        patch(&app, &ana, &made[2], &json!({"priority": "urgent", "tags": ["VIP"]}))
            .await
            .expect(200);
        patch(&app, &ana, &made[1], &json!({"priority": "low"})).await.expect(200);
        assert_eq!(listed(&app, &ana, "tag=vip&priority=urgent").await, [made[2].as_str()]);
        let by_priority = listed(&app, &ana, "orderBy=priority").await;
        assert_eq!((&by_priority[0], &by_priority[4]), (&made[2], &made[1]));

        // By what it is called now, and by what was said: the title was the first words of it.
        patch(&app, &ana, &made[1], &json!({"title": "Feriados"})).await.expect(200);
        patch(&app, &ana, &made[1], &json!({"title": "Cerrado por obra"})).await.expect(200);
        for (criteria, expected) in [
            ("feriados", vec![]),
            ("horarios", vec![made[1].clone()]),
            ("obra", vec![made[1].clone()]),
        ] {
            let found = listed(&app, &ana, &format!("criteria={criteria}")).await;
            assert_eq!(found, expected, "{criteria}");
        }

        let whole = listed(&app, &ana, "").await;
        let page = ana.get(&app, "/v1/conversations?take=2&page=2").await.expect(200);
        assert_eq!(ids(&page), whole[2..4]);
        assert_eq!(page["meta"]["pageCount"], 3);
        assert_eq!(page["meta"]["hasPreviousPage"], true);
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/conversations?take=2{cursor}");
            let page = ana.get(&app, &path).await.expect(200);
            walked.extend(ids(&page));
            let Some(next) = page["meta"]["nextCursor"].as_str() else { break };
            // What is written meanwhile goes to the front, and nothing comes twice.
            write(&app, walked.last().unwrap(), "hola").await;
            let other = format!("/v1/conversations?order=ASC&cursor={next}");
            ana.get(&app, &other).await.expect_field("cursor");
            cursor = format!("&cursor={next}");
        }
        assert_eq!(walked, whole);
        let once: BTreeSet<&String> = walked.iter().collect();
        assert_eq!(once.len(), 5);
        let behind = ana.get(&app, "/v1/conversations?page=9").await.expect(200);
        assert_eq!((&behind["data"], &behind["meta"]["itemCount"]), (&json!([]), &json!(5)));
    }
}

#[tokio::test]
async fn what_is_put_off_is_hidden_until_its_time_or_until_the_customer_writes() {
    for database in testkit::db::databases("putting off").await {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let ambient = Ambient::new(clock.clone(), Arc::new(SystemEntropy));
        let app = TestApp::with_ambient(database, ambient, |_| {}).await;
        let ana = staff(&app, "ana", Role::Agent).await;
        let (first, second) = (begin(&app, "hola").await, begin(&app, "hola").await);
        let until = app.ambient.now().plus(Duration::from_mins(5)).to_rfc3339();
        for id in [&first, &second] {
            let off = patch(&app, &ana, id, &json!({"snoozedUntil": until})).await.expect(200);
            assert_eq!(off["snoozedUntil"], until.as_str());
        }
        assert!(listed(&app, &ana, "status=open").await.is_empty());
        assert_eq!(listed(&app, &ana, "snoozed=true").await.len(), 2);
        assert_eq!(listed(&app, &ana, "criteria=hola").await.len(), 2);
        write(&app, &second, "¿y bien?").await;
        assert_eq!(listed(&app, &ana, "").await, [second.as_str()]);

        let mut wakeups = app.db.wakeups();
        clock.advance(Duration::from_mins(5));
        // The runner looks again when another job is wanted.
        let later = app.ambient.now().plus(Duration::from_hours(1)).to_rfc3339();
        patch(&app, &ana, &second, &json!({"snoozedUntil": later})).await.expect(200);
        let waiting = async {
            while shown(&app, &ana, &first).await["snoozedUntil"] != Value::Null {
                woken(&mut wakeups).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it comes back");
        ana.post(&app, &at(&first, "/close"), &Value::Null).await.expect(200);
        let until = app.ambient.now().plus(Duration::from_mins(5)).to_rfc3339();
        let body = json!({"snoozedUntil": until});
        patch(&app, &ana, &first, &body).await.expect_error(409, "CONVERSATION_CLOSED");
    }
}

#[tokio::test]
async fn a_customer_who_writes_after_the_end_begins_anew_with_the_agent() {
    for app in TestApp::on_each_database("writing after the end").await {
        let ana = staff(&app, "ana", Role::Agent).await;
        let id = begin(&app, "hola").await;
        ana.post(&app, &at(&id, "/take-over"), &Value::Null).await.expect(200);
        ana.post(&app, &at(&id, "/close"), &Value::Null).await.expect(200);
        assert_ne!(write(&app, &id, "hola de nuevo").await["answer"], "");
        let open = shown(&app, &ana, &id).await;
        assert_eq!((&open["status"], &open["handler"]), (&json!("open"), &json!("bot")));
        assert_eq!(open["assignee"], Value::Null);
    }
}

#[tokio::test]
async fn many_are_changed_at_once_and_one_that_cannot_be_stops_none() {
    for app in TestApp::on_each_database("bulk").await {
        let ana = staff(&app, "ana", Role::Agent).await;
        let mut made = Vec::new();
        for _ in 0..3 {
            made.push(begin(&app, "hola").await);
        }
        let path = "/v1/conversations/bulk";
        let bulk = async |body: Value| ana.post(&app, path, &body).await.expect(200);
        let given = json!([made[0], "conv_nada", made[1], made[0]]);
        let closed = bulk(json!({"ids": given, "action": "close"})).await;
        assert_eq!(closed["meta"], json!({"done": 2, "failed": 1, "more": false}));
        let data = closed["data"].as_array().unwrap();
        assert_eq!(data[0], json!({"id": made[0], "done": true}));
        assert_eq!(data[1]["error"]["code"], "NOT_FOUND");
        assert_eq!(listed(&app, &ana, "status=closed").await.len(), 2);

        let until = app.ambient.now().plus(Duration::from_hours(1)).to_rfc3339();
        let off = json!({"ids": made, "action": "snooze", "snoozedUntil": until});
        let off = bulk(off).await;
        assert_eq!(off["meta"]["failed"], 2, "closed ones are not put off");
        assert_eq!(off["data"][0]["error"]["code"], "CONVERSATION_CLOSED");

        for (body, query) in [
            (json!({"action": "reopen"}), "status=open&snoozed=any"),
            (json!({"action": "snooze", "snoozedUntil": null}), "status=open"),
            (json!({"action": "assign", "assignedToUserId": ana.id}), "assignedTo=me"),
            (json!({"action": "tag", "tags": ["Uno", "dos"]}), "tag=uno"),
            (json!({"action": "tag", "tags": ["tres"]}), "tag=DOS"),
            (json!({"action": "priority", "priority": "high"}), "priority=high"),
            (json!({"action": "untag", "tags": ["UNO"]}), "tag=tres"),
            (json!({"action": "assign", "assignedToUserId": null}), "handler=queue"),
            (json!({"action": "hand-back"}), "handler=bot"),
        ] {
            let mut body = body;
            body["filter"] = json!({"snoozed": "any"});
            let done = bulk(body.clone()).await;
            assert_eq!(done["meta"], json!({"done": 3, "failed": 0, "more": false}), "{body}");
            assert_eq!(listed(&app, &ana, query).await.len(), 3, "{body}");
        }
        assert!(listed(&app, &ana, "tag=uno").await.is_empty());
        for (body, field) in [
            (json!({"action": "close"}), "ids"),
            (json!({"ids": [], "action": "close"}), "ids"),
            (json!({"ids": vec!["x"; 101], "action": "close"}), "ids"),
            (json!({"ids": ["x"], "filter": {}, "action": "close"}), "filter"),
            (json!({"ids": ["x"], "action": "burn"}), "action"),
            (json!({"ids": ["x"], "action": "tag"}), "tags"),
            (json!({"ids": ["x"], "action": "assign"}), "assignedToUserId"),
            (json!({"ids": ["x"], "action": "priority"}), "priority"),
            (json!({"ids": ["x"], "action": "snooze"}), "snoozedUntil"),
            (json!({"filter": {"status": "resolved"}, "action": "close"}), "filter.status"),
            (json!({"filter": {"assignedTo": "x"}, "action": "close"}), "assignedTo"),
        ] {
            ana.post(&app, path, &body).await.expect_field(field);
        }
    }
}

#[tokio::test]
async fn tags_are_managed_and_counted() {
    for app in TestApp::on_each_database("tags").await {
        let ana = staff(&app, "ana", Role::Admin).await;
        let made = ana.post(&app, "/v1/tags", &json!({"name": " VIP ", "colour": "#00AEEF"})).await;
        let made = made.expect(201);
        assert_eq!((&made["name"], &made["colour"]), (&json!("VIP"), &json!("#00aeef")));
        let again = ana.post(&app, "/v1/tags", &json!({"name": "vip"})).await;
        again.expect_error(409, "NAME_TAKEN");
        for (body, field) in [
            (json!({"name": ""}), "name"),
            (json!({"name": "x".repeat(51)}), "name"),
            (json!({"name": "x", "colour": "blue"}), "colour"),
        ] {
            ana.post(&app, "/v1/tags", &body).await.expect_field(field);
        }
        let id = begin(&app, "hola").await;
        patch(&app, &ana, &id, &json!({"tags": ["vip", "nueva"]})).await.expect(200);
        let all = ana.get(&app, "/v1/tags").await.expect(200);
        let names: Vec<_> = all["data"].as_array().unwrap().iter().map(|t| &t["name"]).collect();
        assert_eq!(names, ["nueva", "VIP"]);
        assert_eq!(all["data"][1]["conversations"], 1);

        let path = format!("/v1/tags/{}", made["id"].as_str().unwrap());
        let tag = ana.get(&app, &path).await.header("etag").to_owned();
        let rename = json!({"name": "Importante", "colour": null});
        let renamed = ana.ask(&app, Method::PATCH, &path, &rename).await.expect(200);
        assert_eq!((&renamed["colour"], &renamed["conversations"]), (&Value::Null, &json!(1)));
        let stale = app.request_as(&ana.token, Method::DELETE, &path).header("if-match", &tag);
        read(stale).await.expect_error(412, "STALE");
        let taken = ana.ask(&app, Method::PATCH, &path, &json!({"name": "Nueva"})).await;
        taken.expect_error(409, "NAME_TAKEN");
        assert_eq!(shown(&app, &ana, &id).await["tags"], json!(["Importante", "nueva"]));
        ana.ask(&app, Method::DELETE, &path, &Value::Null).await.expect(204);
        ana.get(&app, &path).await.expect_error(404, "NOT_FOUND");
        assert_eq!(shown(&app, &ana, &id).await["tags"], json!(["nueva"]));
    }
}

#[tokio::test]
async fn what_asks_for_a_person_is_handed_out_in_turn_also_by_two_processes() {
    for app in TestApp::on_each_database("handing out").await {
        let beside = app.beside().await;
        let agent = format!("/api/v2/agents/{}", app.tenant.agent);
        let tools = json!({"tools": ["datastore", "request-human"]});
        app.put(&agent, &tools).await.expect(200);
        let ana = staff(&app, "ana", Role::Admin).await;
        let eva = staff(&app, "eva", Role::Agent).await;
        let in_workspace = |rest: &str| format!("/v1/workspaces/{}/{rest}", app.tenant.workspace);
        let settings = in_workspace("inbox-settings");
        assert_eq!(
            ana.get(&app, &settings).await.expect(200),
            json!({"assignment": "off", "mostOpen": null})
        );
        let asking = json!({"query": "Quiero hablar con una persona"});
        let ask = async |app: &TestApp| {
            let answer = app.post(&app.chat_path(), &asking).await.expect(200);
            answer["conversationId"].as_str().unwrap().to_owned()
        };
        let early = ask(&app).await;
        assert_eq!(shown(&app, &ana, &early).await["handler"], "queue");

        // What waits is handed out as soon as the settings allow it.
        let change = json!({"assignment": "least-busy", "mostOpen": 3});
        ana.ask(&app, Method::PATCH, &settings, &change).await.expect(200);
        assert_eq!(shown(&app, &ana, &early).await["handler"], "operator");
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (a, b) = tokio::join!(ask(&app), ask(&beside));
            one.push(a);
            other.push(b);
        }
        let path = in_workspace("availability");
        let there = ana.get(&app, &path).await.expect(200);
        let open: Vec<_> = there["data"].as_array().unwrap().iter().map(|m| &m["open"]).collect();
        assert_eq!(open, [3, 3], "{there}");
        assert_eq!(listed(&app, &ana, "handler=queue").await.len(), 1);

        // Somebody who is away is given none of what others close.
        let away = json!({"availability": "away"});
        eva.ask(&app, Method::PUT, &path, &away).await.expect(200);
        let of_eva = listed(&app, &eva, "assignedTo=me").await;
        eva.post(&app, &at(&of_eva[0], "/close"), &Value::Null).await.expect(200);
        assert_eq!(listed(&app, &ana, "handler=queue&status=pending").await.len(), 1);
        let online = json!({"availability": "online"});
        eva.ask(&app, Method::PUT, &path, &online).await.expect(200);
        assert!(listed(&app, &ana, "handler=queue").await.is_empty());
        let counts = eva.get(&app, "/v1/conversations/counts").await.expect(200);
        assert_eq!((&counts["mine"], &counts["open"]), (&json!(3), &json!(6)));
        assert_eq!(counts["byChannel"], json!({"api": 6}));
        for (body, field) in
            [(json!({"mostOpen": 0}), "mostOpen"), (json!({"assignment": "x"}), "assignment")]
        {
            ana.ask(&app, Method::PATCH, &settings, &body).await.expect_field(field);
        }
    }
}

#[tokio::test]
async fn whoever_leaves_or_only_reads_from_now_on_gives_their_conversations_back() {
    for app in TestApp::on_each_database("leaving members").await {
        let ana = staff(&app, "ana", Role::Owner).await;
        let workspace = format!("/v1/workspaces/{}", app.tenant.workspace);
        for (name, change) in [("eva", None), ("leo", Some(json!({"role": "viewer"})))] {
            let member = staff(&app, name, Role::Agent).await;
            let id = begin(&app, "hola").await;
            member.post(&app, &at(&id, "/take-over"), &Value::Null).await.expect(200);
            let path = format!("{workspace}/members/{}", member.id);
            match change {
                None => ana.ask(&app, Method::DELETE, &path, &Value::Null).await.expect(204),
                Some(role) => ana.ask(&app, Method::PATCH, &path, &role).await.expect(200),
            };
            let waits = shown(&app, &ana, &id).await;
            assert_eq!((&waits["handler"], &waits["assignee"]), (&json!("queue"), &Value::Null));
        }
    }
}

#[tokio::test]
async fn what_somebody_leaves_behind_is_given_to_others_at_once() {
    for app in TestApp::on_each_database("left behind").await {
        let ana = staff(&app, "ana", Role::Owner).await;
        let workspace = format!("/v1/workspaces/{}", app.tenant.workspace);
        let settings = json!({"assignment": "least-busy", "mostOpen": 3});
        let path = format!("{workspace}/inbox-settings");
        ana.ask(&app, Method::PATCH, &path, &settings).await.expect(200);
        let mut held = Vec::new();
        for name in ["eva", "leo", "mia"] {
            let member = staff(&app, name, Role::Agent).await;
            let id = begin(&app, "hola").await;
            member.post(&app, &at(&id, "/take-over"), &Value::Null).await.expect(200);
            held.push((member, id));
        }
        let [(eva, of_eva), (leo, of_leo), (mia, of_mia)] = held.try_into().ok().unwrap();
        // Those who stay have fewer than ana.
        for _ in 0..2 {
            let id = begin(&app, "hola").await;
            ana.post(&app, &at(&id, "/take-over"), &Value::Null).await.expect(200);
        }
        let has = async |id: &str| {
            let shown = shown(&app, &ana, id).await;
            (shown["handler"].clone(), shown["assignee"]["id"].clone())
        };
        let of = |person: &Person| (json!("operator"), json!(person.id));
        let away = json!({"availability": "away"});
        let path = format!("{workspace}/availability");
        mia.ask(&app, Method::PUT, &path, &away).await.expect(200);
        let path = format!("{workspace}/members/{}", eva.id);
        ana.ask(&app, Method::DELETE, &path, &Value::Null).await.expect(204);
        assert_eq!(has(&of_eva).await, of(&leo));
        let path = format!("{workspace}/members/{}", leo.id);
        ana.ask(&app, Method::PATCH, &path, &json!({"role": "viewer"})).await.expect(200);
        let now = [has(&of_eva).await, has(&of_leo).await];
        // Ana takes one up to her limit; the other waits.
        assert_eq!(now, [of(&ana), (json!("queue"), Value::Null)]);
        let path = format!("{workspace}/leave");
        mia.post(&app, &path, &Value::Null).await.expect(204);
        assert_eq!(has(&of_mia).await, (json!("queue"), Value::Null));
        let closed = listed(&app, &ana, "assignedTo=me").await;
        ana.post(&app, &at(&closed[0], "/close"), &Value::Null).await.expect(200);
        assert_eq!(listed(&app, &ana, "handler=queue").await.len(), 1);
    }
}

#[tokio::test]
async fn an_answer_takes_what_nobody_has_and_leaves_what_somebody_has() {
    for app in TestApp::on_each_database("answers take over").await {
        let ana = staff(&app, "ana", Role::Agent).await;
        let eva = staff(&app, "eva", Role::Agent).await;
        let id = begin(&app, "hola").await;
        let body = json!({
            "content": "Hola, soy Andrea, te ayudo con esto.",
            "type": "text"
        });
        let path = at(&id, "/messages");
        ana.post(&app, &path, &body).await.expect(201);
        eva.post(&app, &path, &body).await.expect(201);
        let has = shown(&app, &ana, &id).await;
        assert_eq!(has["assignee"]["id"], ana.id.as_str());
        assert_eq!(has["lastMessage"]["author"], "operator");
        assert_eq!(has["waitingSince"], Value::Null);
    }
}

#[tokio::test]
async fn each_is_given_one_in_turn_however_many_they_have() {
    for app in TestApp::on_each_database("round robin").await {
        let beside = app.beside().await;
        let agent = format!("/api/v2/agents/{}", app.tenant.agent);
        app.put(&agent, &json!({"tools": ["datastore", "request-human"]})).await.expect(200);
        let ana = staff(&app, "ana", Role::Admin).await;
        let (eva, leo) =
            (staff(&app, "eva", Role::Agent).await, staff(&app, "leo", Role::Agent).await);
        staff(&app, "vera", Role::Viewer).await;
        let settings = format!("/v1/workspaces/{}/inbox-settings", app.tenant.workspace);
        let change = json!({"assignment": "round-robin"});
        let set = ana.ask(&app, Method::PATCH, &settings, &change).await.expect(200);
        assert_eq!(set, json!({"assignment": "round-robin", "mostOpen": null}));
        let given = async |process: &TestApp| {
            let asking = json!({"query": "Quiero hablar con una persona"});
            let answer = process.post(&process.chat_path(), &asking).await.expect(200);
            let id = answer["conversationId"].as_str().unwrap().to_owned();
            let assignee = shown(&app, &ana, &id).await["assignee"]["id"].clone();
            (id, assignee.as_str().unwrap_or_default().to_owned())
        };
        let mut turns = Vec::new();
        for process in [&app, &beside, &app, &beside, &app, &beside] {
            turns.push(given(process).await);
        }
        let who: Vec<&str> = turns.iter().map(|(_, who)| who.as_str()).collect();
        assert_eq!(who[..3], who[3..], "one after the other, whichever process hands out");
        let all: BTreeSet<&str> = who.iter().copied().collect();
        let members = BTreeSet::from([ana.id.as_str(), eva.id.as_str(), leo.id.as_str()]);
        assert_eq!(all, members, "viewers are given none");
        // Whoever has none is not preferred: it is the next one's turn.
        for place in [2, 5] {
            ana.post(&app, &at(&turns[place].0, "/close"), &Value::Null).await.expect(200);
        }
        assert_eq!(given(&app).await.1, who[0]);
        // Whoever is away is passed over.
        let second = [&ana, &eva, &leo].into_iter().find(|person| person.id == who[1]).unwrap();
        let path = format!("/v1/workspaces/{}/availability", app.tenant.workspace);
        let away = json!({"availability": "away"});
        second.ask(&app, Method::PUT, &path, &away).await.expect(200);
        assert_eq!(given(&beside).await.1, who[2]);
        assert_eq!(given(&app).await.1, who[0]);
    }
}
