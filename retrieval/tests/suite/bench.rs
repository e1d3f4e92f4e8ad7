//! The measurement, on a small set of the repository always, and on the evaluation sets where they are.

use std::path::PathBuf;

use retrieval::bench::{BenchOptions, Report, bench};

#[tokio::test]
async fn a_small_set_is_measured_and_its_run_written() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tienda");
    let place = tempfile::tempdir().unwrap();
    let run_file = place.path().join("run.txt");
    let options = BenchOptions { run_file: Some(run_file.clone()), ..BenchOptions::default() };
    let report = bench(&folder, &options).await.unwrap();
    assert_eq!((report.passages, report.rows[0].count), (5, 5));
    let row = &report.rows[0];
    assert!(row.ndcg10 > 0.99 && row.recall5 > 0.99, "{report}");
    assert!(row.containment.unwrap() > 0.79, "{report}");
    assert!(row.unanswerable["not_in_kb"].auroc > 0.99, "{report}");
    assert!((row.threshold - 0.15).abs() < 1e-9 && row.answered > 0.99, "{report}");
    let run = std::fs::read_to_string(run_file).unwrap();
    let first = run.lines().next().unwrap();
    assert_eq!(first.split(' ').collect::<Vec<_>>()[..4], ["q1", "Q0", "horarios", "1"]);
}

#[tokio::test]
async fn questions_are_put_to_the_passages_of_another_language_with_the_same_ids() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tienda");
    let place = tempfile::tempdir().unwrap();
    let passages = [
        (
            "horarios",
            "Opening hours",
            "We are open until 14:00 on Saturdays and closed on Sundays.",
        ),
        ("pagos", "Payment", "We take credit cards. We do not accept cryptocurrency."),
    ];
    let line = |(id, title, text): (&str, &str, &str)| {
        serde_json::json!({"id": id, "title": title, "text": text, "lang": "en"}).to_string()
    };
    std::fs::write(place.path().join("corpus.jsonl"), passages.map(line).join("\n")).unwrap();
    let options =
        BenchOptions { passages: Some(place.path().to_owned()), ..BenchOptions::default() };
    let report = bench(&folder, &options).await.unwrap();
    assert_eq!(report.passages, 2);
    assert!(report.rows[0].count > 0 && report.rows[0].count < 5, "{report}");
    assert!(report.rows[0].ndcg10 > 0.99, "{report}");
}

#[tokio::test]
async fn a_folder_without_a_set_is_refused_with_its_name() {
    let place = tempfile::tempdir().unwrap();
    let error = bench(place.path(), &BenchOptions::default()).await.unwrap_err().to_string();
    assert!(error.contains("corpus.jsonl"), "{error}");
}

/// At the threshold that the product finds for itself: set, questions, the share answered, the share of absent
/// topics abstained. The goals are .88 answered at .93 (es), .95 (en), .87 (pt) abstained. These hold what was
/// reached less two or three questions: equal scores are ordered by ids, which differ from run to run, and move
/// the threshold a little (en was at .9375 and .948, 90 and 91 of 96).
const GATED: &[(&str, &str, f64, f64)] = &[
    ("xsquad-es", "clean/human", 0.88, 0.94),
    ("xsquad-es", "noisy", 0.82, 0.94),
    ("xsquad-en", "clean/human", 0.90, 0.91),
    ("faquad-pt", "clean", 0.87, 0.83),
    ("xsquad-es over xsquad-en", "clean", 0.69, 0.88),
];

/// At the threshold that keeps 88 % of the questions: the share of absent topics abstained that is the goal.
const ABSTAINED: &[(&str, &str, f64)] = &[
    ("xsquad-es", "clean/human", 0.93),
    ("xsquad-en", "clean/human", 0.95),
    ("faquad-pt", "clean", 0.87),
];

/// Set, questions, nDCG@10, recall@5, containment: what was reached less a small margin, and no less than the goal
/// where there is one. Answers are not contained in passages of another language.
const GOALS: &[(&str, &str, f64, f64, f64)] = &[
    ("xsquad-es", "clean/human", 0.92, 0.96, 0.80),
    ("xsquad-es", "noisy", 0.91, 0.95, 0.78),
    ("xsquad-en", "clean/human", 0.93, 0.965, 0.83),
    ("faquad-pt", "clean", 0.922, 0.98, 0.905),
    ("tienda-es", "clean", 0.885, 0.945, 0.80),
    ("xsquad-es over xsquad-en", "clean", 0.84, 0.90, 0.0),
    ("xsquad-es over xsquad-en", "noisy", 0.81, 0.88, 0.0),
];

#[tokio::test]
async fn the_evaluation_sets_reach_their_goals() {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("VOCERO_EVAL_DATA").map_or_else(beside, PathBuf::from);
    if !folder.join("xsquad-es").exists() {
        eprintln!("NOT RUN: the evaluation sets (set VOCERO_EVAL_DATA to their folder)");
        return;
    }
    let mut reports: Vec<Report> = Vec::new();
    let own = ["xsquad-es", "xsquad-en", "faquad-pt", "tienda-es"].map(|set| (set, None));
    for (set, passages) in own.into_iter().chain([("xsquad-es", Some("xsquad-en"))]) {
        let passages = passages.map(|passages| folder.join(passages));
        let options = BenchOptions { passages, ..BenchOptions::default() };
        let report = bench(&folder.join(set), &options).await.unwrap();
        println!("{report}");
        reports.push(report);
    }
    let row = |set: &str, questions: &str| {
        let report = reports.iter().find(|report| report.dataset == set).unwrap();
        report.rows.iter().find(|row| row.questions == questions).unwrap()
    };
    for &(set, questions, ndcg10, recall5, containment) in GOALS {
        let row = row(set, questions);
        assert!(row.ndcg10 >= ndcg10, "{set} {questions} nDCG@10 {:.4}", row.ndcg10);
        assert!(row.recall5 >= recall5, "{set} {questions} recall@5 {:.4}", row.recall5);
        let contained = row.containment.unwrap();
        assert!(contained >= containment, "{set} {questions} containment {contained:.4}");
    }
    assert!(row("tienda-es", "clean").answered >= 0.88);
    for &(set, questions, answered, abstained) in GATED {
        let row = row(set, questions);
        assert!(row.answered >= answered, "{set} {questions} answered {:.4}", row.answered);
        let own = row.unanswerable["absent_topic"].abstained;
        assert!(own >= abstained, "{set} {questions} abstained {own:.4}");
    }
    for &(set, questions, abstained) in ABSTAINED {
        let labelled = row(set, questions).unanswerable["absent_topic"].abstained88;
        assert!(labelled >= abstained, "{set} {questions} abstained at 88 % {labelled:.4}");
    }
}
