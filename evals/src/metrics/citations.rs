//! Metrics of what an answer cites.

use super::ranking::is_called;
use crate::dataset::Relevant;
use crate::observation::{Cited, Found};
use crate::text;

/// The share of the citations, and of the `[n]` markers of the text, that name a passage which was found. `removed` are
/// markers that named none and were taken out before anyone saw them. 0 to 1, higher is better; `None` without any.
pub fn valid_citations(
    answer: &str,
    cited: &[Cited],
    retrieved: &[Found],
    removed: usize,
) -> Option<f64> {
    let loose = text::markers(answer)
        .into_iter()
        .filter(|marker| !cited.iter().any(|one| one.marker == *marker));
    let wrong = loose.count() + removed;
    let good = cited.iter().filter(|one| retrieved.iter().any(|found| found.id == one.id)).count();
    let all = cited.len() + wrong;
    (all > 0).then(|| good as f64 / all as f64)
}

/// The share of the cited passages that are relevant. 0 to 1, higher is better; `None` without citations. Precision as
/// in `trec_eval`, over the set of cited passages.
pub fn citation_precision(
    cited: &[Cited],
    retrieved: &[Found],
    relevant: &[Relevant],
) -> Option<f64> {
    let cited = passages(cited, retrieved);
    let good = cited.iter().filter(|found| relevant.iter().any(|one| is_relevant(found, one)));
    let good = good.count();
    (!cited.is_empty()).then(|| good as f64 / cited.len() as f64)
}

/// The share of what is relevant that is cited. 0 to 1, higher is better; `None` when nothing is relevant.
pub fn citation_recall(cited: &[Cited], retrieved: &[Found], relevant: &[Relevant]) -> Option<f64> {
    let cited = passages(cited, retrieved);
    let good = relevant.iter().filter(|one| cited.iter().any(|found| is_relevant(found, one)));
    let good = good.count();
    (!relevant.is_empty()).then(|| good as f64 / relevant.len() as f64)
}

/// The share of the citations whose quote stands in its passage word for word, white space aside. 0 to 1, higher is
/// better; `None` when no cited passage's text is known.
pub fn quotes_verbatim(cited: &[Cited], retrieved: &[Found]) -> Option<f64> {
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut verbatim, mut count) = (0, 0);
    for one in cited {
        let Some(found) = retrieved.iter().find(|found| found.id == one.id) else { continue };
        if found.text.is_empty() || one.quote.is_empty() {
            continue;
        }
        count += 1;
        verbatim += u32::from(squeezed(&found.text).contains(&squeezed(&one.quote)));
    }
    (count > 0).then(|| f64::from(verbatim) / f64::from(count))
}

/// The different passages that are cited.
fn passages<'a>(cited: &[Cited], retrieved: &'a [Found]) -> Vec<&'a Found> {
    let mut passages: Vec<&Found> = Vec::new();
    for one in cited {
        let found = retrieved.iter().find(|found| found.id == one.id);
        if let Some(found) = found.filter(|found| !passages.iter().any(|p| p.id == found.id)) {
            passages.push(found);
        }
    }
    passages
}

fn is_relevant(found: &Found, relevant: &Relevant) -> bool {
    match relevant {
        Relevant::Text { must_contain } => {
            let wanted = text::folded(must_contain);
            !wanted.trim().is_empty() && text::folded(&found.text).contains(&wanted)
        }
        _ => relevant.id().is_some_and(|id| is_called(found, id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn citations_are_held_against_what_was_found_and_what_is_relevant() {
        let found = |id: &str, text: &str| Found {
            id: id.to_owned(),
            text: text.to_owned(),
            ..Found::default()
        };
        let retrieved = [found("a", "Abrimos a las  9."), found("b", "Cerramos a las 18.")];
        let cited = |marker, id: &str, quote: &str| Cited {
            marker,
            id: id.to_owned(),
            quote: quote.to_owned(),
        };
        let citations = [cited(1, "a", "Abrimos a las 9."), cited(2, "z", "Nada")];
        let valid = valid_citations("Abrimos [1] y [2] y [7].", &citations, &retrieved, 1);
        assert_eq!(valid, Some(0.25), "one good of two citations, one loose marker, one removed");
        let relevant = [Relevant::Id("a".to_owned()), Relevant::Id("b".to_owned())];
        assert_eq!(citation_precision(&citations, &retrieved, &relevant), Some(1.0));
        assert_eq!(citation_recall(&citations, &retrieved, &relevant), Some(0.5));
        assert_eq!(quotes_verbatim(&citations, &retrieved), Some(1.0));
        assert_eq!(quotes_verbatim(&[cited(1, "b", "Cierra")], &retrieved), Some(0.0));
        assert_eq!(valid_citations("Hola", &[], &retrieved, 0), None);
    }
}
