//! Calls that wait for a person's word.

use std::time::Duration;

use domain::agent::ToolKind;
use domain::approval::{Approval, ApprovalStatus};
use serde_json::json;
use storage::StorageError;
use storage::approvals::{self, Decided, Ended};

use crate::conversations::begin;
use crate::support::{Place, places};

async fn waiting(place: &Place) -> Approval {
    let conversation = begin(place).await;
    Approval {
        id: place.ambient.new_id(),
        workspace_id: place.ws(),
        agent_id: place.home.agent.id,
        conversation_id: conversation.id,
        question_id: place.ambient.new_id(),
        message_id: place.ambient.new_id(),
        kind: ToolKind::Http,
        tool: "book".to_owned(),
        target: "POST https://a.example/ñ".to_owned(),
        arguments: json!({"people": 4}),
        status: ApprovalStatus::Waiting,
        error: None,
        decided_by: None,
        note: None,
        decided_at: None,
        answer_id: None,
        created_at: place.now(),
        expires_at: place.now().plus(Duration::from_hours(1)),
    }
}

#[tokio::test]
async fn an_approval_is_decided_once_sent_once_and_over_once() {
    for place in places("approvals").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let approval = waiting(&place).await;
        let id = approval.id;
        let mut tx = place.write().await;
        let refused = approvals::insert(&mut tx, stranger, &approval, &json!({})).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        drop(tx);
        let mut tx = place.write().await;
        approvals::insert(&mut tx, ws, &approval, &json!({"turn": 1})).await.unwrap();
        assert!(
            !approvals::mark_sent(&mut tx, ws, id, place.now()).await.unwrap(),
            "not allowed yet"
        );
        let approved = Decided { status: ApprovalStatus::Approved, by: None, note: Some("dale") };
        let expired = Decided { status: ApprovalStatus::Expired, by: None, note: None };
        assert!(!approvals::decide(&mut tx, ws, id, expired, place.now()).await.unwrap());
        assert!(!approvals::decide(&mut tx, stranger, id, approved, place.now()).await.unwrap());
        assert!(approvals::decide(&mut tx, ws, id, approved, place.now()).await.unwrap());
        assert!(!approvals::decide(&mut tx, ws, id, approved, place.now()).await.unwrap());
        assert!(!approvals::mark_sent(&mut tx, stranger, id, place.now()).await.unwrap());
        assert!(approvals::mark_sent(&mut tx, ws, id, place.now()).await.unwrap());
        assert!(!approvals::mark_sent(&mut tx, ws, id, place.now()).await.unwrap());
        assert!(!approvals::keep_result(&mut tx, stranger, id, &json!(1)).await.unwrap());
        assert!(approvals::keep_result(&mut tx, ws, id, &json!({"told": "ñ"})).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let paused = approvals::paused_turn(&mut conn, ws, id).await.unwrap().unwrap();
        assert_eq!((paused.turn, paused.result), (json!({"turn": 1}), Some(json!({"told": "ñ"}))));
        assert!(paused.sent_at.is_some());
        assert!(approvals::paused_turn(&mut conn, stranger, id).await.unwrap().is_none());
        let found = approvals::get(&mut conn, ws, id).await.unwrap().unwrap();
        assert_eq!((found.status, found.note.as_deref()), (ApprovalStatus::Approved, Some("dale")));
        assert!(approvals::get(&mut conn, stranger, id).await.unwrap().is_none());
        let (agent, message) = (approval.agent_id, approval.message_id);
        let open = approvals::unfinished(&mut conn, ws, agent, message).await.unwrap();
        assert_eq!(open, Some((id, approval.question_id)));
        let other = place.ambient.new_id();
        for (workspace, agent, message) in
            [(stranger, agent, message), (ws, place.ambient.new_id(), message), (ws, agent, other)]
        {
            let none = approvals::unfinished(&mut conn, workspace, agent, message).await.unwrap();
            assert_eq!(none, None);
        }
        drop(conn);
        let mut tx = place.write().await;
        let answer = place.ambient.new_id();
        let done = Ended { status: ApprovalStatus::Done, answer: Some(answer), error: None };
        assert!(!approvals::finish(&mut tx, stranger, id, done, place.now()).await.unwrap());
        assert!(approvals::finish(&mut tx, ws, id, done, place.now()).await.unwrap());
        assert!(!approvals::finish(&mut tx, ws, id, done, place.now()).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        assert!(approvals::paused_turn(&mut conn, ws, id).await.unwrap().is_none());
        let found = approvals::get(&mut conn, ws, id).await.unwrap().unwrap();
        assert_eq!((found.status, found.answer_id), (ApprovalStatus::Done, Some(answer)));
        let over = approvals::unfinished(&mut conn, ws, agent, message).await.unwrap();
        assert_eq!(over, None);
    }
}

#[tokio::test]
async fn approvals_are_listed_by_where_they_stand_and_expire_in_their_time() {
    for place in places("approvals list").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let (first, second) = (waiting(&place).await, waiting(&place).await);
        let mut tx = place.write().await;
        approvals::insert(&mut tx, ws, &first, &json!({})).await.unwrap();
        approvals::insert(&mut tx, ws, &second, &json!({})).await.unwrap();
        let later = place.now().plus(Duration::from_hours(2));
        let approved = Decided { status: ApprovalStatus::Approved, by: None, note: None };
        let expired = Decided { status: ApprovalStatus::Expired, by: None, note: None };
        assert!(!approvals::decide(&mut tx, ws, first.id, approved, later).await.unwrap());
        assert!(approvals::decide(&mut tx, ws, first.id, expired, later).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let waiting = Some(ApprovalStatus::Waiting);
        let listed = approvals::list(&mut conn, ws, waiting, None, 10).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&second));
        let all = approvals::list(&mut conn, ws, None, None, 10).await.unwrap();
        assert_eq!((all.len(), all[1].status), (2, ApprovalStatus::Expired));
        let older = approvals::list(&mut conn, ws, None, Some(second.id), 10).await.unwrap();
        assert_eq!(older.len(), 1);
        assert!(approvals::list(&mut conn, stranger, None, None, 10).await.unwrap().is_empty());
    }
}
