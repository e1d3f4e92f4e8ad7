//! Cases from rated answers.

use domain::message::{Author, Message, Outcome, Rating};
use domain::{AgentId, DomainError, WorkspaceId};
use storage::evals::{self, RatedAnswer, RatedFilter};
use storage::{Conn, citations, messages};

use super::{Made, bare};
use crate::dataset::{Case, Expect, Form, Relevant, Role, Said};
use crate::stored::Inner;
use crate::text::without_markers;

/// Earlier messages that a case begins with.
const HISTORY: i64 = 6;

pub(super) async fn cases(
    inner: &Inner,
    workspace: WorkspaceId,
    agent: Option<AgentId>,
    rating: Option<Rating>,
    count: usize,
) -> Result<Made, DomainError> {
    let filter = RatedFilter { rating, agent };
    let limit = i64::try_from(count).unwrap_or(i64::MAX);
    let mut conn = inner.db.read().await?;
    let mut made = Made::default();
    for rated in evals::rated(&mut conn, workspace, filter, None, limit).await? {
        match case_of(&mut conn, workspace, rated).await? {
            Some(case) => made.cases.push(case),
            None => made.left_out += 1,
        }
    }
    Ok(made)
}

/// `None` for an answer that knowledge was not needed for, or to no question.
async fn case_of(
    conn: &mut Conn,
    workspace: WorkspaceId,
    rated: RatedAnswer,
) -> Result<Option<Case>, DomainError> {
    let Some(answer) = messages::get(conn, workspace, rated.message_id).await? else {
        return Ok(None);
    };
    let Some(question) = answer.reply_to else { return Ok(None) };
    let Some(question) = messages::get(conn, workspace, question).await? else { return Ok(None) };
    if question.content.trim().is_empty() {
        return Ok(None);
    }
    let tag = format!("rated:{}", rated.rating.name());
    let case = bare(answer.id.to_string(), &question.content, &["rated", &tag]);
    let case = Case { history: history(conn, workspace, &question).await?, ..case };
    if rated.rating == Rating::Down {
        return Ok(Some(case));
    }
    let (expect, kind) = match answer.outcome {
        Some(Outcome::Answered) => {
            let cited = citations::of_messages(conn, workspace, &[answer.id]).await?;
            let quotes = cited.into_iter().map(|(_, citation)| citation.quote);
            return Ok(Some(answered(case, &answer, quotes)));
        }
        Some(Outcome::Abstained) => (Expect::Abstain, Some("not_in_kb".to_owned())),
        Some(Outcome::HandedOff) => (Expect::Handoff, None),
        Some(Outcome::Smalltalk | Outcome::LeadCaptured | Outcome::AwaitingApproval) | None => {
            return Ok(None);
        }
    };
    Ok(Some(Case { expect, kind, ..case }))
}

/// What was liked is what is expected; what it cites is known by its words, which outlive the cutting of documents.
fn answered(case: Case, answer: &Message, quotes: impl Iterator<Item = String>) -> Case {
    let mut relevant: Vec<Relevant> = Vec::new();
    for quote in quotes.filter(|quote| !quote.trim().is_empty()) {
        let text = Relevant::Text { must_contain: quote };
        if !relevant.contains(&text) {
            relevant.push(text);
        }
    }
    let said = without_markers(&answer.content).trim().to_owned();
    let answers = if said.is_empty() { Vec::new() } else { vec![said] };
    Case { answers, form: Form::Long, relevant, ..case }
}

async fn history(
    conn: &mut Conn,
    workspace: WorkspaceId,
    question: &Message,
) -> Result<Vec<Said>, DomainError> {
    let after = (question.seq - 1 - HISTORY).max(0);
    let talk = question.conversation_id;
    let earlier = messages::list(conn, workspace, talk, after, HISTORY).await?;
    let said = |message: Message| Said {
        role: if message.author == Author::Customer { Role::User } else { Role::Assistant },
        text: without_markers(&message.content),
    };
    let earlier = earlier.into_iter().filter(|message| message.seq < question.seq);
    Ok(earlier.map(said).filter(|said| !said.text.trim().is_empty()).collect())
}
