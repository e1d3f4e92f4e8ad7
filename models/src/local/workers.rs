//! The threads that models run on: some for work that can wait, and one group for questions that somebody
//! waits for. A question never stands behind passages; it only shares the processor with them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::FolderError;
use crate::ModelError;

type Job = Box<dyn FnOnce() + Send>;

/// Threads and what they are to do. They end when this is dropped.
pub(super) struct Workers {
    /// Each of several threads takes the next job and does it alone.
    passages: Arc<Queue>,
    /// Jobs are done one after the other, each by all threads.
    questions: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// Whether somebody waits for the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    Waited,
    Background,
}

impl Workers {
    /// As many threads for passages as given, and as many for questions.
    pub(super) fn start(threads: usize) -> Result<Self, FolderError> {
        let threads = threads.max(1);
        let workers = Self { passages: Arc::default(), questions: Arc::default() };
        for n in 0..threads {
            start(format!("embed-{n}"), &workers.passages, 1)?;
        }
        start("embed-question".to_owned(), &workers.questions, threads)?;
        Ok(workers)
    }

    /// Has the work done on the model's threads. Work whose caller is gone by its turn is left out.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ModelError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let queue = match urgency {
            Urgency::Waited => &self.questions,
            Urgency::Background => &self.passages,
        };
        queue.push(Box::new(move || {
            if !reply.is_closed() {
                let _ = reply.send(work());
            }
        }));
        // The sender goes unused only when the work panicked.
        answer.await.map_err(|_| ModelError::Broken("the local model broke off".to_owned()))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.passages.close();
        self.questions.close();
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workers")
    }
}

impl Queue {
    fn push(&self, job: Job) {
        self.state.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.jobs.clear();
        self.changed.notify_all();
    }

    /// The next job, waited for; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            self.changed.wait(&mut state);
        }
    }
}

/// A thread that does a queue's jobs within a pool of its own, which the matrix products are spread over.
fn start(name: String, queue: &Arc<Queue>, threads: usize) -> Result<(), FolderError> {
    let failed = |error: &dyn fmt::Display| FolderError::Threads(error.to_string());
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name({
            let name = name.clone();
            move |n| format!("{name}-{n}")
        })
        .build()
        .map_err(|error| failed(&error))?;
    let queue = queue.clone();
    let work = move || {
        while let Some(job) = queue.next() {
            // A job that panics must not take the thread with it; its caller sees the reply dropped.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.install(job)));
            if done.is_err() {
                tracing::error!("a job of the local model panicked");
            }
        }
    };
    std::thread::Builder::new().name(name).spawn(work).map_err(|error| failed(&error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_the_next_is_done() {
        let workers = Workers::start(1).unwrap();
        let broken = workers.run(Urgency::Background, || panic!("planted")).await;
        let broken: Result<(), ModelError> = broken;
        assert!(matches!(broken, Err(ModelError::Broken(_))));
        assert_eq!(workers.run(Urgency::Background, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_question_does_not_wait_for_passages() {
        let workers = Workers::start(1).unwrap();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let passages = workers.run(Urgency::Background, move || {
            begun.send(()).unwrap();
            wait.recv().unwrap();
        });
        let question = async {
            has_begun.await.unwrap();
            assert_eq!(workers.run(Urgency::Waited, || 1).await.unwrap(), 1);
            go_on.send(()).unwrap();
        };
        let (passages, ()) = tokio::join!(passages, question);
        passages.unwrap();
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_is_not_done() {
        let workers = Workers::start(1).unwrap();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let (done, notes) = std::sync::mpsc::channel();
        let first = workers.run(Urgency::Background, move || wait.recv().unwrap());
        let second = workers.run(Urgency::Background, move || done.send(()).unwrap());
        let mut first = Box::pin(first);
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(second);
        assert!(futures::poll!(&mut second).is_pending());
        drop(second);
        go_on.send(()).unwrap();
        first.await.unwrap();
        workers.run(Urgency::Background, || ()).await.unwrap();
        assert!(notes.try_recv().is_err());
    }
}
