//! The same figures as other people's programs.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use evals::Report;
use evals::dataset::Relevant;
use evals::metrics::{gains, hit, in_trec_order, ndcg, recall, reciprocal_rank};
use evals::observation::Found;
use evals::target::SearchTarget;
use serde_json::{Value, json};

use crate::world::{report, tienda, world};

type Judgements = BTreeMap<String, BTreeMap<String, u32>>;
type Runs = BTreeMap<String, BTreeMap<String, f64>>;

/// Judgements and a run over them.
struct Set {
    name: &'static str,
    qrels: Judgements,
    run: Runs,
    /// Whether some passages have the same score.
    ties: bool,
}

/// What `pytrec_eval` and `ranx` say, of all sets at once: most of their time is spent on beginning.
fn asked_of_others(sets: &[Set]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/test-metrics.sh");
    let output = Command::new(script).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the programs cannot be installed: {errors}");
    let folder = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/metrics.py");
    let mut child = Command::new("python3")
        .arg(program)
        .env("PYTHONPATH", folder.join("python"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let given: Vec<Value> =
        sets.iter().map(|set| json!({ "qrels": set.qrels, "run": set.run })).collect();
    let given = serde_json::to_vec(&given).unwrap();
    child.stdin.take().unwrap().write_all(&given).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Our figures of one query, under the names of the others.
fn ours(
    run: &BTreeMap<String, f64>,
    judged: &BTreeMap<String, u32>,
) -> [(f64, &'static str, &'static str); 9] {
    let mut run: Vec<(String, f64)> = run.iter().map(|(id, score)| (id.clone(), *score)).collect();
    in_trec_order(&mut run);
    let found = |(id, score)| Found { id, score, ..Found::default() };
    let ranking: Vec<Found> = run.into_iter().map(found).collect();
    let relevant: Vec<Relevant> = judged
        .iter()
        .filter(|(_, grade)| **grade > 0)
        .map(|(id, grade)| Relevant::Graded { id: id.clone(), grade: *grade })
        .collect();
    let gains = gains(&ranking, &relevant, usize::MAX);
    [
        (ndcg(&gains, 10), "ndcg_cut_10", "ndcg@10"),
        (recall(&gains, 1), "recall_1", "recall@1"),
        (recall(&gains, 5), "recall_5", "recall@5"),
        (recall(&gains, 10), "recall_10", "recall@10"),
        (recall(&gains, 20), "recall_20", "recall@20"),
        (hit(&gains, 1), "success_1", "hit_rate@1"),
        (hit(&gains, 5), "success_5", "hit_rate@5"),
        (hit(&gains, 10), "success_10", "hit_rate@10"),
        // `trec_eval` does not cut; `ranx` does.
        (reciprocal_rank(&gains, usize::MAX), "recip_rank", ""),
    ]
}

#[track_caller]
fn agree(set: &Set, others: &Value) {
    let name = set.name;
    assert!(!set.qrels.is_empty(), "{name}");
    for (query, judged) in &set.qrels {
        for (value, trec, ranx) in ours(&set.run[query], judged) {
            let theirs = others["trec"][query][trec].as_f64().unwrap();
            assert!((value - theirs).abs() < 1e-5, "{name} {query} {trec}: {value}, not {theirs}");
            // `ranx` orders ties as they come.
            if !ranx.is_empty() && !set.ties {
                let theirs = others["ranx"][query][ranx].as_f64().unwrap();
                let close = (value - theirs).abs() < 1e-5;
                assert!(close, "{name} {query} {ranx}: {value}, not {theirs}");
            }
        }
    }
}

/// Numbers without a pattern, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Queries with up to 30 passages found and up to 12 judged, in `grades` grades, with scores of `steps` values.
fn made(queries: u64, grades: u64, steps: u64) -> (Judgements, Runs) {
    let mut dice = Dice(queries * 31 + grades * 7 + steps);
    let (mut qrels, mut runs) = (Judgements::new(), Runs::new());
    for query in 0..queries {
        let name = format!("q{query}");
        let mut judged = BTreeMap::new();
        for _ in 0..=dice.below(12) {
            let grade = u32::try_from(dice.below(grades + 1)).unwrap();
            judged.insert(format!("d{}", dice.below(60)), grade);
        }
        // One that is relevant at least, as in every case that is measured.
        judged.insert("d7".to_owned(), 1);
        let mut run = BTreeMap::new();
        for place in 0..=dice.below(30) {
            let score = dice.below(steps) as f64 / 8.0;
            // Without ties when there are many steps: the place tells them apart.
            let score = if steps > 1_000 { score + place as f64 / 1_024.0 } else { score };
            run.insert(format!("d{}", dice.below(60)), score);
        }
        qrels.insert(name.clone(), judged);
        runs.insert(name, run);
    }
    (qrels, runs)
}

/// A real run, as its TREC files say.
async fn real() -> (Set, Report) {
    let dataset = tienda();
    let world = world(&dataset).await;
    let report = report(&dataset, &SearchTarget::of(&world, 20)).await;
    world.close().await;
    let (mut qrels, mut run) = (Judgements::new(), Runs::new());
    for line in evals::report::qrels(&report).lines() {
        let columns: Vec<&str> = line.split(' ').collect();
        let grade = columns[3].parse().unwrap();
        qrels.entry(columns[0].to_owned()).or_default().insert(columns[2].to_owned(), grade);
    }
    for line in evals::report::run_file(&report).lines() {
        let columns: Vec<&str> = line.split(' ').collect();
        let score = columns[4].parse().unwrap();
        run.entry(columns[0].to_owned()).or_default().insert(columns[2].to_owned(), score);
    }
    run.retain(|query, _| qrels.contains_key(query));
    (Set { name: "tienda", qrels, run, ties: false }, report)
}

/// Binary and graded judgements, ties, and a real run.
#[tokio::test]
async fn rankings_score_as_in_trec_eval_and_ranx() {
    let made = |name, grades, steps, ties| {
        let (qrels, run) = made(60, grades, steps);
        Set { name, qrels, run, ties }
    };
    let (tienda, report) = real().await;
    let sets = [
        made("binary", 1, 100_000, false),
        made("graded", 3, 100_000, false),
        made("ties", 2, 4, true),
        tienda,
    ];
    let others = asked_of_others(&sets);
    for (set, others) in sets.iter().zip(others.as_array().unwrap()) {
        agree(set, others);
    }
    // What stands in a report is what anyone finds who checks its files.
    for case in report.cases.iter().filter(|case| sets[3].qrels.contains_key(&case.id)) {
        for (own, trec) in [("ndcg@10", "ndcg_cut_10"), ("recall@5", "recall_5")] {
            let theirs = others[3]["trec"][&case.id][trec].as_f64().unwrap();
            assert!((case.scores[own] - theirs).abs() < 1e-5, "{} {own}", case.id);
        }
    }
}
