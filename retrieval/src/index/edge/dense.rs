//! Dense vectors: calls into qdrant-edge, which is opened only where there is an embedder.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use domain::ids::PrefixedId;
use domain::{ChunkId, WorkspaceId};
use qdrant_edge::{
    Condition, CreateIndex, Distance, EdgeConfig, EdgeConfigBuilder, EdgeOptimizersConfig,
    EdgeShard, EdgeVectorParams, FieldCondition, FieldIndexOperations, Filter, HnswIndexConfig,
    JsonPath, Match, NamedQuery, Payload, PayloadFieldSchema, PointId, PointStructPersisted,
    QueryEnum, SearchRequest, UpdateOperation, VectorInternal, VectorPersisted,
    VectorStructPersisted, WalOptions,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::RetrievalError;
use crate::index::{IndexTarget, Lookup, Point, field, vector};

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
/// Kilobytes of dense vectors of a datastore up to which they are compared one by one rather than by their graph (some
/// 1,300 of 384 numbers).
const SCAN_DENSE_UP_TO_KB: usize = 2_000;

pub(super) fn open(path: &Path, dimension: usize) -> Result<EdgeShard, RetrievalError> {
    let failed = |error: String| RetrievalError::Index(error);
    if path.join("edge_config.json").exists() {
        trim_log(path);
        let load = || EdgeShard::load(path, Some(config(dimension)));
        let loaded = catch_unwind(AssertUnwindSafe(load))
            .map_err(|_| failed("the engine broke off".to_owned()))?;
        return loaded.map_err(|error| failed(error.to_string()));
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

fn config(dimension: usize) -> EdgeConfig {
    let dense = EdgeVectorParams::builder(dimension, Distance::Cosine).on_disk(true).build();
    EdgeConfigBuilder::new()
        .vector(vector::DENSE, dense)
        .hnsw_config(HnswIndexConfig {
            full_scan_threshold: SCAN_DENSE_UP_TO_KB,
            ..HnswIndexConfig::default()
        })
        .on_disk_payload(true)
        .optimizers(optimizers(SEGMENTS))
        .wal_options(WalOptions {
            segment_capacity: LOG_SEGMENT,
            segment_queue_len: 0,
            retain_closed: NonZeroUsize::MIN,
        })
        .build()
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
    info.points_count.saturating_sub(info.indexed_vectors_count)
}

/// A passage's vector and what it is filtered by; `None` when it has none.
pub(super) fn point(point: &Point) -> Option<PointStructPersisted> {
    let Point { passage, metadata, .. } = point;
    let dense = VectorPersisted::Dense(passage.dense.clone()?);
    let vectors = std::collections::HashMap::from([(vector::DENSE.to_owned(), dense)]);
    let mut payload = Map::new();
    payload.insert(field::WORKSPACE.to_owned(), uuid_value(passage.workspace.uuid()));
    payload.insert(field::DATASTORE.to_owned(), uuid_value(passage.datastore.uuid()));
    payload.insert(field::SOURCE.to_owned(), uuid_value(passage.source.uuid()));
    payload.insert(field::VERSION.to_owned(), Value::from(passage.version));
    if !metadata.is_empty() {
        payload.insert(field::METADATA.to_owned(), Value::from(metadata.clone()));
    }
    Some(PointStructPersisted {
        id: PointId::Uuid(passage.id.uuid()),
        vector: VectorStructPersisted::Named(vectors),
        payload: Some(Payload(payload)),
    })
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

/// What is nearest to the vector looked for, best first.
pub(super) fn find(
    shard: &EdgeShard,
    query: &[f32],
    lookup: &Lookup,
) -> Result<Vec<(ChunkId, f32)>, RetrievalError> {
    let query = VectorInternal::Dense(query.to_vec());
    let request = SearchRequest {
        query: QueryEnum::Nearest(NamedQuery::new(query, vector::DENSE)),
        filter: Some(lookup_filter(lookup)),
        params: None,
        limit: lookup.limit,
        offset: 0,
        with_payload: None,
        with_vector: None,
        score_threshold: None,
    };
    let points = shard.search(request);
    let points = points.map_err(|error| RetrievalError::Index(error.to_string()))?;
    Ok(points.into_iter().filter_map(|point| Some((chunk_id(point.id)?, point.score))).collect())
}

fn chunk_id(id: PointId) -> Option<ChunkId> {
    match id {
        PointId::Uuid(uuid) => Some(ChunkId::from_uuid(uuid)),
        PointId::NumId(_) => None,
    }
}
