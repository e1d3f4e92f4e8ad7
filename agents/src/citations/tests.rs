//! What the filter lets through, however the stream is cut.

use proptest::prelude::*;

use super::filter::MarkerUse;
use super::{CitationFilter, SENTINEL, without_markers};

/// The text let through, the passages cited in order of use, and the markers removed.
fn filtered(passages: usize, pieces: &[&str]) -> (String, Vec<usize>, Vec<String>) {
    let (text, filter) = run(passages, pieces.iter().map(|piece| (*piece).to_owned()));
    let used = filter.uses().iter().map(|used| used.passage).collect();
    (text, used, filter.removed().to_vec())
}

fn run(passages: usize, pieces: impl Iterator<Item = String>) -> (String, CitationFilter) {
    let mut filter = CitationFilter::new(passages);
    let mut text = String::new();
    for piece in pieces {
        if let Some(passed) = filter.push(piece) {
            text.push_str(&passed);
        }
    }
    if let Some(rest) = filter.finish() {
        text.push_str(&rest);
    }
    (text, filter)
}

fn text_of(answer: &str) -> String {
    filtered(2, &[answer]).0
}

#[test]
fn known_markers_stay_and_unknown_ones_go_with_their_space() {
    let cases = [
        ("De 9 a 18 [1].", "De 9 a 18 [1]."),
        ("De 9 a 18[1].", "De 9 a 18[1]."),
        ("De 9 a 18 [7].", "De 9 a 18."),
        ("De 9 [7] a 18 [2]", "De 9 a 18 [2]"),
        ("De 9 a 18 [7]\nFin [0]", "De 9 a 18\nFin"),
        ("Uno [1, 2]", "Uno [1][2]"),
        ("Uno [1,7; 2]", "Uno [1][2]"),
        ("Uno [1-2]", "Uno [1][2]"),
        ("Uno [1][2][1]", "Uno [1][2][1]"),
        ("Uno [^1]", "Uno [1]"),
        ("De 9 (ver [9]) y [1]", "De 9 (ver) y [1]"),
        ("~~no~~ [9] sí [1]", "~~no~~ sí [1]"),
        ("a ~~~ [9] b", "a ~~~ b"),
        ("Uno [01] [99999999999999999999999]", "Uno [1]"),
    ];
    for (answer, expected) in cases {
        assert_eq!(text_of(answer), expected, "{answer}");
    }
}

#[test]
fn uses_are_in_order_and_removed_markers_are_kept_for_the_trace() {
    let (text, used, removed) = filtered(3, &["b [3] a [1] b [3] c [9] [4, 5]"]);
    assert_eq!(text, "b [3] a [1] b [3] c");
    assert_eq!(used, [3, 1, 3]);
    assert_eq!(removed, ["[9]", "[4, 5]"]);
}

#[test]
fn what_is_no_marker_stays_text() {
    for answer in [
        "abierto de [9-18] horas",
        "una lista [sic] y [a, b] y [] y [1 de 2]",
        "corchete [1 sin cerrar",
        "x = `a[1] + b[9]` y punto",
        "```\nlet x = a[9];\n```\nfin [1]",
        "~~~sh\nx = a[9] `\n~~~\nfin [1]",
        "> ~~~\n> a[9]\n> ~~~\n> fin [1]",
        "Uno:\n~~~~\na[9]\n~~~\nb[8]\n~~~~\nfin [1]",
        "ver https://ejemplo.cl/?ids[7]=3 ahora",
        "[enlace](https://ejemplo.cl) y punto",
        "NO, gracias. NO_ANSWERS",
    ] {
        assert_eq!(text_of(answer), answer);
    }
}

#[test]
fn no_image_is_left_also_where_a_marker_is_removed() {
    for (answer, left) in [
        ("foto ![foto](https://evil.example/a.png) fin", "foto foto fin"),
        ("hola! [7][x](https://evil.example)", "hola! [x](https://evil.example)"),
        ("hola! [7] [x](https://evil.example)", "hola! [x](https://evil.example)"),
        ("¡Hola![1]", "¡Hola! [1]"),
        ("`vec![1]` [1]", "`vec![1]` [1]"),
    ] {
        assert_eq!(text_of(answer), left, "{answer}");
    }
}

#[test]
fn a_code_span_that_is_not_closed_ends_with_its_line() {
    assert_eq!(text_of("la tecla ` [9]\nUno [9] [1]"), "la tecla ` [9]\nUno [1]");
}

#[test]
fn a_marker_made_into_a_link_loses_its_target() {
    assert_eq!(text_of("Uno [1](https://malo.example/?q=x). Fin"), "Uno [1]. Fin");
    assert_eq!(text_of("Uno [7](https://malo.example/?q=x). Fin"), "Uno. Fin");
    assert_eq!(text_of("Uno [1](ver abajo)."), "Uno [1](ver abajo).");
    assert_eq!(text_of("Uno [1](a)"), "Uno [1](a)");
}

#[test]
fn white_space_at_the_ends_and_control_characters_are_dropped() {
    assert_eq!(text_of("\n  Hola\0, \u{202E}mundo \n"), "Hola, mundo");
    assert_eq!(filtered(0, &[" ", "Hola ", " ", "mundo", " ", "\n"]).0, "Hola  mundo");
    assert_eq!(text_of("**9 a 18** [1]"), "**9 a 18** [1]");
    assert_eq!(text_of("- uno\n- dos"), "- uno\n- dos");
    assert_eq!(text_of("«»"), "«»");
}

#[test]
fn the_sentinel_never_gets_through() {
    for answer in [
        SENTINEL,
        "NO_ANSWER",
        "\"NO_ANSWER\"",
        " **[NO_ANSWER]**",
        "NO_ANSWER. Lo siento.",
        "Lo siento. [NO_ANSWER]",
        "Lo siento. NO_ANSWER",
    ] {
        for pieces in [vec![answer.to_owned()], answer.chars().map(String::from).collect()] {
            let mut filter = CitationFilter::new(2);
            let mut text = String::new();
            for piece in pieces {
                text.extend(filter.push(piece));
            }
            text.extend(filter.finish());
            assert!(filter.met_sentinel(), "{answer}");
            assert!(text.is_empty() || text == "Lo siento.", "{answer} gave {text}");
        }
    }
}

#[test]
fn an_earlier_answer_enters_a_prompt_without_its_markers() {
    assert_eq!(without_markers("De 9 a 18 [1]. Sábados no [2][3]."), "De 9 a 18. Sábados no.");
}

/// Text of the kind that matters here: brackets, digits, code, addresses, the sentinel, and prose.
fn answers() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-zñáN ]{0,8}",
        2 => "\\[[0-9]{1,2}\\]",
        1 => "\\[[0-9, ;^-]{0,8}\\]",
        1 => "[\\[\\]()`:/?#.,_ \n0-9N-]{0,6}",
        1 => Just("https://a.cl/x?y[1]=2 ".to_owned()),
        1 => Just("[1](https://a.cl)".to_owned()),
        1 => Just("NO_ANSWER".to_owned()),
        1 => Just("\u{0}\u{202E}".to_owned()),
        1 => Just("```".to_owned()),
        1 => Just("\n~~~".to_owned()),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// Cuts a text into pieces at the characters chosen by `cuts`.
fn cut(text: &str, cuts: &[bool]) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for (index, c) in text.chars().enumerate() {
        if cuts.get(index % cuts.len().max(1)).copied().unwrap_or(false) {
            pieces.push(String::new());
        }
        pieces.last_mut().expect("there is always a piece").push(c);
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_cut_of_the_stream_gives_the_same_text_and_citations(
        answer in answers(),
        cuts in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let (whole, one) = run(3, std::iter::once(answer.clone()));
        let (joined, many) = run(3, cut(&answer, &cuts).into_iter());
        prop_assert_eq!(&whole, &joined);
        prop_assert_eq!(one.uses(), many.uses());
        prop_assert_eq!(one.removed(), many.removed());
        prop_assert_eq!(one.met_sentinel(), many.met_sentinel());
    }

    #[test]
    fn what_gets_through_is_trimmed_and_every_use_points_at_its_marker(answer in answers()) {
        let (text, filter) = run(3, std::iter::once(answer));
        prop_assert_eq!(text.trim(), &text);
        prop_assert!(!text.contains(SENTINEL));
        prop_assert!(!text.chars().any(domain::text::is_unsafe));
        for &MarkerUse { passage, at } in filter.uses() {
            let marker = format!("[{passage}]");
            prop_assert!((1..=3).contains(&passage));
            prop_assert!(text[at..].starts_with(&marker), "{} at {} of {}", marker, at, text);
        }
    }
}
