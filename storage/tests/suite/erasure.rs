//! What was said and who said it goes, and how long it is kept.

use std::time::Duration;

use domain::attachment::Uploader;
use domain::contact::ContactDetails;
use domain::job::JobState;
use domain::{ContactId, VisitorId};
use storage::retention::{self, Retention};
use storage::{attachments, contacts, conversations, embeddings, erasure, jobs, workspaces};

use crate::support::{Place, places};

async fn known(place: &Place, visitor: &VisitorId) -> ContactId {
    let details =
        ContactDetails { email: Some("ana@ejemplo.com".to_owned()), ..ContactDetails::default() };
    let mut tx = place.write().await;
    let found = contacts::resolve(&mut tx, &place.ambient, place.ws(), Some(visitor), &details);
    let id = found.await.unwrap().unwrap().id;
    tx.commit().await.unwrap();
    id
}

#[tokio::test]
async fn a_contact_goes_with_what_it_said() {
    for place in places("erasure").await {
        let (ws, foreign) = (place.ws(), place.stranger());
        let visitor = VisitorId::parse("user 456").unwrap();
        let id = known(&place, &visitor).await;
        // It is of the visitor alone.
        let talk = crate::conversations::begin(&place).await;
        let mut tx = place.write().await;
        assert_eq!(erasure::conversations_of(&mut tx, ws, id).await.unwrap(), [talk.id]);
        assert!(erasure::conversations_of(&mut tx, foreign, id).await.unwrap().is_empty());
        let visitors = erasure::visitors_of(&mut tx, ws, id).await.unwrap();
        assert_eq!(visitors, std::slice::from_ref(&visitor));
        assert!(!erasure::is_busy(&mut tx, ws, &[talk.id], place.now()).await.unwrap());
        assert!(erasure::questions(&mut tx, ws, &[talk.id]).await.unwrap().is_empty());
        let file = crate::threads::upload(&place, None, Uploader::Visitor(visitor.clone()));
        attachments::insert(&mut tx, ws, &file).await.unwrap();
        assert_eq!(erasure::uploads_of(&mut tx, ws, id).await.unwrap(), [file.blob]);
        assert!(erasure::uploads_of(&mut tx, foreign, id).await.unwrap().is_empty());
        let hash = [7; 32];
        let vectors = [(hash, vec![1.0_f32])];
        embeddings::insert_many(&mut tx, ws, "m/1", &vectors, place.now()).await.unwrap();
        assert_eq!(embeddings::delete_many(&mut tx, foreign, &[hash]).await.unwrap(), 0);
        assert_eq!(embeddings::delete_many(&mut tx, ws, &[hash]).await.unwrap(), 1);
        assert_eq!(erasure::conversations(&mut tx, foreign, &[talk.id]).await.unwrap(), 0);
        assert_eq!(erasure::conversations(&mut tx, ws, &[talk.id]).await.unwrap(), 1);
        assert!(!erasure::contact(&mut tx, foreign, id).await.unwrap());
        assert!(erasure::contact(&mut tx, ws, id).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        assert_eq!(contacts::get(&mut conn, ws, id).await.unwrap(), None);
        assert_eq!(conversations::get(&mut conn, ws, talk.id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_is_old_is_found_by_what_a_workspace_keeps() {
    for place in places("retention").await {
        let ws = place.ws();
        let mut tx = place.write().await;
        workspaces::hold(&mut tx, ws).await.unwrap();
        assert_eq!(retention::get(&mut tx, ws).await.unwrap(), Retention::default());
        // However often a night is wanted, there is one.
        let night = retention::next_night(place.now());
        for _ in 0..2 {
            retention::want(&mut tx, &place.ambient, ws, night).await.unwrap();
        }
        let jobs = jobs::list(&mut tx, ws, JobState::Waiting, 9).await.unwrap();
        assert_eq!(jobs.iter().filter(|job| job.kind == retention::KIND).count(), 1);
        let kept = Retention { conversation_days: Some(30), contact_days: None };
        retention::set(&mut tx, ws, kept, place.now()).await.unwrap();
        assert_eq!(retention::get(&mut tx, ws).await.unwrap(), kept);
        assert_eq!(retention::all(&mut tx).await.unwrap(), [(ws, kept)]);
        retention::set(&mut tx, ws, Retention::default(), place.now()).await.unwrap();
        assert!(retention::all(&mut tx).await.unwrap().is_empty());
        tx.commit().await.unwrap();
        let id = known(&place, &VisitorId::parse("v").unwrap()).await;
        let talk = crate::conversations::begin(&place).await;
        let early = place.now();
        let late = place.later(Duration::from_secs(5));
        let mut conn = place.read().await;
        let old = erasure::old_conversations(&mut conn, ws, late, 10).await.unwrap();
        assert_eq!(old, [talk.id]);
        let old = erasure::old_conversations(&mut conn, ws, early, 10).await.unwrap();
        assert!(old.is_empty());
        assert_eq!(erasure::old_contacts(&mut conn, ws, late, 10).await.unwrap(), [id]);
        assert!(
            erasure::old_contacts(&mut conn, place.stranger(), late, 10).await.unwrap().is_empty()
        );
    }
}
