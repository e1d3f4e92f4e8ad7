//! What is inside a conversation: operators' messages, files, notes, canned replies.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::attachment::{Attachment, Uploader};
use domain::canned_reply::CannedReply;
use domain::conversation::{Handler, Transition};
use domain::message::{Author, MessageKind, Operator, Rating};
use domain::note::{Note, NoteAuthor};
use domain::user::User;
use domain::{ConversationId, UserId, VisitorId};
use serde_json::json;
use storage::conversations::{ConversationRating, TurnLock};
use storage::notes::MentionFilter;
use storage::reads::ReadState;
use storage::timeline::{TimelineKind, TimelineOrder};
use storage::{
    StorageError, attachments, canned_replies, conversations, events, messages, notes, reads,
    timeline, users,
};

use crate::conversations::{begin, message, say};
use crate::support::{Place, places};

const DAY: Duration = Duration::from_hours(24);

async fn person(place: &Place, name: &str) -> User {
    let email = format!("{name}@ejemplo.com");
    let user = User::new(place.ambient.new_id(), name.to_owned(), email, place.now());
    let mut tx = place.write().await;
    users::insert(&mut tx, &user, "$hash").await.unwrap();
    tx.commit().await.unwrap();
    user
}

pub fn upload(
    place: &Place,
    conversation: Option<ConversationId>,
    uploader: Uploader,
) -> Attachment {
    Attachment {
        id: place.ambient.new_id(),
        conversation_id: conversation,
        message_id: None,
        blob: place.ambient.new_id(),
        name: "foto.png".to_owned(),
        media_type: "image/png".to_owned(),
        bytes: 70,
        uploader,
        created_at: place.later(Duration::from_millis(1)),
    }
}

#[tokio::test]
async fn an_operators_message_names_them_and_messages_are_read_both_ways() {
    for place in places("operators").await {
        let (ws, ana, conversation) =
            (place.ws(), person(&place, "ana").await, begin(&place).await);
        for text in ["uno", "dos"] {
            say(&place, &message(&place, conversation.id, Author::Customer, text)).await;
        }
        let mut new = message(&place, conversation.id, Author::Operator, "tres");
        new.message.operator = Some(Operator { id: ana.id, name: String::new() });
        new.message.kind = MessageKind::File;
        say(&place, &new).await;
        let mut conn = place.read().await;
        let stored = messages::get(&mut conn, ws, new.message.id).await.unwrap().unwrap();
        assert_eq!(stored.operator, Some(Operator { id: ana.id, name: "ana".to_owned() }));
        assert_eq!((stored.kind, stored.seq), (MessageKind::File, 3));
        let found = messages::list_before(&mut conn, ws, conversation.id, 3, 1).await.unwrap();
        assert_eq!(found.iter().map(|message| message.seq).collect::<Vec<_>>(), [2]);
        let found = messages::list_before(&mut conn, ws, conversation.id, 9, 2).await.unwrap();
        assert_eq!(found.iter().map(|message| message.seq).collect::<Vec<_>>(), [2, 3]);
        let stranger = place.stranger();
        let found = messages::list_before(&mut conn, stranger, conversation.id, 9, 2).await;
        assert!(found.unwrap().is_empty());
        let count = messages::count_before(&mut conn, ws, conversation.id, 3).await.unwrap();
        assert_eq!(count, 2);
        let count = messages::count_before(&mut conn, stranger, conversation.id, 9).await.unwrap();
        assert_eq!(count, 0);
        let told = events::list(&mut conn, ws, 0, 99).await.unwrap();
        let told = told.iter().rfind(|event| event.kind == "message.created").unwrap();
        assert_eq!(told.payload["author"], "operator");
        assert_eq!(told.payload["userId"], json!(ana.id));
        assert_eq!(told.payload["type"], "file");
        assert_eq!(told.payload["seq"], 3);
    }
}

#[tokio::test]
async fn taking_over_stops_the_turn_under_way() {
    for place in places("taking over").await {
        let (ws, conversation) = (place.ws(), begin(&place).await);
        let now = place.now();
        let answer = place.ambient.new_id();
        let turn = TurnLock { owner: "one", answer, until: now.plus(DAY) };
        let mut tx = place.write().await;
        assert!(conversations::lock_turn(&mut tx, ws, conversation.id, &turn, now).await.unwrap());
        tx.commit().await.unwrap();
        let mut tx = place.write().await;
        let change = Transition::TakeOver;
        let after = conversations::transition(&mut tx, ws, conversation.id, change, now).await;
        assert_eq!(after.unwrap().unwrap().handler, Handler::Operator);
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let wanted = conversations::stops_wanted(&mut conn, "one").await.unwrap();
        assert_eq!(wanted, [(ws, answer)]);
    }
}

#[tokio::test]
async fn a_file_is_shown_once_by_who_uploaded_it() {
    for place in places("attachments").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let (ana, eva) = (person(&place, "ana").await, person(&place, "eva").await);
        let (one, other) = (begin(&place).await, begin(&place).await);
        let of_ana = Uploader::Operator(Some(ana.id));
        let file = upload(&place, Some(one.id), of_ana.clone());
        let mut tx = place.write().await;
        attachments::insert(&mut tx, ws, &file).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = place.write().await;
        let foreign = upload(&place, Some(one.id), of_ana.clone());
        let refused = attachments::insert(&mut tx, stranger, &foreign).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        drop(tx);

        let mut conn = place.read().await;
        let found = attachments::get(&mut conn, ws, file.id).await.unwrap();
        assert_eq!(found, Some(file.clone()));
        assert_eq!(attachments::get(&mut conn, stranger, file.id).await.unwrap(), None);
        drop(conn);

        let shown = say(&place, &message(&place, one.id, Author::Operator, "mire")).await;
        let elsewhere = say(&place, &message(&place, other.id, Author::Operator, "mire")).await;
        let mut tx = place.write().await;
        let here = (one.id, shown.id, 0);
        let there = (other.id, elsewhere.id, 0);
        let of_eva = Uploader::Operator(Some(eva.id));
        assert!(!attachments::attach(&mut tx, ws, file.id, &of_eva, here).await.unwrap());
        assert!(!attachments::attach(&mut tx, ws, file.id, &of_ana, there).await.unwrap());
        assert!(!attachments::attach(&mut tx, stranger, file.id, &of_ana, here).await.unwrap());
        assert!(attachments::attach(&mut tx, ws, file.id, &of_ana, here).await.unwrap());
        assert!(!attachments::attach(&mut tx, ws, file.id, &of_ana, here).await.unwrap());
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        let ids = [shown.id, elsewhere.id];
        let found = attachments::of_messages(&mut conn, ws, &ids).await.unwrap();
        let expected = Attachment { message_id: Some(shown.id), ..file.clone() };
        assert_eq!(found, [(shown.id, expected)]);
        assert!(attachments::of_messages(&mut conn, stranger, &ids).await.unwrap().is_empty());
        let blobs = attachments::blobs_of(&mut conn, ws, &[one.id, other.id]).await.unwrap();
        assert_eq!(blobs, [file.blob]);
        let others = place.ambient.new_id();
        let used = attachments::blobs_in_use(&mut conn, ws, &[file.blob, others]).await.unwrap();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), [file.blob]);
        assert!(attachments::blobs_of(&mut conn, stranger, &[one.id]).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_visitors_uploads_are_counted_and_unused_ones_removed() {
    for place in places("visitors uploads").await {
        let ws = place.ws();
        let visitor = VisitorId::parse("v 1").unwrap();
        let since = place.now();
        let files: Vec<Attachment> =
            (0..2).map(|_| upload(&place, None, Uploader::Visitor(visitor.clone()))).collect();
        let mut tx = place.write().await;
        for file in &files {
            attachments::insert(&mut tx, ws, file).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let used = attachments::used_by_visitor(&mut conn, ws, &visitor, since).await.unwrap();
        assert_eq!(used, (2, 140));
        let late = place.now().plus(DAY);
        let used = attachments::used_by_visitor(&mut conn, ws, &visitor, late).await.unwrap();
        assert_eq!(used, (0, 0));
        drop(conn);
        let conversation = begin(&place).await;
        let shown = say(&place, &message(&place, conversation.id, Author::Customer, "mire")).await;
        let mut tx = place.write().await;
        let uploader = Uploader::Visitor(visitor);
        let to = (conversation.id, shown.id, 0);
        assert!(attachments::attach(&mut tx, ws, files[0].id, &uploader, to).await.unwrap());
        assert_eq!(attachments::delete_unused(&mut tx, since, 9).await.unwrap(), 0);
        assert_eq!(attachments::delete_unused(&mut tx, late, 9).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        assert!(attachments::get(&mut conn, ws, files[0].id).await.unwrap().is_some());
        assert!(attachments::get(&mut conn, ws, files[1].id).await.unwrap().is_none());
        drop(conn);
        let mut tx = place.write().await;
        conversations::delete(&mut tx, ws, conversation.id).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        assert!(attachments::get(&mut conn, ws, files[0].id).await.unwrap().is_none());
    }
}

fn note(place: &Place, conversation: ConversationId, author: &User, mentions: &[UserId]) -> Note {
    let now = place.later(Duration::from_millis(1));
    let mut mentions = mentions.to_vec();
    mentions.sort_unstable();
    Note {
        id: place.ambient.new_id(),
        conversation_id: conversation,
        author: Some(NoteAuthor { id: author.id, name: author.name.clone() }),
        content: "Cliente VIP".to_owned(),
        mentions,
        created_at: now,
        updated_at: now,
    }
}

#[tokio::test]
async fn notes_call_members_who_read_them() {
    for place in places("notes").await {
        let (ws, stranger, conversation) = (place.ws(), place.stranger(), begin(&place).await);
        let (ana, eva, leo) =
            (person(&place, "ana").await, person(&place, "eva").await, person(&place, "leo").await);
        let first = note(&place, conversation.id, &ana, &[eva.id]);
        let second = note(&place, conversation.id, &ana, &[eva.id, leo.id]);
        let mut tx = place.write().await;
        for note in [&first, &second] {
            notes::insert(&mut tx, ws, note).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut tx = place.write().await;
        let refused =
            notes::insert(&mut tx, stranger, &note(&place, conversation.id, &ana, &[])).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        drop(tx);

        let mut conn = place.read().await;
        let found = notes::list(&mut conn, ws, conversation.id).await.unwrap();
        assert_eq!(found, [first.clone(), second.clone()]);
        assert!(notes::list(&mut conn, stranger, conversation.id).await.unwrap().is_empty());
        let found = notes::get(&mut conn, ws, conversation.id, first.id).await.unwrap();
        assert_eq!(found, Some(first.clone()));
        assert_eq!(notes::get(&mut conn, stranger, conversation.id, first.id).await.unwrap(), None);
        drop(conn);

        let mut tx = place.write().await;
        let now = place.now();
        assert!(notes::read_mention(&mut tx, ws, eva.id, second.id, now).await.unwrap());
        assert!(!notes::read_mention(&mut tx, ws, ana.id, second.id, now).await.unwrap());
        assert!(!notes::read_mention(&mut tx, stranger, eva.id, second.id, now).await.unwrap());
        tx.commit().await.unwrap();
        let called = async |user, filter| {
            let mut conn = place.read().await;
            let found = notes::mentions(&mut conn, ws, user, filter, (9, 0)).await.unwrap();
            let count = notes::count_mentions(&mut conn, ws, user, filter).await.unwrap();
            assert_eq!(usize::try_from(count).unwrap(), found.len());
            found.into_iter().map(|m| (m.note.id, m.read_at.is_some())).collect::<Vec<_>>()
        };
        let all = MentionFilter::Any;
        assert_eq!(called(eva.id, all).await, [(first.id, false), (second.id, true)]);
        assert_eq!(called(eva.id, MentionFilter::Unread).await, [(first.id, false)]);

        let changed = Note { mentions: vec![leo.id], content: "Otra".to_owned(), ..second.clone() };
        let mut tx = place.write().await;
        notes::hold(&mut tx, ws, changed.id).await.unwrap();
        assert!(notes::update(&mut tx, ws, &changed).await.unwrap());
        assert!(!notes::update(&mut tx, stranger, &changed).await.unwrap());
        assert_eq!(notes::read_all_mentions(&mut tx, ws, eva.id, now).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!(called(eva.id, all).await, [(first.id, true)]);
        assert_eq!(called(leo.id, all).await, [(second.id, false)]);

        let mut tx = place.write().await;
        assert!(!notes::delete(&mut tx, stranger, &first, now).await.unwrap());
        assert!(notes::delete(&mut tx, ws, &first, now).await.unwrap());
        assert!(!notes::delete(&mut tx, ws, &first, now).await.unwrap());
        tx.commit().await.unwrap();
        assert!(called(eva.id, all).await.is_empty());
        let mut conn = place.read().await;
        let told = events::list(&mut conn, ws, 0, 99).await.unwrap();
        let told: Vec<_> = told.iter().filter(|e| e.kind.starts_with("note.")).collect();
        let kinds: Vec<&str> = told.iter().map(|event| event.kind.as_str()).collect();
        let expected = [
            "note.created",
            "note.mentioned",
            "note.created",
            "note.mentioned",
            "note.mentioned",
            "note.updated",
            "note.deleted",
        ];
        assert_eq!(kinds, expected, "who was called before is not told again");
        assert!(told.iter().all(|event| !event.payload.to_string().contains("VIP")));
    }
}

#[tokio::test]
async fn a_shortcut_names_one_reply_of_a_workspace() {
    for place in places("canned replies").await {
        let (ws, stranger, now) = (place.ws(), place.stranger(), place.now());
        let (ana, eva) = (person(&place, "ana").await, person(&place, "eva").await);
        let reply = |shortcut: &str, owner| CannedReply {
            id: place.ambient.new_id(),
            shortcut: shortcut.to_owned(),
            title: "Saludo".to_owned(),
            contents: BTreeMap::from([("es".to_owned(), "¡Hola!".to_owned())]),
            owner,
            created_at: now,
            updated_at: now,
        };
        let (shared, own) = (reply("hola", None), reply("chau", Some(ana.id)));
        let mut tx = place.write().await;
        canned_replies::insert(&mut tx, ws, &shared).await.unwrap();
        canned_replies::insert(&mut tx, ws, &own).await.unwrap();
        canned_replies::insert(&mut tx, stranger, &reply("hola", None)).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = place.write().await;
        let twin = canned_replies::insert(&mut tx, ws, &reply("hola", Some(eva.id))).await;
        assert!(matches!(twin, Err(StorageError::Conflict(_))), "{twin:?}");
        drop(tx);

        let mut conn = place.read().await;
        let of = async |conn: &mut storage::Conn, user| {
            let found = canned_replies::list(conn, ws, user).await.unwrap();
            found.into_iter().map(|reply| reply.shortcut).collect::<Vec<_>>()
        };
        assert_eq!(of(&mut conn, Some(ana.id)).await, ["chau", "hola"]);
        assert_eq!(of(&mut conn, Some(eva.id)).await, ["hola"]);
        assert_eq!(of(&mut conn, None).await, ["hola"]);
        assert_eq!(canned_replies::count(&mut conn, ws).await.unwrap(), 2);
        let found = canned_replies::get(&mut conn, ws, Some(ana.id), own.id).await.unwrap();
        assert_eq!(found, Some(own.clone()));
        let found = canned_replies::get(&mut conn, ws, Some(eva.id), own.id).await.unwrap();
        assert_eq!(found, None, "it is not hers");
        let found = canned_replies::get(&mut conn, stranger, Some(ana.id), own.id).await.unwrap();
        assert_eq!(found, None);
        drop(conn);

        let mut tx = place.write().await;
        let changed = CannedReply { title: "Adiós".to_owned(), ..own.clone() };
        canned_replies::hold(&mut tx, ws, changed.id).await.unwrap();
        assert!(canned_replies::update(&mut tx, ws, &changed, now).await.unwrap());
        assert!(!canned_replies::update(&mut tx, stranger, &changed, now).await.unwrap());
        assert!(!canned_replies::delete(&mut tx, stranger, own.id).await.unwrap());
        assert!(canned_replies::delete(&mut tx, ws, own.id).await.unwrap());
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn what_a_member_has_read_only_grows() {
    for place in places("reads").await {
        let (ws, stranger, conversation) = (place.ws(), place.stranger(), begin(&place).await);
        let (ana, eva) = (person(&place, "ana").await, person(&place, "eva").await);
        for text in ["uno", "dos", "tres"] {
            say(&place, &message(&place, conversation.id, Author::Customer, text)).await;
        }
        let mut tx = place.write().await;
        let now = place.now();
        let to = |seq| (ana.id, seq);
        assert!(reads::mark(&mut tx, ws, conversation.id, to(2), now).await.unwrap());
        assert!(reads::mark(&mut tx, ws, conversation.id, to(1), now).await.unwrap());
        assert!(!reads::mark(&mut tx, stranger, conversation.id, to(3), now).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let state = reads::state(&mut conn, ws, conversation.id, ana.id).await.unwrap();
        assert_eq!(state, ReadState { seq: 2, unread: 1 });
        let state = reads::state(&mut conn, ws, conversation.id, eva.id).await.unwrap();
        assert_eq!(state, ReadState { seq: 0, unread: 3 });
        drop(conn);
        let mut tx = place.write().await;
        assert!(reads::mark(&mut tx, ws, conversation.id, to(i64::MAX), now).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let state = reads::state(&mut conn, ws, conversation.id, ana.id).await.unwrap();
        assert_eq!(state, ReadState { seq: 3, unread: 0 }, "no further than the newest");
        let told = events::list(&mut conn, ws, 0, 99).await.unwrap();
        let told = told.iter().filter(|event| event.kind == "conversation.read");
        let told: Vec<_> = told.map(|event| event.payload["seq"].clone()).collect();
        assert_eq!(told, [json!(2), json!(3)]);
    }
}

#[tokio::test]
async fn a_timeline_holds_everything_in_order() {
    for place in places("timeline").await {
        let (ws, stranger, conversation) = (place.ws(), place.stranger(), begin(&place).await);
        let ana = person(&place, "ana").await;
        let said = say(&place, &message(&place, conversation.id, Author::Agent, "hola")).await;
        let told = note(&place, conversation.id, &ana, &[]);
        let mut tx = place.write().await;
        notes::insert(&mut tx, ws, &told).await.unwrap();
        let now = place.later(Duration::from_millis(1));
        conversations::transition(&mut tx, ws, conversation.id, Transition::Close, now)
            .await
            .unwrap();
        let now = place.later(Duration::from_millis(1));
        messages::set_feedback(&mut tx, ws, said.id, Some(Rating::Up), None, now).await.unwrap();
        let now = place.later(Duration::from_millis(1));
        let rating = ConversationRating { rating: 5, comment: None };
        conversations::set_rating(&mut tx, ws, conversation.id, Some(&rating), now).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let all = (9, 0);
        let order = TimelineOrder::OldestFirst;
        let found = timeline::page(&mut conn, ws, conversation.id, order, all).await.unwrap();
        let kinds: Vec<TimelineKind> = found.iter().map(|entry| entry.kind).collect();
        let expected = [
            TimelineKind::Message,
            TimelineKind::Note,
            TimelineKind::Event,
            TimelineKind::Feedback,
            TimelineKind::Rating,
        ];
        assert_eq!(kinds, expected);
        assert_eq!((&found[0].id, found[0].place), (&said.id.to_string(), 1));
        assert_eq!(found[1].id, told.id.to_string());
        assert_eq!(found[2].place, 1);
        assert_eq!(timeline::count(&mut conn, ws, conversation.id).await.unwrap(), 5);
        let order = TimelineOrder::NewestFirst;
        let newest = timeline::page(&mut conn, ws, conversation.id, order, (2, 1)).await.unwrap();
        assert_eq!(newest, [found[3].clone(), found[2].clone()]);
        let foreign = timeline::page(&mut conn, stranger, conversation.id, order, all).await;
        assert!(foreign.unwrap().is_empty());
        assert_eq!(timeline::count(&mut conn, stranger, conversation.id).await.unwrap(), 0);
    }
}
