//! The closed sets of messages.

use crate::words::words;

words! {
    /// Who wrote a message.
    MessageAuthor = domain::message::Author {
        /// The customer.
        Customer = "customer",
        /// The agent.
        Agent = "agent",
        /// A person of the workspace.
        Operator = "operator",
    }

    /// What a message is made of.
    MessageType = domain::message::MessageKind {
        /// A text, perhaps with files beside it.
        Text = "text",
        /// Images, perhaps with a text beside them.
        Image = "image",
        /// Files, perhaps with a text beside them.
        File = "file",
    }

    /// Whether a message is whole.
    MessageState = domain::message::MessageState {
        /// Whole.
        Complete = "complete",
        /// It was stopped; what was produced until then.
        Interrupted = "interrupted",
        /// The model failed; what was produced until then.
        Failed = "failed",
    }

    /// What kind of answer it is.
    MessageOutcome = domain::message::Outcome {
        /// From the knowledge, with citations.
        Answered = "answered",
        /// Small talk.
        Smalltalk = "smalltalk",
        /// The knowledge does not hold it.
        Abstained = "abstained",
        /// A person was called.
        HandedOff = "handed-off",
        /// Contact details were noted.
        LeadCaptured = "lead-captured",
        /// A tool's call waits for a person's word.
        AwaitingApproval = "awaiting-approval",
    }

    /// What a customer thinks of an answer.
    MessageRating = domain::message::Rating {
        /// Helpful.
        Up = "up",
        /// Not helpful.
        Down = "down",
    }
}
