//! Workspaces, datastores, sources, chunks, statistics.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use domain::datastore::{IngestStage, Source, SourceFailure, SourceOrigin, SourceStatus};
use domain::{BlobId, ChunkId, Lang};
use serde_json::json;
use storage::chunks::ChunkCursor;
use storage::datastores::Tuning;
use storage::sources::{GoLive, Validators, VersionText};
use storage::{
    StorageError, Wakeup, chunks, datastores, glossaries, projects, sources, stats, workspaces,
};

use crate::support::{Place, ids, metadata, places};

#[tokio::test]
async fn a_workspace_is_born_ready_to_be_asked_and_goes_with_all_it_has() {
    for place in places("workspaces").await {
        let mut conn = place.read().await;
        let home = &place.home;
        assert_eq!(home.workspace.code, "casa-nandu");
        assert_eq!(
            workspaces::get(&mut conn, place.ws()).await.unwrap().as_ref(),
            Some(&home.workspace)
        );
        assert_eq!(
            workspaces::first(&mut conn).await.unwrap().map(|w| w.id),
            workspaces::list(&mut conn).await.unwrap().first().map(|w| w.id)
        );
        assert_eq!(workspaces::list(&mut conn).await.unwrap().len(), 2);
        assert_eq!(
            projects::default(&mut conn, place.ws()).await.unwrap().as_ref(),
            Some(&home.project)
        );
        assert_eq!(
            datastores::defaults(&mut conn, place.ws()).await.unwrap(),
            std::slice::from_ref(&home.datastore)
        );
        let agent = storage::agents::default(&mut conn, place.ws()).await.unwrap().unwrap();
        assert_eq!(agent, home.agent);
        assert_eq!(agent.tools[0].id, Some(home.datastore.id.to_string()));
        drop(conn);

        let mut heard = place.db().wakeups();
        let mut tx = place.write().await;
        let twin = workspaces::create(&mut tx, &place.ambient, "casa nandu").await.unwrap();
        assert!(twin.workspace.code.starts_with("casa-nandu-"), "{}", twin.workspace.code);
        assert!(workspaces::close(&mut tx, place.ws(), place.now()).await.unwrap());
        assert!(!workspaces::close(&mut tx, place.ws(), place.now()).await.unwrap());
        assert_eq!(workspaces::get(&mut tx, place.ws()).await.unwrap(), None, "for everybody");
        assert!(workspaces::list(&mut tx).await.unwrap().iter().all(|w| w.id != place.ws()));
        assert_eq!(workspaces::closing(&mut tx).await.unwrap(), [place.ws()]);
        let key = &home.project.site_key;
        let opened = projects::find_by_site_key(&mut tx, key, place.now()).await.unwrap();
        assert_eq!(opened, None, "for its visitors, too");
        assert!(workspaces::delete(&mut tx, place.ws()).await.unwrap());
        assert!(!workspaces::delete(&mut tx, place.ws()).await.unwrap());
        assert!(heard.try_recv().is_err(), "not before the commit");
        tx.commit().await.unwrap();
        assert_eq!(heard.try_recv().unwrap(), Wakeup::Jobs, "who waits for the end hears of it");
        let mut conn = place.read().await;
        assert_eq!(workspaces::get(&mut conn, place.ws()).await.unwrap(), None);
        assert_eq!(projects::default(&mut conn, place.ws()).await.unwrap(), None);
        assert!(datastores::defaults(&mut conn, place.ws()).await.unwrap().is_empty());
        assert_eq!(storage::agents::default(&mut conn, place.ws()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn datastores_are_kept_listed_changed_and_removed() {
    for place in places("datastores").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let (first, second) = (place.datastore("uno"), place.datastore("dos"));
        let mut tx = place.write().await;
        datastores::insert(&mut tx, &first).await.unwrap();
        datastores::insert(&mut tx, &second).await.unwrap();
        let mut renamed = first.clone();
        renamed.name = "primero".to_owned();
        renamed.language = None;
        assert!(datastores::update(&mut tx, &renamed).await.unwrap());
        let mut foreign = renamed.clone();
        foreign.workspace_id = stranger;
        assert!(!datastores::update(&mut tx, &foreign).await.unwrap());
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        let got = datastores::get(&mut conn, ws, first.id).await.unwrap();
        assert_eq!(got, Some(renamed));
        assert_eq!(datastores::get(&mut conn, stranger, first.id).await.unwrap(), None);
        let both = [first.id, second.id];
        assert_eq!(datastores::get_many(&mut conn, ws, &both).await.unwrap().len(), 2);
        assert!(datastores::get_many(&mut conn, ws, &[]).await.unwrap().is_empty());
        let revisions = datastores::revisions(&mut conn, ws, &both).await.unwrap();
        assert_eq!(revisions.len(), 2);
        assert!(revisions.iter().all(|row| (row.revision, row.glossary) == (0, 0)));
        assert!(revisions.iter().all(|row| row.tuning == Tuning::default()));
        assert!(datastores::revisions(&mut conn, stranger, &both).await.unwrap().is_empty());
        assert!(datastores::count_sources(&mut conn, ws, &both).await.unwrap().is_empty());
        assert!(datastores::get_many(&mut conn, stranger, &both).await.unwrap().is_empty());
        let page = datastores::list(&mut conn, ws, None, 2).await.unwrap();
        assert_eq!(ids(&page, |d| d.id), [second.id, first.id]);
        let rest = datastores::list(&mut conn, ws, Some(first.id), 9).await.unwrap();
        assert_eq!(ids(&rest, |d| d.id), [place.home.datastore.id]);
        assert!(
            !ids(&datastores::list(&mut conn, stranger, None, 9).await.unwrap(), |d| d.id)
                .contains(&first.id)
        );
        drop(conn);

        let tuning = Tuning { threshold: Some(0.375), dense_weight: Some(0.5) };
        let mut tx = place.write().await;
        assert!(!datastores::tune(&mut tx, stranger, first.id, tuning).await.unwrap());
        assert!(datastores::tune(&mut tx, ws, first.id, tuning).await.unwrap());
        let tuned = datastores::revisions(&mut tx, ws, &[first.id]).await.unwrap();
        assert_eq!((tuned[0].tuning, tuned[0].revision), (tuning, 0));
        assert!(datastores::tune(&mut tx, ws, first.id, Tuning::default()).await.unwrap());
        let plain = datastores::revisions(&mut tx, ws, &[first.id]).await.unwrap();
        assert_eq!(plain[0].tuning, Tuning::default());
        tx.commit().await.unwrap();

        let mut tx = place.write().await;
        assert!(!datastores::delete(&mut tx, stranger, first.id).await.unwrap());
        assert!(datastores::delete(&mut tx, ws, first.id).await.unwrap());
        assert!(!datastores::delete(&mut tx, ws, first.id).await.unwrap());
        tx.commit().await.unwrap();
    }
}

async fn live(place: &Place, id: domain::SourceId, version: i64, count: i64) -> bool {
    let mut tx = place.write().await;
    let live = GoLive {
        source: id,
        version,
        content_hash: "ab12",
        chunks: count,
        language: Some(Lang::Es),
        warning: None,
    };
    let done = sources::go_live(&mut tx, place.ws(), &[live], place.now()).await.unwrap();
    tx.commit().await.unwrap();
    assert!(done.is_empty() || done == [id], "{done:?}");
    !done.is_empty()
}

#[tokio::test]
async fn a_source_goes_from_pending_to_ready_and_on_to_its_next_version() {
    for place in places("sources").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let datastore = place.home.datastore.id;
        let source = place.source(datastore, "Horarios");
        let mut tx = place.write().await;
        sources::insert(&mut tx, source.workspace_id, std::slice::from_ref(&source)).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        assert_eq!(
            sources::get(&mut conn, ws, datastore, source.id).await.unwrap(),
            Some(source.clone())
        );
        drop(conn);

        let mut tx = place.write().await;
        let now = place.later(Duration::from_secs(1));
        let stage = IngestStage::Chunk;
        assert!(sources::progress(&mut tx, ws, source.id, 1, stage, 250, now).await.unwrap());
        assert!(!sources::progress(&mut tx, ws, source.id, 2, stage, 5, now).await.unwrap());
        assert!(!sources::progress(&mut tx, stranger, source.id, 1, stage, 5, now).await.unwrap());
        sources::describe(&mut tx, ws, source.id, "text/html", 99, Some("Horario")).await.unwrap();
        sources::describe(&mut tx, stranger, source.id, "x/y", 1, None).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let at_work = sources::get_any(&mut conn, ws, source.id).await.unwrap().unwrap();
        assert_eq!(
            (at_work.status, at_work.stage, at_work.percent, at_work.name.as_str(), at_work.bytes),
            (SourceStatus::Running, Some(stage), Some(100), "Horario", 99)
        );
        assert_eq!(at_work.mime.as_deref(), Some("text/html"));
        assert_eq!(sources::get_any(&mut conn, stranger, source.id).await.unwrap(), None);
        drop(conn);

        assert!(live(&place, source.id, 1, 3).await);
        assert!(live(&place, source.id, 1, 3).await, "going live twice is one going live");
        let mut tx = place.write().await;
        assert!(!sources::progress(&mut tx, ws, source.id, 1, stage, 5, now).await.unwrap());
        assert_eq!(sources::begin_version(&mut tx, stranger, source.id, now).await.unwrap(), None);
        assert_eq!(sources::begin_version(&mut tx, ws, source.id, now).await.unwrap(), Some(2));
        tx.commit().await.unwrap();
        assert!(!live(&place, source.id, 1, 3).await, "an overtaken version does not go live");
        let mut conn = place.read().await;
        let again = sources::get_any(&mut conn, ws, source.id).await.unwrap().unwrap();
        assert_eq!(
            (again.status, again.version, again.live_version, again.chunks),
            (SourceStatus::Pending, 2, 1, 3)
        );
        assert_eq!(again.content_hash.as_deref(), Some("ab12"));
        assert_eq!(again.language, Some(Lang::Es));
        drop(conn);

        let failure =
            SourceFailure { code: "EMPTY".to_owned(), message: "no tiene texto".to_owned() };
        let mut tx = place.write().await;
        assert!(!sources::fail(&mut tx, ws, source.id, 1, &failure, now).await.unwrap());
        assert!(!sources::fail(&mut tx, stranger, source.id, 2, &failure, now).await.unwrap());
        assert!(sources::fail(&mut tx, ws, source.id, 2, &failure, now).await.unwrap());
        assert!(!sources::cancel(&mut tx, ws, source.id, now).await.unwrap(), "it failed already");
        sources::begin_version(&mut tx, ws, source.id, now).await.unwrap();
        assert!(!sources::cancel(&mut tx, stranger, source.id, now).await.unwrap());
        assert!(sources::cancel(&mut tx, ws, source.id, now).await.unwrap());
        tx.commit().await.unwrap();
        assert!(!live(&place, source.id, 3, 3).await, "a cancelled version does not go live");
        let events = storage::events::list(&mut place.read().await, ws, 0, 10).await.unwrap();
        assert_eq!(ids(&events, |e| e.kind.clone()), ["source.ready", "source.failed"]);
        assert_eq!(events[0].subject, source.id.to_string());
        assert_eq!(events[0].payload, json!({ "version": 1, "chunks": 3 }));
    }
}

#[tokio::test]
async fn sources_are_listed_renewed_and_removed_with_their_texts() {
    for place in places("sources and texts").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let datastore = place.home.datastore.id;
        let mut page = place.source(datastore, "Página");
        page.origin = SourceOrigin::Url { url: "https://example.com/".to_owned() };
        let mut file = place.source(datastore, "Archivo.pdf");
        file.origin = SourceOrigin::File { blob: place.ambient.new_id() };
        let mut tx = place.write().await;
        sources::insert(&mut tx, ws, &[page.clone(), file.clone()]).await.unwrap();
        let mut foreign = place.source(datastore, "Ajena");
        foreign.workspace_id = stranger;
        let refused =
            sources::insert(&mut tx, foreign.workspace_id, std::slice::from_ref(&foreign)).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        let tags = metadata(json!({ "year": 2024, "public": true }));
        assert!(sources::set_metadata(&mut tx, ws, page.id, &tags, place.now()).await.unwrap());
        assert!(
            !sources::set_metadata(&mut tx, stranger, page.id, &tags, place.now()).await.unwrap()
        );
        let etag = Validators { etag: Some("1".to_owned()), last_modified: None };
        sources::set_validators(&mut tx, ws, page.id, &etag).await.unwrap();
        sources::set_validators(&mut tx, stranger, page.id, &Validators::default()).await.unwrap();
        for version in [1, 2] {
            let text = format!("<p>{version} ñ</p>").into_bytes();
            for text in [b"to be replaced", text.as_slice()] {
                let text = [VersionText { source: page.id, version, text }];
                sources::put_contents(&mut tx, ws, &text).await.unwrap();
                sources::put_documents(&mut tx, ws, &text).await.unwrap();
            }
        }
        let text = [VersionText { source: page.id, version: 1, text: b"" }];
        let contents = sources::put_contents(&mut tx, stranger, &text).await;
        let documents = sources::put_documents(&mut tx, stranger, &text).await;
        assert!(matches!(contents, Err(StorageError::Conflict(_))));
        assert!(matches!(documents, Err(StorageError::Conflict(_))));
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        let listed = sources::list(&mut conn, ws, datastore, None, 9).await.unwrap();
        assert_eq!(ids(&listed, |s| s.id), [file.id, page.id]);
        assert_eq!(listed[0].origin, file.origin);
        assert_eq!(listed[1].origin, page.origin);
        assert_eq!(listed[1].metadata, tags);
        let rest = sources::list(&mut conn, ws, datastore, Some(file.id), 9).await.unwrap();
        assert_eq!(ids(&rest, |s| s.id), [page.id]);
        assert!(sources::list(&mut conn, stranger, datastore, None, 9).await.unwrap().is_empty());
        let ids_of_both = [file.id, page.id];
        assert_eq!(sources::get_many(&mut conn, ws, &ids_of_both).await.unwrap().len(), 2);
        assert!(sources::get_many(&mut conn, stranger, &ids_of_both).await.unwrap().is_empty());
        assert_eq!(sources::validators(&mut conn, ws, page.id).await.unwrap(), etag);
        assert_eq!(
            sources::validators(&mut conn, stranger, page.id).await.unwrap(),
            Validators::default()
        );
        let both = [(page.id, 2), (file.id, 1)];
        let found = sources::contents(&mut conn, ws, &both).await.unwrap();
        assert_eq!(found, [(page.id, "<p>2 ñ</p>".into())]);
        assert_eq!(
            sources::document(&mut conn, ws, page.id, 1).await.unwrap().unwrap(),
            "<p>1 ñ</p>".as_bytes()
        );
        assert!(sources::contents(&mut conn, stranger, &both).await.unwrap().is_empty());
        assert_eq!(sources::document(&mut conn, stranger, page.id, 2).await.unwrap(), None);
        drop(conn);

        let mut tx = place.write().await;
        sources::prune_texts(&mut tx, stranger, page.id, 9).await.unwrap();
        sources::prune_texts(&mut tx, ws, page.id, 2).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        assert!(sources::contents(&mut conn, ws, &[(page.id, 1)]).await.unwrap().is_empty());
        assert_eq!(sources::document(&mut conn, ws, page.id, 1).await.unwrap(), None);
        assert_eq!(sources::contents(&mut conn, ws, &both).await.unwrap().len(), 1);
        drop(conn);

        let mut tx = place.write().await;
        assert!(!sources::delete(&mut tx, stranger, page.id).await.unwrap());
        assert!(sources::delete(&mut tx, ws, page.id).await.unwrap());
        assert!(!sources::delete(&mut tx, ws, page.id).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        assert!(sources::contents(&mut conn, ws, &both).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn unchanged_content_keeps_the_live_version_and_broken_off_work_is_found() {
    for place in places("upkeep").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let datastore = place.home.datastore.id;
        let (one, two) = (place.source(datastore, "uno"), place.source(datastore, "dos"));
        let mut tx = place.write().await;
        for source in [&one, &two] {
            sources::insert(&mut tx, source.workspace_id, std::slice::from_ref(source))
                .await
                .unwrap();
        }
        let now = place.now();
        assert!(!sources::keep_live(&mut tx, ws, one.id, 1, now).await.unwrap(), "none is live");
        tx.commit().await.unwrap();

        let later = place.later(Duration::from_secs(1));
        let mut conn = place.read().await;
        let all = sources::unfinished(&mut conn, ws, later, None, 9).await.unwrap();
        assert_eq!(ids(&all, |s| s.id), [one.id, two.id]);
        let rest = sources::unfinished(&mut conn, ws, later, Some(one.id), 9).await.unwrap();
        assert_eq!(ids(&rest, |s| s.id), [two.id]);
        let young = sources::unfinished(&mut conn, ws, one.updated_at, None, 9).await.unwrap();
        assert!(young.is_empty());
        assert!(sources::unfinished(&mut conn, stranger, later, None, 9).await.unwrap().is_empty());
        drop(conn);

        assert!(live(&place, one.id, 1, 3).await);
        let mut tx = place.write().await;
        sources::begin_version(&mut tx, ws, one.id, later).await.unwrap();
        assert!(!sources::keep_live(&mut tx, stranger, one.id, 2, later).await.unwrap());
        assert!(!sources::keep_live(&mut tx, ws, one.id, 1, later).await.unwrap(), "overtaken");
        assert!(sources::keep_live(&mut tx, ws, one.id, 2, later).await.unwrap());
        let kept = sources::get_any(&mut tx, ws, one.id).await.unwrap().unwrap();
        assert_eq!((kept.status, kept.live_version, kept.chunks), (SourceStatus::Ready, 1, 3));
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn only_chunks_of_the_live_version_answer() {
    for place in places("chunks").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let datastore = place.home.datastore.id;
        let (one, two) = (place.source(datastore, "uno"), place.source(datastore, "dos"));
        let mut tx = place.write().await;
        for source in [&one, &two] {
            sources::insert(&mut tx, source.workspace_id, std::slice::from_ref(source))
                .await
                .unwrap();
        }
        let mut all = Vec::new();
        for source in [&one, &two] {
            all.extend((0..3).map(|ordinal| place.chunk(source, 1, ordinal)));
        }
        all.push(place.chunk(&one, 2, 0));
        chunks::insert_many(&mut tx, &[]).await.unwrap();
        chunks::insert_many(&mut tx, &all).await.unwrap();
        chunks::insert_many(&mut tx, &all).await.unwrap();
        // Of a source that nobody has.
        let lost = place.source(datastore, "borrada");
        chunks::insert_many(&mut tx, &[place.chunk(&lost, 1, 0)]).await.unwrap();
        tx.commit().await.unwrap();

        let every: Vec<ChunkId> = all.iter().map(|chunk| chunk.id).collect();
        let mut conn = place.read().await;
        assert!(chunks::live(&mut conn, ws, &[datastore], &every).await.unwrap().is_empty());
        assert_eq!(chunks::count_live(&mut conn, ws, datastore).await.unwrap(), 0);
        drop(conn);
        assert!(live(&place, one.id, 1, 3).await);
        assert!(live(&place, two.id, 1, 3).await);

        let mut conn = place.read().await;
        let mut found = chunks::live(&mut conn, ws, &[datastore], &every).await.unwrap();
        found.sort_by_key(|live| (live.chunk.source_id, live.chunk.ordinal));
        let texts: Vec<_> = found.iter().map(|live| live.chunk.clone()).collect();
        assert_eq!(texts, all[..6]);
        assert_eq!((found[0].source_name.as_str(), &found[0].url), ("uno", &None));
        assert_eq!(found[0].metadata, one.metadata);
        let some = chunks::live(&mut conn, ws, &[datastore], &every[1..3]).await.unwrap();
        assert_eq!(some.len(), 2);
        let nowhere = [place.other.datastore.id];
        assert!(chunks::live(&mut conn, ws, &nowhere, &every).await.unwrap().is_empty());
        assert!(chunks::live(&mut conn, ws, &[], &every).await.unwrap().is_empty());
        assert!(chunks::live(&mut conn, stranger, &[datastore], &every).await.unwrap().is_empty());
        assert_eq!(chunks::count_live(&mut conn, ws, datastore).await.unwrap(), 6);
        assert_eq!(chunks::count_live(&mut conn, stranger, datastore).await.unwrap(), 0);

        let dead = all[6].clone();
        assert_eq!(chunks::get(&mut conn, ws, dead.id).await.unwrap(), Some(dead.clone()));
        assert_eq!(chunks::get(&mut conn, stranger, dead.id).await.unwrap(), None);
        let tail = chunks::of_version(&mut conn, ws, one.id, 1, 0, 9).await.unwrap();
        assert_eq!(ids(&tail, |c| c.ordinal), [1, 2]);
        assert!(
            chunks::of_version(&mut conn, stranger, one.id, 1, -1, 9).await.unwrap().is_empty()
        );

        let first = chunks::list(&mut conn, ws, datastore, None, None, 4).await.unwrap();
        assert_eq!(
            ids(&first, |l| (l.chunk.source_id, l.chunk.ordinal)),
            [(one.id, 0), (one.id, 1), (one.id, 2), (two.id, 0)]
        );
        let after = Some(ChunkCursor { source: one.id, ordinal: 1 });
        let next = chunks::list(&mut conn, ws, datastore, None, after, 2).await.unwrap();
        assert_eq!(
            ids(&next, |l| (l.chunk.source_id, l.chunk.ordinal)),
            [(one.id, 2), (two.id, 0)]
        );
        let own = chunks::list(&mut conn, ws, datastore, Some(two.id), after, 9).await.unwrap();
        assert_eq!(ids(&own, |l| l.chunk.ordinal), [0, 1, 2]);
        assert!(
            chunks::list(&mut conn, stranger, datastore, None, None, 9).await.unwrap().is_empty()
        );
        drop(conn);

        let mut tx = place.write().await;
        assert!(
            chunks::delete_other_versions(&mut tx, stranger, one.id, 2).await.unwrap().is_empty()
        );
        let removed = chunks::delete_other_versions(&mut tx, ws, one.id, 1).await.unwrap();
        assert_eq!(removed, [dead.id]);
        assert!(sources::delete(&mut tx, ws, two.id).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        assert_eq!(chunks::live(&mut conn, ws, &[datastore], &every).await.unwrap().len(), 3);
        assert_eq!(chunks::get(&mut conn, ws, all[3].id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn statistics_are_a_base_and_what_came_after() {
    for place in places("stats").await {
        let (ws, stranger, ds) = (place.ws(), place.stranger(), place.home.datastore.id);
        let mut tx = place.write().await;
        for delta in [b"d1", b"d2", b"d3"] {
            stats::append(&mut tx, ws, ds, delta).await.unwrap().unwrap();
        }
        assert_eq!(stats::append(&mut tx, stranger, ds, b"x").await.unwrap(), None);
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let stored = stats::load(&mut conn, ws, ds, 1).await.unwrap();
        assert_eq!(stored.base, None);
        assert_eq!(stored.deltas, [(2, b"d2".to_vec()), (3, b"d3".to_vec())]);
        assert_eq!(
            stats::load(&mut conn, stranger, ds, 0).await.unwrap(),
            stats::StoredStats::default()
        );
        assert_eq!(datastores::get(&mut conn, ws, ds).await.unwrap().unwrap().revision, 3);
        drop(conn);

        let mut tx = place.write().await;
        stats::replace_base(&mut tx, ws, ds, 2, b"base2").await.unwrap();
        stats::replace_base(&mut tx, ws, ds, 1, b"base1").await.unwrap();
        let refused = stats::replace_base(&mut tx, stranger, ds, 9, b"x").await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))));
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let stored = stats::load(&mut conn, ws, ds, 0).await.unwrap();
        assert_eq!(stored.base, Some((2, b"base2".to_vec())), "an older base does not come back");
        assert_eq!(stored.deltas, [(3, b"d3".to_vec())]);
        assert_eq!(stats::load(&mut conn, ws, ds, 2).await.unwrap().base, None);
    }
}

#[tokio::test]
async fn sources_are_counted_by_datastore_and_the_files_that_they_name_are_known() {
    for place in places("counts and files of sources").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let (here, empty) = (place.datastore("Aquí"), place.datastore("Vacío"));
        let (named, unnamed) = (place.ambient.new_id::<BlobId>(), place.ambient.new_id());
        let mut tx = place.write().await;
        for datastore in [&here, &empty] {
            datastores::insert(&mut tx, datastore).await.unwrap();
        }
        let file =
            Source { origin: SourceOrigin::File { blob: named }, ..place.source(here.id, "file") };
        for source in [place.source(here.id, "text"), file] {
            sources::insert(&mut tx, source.workspace_id, std::slice::from_ref(&source))
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        let ids = [here.id, empty.id];
        let counts = datastores::count_sources(&mut conn, ws, &ids).await.unwrap();
        assert_eq!(counts, HashMap::from([(here.id, 2)]));
        assert!(datastores::count_sources(&mut conn, stranger, &ids).await.unwrap().is_empty());
        let used = sources::blobs_in_use(&mut conn, ws, &[named, unnamed]).await.unwrap();
        assert_eq!(used, HashSet::from([named]));
        assert!(sources::blobs_in_use(&mut conn, stranger, &[named]).await.unwrap().is_empty());
        assert!(sources::blobs_in_use(&mut conn, ws, &[]).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_glossary_is_its_workspaces_own_and_its_revision_only_rises() {
    for place in places("glossaries").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let mut conn = place.read().await;
        assert_eq!(glossaries::get(&mut conn, ws).await.unwrap(), None);
        assert_eq!(glossaries::revision(&mut conn, ws).await.unwrap(), 0);
        drop(conn);

        let text = "es: pucho, cigarro";
        let mut tx = place.write().await;
        let first = glossaries::put(&mut tx, ws, text, 1, place.now()).await.unwrap();
        assert_eq!((first.revision, first.entries, first.content.as_str()), (1, 1, text));
        let later = place.later(Duration::from_secs(5));
        let second = glossaries::put(&mut tx, ws, "", 0, later).await.unwrap();
        assert_eq!((second.revision, second.entries, second.content.as_str()), (2, 0, ""));
        assert_eq!(second.updated_at, later);
        let nowhere = place.ambient.new_id();
        let refused = glossaries::put(&mut tx, nowhere, text, 1, place.now()).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        assert_eq!(glossaries::get(&mut conn, ws).await.unwrap(), Some(second));
        assert_eq!(glossaries::revision(&mut conn, ws).await.unwrap(), 2);
        assert_eq!(glossaries::get(&mut conn, stranger).await.unwrap(), None);
        assert_eq!(glossaries::revision(&mut conn, stranger).await.unwrap(), 0);
    }
}
