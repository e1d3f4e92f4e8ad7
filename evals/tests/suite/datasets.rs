//! What is read, what is refused and how.

use std::fs;
use std::path::Path;

use evals::dataset::{Expect, Form, Relevant, read_csv, read_trec};
use evals::{Dataset, ReadOptions};
use tempfile::TempDir;

use crate::world::tienda;

fn read(path: &Path) -> Result<Dataset, String> {
    Dataset::read(path, &ReadOptions::default()).map_err(|error| error.to_string())
}

fn file(folder: &TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_folder_of_judged_questions_becomes_cases_and_is_the_same_when_it_is_written_and_read() {
    let dataset = tienda();
    assert_eq!((dataset.name.as_str(), dataset.corpus.len()), ("tienda", 5));
    let answerable = dataset.cases.iter().filter(|case| case.expect == Expect::Answer);
    assert_eq!(answerable.count(), 5);
    let kinds = dataset.cases.iter().filter_map(|case| case.kind.as_deref());
    assert!(kinds.into_iter().all(|kind| kind == "not_in_kb"));
    let folder = TempDir::new().unwrap();
    dataset.write(folder.path()).unwrap();
    let again = read(folder.path()).unwrap();
    assert_eq!((&again.cases, &again.corpus), (&dataset.cases, &dataset.corpus));
    assert_eq!(again.version(), dataset.version());
    let mut changed = again;
    changed.cases[0].input.push('?');
    assert_ne!(changed.version(), dataset.version());
}

#[test]
fn bad_input_is_told_with_file_line_field_and_remedy() {
    let folder = TempDir::new().unwrap();
    for (text, words) in [
        ("{\"id\":\"a\",\"input\":\"x\"}\n{\"id\":\"b\"", &["line 2", "one JSON object"][..]),
        (r#"{"id":"a","input":"x","answer":["y"]}"#, &["line 1", "answer", "docs/EVALS.md"]),
        (r#"{"id":"a","input":"x","answers":"y"}"#, &["line 1", "`answers`", "sequence"]),
        (r#"{"id":"a","input":"x","expect":"maybe"}"#, &["`expect`", "abstain"]),
        (r#"{"id":"a","input":" "}"#, &["`input`", "write what the customer says"]),
        ("{\"id\":\"a\",\"input\":\"x\"}\n\n{\"id\":\"a\",\"input\":\"y\"}", &["`id`", "twice"]),
        (r#"{"id":"a","input":"x","kind":"near_miss"}"#, &["`kind`", "abstain"]),
        ("", &["no cases", "at least `id` and `input`"]),
    ] {
        let path = file(&folder, "cases.jsonl", text);
        let error = read(&path).unwrap_err();
        for word in words.iter().chain([&"cases.jsonl"]) {
            assert!(error.contains(word), "{word:?} in {error:?}");
        }
    }
    file(&folder, "cases.jsonl", r#"{"id":"a","input":"x","relevant":["p9"]}"#);
    file(&folder, "corpus.jsonl", r#"{"id":"p1","text":"y"}"#);
    let error = read(folder.path()).unwrap_err();
    assert!(error.contains("`relevant`") && error.contains("p9"), "{error}");
    let empty = TempDir::new().unwrap();
    let error = read(empty.path()).unwrap_err();
    assert!(error.contains("no dataset") && error.contains("cases.jsonl"), "{error}");
}

#[test]
fn a_beir_folder_is_read_with_its_grades() {
    let folder = TempDir::new().unwrap();
    file(
        &folder,
        "corpus.jsonl",
        "{\"_id\":\"d1\",\"title\":\"T\",\"text\":\"uno\"}\n{\"_id\":\"d2\",\"title\":\"\",\"text\":\"dos\"}",
    );
    file(
        &folder,
        "queries.jsonl",
        "{\"_id\":\"q1\",\"text\":\"¿uno?\"}\n{\"_id\":\"q2\",\"text\":\"sin juicio\"}",
    );
    file(&folder, "qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n");
    let dataset = read(folder.path()).unwrap();
    assert_eq!(dataset.cases.len(), 1, "only judged questions");
    let graded = Relevant::Graded { id: "d1".to_owned(), grade: 2 };
    assert_eq!(dataset.cases[0].relevant, [graded]);
    file(&folder, "qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\tmuy\n");
    let error = read(folder.path()).unwrap_err();
    assert!(error.contains("line 2") && error.contains("`score`"), "{error}");
}

#[test]
fn a_table_of_questions_and_answers_is_read_in_three_languages() {
    let folder = TempDir::new().unwrap();
    for header in ["pregunta,respuesta,tags", "question,answer,tags", "pergunta,resposta,tags"] {
        let text =
            format!("{header}\n¿Abren hoy?,\"a las 9|9:00\",horas|chat\n¿Venden kayaks?,,\n");
        let dataset = read_csv(&file(&folder, "faq.csv", &text)).unwrap();
        let [first, second] = &dataset.cases[..] else { panic!("{:?}", dataset.cases) };
        assert_eq!((first.id.as_str(), first.answers.len(), first.form), ("faq-1", 2, Form::Short));
        assert_eq!(first.tags, ["horas", "chat"]);
        assert_eq!(
            (second.expect, second.kind.as_deref()),
            (Expect::Abstain, Some("unanswerable"))
        );
    }
    let error = read_csv(&file(&folder, "x.csv", "foo,bar\n1,2\n")).unwrap_err().to_string();
    assert!(error.contains("`question`") && error.contains("first row"), "{error}");
}

#[test]
fn trec_judgements_meet_their_questions() {
    let folder = TempDir::new().unwrap();
    let qrels = file(&folder, "x.qrels", "q1 0 d1 1\nq1 0 d2 0\nq1  0  d3  3\n");
    let queries = file(&folder, "x.tsv", "q1\t¿Qué?\nq2\tsin juicio\n");
    let dataset = read_trec(&qrels, &queries).unwrap();
    assert_eq!(dataset.cases.len(), 1);
    assert_eq!(dataset.cases[0].relevant.len(), 2);
    let bad = file(&folder, "bad.qrels", "q1 d1 1\n");
    let error = read_trec(&bad, &queries).unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("3 columns"), "{error}");
}

#[test]
fn questions_are_put_to_the_passages_of_another_language_with_the_same_ids() {
    let mut dataset = tienda();
    let mut other = tienda();
    other.corpus.truncate(2);
    let before = dataset.cases.len();
    dataset.over(other);
    assert_eq!(dataset.corpus.len(), 2);
    let answerable = dataset.cases.iter().filter(|case| case.expect == Expect::Answer).count();
    assert!((1..5).contains(&answerable) && dataset.cases.len() < before, "{answerable}");
}
