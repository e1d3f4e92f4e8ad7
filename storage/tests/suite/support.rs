//! What the tests of the suite share.

use std::sync::Arc;
use std::time::Duration;

use domain::datastore::{Chunk, Datastore, Source, SourceOrigin};
use domain::{
    Ambient, ChunkId, DatastoreId, Lang, ManualClock, SeededEntropy, SourceId, Timestamp,
    WorkspaceId,
};
use serde_json::{Map, Value, json};
use storage::workspaces::Born;
use storage::{Conn, Db, Tx};

/// A database with two workspaces: one to work in and one that must see nothing of it.
pub struct Place {
    /// Keeps the database there.
    pub test: testkit::db::TestDb,
    /// A clock that the test moves, and repeatable randomness.
    pub ambient: Ambient,
    clock: Arc<ManualClock>,
    /// The workspace to work in.
    pub home: Born,
    /// The workspace that must see nothing.
    pub other: Born,
}

/// Both databases, each with its two workspaces.
pub async fn places(test: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for database in testkit::db::databases(test).await {
        places.push(Place::new(database).await);
    }
    places
}

impl Place {
    async fn new(test: testkit::db::TestDb) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let ambient = Ambient::new(clock.clone(), Arc::new(SeededEntropy::new(7)));
        let mut tx = test.db.write().await.unwrap();
        let home = storage::workspaces::create(&mut tx, &ambient, "Casa Ñandú").await.unwrap();
        let other = storage::workspaces::create(&mut tx, &ambient, "Otra").await.unwrap();
        tx.commit().await.unwrap();
        Self { test, ambient, clock, home, other }
    }

    pub fn db(&self) -> &Db {
        &self.test.db
    }

    pub async fn read(&self) -> Conn {
        self.db().read().await.unwrap()
    }

    pub async fn write(&self) -> Tx {
        self.db().write().await.unwrap()
    }

    /// The workspace to work in.
    pub fn ws(&self) -> WorkspaceId {
        self.home.workspace.id
    }

    /// The workspace that must see nothing.
    pub fn stranger(&self) -> WorkspaceId {
        self.other.workspace.id
    }

    pub fn now(&self) -> Timestamp {
        self.ambient.now()
    }

    /// Moves the clock; ids made afterwards are greater.
    pub fn later(&self, by: Duration) -> Timestamp {
        self.clock.advance(by);
        self.now()
    }

    pub fn datastore(&self, name: &str) -> Datastore {
        let now = self.later(Duration::from_millis(1));
        Datastore {
            id: self.ambient.new_id(),
            workspace_id: self.ws(),
            name: name.to_owned(),
            description: format!("about {name}"),
            language: Some(Lang::Pt),
            is_default: false,
            is_system: false,
            revision: 0,
            created_at: now,
            updated_at: now,
        }
    }

    pub fn source(&self, datastore: DatastoreId, name: &str) -> Source {
        let now = self.later(Duration::from_millis(1));
        let called = (name.to_owned(), SourceOrigin::Text);
        Source {
            bytes: 42,
            metadata: metadata(json!({ "team": "ventas", "tags": ["a", "b"] })),
            ..Source::pending(self.ambient.new_id(), (self.ws(), datastore), called, now)
        }
    }

    pub fn chunk(&self, source: &Source, version: i64, ordinal: i64) -> Chunk {
        chunk(self.ws(), source.datastore_id, source.id, version, ordinal)
    }
}

pub fn metadata(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("metadata is an object, not {other}"),
    }
}

pub fn chunk(
    workspace: WorkspaceId,
    datastore: DatastoreId,
    source: SourceId,
    version: i64,
    ordinal: i64,
) -> Chunk {
    Chunk {
        id: ChunkId::of(source, version, ordinal),
        workspace_id: workspace,
        datastore_id: datastore,
        source_id: source,
        version,
        ordinal,
        text: format!("El párrafo \"{ordinal}\" de la versión {version}.\n\t\\ 'ñ' 商店 🙂"),
        heading: "Horarios › Verano".to_owned(),
        page: (ordinal > 0).then_some(ordinal),
        start: ordinal * 100,
        end: ordinal * 100 + 90,
        tokens: 17,
        lang: Lang::Es,
    }
}

/// The items' ids, in order, for comparisons that care about nothing else.
pub fn ids<T, I>(items: &[T], id: impl Fn(&T) -> I) -> Vec<I> {
    items.iter().map(id).collect()
}
