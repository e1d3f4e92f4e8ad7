//! Passages and their places.

use domain::Lang;
use ingest::chunk::{ChunkOptions, Passage, chunk};
use ingest::extract::Document;
use proptest::prelude::*;

fn options(max_tokens: usize, overlap: usize) -> ChunkOptions {
    ChunkOptions { max_tokens, overlap, default_lang: None }
}

fn document(text: &str) -> Document {
    Document { text: text.to_owned(), ..Document::default() }
}

fn slice(text: &str, passage: &Passage) -> String {
    let start = usize::try_from(passage.start).unwrap();
    let end = usize::try_from(passage.end).unwrap();
    text.chars().skip(start).take(end - start).collect()
}

#[test]
fn a_question_and_its_answer_are_one_passage_under_its_heading() {
    let text = "# Preguntas\n\n## ¿Cuáles son los horarios?\n\nLunes a viernes de 9 a 18.\n\n## ¿Hacen envíos?\n\nSí, a todo Chile.";
    let passages = chunk(&document(text), &options(350, 0));
    let told: Vec<(&str, &str)> =
        passages.iter().map(|p| (p.heading.as_str(), p.text.as_str())).collect();
    assert_eq!(
        told,
        [
            ("Preguntas › ¿Cuáles son los horarios?", "Lunes a viernes de 9 a 18."),
            ("Preguntas › ¿Hacen envíos?", "Sí, a todo Chile."),
        ]
    );
    assert!(passages.iter().all(|p| p.lang == Lang::Es));
}

#[test]
fn a_table_is_whole_where_it_fits_and_cut_between_rows_where_it_does_not() {
    let rows: String = (0..60).map(|i| format!("| Torta {i} | {} |\n", 10_000 + i)).collect();
    let text =
        format!("# Precios\n\nVigentes desde marzo.\n\n| Torta | Precio |\n| --- | --- |\n{rows}");
    let whole = chunk(&document(&text), &options(5000, 0));
    assert_eq!(whole.len(), 1);
    let parts = chunk(&document(&text), &options(120, 20));
    assert!(parts.len() > 3, "{}", parts.len());
    assert_eq!(parts[0].heading, "Precios");
    for part in &parts[1..] {
        assert_eq!(part.heading, "Precios › Torta | Precio");
        assert!(
            part.text.lines().all(|line| line.starts_with("| Torta") && line.ends_with('|')),
            "{part:?}"
        );
        assert!(part.tokens <= 120);
    }
    let told: usize = parts.iter().map(|p| p.text.matches("| Torta ").count()).sum();
    assert_eq!(told, 61, "every row once");
}

#[test]
fn neighbours_share_whole_sentences() {
    let text: String =
        (0..80).map(|i| format!("La frase número {i} dice algo distinto. ")).collect();
    let passages = chunk(&document(&text), &options(100, 25));
    assert!(passages.len() > 5);
    for pair in passages.windows(2) {
        assert!(pair[1].start <= pair[0].end, "{pair:?}");
        assert!(pair[1].text.starts_with("La frase"), "{pair:?}");
        assert!(pair[1].start > pair[0].start);
    }
}

#[test]
fn passages_know_their_page() {
    let document = Document {
        text: "# Uno\n\nñandú\n\n# Dos\n\nñire".to_owned(),
        pages: vec![0, 14],
        ..Document::default()
    };
    let pages: Vec<_> = chunk(&document, &options(100, 0)).into_iter().map(|p| p.page).collect();
    assert_eq!(pages, [Some(1), Some(2)]);
}

#[test]
fn a_text_without_any_break_is_cut_all_the_same() {
    let text = "ñ".repeat(20_000);
    let passages = chunk(&document(&text), &options(200, 0));
    let told: usize = passages.iter().map(|p| p.text.chars().count()).sum();
    assert_eq!(told, 20_000);
    assert!(passages.iter().all(|p| p.tokens <= 200));
}

proptest! {
    #[test]
    fn offsets_give_the_passages_back_and_nothing_is_lost(
        text in "(?s)([#|\\-a-zñ€🙂.!` \n]|# |\n\n|\\| a \\| b \\|\n|- uno\n|Una frase larga con varias palabras. ){0,120}",
        max_tokens in 16_usize..80,
        overlap in 0_usize..20,
    ) {
        let document = document(&text);
        let passages = chunk(&document, &options(max_tokens, overlap));
        prop_assert_eq!(&passages, &chunk(&document, &options(max_tokens, overlap)));
        let mut covered = vec![false; text.chars().count()];
        for passage in &passages {
            prop_assert_eq!(&passage.text, &slice(&text, passage));
            prop_assert!(!passage.text.trim().is_empty());
            for place in passage.start..passage.end {
                covered[usize::try_from(place).unwrap()] = true;
            }
        }
        let headings: String = passages.iter().map(|p| p.heading.as_str()).collect();
        for (c, covered) in text.chars().zip(covered) {
            let is_mark = c.is_whitespace() || "#=-".contains(c);
            prop_assert!(covered || is_mark || headings.contains(c), "{:?} of {:?} is lost", c, text);
        }
    }
}
