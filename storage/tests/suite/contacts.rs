//! What people note of contacts.

use std::time::Duration;

use domain::contact::{Contact, ContactDetails, ContactProfile, words_sought};
use domain::{ContactId, Lang, VisitorId};
use serde_json::json;
use storage::contacts::{self, ContactFilter, ContactOrder, TimelineKind};
use storage::{StorageError, conversations};

use crate::support::{Place, metadata, places};

fn profile(place: &Place, first: &str, email: Option<&str>, phone: Option<&str>) -> ContactProfile {
    let now = place.later(Duration::from_millis(1));
    ContactProfile {
        contact: Contact {
            id: place.ambient.new_id(),
            first_name: Some(first.to_owned()),
            last_name: Some("Pérez".to_owned()),
            email: email.map(str::to_owned),
            phone: phone.map(str::to_owned),
            conflict: false,
            created_at: now,
        },
        attributes: metadata(json!({"plan": "oro", "hijos": 2, "vip": true})),
        notes: Some("con cariño".to_owned()),
        language: Some(Lang::Es),
        time_zone: Some("America/Santiago".to_owned()),
        blocked_at: None,
        updated_at: now,
        tags: vec!["cliente".to_owned(), "vip".to_owned()],
        other_emails: Vec::new(),
        other_phones: Vec::new(),
    }
}

async fn store(place: &Place, profile: &ContactProfile) {
    let mut tx = place.write().await;
    contacts::one_at_a_time(&mut tx, place.ws()).await.unwrap();
    contacts::create(&mut tx, place.ws(), profile).await.unwrap();
    tx.commit().await.unwrap();
}

fn sought(search: &str) -> ContactFilter {
    ContactFilter { words: words_sought(search), ..ContactFilter::default() }
}

async fn listed(
    place: &Place,
    filter: &ContactFilter,
    order: (ContactOrder, bool),
) -> Vec<ContactId> {
    let mut conn = place.read().await;
    let found = contacts::list(&mut conn, place.ws(), filter, order, 0, 10).await.unwrap();
    let count = contacts::count(&mut conn, place.ws(), filter).await.unwrap();
    assert_eq!(usize::try_from(count), Ok(found.len()));
    let foreign = contacts::list(&mut conn, place.stranger(), filter, order, 0, 10).await.unwrap();
    assert!(foreign.is_empty());
    found
}

#[tokio::test]
async fn what_is_noted_of_a_contact_reads_back_and_is_found() {
    for place in places("contact profiles").await {
        let ana = profile(&place, "Ána", Some("ana@ejemplo.com"), Some("+56912345678"));
        let beto = profile(&place, "Beto", Some("beto@otra.com"), None);
        store(&place, &ana).await;
        store(&place, &beto).await;
        let (a, b) = (ana.contact.id, beto.contact.id);
        let mut conn = place.read().await;
        assert_eq!(contacts::profile(&mut conn, place.ws(), a).await.unwrap(), Some(ana.clone()));
        assert_eq!(contacts::profile(&mut conn, place.stranger(), a).await.unwrap(), None);
        let both = contacts::profiles(&mut conn, place.ws(), &[b, a]).await.unwrap();
        assert_eq!(both, [beto.clone(), ana.clone()]);
        drop(conn);
        let by_name = (ContactOrder::Name, false);
        assert_eq!(listed(&place, &ContactFilter::default(), by_name).await, [a, b]);
        assert_eq!(
            listed(&place, &ContactFilter::default(), (ContactOrder::Created, true)).await,
            [b, a]
        );
        assert_eq!(
            listed(&place, &ContactFilter::default(), (ContactOrder::Changed, true)).await,
            [b, a]
        );
        for (search, expected) in [
            ("ana", vec![a]),
            ("PEREZ", vec![a, b]),
            ("perez be", vec![b]),
            ("ana@ej", vec![a]),
            ("5678", vec![a]),
            ("nadie", vec![]),
        ] {
            assert_eq!(listed(&place, &sought(search), by_name).await, expected, "{search}");
        }
        let tagged = ContactFilter { tag: Some("vip".to_owned()), ..ContactFilter::default() };
        assert_eq!(listed(&place, &tagged, by_name).await, [a, b]);

        let mut tx = place.write().await;
        let now = place.later(Duration::from_millis(1));
        let mut changed = beto.clone();
        changed.contact.first_name = Some("Zoe".to_owned());
        changed.contact.email = None;
        changed.contact.phone = Some("+56987654321".to_owned());
        changed.tags = vec!["nuevo".to_owned()];
        changed.updated_at = now;
        assert!(contacts::update(&mut tx, place.ws(), &changed).await.unwrap());
        assert!(!contacts::update(&mut tx, place.stranger(), &changed).await.unwrap());
        let owner = contacts::owner_of(&mut tx, place.ws(), None, Some("+56987654321")).await;
        assert_eq!(owner.unwrap(), Some(b));
        let owner = contacts::owner_of(&mut tx, place.ws(), Some("ana@ejemplo.com"), None).await;
        assert_eq!(owner.unwrap(), Some(a));
        tx.commit().await.unwrap();
        assert_eq!(listed(&place, &sought("zoe"), by_name).await, [b]);
        assert!(listed(&place, &sought("beto"), by_name).await.is_empty());
        let mut conn = place.read().await;
        let tags = contacts::tag_counts(&mut conn, place.ws(), 10).await.unwrap();
        let tags: Vec<(&str, i64)> =
            tags.iter().map(|(tag, count)| (tag.as_str(), *count)).collect();
        assert_eq!(tags, [("cliente", 1), ("nuevo", 1), ("vip", 1)]);
        drop(conn);
        let mut tx = place.write().await;
        let taken = profile(&place, "Otra", Some("ana@ejemplo.com"), None);
        let refused = contacts::create(&mut tx, place.ws(), &taken).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn two_contacts_become_one_and_nothing_is_lost() {
    for place in places("merging contacts").await {
        let kept = profile(&place, "Ana", Some("ana@ejemplo.com"), None);
        let mut gone = profile(&place, "Anita", Some("anita@ejemplo.com"), Some("+56912345678"));
        gone.attributes = metadata(json!({"plan": "plata", "talla": "M"}));
        gone.tags = vec!["nueva".to_owned()];
        store(&place, &kept).await;
        store(&place, &gone).await;
        let (a, b) = (kept.contact.id, gone.contact.id);
        let visitor = VisitorId::parse("v-1").unwrap();
        let mut tx = place.write().await;
        let of_anita = ContactDetails {
            email: Some("anita@ejemplo.com".to_owned()),
            ..ContactDetails::default()
        };
        contacts::resolve(&mut tx, &place.ambient, place.ws(), Some(&visitor), &of_anita)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let talk = crate::conversations::begin(&place).await;
        let mut tx = place.write().await;
        conversations::set_contact(&mut tx, place.ws(), talk.id, b).await.unwrap();
        tx.commit().await.unwrap();

        let mut tx = place.write().await;
        let now = place.later(Duration::from_millis(1));
        assert_eq!(contacts::merge(&mut tx, place.stranger(), a, b, now).await.unwrap(), None);
        let merged = contacts::merge(&mut tx, place.ws(), a, b, now).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        assert_eq!(merged.contact.name().as_deref(), Some("Ana Pérez"));
        assert_eq!(merged.contact.phone.as_deref(), Some("+56912345678"));
        assert_eq!(merged.other_emails, ["anita@ejemplo.com"]);
        assert_eq!(merged.tags, ["cliente", "nueva", "vip"]);
        assert_eq!(
            (&merged.attributes["plan"], &merged.attributes["talla"]),
            (&json!("oro"), &json!("M"))
        );

        let mut conn = place.read().await;
        assert_eq!(contacts::get(&mut conn, place.ws(), b).await.unwrap(), None);
        let talks = conversations::of_contact(&mut conn, place.ws(), a, true, 0, 10).await.unwrap();
        assert_eq!((talks.len(), talks[0].id), (1, talk.id));
        assert_eq!(conversations::count_of_contact(&mut conn, place.ws(), a).await.unwrap(), 1);
        let events = contacts::timeline(&mut conn, place.ws(), a, false, 0, 10).await.unwrap();
        let count = contacts::count_timeline(&mut conn, place.ws(), a).await.unwrap();
        let kinds: Vec<TimelineKind> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [TimelineKind::Created, TimelineKind::Conversation, TimelineKind::Merge]);
        assert_eq!(count, 3);
        assert_eq!(events[2].data.as_ref().unwrap()["customAttributes"]["plan"], "plata");
        drop(conn);

        // What comes from the second address is this contact's, and is no contradiction.
        let mut tx = place.write().await;
        let found = contacts::resolve(&mut tx, &place.ambient, place.ws(), None, &of_anita).await;
        let found = found.unwrap().unwrap();
        assert_eq!((found.id, found.conflict), (a, false));
        let owner = contacts::owner_of(&mut tx, place.ws(), Some("anita@ejemplo.com"), None).await;
        assert_eq!(owner.unwrap(), Some(a));
        tx.commit().await.unwrap();
        assert_eq!(listed(&place, &sought("anita"), (ContactOrder::Name, false)).await, [a]);
    }
}

#[tokio::test]
async fn blocked_contacts_and_visitors_are_known_by_each_of_their_names() {
    for place in places("blocking contacts").await {
        let ana = profile(&place, "Ana", Some("ana@ejemplo.com"), None);
        store(&place, &ana).await;
        let (ws, id) = (place.ws(), ana.contact.id);
        let (known, unknown) =
            (VisitorId::parse("known").unwrap(), VisitorId::parse("who").unwrap());
        let mut tx = place.write().await;
        let details = ContactDetails {
            email: Some("ana@ejemplo.com".to_owned()),
            ..ContactDetails::default()
        };
        contacts::resolve(&mut tx, &place.ambient, ws, Some(&known), &details).await.unwrap();
        let blocked = async |tx: &mut storage::Tx| {
            let by_id = contacts::is_blocked(tx, ws, Some(id), None).await.unwrap();
            let by_visitor = contacts::is_blocked(tx, ws, None, Some(&known)).await.unwrap();
            let unknown = contacts::is_blocked(tx, ws, None, Some(&unknown)).await.unwrap();
            (by_id, by_visitor, unknown)
        };
        assert_eq!(blocked(&mut tx).await, (false, false, false));
        assert!(!contacts::block(&mut tx, place.stranger(), id, place.now()).await.unwrap());
        assert!(contacts::block(&mut tx, ws, id, place.now()).await.unwrap());
        assert!(!contacts::block(&mut tx, ws, id, place.now()).await.unwrap());
        assert!(contacts::block_visitor(&mut tx, ws, &unknown, place.now()).await.unwrap());
        assert_eq!(blocked(&mut tx).await, (true, true, true));
        tx.commit().await.unwrap();
        let only = ContactFilter { blocked: Some(true), ..ContactFilter::default() };
        assert_eq!(listed(&place, &only, (ContactOrder::Created, false)).await, [id]);
        let mut tx = place.write().await;
        assert!(contacts::unblock(&mut tx, ws, id, place.now()).await.unwrap());
        assert!(!contacts::unblock(&mut tx, ws, id, place.now()).await.unwrap());
        assert!(contacts::unblock_visitor(&mut tx, ws, &unknown).await.unwrap());
        assert!(!contacts::unblock_visitor(&mut tx, ws, &unknown).await.unwrap());
        assert_eq!(blocked(&mut tx).await, (false, false, false));
        tx.commit().await.unwrap();
        let mut tx = place.write().await;
        assert_eq!(contacts::index_missing(&mut tx, 10).await.unwrap(), 0, "each has its words");
    }
}
