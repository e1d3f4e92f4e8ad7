//! People, their sessions, the members of workspaces.

use std::time::Duration;

use domain::user::{Session, User};
use domain::{Actor, Role, SessionId, UserId};
use serde_json::json;
use storage::audit::{AuditEntry, AuditFilter, Author, Change};
use storage::members::MemberChange;
use storage::{StorageError, audit, members, sessions, users, workspaces};

use crate::support::{Place, places};

const DAY: Duration = Duration::from_hours(24);

pub async fn person(place: &Place, name: &str) -> User {
    let email = format!("{name}@ejemplo.com");
    let user = User::new(place.ambient.new_id(), name.to_owned(), email, place.now());
    let mut tx = place.write().await;
    users::insert(&mut tx, &user, "$hash").await.unwrap();
    tx.commit().await.unwrap();
    user
}

async fn session(place: &Place, user: UserId, token: [u8; 32]) -> Session {
    let now = place.now();
    let session = Session {
        id: place.ambient.new_id(),
        user_id: user,
        workspace_id: Some(place.ws()),
        user_agent: "curl/8".to_owned(),
        created_at: now,
        used_at: now,
        expires_at: now.plus(30 * DAY),
        revoked_at: None,
    };
    let mut tx = place.write().await;
    sessions::insert(&mut tx, &session, &token).await.unwrap();
    tx.commit().await.unwrap();
    session
}

#[tokio::test]
async fn a_person_is_found_by_address_and_changes_a_password_once() {
    for place in places("people").await {
        let ana = person(&place, "ana").await;
        let mut conn = place.read().await;
        assert_eq!(users::get(&mut conn, ana.id).await.unwrap(), Some(ana.clone()));
        assert_eq!(users::get(&mut conn, place.ambient.new_id()).await.unwrap(), None);
        let found = users::by_email(&mut conn, "ana@ejemplo.com").await.unwrap().unwrap();
        assert_eq!((found.user, found.password_hash.as_str()), (ana.clone(), "$hash"));
        assert_eq!(users::by_email(&mut conn, "otra@ejemplo.com").await.unwrap(), None);
        drop(conn);

        let twin = User { id: place.ambient.new_id(), ..ana.clone() };
        let mut tx = place.write().await;
        let refused = users::insert(&mut tx, &twin, "$hash").await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        drop(tx);

        let mut tx = place.write().await;
        let now = place.now();
        assert!(users::set_password(&mut tx, ana.id, "$hash", "$next", now).await.unwrap());
        assert!(!users::set_password(&mut tx, ana.id, "$hash", "$other", now).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let found = users::by_email(&mut conn, "ana@ejemplo.com").await.unwrap().unwrap();
        assert_eq!(found.password_hash, "$next");
    }
}

#[tokio::test]
async fn a_change_is_written_down_once_it_is_made() {
    for place in places("audit log").await {
        let entry = AuditEntry {
            id: place.ambient.new_id(),
            workspace_id: place.ws(),
            actor: Actor::System,
            action: "workspace.updated",
            subject: place.ws().to_string(),
            before: Some(json!({"name": "Uno"})),
            after: Some(json!({"name": "Dos"})),
            address: Some("127.0.0.1".to_owned()),
            user_agent: "curl/8".to_owned(),
            at: place.now(),
        };
        let mut tx = place.write().await;
        audit::record(&mut tx, &entry).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = place.write().await;
        let again = match audit::record(&mut tx, &entry).await {
            Ok(()) => tx.commit().await,
            // PostgreSQL says so at once.
            Err(error) => Err(error),
        };
        assert!(matches!(again, Err(StorageError::Conflict(_))), "{again:?}");

        let author = Author {
            workspace: place.ws(),
            actor: Actor::System,
            address: None,
            user_agent: "vocero".to_owned(),
        };
        let mut tx = place.write().await;
        let change = Change::new("tag.deleted", "tag_1").from(json!({"name": "vip"}));
        author.note(&mut tx, &place.ambient, change).await.unwrap();
        let tags = AuditFilter { action: Some("tag".to_owned()), ..AuditFilter::default() };
        let noted = audit::list(&mut tx, place.ws(), &tags, 0, 10).await.unwrap();
        let [noted] = noted.try_into().unwrap();
        assert_eq!((noted.subject.as_str(), noted.user_agent.as_str()), ("tag_1", "vocero"));
        assert_eq!((noted.before, noted.after), (Some(json!({"name": "vip"})), None));
    }
}

#[tokio::test]
async fn changes_are_found_by_what_who_and_when() {
    for place in places("reading the audit log").await {
        let ana = person(&place, "ana").await;
        let actor = Actor::User { id: ana.id, session: place.ambient.new_id() };
        let start = place.now();
        for (action, actor) in [
            ("member.updated", actor.clone()),
            ("member.removed", actor),
            ("members.counted", Actor::System),
        ] {
            let entry = AuditEntry {
                id: place.ambient.new_id(),
                workspace_id: place.ws(),
                actor,
                action,
                subject: action.len().to_string(),
                before: None,
                after: Some(json!({"n": 1})),
                address: None,
                user_agent: String::new(),
                at: place.now(),
            };
            let mut tx = place.write().await;
            audit::record(&mut tx, &entry).await.unwrap();
            tx.commit().await.unwrap();
            place.later(Duration::from_secs(1));
        }
        let mut conn = place.read().await;
        let any = AuditFilter::default();
        let text = |text: &str| Some(text.to_owned());
        let second = |number| Some(start.plus(Duration::from_secs(number)));
        for (filter, expected) in [
            (any.clone(), vec!["members.counted", "member.removed", "member.updated"]),
            (
                AuditFilter { action: text("member"), ..any.clone() },
                vec!["member.removed", "member.updated"],
            ),
            (AuditFilter { action: text("member.removed"), ..any.clone() }, vec!["member.removed"]),
            (AuditFilter { action: text("m%"), ..any.clone() }, vec![]),
            (
                AuditFilter { actor: Some(ana.id.to_string()), ..any.clone() },
                vec!["member.removed", "member.updated"],
            ),
            (AuditFilter { subject: text("15"), ..any.clone() }, vec!["members.counted"]),
            (AuditFilter { from: second(1), to: second(2), ..any.clone() }, vec!["member.removed"]),
        ] {
            let found = audit::list(&mut conn, place.ws(), &filter, 0, 9).await.unwrap();
            let actions: Vec<&str> = found.iter().map(|entry| entry.action.as_str()).collect();
            assert_eq!(actions, expected, "{filter:?}");
            let count = audit::count(&mut conn, place.ws(), &filter).await.unwrap();
            assert_eq!(usize::try_from(count).unwrap(), expected.len());
        }
        let oldest = audit::list_oldest(&mut conn, place.ws(), &any, 0, 1).await.unwrap();
        assert_eq!(oldest[0].action, "member.updated");
        assert_eq!(oldest[0].actor_name.as_deref(), Some("ana"));
        assert_eq!(oldest[0].after, Some(json!({"n": 1})));
        let second = audit::list_oldest(&mut conn, place.ws(), &any, 1, 1).await.unwrap();
        assert_eq!(second[0].action, "member.removed");
        assert_eq!(audit::count(&mut conn, place.stranger(), &any).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_refresh_token_is_used_once() {
    for place in places("refresh tokens").await {
        let ana = person(&place, "ana").await;
        let (first, second, third) = ([1; 32], [2; 32], [3; 32]);
        let made = session(&place, ana.id, first).await;
        place.later(Duration::from_secs(1));
        let (now, expires_at) = (place.now(), place.now().plus(DAY));
        let mut tx = place.write().await;
        let renewed = sessions::renew(&mut tx, made.id, &first, &second, now, expires_at).await;
        assert!(renewed.unwrap());
        let again = sessions::renew(&mut tx, made.id, &first, &third, now, expires_at).await;
        assert!(!again.unwrap(), "it was used");
        sessions::enter(&mut tx, made.id, place.stranger()).await.unwrap();
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        let used = sessions::by_refresh_token(&mut conn, &first).await.unwrap().unwrap();
        assert_eq!((used.session.id, used.used_at), (made.id, Some(now)));
        let held = sessions::by_refresh_token(&mut conn, &second).await.unwrap().unwrap();
        assert_eq!(held.used_at, None);
        let expected = Session {
            used_at: now,
            expires_at,
            workspace_id: Some(place.stranger()),
            ..made.clone()
        };
        assert_eq!(held.session, expected);
        assert_eq!(sessions::get(&mut conn, made.id).await.unwrap(), Some(expected));
        assert_eq!(sessions::by_refresh_token(&mut conn, &third).await.unwrap(), None);
        drop(conn);

        let mut tx = place.write().await;
        sessions::give_token(&mut tx, made.id, &third, now).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let before = sessions::by_refresh_token(&mut conn, &second).await.unwrap().unwrap();
        assert_eq!(before.used_at, Some(now), "another one took its place");
    }
}

#[tokio::test]
async fn sessions_end_one_by_one_and_all_at_once() {
    for place in places("sessions").await {
        let (ana, eva) = (person(&place, "ana").await, person(&place, "eva").await);
        let mut ids: Vec<SessionId> = Vec::new();
        for token in 1..=3 {
            place.later(Duration::from_secs(1));
            ids.insert(0, session(&place, ana.id, [token; 32]).await.id);
        }
        let hers = session(&place, eva.id, [9; 32]).await.id;
        let listed = async |user, at| {
            let mut conn = place.read().await;
            let found = sessions::list(&mut conn, user, at).await.unwrap();
            found.into_iter().map(|session| session.id).collect::<Vec<_>>()
        };
        let now = place.now();
        assert_eq!(listed(ana.id, now).await, ids);
        assert!(listed(ana.id, now.plus(31 * DAY)).await.is_empty());

        let mut tx = place.write().await;
        assert!(!sessions::revoke(&mut tx, eva.id, ids[0], now).await.unwrap(), "not hers");
        assert!(sessions::revoke(&mut tx, ana.id, ids[0], now).await.unwrap());
        assert!(!sessions::revoke(&mut tx, ana.id, ids[0], now).await.unwrap(), "it has ended");
        let ended = sessions::revoke_others(&mut tx, ana.id, Some(ids[1]), now).await.unwrap();
        assert_eq!(ended, [ids[2]]);
        tx.commit().await.unwrap();
        assert_eq!(listed(ana.id, now).await, [ids[1]]);
        let mut tx = place.write().await;
        let ended = sessions::revoke_others(&mut tx, ana.id, None, now).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(ended, [ids[1]]);
        assert_eq!(listed(eva.id, now).await, [hers]);

        place.later(31 * DAY);
        session(&place, ana.id, [8; 32]).await;
        let mut conn = place.read().await;
        assert_eq!(sessions::get(&mut conn, ids[0]).await.unwrap(), None, "long ended ones go");
        assert!(sessions::get(&mut conn, hers).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_workspace_is_never_without_an_owner() {
    for place in places("members").await {
        let (ana, eva) = (person(&place, "ana").await, person(&place, "eva").await);
        let (ws, stranger, now) = (place.ws(), place.stranger(), place.now());
        let mut tx = place.write().await;
        members::insert(&mut tx, ws, ana.id, Role::Owner, now).await.unwrap();
        members::insert(&mut tx, ws, eva.id, Role::Agent, now.plus(DAY)).await.unwrap();
        members::insert(&mut tx, stranger, eva.id, Role::Owner, now).await.unwrap();
        assert!(workspaces::rename(&mut tx, ws, "Otra").await.unwrap());
        assert!(!workspaces::rename(&mut tx, place.ambient.new_id(), "Otra").await.unwrap());
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        let all = members::list(&mut conn, ws).await.unwrap();
        let all: Vec<_> = all.iter().map(|member| (member.user.id, member.role)).collect();
        assert_eq!(all, [(ana.id, Role::Owner), (eva.id, Role::Agent)]);
        assert_eq!(members::get(&mut conn, ws, eva.id).await.unwrap().unwrap().role, Role::Agent);
        assert_eq!(members::get(&mut conn, stranger, ana.id).await.unwrap(), None);
        let places: Vec<_> = members::of_user(&mut conn, eva.id).await.unwrap();
        let places: Vec<_> = places.iter().map(|place| (place.workspace.id, place.role)).collect();
        assert_eq!(places, [(stranger, Role::Owner), (ws, Role::Agent)]);
        assert_eq!(workspaces::get(&mut conn, ws).await.unwrap().unwrap().name, "Otra");
        drop(conn);

        let mut tx = place.write().await;
        let set = async |tx: &mut storage::Tx, user, role| {
            members::set_role(tx, ws, user, role).await.unwrap()
        };
        assert_eq!(set(&mut tx, ana.id, Role::Admin).await, MemberChange::LastOwner);
        assert_eq!(set(&mut tx, ana.id, Role::Owner).await, MemberChange::Done);
        assert_eq!(set(&mut tx, place.ambient.new_id(), Role::Admin).await, MemberChange::Absent);
        let removed = members::remove(&mut tx, ws, ana.id).await.unwrap();
        assert_eq!(removed, MemberChange::LastOwner);
        assert_eq!(set(&mut tx, eva.id, Role::Owner).await, MemberChange::Done);
        assert_eq!(members::remove(&mut tx, ws, ana.id).await.unwrap(), MemberChange::Done);
        assert_eq!(members::remove(&mut tx, ws, ana.id).await.unwrap(), MemberChange::Absent);
        assert_eq!(set(&mut tx, eva.id, Role::Viewer).await, MemberChange::LastOwner);
        tx.commit().await.unwrap();
    }
}
