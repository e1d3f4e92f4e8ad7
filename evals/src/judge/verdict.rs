//! What a judge says, read strictly, and what it comes to.

use serde::Deserialize;

/// What a judge is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The claims of the answer: which are supported, which are right.
    Claims,
    /// The claims of the accepted answer: which are made.
    Recall,
    /// The sentences and what they cite.
    Citations,
    /// The whole.
    Grade,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Claims => "claims",
            Self::Recall => "recall",
            Self::Citations => "citations",
            Self::Grade => "grade",
        }
    }
}

#[derive(Debug, Deserialize)]
struct Claims {
    claims: Vec<Claim>,
}

#[derive(Debug, Deserialize)]
struct Claim {
    supported: bool,
    correct: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Recall {
    claims: Vec<Stated>,
}

#[derive(Debug, Deserialize)]
struct Stated {
    stated: bool,
}

#[derive(Debug, Deserialize)]
struct Sentences {
    sentences: Vec<Sentence>,
}

#[derive(Debug, Deserialize)]
struct Sentence {
    supported: bool,
    #[serde(default)]
    citations: Vec<Citation>,
}

#[derive(Debug, Deserialize)]
struct Citation {
    alone: bool,
    needed: bool,
}

#[derive(Debug, Deserialize)]
struct Grade {
    grade: Word,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Perfect,
    Acceptable,
    Missing,
    Incorrect,
}

/// What a verdict comes to: metrics with their values, and whether it found a fault.
pub(super) type Values = Vec<(&'static str, f64)>;

/// Reads a verdict: the JSON object in it, whatever stands around. `None` when there is none of the form.
///
/// - `faithfulness`: supported claims ÷ claims, 0 to 1, higher is better (RAGAS; Es et al. 2023).
/// - `noise_sensitivity`: claims that the passages support and the accepted answer says are wrong ÷ claims, 0 to 1, lower is
///   better (RAGAS). Only with an accepted answer.
/// - `claim_recall`: claims of the accepted answer that the answer makes ÷ those claims, 0 to 1, higher is better
///   (RAGAS, answer recall; `RAGChecker`, Ru et al. 2024).
/// - `alce_recall`: sentences that what they cite supports ÷ sentences; `alce_precision`: citations of supported sentences
///   that support alone or are needed ÷ citations. 0 to 1, higher is better (ALCE; Gao et al. 2023).
/// - `crag`: perfect 1, acceptable .5, missing 0, incorrect −1; higher is better (CRAG; Yang et al. 2024).
pub(super) fn read(kind: Kind, reply: &str) -> Option<Values> {
    let object = reply.get(reply.find('{')?..=reply.rfind('}')?)?;
    let share = |count: usize, all: usize| count as f64 / all as f64;
    match kind {
        Kind::Claims => {
            let Claims { claims } = serde_json::from_str(object).ok()?;
            let all = Some(claims.len()).filter(|all| *all > 0)?;
            let supported = claims.iter().filter(|claim| claim.supported).count();
            let mut values = vec![("faithfulness", share(supported, all))];
            if claims.iter().all(|claim| claim.correct.is_some()) {
                let noise = |claim: &&Claim| claim.supported && claim.correct == Some(false);
                let noise = claims.iter().filter(noise).count();
                values.push(("noise_sensitivity", share(noise, all)));
            }
            Some(values)
        }
        Kind::Recall => {
            let Recall { claims } = serde_json::from_str(object).ok()?;
            let all = Some(claims.len()).filter(|all| *all > 0)?;
            let stated = claims.iter().filter(|claim| claim.stated).count();
            Some(vec![("claim_recall", share(stated, all))])
        }
        Kind::Citations => {
            let Sentences { sentences } = serde_json::from_str(object).ok()?;
            let all = Some(sentences.len()).filter(|all| *all > 0)?;
            let supported = sentences.iter().filter(|sentence| sentence.supported).count();
            let mut values = vec![("alce_recall", share(supported, all))];
            let citations: usize = sentences.iter().map(|one| one.citations.len()).sum();
            let good: usize = sentences
                .iter()
                .filter(|sentence| sentence.supported)
                .map(|one| one.citations.iter().filter(|one| one.alone || one.needed).count())
                .sum();
            if citations > 0 {
                values.push(("alce_precision", share(good, citations)));
            }
            Some(values)
        }
        Kind::Grade => {
            let Grade { grade } = serde_json::from_str(object).ok()?;
            let value = match grade {
                Word::Perfect => 1.0,
                Word::Acceptable => 0.5,
                Word::Missing => 0.0,
                Word::Incorrect => -1.0,
            };
            Some(vec![("crag", value)])
        }
    }
}

/// Whether a verdict finds a fault.
pub(super) fn finds_fault(values: &Values) -> bool {
    values.iter().any(|(name, value)| {
        let best = if *name == "noise_sensitivity" { 0.0 } else { 1.0 };
        (value - best).abs() > 1e-9
    })
}

/// The middle of each value over the verdicts that have it; of two, the first.
pub(super) fn majority(verdicts: &[Values]) -> Values {
    let mut names: Vec<&'static str> = Vec::new();
    for (name, _) in verdicts.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let middle = |name: &'static str| {
        let given = verdicts.iter().flatten().filter(|(other, _)| *other == name);
        let mut given: Vec<f64> = given.map(|(_, value)| *value).collect();
        if given.len() > 2 {
            given.sort_by(f64::total_cmp);
            return (name, given[given.len() / 2]);
        }
        (name, given[0])
    };
    names.into_iter().map(middle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_and_counted() {
        let reply = r#"Aquí está: {"claims": [{"claim": "a", "supported": true, "correct": false},
            {"claim": "b", "supported": false, "correct": true}]} "#;
        let values = read(Kind::Claims, reply).unwrap();
        assert_eq!(values, [("faithfulness", 0.5), ("noise_sensitivity", 0.5)]);
        let reply = r#"{"claims": [{"claim": "a", "supported": true, "correct": null}]}"#;
        assert_eq!(read(Kind::Claims, reply), Some(vec![("faithfulness", 1.0)]));
        let reply = r#"{"sentences": [{"n": 1, "supported": true, "citations": [{"marker": 1, "alone": true, "needed": false},
            {"marker": 2, "alone": false, "needed": false}]}, {"n": 2, "supported": false, "citations": []}]}"#;
        let values = read(Kind::Citations, reply).unwrap();
        assert_eq!(values, [("alce_recall", 0.5), ("alce_precision", 0.5)]);
        assert_eq!(read(Kind::Grade, r#"{"grade": "incorrect"}"#), Some(vec![("crag", -1.0)]));
        for reply in ["", "{}", "no", r#"{"grade": "good"}"#, r#"{"claims": []}"#, "} {"] {
            assert_eq!(read(Kind::Grade, reply), None, "{reply}");
            assert_eq!(read(Kind::Recall, reply), None, "{reply}");
        }
    }

    #[test]
    fn the_middle_of_three_counts() {
        let verdicts = [vec![("crag", -1.0)], vec![("crag", 1.0)], vec![("crag", 0.5)]];
        assert_eq!(majority(&verdicts), [("crag", 0.5)]);
        assert!(finds_fault(&verdicts[0]) && !finds_fault(&verdicts[1]));
        assert!(finds_fault(&vec![("faithfulness", 1.0), ("noise_sensitivity", 0.1)]));
    }
}
