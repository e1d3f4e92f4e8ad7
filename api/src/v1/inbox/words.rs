//! The closed sets of the inbox.

use crate::words::words;

words! {
    /// Where a conversation stands.
    ConversationStatus = domain::conversation::ConversationStatus {
        /// Going on.
        Open = "open",
        /// Waiting for a person.
        Pending = "pending",
        /// Closed.
        Closed = "closed",
    }

    /// Who answers; while it is not the agent, nothing answers by itself.
    Handler = domain::conversation::Handler {
        /// The agent.
        Bot = "bot",
        /// Nobody yet: a person was requested.
        Queue = "queue",
        /// A person.
        Operator = "operator",
    }

    /// Where a conversation takes place.
    Channel = domain::conversation::Channel {
        /// By API.
        Api = "api",
        /// From the command line.
        Cli = "cli",
        /// In the widget of a site or app.
        Web = "web",
        /// By WhatsApp.
        Whatsapp = "whatsapp",
        /// By direct messages of Instagram.
        Instagram = "instagram",
        /// By Messenger.
        Facebook = "facebook",
        /// By e-mail.
        Email = "email",
    }

    /// How urgent a conversation is.
    Priority = domain::inbox::Priority {
        /// Can wait.
        Low = "low",
        /// As any other.
        Normal = "normal",
        /// Before the others.
        High = "high",
        /// Now.
        Urgent = "urgent",
    }

    /// Who wrote a message.
    LastMessageAuthor = domain::message::Author {
        /// The customer.
        Customer = "customer",
        /// The agent.
        Agent = "agent",
        /// A person.
        Operator = "operator",
    }

    /// Who gets a conversation that enters the queue.
    Assignment = domain::inbox::Assignment {
        /// Nobody, until somebody takes it.
        Off = "off",
        /// One member after the other.
        RoundRobin = "round-robin",
        /// The member who has the fewest.
        LeastBusy = "least-busy",
    }

    /// Whether a member is given conversations.
    Availability = domain::inbox::Availability {
        /// They are.
        Online = "online",
        /// They keep what they have, and get no more.
        Away = "away",
    }

    /// What a list of conversations is ordered by.
    ConversationOrder = storage::inbox::OrderBy {
        /// The time of the last change.
        UpdatedAt = "updatedAt",
        /// The time of creation.
        CreatedAt = "createdAt",
        /// The priority.
        Priority = "priority",
        /// How long the customer has waited for a person.
        WaitingSince = "waitingSince",
    }

    /// What of what is put off.
    SnoozedFilter = storage::inbox::Snoozed {
        /// None of it.
        Hidden = "false",
        /// Nothing else.
        Only = "true",
        /// As the others.
        Shown = "any",
    }
}
