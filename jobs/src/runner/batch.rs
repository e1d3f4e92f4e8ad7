//! One batch of jobs at work.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use domain::job::Job;
use futures::FutureExt;

use crate::{Handler, JobContext, JobError, Outcome};

/// Does the jobs: those on their first attempt together, those that failed before one by one. One outcome
/// for each, in order.
pub async fn run(handler: Arc<dyn Handler>, context: JobContext, jobs: Arc<[Job]>) -> Vec<Outcome> {
    let fresh: Vec<Job> = jobs.iter().filter(|job| job.attempt <= 1).cloned().collect();
    let mut fresh_outcomes = run_together(&*handler, &context, &fresh).await.into_iter();
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs.iter() {
        let outcome = if job.attempt <= 1 {
            fresh_outcomes.next()
        } else if let Some(interruption) = context.interruption(job.id) {
            Some(Err(interruption))
        } else {
            run_together(&*handler, &context, std::slice::from_ref(job)).await.pop()
        };
        outcomes.push(outcome.unwrap_or_else(|| Err(JobError::retry("the job gave no outcome"))));
    }
    outcomes
}

async fn run_together(handler: &dyn Handler, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
    if jobs.is_empty() {
        return Vec::new();
    }
    let result = AssertUnwindSafe(handler.run(context, jobs)).catch_unwind().await;
    let failure = match result {
        Ok(outcomes) if outcomes.len() == jobs.len() => return outcomes,
        Ok(outcomes) => format!("{} outcomes were given for {} jobs", outcomes.len(), jobs.len()),
        Err(panic) => format!("the job panicked: {}", panic_message(&*panic)),
    };
    tracing::error!(kind = handler.kind(), jobs = jobs.len(), "{failure}");
    jobs.iter().map(|_| Err(JobError::retry(failure.clone()))).collect()
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return text;
    }
    panic.downcast_ref::<String>().map_or("no message", String::as_str)
}
