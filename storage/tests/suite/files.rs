//! Stored files.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bytes::Bytes;
use domain::ids::PrefixedId;
use domain::{Ambient, BlobId, WorkspaceId};
use storage::{Blobs, StorageError};

fn new_ids() -> (WorkspaceId, WorkspaceId, BlobId) {
    let ambient = Ambient::system();
    (ambient.new_id(), ambient.new_id(), ambient.new_id())
}

/// The bucket of the tests; `None`, which is said, where there is none.
fn bucket(test: &str) -> Option<Blobs> {
    let url = testkit::s3_url(test)?;
    let place = Ambient::system().new_uuid();
    Some(Blobs::s3(&format!("{url}/{place}")).unwrap())
}

#[tokio::test]
async fn a_bucket_does_what_a_folder_does() {
    let Some(blobs) = bucket("a bucket does what a folder does") else { return };
    let (ws, stranger, id) = new_ids();
    assert_eq!(blobs.get(ws, id).await.unwrap(), None);
    blobs.delete(ws, id).await.unwrap();
    blobs.put(ws, id, Bytes::from_static(b"uno")).await.unwrap();
    assert_eq!(blobs.get(ws, id).await.unwrap().as_deref(), Some(b"uno".as_slice()));
    assert_eq!(blobs.get(stranger, id).await.unwrap(), None);

    // More than one part of eight megabytes: sent as a multipart upload.
    let folder = tempfile::tempdir().unwrap();
    let upload = folder.path().join("upload");
    let bytes: Vec<u8> = (0..9_000_001_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    std::fs::write(&upload, &bytes).unwrap();
    blobs.put_file(ws, id, &upload).await.unwrap();
    assert!(blobs.get(ws, id).await.unwrap().unwrap() == bytes, "it came back changed");
    let second = BlobId::from_uuid(Ambient::system().new_uuid());
    blobs.put(ws, second, Bytes::from_static(b"dos")).await.unwrap();
    blobs.put(stranger, id, Bytes::from_static(b"tres")).await.unwrap();

    let hour = Duration::from_hours(1);
    let now = Ambient::system().now();
    assert_eq!(blobs.older_than(ws, now.minus(hour)).await.unwrap(), []);
    let mut old = blobs.older_than(ws, now.plus(hour)).await.unwrap();
    old.sort_unstable();
    assert_eq!(old, [id, second]);
    assert_eq!(blobs.delete_partial(now).await.unwrap(), 0);

    blobs.delete(ws, id).await.unwrap();
    blobs.delete(ws, id).await.unwrap();
    assert_eq!(blobs.get(ws, id).await.unwrap(), None);
    blobs.delete_workspace(ws).await.unwrap();
    assert_eq!(blobs.get(ws, second).await.unwrap(), None);
    assert!(blobs.get(stranger, id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_an_error_that_names_no_secret() {
    let Some(url) = testkit::s3_url("a bucket that is not there") else { return };
    let absent = url.replacen("s3://", "s3://absent-", 1);
    let blobs = Blobs::s3(&absent).unwrap();
    let (ws, _, id) = new_ids();
    let error = blobs.put(ws, id, Bytes::from_static(b"x")).await.unwrap_err();
    let secret = std::env::var("AWS_SECRET_ACCESS_KEY").unwrap();
    let told = format!("{error} {error:?} {blobs:?}");
    assert!(!told.contains(&secret), "{told}");
}

#[tokio::test]
async fn a_file_is_kept_by_workspace_and_id() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/b");
    let blobs = Blobs::local(&root).unwrap();
    let mode = std::fs::metadata(&root).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "others cannot look inside");
    let (ws, stranger, id) = new_ids();
    assert_eq!(blobs.get(ws, id).await.unwrap(), None);
    blobs.put(ws, id, Bytes::from_static(b"uno")).await.unwrap();
    blobs.put(ws, id, Bytes::from_static(b"dos")).await.unwrap();
    assert_eq!(blobs.get(ws, id).await.unwrap().as_deref(), Some(b"dos".as_slice()));
    assert_eq!(blobs.get(stranger, id).await.unwrap(), None);
    let path = root.join(ws.to_string()).join(id.to_string());
    assert_eq!(std::fs::read(path).unwrap(), b"dos", "named by ids only");
    blobs.delete(stranger, id).await.unwrap();
    assert!(blobs.get(ws, id).await.unwrap().is_some());
    blobs.delete(ws, id).await.unwrap();
    blobs.delete(ws, id).await.unwrap();
    assert_eq!(blobs.get(ws, id).await.unwrap(), None);
}

#[tokio::test]
async fn a_large_file_is_streamed_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(&folder.path().join("blobs")).unwrap();
    let (ws, _, id) = new_ids();
    // More than two parts of eight megabytes.
    let bytes: Vec<u8> = (0..20_000_003_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    for size in [0, 1, 8 * 1024 * 1024, bytes.len()] {
        let upload = folder.path().join("upload");
        std::fs::write(&upload, &bytes[..size]).unwrap();
        blobs.put_file(ws, id, &upload).await.unwrap();
        let stored = blobs.get(ws, id).await.unwrap().unwrap();
        assert!(stored == bytes[..size], "{size} bytes came back as {}", stored.len());
    }
    let (_, _, other) = new_ids();
    let absent = blobs.put_file(ws, other, &folder.path().join("absent")).await;
    assert!(matches!(absent, Err(StorageError::Blob(_))), "{absent:?}");
    assert_eq!(blobs.get(ws, other).await.unwrap(), None);
}

#[tokio::test]
async fn the_files_of_a_workspace_go_together() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(folder.path()).unwrap();
    let (ws, stranger, id) = new_ids();
    let second = BlobId::from_uuid(Ambient::system().new_uuid());
    for (workspace, id) in [(ws, id), (ws, second), (stranger, id)] {
        blobs.put(workspace, id, Bytes::from_static(b"x")).await.unwrap();
    }
    blobs.delete_workspace(ws).await.unwrap();
    blobs.delete_workspace(ws).await.unwrap();
    assert_eq!(blobs.get(ws, id).await.unwrap(), None);
    assert_eq!(blobs.get(ws, second).await.unwrap(), None);
    assert!(blobs.get(stranger, id).await.unwrap().is_some());
}

#[tokio::test]
async fn old_files_are_listed_and_broken_off_writes_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(folder.path()).unwrap();
    let (ws, stranger, id) = new_ids();
    blobs.put(ws, id, Bytes::from_static(b"x")).await.unwrap();
    blobs
        .put(stranger, BlobId::from_uuid(Ambient::system().new_uuid()), Bytes::new())
        .await
        .unwrap();
    let home = folder.path().join(ws.to_string());
    std::fs::write(home.join(format!("{id}#1")), b"half").unwrap();
    std::fs::write(home.join("notes.txt"), b"not ours").unwrap();
    let now = Ambient::system().now();
    let (past, future) = (now.minus(Duration::from_hours(1)), now.plus(Duration::from_hours(1)));

    assert_eq!(blobs.older_than(ws, past).await.unwrap(), []);
    assert_eq!(blobs.older_than(ws, future).await.unwrap(), [id]);
    let (nobody, ..) = new_ids();
    assert_eq!(blobs.older_than(nobody, future).await.unwrap(), []);
    assert_eq!(blobs.delete_partial(past).await.unwrap(), 0);
    assert_eq!(blobs.delete_partial(future).await.unwrap(), 1);
    assert_eq!(blobs.delete_partial(future).await.unwrap(), 0);
    assert!(blobs.get(ws, id).await.unwrap().is_some());
    assert!(home.join("notes.txt").exists());
}

#[test]
fn an_s3_address_names_a_bucket() {
    assert!(Blobs::s3("s3://bucket/some/prefix").is_ok());
    assert!(Blobs::s3("s3://bucket").is_ok());
    assert!(Blobs::s3("https://example.com/not/a/bucket").is_err());
    assert!(Blobs::s3("nonsense").is_err());
}
