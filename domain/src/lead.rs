//! Leads: what customers left so that somebody can get back to them.

use std::collections::BTreeMap;

use crate::{AgentId, ContactId, ConversationId, LeadId, Timestamp};

/// What a customer left in a conversation. There is one for each conversation; more answers add to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// Its id.
    pub id: LeadId,
    /// The agent that noted it.
    pub agent_id: AgentId,
    /// Where it was left.
    pub conversation_id: ConversationId,
    /// The customer, when an e-mail address or a phone number was among it.
    pub contact_id: Option<ContactId>,
    /// What was left, by the names of the fields; checked and normalised.
    pub fields: BTreeMap<String, String>,
    /// When it was first noted.
    pub created_at: Timestamp,
    /// When something was last added.
    pub updated_at: Timestamp,
}
