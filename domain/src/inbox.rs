//! What people do with conversations as a whole.

use std::fmt;
use std::str::FromStr;

use crate::{Actor, ApiKeyId, Timestamp, UserId};

/// How urgent a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Can wait.
    Low,
    /// As any other.
    Normal,
    /// Before the others.
    High,
    /// Now.
    Urgent,
}

impl Priority {
    /// Every priority, the least urgent first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Urgent];

    /// As shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Urgent => "urgent",
        }
    }

    /// As stored: more is more urgent.
    pub const fn rank(self) -> i64 {
        self as i64
    }

    /// The priority of a rank.
    pub fn of_rank(rank: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.rank() == rank)
    }
}

/// Who gets a conversation that enters the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Assignment {
    /// Nobody, until somebody takes it.
    Off,
    /// One member after the other.
    RoundRobin,
    /// The member who has the fewest.
    LeastBusy,
}

impl Assignment {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Off, Self::RoundRobin, Self::LeastBusy];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::RoundRobin => "round-robin",
            Self::LeastBusy => "least-busy",
        }
    }
}

/// Whether a member is given conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Availability {
    /// They are.
    Online,
    /// They keep what they have, and get no more.
    Away,
}

impl Availability {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Online, Self::Away];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Away => "away",
        }
    }
}

/// How a workspace hands out what enters its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxSettings {
    /// Who gets it.
    pub assignment: Assignment,
    /// Most conversations that are not closed with which a member is still given another one; no limit where absent.
    pub most_open: Option<i64>,
}

impl Default for InboxSettings {
    fn default() -> Self {
        Self { assignment: Assignment::Off, most_open: None }
    }
}

/// Who did something to a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// A member.
    User(UserId),
    /// A program.
    Key(ApiKeyId),
    /// The agent.
    Agent,
    /// The customer.
    Customer,
    /// The server by itself: a job, a setting.
    System,
}

impl From<&Actor> for By {
    fn from(actor: &Actor) -> Self {
        match actor {
            Actor::User { id, .. } => Self::User(*id),
            Actor::ApiKey(id) => Self::Key(*id),
            Actor::Visitor(_) => Self::Customer,
            Actor::System => Self::System,
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::Key(id) => id.fmt(f),
            Self::Agent => f.write_str("agent"),
            Self::Customer => f.write_str("customer"),
            Self::System => f.write_str("system"),
        }
    }
}

/// A text that names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("names neither a person, an API key, the agent, the customer nor the system")]
pub struct Nobody;

impl FromStr for By {
    type Err = Nobody;

    fn from_str(text: &str) -> Result<Self, Nobody> {
        match text {
            "agent" => Ok(Self::Agent),
            "customer" => Ok(Self::Customer),
            "system" => Ok(Self::System),
            id => {
                let user = id.parse().map(Self::User);
                user.or_else(|_| id.parse().map(Self::Key)).map_err(|_| Nobody)
            }
        }
    }
}

/// What happened to a conversation, beside what was said in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Happening {
    /// A person was asked for.
    HandoffRequested,
    /// Somebody took it.
    TakenOver,
    /// It was given to somebody.
    Assigned,
    /// It was taken from who had it, and waits for a person again.
    Unassigned,
    /// It went back to the agent.
    HandedBack,
    /// It was marked as waiting.
    MarkedPending,
    /// It was closed.
    Closed,
    /// A person opened it again.
    Reopened,
    /// The customer wrote after it was closed.
    CustomerReturned,
    /// Other tags.
    Tagged,
    /// Another priority.
    Prioritised,
    /// It is put off.
    Snoozed,
    /// It is put off no more.
    Unsnoozed,
    /// Another title.
    Renamed,
}

impl Happening {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::HandoffRequested,
        Self::TakenOver,
        Self::Assigned,
        Self::Unassigned,
        Self::HandedBack,
        Self::MarkedPending,
        Self::Closed,
        Self::Reopened,
        Self::CustomerReturned,
        Self::Tagged,
        Self::Prioritised,
        Self::Snoozed,
        Self::Unsnoozed,
        Self::Renamed,
    ];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HandoffRequested => "handoff-requested",
            Self::TakenOver => "taken-over",
            Self::Assigned => "assigned",
            Self::Unassigned => "unassigned",
            Self::HandedBack => "handed-back",
            Self::MarkedPending => "marked-pending",
            Self::Closed => "closed",
            Self::Reopened => "reopened",
            Self::CustomerReturned => "customer-returned",
            Self::Tagged => "tagged",
            Self::Prioritised => "prioritised",
            Self::Snoozed => "snoozed",
            Self::Unsnoozed => "unsnoozed",
            Self::Renamed => "renamed",
        }
    }
}

/// An entry of what happened to a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversationEvent {
    /// From 1, in order.
    pub number: i64,
    /// The newest message at that time: where it stands among them.
    pub after_seq: i64,
    /// What.
    pub kind: Happening,
    /// Who did it.
    pub by: By,
    /// Ids and small facts.
    pub details: serde_json::Value,
    /// When.
    pub at: Timestamp,
}

/// The words of a text that a search finds it by: in lower case, without accents, each once, in order of first use;
/// of one letter only where it is a digit or of a script without blanks. A word is cut after 40 letters.
pub fn search_words(text: &str) -> Vec<String> {
    const LONGEST: usize = 40;
    let mut seen = std::collections::HashSet::new();
    let mut words = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric() && !is_mark(c)) {
        let folded: String = word.chars().flat_map(char::to_lowercase).flat_map(folded).collect();
        let folded: String = folded.chars().take(LONGEST).collect();
        let alone = folded.chars().count() < 2 && folded.chars().all(|c| c.is_ascii_lowercase());
        if !alone && seen.insert(folded.clone()) {
            words.push(folded);
        }
    }
    words
}

/// A letter of the Latin script without its accent; others as they are.
pub(crate) fn folded(c: char) -> impl Iterator<Item = char> {
    let (first, second) = match c {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ă' | 'ą' => ('a', None),
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => ('c', None),
        'ď' | 'đ' | 'ð' => ('d', None),
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => ('e', None),
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => ('g', None),
        'ĥ' | 'ħ' => ('h', None),
        'ì' | 'í' | 'î' | 'ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' => ('i', None),
        'ĵ' => ('j', None),
        'ķ' => ('k', None),
        'ĺ' | 'ļ' | 'ľ' | 'ł' => ('l', None),
        'ñ' | 'ń' | 'ņ' | 'ň' => ('n', None),
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ō' | 'ŏ' | 'ő' => ('o', None),
        'ŕ' | 'ř' => ('r', None),
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => ('s', None),
        'ţ' | 'ť' | 'ț' | 'ŧ' => ('t', None),
        'ù' | 'ú' | 'û' | 'ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' => ('u', None),
        'ŵ' => ('w', None),
        'ý' | 'ÿ' | 'ŷ' => ('y', None),
        'ź' | 'ż' | 'ž' => ('z', None),
        'ß' => ('s', Some('s')),
        'æ' => ('a', Some('e')),
        'œ' => ('o', Some('e')),
        other => (other, None),
    };
    (!is_mark(first)).then_some(first).into_iter().chain(second)
}

/// Whether it is an accent that stands beside its letter.
fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PrefixedId;

    #[test]
    fn words_are_in_lower_case_without_accents_and_each_once() {
        assert_eq!(
            search_words("¿Cuál es el HORARIO, el día 3 en Ñuñoa? a ñ"),
            ["cual", "es", "el", "horario", "dia", "3", "en", "nunoa"]
        );
        assert_eq!(search_words("Ana.Pérez@ejemplo.com"), ["ana", "perez", "ejemplo", "com"]);
        assert_eq!(search_words("+54 9 11"), ["54", "9", "11"]);
        assert_eq!(search_words(&"x".repeat(50))[0].len(), 40);
        assert_eq!(search_words("商店 cafe\u{301}s"), ["商店", "cafes"]);
        assert!(search_words(" \n!¡").is_empty());
    }

    #[test]
    fn who_did_it_reads_back() {
        let user = UserId::from_uuid(uuid::Uuid::from_u128(7));
        let key = ApiKeyId::from_uuid(uuid::Uuid::from_u128(8));
        for by in [By::User(user), By::Key(key), By::Agent, By::Customer, By::System] {
            assert_eq!(by.to_string().parse(), Ok(by));
        }
        assert_eq!("nobody".parse::<By>(), Err(Nobody));
    }

    #[test]
    fn priorities_read_back_from_their_rank() {
        for priority in Priority::ALL {
            assert_eq!(Priority::of_rank(priority.rank()), Some(priority));
        }
        assert_eq!(Priority::of_rank(4), None);
    }
}
