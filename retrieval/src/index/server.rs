//! The index on a Qdrant server (gRPC). Ranks like the one in process: same weights, same vectors, no
//! modifier on the collection. Sealing and durability are the server's.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::PrefixedId;
use domain::{ChunkId, WorkspaceId};
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{
    Condition, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, Datatype,
    DeletePointsBuilder, Distance, FieldType, Filter, GetPointsBuilder, KeywordIndexParamsBuilder,
    ListValue, NamedVectors, PointId, PointStruct, Query, QueryBatchPointsBuilder, QueryPoints,
    QueryPointsBuilder, ScoredPoint, ScrollPointsBuilder, SparseIndexConfigBuilder,
    SparseVectorParamsBuilder, SparseVectorsConfigBuilder, UpsertPointsBuilder,
    UuidIndexParamsBuilder, Value, Vector, VectorInput, VectorParamsBuilder, VectorsConfigBuilder,
    payload_index_params::IndexParams,
};
use qdrant_client::{Payload, Qdrant, QdrantError};
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use uuid::Uuid;

use super::{Belonging, Found, IndexTarget, Lookup, PAGE, Page, Point, Sparse, field, vector};
use crate::RetrievalError;

/// The index on a server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Server {
    client: Arc<Qdrant>,
    collection: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("collection", &self.collection).finish_non_exhaustive()
    }
}

/// A point that stands for no passage: its presence says that every row has its point.
const FILLED: Uuid = Uuid::from_u128(0x766f_6365_726f_2066_696c_6c65_6400_0001);
/// Points of one request.
const REQUEST: usize = 256;

impl Server {
    pub(crate) async fn open(
        url: &Url,
        key: Option<&SecretString>,
        collection: String,
        dimension: Option<usize>,
    ) -> Result<Self, RetrievalError> {
        let mut builder = Qdrant::from_url(url.as_str())
            .timeout(Duration::from_secs(30))
            .connect_timeout(Duration::from_secs(5))
            .keep_alive_while_idle();
        builder = builder.skip_compatibility_check();
        if let Some(key) = key {
            builder = builder.api_key(key.expose_secret());
        }
        let server = Self { client: Arc::new(builder.build().map_err(failed)?), collection };
        server.make_collection(dimension).await?;
        Ok(server)
    }

    /// Makes the collection when absent; two processes may do so at once.
    async fn make_collection(&self, dimension: Option<usize>) -> Result<(), RetrievalError> {
        if self.client.collection_exists(&self.collection).await.map_err(failed)? {
            return Ok(());
        }
        let mut sparse = SparseVectorsConfigBuilder::default();
        for name in [vector::WORDS, vector::GRAMS] {
            let index = SparseIndexConfigBuilder::default().on_disk(true).datatype(Datatype::Uint8);
            sparse.add_named_vector_params(name, SparseVectorParamsBuilder::default().index(index));
        }
        let mut create = CreateCollectionBuilder::new(&self.collection)
            .sparse_vectors_config(sparse)
            .on_disk_payload(true);
        if let Some(size) = dimension {
            let mut dense = VectorsConfigBuilder::default();
            let params = VectorParamsBuilder::new(size as u64, Distance::Cosine).on_disk(true);
            dense.add_named_vector_params(vector::DENSE, params);
            create = create.vectors_config(dense);
        }
        if let Err(error) = self.client.create_collection(create).await
            && !self.client.collection_exists(&self.collection).await.map_err(failed)?
        {
            return Err(failed(error));
        }
        let uuid = |tenant: bool| {
            let params = UuidIndexParamsBuilder::default().is_tenant(tenant).on_disk(true).build();
            (FieldType::Uuid, IndexParams::UuidIndexParams(params))
        };
        let keyword = KeywordIndexParamsBuilder::default().on_disk(true).build();
        for (name, (kind, params)) in [
            (field::WORKSPACE, uuid(false)),
            (field::DATASTORE, uuid(true)),
            (field::SOURCE, uuid(false)),
            (field::METADATA, (FieldType::Keyword, IndexParams::KeywordIndexParams(keyword))),
        ] {
            let create = CreateFieldIndexCollectionBuilder::new(&self.collection, name, kind)
                .field_index_params(params)
                .wait(true);
            self.client.create_field_index(create).await.map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) async fn upsert(&self, points: Vec<Point>) -> Result<(), RetrievalError> {
        let points: Vec<PointStruct> = points.into_iter().map(point).collect();
        if points.is_empty() {
            return Ok(());
        }
        let request = UpsertPointsBuilder::new(&self.collection, points).wait(true);
        self.client.upsert_points_chunked(request, REQUEST).await.map_err(failed)?;
        Ok(())
    }

    pub(crate) async fn remove(
        &self,
        workspace: WorkspaceId,
        target: IndexTarget,
    ) -> Result<(), RetrievalError> {
        let filter = PointsSelectorOneOf::Filter(target_filter(workspace, target));
        let request = DeletePointsBuilder::new(&self.collection).points(filter).wait(true);
        self.client.delete_points(request).await.map_err(failed)?;
        Ok(())
    }

    pub(crate) async fn find(&self, lookup: Lookup) -> Result<Found, RetrievalError> {
        let filter = lookup_filter(&lookup);
        let mut queries: Vec<QueryPoints> = Vec::with_capacity(3);
        let mut asked = Vec::with_capacity(3);
        let mut ask = |name: &'static str, query: VectorInput| {
            let query = QueryPointsBuilder::new(&self.collection)
                .query(Query::new_nearest(query))
                .using(name)
                .filter(filter.clone())
                .limit(lookup.limit as u64)
                .with_payload(false);
            queries.push(query.build());
            asked.push(name);
        };
        for (name, query) in [(vector::WORDS, &lookup.words), (vector::GRAMS, &lookup.grams)] {
            if let Some(Sparse { indices, values }) = query
                && !indices.is_empty()
            {
                ask(name, VectorInput::new_sparse(indices.clone(), values.clone()));
            }
        }
        if let Some(query) = &lookup.dense {
            ask(vector::DENSE, VectorInput::new_dense(query.clone()));
        }
        let mut found = Found::default();
        if queries.is_empty() {
            return Ok(found);
        }
        let request = QueryBatchPointsBuilder::new(&self.collection, queries);
        let response = self.client.query_batch(request).await.map_err(failed)?;
        for (name, batch) in asked.into_iter().zip(response.result) {
            let hits = batch.result.into_iter().filter_map(hit).collect();
            match name {
                vector::WORDS => found.words = hits,
                vector::GRAMS => found.grams = hits,
                _ => found.dense = hits,
            }
        }
        Ok(found)
    }

    pub(crate) async fn page(&self, from: Option<Uuid>) -> Result<Page, RetrievalError> {
        let mut request = ScrollPointsBuilder::new(&self.collection)
            .limit(u32::try_from(PAGE).unwrap_or(u32::MAX))
            .with_payload(true);
        if let Some(from) = from {
            request = request.offset(PointId::from(from.to_string()));
        }
        let response = self.client.scroll(request).await.map_err(failed)?;
        let mut page = Page::default();
        for point in response.result {
            let text = |name: &str| match point.payload.get(name).and_then(|v| v.kind.as_ref()) {
                Some(Kind::StringValue(text)) => text.as_str(),
                _ => "",
            };
            let version = match point.payload.get(field::VERSION).and_then(|v| v.kind.as_ref()) {
                Some(Kind::IntegerValue(version)) => *version,
                _ => 0,
            };
            let belonging = Belonging::read(text(field::WORKSPACE), text(field::SOURCE), version);
            if let (Some(id), Some(belonging)) = (uuid_of(point.id), belonging) {
                page.points.push((ChunkId::from_uuid(id), belonging));
            }
        }
        page.next = uuid_of(response.next_page_offset);
        Ok(page)
    }

    pub(crate) async fn ping(&self) -> Result<(), RetrievalError> {
        self.client.health_check().await.map_err(failed)?;
        Ok(())
    }

    pub(crate) async fn is_unfilled(&self) -> Result<bool, RetrievalError> {
        let ids = vec![PointId::from(FILLED.to_string())];
        let request = GetPointsBuilder::new(&self.collection, ids);
        let response = self.client.get_points(request).await.map_err(failed)?;
        Ok(response.result.is_empty())
    }

    pub(crate) async fn mark_filled(&self) -> Result<(), RetrievalError> {
        let mark = PointStruct::new(FILLED.to_string(), NamedVectors::default(), Payload::new());
        let request = UpsertPointsBuilder::new(&self.collection, vec![mark]).wait(true);
        self.client.upsert_points(request).await.map_err(failed)?;
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the shape that `map_err` takes")]
fn failed(error: QdrantError) -> RetrievalError {
    RetrievalError::Index(error.to_string())
}

fn point(point: Point) -> PointStruct {
    let mut vectors = NamedVectors::default();
    for (name, sparse) in [(vector::WORDS, point.words()), (vector::GRAMS, point.grams())] {
        if !sparse.is_empty() {
            vectors = vectors.add_vector(name, Vector::new_sparse(sparse.indices, sparse.values));
        }
    }
    let Point { passage, metadata, .. } = point;
    if let Some(dense) = passage.dense {
        vectors = vectors.add_vector(vector::DENSE, Vector::new_dense(dense));
    }
    let mut payload = Payload::new();
    payload.insert(field::WORKSPACE, passage.workspace.uuid().to_string());
    payload.insert(field::DATASTORE, passage.datastore.uuid().to_string());
    payload.insert(field::SOURCE, passage.source.uuid().to_string());
    payload.insert(field::VERSION, passage.version);
    payload.insert(field::LANG, passage.lang.code().to_owned());
    if !metadata.is_empty() {
        let values = metadata.into_iter().map(Value::from).collect();
        payload
            .insert(field::METADATA, Value { kind: Some(Kind::ListValue(ListValue { values })) });
    }
    PointStruct::new(passage.id.uuid().to_string(), vectors, payload)
}

fn hit(point: ScoredPoint) -> Option<(ChunkId, f32)> {
    Some((ChunkId::from_uuid(uuid_of(point.id)?), point.score))
}

fn uuid_of(id: Option<PointId>) -> Option<Uuid> {
    match id?.point_id_options? {
        PointIdOptions::Uuid(uuid) => uuid.parse().ok(),
        PointIdOptions::Num(_) => None,
    }
}

fn target_filter(workspace: WorkspaceId, target: IndexTarget) -> Filter {
    let mut filter = Filter::default();
    let matches = |name: &str, uuid: Uuid| Condition::matches(name, uuid.to_string());
    filter.must.push(matches(field::WORKSPACE, workspace.uuid()));
    match target {
        IndexTarget::OtherVersions { source, keep } => {
            filter.must.push(matches(field::SOURCE, source.uuid()));
            filter.must_not.push(Condition::matches(field::VERSION, keep));
        }
        IndexTarget::Version { source, version } => {
            filter.must.push(matches(field::SOURCE, source.uuid()));
            filter.must.push(Condition::matches(field::VERSION, version));
        }
        IndexTarget::Source(source) => filter.must.push(matches(field::SOURCE, source.uuid())),
        IndexTarget::Datastore(datastore) => {
            filter.must.push(matches(field::DATASTORE, datastore.uuid()));
        }
        IndexTarget::Workspace => {}
    }
    filter
}

fn lookup_filter(lookup: &Lookup) -> Filter {
    let datastores: Vec<String> =
        lookup.datastores.iter().map(|id| id.uuid().to_string()).collect();
    let mut must = vec![Condition::matches(field::DATASTORE, datastores)];
    must.extend(
        lookup.metadata.iter().map(|tokens| Condition::matches(field::METADATA, tokens.clone())),
    );
    Filter { must, ..Filter::default() }
}
