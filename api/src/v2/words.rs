//! The closed sets of `/api/v2`, in its own words.

use serde::Serialize;
use utoipa::ToSchema;

use crate::words::words;

words! {
    /// Why a question counts as not answered.
    GapReason = domain::gap::GapReason {
        /// The agent said that it does not know.
        Abstained = "abstained",
        /// The customer did not like the answer.
        Disliked = "disliked",
    }

    /// What should happen with a case of an evaluation.
    EvalExpect = evals::dataset::Expect {
        /// It is answered.
        Answer = "answer",
        /// The agent says that it does not know.
        Abstain = "abstain",
        /// The agent asks back.
        Clarify = "clarify",
        /// A person is called.
        Handoff = "handoff",
    }

    /// What the accepted answers of a case are.
    EvalForm = evals::dataset::Form {
        /// Words of a passage, which the reply contains.
        Short = "short",
        /// What a person would say.
        Long = "long",
    }

    /// Who said an earlier message of a case.
    EvalRole = evals::dataset::Role {
        /// The customer.
        User = "user",
        /// The agent.
        Assistant = "assistant",
    }

    /// Who makes questions from documents.
    EvalMaking = evals::stored::Making {
        /// The workspace's model where it has one, else the rule.
        Auto = "auto",
        /// The workspace's model.
        Model = "model",
        /// A rule.
        Rule = "rule",
    }

    /// What a run of an evaluation asks.
    EvalTarget = domain::eval::EvalTarget {
        /// Whole turns of an agent.
        Agent = "agent",
        /// Search in a datastore.
        Datastore = "datastore",
    }

    /// Where a run of an evaluation stands.
    EvalStatus = domain::eval::EvalStatus {
        /// No worker has begun it.
        Waiting = "waiting",
        /// At work.
        Running = "running",
        /// It came to its end, or to the limit of what it may cost.
        Done = "done",
        /// It could not be made.
        Failed = "failed",
        /// Somebody stopped it.
        Cancelled = "cancelled",
    }

    /// What became of a metric, or of all.
    EvalVerdict = evals::compare::Verdict {
        /// Better.
        Improved = "improved",
        /// A loss beyond the tolerance can be ruled out.
        Same = "same",
        /// Neither a loss beyond the tolerance nor its absence is shown.
        TooFewCases = "too-few-cases",
        /// Worse.
        Regressed = "regressed",
    }

    /// Where a gap stands.
    GapStatus = domain::gap::GapStatus {
        /// Not answered yet.
        Open = "open",
        /// Asked again, the agent answered.
        Closed = "closed",
        /// It need not be answered.
        Dismissed = "dismissed",
    }

    /// What becomes of an answer with numbers, dates, prices, percentages, hours or codes that stand in no passage
    /// that it cites.
    Unsupported = domain::agent::Unsupported {
        /// It goes out and says so.
        Flag = "flag",
        /// The model is asked once more before anything is sent.
        Retry = "retry",
        /// The agent says that it does not know instead.
        Withhold = "withhold",
    }

    /// What becomes of a version that does not pass.
    GateMode = domain::gate::GateMode {
        /// Nothing is asked.
        Off = "off",
        /// It is published, and says so.
        Warn = "warn",
        /// It is not published.
        Refuse = "refuse",
    }

    /// Where a publication stands.
    PublicationStatus = domain::gate::PublicationStatus {
        /// No worker has begun it.
        Pending = "pending",
        /// It is evaluated.
        Running = "running",
        /// It is a version.
        Published = "published",
        /// The gate did not let it through.
        Refused = "refused",
        /// It could not be evaluated, or not be published any more.
        Failed = "failed",
        /// Somebody stopped it.
        Cancelled = "cancelled",
    }

    /// Whether an agent answers.
    AgentStatus = domain::agent::AgentStatus {
        /// Answers.
        Active = "active",
        /// Does not answer: chat is 409.
        Paused = "paused",
        /// As paused, and out of the way.
        Archived = "archived",
    }

    /// A tool that an agent may use.
    ToolName = domain::agent::ToolKind {
        /// Answers from a datastore.
        Datastore = "datastore",
        /// Notes contact details.
        LeadCapture = "lead-capture",
        /// Calls a person.
        RequestHuman = "request-human",
        /// Closes the conversation.
        MarkAsResolved = "mark-as-resolved",
        /// Calls a declared HTTP endpoint.
        Http = "http",
        /// Uses the tools of a remote MCP server.
        Mcp = "mcp",
    }

    /// Who makes a follow-up stand alone before it is searched for.
    Rewrite = domain::agent::Rewrite {
        /// The model, where there is one: a call more, for follow-ups only.
        Model = "model",
        /// A rule: the topic words of the question before are added.
        Rule = "rule",
    }

    /// Something that is known of a contact.
    ContactFact = domain::agent::ContactFact {
        /// Given and family name.
        Name = "name",
        /// E-mail address.
        Email = "email",
        /// Phone number.
        Phone = "phone",
    }

    /// Where a conversation stands.
    ConversationStatus = domain::conversation::ConversationStatus {
        /// Going on.
        Open = "open",
        /// Waiting for a person.
        Pending = "unresolved",
        /// Closed.
        Closed = "resolved",
    }

    /// Who answers in a conversation.
    Handler = domain::conversation::Handler {
        /// The agent.
        Bot = "bot",
        /// Nobody yet: a person was asked for.
        Queue = "queue",
        /// A person.
        Operator = "operator",
    }

    /// Whom a budget counts.
    BudgetScope = domain::budget::BudgetScope {
        /// All of the workspace.
        Workspace = "workspace",
        /// An agent.
        Agent = "agent",
        /// An API key.
        ApiKey = "apiKey",
        /// A visitor.
        Visitor = "visitor",
    }

    /// What a budget counts.
    BudgetUnit = domain::budget::BudgetUnit {
        /// Tokens of prompts and answers.
        Tokens = "tokens",
        /// Micro-dollars.
        Cost = "cost",
        /// Answers.
        Answers = "answers",
    }

    /// The time that a budget is for.
    BudgetPeriod = domain::budget::BudgetPeriod {
        /// A day of UTC.
        Day = "day",
        /// A month of UTC.
        Month = "month",
    }

    /// What usage is told apart by.
    UsageGroup = storage::charges::UsageGroup {
        /// The day of UTC.
        Day = "day",
        /// The agent.
        Agent = "agent",
        /// The model.
        Model = "model",
        /// The API key.
        ApiKey = "apiKey",
        /// The contact.
        Contact = "contact",
        /// What it was for.
        Purpose = "purpose",
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

    /// Who wrote a message.
    Role = domain::message::Author {
        /// The customer.
        Customer = "user",
        /// The agent.
        Agent = "assistant",
        /// A person of the workspace.
        Operator = "operator",
    }

    /// Whether a message is whole.
    MessageState = domain::message::MessageState {
        /// Whole.
        Complete = "complete",
        /// Broken off: the client left or the answer was stopped.
        Interrupted = "interrupted",
        /// Broken off: the model failed.
        Failed = "failed",
    }

    /// What kind of answer.
    Outcome = domain::message::Outcome {
        /// From the knowledge, with citations.
        Answered = "answered",
        /// A greeting, thanks: nothing to cite.
        Smalltalk = "smalltalk",
        /// The knowledge does not hold it, and the agent said so.
        Abstained = "abstained",
        /// A person was called.
        HandedOff = "handed-off",
        /// Contact details were noted.
        LeadCaptured = "lead-captured",
        /// A tool's call waits for a person's word; the answer comes with it.
        AwaitingApproval = "awaiting-approval",
    }

    /// How the use of a tool went.
    ToolStatus = domain::message::ToolStatus {
        /// It did its work.
        Done = "done",
        /// It did not.
        Failed = "failed",
        /// It waits for a person's word.
        Waiting = "waiting",
    }

    /// Where an approval stands.
    ApprovalStatus = domain::approval::ApprovalStatus {
        /// Nobody has decided.
        Waiting = "waiting",
        /// Allowed; the call is being made, or the answer written.
        Approved = "approved",
        /// Not allowed.
        Denied = "denied",
        /// Nobody decided in time.
        Expired = "expired",
        /// Allowed, and the customer has the answer.
        Done = "done",
        /// Nothing came of it: see `error`.
        Failed = "failed",
    }

    /// What a customer thinks of an answer.
    Rating = domain::message::Rating {
        /// Helpful.
        Up = "up",
        /// Not helpful.
        Down = "down",
    }

    /// Where the ingestion of a source stands.
    SourceStatus = domain::datastore::SourceStatus {
        /// Accepted, waiting for a worker.
        Pending = "pending",
        /// At work.
        Running = "running",
        /// Answers come from it.
        Ready = "ready",
        /// Could not be ingested; `error` says why.
        Failed = "failed",
        /// Stopped.
        Cancelled = "cancelled",
    }

    /// The stage at work.
    Stage = domain::datastore::IngestStage {
        /// Bytes are read.
        Fetch = "fetch",
        /// Bytes become text.
        Extract = "extract",
        /// Text becomes chunks.
        Chunk = "chunk",
        /// Chunks get vectors.
        Embed = "embed",
        /// Chunks enter the index.
        Index = "index",
    }

    /// What an API key may be used for.
    Scope = domain::Scope {
        /// Reads and searches.
        Read = "read",
        /// Talks to agents.
        Chat = "chat",
        /// Creates, changes, deletes; implies the other two.
        Manage = "manage",
    }

    /// Which vectors are searched.
    Mode = retrieval::SearchMode {
        /// All there are, fused.
        Hybrid = "hybrid",
        /// Stemmed words.
        Words = "words",
        /// Character 4-grams.
        Grams = "grams",
        /// Dense vectors; needs an embedding model.
        Dense = "dense",
    }

    /// A language; `und` is any other one.
    Language = domain::Lang {
        /// Spanish.
        Es = "es",
        /// English.
        En = "en",
        /// Portuguese.
        Pt = "pt",
        /// Any other.
        Other = "und",
    }
}

/// Where the bytes of a source come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SourceType {
    /// An uploaded file.
    File,
    /// A page on the web.
    Url,
    /// Text given in the request.
    Text,
}

impl From<&domain::datastore::SourceOrigin> for SourceType {
    fn from(origin: &domain::datastore::SourceOrigin) -> Self {
        use domain::datastore::SourceOrigin;
        match origin {
            SourceOrigin::File { .. } => Self::File,
            SourceOrigin::Url { .. } => Self::Url,
            SourceOrigin::Text => Self::Text,
        }
    }
}
