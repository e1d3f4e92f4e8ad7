//! Projects, their site keys, and where their visitors are.

use std::time::Duration;

use domain::conversation::Conversation;
use domain::message::Author;
use domain::widget::{Theme, Widget};
use domain::workspace::{Project, SiteIdentity};
use domain::{ProjectId, VisitorId};
use storage::messages::NewMessage;
use storage::projects::RetiredKey;
use storage::visits::Visit;
use storage::{StorageError, conversations, messages, projects, secrets, visits};

use crate::conversations::{conversation, message};
use crate::support::{Place, places};

const HOUR: Duration = Duration::from_hours(1);

async fn new_project(place: &Place, name: &str) -> Project {
    place.later(Duration::from_millis(1));
    let mut project = Project::new(&place.ambient, name, false);
    project.domain = Some("https://funpark.cl".to_owned());
    project.allowed_origins = vec!["https://funpark.cl".to_owned()];
    let mut tx = place.write().await;
    projects::insert(&mut tx, place.ws(), &project).await.unwrap();
    tx.commit().await.unwrap();
    project
}

#[tokio::test]
async fn projects_are_kept_listed_changed_and_removed() {
    for place in places("projects").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let mut project = new_project(&place, "Funpark").await;
        let mut conn = place.read().await;
        assert_eq!(
            projects::get(&mut conn, ws, project.id).await.unwrap().as_ref(),
            Some(&project)
        );
        assert_eq!(projects::get(&mut conn, stranger, project.id).await.unwrap(), None);
        let all = projects::list(&mut conn, ws).await.unwrap();
        assert_eq!(all, [place.home.project.clone(), project.clone()]);
        drop(conn);

        project.name = "Otro".to_owned();
        project.domain = None;
        project.allowed_origins.clear();
        project.widget = Widget { theme: Theme::Dark, ..Widget::default() };
        project.identity = Some(SiteIdentity { secret: "v1:sealed".to_owned(), version: 3 });
        project.updated_at = place.later(HOUR);
        let mut tx = place.write().await;
        assert!(!projects::update(&mut tx, stranger, &project).await.unwrap());
        assert!(projects::update(&mut tx, ws, &project).await.unwrap());
        let locked = projects::lock(&mut tx, ws, project.id).await.unwrap();
        assert_eq!(locked.as_ref(), Some(&project));
        assert_eq!(projects::lock(&mut tx, stranger, project.id).await.unwrap(), None);
        assert!(!projects::delete(&mut tx, stranger, project.id).await.unwrap());
        assert!(projects::delete(&mut tx, ws, project.id).await.unwrap());
        let born = place.home.project.id;
        assert!(!projects::delete(&mut tx, ws, born).await.unwrap(), "it stays");
        tx.commit().await.unwrap();
        let mut tx = place.write().await;
        let taken = Project { site_key: place.home.project.site_key.clone(), ..project };
        let refused = projects::insert(&mut tx, ws, &taken).await.unwrap_err();
        assert!(matches!(refused, StorageError::Conflict(_)), "{refused}");
    }
}

async fn rotate(place: &Place, id: ProjectId, key: &str, grace: Duration) {
    let now = place.now();
    let mut tx = place.write().await;
    let project = projects::lock(&mut tx, place.ws(), id).await.unwrap().unwrap();
    let until = now.plus(grace);
    projects::rotate_site_key(&mut tx, place.ws(), &project, key, until, now).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_replaced_site_key_opens_for_a_while() {
    for place in places("site keys").await {
        let project = new_project(&place, "Funpark").await;
        let finds = async |key: &str| {
            let mut conn = place.read().await;
            let found = projects::find_by_site_key(&mut conn, key, place.now()).await.unwrap();
            found.map(|(workspace, found)| {
                assert_eq!((workspace, found.id), (place.ws(), project.id));
                found.site_key
            })
        };
        let first = project.site_key.as_str();
        assert_eq!(finds(first).await.as_deref(), Some(first));
        assert_eq!(finds("site_x").await, None);

        rotate(&place, project.id, "site_2", 2 * HOUR).await;
        place.later(HOUR);
        assert_eq!(finds(first).await.as_deref(), Some("site_2"), "it is the same project");
        rotate(&place, project.id, "site_3", 24 * HOUR).await;
        let mut conn = place.read().await;
        let retired = async |conn: &mut storage::Conn| {
            projects::retired_keys(conn, place.ws(), project.id, place.now()).await.unwrap()
        };
        let now = place.now();
        let key = |key: &str, valid_until| RetiredKey { site_key: key.to_owned(), valid_until };
        assert_eq!(
            retired(&mut conn).await,
            [key(first, now.plus(HOUR)), key("site_2", now.plus(24 * HOUR))]
        );
        let foreign = projects::retired_keys(&mut conn, place.stranger(), project.id, now).await;
        assert_eq!(foreign.unwrap(), []);
        drop(conn);
        place.later(HOUR);
        assert_eq!(finds(first).await, None, "its time is over");
        assert_eq!(finds("site_2").await.as_deref(), Some("site_3"));

        rotate(&place, project.id, "site_4", Duration::ZERO).await;
        assert_eq!((finds("site_2").await, finds("site_3").await), (None, None));
        assert_eq!(finds("site_4").await.as_deref(), Some("site_4"));
    }
}

#[tokio::test]
async fn an_origin_is_let_in_by_a_project_that_names_it_or_names_none() {
    for place in places("origins").await {
        let lets_in =
            async |origin: &str| projects::lets_in(&mut place.read().await, origin).await.unwrap();
        new_project(&place, "Funpark").await;
        assert!(lets_in("https://other.cl").await, "by the projects that name none");
        let mut tx = place.write().await;
        for (ws, project) in
            [(place.ws(), &place.home.project), (place.stranger(), &place.other.project)]
        {
            let named = Project {
                allowed_origins: vec!["https://x.cl:8443".to_owned()],
                ..project.clone()
            };
            assert!(projects::update(&mut tx, ws, &named).await.unwrap());
        }
        tx.commit().await.unwrap();
        assert!(lets_in("https://funpark.cl").await && lets_in("https://x.cl:8443").await);
        for stranger in
            ["https://other.cl", "https://x.cl", "https://x.cl:844", "unpark.cl", "\"", ""]
        {
            assert!(!lets_in(stranger).await, "{stranger}");
        }
    }
}

#[tokio::test]
async fn where_a_conversation_began_is_known_and_outlives_the_site() {
    for place in places("visits").await {
        let (ws, project) = (place.ws(), new_project(&place, "Funpark").await);
        let visitor = VisitorId::parse("visitor_1").unwrap();
        let visit = Visit {
            page_url: Some("https://funpark.cl/contacto".to_owned()),
            user_agent: Some("Firefox".to_owned()),
        };
        let conversation = Conversation {
            visitor_id: Some(visitor.clone()),
            project_id: Some(project.id),
            ..conversation(&place)
        };
        let mut tx = place.write().await;
        let earlier = Visit::default();
        visits::note(&mut tx, ws, project.id, &visitor, &earlier, place.now()).await.unwrap();
        visits::note(&mut tx, ws, project.id, &visitor, &visit, place.now()).await.unwrap();
        conversations::insert(&mut tx, &conversation, None).await.unwrap();
        visits::describe(&mut tx, place.stranger(), conversation.id).await.unwrap();
        tx.commit().await.unwrap();
        let known = async |ws| {
            let mut conn = place.read().await;
            visits::of_conversations(&mut conn, ws, &[conversation.id]).await.unwrap()
        };
        assert_eq!(known(ws).await, []);
        let mut tx = place.write().await;
        visits::describe(&mut tx, ws, conversation.id).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(known(ws).await, [(conversation.id, visit.clone())]);
        assert_eq!(known(place.stranger()).await, []);

        let mut tx = place.write().await;
        assert!(projects::delete(&mut tx, ws, project.id).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let left = conversations::get(&mut conn, ws, conversation.id).await.unwrap().unwrap();
        assert_eq!(left, Conversation { project_id: None, ..conversation.clone() });
        drop(conn);
        assert_eq!(known(ws).await, [(conversation.id, visit)]);
    }
}

#[tokio::test]
async fn a_visitors_conversations_are_found_on_their_site_only() {
    for place in places("visitors' conversations").await {
        let (ws, project) = (place.ws(), new_project(&place, "Funpark").await);
        let visitor = VisitorId::parse("visitor_1").unwrap();
        let begin = async |project, visitor: &VisitorId| {
            let begun = Conversation {
                visitor_id: Some(visitor.clone()),
                project_id: project,
                ..conversation(&place)
            };
            let mut tx = place.write().await;
            conversations::insert(&mut tx, &begun, None).await.unwrap();
            tx.commit().await.unwrap();
            begun
        };
        let first = begin(Some(project.id), &visitor).await;
        begin(Some(place.home.project.id), &visitor).await;
        begin(None, &visitor).await;
        begin(Some(project.id), &VisitorId::parse("visitor_2").unwrap()).await;
        let second = begin(Some(project.id), &visitor).await;
        let named = NewMessage {
            client_id: Some("m-1".to_owned()),
            ..message(&place, first.id, Author::Customer, "Hola")
        };
        let plain = message(&place, first.id, Author::Agent, "Hola");
        let mut tx = place.write().await;
        for message in [&named, &plain] {
            messages::insert(&mut tx, ws, message, place.now()).await.unwrap();
        }
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        let of = async |conn: &mut storage::Conn, ws, limit| {
            let found = conversations::of_visitor(conn, ws, project.id, &visitor, limit).await;
            let found = found.unwrap().into_iter();
            found.map(|(conversation, last)| (conversation.id, last)).collect::<Vec<_>>()
        };
        assert_eq!(of(&mut conn, ws, 9).await, [(second.id, 0), (first.id, 2)]);
        assert_eq!(of(&mut conn, ws, 1).await, [(second.id, 0)]);
        assert_eq!(of(&mut conn, place.stranger(), 9).await, []);
        let ids = [named.message.id, plain.message.id];
        let known = messages::client_ids(&mut conn, ws, &ids).await.unwrap();
        assert_eq!(known, [(named.message.id, "m-1".to_owned())]);
        let foreign = messages::client_ids(&mut conn, place.stranger(), &ids).await.unwrap();
        assert_eq!(foreign, []);
        for (ws, conversation, found) in [
            (ws, first.id, Some(named.message.id)),
            (ws, second.id, None),
            (place.stranger(), first.id, None),
        ] {
            let message = messages::of_client_in(&mut conn, ws, conversation, "m-1").await;
            assert_eq!(message.unwrap().map(|message| message.id), found);
        }
    }
}

#[tokio::test]
async fn a_secret_sealed_anew_takes_the_place_of_the_one_it_was() {
    for place in places("identity secrets").await {
        let (ws, mut project) = (place.ws(), new_project(&place, "Funpark").await);
        project.identity = Some(SiteIdentity { secret: "v1:old".to_owned(), version: 1 });
        let mut tx = place.write().await;
        assert!(projects::update(&mut tx, ws, &project).await.unwrap());
        for (ws, before, replaced) in
            [(place.stranger(), "v1:old", false), (ws, "v1:x", false), (ws, "v1:old", true)]
        {
            let done = secrets::replace_identity_secret(&mut tx, ws, project.id, before, "v1:new");
            assert_eq!(done.await.unwrap(), replaced);
        }
        tx.commit().await.unwrap();
        let now = projects::get(&mut place.read().await, ws, project.id).await.unwrap().unwrap();
        let identity = SiteIdentity { secret: "v1:new".to_owned(), version: 1 };
        assert_eq!(now.identity, Some(identity));
    }
}

#[tokio::test]
async fn visitors_who_do_not_come_back_are_forgotten() {
    for place in places("old visits").await {
        let (ws, project) = (place.ws(), place.home.project.id);
        let [old, new] = ["old", "new"].map(|name| VisitorId::parse(name).unwrap());
        let visit = Visit { page_url: Some("https://funpark.cl".to_owned()), user_agent: None };
        let note = async |visitor: &VisitorId| {
            let mut tx = place.write().await;
            visits::note(&mut tx, ws, project, visitor, &visit, place.now()).await.unwrap();
            tx.commit().await.unwrap();
        };
        note(&old).await;
        place.later(181 * 24 * HOUR);
        note(&new).await;
        for (visitor, known) in [(old, 0), (new, 1)] {
            let conversation =
                Conversation { visitor_id: Some(visitor.clone()), ..conversation(&place) };
            let mut tx = place.write().await;
            conversations::insert(&mut tx, &conversation, None).await.unwrap();
            visits::describe(&mut tx, ws, conversation.id).await.unwrap();
            tx.commit().await.unwrap();
            let mut conn = place.read().await;
            let found = visits::of_conversations(&mut conn, ws, &[conversation.id]).await.unwrap();
            assert_eq!(found.len(), known, "{visitor}");
        }
        let late = place.later(HOUR);
        let mut tx = place.write().await;
        assert_eq!(visits::forget(&mut tx, place.stranger(), late, 9).await.unwrap(), 0);
        assert_eq!(visits::forget(&mut tx, ws, late, 9).await.unwrap(), 1);
        assert_eq!(visits::forget(&mut tx, ws, late, 9).await.unwrap(), 0);
        tx.commit().await.unwrap();
    }
}
