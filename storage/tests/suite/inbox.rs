//! The inbox: what people do with conversations, how they are found and handed out.

use std::time::Duration;

use domain::contact::ContactDetails;
use domain::conversation::{Channel, Conversation, ConversationStatus, Handler, Transition};
use domain::inbox::{Assignment, Availability, By, Happening, InboxSettings, Priority};
use domain::message::Author;
use domain::user::User;
use domain::{ConversationId, Role, UserId};
use storage::inbox::{
    Assign, Assigned, Entry, Filter, Order, OrderBy, Snooze, Snoozed, Standby, Tag, Take, Window,
};
use storage::{StorageError, contacts, conversations, events, inbox, members};

use crate::conversations::{begin, conversation, message, say};
use crate::people::person;
use crate::support::{Place, places};

const NEWEST: Order = Order { by: OrderBy::UpdatedAt, descending: true };

async fn member(place: &Place, name: &str, role: Role) -> User {
    // Later ones have greater ids.
    place.later(Duration::from_millis(1));
    let user = person(place, name).await;
    let mut tx = place.write().await;
    members::insert(&mut tx, place.ws(), user.id, role, place.now()).await.unwrap();
    tx.commit().await.unwrap();
    user
}

async fn entry(place: &Place, id: ConversationId) -> Entry {
    let mut conn = place.read().await;
    inbox::entry(&mut conn, place.ws(), None, id).await.unwrap().unwrap()
}

async fn listed(place: &Place, filter: &Filter, order: Order) -> Vec<ConversationId> {
    seen(place, None, filter, order).await
}

async fn seen(
    place: &Place,
    reader: Option<UserId>,
    filter: &Filter,
    order: Order,
) -> Vec<ConversationId> {
    let mut conn = place.read().await;
    let window = Window { after: None, skip: 0, take: 100, count_to: 1_000 };
    let which = (filter, order);
    let found = inbox::list(&mut conn, place.ws(), reader, which, &window).await.unwrap();
    assert_eq!(found.found, i64::try_from(found.entries.len()).unwrap());
    let ids: Vec<_> = found.entries.iter().map(|entry| entry.id).collect();
    if order == NEWEST {
        let same = inbox::ids(&mut conn, place.ws(), reader, filter, 100).await.unwrap();
        assert_eq!(same, ids);
    }
    let strange = inbox::list(&mut conn, place.stranger(), reader, which, &window).await.unwrap();
    assert!(strange.entries.is_empty(), "another workspace sees nothing");
    ids
}

async fn go(place: &Place, id: ConversationId, transition: Transition) {
    let mut tx = place.write().await;
    let now = place.later(Duration::from_millis(1));
    conversations::transition(&mut tx, place.ws(), id, transition, now).await.unwrap();
    tx.commit().await.unwrap();
}

async fn kinds(place: &Place, id: ConversationId) -> Vec<(Happening, By)> {
    let mut conn = place.read().await;
    let all = inbox::history(&mut conn, place.ws(), id, 0, 100).await.unwrap();
    let numbers: Vec<i64> = all.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=i64::try_from(all.len()).unwrap()).collect::<Vec<_>>());
    let strange = inbox::history(&mut conn, place.stranger(), id, 0, 100).await.unwrap();
    assert!(strange.is_empty());
    all.into_iter().map(|event| (event.kind, event.by)).collect()
}

#[tokio::test]
async fn one_takes_a_conversation_and_the_other_is_told_who_has_it() {
    for place in places("taking a conversation").await {
        let (ana, eva) =
            (member(&place, "ana", Role::Agent).await, member(&place, "eva", Role::Agent).await);
        let id = begin(&place).await.id;
        let mut tx = place.write().await;
        let ws = place.ws();
        let take = inbox::take_over(&mut tx, ws, id, ana.id, place.now()).await.unwrap();
        assert_eq!(take, Take::Taken);
        let again = inbox::take_over(&mut tx, ws, id, ana.id, place.now()).await.unwrap();
        assert_eq!(again, Take::Taken);
        let late = inbox::take_over(&mut tx, ws, id, eva.id, place.now()).await.unwrap();
        assert_eq!(late, Take::Held(ana.id));
        let foreign = inbox::take_over(&mut tx, place.stranger(), id, eva.id, place.now()).await;
        assert_eq!(foreign.unwrap(), Take::Absent);
        assert_eq!(inbox::assignee(&mut tx, ws, id).await.unwrap(), Some(ana.id));
        tx.commit().await.unwrap();
        let taken = entry(&place, id).await;
        assert_eq!((taken.handler, taken.status), (Handler::Operator, ConversationStatus::Open));
        assert_eq!(taken.assignee.unwrap().name, "ana");
        assert_eq!(kinds(&place, id).await, [(Happening::TakenOver, By::User(ana.id))]);

        let mut tx = place.write().await;
        let hand_back = (Transition::HandBack, By::User(eva.id));
        for _ in 0..2 {
            let now = place.now();
            conversations::transition_by(&mut tx, ws, id, hand_back, now).await.unwrap();
        }
        tx.commit().await.unwrap();
        let back = entry(&place, id).await;
        assert_eq!((back.handler, back.assignee), (Handler::Bot, None));
        let (taken, back) = (Happening::TakenOver, Happening::HandedBack);
        assert_eq!(kinds(&place, id).await, [(taken, By::User(ana.id)), (back, By::User(eva.id))]);
    }
}

#[tokio::test]
async fn only_members_who_work_conversations_are_assigned_any() {
    for place in places("assigning").await {
        let (ana, eva) =
            (member(&place, "ana", Role::Agent).await, member(&place, "eva", Role::Viewer).await);
        let nobody = person(&place, "nadie").await;
        let (ws, id) = (place.ws(), begin(&place).await.id);
        let by = By::User(ana.id);
        let mut tx = place.write().await;
        for (workspace, to, expected) in [
            (ws, nobody.id, Assign::NotMember),
            (ws, eva.id, Assign::Viewer),
            (place.stranger(), ana.id, Assign::Absent),
            (ws, ana.id, Assign::Done),
            (ws, ana.id, Assign::Done),
        ] {
            let now = place.now();
            let outcome = inbox::assign(&mut tx, workspace, id, (to, by), now).await.unwrap();
            assert_eq!(outcome, expected);
        }
        tx.commit().await.unwrap();
        assert_eq!(kinds(&place, id).await, [(Happening::Assigned, by)]);
        let mut tx = place.write().await;
        assert!(inbox::unassign(&mut tx, ws, id, by, place.now()).await.unwrap());
        assert!(inbox::unassign(&mut tx, ws, id, by, place.now()).await.unwrap());
        assert!(!inbox::unassign(&mut tx, place.stranger(), id, by, place.now()).await.unwrap());
        tx.commit().await.unwrap();
        let waits = entry(&place, id).await;
        assert_eq!((waits.handler, waits.assignee), (Handler::Queue, None));
        assert_eq!(waits.waiting_since, Some(place.now()));
        let mut conn = place.read().await;
        let told = events::list(&mut conn, ws, 0, 100).await.unwrap();
        let told: Vec<&str> = told.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(
            told,
            [
                "conversation.created",
                "conversation.updated",
                "conversation.assigned",
                "conversation.assigned",
                "conversation.updated",
                "handoff.requested",
            ]
        );
    }
}

#[tokio::test]
async fn what_is_put_off_comes_back_by_the_clock_or_by_the_customer() {
    for place in places("putting off").await {
        let (ws, by) = (place.ws(), By::System);
        let (first, second) = (begin(&place).await.id, begin(&place).await.id);
        let until = place.now().plus(Duration::from_hours(1));
        let mut tx = place.write().await;
        for id in [first, second] {
            let off = inbox::snooze(&mut tx, ws, id, (until, by), place.now()).await.unwrap();
            assert_eq!(off, Snooze::Done);
        }
        let foreign =
            inbox::snooze(&mut tx, place.stranger(), first, (until, by), place.now()).await;
        assert_eq!(foreign.unwrap(), Snooze::Absent);
        assert!(!inbox::wake(&mut tx, ws, first, place.now()).await.unwrap(), "too early");
        tx.commit().await.unwrap();
        let hidden = Filter::default();
        assert!(listed(&place, &hidden, NEWEST).await.is_empty());
        let only = Filter { snoozed: Snoozed::Only, ..Filter::default() };
        assert_eq!(listed(&place, &only, NEWEST).await.len(), 2);

        say(&place, &message(&place, second, Author::Agent, "¿Sigue ahí?")).await;
        assert_eq!(listed(&place, &only, NEWEST).await.len(), 2, "only the customer wakes it");
        say(&place, &message(&place, second, Author::Customer, "Aquí estoy")).await;
        assert_eq!(listed(&place, &hidden, NEWEST).await, [second]);
        let (snoozed, woken) = (Happening::Snoozed, Happening::Unsnoozed);
        assert_eq!(kinds(&place, second).await, [(snoozed, by), (woken, By::Customer)]);

        let now = place.later(Duration::from_hours(1));
        let mut tx = place.write().await;
        assert!(inbox::wake(&mut tx, ws, first, now).await.unwrap());
        assert!(!inbox::wake(&mut tx, ws, first, now).await.unwrap(), "awake");
        assert!(inbox::unsnooze(&mut tx, ws, first, by, now).await.unwrap());
        assert!(!inbox::unsnooze(&mut tx, place.stranger(), first, by, now).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(listed(&place, &hidden, NEWEST).await, [first, second]);
        go(&place, first, Transition::Close).await;
        let mut tx = place.write().await;
        let off = inbox::snooze(&mut tx, ws, first, (until, by), now).await.unwrap();
        assert_eq!(off, Snooze::Closed);
    }
}

#[tokio::test]
async fn tags_are_one_in_whichever_case_and_are_made_when_they_are_named() {
    for place in places("tags").await {
        let (ws, by) = (place.ws(), By::System);
        let id = begin(&place).await.id;
        let vip = Tag {
            id: place.ambient.new_id(),
            name: "VIP".to_owned(),
            colour: Some("#00aeef".to_owned()),
            created_at: place.now(),
        };
        let mut tx = place.write().await;
        inbox::create_tag(&mut tx, ws, &vip).await.unwrap();
        assert!(inbox::lock(&mut tx, ws, id).await.unwrap());
        assert!(!inbox::lock(&mut tx, place.stranger(), id).await.unwrap());
        let names = ["vip".to_owned(), "Ñandú".to_owned(), "Vip".to_owned()];
        for _ in 0..2 {
            inbox::set_tags(&mut tx, &place.ambient, ws, id, (&names, by)).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert_eq!(entry(&place, id).await.tags, ["VIP", "Ñandú"]);
        assert_eq!(kinds(&place, id).await, [(Happening::Tagged, by)]);
        let tagged = Filter { tag: Some("ÑANDÚ".to_owned()), ..Filter::default() };
        assert_eq!(listed(&place, &tagged, NEWEST).await, [id]);
        let unknown = Filter { tag: Some("nada".to_owned()), ..Filter::default() };
        assert!(listed(&place, &unknown, NEWEST).await.is_empty());

        let mut tx = place.write().await;
        let found = inbox::tags(&mut tx, ws).await.unwrap();
        assert_eq!(found.iter().map(|one| one.conversations).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(inbox::tag(&mut tx, ws, vip.id).await.unwrap().unwrap().tag, vip);
        assert_eq!(inbox::tag(&mut tx, place.stranger(), vip.id).await.unwrap(), None);
        let renamed = Tag { name: "Importante".to_owned(), colour: None, ..vip.clone() };
        assert!(inbox::change_tag(&mut tx, ws, &renamed).await.unwrap());
        assert!(!inbox::change_tag(&mut tx, place.stranger(), &renamed).await.unwrap());
        let of = inbox::tags_of(&mut tx, ws, &[id]).await.unwrap();
        assert_eq!(of[0], (id, "Importante".to_owned()));
        assert!(inbox::delete_tag(&mut tx, ws, vip.id).await.unwrap());
        assert!(!inbox::delete_tag(&mut tx, ws, vip.id).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(entry(&place, id).await.tags, ["Ñandú"]);

        let twin = Tag { id: place.ambient.new_id(), name: "ñandú".to_owned(), ..vip };
        let mut tx = place.write().await;
        let clash = inbox::create_tag(&mut tx, ws, &twin).await;
        assert!(matches!(clash, Err(StorageError::Conflict(_))), "{clash:?}");
    }
}

#[tokio::test]
async fn conversations_are_found_by_words_of_texts_and_of_customers() {
    for place in places("search").await {
        let ws = place.ws();
        let (first, second) = (begin(&place).await.id, begin(&place).await.id);
        say(&place, &message(&place, first, Author::Customer, "Quiero una PIÑATA azul")).await;
        let details = ContactDetails {
            first_name: Some("Belén".to_owned()),
            email: Some("belen@ejemplo.com".to_owned()),
            phone: Some("+5491123456789".to_owned()),
            ..ContactDetails::default()
        };
        let mut tx = place.write().await;
        let contact = contacts::resolve(&mut tx, &place.ambient, ws, None, &details).await;
        let contact = contact.unwrap().unwrap();
        conversations::set_contact(&mut tx, ws, second, contact.id).await.unwrap();
        let by = By::System;
        let titled = ("Cumpleaños de Tomás", by);
        assert!(inbox::set_title(&mut tx, ws, second, titled, place.now()).await.unwrap());
        assert!(
            !inbox::set_title(&mut tx, place.stranger(), second, titled, place.now())
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
        for (criteria, expected) in [
            ("pinata", vec![first]),
            ("piñ AZUL", vec![first]),
            ("zul", vec![]),
            ("belen@ejemplo", vec![second]),
            ("54911", vec![second]),
            ("tomas belen", vec![second]),
            ("pinata belen", vec![]),
            ("cuales horarios", vec![first]),
        ] {
            let words = inbox::sought(criteria);
            let filter = Filter { words, ..Filter::default() };
            let mut found = listed(&place, &filter, NEWEST).await;
            let mut expected = expected;
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{criteria}");
        }

        // What was there before words were kept.
        let mut tx = place.write().await;
        let named = inbox::titles_after(&mut tx, ws, None, 10).await.unwrap();
        assert_eq!(named.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [first, second]);
        assert!(inbox::titles_after(&mut tx, ws, Some(second), 10).await.unwrap().is_empty());
        inbox::add_words(&mut tx, ws, first, "una piñata roja").await.unwrap();
        tx.commit().await.unwrap();
        let find = async |text: &str| {
            let filter = Filter { words: inbox::sought(text), ..Filter::default() };
            listed(&place, &filter, NEWEST).await
        };
        assert_eq!(find("roja").await, [first]);
        assert!(find("belén").await.len() == 1, "by the address");

        // Another title: what only the one before said finds nothing any more.
        say(&place, &message(&place, second, Author::Customer, "una torta de cumpleaños")).await;
        let mut tx = place.write().await;
        let anew = ("Fiesta de Julia", by);
        assert!(inbox::set_title(&mut tx, ws, second, anew, place.now()).await.unwrap());
        tx.commit().await.unwrap();
        for (criteria, expected) in [
            ("tomas", vec![]),
            ("cumpleaños", vec![second]),
            ("de", vec![second]),
            ("julia torta", vec![second]),
            ("pinata", vec![first]),
        ] {
            assert_eq!(find(criteria).await, expected, "{criteria}");
        }
    }
}

#[tokio::test]
async fn lists_are_filtered_ordered_and_paged() {
    for place in places("inbox lists").await {
        let ana = member(&place, "ana", Role::Agent).await;
        let (ws, by) = (place.ws(), By::User(ana.id));
        let mut made = Vec::new();
        for _ in 0..5 {
            made.push(begin(&place).await.id);
        }
        let mut tx = place.write().await;
        for (at, id) in made.iter().enumerate() {
            let now = place.later(Duration::from_millis(1));
            let priority = Priority::ALL[at % 4];
            inbox::set_priority(&mut tx, ws, *id, (priority, by), now).await.unwrap();
        }
        let strange = place.stranger();
        let set = (Priority::Low, by);
        assert!(!inbox::set_priority(&mut tx, strange, made[0], set, place.now()).await.unwrap());
        inbox::assign(&mut tx, ws, made[3], (ana.id, by), place.now()).await.unwrap();
        tx.commit().await.unwrap();
        go(&place, made[1], Transition::RequestHuman).await;
        go(&place, made[0], Transition::RequestHuman).await;
        go(&place, made[4], Transition::Close).await;

        let all = Filter::default();
        let order = |by, descending| Order { by, descending };
        let by_creation = listed(&place, &all, order(OrderBy::CreatedAt, false)).await;
        assert_eq!(by_creation, made);
        let by_priority = listed(&place, &all, order(OrderBy::Priority, true)).await;
        assert_eq!(by_priority, [made[3], made[2], made[1], made[4], made[0]]);
        let by_waiting = listed(&place, &all, order(OrderBy::WaitingSince, false)).await;
        assert_eq!(by_waiting, [made[1], made[0], made[2], made[3], made[4]]);
        let closed = Filter { status: Some(ConversationStatus::Closed), ..Filter::default() };
        assert_eq!(listed(&place, &closed, NEWEST).await, [made[4]]);
        let mine = Filter { assigned: Some(Assigned::To(ana.id)), ..Filter::default() };
        assert_eq!(listed(&place, &mine, NEWEST).await, [made[3]]);
        let nobody = Filter { assigned: Some(Assigned::Nobody), ..Filter::default() };
        assert_eq!(listed(&place, &nobody, NEWEST).await.len(), 4);
        let queue = Filter { handler: Some(Handler::Queue), ..Filter::default() };
        assert_eq!(listed(&place, &queue, NEWEST).await, [made[0], made[1]]);
        let web = Filter { channel: Some(Channel::Web), ..Filter::default() };
        assert!(listed(&place, &web, NEWEST).await.is_empty());
        let urgent = Filter { priority: Some(Priority::Urgent), ..Filter::default() };
        assert_eq!(listed(&place, &urgent, NEWEST).await, [made[3]]);
        let agent = Filter { agent: Some(place.home.agent.id), ..Filter::default() };
        assert_eq!(listed(&place, &agent, NEWEST).await.len(), 5);
        say(&place, &message(&place, made[2], Author::Customer, "hola")).await;
        let unread = Filter { unread: true, ..Filter::default() };
        assert_eq!(seen(&place, Some(ana.id), &unread, NEWEST).await, [made[2]]);
        let project = Filter { project: Some(place.home.project.id), ..Filter::default() };
        assert!(listed(&place, &project, NEWEST).await.is_empty());
        let unread = Filter { contact: Some(place.ambient.new_id()), ..Filter::default() };
        assert!(listed(&place, &unread, NEWEST).await.is_empty());

        for by in [OrderBy::UpdatedAt, OrderBy::CreatedAt, OrderBy::Priority, OrderBy::WaitingSince]
        {
            for descending in [true, false] {
                let order = order(by, descending);
                let whole = listed(&place, &all, order).await;
                assert_eq!(in_steps(&place, &all, order).await, whole, "{order:?}");
            }
        }
        let mut conn = place.read().await;
        let window = Window { after: None, skip: 10, take: 2, count_to: 3 };
        let behind = inbox::list(&mut conn, ws, None, (&all, NEWEST), &window).await.unwrap();
        assert_eq!((behind.entries.len(), behind.found), (0, 5));
        let window = Window { skip: 0, ..window };
        let capped = inbox::list(&mut conn, ws, None, (&all, NEWEST), &window).await.unwrap();
        assert_eq!((capped.entries.len(), capped.found), (2, 3));
        let counts = inbox::counts(&mut conn, ws, Some(ana.id)).await.unwrap();
        assert_eq!((counts.open, counts.pending, counts.mine), (2, 2, 1));
        assert_eq!((counts.unassigned, counts.snoozed), (3, 0));
        assert_eq!(counts.by_channel, [(Channel::Api, 4)]);
    }
}

#[tokio::test]
async fn filters_by_site_channel_and_assignee_find_what_they_name_and_nothing_else() {
    for place in places("inbox of sites").await {
        let (ana, eva) =
            (member(&place, "ana", Role::Agent).await, member(&place, "eva", Role::Agent).await);
        let of_site = Conversation {
            channel: Channel::Web,
            project_id: Some(place.home.project.id),
            ..conversation(&place)
        };
        let mut tx = place.write().await;
        conversations::insert(&mut tx, &of_site, None).await.unwrap();
        tx.commit().await.unwrap();
        let by_api = begin(&place).await;
        let mut tx = place.write().await;
        let to = (ana.id, By::User(eva.id));
        let done = inbox::assign(&mut tx, place.ws(), of_site.id, to, place.now()).await;
        assert_eq!(done.unwrap(), Assign::Done);
        tx.commit().await.unwrap();
        let project = Filter { project: Some(place.home.project.id), ..Filter::default() };
        let web = Filter { channel: Some(Channel::Web), ..Filter::default() };
        let of_ana = Filter { assigned: Some(Assigned::To(ana.id)), ..Filter::default() };
        for filter in [
            web.clone(),
            project.clone(),
            of_ana.clone(),
            Filter { status: Some(ConversationStatus::Open), ..project.clone() },
            Filter { channel: Some(Channel::Web), ..project.clone() },
            Filter { assigned: Some(Assigned::To(ana.id)), ..project.clone() },
        ] {
            assert_eq!(listed(&place, &filter, NEWEST).await, [of_site.id], "{filter:?}");
        }
        let api = Filter { channel: Some(Channel::Api), ..Filter::default() };
        assert_eq!(listed(&place, &api, NEWEST).await, [by_api.id]);
        for filter in [
            Filter { channel: Some(Channel::Api), ..project.clone() },
            Filter { channel: Some(Channel::Api), ..of_ana },
            Filter { status: Some(ConversationStatus::Closed), ..project.clone() },
            Filter { assigned: Some(Assigned::To(eva.id)), ..project.clone() },
            Filter { assigned: Some(Assigned::Nobody), ..project },
            Filter { project: Some(place.ambient.new_id()), ..Filter::default() },
            Filter { channel: Some(Channel::Whatsapp), ..Filter::default() },
        ] {
            assert!(listed(&place, &filter, NEWEST).await.is_empty(), "{filter:?}");
        }
    }
}

/// The list, two entries at a time by the place of the last one.
async fn in_steps(place: &Place, filter: &Filter, order: Order) -> Vec<ConversationId> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let window = Window { after, skip: 0, take: 2, count_to: 2 };
        let mut conn = place.read().await;
        let part =
            inbox::list(&mut conn, place.ws(), None, (filter, order), &window).await.unwrap();
        all.extend(part.entries.iter().map(|entry| entry.id));
        let Some(next) = part.next else { return all };
        after = Some(next);
    }
}

#[tokio::test]
async fn what_enters_the_queue_is_handed_out_in_turn_up_to_the_limit() {
    for place in places("handing out").await {
        let (ana, eva) =
            (member(&place, "ana", Role::Agent).await, member(&place, "eva", Role::Owner).await);
        member(&place, "vera", Role::Viewer).await;
        let ws = place.ws();
        let mut tx = place.write().await;
        assert_eq!(inbox::settings(&mut tx, ws).await.unwrap(), InboxSettings::default());
        let settings = InboxSettings { assignment: Assignment::RoundRobin, most_open: Some(1) };
        inbox::set_settings(&mut tx, ws, &settings, place.now()).await.unwrap();
        tx.commit().await.unwrap();
        let mut made = Vec::new();
        for _ in 0..3 {
            let id = begin(&place).await.id;
            go(&place, id, Transition::RequestHuman).await;
            made.push(id);
        }
        let of = async |id| entry(&place, id).await.assignee.map(|person| person.id);
        assert_eq!(of(made[0]).await, Some(ana.id));
        assert_eq!(of(made[1]).await, Some(eva.id));
        assert_eq!(of(made[2]).await, None, "both have as many as they may");
        let asked = (Happening::HandoffRequested, By::Agent);
        assert_eq!(kinds(&place, made[0]).await, [asked, (Happening::Assigned, By::System)]);

        // Whoever closes one is given the one that waits.
        go(&place, made[0], Transition::Close).await;
        assert_eq!(of(made[2]).await, Some(ana.id));
        let mut tx = place.write().await;
        assert!(inbox::set_availability(&mut tx, ws, eva.id, Availability::Away).await.unwrap());
        let nobody = place.ambient.new_id();
        assert!(!inbox::set_availability(&mut tx, ws, nobody, Availability::Away).await.unwrap());
        assert_eq!(
            inbox::standbys(&mut tx, ws).await.unwrap(),
            [
                Standby { user: ana.id, availability: Availability::Online, open: 1 },
                Standby { user: eva.id, availability: Availability::Away, open: 1 },
            ]
        );
        // What a member leaves behind waits again; the other has as many as they may.
        assert_eq!(inbox::release(&mut tx, ws, eva.id, place.now()).await.unwrap(), 1);
        assert_eq!(inbox::hand_out_waiting(&mut tx, ws, 10, place.now()).await.unwrap(), 0);
        let busy = InboxSettings { assignment: Assignment::LeastBusy, most_open: None };
        inbox::set_settings(&mut tx, ws, &busy, place.now()).await.unwrap();
        assert_eq!(inbox::hand_out_waiting(&mut tx, ws, 10, place.now()).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!(of(made[1]).await, Some(ana.id), "eva is away");
    }
}

#[tokio::test]
async fn two_that_hand_out_at_once_take_turns() {
    for place in places("handing out at once").await {
        let (ana, eva) =
            (member(&place, "ana", Role::Agent).await, member(&place, "eva", Role::Agent).await);
        let ws = place.ws();
        let mut tx = place.write().await;
        let settings = InboxSettings { assignment: Assignment::LeastBusy, most_open: Some(4) };
        inbox::set_settings(&mut tx, ws, &settings, place.now()).await.unwrap();
        tx.commit().await.unwrap();
        let mut made = Vec::new();
        for _ in 0..10 {
            made.push(begin(&place).await.id);
        }
        futures_of(made.iter().map(|id| go(&place, *id, Transition::RequestHuman))).await;
        let mut conn = place.read().await;
        assert!(inbox::is_anybody_there(&mut conn, ws).await.unwrap());
        assert!(!inbox::is_anybody_there(&mut conn, place.stranger()).await.unwrap());
        let standbys = inbox::standbys(&mut conn, ws).await.unwrap();
        let open: Vec<(UserId, i64)> = standbys.iter().map(|one| (one.user, one.open)).collect();
        assert_eq!(open, [(ana.id, 4), (eva.id, 4)]);
        drop(conn);
        let queue = Filter { handler: Some(Handler::Queue), ..Filter::default() };
        assert_eq!(listed(&place, &queue, NEWEST).await.len(), 2);
    }
}

/// All of them at once.
async fn futures_of(all: impl IntoIterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
