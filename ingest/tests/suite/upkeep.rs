//! What happens to what fell through the cracks, and to jobs that end badly.

use std::time::Duration;

use domain::BlobId;
use domain::datastore::{SourceOrigin, SourceStatus};
use domain::job::JobState;
use jobs::RunnerOptions;
use serde_json::Map;
use storage::jobs::Claim;
use testkit::db::databases;

use crate::pipeline_support::{Bench, Site, html, markdown};

#[tokio::test]
async fn a_source_without_a_job_is_found_by_the_sweep() {
    for test in databases("a source without a job is found").await {
        let bench = Bench::idle(test).await;
        let text = bench.add_text("Horario", "Abrimos a las nueve.").await;
        // Its job ends although the source waits on.
        let jobs = bench.jobs(JobState::Waiting).await;
        let claim = Claim {
            kinds: &["ingest.text"],
            owner: "gone",
            lease_until: bench.ambient.now().plus(Duration::from_mins(1)),
            limit: 1,
            busy_workspaces: &[],
            max_losses: 1,
        };
        let mut tx = bench.db.write().await.unwrap();
        let now = bench.ambient.now();
        storage::jobs::claim(&mut tx, &claim, now).await.unwrap();
        let done = [(jobs[0].id, 1, storage::jobs::Ending::Done)];
        assert_eq!(storage::jobs::finish(&mut tx, "gone", &done, now).await.unwrap(), [true]);
        tx.commit().await.unwrap();

        // Not at once: somebody may be about to want it.
        bench.ingest.schedule().await.unwrap();
        bench.run_jobs();
        bench.swept(1).await;
        assert_eq!(bench.source(text.id).await.unwrap().status, SourceStatus::Pending);
        // By the sweep of the next day, which the first one wanted: nobody has to start the server again.
        bench.advance(Duration::from_hours(25));
        let ready = bench.wait_status(text.id, SourceStatus::Ready).await;
        bench.settle().await;
        bench.assert_whole(&ready).await;
        bench.stop().await;
    }
}

#[tokio::test]
async fn files_that_no_source_names_are_swept_after_a_day_and_others_stay() {
    for test in databases("files that no source names").await {
        let bench = Bench::start(test).await;
        let file = bench.add_file("garantia.md", markdown("la garantía", 2).as_bytes()).await;
        let SourceOrigin::File { blob: named } = file.origin else { panic!("a file") };
        bench.wait_status(file.id, SourceStatus::Ready).await;
        // As an upload leaves it whose process died before its row was written, and one that died in between.
        let orphan: BlobId = bench.ambient.new_id();
        bench.blobs.put(bench.workspace, orphan, "x".into()).await.unwrap();
        let partial = bench.blob_path(bench.workspace, &format!("{orphan}#1"));
        std::fs::write(&partial, "x").unwrap();
        // Of a workspace that this database does not know.
        let strange = bench.ambient.new_id();
        bench.blobs.put(strange, orphan, "x".into()).await.unwrap();

        bench.ingest.schedule().await.unwrap();
        bench.swept(1).await;
        assert!(bench.blobs.get(bench.workspace, orphan).await.unwrap().is_some(), "too early");
        bench.advance(Duration::from_hours(25));
        bench.swept(2).await;
        assert!(
            bench.blobs.get(bench.workspace, orphan).await.unwrap().is_none(),
            "{}",
            bench.name
        );
        assert!(!partial.exists());
        assert!(bench.blobs.get(strange, orphan).await.unwrap().is_some());
        assert!(bench.blobs.get(bench.workspace, named).await.unwrap().is_some());
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_removal_whose_job_died_is_made_good_by_the_sweep() {
    for test in databases("a removal whose job died").await {
        let bench = Bench::start(test).await;
        let file = bench.add_file("garantia.md", markdown("la garantía", 4).as_bytes()).await;
        let SourceOrigin::File { blob } = file.origin else { panic!("a file") };
        bench.wait_status(file.id, SourceStatus::Ready).await;
        bench.settle().await;
        // The rows go without the job that would remove vectors and file.
        let mut tx = bench.db.write().await.unwrap();
        assert!(storage::sources::delete(&mut tx, bench.workspace, file.id).await.unwrap());
        tx.commit().await.unwrap();
        assert!(!bench.points(file.id).await.is_empty());

        bench.ingest.schedule().await.unwrap();
        bench.swept(1).await;
        bench.advance(Duration::from_hours(25));
        bench.swept(2).await;
        assert!(bench.points(file.id).await.is_empty(), "{}", bench.name);
        assert!(bench.blobs.get(bench.workspace, blob).await.unwrap().is_none());
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_source_whose_job_used_up_its_attempts_fails_with_the_reason() {
    for test in databases("a job used up its attempts").await {
        let bench = Bench::start(test).await;
        let site = Site::start(&html("Precios", "los precios", 2)).await;
        site.page.lock().status = Some(500);
        let source = bench
            .ingest
            .add_url(bench.workspace, bench.datastore, &site.url, None, Map::new())
            .await
            .unwrap();
        for attempt in 1..8 {
            let waits = async || {
                let waiting = bench.jobs(JobState::Waiting).await;
                waiting.into_iter().find(|job| job.attempt == attempt && job.last_error.is_some())
            };
            bench.look("the job waits for its next attempt", waits).await;
            bench.advance(Duration::from_hours(1));
        }
        let failed = bench.wait_status(source.id, SourceStatus::Failed).await;
        site.page.lock().status = None;
        assert_eq!(failed.failure.unwrap().code, "FETCH_STATUS");
        bench.settle().await;
        assert!(bench.rows(source.id).await.is_empty() && bench.points(source.id).await.is_empty());
        let dead = bench.jobs(JobState::Dead).await;
        assert_eq!((dead.len(), dead[0].attempt), (1, 8), "the letter stays to be looked at");

        bench.ingest.retry(bench.workspace, bench.datastore, source.id).await.unwrap();
        let ready = bench.wait_status(source.id, SourceStatus::Ready).await;
        bench.settle().await;
        bench.assert_whole(&ready).await;
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_source_that_lost_its_last_worker_fails_and_can_be_retried() {
    for test in databases("a source that lost its last worker").await {
        let bench = Bench::idle(test).await;
        let text = bench.add_text("Horario", "Abrimos a las nueve.").await;
        let claim = Claim {
            kinds: &["ingest.text"],
            owner: "gone",
            lease_until: bench.ambient.now(),
            limit: 1,
            busy_workspaces: &[],
            max_losses: 1,
        };
        let mut tx = bench.db.write().await.unwrap();
        let (claimed, _) =
            storage::jobs::claim(&mut tx, &claim, bench.ambient.now()).await.unwrap();
        assert_eq!(claimed.len(), 1);
        tx.commit().await.unwrap();

        bench.run_jobs_with(RunnerOptions { max_losses: 1, ..RunnerOptions::default() });
        let failed = bench.wait_status(text.id, SourceStatus::Failed).await;
        let failure = failed.failure.unwrap();
        assert_eq!(failure.code, "INGEST_FAILED");
        assert!(failure.message.contains("retry it"), "{}", failure.message);
        bench.ingest.retry(bench.workspace, bench.datastore, text.id).await.unwrap();
        let ready = bench.wait_status(text.id, SourceStatus::Ready).await;
        bench.settle().await;
        bench.assert_whole(&ready).await;
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_workspace_with_many_files_does_not_keep_another_ones_waiting() {
    for test in databases("many files of one workspace").await {
        let bench = Bench::idle(test).await;
        let mut tx = bench.db.write().await.unwrap();
        let modest = storage::workspaces::create(&mut tx, &bench.ambient, "Otra").await.unwrap();
        tx.commit().await.unwrap();
        let gate = bench.embedder.close();
        for number in 0..8 {
            let text = markdown(&format!("el horario {number}"), 2);
            bench.add_file(&format!("{number}.md"), text.as_bytes()).await;
        }
        let file = bench.file("otra.md", markdown("los envíos", 2).as_bytes());
        let workspace = modest.workspace.id;
        let source = bench.ingest.add_file(workspace, modest.datastore.id, file).await.unwrap();

        // Nobody gets past the embedder: whoever is there has a worker.
        bench.run_jobs();
        let is_at_work = async || {
            let mut conn = bench.db.read().await.unwrap();
            let found = storage::sources::get_any(&mut conn, workspace, source.id).await.unwrap();
            found.filter(|found| found.status == SourceStatus::Running)
        };
        bench.look("the other workspace has a worker", is_at_work).await;
        gate.add_permits(1_000);
        bench.settle().await;
        bench.stop().await;
    }
}
