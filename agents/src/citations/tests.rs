//! What the filter lets through, however the stream is cut.

use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Tag};

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
fn images_go_and_their_texts_stay() {
    for (answer, left) in [
        ("foto ![foto](https://evil.example/a.png) fin", "foto foto fin"),
        ("a ![foto][r] b", "a foto b"),
        ("a ![foto] b", "a foto b"),
        ("a ![](x", "a"),
        ("a <IMG src='https://x.example'> b</iframe>", "a  b"),
        ("a <img\nsrc=x", "a"),
        (
            "a <div style='background:url(https://x.example)'>b</div>",
            "a < div style='background:url(https://x.example)'>b</div>",
        ),
        ("¡Hola! 3 < 4, a<b> <b>c</b> y<br /> <3 !", "¡Hola! 3 < 4, a<b> <b>c</b> y<br /> <3 !"),
        ("si x<y, bien; si x<y no <!-- ya -->", "si x< y, bien; si x< y no < !-- ya -->"),
        ("<https://ejemplo.cl> <a@ejemplo.cl>", "<https://ejemplo.cl> <a@ejemplo.cl>"),
        ("<https://x.example/a?b[2]=1&c=2>", "<https://x.example/a?b[2]=1&c=2>"),
        ("<x://y/style=url(z)>", "< x://y/style=url(z)>"),
        ("<x://y?a/style=url(z)>", "< x://y?a/style=url(z)>"),
        ("<x://y?a=\">b\" style=url(z)>", "< x://y?a=\">b\" style=url(z)>"),
        ("[enlace](https://x.example)", "[enlace](https://x.example)"),
        (
            "así:\n```html\n<script src=a>![a](b)</script>\n```\n![a](b)",
            "así:\n```html\n<script src=a>![a](b)</script>\n```\na",
        ),
        (
            "1. así:\n   ```\n   <img src=a>\n   ```\n2. <img src=a>fin",
            "1. así:\n   ```\n   <img src=a>\n   ```\n2. fin",
        ),
        ("la tecla ` ![a](b)", "la tecla ` a"),
        ("hola! [7][x](https://evil.example)", "hola! [x](https://evil.example)"),
        ("hola![7][x](https://evil.example)", "hola! [x](https://evil.example)"),
        ("hola! [7] [x](https://evil.example)", "hola! [x](https://evil.example)"),
        ("¡Hola![1] y ![2](x)", "¡Hola! [1] y ! [2](x)"),
        ("¡Abierto![9-18](x)", "¡Abierto! [9-18](x)"),
        ("![foto [1] de](https://evil.example)", "foto [1] de](https://evil.example)"),
        ("`vec![1]` [1]", "`vec! [1]` [1]"),
    ] {
        assert_eq!(text_of(answer), left, "{answer}");
    }
}

#[test]
fn what_is_dropped_does_not_make_an_image_of_what_is_left() {
    for answer in [
        "![![a](b)](https://evil.example)",
        "!![a](b)[c](https://evil.example)",
        "!<img>[c](https://evil.example)",
        "<im<img>g src=https://evil.example>",
        "<im[9]g src=https://evil.example>",
        "<im [9]g src=https://evil.example>",
        "<im\u{202E}g src=https://evil.example>",
        "![<img src=https://evil.example>](x)",
        "!\u{202E}[c](https://evil.example)",
        "``[9]`\n![c](https://evil.example)",
        "x\n[9] ```\n![c](https://evil.example)",
        "- ```\n  a\n  ```\n  ![c](https://evil.example)",
        "- a\n  ```\n![c](https://evil.example)",
        "~~~\n```\n~~~\n![c](https://evil.example)",
        "<!--\n```\n-->\n![c](https://evil.example)",
        "a\n    ```\n![c](https://evil.example)",
        "` \\` ![c](https://evil.example) `",
    ] {
        let left = text_of(answer);
        assert_eq!(loads(&left), None, "{answer}\n---\n{left}");
    }
}

/// What a reader's program that shows Markdown, with HTML and every extension or with none, would load for this text.
fn loads(text: &str) -> Option<String> {
    let tag = regex::Regex::new(
        r"(?i)<(?:img|image|picture|source|video|audio|iframe|object|embed|svg|style|link|script|base|meta|input|[a-z][a-z0-9]*\s+[a-z])[\s/][^>]*=",
    )
    .expect("an expression");
    let of = |options| {
        let mut html = String::new();
        for event in pulldown_cmark::Parser::new_ext(text, options) {
            match event {
                Event::Start(Tag::Image { dest_url, .. }) => return Some(dest_url.to_string()),
                Event::Html(part) | Event::InlineHtml(part) => html.push_str(&part),
                _ => html.push('\u{0}'),
            }
        }
        tag.find(&html).map(|found| found.as_str().to_owned())
    };
    of(Options::empty()).or_else(|| of(Options::all()))
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

    #[test]
    fn nothing_is_loaded_whatever_is_said_and_however_it_is_cut(
        parts in prop::collection::vec(prop::sample::select(MARKDOWN), 0..28),
    ) {
        let whole = parts.concat();
        let (text, _) = run(3, parts.iter().map(|part| (*part).to_owned()));
        prop_assert_eq!(&text, &run(3, std::iter::once(whole)).0);
        prop_assert_eq!(loads(&text), None, "{}", text);
    }
}

/// What Markdown's images, code, containers and HTML are made of, and what this filter removes.
const MARKDOWN: &[&str] = &[
    "!",
    "[",
    "]",
    "(",
    ")",
    "![",
    "](https://e.example/a)",
    "![c](https://e.example/a)",
    "<",
    ">",
    "/",
    "img",
    "im",
    "g src=x>",
    "<img src=x>",
    "<div style=x>",
    "<b>",
    "</b>",
    "<!--",
    "-->",
    "<pre>",
    "`",
    "``",
    "```",
    "~~~",
    "\n",
    "\n\n",
    " ",
    "  ",
    "   ",
    "    ",
    "\t",
    "\r",
    "- ",
    "> ",
    "1. ",
    ": ",
    "a",
    "\n```\n",
    "\n  ```\n",
    "[1]",
    "[9]",
    "[^1]: ",
    "[c]: https://e.example/a",
    "\u{202E}",
    "\\",
    "|",
    "|-|-|",
    "$$",
    "&#33;",
    "NO_ANSWER",
    "---",
    "+++",
];
