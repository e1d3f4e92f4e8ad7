//! What a visitor is told as it happens: the messages of their conversations, whoever writes them, and who answers.
//!
//! A follower remembers, for each conversation, the newest message that it told. What it hears is only the occasion to
//! read what is after that: so nothing is lost or doubled, whatever was missed. Where it stands is the cursor that its
//! client comes back with. Who answers is told before what they say, although the occasion may be an earlier message, whose
//! event comes before the one of their joining.

use std::collections::{BTreeMap, HashSet, VecDeque};

use domain::conversation::{Conversation, ConversationStatus, Handler};
use domain::{ConversationId, DomainError, MessageId, WorkspaceId};
use serde_json::{Value, json};
use storage::events::Event;
use storage::{Conn, conversations, messages, projects};

use super::views::{self, ConversationView, MessageView};
use super::{no_conversation, own_conversation, read_conversation};
use crate::error::{ApiError, ApiResult};
use crate::live::{Heard, Subscription};
use crate::state::AppState;
use crate::visitors::Guest;

/// Conversations of a visitor that are followed: the newest.
const MOST_CONVERSATIONS: i64 = 50;
/// Messages read at once.
const PAGE: i64 = 100;
/// The cursor of a visitor who has no conversation.
const NOTHING: &str = "-";

/// Where a client says that it was.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// A cursor, or the `seq` of the newest message that it has of `conversation`.
    pub after: Option<String>,
    pub conversation: Option<String>,
}

/// Something to be told.
#[derive(Debug)]
pub(super) enum Told {
    Message(ConversationId, Box<MessageView>),
    Conversation(ConversationView),
    Typing {
        conversation: ConversationId,
        typing: bool,
    },
    /// The server ends.
    Closed,
}

/// Who answers in a conversation, as it was told.
type Standing = (ConversationStatus, Handler);

/// How a conversation begins, which nobody needs to be told.
const BEGINNING: Standing = (ConversationStatus::Open, Handler::Bot);

pub(super) struct Follower {
    state: AppState,
    guest: Guest,
    subscription: Subscription,
    /// The newest message that was read, of each conversation.
    seen: BTreeMap<ConversationId, i64>,
    /// The newest message that was told.
    told: BTreeMap<ConversationId, i64>,
    standing: BTreeMap<ConversationId, Standing>,
    /// Messages that the client knows by other ways.
    known: HashSet<MessageId>,
    /// Heard, not acted upon yet: whoever gives up waiting loses nothing.
    heard: Option<Heard>,
    ready: VecDeque<Entry>,
}

/// What waits to be told.
enum Entry {
    Tell(Told),
    /// The client knows this message.
    Pass(ConversationId, i64),
}

impl Follower {
    /// Begins to follow. What the client has missed since it was at `place` is told first. 404 for a place in a
    /// conversation that is not the visitor's own, 400 for one that does not read.
    pub async fn start(state: &AppState, guest: &Guest, place: &Place) -> ApiResult<Self> {
        let workspace = guest.site.workspace;
        // Listens first: what happens during the look below is told by both, and once.
        let subscription = state.live.subscribe(workspace, None).await?;
        let subscription = subscription.ok_or_else(no_conversation)?;
        let mut follower = Self {
            state: state.clone(),
            guest: guest.clone(),
            subscription,
            seen: BTreeMap::new(),
            told: BTreeMap::new(),
            standing: BTreeMap::new(),
            known: HashSet::new(),
            heard: None,
            ready: VecDeque::new(),
        };
        let mut conn = state.db.read().await?;
        let place = place.read(&mut conn, guest).await?;
        for (conversation, last) in follower.own(&mut conn).await? {
            let id = conversation.id;
            let seen = place.seen(id).unwrap_or(last);
            follower.seen.insert(id, seen);
            follower.told.insert(id, seen);
            follower.note_standing(&conversation);
            follower.catch_up(&mut conn, id).await?;
        }
        Ok(follower)
    }

    /// The visitor's conversations, the newest first, as they stand.
    pub async fn conversations(&self) -> ApiResult<Vec<ConversationView>> {
        let mut conn = self.state.db.read().await?;
        let own = self.own(&mut conn).await?;
        Ok(own.into_iter().map(|(conversation, _)| conversation.into()).collect())
    }

    /// Where the follower stands: what its client comes back with.
    pub fn cursor(&self) -> String {
        if self.told.is_empty() {
            return NOTHING.to_owned();
        }
        let most = usize::try_from(MOST_CONVERSATIONS).unwrap_or(usize::MAX);
        let places = self.told.iter().rev().take(most);
        places.map(|(id, seq)| format!("{id}:{seq}")).collect::<Vec<_>>().join(",")
    }

    /// Takes a message for told; one that was told already is known to be.
    pub fn acknowledge(&mut self, conversation: ConversationId, message: MessageId, seq: i64) {
        self.told.entry(conversation).or_insert(0);
        let seen = self.seen.entry(conversation).or_insert(0);
        if *seen < seq {
            self.known.insert(message);
        }
    }

    /// Whether a conversation is followed.
    pub fn follows(&self, conversation: ConversationId) -> bool {
        self.seen.contains_key(&conversation)
    }

    /// The next thing. May be dropped before it ends: nothing is lost.
    pub async fn next(&mut self) -> ApiResult<Told> {
        loop {
            match self.ready.pop_front() {
                Some(Entry::Tell(told)) => {
                    if let Told::Message(conversation, message) = &told {
                        self.told.insert(*conversation, message.seq);
                    }
                    return Ok(told);
                }
                Some(Entry::Pass(conversation, seq)) => {
                    self.told.insert(conversation, seq);
                    continue;
                }
                None => {}
            }
            if self.heard.is_none() {
                self.heard = Some(self.subscription.next().await?);
            }
            match self.heard.clone() {
                Some(Heard::Event(event)) => self.act_on(&event).await?,
                Some(Heard::Reset(_)) => self.look_again().await?,
                Some(Heard::Signal(signal)) => self.pass_on(&signal),
                Some(Heard::Closed) => return Ok(Told::Closed),
                None => {}
            }
            self.heard = None;
        }
    }

    /// Whether the site, as it is now, still lets its visitor in.
    pub async fn is_let_in(&self) -> ApiResult<bool> {
        let site = &self.guest.site;
        let mut conn = self.state.db.read().await?;
        let now = self.state.ambient.now();
        let found = projects::find_by_site_key(&mut conn, &site.key, now).await?;
        let Some((workspace, project)) = found else { return Ok(false) };
        let is_same = (workspace, project.id) == (site.workspace, site.project.id);
        let lets_in = site.origin.as_deref().is_none_or(|origin| project.lets_in(origin));
        Ok(is_same && lets_in && self.guest.is_known_to(&project))
    }

    fn workspace(&self) -> WorkspaceId {
        self.guest.site.workspace
    }

    async fn own(&self, conn: &mut Conn) -> ApiResult<Vec<(Conversation, i64)>> {
        let (workspace, project) = (self.workspace(), self.guest.site.project.id);
        let visitor = &self.guest.visitor;
        let most = MOST_CONVERSATIONS;
        Ok(conversations::of_visitor(conn, workspace, project, visitor, most).await?)
    }

    async fn act_on(&mut self, event: &Event) -> ApiResult<()> {
        match event.kind.as_str() {
            "message.created" => {
                let id = event.payload["conversationId"].as_str().and_then(|id| id.parse().ok());
                if let Some(id) = id.filter(|id| self.seen.contains_key(id)) {
                    let mut conn = self.state.db.read().await?;
                    self.catch_up(&mut conn, id).await?;
                }
            }
            "conversation.created" => {
                let (visitor, project) = (&event.payload["visitorId"], &event.payload["projectId"]);
                let is_own = *visitor == json!(self.guest.visitor.as_str())
                    && *project == json!(self.guest.site.project.id);
                if let Some(id) = event.subject.parse().ok().filter(|_| is_own) {
                    self.seen.entry(id).or_insert(0);
                    self.told.entry(id).or_insert(0);
                }
            }
            "conversation.updated" => {
                let id = event.subject.parse().ok();
                if let Some(id) = id.filter(|id| self.seen.contains_key(id)) {
                    self.look_at_standing(id).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Events are gone that may have been about this visitor: everything is compared with what was told.
    async fn look_again(&mut self) -> ApiResult<()> {
        let mut conn = self.state.db.read().await?;
        let own = self.own(&mut conn).await?;
        for (conversation, _) in own.into_iter().rev() {
            let id = conversation.id;
            self.seen.entry(id).or_insert(0);
            self.told.entry(id).or_insert(0);
            // Before what is read later, and so may be newer.
            self.tell_standing(conversation);
            self.catch_up(&mut conn, id).await?;
        }
        Ok(())
    }

    async fn catch_up(&mut self, conn: &mut Conn, id: ConversationId) -> ApiResult<()> {
        loop {
            let after = self.seen.get(&id).copied().unwrap_or(0);
            let found = messages::list(conn, self.workspace(), id, after, PAGE).await?;
            let Some(last) = found.last().map(|message| message.seq) else { return Ok(()) };
            let ids: Vec<MessageId> = found.iter().map(|message| message.id).collect();
            // Read after the messages, so that whoever wrote one of them has joined by then.
            let conversation = conversations::get(conn, self.workspace(), id).await?;
            let views = views::of_messages(&self.state, conn, &self.guest, found).await?;
            // From here on nothing is awaited: it happens wholly or not at all.
            if let Some(conversation) = conversation {
                self.tell_standing(conversation);
            }
            for (message, view) in ids.into_iter().zip(views) {
                self.ready.push_back(if self.known.remove(&message) {
                    Entry::Pass(id, view.seq)
                } else {
                    Entry::Tell(Told::Message(id, Box::new(view)))
                });
            }
            self.seen.insert(id, last);
        }
    }

    async fn look_at_standing(&mut self, id: ConversationId) -> ApiResult<()> {
        let mut conn = self.state.db.read().await?;
        let found = conversations::get(&mut conn, self.workspace(), id).await?;
        if let Some(conversation) = found {
            self.tell_standing(conversation);
        }
        Ok(())
    }

    /// Has it told when it is another one than was told.
    fn tell_standing(&mut self, conversation: Conversation) {
        if self.note_standing(&conversation) {
            self.ready.push_back(Entry::Tell(Told::Conversation(conversation.into())));
        }
    }

    /// Whether it is another one than was told.
    fn note_standing(&mut self, conversation: &Conversation) -> bool {
        let now = (conversation.status, conversation.handler);
        self.standing.insert(conversation.id, now).unwrap_or(BEGINNING) != now
    }

    fn pass_on(&mut self, signal: &Value) {
        let is_of_a_person = signal["kind"] == "typing" && signal["userId"].is_string();
        let id = signal["conversationId"].as_str().and_then(|id| id.parse().ok());
        if let Some(conversation) = id.filter(|id| is_of_a_person && self.seen.contains_key(id)) {
            let typing = signal["typing"].as_bool().unwrap_or(true);
            self.ready.push_back(Entry::Tell(Told::Typing { conversation, typing }));
        }
    }
}

/// Where a client was, read.
enum Known {
    /// It says nothing: what is there is not told again.
    Nothing,
    /// It has so much of one conversation, and all of the others.
    One(ConversationId, i64),
    /// It has so much of each; what is not named began later.
    Each(BTreeMap<ConversationId, i64>),
}

impl Known {
    fn seen(&self, id: ConversationId) -> Option<i64> {
        match self {
            Self::Nothing => None,
            Self::One(one, seq) => (*one == id).then_some(*seq),
            Self::Each(all) => Some(all.get(&id).copied().unwrap_or(0)),
        }
    }
}

impl Place {
    async fn read(&self, conn: &mut Conn, guest: &Guest) -> ApiResult<Known> {
        let after = self.after.as_deref().unwrap_or_default();
        let number = after.parse::<i64>().ok().filter(|seq| *seq >= 0);
        match (number, &self.conversation) {
            (Some(seq), Some(id)) => {
                let id = read_conversation(id)?;
                Ok(Known::One(own_conversation(conn, guest, id).await?.id, seq))
            }
            (Some(_), None) => {
                let message = "`conversationId` must name the conversation that `after` is of";
                Err(ApiError::invalid("conversationId", message))
            }
            (None, _) if after.is_empty() => Ok(Known::Nothing),
            (None, _) => read_cursor(after).map(Known::Each).ok_or_else(|| {
                DomainError::invalid(
                    "after",
                    "`after` must be the `cursor` that was told last, or the `seq` of a message",
                )
                .into()
            }),
        }
    }
}

fn read_cursor(text: &str) -> Option<BTreeMap<ConversationId, i64>> {
    let place = |text: &str| {
        let (id, seq) = text.split_once(':')?;
        Some((id.parse().ok()?, seq.parse().ok().filter(|seq| *seq >= 0)?))
    };
    if text == NOTHING {
        return Some(BTreeMap::new());
    }
    text.split(',').map(place).collect()
}

impl Told {
    /// As a frame of a socket, which `cursor` is after.
    pub fn frame(&self, cursor: &str) -> Value {
        let mut frame = self.data();
        frame["type"] = json!(self.kind());
        if matches!(self, Self::Message(..)) {
            frame["cursor"] = json!(cursor);
        }
        frame
    }

    /// `message`, `conversation` or `typing`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Message(..) => "message",
            Self::Conversation(_) => "conversation",
            Self::Typing { .. } => "typing",
            Self::Closed => "closed",
        }
    }

    /// What it says.
    pub fn data(&self) -> Value {
        match self {
            Self::Message(_, message) => json!({"message": message}),
            Self::Conversation(conversation) => json!({"conversation": conversation}),
            Self::Typing { conversation, typing } => {
                json!({"conversationId": conversation, "typing": typing, "author": "operator"})
            }
            Self::Closed => json!({}),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::ids::PrefixedId;

    use super::*;

    #[test]
    fn a_cursor_reads_as_it_was_told_and_nothing_else_does() {
        let id = ConversationId::from_uuid(uuid::Uuid::from_u128(7));
        let read = read_cursor(&format!("{id}:12")).unwrap();
        assert_eq!(read.get(&id), Some(&12));
        assert_eq!(read_cursor(NOTHING), Some(BTreeMap::new()));
        for bad in ["x", "conv_1:2", &format!("{id}"), &format!("{id}:-1"), &format!("{id}:1,")] {
            assert!(read_cursor(bad).is_none(), "{bad}");
        }
    }
}
