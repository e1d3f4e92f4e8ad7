//! Dense vectors by content, so that unchanged text is never embedded twice and a re-index needs no model.

use std::collections::HashMap;

use domain::{Timestamp, WorkspaceId};
use serde_json::{Value, json};

use crate::sql::{Dialects, Id, Micros};
use crate::{Conn, Result, StorageError, Tx};

/// SHA-256 of the embedded text.
pub type TextHash = [u8; 32];

/// Bytes of a number of a vector.
const NUMBER_BYTES: usize = size_of::<f32>();

/// The stored vectors of those texts in an embedding space (`model/dimension`).
pub async fn get_many(
    conn: &mut Conn,
    workspace: WorkspaceId,
    space: &str,
    hashes: &[TextHash],
) -> Result<HashMap<TextHash, Vec<f32>>> {
    let hashes: Vec<String> = hashes.iter().map(hex::encode).collect();
    let rows: Vec<(Vec<u8>, Vec<u8>)> = conn
        .statement(Dialects {
            sqlite: "SELECT
                    text_hash,
                    vector
                FROM embeddings
                WHERE workspace_id = $1
                    AND space = $2
                    AND text_hash IN (SELECT unhex(value) FROM json_each($3))",
            postgres: "SELECT
                    text_hash,
                    vector
                FROM embeddings
                WHERE workspace_id = $1
                    AND space = $2
                    AND text_hash IN (SELECT decode(value, 'hex') FROM unnest($3) AS given (value))",
        })
        .bind(Id(workspace))
        .bind(space)
        .list(&hashes)
        .all()
        .await?;
    rows.into_iter().map(|(hash, vector)| Ok((read_hash(hash)?, read_vector(&vector)?))).collect()
}

/// Stores vectors; those that are there already stay.
pub async fn insert_many(
    tx: &mut Tx,
    workspace: WorkspaceId,
    space: &str,
    vectors: &[(TextHash, Vec<f32>)],
    now: Timestamp,
) -> Result<()> {
    if vectors.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = vectors
        .iter()
        .map(|(hash, vector)| json!([hex::encode(hash), hex::encode(vector_bytes(vector))]))
        .collect();
    tx.statement(Dialects {
        sqlite: "INSERT INTO embeddings (
                workspace_id,
                space,
                text_hash,
                vector,
                created_at
            )
            SELECT
                $1,
                $2,
                unhex(value->>0),
                unhex(value->>1),
                $3
            FROM json_each($4)
            WHERE TRUE
            ON CONFLICT DO NOTHING",
        postgres: "INSERT INTO embeddings (
                workspace_id,
                space,
                text_hash,
                vector,
                created_at
            )
            SELECT
                $1,
                $2,
                decode(value->>0, 'hex'),
                decode(value->>1, 'hex'),
                $3
            FROM json_array_elements(CAST($4 AS JSON)) AS given (value)
            ON CONFLICT DO NOTHING",
    })
    .bind(Id(workspace))
    .bind(space)
    .bind(Micros(now))
    .json(&rows)
    .execute()
    .await?;
    Ok(())
}

/// Removes the vectors of texts in every embedding space; how many there were.
pub async fn delete_many(tx: &mut Tx, workspace: WorkspaceId, hashes: &[TextHash]) -> Result<i64> {
    let hashes: Vec<String> = hashes.iter().map(hex::encode).collect();
    tx.statement(Dialects {
        sqlite: "DELETE FROM embeddings
            WHERE workspace_id = $1
                AND text_hash IN (SELECT unhex(value) FROM json_each($2))",
        postgres: "DELETE FROM embeddings
            WHERE workspace_id = $1
                AND text_hash IN (SELECT decode(value, 'hex') FROM unnest($2) AS given (value))",
    })
    .bind(Id(workspace))
    .list(&hashes)
    .execute()
    .await
}

fn vector_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn read_vector(bytes: &[u8]) -> Result<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks::<NUMBER_BYTES>();
    if !rest.is_empty() {
        return Err(StorageError::decode("embeddings.vector", "not a list of 32-bit floats"));
    }
    Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

fn read_hash(bytes: Vec<u8>) -> Result<TextHash> {
    TextHash::try_from(bytes)
        .map_err(|_| StorageError::decode("embeddings.text_hash", "not 32 bytes long"))
}
