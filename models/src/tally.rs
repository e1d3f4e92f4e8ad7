//! What calls use that are made deep down: those of embedders and rerankers, in the course of a search or of ingestion.
//!
//! A tally is set for the length of a future, as a tracing span is, so that neither a search nor those who call it carry
//! the money along. A call that is cut off is estimated by what was asked; one that failed costs nothing. Models that run
//! in the process cost nothing and are not in it.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{Catalogue, Usage};

tokio::task_local! {
    static TALLY: Tally;
}

/// What was used so far. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Mutex<Vec<Tallied>>>);

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tallied {
    model: String,
    usage: Usage,
    estimated: bool,
}

/// Calls added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bill {
    /// How many.
    pub calls: i64,
    /// The model of the last one.
    pub model: String,
    /// Tokens of all of them.
    pub usage: Usage,
    /// Micro-dollars (US).
    pub cost: i64,
    /// Something of it the provider did not count.
    pub estimated: bool,
}

impl Tally {
    /// Does `work`; what its calls use is in the tally, also when it is dropped.
    pub async fn over<F: Future>(&self, work: F) -> F::Output {
        TALLY.scope(self.clone(), work).await
    }

    /// Takes out what was used so far, added up; `None` when there is nothing.
    pub fn take(&self, catalogue: &Catalogue) -> Option<Bill> {
        let all = std::mem::take(&mut *self.0.lock());
        let mut bill = Bill::default();
        for Tallied { model, usage, estimated } in all {
            bill.calls += 1;
            bill.usage = bill.usage.plus(usage);
            bill.cost = bill.cost.saturating_add(catalogue.cost(&model, usage).unwrap_or(0));
            bill.estimated |= estimated;
            bill.model = model;
        }
        (bill.calls > 0).then_some(bill)
    }
}

/// A call under way. Dropping it counts what was asked.
#[derive(Debug)]
pub(crate) struct Pending {
    tally: Option<Tally>,
    model: String,
    asked: i64,
}

impl Pending {
    /// A call of `model` that sends about that many tokens; of no consequence outside of a tally.
    pub(crate) fn new(model: &str, asked: usize) -> Self {
        let tally = TALLY.try_with(Clone::clone).ok();
        let asked = i64::try_from(asked).unwrap_or(i64::MAX);
        Self { tally, model: model.to_owned(), asked }
    }

    /// It is over; `counted` is what the provider says of it.
    pub(crate) fn finished(mut self, counted: Option<Usage>) {
        let estimated = counted.is_none();
        let near = Usage { prompt_tokens: self.asked, ..Usage::default() };
        self.note(counted.unwrap_or(near), estimated);
    }

    /// It came to nothing.
    pub(crate) fn failed(mut self) {
        self.tally = None;
    }

    fn note(&mut self, usage: Usage, estimated: bool) {
        let Some(Tally(all)) = self.tally.take() else { return };
        all.lock().push(Tallied { model: std::mem::take(&mut self.model), usage, estimated });
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let near = Usage { prompt_tokens: self.asked, ..Usage::default() };
        self.note(near, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_add_up_within_their_tally_also_when_they_are_cut_off() {
        let (tally, catalogue) = (Tally::default(), Catalogue::default());
        let usage = Usage { prompt_tokens: 1_000, completion_tokens: 0, cached_tokens: 0 };
        Pending::new("gpt-4o", 7).finished(Some(usage));
        assert_eq!(tally.take(&catalogue), None, "nobody asked");
        let work = tally.over(async {
            Pending::new("gpt-4o", 7).finished(Some(usage));
            Pending::new("gpt-4o", 7).failed();
            let cut = Pending::new("gpt-4o", 7);
            std::future::pending::<()>().await;
            cut.failed();
        });
        let gave_up = tokio::time::timeout(std::time::Duration::from_millis(1), work).await;
        assert!(gave_up.is_err());
        let bill = tally.take(&catalogue).unwrap();
        assert_eq!((bill.calls, bill.usage.prompt_tokens, bill.estimated), (2, 1_007, true));
        assert_eq!((bill.cost, bill.model.as_str()), (2_518, "gpt-4o"));
        assert_eq!(tally.take(&catalogue), None, "taken once");
    }
}
