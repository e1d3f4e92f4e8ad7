use domain::ErrorKind;
use domain::datastore::{IngestStage, SourceOrigin, SourceStatus};
use domain::job::JobState;
use serde_json::{Map, json};
use testkit::db::databases;

use crate::pipeline_support::{Bench, Site, html, markdown};

#[tokio::test]
async fn a_text_a_file_and_a_page_become_ready_and_are_found() {
    for test in databases("text, file and page become ready").await {
        let bench = Bench::start(test).await;
        let site = Site::start(&html("Política de envíos", "los envíos", 3)).await;
        let text = bench.add_text("Horario", "Abrimos de lunes a viernes de 9 a 18 horas.").await;
        let file = bench.add_file("garantia.md", markdown("la garantía", 4).as_bytes()).await;
        let page = bench
            .ingest
            .add_url(bench.workspace, bench.datastore, &site.url, None, Map::new())
            .await
            .unwrap();
        assert_eq!((text.status, page.name.as_str()), (SourceStatus::Pending, site.url.as_str()));

        let text = bench.wait_status(text.id, SourceStatus::Ready).await;
        let file = bench.wait_status(file.id, SourceStatus::Ready).await;
        let page = bench.wait_status(page.id, SourceStatus::Ready).await;
        bench.settle().await;
        for source in [&text, &file, &page] {
            bench.assert_whole(source).await;
            assert_eq!(source.language, Some(domain::Lang::Es), "{source:?}");
            assert_eq!((source.live_version, source.version, source.percent), (1, 1, None));
        }
        assert!(file.chunks >= 4);
        assert_eq!(file.mime.as_deref(), Some("text/markdown"));
        assert_eq!(page.name, "Política de envíos");
        assert_eq!(page.mime.as_deref(), Some("text/html"));

        let query = retrieval::SearchQuery {
            datastores: vec![bench.datastore],
            text: "¿a qué hora abren el lunes?".into(),
            top_k: 3,
            mode: retrieval::SearchMode::Hybrid,
            min_score: None,
            filter: None,
            dense_weight: None,
        };
        let found = bench.retrieval.search(bench.workspace, &query).await.unwrap();
        assert_eq!(found.hits[0].live.chunk.source_id, text.id, "{}", bench.name);
        bench.stop().await;
    }
}

#[tokio::test]
async fn many_texts_at_once_are_all_ingested_once() {
    for test in databases("many texts at once").await {
        let bench = Bench::start(test).await;
        let added = futures::future::join_all((0..150).map(|number| {
            let content = format!("La tienda número {number} abre a las {} horas.", number % 24);
            let name = format!("Tienda {number}");
            let bench = &bench;
            async move { bench.add_text(&name, &content).await }
        }))
        .await;
        for source in &added {
            let source = bench.wait_status(source.id, SourceStatus::Ready).await;
            assert_eq!(source.chunks, 1);
        }
        bench.settle().await;
        for source in &added {
            let source = bench.source(source.id).await.unwrap();
            bench.assert_whole(&source).await;
        }
        let mut conn = bench.db.read().await.unwrap();
        let live =
            storage::chunks::count_live(&mut conn, bench.workspace, bench.datastore).await.unwrap();
        assert_eq!(live, 150);
        drop(conn);
        bench.stop().await;
    }
}

#[tokio::test]
async fn progress_names_the_stage_and_rises() {
    for test in databases("progress").await {
        let bench = Bench::idle(test).await;
        let gate = bench.embedder.close();
        let file = bench.add_file("largo.md", markdown("el horario", 40).as_bytes()).await;
        bench.run_jobs();
        let at_work = bench.wait(file.id, |s| s.stage == Some(IngestStage::Embed)).await;
        assert_eq!(at_work.status, SourceStatus::Running);
        let percent = at_work.percent.unwrap();
        assert!((40..=70).contains(&percent), "{percent}");
        gate.add_permits(1_000);
        let ready = bench.wait_status(file.id, SourceStatus::Ready).await;
        bench.settle().await;
        bench.assert_whole(&ready).await;
        bench.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_read_fails_with_a_reason_and_leaves_nothing() {
    for test in databases("what cannot be read fails").await {
        let bench = Bench::start(test).await;
        let site = Site::start("").await;
        site.page.lock().status = Some(404);
        let page = bench
            .ingest
            .add_url(bench.workspace, bench.datastore, &site.url, Some("Página"), Map::new())
            .await
            .unwrap();
        let damaged = bench.add_file("roto.pdf", b"%PDF-1.4\nnothing to see").await;
        for (id, codes) in
            [(page.id, &["FETCH_STATUS"][..]), (damaged.id, &["UNREADABLE", "PARSER_LIMIT"])]
        {
            let failed = bench.wait_status(id, SourceStatus::Failed).await;
            let failure = failed.failure.unwrap();
            assert!(codes.contains(&failure.code.as_str()), "{failure:?}");
            assert!(!failure.message.is_empty());
            bench.settle().await;
            assert!(bench.rows(id).await.is_empty() && bench.points(id).await.is_empty());
        }
        bench.stop().await;
    }
}

#[tokio::test]
async fn requests_that_cannot_be_taken_are_refused_at_the_door() {
    for test in databases("requests are refused at the door").await {
        let bench = Bench::idle(test).await;
        let (workspace, datastore) = (bench.workspace, bench.datastore);
        let ingest = &bench.ingest;
        let none = || Map::new();

        let program =
            bench.file("virus.exe", b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff");
        let error = ingest.add_file(workspace, datastore, program).await.unwrap_err();
        assert_eq!(
            (error.kind, error.code),
            (ErrorKind::UnsupportedType, "UNSUPPORTED_MEDIA_TYPE")
        );
        assert!(error.message.contains("pdf, docx"), "{}", error.message);

        let huge = bench.file("largo.txt", &vec![b'a'; (1 << 20) + 1]);
        let error = ingest.add_file(workspace, datastore, huge).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);

        let empty = bench.file("vacio.txt", b"");
        let error = ingest.add_file(workspace, datastore, empty).await.unwrap_err();
        assert_eq!((error.kind, error.field.as_deref()), (ErrorKind::Invalid, Some("file")));

        for url in ["ftp://example.com/a", "http://10.0.0.1/", "nada"] {
            let error = ingest.add_url(workspace, datastore, url, None, none()).await.unwrap_err();
            assert_eq!(
                (error.kind, error.field.as_deref()),
                (ErrorKind::Invalid, Some("url")),
                "{url}"
            );
        }
        for (name, content, field) in [("", "a", "name"), ("a", " ", "content")] {
            let error =
                ingest.add_text(workspace, datastore, name, content, none()).await.unwrap_err();
            assert_eq!(error.field.as_deref(), Some(field));
        }
        let metadata = json!({"a": {"b": 1}}).as_object().cloned().unwrap();
        let error = ingest.add_text(workspace, datastore, "a", "b", metadata).await.unwrap_err();
        assert_eq!(error.field.as_deref(), Some("metadata.a"));

        // A datastore that is not there, alone and in a group with one that is.
        let other = bench.ambient.new_id();
        let foreign = bench.ambient.new_id();
        let (bad, good, stranger) = tokio::join!(
            ingest.add_text(workspace, other, "a", "b", none()),
            ingest.add_text(workspace, datastore, "a", "b", none()),
            ingest.add_text(foreign, datastore, "a", "b", none()),
        );
        for error in [bad.unwrap_err(), stranger.unwrap_err()] {
            assert_eq!(
                (error.kind, error.message.as_str()),
                (ErrorKind::NotFound, "datastore not found")
            );
        }
        assert!(bench.source(good.unwrap().id).await.is_some());
        let file = bench.file("a.txt", b"hola");
        let error = ingest.add_file(workspace, other, file).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_failed_source_can_be_retried_and_then_is_ready() {
    for test in databases("a failed source can be retried").await {
        let bench = Bench::start(test).await;
        let site = Site::start(&html("Precios", "los precios", 2)).await;
        site.page.lock().status = Some(404);
        let added = bench
            .ingest
            .add_url(bench.workspace, bench.datastore, &site.url, None, Map::new())
            .await
            .unwrap();
        bench.wait_status(added.id, SourceStatus::Failed).await;
        site.page.lock().status = None;
        let again = bench.ingest.retry(bench.workspace, bench.datastore, added.id).await.unwrap();
        assert_eq!((again.status, again.version), (SourceStatus::Pending, 2));
        let ready = bench.wait_status(added.id, SourceStatus::Ready).await;
        assert_eq!(ready.failure, None);
        bench.settle().await;
        bench.assert_whole(&ready).await;
        let error =
            bench.ingest.retry(bench.workspace, bench.datastore, added.id).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_running_source_can_be_cancelled_leaves_nothing_and_can_be_retried() {
    for test in databases("a running source can be cancelled").await {
        let bench = Bench::start(test).await;
        let gate = bench.embedder.close();
        let file = bench.add_file("largo.md", markdown("el horario", 30).as_bytes()).await;
        bench.wait(file.id, |s| s.stage == Some(IngestStage::Embed)).await;
        let cancelled =
            bench.ingest.cancel(bench.workspace, bench.datastore, file.id).await.unwrap();
        assert_eq!((cancelled.status, cancelled.stage), (SourceStatus::Cancelled, None));
        // The worker hangs in the embedder: only the cancellation can end its job.
        bench.settle().await;
        assert!(bench.rows(file.id).await.is_empty() && bench.points(file.id).await.is_empty());
        assert_eq!(bench.source(file.id).await.unwrap().status, SourceStatus::Cancelled);
        let again = bench.ingest.cancel(bench.workspace, bench.datastore, file.id).await;
        assert_eq!(again.unwrap_err().kind, ErrorKind::Conflict);

        gate.add_permits(1_000);
        bench.ingest.retry(bench.workspace, bench.datastore, file.id).await.unwrap();
        let ready = bench.wait_status(file.id, SourceStatus::Ready).await;
        bench.settle().await;
        bench.assert_whole(&ready).await;
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_cancelled_text_keeps_its_content_for_the_retry() {
    for test in databases("a cancelled text keeps its content").await {
        let bench = Bench::idle(test).await;
        let text = bench.add_text("Horario", "Abrimos a las nueve.").await;
        bench.ingest.cancel(bench.workspace, bench.datastore, text.id).await.unwrap();
        bench.run_jobs();
        bench.settle().await;
        assert!(bench.rows(text.id).await.is_empty());
        bench.ingest.retry(bench.workspace, bench.datastore, text.id).await.unwrap();
        let ready = bench.wait_status(text.id, SourceStatus::Ready).await;
        bench.settle().await;
        bench.assert_whole(&ready).await;
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_changed_page_replaces_its_old_version_without_remains() {
    for test in databases("a changed page replaces its old version").await {
        let bench = Bench::start(test).await;
        let site = Site::start(&html("Precios", "los precios", 8)).await;
        let added = bench
            .ingest
            .add_url(bench.workspace, bench.datastore, &site.url, None, Map::new())
            .await
            .unwrap();
        let first = bench.wait_status(added.id, SourceStatus::Ready).await;
        bench.settle().await;
        site.set(&html("Precios nuevos", "las tarifas", 3));
        bench.ingest.sync(bench.workspace, bench.datastore, added.id).await.unwrap();
        let second = bench.wait(added.id, |s| s.live_version == 2).await;
        bench.settle().await;
        assert_eq!((second.status, second.name.as_str()), (SourceStatus::Ready, "Precios"));
        assert!(second.chunks < first.chunks);
        bench.assert_whole(&second).await;
        let mut conn = bench.db.read().await.unwrap();
        for version in [1, 2] {
            let document =
                storage::sources::document(&mut conn, bench.workspace, added.id, version).await;
            assert_eq!(document.unwrap().is_some(), version == 2);
        }
        drop(conn);
        bench.stop().await;
    }
}

#[tokio::test]
async fn an_unchanged_page_does_no_work_beyond_the_fetch() {
    for test in databases("an unchanged page does no work").await {
        let bench = Bench::start(test).await;
        let site = Site::start(&html("Precios", "los precios", 4)).await;
        let added = bench
            .ingest
            .add_url(bench.workspace, bench.datastore, &site.url, None, Map::new())
            .await
            .unwrap();
        let first = bench.wait_status(added.id, SourceStatus::Ready).await;
        bench.settle().await;
        let (embedded, revision) = (bench.embedder.count(), bench.datastore().await.revision);
        assert!(embedded > 0);

        // By content, then by validator: the new ETag comes with the same bytes, then is sent back.
        for (hits, not_modified) in [(2, 0), (3, 0)] {
            site.page.lock().etag = Some("\"v2\"".into());
            bench.ingest.sync(bench.workspace, bench.datastore, added.id).await.unwrap();
            let ready = bench.wait(added.id, |s| s.status == SourceStatus::Ready).await;
            bench.settle().await;
            let page = site.page.lock().clone();
            assert_eq!((page.hits, page.not_modified), (hits, not_modified));
            assert_eq!(ready.live_version, first.live_version);
            assert_eq!(ready.chunks, first.chunks);
            bench.assert_whole(&ready).await;
        }
        assert_eq!(bench.embedder.count(), embedded, "text was embedded again");
        assert_eq!(bench.datastore().await.revision, revision, "statistics were counted again");
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_page_that_says_not_modified_is_not_read_again() {
    for test in databases("a page that says not modified").await {
        let bench = Bench::start(test).await;
        let site = Site::start(&html("Precios", "los precios", 2)).await;
        site.page.lock().etag = Some("\"v1\"".into());
        let added = bench
            .ingest
            .add_url(bench.workspace, bench.datastore, &site.url, None, Map::new())
            .await
            .unwrap();
        bench.wait_status(added.id, SourceStatus::Ready).await;
        bench.ingest.sync(bench.workspace, bench.datastore, added.id).await.unwrap();
        let ready = bench.wait(added.id, |s| s.status == SourceStatus::Ready).await;
        bench.settle().await;
        assert_eq!(site.page.lock().not_modified, 1);
        bench.assert_whole(&ready).await;
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_deleted_source_leaves_nothing() {
    for test in databases("a deleted source leaves nothing").await {
        let bench = Bench::start(test).await;
        let file = bench.add_file("garantia.md", markdown("la garantía", 4).as_bytes()).await;
        let ready = bench.wait_status(file.id, SourceStatus::Ready).await;
        let SourceOrigin::File { blob } = ready.origin else { panic!("a file") };
        bench.settle().await;
        assert!(bench.blobs.get(bench.workspace, blob).await.unwrap().is_some());
        bench.ingest.delete_source(bench.workspace, bench.datastore, file.id).await.unwrap();
        assert!(bench.source(file.id).await.is_none());
        assert!(bench.rows(file.id).await.is_empty());
        bench.settle().await;
        assert!(bench.points(file.id).await.is_empty());
        assert!(bench.blobs.get(bench.workspace, blob).await.unwrap().is_none());
        let again = bench.ingest.delete_source(bench.workspace, bench.datastore, file.id).await;
        assert_eq!(again.unwrap_err().kind, ErrorKind::NotFound);
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_source_deleted_while_it_is_ingested_leaves_nothing() {
    for test in databases("a source deleted while it is ingested").await {
        let bench = Bench::start(test).await;
        let gate = bench.embedder.close();
        let file = bench.add_file("largo.md", markdown("el horario", 30).as_bytes()).await;
        bench.wait(file.id, |s| s.stage == Some(IngestStage::Embed)).await;
        bench.ingest.delete_source(bench.workspace, bench.datastore, file.id).await.unwrap();
        gate.add_permits(1_000);
        bench.settle().await;
        assert!(bench.rows(file.id).await.is_empty() && bench.points(file.id).await.is_empty());
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_deleted_datastore_leaves_nothing() {
    for test in databases("a deleted datastore leaves nothing").await {
        let bench = Bench::start(test).await;
        let file = bench.add_file("garantia.md", markdown("la garantía", 4).as_bytes()).await;
        let text = bench.add_text("Horario", "Abrimos a las nueve.").await;
        let ready = bench.wait_status(file.id, SourceStatus::Ready).await;
        let SourceOrigin::File { blob } = ready.origin else { panic!("a file") };
        bench.wait_status(text.id, SourceStatus::Ready).await;
        bench.ingest.delete_datastore(bench.workspace, bench.datastore).await.unwrap();
        for id in [file.id, text.id] {
            assert!(bench.source(id).await.is_none() && bench.rows(id).await.is_empty());
        }
        bench.settle().await;
        for id in [file.id, text.id] {
            assert!(bench.points(id).await.is_empty());
        }
        assert!(bench.blobs.get(bench.workspace, blob).await.unwrap().is_none());
        let again = bench.ingest.delete_datastore(bench.workspace, bench.datastore).await;
        assert_eq!(again.unwrap_err().kind, ErrorKind::NotFound);
        bench.stop().await;
    }
}

/// Each stage's points in turn: the job fails there once, tries again, and ends as if nothing had happened.
#[tokio::test]
async fn a_job_broken_at_any_stage_resumes_to_the_same_end() {
    let stages = ["fetch", "extract", "chunk", "embed", "index", "live"];
    for test in databases("a job broken at any stage resumes").await {
        let bench = Bench::start(test).await;
        let site = Site::start(&html("Precios", "los precios", 5)).await;
        let mut expected = None;
        for point in std::iter::once(None).chain(
            stages
                .iter()
                .flat_map(|s| ["", "::committed"].map(|end| Some(format!("ingest::{s}{end}")))),
        ) {
            let name = format!("Precios {}", point.as_deref().unwrap_or("sin fallos"));
            if let Some(point) = &point {
                fail::cfg(point, &format!("return(retry:{name})")).unwrap();
            }
            let source = bench
                .ingest
                .add_url(bench.workspace, bench.datastore, &site.url, Some(&name), Map::new())
                .await
                .unwrap();
            if let Some(point) = &point {
                let broken = wait_for_failure(&bench).await;
                assert!(broken.contains("FAILPOINT"), "{point}: {broken}");
                fail::remove(point);
                bench.hurry();
            }
            let ready = bench.wait_status(source.id, SourceStatus::Ready).await;
            bench.settle().await;
            bench.assert_whole(&ready).await;
            let end = (ready.chunks, ready.content_hash, ready.language);
            assert_eq!(&end, expected.get_or_insert(end.clone()), "{point:?}");
        }
        bench.stop().await;
    }
}

/// The last error of the job that waits for its next attempt.
async fn wait_for_failure(bench: &Bench) -> String {
    let failed = async || {
        let mut conn = bench.db.read().await.unwrap();
        let waiting = storage::jobs::list(&mut conn, bench.workspace, JobState::Waiting, 10).await;
        waiting.unwrap().into_iter().find_map(|job| job.last_error)
    };
    bench.look("the failpoint is hit", failed).await
}
