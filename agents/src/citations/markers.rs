//! Where an answer cites: what surfaces need that point at places of the text.

use std::ops::Range;

use serde_json::{Map, Value};

use super::address::Address;
use super::code::CodeTracker;

/// The `[n]` of an answer's text outside of code and of queries of addresses, in order: where each stands, in bytes, and its number. Whether the
/// number is a citation's is for the caller to see. In JSON mode code of one text says nothing of the next, so that
/// each `[n]` counts.
pub fn markers(text: &str) -> Vec<(Range<usize>, i64)> {
    let is_object =
        text.starts_with('{') && serde_json::from_str::<Map<String, Value>>(text).is_ok();
    let (mut code, mut address) = (CodeTracker::new(), Address::None);
    let (mut found, mut in_span) = (Vec::new(), Vec::new());
    // The end of the text is the end of its last line.
    for (at, c) in text.char_indices().chain([(text.len(), '\n')]) {
        let (was_in_span, breaks_off) = (code.in_span(), code.breaks_off(c));
        code.follow(c);
        if was_in_span && !code.in_span() {
            // A backtick that nothing closes is a backtick.
            if breaks_off {
                found.append(&mut in_span);
            }
            in_span.clear();
        }
        let may_be = c == '[' && address != Address::Query;
        address.follow(c);
        let marker = if may_be { number_at(text, at) } else { None };
        match marker {
            Some(marker) if is_object || code.outside() => found.push(marker),
            Some(marker) if code.in_span() => in_span.push(marker),
            _ => {}
        }
    }
    found
}

fn number_at(text: &str, at: usize) -> Option<(Range<usize>, i64)> {
    let inner = &text[at + 1..];
    let digits = &inner[..inner.find(|c: char| !c.is_ascii_digit())?];
    let closed = inner[digits.len()..].starts_with(']');
    let number = digits.parse().ok().filter(|_| closed)?;
    Some((at..at + digits.len() + 2, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<i64> {
        let found = markers(text);
        for (place, number) in &found {
            assert_eq!(text[place.clone()], format!("[{number}]"));
        }
        found.into_iter().map(|(_, number)| number).collect()
    }

    #[test]
    fn what_stands_in_code_cites_nothing() {
        for (text, expected) in [
            ("Sí [1], señor [12][1].", vec![1, 12, 1]),
            ("`a[1]` y [2]", vec![2]),
            ("``a` [1]`` [2]", vec![2]),
            ("```\nb[1]\n```\n[2]", vec![2]),
            ("~~~\nb[1]\n~~~\n[2]", vec![2]),
            ("~~no~~ [1] `x[2]`", vec![1]),
            ("la tecla ` [1]\notra [2]", vec![1, 2]),
            ("la tecla ` [1]", vec![1]),
            ("```\nb[1]", vec![]),
            ("[x] [] [1", vec![]),
            ("https://x.example/?a[1]=3 [2]", vec![2]),
            ("[[1]] [a[2]]", vec![1, 2]),
            (r#"{"a":"`[1]","b":"y [2]`"}"#, vec![1, 2]),
            ("", vec![]),
        ] {
            assert_eq!(numbers(text), expected, "{text}");
        }
    }
}
