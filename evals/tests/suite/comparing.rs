//! Deliberately worse configurations are caught; the same one again is not.

use evals::compare::{CompareOptions, Comparison, Verdict, compare};
use evals::observation::Cited;
use evals::target::{SearchTarget, World, WorldOptions};
use evals::{Dataset, Report, RunOptions, run};
use retrieval::SearchMode;
use tokio_util::sync::CancellationToken;

use crate::world::{builtin, report, tienda, world};

fn against(base: &Report, new: &Report) -> Comparison {
    compare(base, new, &CompareOptions::default())
}

fn regressed(comparison: &Comparison) -> Vec<&str> {
    let regressed = |change: &&evals::compare::Change| change.verdict == Verdict::Regressed;
    comparison.metrics.iter().filter(regressed).map(|change| change.name.as_str()).collect()
}

/// Forty passages and questions with typing errors, which 4-grams forgive and words do not.
fn misspelt() -> Dataset {
    let things = [
        "bicicleta",
        "escritorio",
        "lavadora",
        "televisor",
        "refrigerador",
        "microondas",
        "computador",
        "impresora",
        "parlante",
        "aspiradora",
        "cafetera",
        "licuadora",
        "plancha",
        "ventilador",
        "calefactor",
        "colchón",
        "almohada",
        "frazada",
        "cortina",
        "alfombra",
    ];
    let mut corpus = Vec::new();
    let mut cases = Vec::new();
    for (n, thing) in things.iter().enumerate() {
        let text = format!("La garantía de cada {thing} dura {} meses desde la compra.", n + 2);
        corpus.push(
            serde_json::json!({ "id": format!("p{n}"), "title": "", "text": text, "lang": "es" }),
        );
        let letters: Vec<char> = thing.chars().collect();
        let typo: String = letters
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != letters.len() / 2)
            .map(|(_, letter)| *letter)
            .collect();
        cases.push(serde_json::json!({
            "id": format!("q{n}"), "input": format!("cuanto dura la garantia de mi {typo}"), "lang": "es",
            "answers": [format!("{} meses", n + 2)], "relevant": [format!("p{n}")],
        }));
    }
    for (n, topic) in
        ["kayak", "horóscopo", "pasaporte", "vacuna", "novela"].iter().cycle().take(20).enumerate()
    {
        cases.push(serde_json::json!({
            "id": format!("u{n}"), "input": format!("¿Qué opina usted del {topic} número {n}?"), "lang": "es",
            "expect": "abstain", "kind": "absent_topic",
        }));
    }
    let read = |value: serde_json::Value| serde_json::from_value(value);
    Dataset {
        name: "misspelt".to_owned(),
        cases: cases.into_iter().map(read).collect::<Result<_, _>>().unwrap(),
        corpus: corpus.into_iter().map(serde_json::from_value).collect::<Result<_, _>>().unwrap(),
    }
}

#[tokio::test]
async fn worse_configurations_are_caught_with_the_metric_named() {
    let dataset = misspelt();
    let world = world(&dataset).await;
    let base = report(&dataset, &SearchTarget::of(&world, 20)).await;

    let again = report(&dataset, &SearchTarget::of(&world, 20)).await;
    let same = against(&base, &again);
    assert_eq!(same.verdict, Verdict::Same, "{same:?}");
    assert!(same.flipped.is_empty());

    let without_grams = SearchTarget::of(&world, 20).in_mode(SearchMode::Words);
    let worse = against(&base, &report(&dataset, &without_grams).await);
    assert_eq!(worse.verdict, Verdict::Regressed);
    assert!(regressed(&worse).contains(&"ndcg@10"), "{:?}", regressed(&worse));
    assert!(worse.flipped.iter().any(|flip| !flip.better), "{:?}", worse.flipped);

    let without_gate = SearchTarget::of(&world, 20).with_threshold(Some(0.0));
    let worse = against(&base, &report(&dataset, &without_gate).await);
    assert_eq!(worse.verdict, Verdict::Regressed);
    assert_eq!(regressed(&worse), ["false_answer"], "{:?}", worse.metrics);
    world.close().await;
}

/// Forty passages whose verbs are asked for in another form than they stand there.
fn inflected() -> Dataset {
    let verbs =
        ["entreg", "devolv", "repar", "instal", "retir", "cambi", "pint", "limpi", "arm", "cos"];
    let things = ["camas", "mesas", "sillas", "puertas"];
    let (mut corpus, mut cases) = (Vec::new(), Vec::new());
    for (n, (verb, thing)) in
        verbs.iter().flat_map(|verb| things.iter().map(move |thing| (verb, thing))).enumerate()
    {
        let text = format!("Nosotros {verb}amos las {thing} en {} días hábiles.", n + 2);
        corpus.push(
            serde_json::json!({ "id": format!("p{n}"), "title": "", "text": text, "lang": "es" }),
        );
        let thing = thing.trim_end_matches('s');
        cases.push(serde_json::json!({
            "id": format!("q{n}"), "input": format!("¿cuándo {verb}an una {thing}?"), "lang": "es",
            "relevant": [format!("p{n}")],
        }));
    }
    let read = |value: serde_json::Value| serde_json::from_value(value);
    Dataset {
        name: "inflected".to_owned(),
        cases: cases.into_iter().map(read).collect::<Result<_, _>>().unwrap(),
        corpus: corpus.into_iter().map(serde_json::from_value).collect::<Result<_, _>>().unwrap(),
    }
}

#[tokio::test]
async fn words_without_stems_are_caught() {
    let dataset = inflected();
    let mut reports = Vec::new();
    for without_stems in [false, true] {
        let options = WorldOptions { without_stems, ..WorldOptions::default() };
        let world = World::of(&dataset.corpus, &options).await.unwrap();
        let target = SearchTarget::of(&world, 20).in_mode(SearchMode::Words);
        reports.push(report(&dataset, &target).await);
        world.close().await;
    }
    let worse = against(&reports[0], &reports[1]);
    assert_eq!(worse.verdict, Verdict::Regressed, "{:?}", worse.metrics);
    assert!(regressed(&worse).contains(&"ndcg@10"), "{:?}", worse.metrics);
}

#[tokio::test]
async fn shuffled_citations_are_caught() {
    let dataset = misspelt();
    let world = world(&dataset).await;
    let target = builtin(&world);
    let base = report(&dataset, &target).await;
    let (options, cancel) = (RunOptions::default(), CancellationToken::new());
    let mut shuffled = run(&dataset, &target, &options, &|_| (), &cancel).await.unwrap();
    for row in &mut shuffled.rows {
        let Some(observation) = &mut row.observation else { continue };
        let last = observation.retrieved.as_ref().and_then(|found| found.last().cloned());
        for Cited { id, .. } in observation.citations.iter_mut().flatten() {
            last.as_ref().unwrap().id.clone_into(id);
        }
    }
    let worse = against(&base, &Report::of(&dataset, &shuffled, String::new()));
    assert_eq!(worse.verdict, Verdict::Regressed);
    let named = regressed(&worse);
    for metric in ["citation_precision", "citation_recall", "quotes_verbatim"] {
        assert!(named.contains(&metric), "{metric} in {named:?}");
    }
    assert!(!named.contains(&"ndcg@10"), "{named:?}");
    world.close().await;
}

#[tokio::test]
async fn a_baseline_compares_as_its_report_does() {
    let dataset = misspelt();
    let world = world(&dataset).await;
    let base = report(&dataset, &SearchTarget::of(&world, 20)).await;
    let words = SearchTarget::of(&world, 20).in_mode(SearchMode::Words);
    let new = report(&dataset, &words).await;
    world.close().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baseline.json");
    base.as_baseline().write(&path).unwrap();
    assert!(!std::fs::read_to_string(&path).unwrap().contains("garantia"), "nothing that is said");
    let (whole, slim) = (against(&base, &new), against(&Report::read(&path).unwrap(), &new));
    assert_eq!((whole.verdict, regressed(&whole)), (slim.verdict, regressed(&slim)));
}

#[tokio::test]
async fn a_handful_of_cases_tells_nothing() {
    let dataset = tienda();
    let world = world(&dataset).await;
    let base = report(&dataset, &SearchTarget::of(&world, 20)).await;
    world.close().await;
    let comparison = against(&base, &base);
    assert_eq!(comparison.verdict, Verdict::TooFewCases);
}
