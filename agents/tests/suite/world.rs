//! A workspace with knowledge, an agent, and a model that says what a test wants it to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agents::{Agents, AgentsOptions, Answer, ToolStep, Turn, TurnEvent, TurnRequest};
use domain::agent::{Agent, AgentSettings, AgentTool, ToolKind};
use domain::agent_version::Edition;
use domain::contact::ContactDetails;
use domain::conversation::{Channel, Conversation};
use domain::datastore::{Chunk, Source, SourceOrigin};
use domain::job::JobState;
use domain::message::{Author, Citation, Message};
use domain::settings::{AgentDefaults, FetchSettings, IndexSettings, Settings};
use domain::vault::Vault;
use domain::{
    Ambient, ChunkId, ConversationId, DomainError, Lang, MessageId, VisitorId, WorkspaceId,
};
use models::openai::{OpenAi, OpenAiOptions, TimerPause};
use models::{Catalogue, ChatModel};
use retrieval::{IndexPoint, Retrieval, RetrievalOptions, StatsChange, passage_heading};
use serde_json::{Map, Value};
use storage::sources::GoLive;
use storage::workspaces::Born;
use storage::{chunks, citations, conversations, messages, sources, workspaces};
use testkit::db::TestDb;
use testkit::model_server::ModelServer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest that a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub const HOURS: &str = "Nuestra tienda atiende de lunes a viernes de 9 a 18 horas. \
    Los sábados la tienda abre de 10 a 14 horas. Los domingos permanece cerrada.";
pub const SHIPPING: &str = "El envío a domicilio cuesta 3.500 pesos y demora tres días hábiles. \
    Despachamos a todas las regiones del país.";

pub struct World {
    pub test_db: TestDb,
    pub retrieval: Retrieval,
    pub agents: Agents,
    pub ambient: Ambient,
    pub born: Born,
    pub model: Option<ModelServer>,
    pub tracker: TaskTracker,
    pub stop: CancellationToken,
    pub options: AgentsOptions,
    _folder: tempfile::TempDir,
}

impl World {
    /// With the built-in answerer.
    pub async fn builtin(test_db: TestDb) -> Self {
        Self::new(test_db, None, PATIENCE).await
    }

    /// With a scripted model.
    pub async fn scripted(test_db: TestDb) -> Self {
        let server = ModelServer::start().await.expect("the model server starts");
        Self::new(test_db, Some(server), PATIENCE).await
    }

    /// With a scripted model and other limits.
    pub async fn with_limits(test_db: TestDb, change: impl FnOnce(&mut AgentDefaults)) -> Self {
        let server = ModelServer::start().await.expect("the model server starts");
        let mut defaults = defaults(PATIENCE);
        change(&mut defaults);
        Self::with_defaults(test_db, Some(server), defaults).await
    }

    pub async fn new(test_db: TestDb, model: Option<ModelServer>, turn_timeout: Duration) -> Self {
        Self::with_defaults(test_db, model, defaults(turn_timeout)).await
    }

    async fn with_defaults(
        test_db: TestDb,
        model: Option<ModelServer>,
        defaults: AgentDefaults,
    ) -> Self {
        let ambient = Ambient::system();
        let folder = tempfile::tempdir().unwrap();
        let index = IndexSettings {
            qdrant_url: None,
            qdrant_api_key: None,
            collection_prefix: String::new(),
        };
        let options = RetrievalOptions {
            folder: folder.path().to_owned(),
            index,
            dense_weight: 0.2,
            reranking: None,
            billing: None,
        };
        let retrieval = Retrieval::open(test_db.db.clone(), None, options).await.unwrap();
        let mut tx = test_db.db.write().await.unwrap();
        let born = workspaces::create(&mut tx, &ambient, "Tienda").await.unwrap();
        tx.commit().await.unwrap();
        let chat = model.as_ref().map(|server| provider(server, &ambient));
        let fetching = FetchSettings {
            allow: vec!["127.0.0.1/32".parse().unwrap()],
            max_bytes: 1 << 20,
            timeout: PATIENCE,
        };
        let options = AgentsOptions {
            defaults,
            chat,
            default_model: Some("gpt-test".to_owned()),
            catalogue: Catalogue::default(),
            fetch: fetch::Client::new(fetching),
            vault: Vault::parse(&"7".repeat(64)).unwrap(),
            models: default_settings().models,
            observer: None,
        };
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let agents = Agents::new(
            test_db.db.clone(),
            retrieval.clone(),
            ambient.clone(),
            options.clone(),
            tracker.clone(),
            stop.clone(),
        );
        let world = Self {
            test_db,
            retrieval,
            agents,
            ambient,
            born,
            model,
            tracker,
            stop,
            options,
            _folder: folder,
        };
        world.teach("Horarios", HOURS).await;
        world.teach("Envíos", SHIPPING).await;
        world
    }

    /// Turns as another process would run them over the same database.
    pub async fn another_process(&self) -> Agents {
        let db = self.test_db.guard.connect(3).await;
        Agents::new(
            db,
            self.retrieval.clone(),
            self.ambient.clone(),
            self.options.clone(),
            self.tracker.clone(),
            self.stop.clone(),
        )
    }

    /// A further workspace, which must see nothing of this one.
    pub async fn stranger(&self) -> WorkspaceId {
        let mut tx = self.test_db.db.write().await.unwrap();
        let born = workspaces::create(&mut tx, &self.ambient, "Otra").await.unwrap();
        tx.commit().await.unwrap();
        born.workspace.id
    }

    pub fn model(&self) -> &ModelServer {
        self.model.as_ref().expect("the world has a model")
    }

    /// A live source of one passage, as ingestion leaves it.
    pub async fn teach(&self, name: &str, text: &str) -> Chunk {
        let (workspace, datastore) = (self.born.workspace.id, self.born.datastore.id);
        let called = (name.to_owned(), SourceOrigin::Text);
        let now = self.ambient.now();
        let source = Source {
            bytes: i64::try_from(text.len()).unwrap(),
            language: Some(Lang::Es),
            ..Source::pending(self.ambient.new_id(), (workspace, datastore), called, now)
        };
        let chunk = Chunk {
            id: ChunkId::of(source.id, 1, 0),
            workspace_id: workspace,
            datastore_id: datastore,
            source_id: source.id,
            version: 1,
            ordinal: 0,
            text: text.to_owned(),
            heading: String::new(),
            page: Some(1),
            start: 0,
            end: i64::try_from(text.chars().count()).unwrap(),
            tokens: 40,
            lang: Lang::Es,
        };
        let heading = passage_heading(name, "");
        let point = IndexPoint {
            id: chunk.id,
            workspace,
            datastore,
            source: source.id,
            version: 1,
            lang: Lang::Es,
            heading: heading.clone(),
            text: text.to_owned(),
            dense: None,
            metadata: Map::new(),
        };
        let mut tx = self.test_db.db.write().await.unwrap();
        sources::insert(&mut tx, source.workspace_id, std::slice::from_ref(&source)).await.unwrap();
        chunks::insert_many(&mut tx, std::slice::from_ref(&chunk)).await.unwrap();
        tx.commit().await.unwrap();
        self.retrieval.upsert(vec![point]).await.unwrap();
        let mut tx = self.test_db.db.write().await.unwrap();
        let change = StatsChange::count(&[(heading.as_str(), &chunk)], &[]);
        self.retrieval.note_counted(&mut tx, workspace, datastore, &change).await.unwrap();
        let live = GoLive {
            source: source.id,
            version: 1,
            content_hash: "00",
            chunks: 1,
            language: Some(Lang::Es),
            warning: None,
        };
        assert_eq!(sources::go_live(&mut tx, workspace, &[live], now).await.unwrap(), [source.id]);
        tx.commit().await.unwrap();
        chunk
    }

    /// A further agent with these tools.
    pub async fn agent(
        &self,
        tools: &[ToolKind],
        change: impl FnOnce(&mut AgentSettings),
    ) -> Agent {
        let mut agent = self.born.agent.clone();
        agent.id = self.ambient.new_id();
        agent.tools = tools.iter().map(|kind| AgentTool::plain(*kind)).collect();
        change(&mut agent.settings);
        self.store_agent(agent).await
    }

    pub async fn store_agent(&self, mut agent: Agent) -> Agent {
        let mut tx = self.test_db.db.write().await.unwrap();
        let code = storage::agents::next_code(&mut tx, agent.workspace_id).await.unwrap();
        agent.code = code;
        storage::agents::insert(&mut tx, &agent).await.unwrap();
        tx.commit().await.unwrap();
        agent
    }

    pub fn request(&self, query: &str) -> TurnRequest {
        TurnRequest {
            workspace: self.born.workspace.id,
            agent: self.born.agent.id,
            edition: Edition::Published,
            query: query.to_owned(),
            files: Vec::new(),
            lead: BTreeMap::new(),
            images: Vec::new(),
            conversation: None,
            history: Vec::new(),
            visitor: None,
            contact: ContactDetails::default(),
            channel: Channel::Api,
            project: None,
            client_id: None,
            api_key: None,
        }
    }

    pub fn to(&self, agent: &Agent, query: &str) -> TurnRequest {
        TurnRequest { agent: agent.id, ..self.request(query) }
    }

    pub fn in_conversation(&self, conversation: ConversationId, query: &str) -> TurnRequest {
        TurnRequest { conversation: Some(conversation), ..self.request(query) }
    }

    /// Asks and hears the answer out.
    pub async fn ask(&self, request: TurnRequest) -> Heard {
        hear(self.agents.start(request).await.expect("the turn begins")).await
    }

    pub async fn messages(&self, conversation: ConversationId) -> Vec<Message> {
        let mut conn = self.test_db.db.read().await.unwrap();
        let workspace = self.born.workspace.id;
        messages::list(&mut conn, workspace, conversation, 0, 100).await.unwrap()
    }

    /// The agent's messages of a conversation.
    pub async fn replies(&self, conversation: ConversationId) -> Vec<Message> {
        let all = self.messages(conversation).await;
        all.into_iter().filter(|message| message.author == Author::Agent).collect()
    }

    pub async fn citations(&self, message: MessageId) -> Vec<Citation> {
        let mut conn = self.test_db.db.read().await.unwrap();
        let workspace = self.born.workspace.id;
        let cited = citations::of_messages(&mut conn, workspace, &[message]).await.unwrap();
        cited.into_iter().map(|(_, citation)| citation).collect()
    }

    pub async fn trace(&self, message: MessageId) -> Value {
        let mut conn = self.test_db.db.read().await.unwrap();
        let workspace = self.born.workspace.id;
        messages::trace(&mut conn, workspace, message).await.unwrap().expect("there is a trace")
    }

    pub async fn conversation(&self, id: ConversationId) -> Conversation {
        let mut conn = self.test_db.db.read().await.unwrap();
        let workspace = self.born.workspace.id;
        conversations::get(&mut conn, workspace, id).await.unwrap().expect("it is there")
    }

    pub async fn transition(
        &self,
        id: ConversationId,
        transition: domain::conversation::Transition,
    ) -> Conversation {
        let mut tx = self.test_db.db.write().await.unwrap();
        let (workspace, now) = (self.born.workspace.id, self.ambient.now());
        let after = conversations::transition(&mut tx, workspace, id, transition, now).await;
        tx.commit().await.unwrap();
        after.unwrap().expect("it is there")
    }

    pub async fn gaps(&self) -> Vec<storage::gaps::Gap> {
        let mut conn = self.test_db.db.read().await.unwrap();
        storage::gaps::list(&mut conn, self.born.workspace.id, None, 100).await.unwrap()
    }

    pub async fn leads(&self) -> Vec<domain::lead::Lead> {
        let mut conn = self.test_db.db.read().await.unwrap();
        let workspace = self.born.workspace.id;
        storage::leads::list(&mut conn, workspace, None, None, 100).await.unwrap()
    }

    pub async fn events(&self, kind: &str) -> Vec<storage::events::Event> {
        let mut conn = self.test_db.db.read().await.unwrap();
        let all = storage::events::list(&mut conn, self.born.workspace.id, 0, 1_000).await.unwrap();
        all.into_iter().filter(|event| event.kind == kind).collect()
    }

    /// Runs every job of the agents that is due; how many there were.
    pub async fn run_jobs(&self) -> usize {
        let due = async || {
            let mut conn = self.test_db.db.read().await.unwrap();
            let workspace = self.born.workspace.id;
            let mut jobs = Vec::new();
            for state in [JobState::Waiting, JobState::Running] {
                jobs.extend(storage::jobs::list(&mut conn, workspace, state, 100).await.unwrap());
            }
            let now = self.ambient.now();
            jobs.iter().filter(|job| job.run_at <= now).count()
        };
        let before = due().await;
        let handlers: Vec<Arc<dyn jobs::Handler>> = self.agents.handlers();
        let options = jobs::RunnerOptions::default();
        let db = self.test_db.db.clone();
        let mut wakeups = db.wakeups();
        let runner = jobs::Runner::new(db, self.ambient.clone(), handlers, options);
        let stop = CancellationToken::new();
        let running = self.tracker.spawn(runner.run(stop.clone()));
        let done = async {
            while due().await > 0 {
                let _ = tokio::time::timeout(Duration::from_secs(1), wakeups.recv()).await;
            }
        };
        tokio::time::timeout(PATIENCE, done).await.expect("the jobs end");
        stop.cancel();
        running.await.unwrap();
        before
    }

    /// Waits until every turn is over, also those that nobody listens to.
    pub async fn quiet(&self) {
        self.tracker.close();
        tokio::time::timeout(PATIENCE, self.tracker.wait()).await.expect("every turn ends");
        self.tracker.reopen();
    }
}

fn defaults(turn_timeout: Duration) -> AgentDefaults {
    AgentDefaults {
        min_evidence: None,
        turn_timeout,
        stream_retention: PATIENCE,
        default_country: Some("CL".to_owned()),
        max_image_bytes: 100_000,
        tool_rounds: 8,
        tool_timeout: PATIENCE,
        turn_tokens: 100_000,
        trace_retention_days: 30,
    }
}

pub fn visitor(name: &str) -> Option<VisitorId> {
    VisitorId::parse(name)
}

/// As shipped.
fn default_settings() -> Settings {
    toml::from_str(include_str!("../../../server/src/default.toml")).unwrap()
}

fn provider(server: &ModelServer, ambient: &Ambient) -> Arc<dyn ChatModel> {
    let options = OpenAiOptions {
        base_url: server.base_url().parse().unwrap(),
        key: None,
        azure_api_version: None,
        chat_model: Some("gpt-test".to_owned()),
        allowed_models: Vec::new(),
        connect_timeout: PATIENCE,
        first_token_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        max_attempts: 1,
        pause: Arc::new(TimerPause),
        judge: None,
    };
    Arc::new(OpenAi::new(&options, ambient).unwrap())
}

/// What a reader of a turn got.
#[derive(Debug)]
pub struct Heard {
    pub sources: Vec<Citation>,
    pub tokens: Vec<String>,
    pub tools: Vec<ToolStep>,
    pub end: Result<Answer, DomainError>,
}

impl Heard {
    pub fn text(&self) -> String {
        self.tokens.concat()
    }

    /// The answer, whose text is what was streamed.
    pub fn answer(&self) -> &Answer {
        let answer = self.end.as_ref().expect("the turn ends with an answer");
        assert_eq!(answer.text, self.text());
        answer
    }

    pub fn error(&self) -> &DomainError {
        self.end.as_ref().expect_err("the turn ends with an error")
    }
}

pub async fn hear(turn: Turn) -> Heard {
    tokio::time::timeout(PATIENCE, hear_out(turn)).await.expect("the turn ends")
}

async fn hear_out(mut turn: Turn) -> Heard {
    let (mut sources, mut tokens, mut tools, mut end) = (Vec::new(), Vec::new(), Vec::new(), None);
    while let Some(event) = turn.events.recv().await {
        assert!(end.is_none(), "nothing comes after the last event: {event:?}");
        match event {
            TurnEvent::Tool(step) => tools.push(step),
            TurnEvent::Source(source) => {
                sources.push(source.citation);
            }
            TurnEvent::Token(token) => tokens.push(token),
            TurnEvent::Done(answer) => end = Some(Ok(*answer)),
            TurnEvent::Error(error) => end = Some(Err(error)),
        }
    }
    Heard { sources, tokens, tools, end: end.expect("a turn has a last event") }
}

/// The next token of a turn.
pub async fn next_token(turn: &mut Turn) -> String {
    loop {
        let event = tokio::time::timeout(PATIENCE, turn.events.recv()).await.expect("in time");
        match event.expect("the turn goes on") {
            TurnEvent::Token(token) => return token,
            TurnEvent::Tool(_) | TurnEvent::Source(_) => {}
            last => panic!("expected a token, not {last:?}"),
        }
    }
}
