//! Invitations, links that come by mail, verified addresses.

use std::time::Duration;

use domain::job::JobState::{Cancelled, Running, Waiting};
use domain::user::{Invitation, InvitationStatus, Link, LinkPurpose, User};
use domain::{Lang, Role, UserId};
use storage::{
    StorageError, api_keys, identities, invitations, jobs, links, members, second_factors, users,
};

use crate::support::{Place, places};

const DAY: Duration = Duration::from_hours(24);

async fn person(place: &Place, name: &str) -> User {
    let email = format!("{name}@ejemplo.com");
    let user = User::new(place.ambient.new_id(), name.to_owned(), email, place.now());
    let user = User { language: Some(Lang::Pt), ..user };
    let mut tx = place.write().await;
    users::insert(&mut tx, &user, "$hash").await.unwrap();
    tx.commit().await.unwrap();
    user
}

fn invitation(place: &Place, email: &str, by: UserId) -> Invitation {
    let now = place.later(Duration::from_millis(1));
    Invitation {
        id: place.ambient.new_id(),
        workspace_id: place.ws(),
        email: email.to_owned(),
        role: Role::Agent,
        invited_by: Some(by),
        language: Lang::En,
        sent: 1,
        created_at: now,
        expires_at: now.plus(7 * DAY),
        accepted_at: None,
        revoked_at: None,
    }
}

#[tokio::test]
async fn one_invitation_of_an_address_is_open_and_is_accepted_once() {
    for place in places("invitations").await {
        let ana = person(&place, "ana").await;
        let (ws, stranger) = (place.ws(), place.stranger());
        let made = invitation(&place, "eva@ejemplo.com", ana.id);
        let mut tx = place.write().await;
        invitations::insert(&mut tx, ws, &made, &[1; 32]).await.unwrap();
        tx.commit().await.unwrap();
        let twin = invitation(&place, "eva@ejemplo.com", ana.id);
        let mut tx = place.write().await;
        let refused = invitations::insert(&mut tx, ws, &twin, &[2; 32]).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        drop(tx);

        let mut conn = place.read().await;
        assert_eq!(invitations::get(&mut conn, ws, made.id).await.unwrap(), Some(made.clone()));
        assert_eq!(invitations::get(&mut conn, stranger, made.id).await.unwrap(), None);
        let found = invitations::by_hash(&mut conn, &[1; 32]).await.unwrap();
        assert_eq!(found, Some(made.clone()));
        assert_eq!(invitations::by_hash(&mut conn, &[2; 32]).await.unwrap(), None);
        assert_eq!(
            invitations::list_open(&mut conn, ws).await.unwrap(),
            std::slice::from_ref(&made)
        );
        assert!(invitations::list_open(&mut conn, stranger).await.unwrap().is_empty());
        drop(conn);

        let (mut tx, until) = (place.write().await, place.now().plus(9 * DAY));
        let resend = async |tx: &mut storage::Tx, workspace, sent| {
            invitations::resend(tx, workspace, made.id, sent, &[3; 32], until).await.unwrap()
        };
        assert!(!resend(&mut tx, stranger, 1).await);
        assert!(resend(&mut tx, ws, 1).await);
        assert!(!resend(&mut tx, ws, 1).await, "somebody else did");
        let late = until.plus(DAY);
        assert!(!invitations::accept(&mut tx, ws, made.id, late).await.unwrap());
        assert!(!invitations::accept(&mut tx, stranger, made.id, place.now()).await.unwrap());
        assert!(invitations::accept(&mut tx, ws, made.id, place.now()).await.unwrap());
        assert!(!invitations::accept(&mut tx, ws, made.id, place.now()).await.unwrap());
        assert!(!invitations::revoke(&mut tx, ws, made.id, place.now()).await.unwrap());
        assert!(!resend(&mut tx, ws, 2).await);
        invitations::insert(&mut tx, ws, &twin, &[2; 32]).await.unwrap();
        assert!(!invitations::revoke(&mut tx, stranger, twin.id, place.now()).await.unwrap());
        assert!(invitations::revoke(&mut tx, ws, twin.id, place.now()).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let found = invitations::by_hash(&mut conn, &[3; 32]).await.unwrap().unwrap();
        assert_eq!((found.sent, found.expires_at), (2, until));
        assert_eq!(found.status(place.now()), InvitationStatus::Accepted);
        assert!(invitations::list_open(&mut conn, ws).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_link_is_used_once_and_verifies_the_address_that_it_went_to() {
    for place in places("links").await {
        let mut tx = place.write().await;
        assert!(users::none_yet(&mut tx).await.unwrap());
        drop(tx);
        let ana = person(&place, "ana").await;
        let now = place.now();
        let link = |purpose| Link {
            id: place.ambient.new_id(),
            user_id: ana.id,
            purpose,
            email: ana.email.clone(),
            language: Lang::Pt,
            created_at: now,
            expires_at: now.plus(DAY),
            used_at: None,
        };
        let (verify, reset, other) =
            (link(LinkPurpose::Verify), link(LinkPurpose::Reset), link(LinkPurpose::Reset));
        let mut tx = place.write().await;
        for (link, hash) in [(&verify, [1; 32]), (&reset, [2; 32]), (&other, [3; 32])] {
            links::insert(&mut tx, link, &hash).await.unwrap();
        }
        assert!(!users::none_yet(&mut tx).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        assert_eq!(links::get(&mut conn, reset.id).await.unwrap(), Some(reset.clone()));
        let found = links::by_hash(&mut conn, LinkPurpose::Verify, &[1; 32]).await.unwrap();
        assert_eq!(found, Some(verify.clone()));
        let wrong = links::by_hash(&mut conn, LinkPurpose::Reset, &[1; 32]).await.unwrap();
        assert_eq!(wrong, None, "it is for something else");
        drop(conn);

        let mut tx = place.write().await;
        assert!(links::take(&mut tx, reset.id, now).await.unwrap());
        assert!(!links::take(&mut tx, reset.id, now).await.unwrap());
        links::end(&mut tx, ana.id, LinkPurpose::Reset, now).await.unwrap();
        assert!(!links::take(&mut tx, other.id, now).await.unwrap());
        assert!(!users::verify(&mut tx, ana.id, "otra@ejemplo.com", now).await.unwrap());
        assert!(users::verify(&mut tx, ana.id, &ana.email, now).await.unwrap());
        assert!(users::verify(&mut tx, ana.id, &ana.email, now.plus(DAY)).await.unwrap());
        let verified = users::get(&mut tx, ana.id).await.unwrap().unwrap();
        assert_eq!(verified, User { email_verified_at: Some(now), ..ana.clone() });
        assert_eq!(links::delete_older(&mut tx, now.plus(DAY)).await.unwrap(), 0);
        assert_eq!(links::delete_older(&mut tx, now.plus(2 * DAY)).await.unwrap(), 3);
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_key_is_what_its_maker_is_today() {
    for place in places("keys of people").await {
        let ana = person(&place, "ana").await;
        let ws = place.ws();
        let key = domain::api_key::ApiKey {
            id: place.ambient.new_id(),
            workspace_id: ws,
            name: "web".to_owned(),
            prefix: "vk_1".to_owned(),
            scopes: domain::principal::Scopes::all(),
            created_by: Some(ana.id),
            created_at: place.now(),
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        };
        let mut tx = place.write().await;
        api_keys::insert(&mut tx, &key, &[1; 32]).await.unwrap();
        let role = async |tx: &mut storage::Tx| {
            let found = api_keys::find_by_hash(tx, &[1; 32]).await.unwrap().unwrap();
            found.role(place.now())
        };
        assert_eq!(role(&mut tx).await, None, "she is no member");
        members::insert(&mut tx, ws, ana.id, Role::Owner, place.now()).await.unwrap();
        assert_eq!(role(&mut tx).await, Some(Role::Admin), "no key owns");
        let eva = person_in(&mut tx, &place).await;
        members::insert(&mut tx, ws, eva, Role::Owner, place.now()).await.unwrap();
        members::set_role(&mut tx, ws, ana.id, Role::Viewer).await.unwrap();
        assert_eq!(role(&mut tx).await, Some(Role::Viewer));
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn the_jobs_of_a_workspace_are_cancelled_but_for_one() {
    for place in places("cancelling all jobs").await {
        let (ws, now) = (place.ws(), place.now());
        let job = || domain::job::NewJob::now("test.job", serde_json::json!({}), now);
        let mut tx = place.write().await;
        let first = jobs::enqueue(&mut tx, &place.ambient, ws, &job()).await.unwrap().unwrap();
        let claim = jobs::Claim {
            kinds: &["test.job"],
            owner: "w",
            lease_until: now.plus(DAY),
            limit: 1,
            busy_workspaces: &[],
            max_losses: 3,
        };
        assert_eq!(jobs::claim(&mut tx, &claim, now).await.unwrap().0.len(), 1);
        let waiting = jobs::enqueue(&mut tx, &place.ambient, ws, &job()).await.unwrap().unwrap();
        let spared = jobs::enqueue(&mut tx, &place.ambient, ws, &job()).await.unwrap().unwrap();
        let other = place.stranger();
        let foreign = jobs::enqueue(&mut tx, &place.ambient, other, &job()).await.unwrap().unwrap();
        let running = jobs::cancel_all(&mut tx, ws, Some(spared), now).await.unwrap();
        assert_eq!(running, 1);
        let mut states = Vec::new();
        for (workspace, id) in [(ws, first), (ws, waiting), (ws, spared), (other, foreign)] {
            states.push(jobs::get(&mut tx, workspace, id).await.unwrap().unwrap().state);
        }
        assert_eq!(states, [Running, Cancelled, Waiting, Waiting]);
        let held = jobs::heartbeat(&mut tx, "w", &[(first, 1)], now.plus(DAY)).await.unwrap();
        assert!(held[0].cancel_requested, "its worker is told");
        let ending = [(first, 1, jobs::Ending::Cancelled)];
        jobs::finish(&mut tx, "w", &ending, now).await.unwrap();
        assert_eq!(jobs::cancel_all(&mut tx, ws, None, now).await.unwrap(), 0);
        tx.commit().await.unwrap();
    }
}

async fn person_in(tx: &mut storage::Tx, place: &Place) -> UserId {
    let (id, email) = (place.ambient.new_id(), "eva@ejemplo.com".to_owned());
    users::insert(tx, &User::new(id, "eva".to_owned(), email, place.now()), "$hash").await.unwrap();
    id
}

#[tokio::test]
async fn a_second_factor_is_confirmed_used_and_turned_off() {
    for place in places("second factors").await {
        let (ana, now) = (person(&place, "ana").await.id, place.now());
        let mut tx = place.write().await;
        assert_eq!(second_factors::get(&mut tx, ana).await.unwrap(), None);
        assert!(second_factors::set_up(&mut tx, ana, "sealed").await.unwrap());
        assert!(!second_factors::confirm(&mut tx, ana, "another", 7, now).await.unwrap());
        assert!(second_factors::confirm(&mut tx, ana, "sealed", 7, now).await.unwrap());
        assert!(!second_factors::confirm(&mut tx, ana, "sealed", 8, now).await.unwrap());
        assert!(!second_factors::set_up(&mut tx, ana, "other").await.unwrap(), "it is on");
        assert!(!second_factors::take_step(&mut tx, ana, 7).await.unwrap(), "it is used up");
        assert!(second_factors::take_step(&mut tx, ana, 8).await.unwrap());
        let known = second_factors::get(&mut tx, ana).await.unwrap().unwrap();
        assert_eq!(second_factors::hold(&mut tx, ana).await.unwrap(), Some(known.clone()));
        assert_eq!((known.since, known.step), (Some(now), Some(8)));
        assert!(!second_factors::replace(&mut tx, ana, "another", "anew").await.unwrap());
        assert!(second_factors::replace(&mut tx, ana, "sealed", "anew").await.unwrap());
        assert_eq!(second_factors::all(&mut tx).await.unwrap(), [(ana, "anew".to_owned())]);
        second_factors::put_recovery_codes(&mut tx, ana, &[[1; 32], [2; 32]]).await.unwrap();
        assert!(second_factors::take_recovery_code(&mut tx, ana, &[1; 32]).await.unwrap());
        assert!(!second_factors::take_recovery_code(&mut tx, ana, &[1; 32]).await.unwrap());
        second_factors::remove(&mut tx, ana).await.unwrap();
        assert!(!second_factors::take_recovery_code(&mut tx, ana, &[2; 32]).await.unwrap());
        assert_eq!(second_factors::get(&mut tx, ana).await.unwrap(), None);

        let until = now.plus(DAY);
        second_factors::insert_challenge(&mut tx, &[5; 32], ana, now, until).await.unwrap();
        for _ in 0..2 {
            let whose = second_factors::guess(&mut tx, &[5; 32], 2, now).await.unwrap();
            assert_eq!(whose, Some(ana));
        }
        assert_eq!(second_factors::guess(&mut tx, &[5; 32], 2, now).await.unwrap(), None);
        assert_eq!(second_factors::guess(&mut tx, &[5; 32], 9, until).await.unwrap(), None);
        assert_eq!(second_factors::guess(&mut tx, &[6; 32], 9, now).await.unwrap(), None);
        assert!(second_factors::end_challenges(&mut tx, ana).await.unwrap());
        assert!(!second_factors::end_challenges(&mut tx, ana).await.unwrap());
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn an_account_elsewhere_is_one_persons_and_a_state_is_used_once() {
    for place in places("identities").await {
        let (ana, now) = (person(&place, "ana").await.id, place.now());
        let mut tx = place.write().await;
        assert_eq!(identities::user(&mut tx, "https://id", "1").await.unwrap(), None);
        identities::insert(&mut tx, "https://id", "1", ana, now).await.unwrap();
        assert_eq!(identities::user(&mut tx, "https://id", "1").await.unwrap(), Some(ana));
        assert_eq!(identities::user(&mut tx, "https://other", "1").await.unwrap(), None);
        let until = now.plus(DAY);
        identities::insert_request(&mut tx, &[1; 32], Lang::Pt, now, until).await.unwrap();
        assert_eq!(identities::take_request(&mut tx, &[1; 32], until).await.unwrap(), None);
        let language = identities::take_request(&mut tx, &[1; 32], now).await.unwrap();
        assert_eq!(language, Some(Lang::Pt));
        assert_eq!(identities::take_request(&mut tx, &[1; 32], now).await.unwrap(), None);
        tx.commit().await.unwrap();
    }
}
