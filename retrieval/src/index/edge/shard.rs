//! Calls into qdrant-edge: opening, converting points and filters, searching.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use domain::ids::PrefixedId;
use domain::{ChunkId, WorkspaceId};
use qdrant_edge::{
    Condition, CreateIndex, Distance, EdgeConfig, EdgeConfigBuilder, EdgeOptimizersConfig,
    EdgeShard, EdgeSparseVectorParamsBuilder, EdgeVectorParams, FieldCondition,
    FieldIndexOperations, Filter, HnswIndexConfig, JsonPath, Match, NamedQuery, OperationError,
    Payload, PayloadFieldSchema, PointId, PointStructPersisted, QueryEnum, ScrollRequest,
    SearchRequest, SparseVector, UpdateOperation, VectorInternal, VectorPersisted,
    VectorStorageDatatype, VectorStructPersisted, WalOptions, WithPayloadInterface, WithVector,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::RetrievalError;
use crate::index::{
    Belonging, Found, IndexTarget, Lookup, PAGE, Page, Point, Sparse, field, vector,
};

/// Bytes of a segment of the engine's log. The engine's own default of 32 MiB is written in full for an
/// empty index.
const LOG_SEGMENT: usize = 1 << 20;
/// Kilobytes of vectors from which on a segment is sealed when asked to (some 100 passages).
const SEAL_FROM_KB: usize = 200;
/// Kilobytes of vectors above which segments are not merged any more (some 30,000 passages): merging
/// rewrites them, and the writer waits for it.
const MERGE_TO_KB: usize = 100_000;
/// Segments that are left unmerged, as a rule.
pub(super) const SEGMENTS: usize = 3;
/// Passages of a datastore up to which they are scored one by one rather than by whole posting lists.
const SCAN_UP_TO: usize = 300;

/// Kilobytes of dense vectors of a datastore up to which they are compared one by one rather than by their graph (some
/// 1,300 of 384 numbers).
const SCAN_DENSE_UP_TO_KB: usize = 2_000;

pub(super) fn open(path: &Path, dimension: Option<usize>) -> Result<EdgeShard, RetrievalError> {
    let failed = |error: String| RetrievalError::Index(error);
    if path.join("edge_config.json").exists() {
        trim_log(path);
        let loaded =
            catch_unwind(AssertUnwindSafe(|| EdgeShard::load(path, Some(config(dimension)))));
        match loaded {
            Ok(Ok(shard)) => return Ok(shard),
            Ok(Err(error)) if is_in_use(&error) => {
                return Err(failed(format!("{} is in use by another process", path.display())));
            }
            Ok(Err(error)) => {
                tracing::error!(%error, path = %path.display(), "the index cannot be read; it is filled again from the database");
            }
            Err(_) => {
                tracing::error!(path = %path.display(), "the index cannot be read; it is filled again from the database");
            }
        }
    }
    if path.exists() {
        std::fs::remove_dir_all(path).map_err(|error| failed(error.to_string()))?;
    }
    std::fs::create_dir_all(path).map_err(|error| failed(error.to_string()))?;
    let shard =
        EdgeShard::new(path, config(dimension)).map_err(|error| failed(error.to_string()))?;
    for (name, schema) in [
        (field::WORKSPACE, json!({"type": "uuid", "on_disk": true})),
        (field::DATASTORE, json!({"type": "uuid", "is_tenant": true})),
        (field::SOURCE, json!({"type": "uuid", "on_disk": true})),
        (field::METADATA, json!({"type": "keyword", "on_disk": true})),
    ] {
        let schema: PayloadFieldSchema =
            serde_json::from_value(schema).map_err(|error| failed(error.to_string()))?;
        let create = FieldIndexOperations::CreateIndex(CreateIndex {
            field_name: path_of(name),
            field_schema: Some(schema),
        });
        let created = shard.update(UpdateOperation::FieldIndexOperation(create));
        created.map_err(|error| failed(error.to_string()))?;
    }
    shard.flush();
    Ok(shard)
}

/// Whether opening failed because another process holds the log's lock.
fn is_in_use(error: &OperationError) -> bool {
    let text = error.to_string();
    text.contains("WouldBlock") || text.contains("lock")
}

fn config(dimension: Option<usize>) -> EdgeConfig {
    let sparse = || {
        // Weights in a byte each, spread over those of their term: nDCG@10, recall and containment move by less
        // than .001 on every evaluation set.
        EdgeSparseVectorParamsBuilder::new()
            .on_disk(true)
            .full_scan_threshold(SCAN_UP_TO)
            .datatype(VectorStorageDatatype::Uint8)
            .build()
    };
    let mut builder = EdgeConfigBuilder::new()
        .sparse_vector(vector::WORDS, sparse())
        .sparse_vector(vector::GRAMS, sparse())
        .on_disk_payload(true)
        .optimizers(optimizers(SEGMENTS))
        .wal_options(WalOptions {
            segment_capacity: LOG_SEGMENT,
            segment_queue_len: 0,
            retain_closed: NonZeroUsize::MIN,
        });
    if let Some(size) = dimension {
        builder = builder.hnsw_config(HnswIndexConfig {
            full_scan_threshold: SCAN_DENSE_UP_TO_KB,
            ..HnswIndexConfig::default()
        });
        let dense = EdgeVectorParams::builder(size, Distance::Cosine).on_disk(true).build();
        builder = builder.vector(vector::DENSE, dense);
    }
    builder.build()
}

fn optimizers(segments: usize) -> EdgeOptimizersConfig {
    EdgeOptimizersConfig {
        default_segment_number: Some(segments),
        max_segment_size: Some(MERGE_TO_KB),
        indexing_threshold: Some(SEAL_FROM_KB),
        ..EdgeOptimizersConfig::default()
    }
}

/// Has sealing leave so many segments unmerged from now on.
pub(super) fn leave_unmerged(shard: &EdgeShard, segments: usize) -> Result<(), RetrievalError> {
    let wanted = optimizers(segments);
    if shard.config().optimizers == wanted {
        return Ok(());
    }
    let set = shard.set_optimizers_config(wanted);
    set.map_err(|error| RetrievalError::Index(error.to_string()))
}

/// The engine appends every operation to a log that it neither reads again nor shortens; what it says is in
/// the segments once they are flushed. Gives the space of all but its newest closed file back.
pub(super) fn trim_log(path: &Path) {
    let Ok(entries) = std::fs::read_dir(path.join("wal")) else { return };
    let mut closed: Vec<(u64, std::path::PathBuf)> = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let start = name.to_str().and_then(|name| name.strip_prefix("closed-"));
        if let Some(start) = start.and_then(|start| start.parse().ok()) {
            closed.push((start, entry.path()));
        }
    }
    closed.sort_unstable();
    closed.pop();
    for (_, file) in closed {
        // An open index keeps these files mapped: taking their blocks away first frees memory and disk at
        // once; it never reads them again.
        release_blocks(&file);
        let _ = std::fs::remove_file(file);
    }
}

#[cfg(target_os = "linux")]
fn release_blocks(file: &Path) {
    use rustix::fs::{FallocateFlags, fallocate};
    let Ok(file) = std::fs::OpenOptions::new().write(true).open(file) else { return };
    let Ok(metadata) = file.metadata() else { return };
    let _ =
        fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, metadata.len());
}

#[cfg(not(target_os = "linux"))]
fn release_blocks(_file: &Path) {}

/// Points that are not in a sealed segment.
pub(super) fn unsealed(shard: &EdgeShard) -> usize {
    let info = shard.info();
    // Each point has two sparse vectors, both indexed once their segment is sealed.
    info.points_count.saturating_sub(info.indexed_vectors_count / 2)
}

pub(super) fn point(point: Point) -> Result<PointStructPersisted, RetrievalError> {
    let Point { passage, words, grams, metadata } = point;
    let mut vectors = std::collections::HashMap::new();
    for (name, sparse) in [(vector::WORDS, words), (vector::GRAMS, grams)] {
        if !sparse.is_empty() {
            vectors.insert(name.to_owned(), VectorPersisted::Sparse(sparse_vector(sparse)?));
        }
    }
    if let Some(dense) = passage.dense {
        vectors.insert(vector::DENSE.to_owned(), VectorPersisted::Dense(dense));
    }
    let mut payload = Map::new();
    payload.insert(field::WORKSPACE.to_owned(), uuid_value(passage.workspace.uuid()));
    payload.insert(field::DATASTORE.to_owned(), uuid_value(passage.datastore.uuid()));
    payload.insert(field::SOURCE.to_owned(), uuid_value(passage.source.uuid()));
    payload.insert(field::VERSION.to_owned(), Value::from(passage.version));
    payload.insert(field::LANG.to_owned(), Value::from(passage.lang.code()));
    if !metadata.is_empty() {
        payload.insert(field::METADATA.to_owned(), Value::from(metadata));
    }
    Ok(PointStructPersisted {
        id: PointId::Uuid(passage.id.uuid()),
        vector: VectorStructPersisted::Named(vectors),
        payload: Some(Payload(payload)),
    })
}

fn sparse_vector(sparse: Sparse) -> Result<SparseVector, RetrievalError> {
    SparseVector::new(sparse.indices, sparse.values)
        .map_err(|error| RetrievalError::Index(error.to_string()))
}

fn uuid_value(uuid: Uuid) -> Value {
    Value::from(uuid.to_string())
}

/// A field of the payload; the names are plain words, which every path accepts.
fn path_of(name: &str) -> JsonPath {
    JsonPath { first_key: name.to_owned(), rest: Vec::new() }
}

fn matches(name: &str, value: impl Into<Match>) -> Condition {
    Condition::Field(FieldCondition::new_match(path_of(name), value.into()))
}

pub(super) fn target_filter(workspace: WorkspaceId, target: IndexTarget) -> Filter {
    let mut must = vec![matches(field::WORKSPACE, workspace.uuid().to_string())];
    let mut must_not = Vec::new();
    match target {
        IndexTarget::OtherVersions { source, keep } => {
            must.push(matches(field::SOURCE, source.uuid().to_string()));
            must_not.push(matches(field::VERSION, keep));
        }
        IndexTarget::Version { source, version } => {
            must.push(matches(field::SOURCE, source.uuid().to_string()));
            must.push(matches(field::VERSION, version));
        }
        IndexTarget::Source(source) => must.push(matches(field::SOURCE, source.uuid().to_string())),
        IndexTarget::Datastore(datastore) => {
            must.push(matches(field::DATASTORE, datastore.uuid().to_string()));
        }
        IndexTarget::Workspace => {}
    }
    Filter { must: Some(must), must_not: Some(must_not), should: None, min_should: None }
}

fn lookup_filter(lookup: &Lookup) -> Filter {
    let uuids: Vec<String> = lookup.datastores.iter().map(|id| id.uuid().to_string()).collect();
    let mut must = vec![match <[String; 1]>::try_from(uuids) {
        Ok([one]) => matches(field::DATASTORE, one),
        Err(many) => matches(field::DATASTORE, many),
    }];
    must.extend(lookup.metadata.iter().map(|tokens| matches(field::METADATA, tokens.clone())));
    Filter { must: Some(must), must_not: None, should: None, min_should: None }
}

/// How many threads a look-up may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// The one that asks.
    One,
    /// Two of the readers', where one of them has nothing else to do. For readers only.
    Two,
}

pub(super) fn find(
    shard: &EdgeShard,
    lookup: &Lookup,
    threads: Threads,
) -> Result<Found, RetrievalError> {
    let filter = lookup_filter(lookup);
    let search =
        |name: &str, query: VectorInternal| -> Result<Vec<(ChunkId, f32)>, RetrievalError> {
            let request = SearchRequest {
                query: QueryEnum::Nearest(NamedQuery::new(query, name)),
                filter: Some(filter.clone()),
                params: None,
                limit: lookup.limit,
                offset: 0,
                with_payload: None,
                with_vector: None,
                score_threshold: None,
            };
            let points =
                shard.search(request).map_err(|error| RetrievalError::Index(error.to_string()))?;
            Ok(points
                .into_iter()
                .filter_map(|point| Some((chunk_id(point.id)?, point.score)))
                .collect())
        };
    let sparse = |name: &str, query: Option<&Sparse>| match query {
        Some(query) if !query.is_empty() => {
            search(name, VectorInternal::Sparse(sparse_vector(query.clone())?))
        }
        _ => Ok(Vec::new()),
    };
    let words = || sparse(vector::WORDS, lookup.words.as_ref());
    let grams = || sparse(vector::GRAMS, lookup.grams.as_ref());
    let (words, grams) = match threads {
        Threads::One => (words(), grams()),
        Threads::Two => rayon::join(words, grams),
    };
    Ok(Found {
        words: words?,
        grams: grams?,
        dense: match &lookup.dense {
            Some(query) => search(vector::DENSE, VectorInternal::Dense(query.clone()))?,
            None => Vec::new(),
        },
    })
}

fn chunk_id(id: PointId) -> Option<ChunkId> {
    match id {
        PointId::Uuid(uuid) => Some(ChunkId::from_uuid(uuid)),
        PointId::NumId(_) => None,
    }
}

pub(super) fn page(shard: &EdgeShard, from: Option<Uuid>) -> Result<Page, RetrievalError> {
    let request = ScrollRequest {
        offset: from.map(PointId::Uuid),
        limit: Some(PAGE),
        filter: None,
        with_payload: Some(WithPayloadInterface::Bool(true)),
        with_vector: WithVector::Bool(false),
        order_by: None,
    };
    let (records, next) =
        shard.scroll(request).map_err(|error| RetrievalError::Index(error.to_string()))?;
    let mut page = Page::default();
    for record in records {
        let Some(payload) = record.payload else { continue };
        let text = |name: &str| payload.0.get(name).and_then(Value::as_str).unwrap_or_default();
        let version = payload.0.get(field::VERSION).and_then(Value::as_i64).unwrap_or_default();
        let belonging = Belonging::read(text(field::WORKSPACE), text(field::SOURCE), version);
        if let (Some(id), Some(belonging)) = (chunk_id(record.id), belonging) {
            page.points.push((id, belonging));
        }
    }
    page.next = next.and_then(|id| match id {
        PointId::Uuid(uuid) => Some(uuid),
        PointId::NumId(_) => None,
    });
    Ok(page)
}
