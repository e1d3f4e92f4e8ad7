//! Putting the cases of a dataset to a target.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use crate::EvalError;
use crate::dataset::{Case, Dataset};
use crate::observation::{Failure, Row};
use crate::target::{Estimate, Target, TargetInfo};

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Cases under way at once, at least 1.
    pub concurrency: usize,
    /// Cases begun a minute, at most; `None` for no limit.
    pub per_minute: Option<u32>,
    /// Micro-dollars after which no case is begun; `None` for no limit. Those under way are ended, so that it may be passed
    /// by what `concurrency` cases cost.
    pub max_cost: Option<i64>,
    /// The longest that a case may take.
    pub timeout: Duration,
    /// Where rows are written as they come, and read when the run goes on; `None` keeps them in memory alone.
    pub rows: Option<PathBuf>,
    /// Whether cases of `rows` that failed are asked again.
    pub retry_errors: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            concurrency: 4,
            per_minute: None,
            max_cost: None,
            timeout: Duration::from_mins(3),
            rows: None,
            retry_errors: false,
        }
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Cases that are done, those of an earlier start included.
    pub done: usize,
    /// All cases.
    pub all: usize,
    /// Those done that failed.
    pub errors: usize,
    /// Micro-dollars of this run, those of an earlier start included.
    pub cost: i64,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct RunOutcome {
    /// What was evaluated.
    pub target: TargetInfo,
    /// One row for each case that was asked, in the order of the dataset.
    pub rows: Vec<Row>,
    /// How it ended.
    pub ended: Ended,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Every case was asked.
    Complete,
    /// The limit of what it may cost was reached.
    MaxCost,
    /// It was cancelled.
    Cancelled,
}

/// The first line of a file of rows.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    version: u32,
    dataset: String,
    dataset_version: String,
    target: TargetInfo,
}

/// Where the rows of a run are kept as they come. An open set.
#[async_trait]
pub trait Keeper: Send {
    /// Keeps a row, with how far the run is with it. An error ends the run.
    async fn keep(&mut self, row: &Row, progress: Progress) -> Result<(), EvalError>;
}

/// Puts every case to the target. Rows are written as they come; a run that was broken off goes on where it stopped when it
/// is started with the same file. `progress` is told after each case. Cancelling ends it after the cases
/// under way have been let go; what is written stays.
///
/// Errors: input, when the file of rows is of another dataset or target; a file that cannot be written. What the target
/// does wrong is in the rows.
pub async fn run(
    dataset: &Dataset,
    target: &dyn Target,
    options: &RunOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<RunOutcome, EvalError> {
    let (mut file, known) = RowsFile::open(dataset, &target.info(), options)?;
    let course = Course { known, keeper: &mut file, progress, cancel };
    run_on(dataset, target, options, course).await
}

/// What a run goes on from, and who is told.
pub struct Course<'a> {
    /// Rows of an earlier start, by case.
    pub known: BTreeMap<String, Row>,
    /// Keeps the others.
    pub keeper: &'a mut dyn Keeper,
    /// Is told at the start and after each case.
    pub progress: &'a (dyn Fn(Progress) + Send + Sync),
    /// Ends the run.
    pub cancel: &'a CancellationToken,
}

/// As [`run`], with rows that are kept elsewhere than in `options.rows`. Errors: those of the keeper.
pub async fn run_on(
    dataset: &Dataset,
    target: &dyn Target,
    options: &RunOptions,
    course: Course<'_>,
) -> Result<RunOutcome, EvalError> {
    let Course { known, keeper, progress, cancel } = course;
    let mut rows = known;
    rows.retain(|_, row| !(options.retry_errors && row.error.is_some()));
    let mut told = Progress {
        done: rows.len(),
        all: dataset.cases.len(),
        errors: rows.values().filter(|row| row.error.is_some()).count(),
        cost: rows.values().map(cost_of).sum(),
    };
    progress(told);
    let asker = Asker {
        dataset,
        target,
        options,
        spent: AtomicI64::new(told.cost),
        too_dear: AtomicBool::new(false),
        seats: Semaphore::new(options.concurrency.max(1)),
        stop: cancel.child_token(),
    };
    let open = dataset.cases.iter().enumerate();
    let open: Vec<usize> =
        open.filter(|(_, case)| !rows.contains_key(&case.id)).map(|(at, _)| at).collect();
    let (sender, mut incoming) = mpsc::unbounded_channel::<Asked<'_>>();
    // Beside each other: a case under way may hold what the keeper waits for.
    let keeping = async {
        let _asks_no_more = asker.stop.clone().drop_guard();
        while let Some((row, seat)) = incoming.recv().await {
            told.done += 1;
            told.errors += usize::from(row.error.is_some());
            told.cost += cost_of(&row);
            keeper.keep(&row, told).await?;
            drop(seat);
            rows.insert(row.id.clone(), row);
            progress(told);
            if asker.stop.is_cancelled() {
                break;
            }
        }
        Ok::<_, EvalError>(())
    };
    let ((), kept) = tokio::join!(asker.ask_all(open, sender), keeping);
    kept?;
    let too_dear = asker.too_dear.load(Ordering::SeqCst);
    let ended = if told.done == told.all {
        Ended::Complete
    } else if too_dear {
        Ended::MaxCost
    } else {
        Ended::Cancelled
    };
    let rows = dataset.cases.iter().filter_map(|case| rows.remove(&case.id)).collect();
    Ok(RunOutcome { target: target.info(), rows, ended })
}

/// A row that is not kept yet, and its seat among those under way.
type Asked<'a> = (Row, Result<SemaphorePermit<'a>, AcquireError>);

/// Puts cases to a target.
struct Asker<'a> {
    dataset: &'a Dataset,
    target: &'a dyn Target,
    options: &'a RunOptions,
    spent: AtomicI64,
    too_dear: AtomicBool,
    /// Cases that are asked or whose rows are not kept yet.
    seats: Semaphore,
    stop: CancellationToken,
}

impl Asker<'_> {
    async fn ask_all<'a>(&'a self, open: Vec<usize>, rows: mpsc::UnboundedSender<Asked<'a>>) {
        let pace = Pace::new(self.options.per_minute);
        let asking = futures::stream::iter(open)
            .take_while(|_| std::future::ready(self.goes_on()))
            .map(|at| {
                let (case, pace) = (&self.dataset.cases[at], &pace);
                async move {
                    let seat = self.seats.acquire().await;
                    pace.wait().await;
                    (ask(self.target, case, self.options.timeout).await, seat)
                }
            })
            .buffer_unordered(self.options.concurrency.max(1));
        tokio::pin!(asking);
        loop {
            let asked = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                asked = asking.next() => asked,
            };
            let Some((row, seat)) = asked else { return };
            self.spent.fetch_add(cost_of(&row), Ordering::SeqCst);
            if rows.send((row, seat)).is_err() {
                return;
            }
        }
    }

    fn goes_on(&self) -> bool {
        let spent = self.spent.load(Ordering::SeqCst);
        let dear = self.options.max_cost.is_some_and(|most| spent >= most);
        self.too_dear.fetch_or(dear, Ordering::SeqCst);
        !dear && !self.stop.is_cancelled()
    }
}

/// What the cases that are not in the rows file yet will take.
pub fn estimate(
    dataset: &Dataset,
    target: &dyn Target,
    options: &RunOptions,
) -> Result<(usize, Estimate), EvalError> {
    let known = match &options.rows {
        Some(path) if path.exists() => read_rows(path, options.retry_errors)?.1,
        _ => BTreeMap::new(),
    };
    let open = dataset.cases.iter().filter(|case| !known.contains_key(&case.id));
    let mut count = 0;
    let mut sum = Estimate::FREE;
    for case in open {
        count += 1;
        sum = sum.plus(target.estimate(case));
    }
    Ok((count, sum))
}

fn cost_of(row: &Row) -> i64 {
    row.observation.as_ref().and_then(|observation| observation.cost).unwrap_or_default()
}

async fn ask(target: &dyn Target, case: &Case, timeout: Duration) -> Row {
    let answer = tokio::time::timeout(timeout, target.ask(case)).await.unwrap_or_else(|_| {
        let seconds = timeout.as_secs_f64();
        Err(Failure::new("TIMEOUT", format!("there was no answer within {seconds} seconds")))
    });
    let id = case.id.clone();
    match answer {
        Ok(observation) => Row { id, observation: Some(observation), error: None },
        Err(error) => Row { id, observation: None, error: Some(error) },
    }
}

/// Lets cases begin at even distances.
struct Pace {
    distance: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    fn new(per_minute: Option<u32>) -> Self {
        let distance = per_minute.filter(|count| *count > 0);
        let distance = distance.map_or(Duration::ZERO, |count| Duration::from_mins(1) / count);
        Self { distance, next: Mutex::new(None) }
    }

    async fn wait(&self) {
        if self.distance.is_zero() {
            return;
        }
        let now = Instant::now();
        let mine = {
            let mut next = self.next.lock();
            let mine = next.map_or(now, |next| next.max(now));
            *next = Some(mine + self.distance);
            mine
        };
        tokio::time::sleep(mine.saturating_duration_since(now)).await;
    }
}

/// The rows of a run on disk; without a file they are kept nowhere.
struct RowsFile(Option<(PathBuf, File)>);

impl RowsFile {
    /// The file, and the rows that it has.
    fn open(
        dataset: &Dataset,
        info: &TargetInfo,
        options: &RunOptions,
    ) -> Result<(Self, BTreeMap<String, Row>), EvalError> {
        let Some(path) = &options.rows else {
            return Ok((Self(None), BTreeMap::new()));
        };
        let header = Header {
            version: 1,
            dataset: dataset.name.clone(),
            dataset_version: dataset.version(),
            target: info.clone(),
        };
        let mut rows = BTreeMap::new();
        if path.exists() {
            let (known, read) = read_rows(path, options.retry_errors)?;
            if let Some(known) = known {
                check_header(path, &known, &header)?;
            }
            let ids: BTreeSet<&str> = dataset.cases.iter().map(|case| case.id.as_str()).collect();
            rows = read.into_iter().filter(|(id, _)| ids.contains(id.as_str())).collect();
        }
        // Written anew: a line that was cut off by a kill goes, and errors that are asked again.
        let temporary = path.with_extension("jsonl.part");
        let mut text = line(&header);
        for row in rows.values() {
            text.push_str(&line(row));
        }
        std::fs::write(&temporary, text).map_err(EvalError::file(&temporary))?;
        std::fs::rename(&temporary, path).map_err(EvalError::file(path))?;
        let mut file = OpenOptions::new().append(true).open(path).map_err(EvalError::file(path))?;
        file.seek(SeekFrom::End(0)).map_err(EvalError::file(path))?;
        Ok((Self(Some((path.clone(), file))), rows))
    }
}

#[async_trait]
impl Keeper for RowsFile {
    async fn keep(&mut self, row: &Row, _: Progress) -> Result<(), EvalError> {
        let Some((path, file)) = &mut self.0 else { return Ok(()) };
        file.write_all(line(row).as_bytes()).map_err(EvalError::file(path))
    }
}

fn check_header(path: &Path, known: &Header, header: &Header) -> Result<(), EvalError> {
    let remedy = "name another file, or remove this one to begin anew";
    if known.dataset_version != header.dataset_version {
        let problem = format!(
            "these rows are of dataset {} {}, not {} {}",
            known.dataset, known.dataset_version, header.dataset, header.dataset_version
        );
        return Err(EvalError::input(path, problem, remedy));
    }
    if known.target.hash() != header.target.hash() {
        let problem = "these rows are of another target, or of other settings of it";
        return Err(EvalError::input(path, problem, remedy));
    }
    Ok(())
}

fn line(object: &impl Serialize) -> String {
    let mut line = serde_json::to_string(object).unwrap_or_default();
    line.push('\n');
    line
}

/// The header and the rows of a file; a last line without its end was cut off and is left out.
fn read_rows(
    path: &Path,
    without_errors: bool,
) -> Result<(Option<Header>, BTreeMap<String, Row>), EvalError> {
    let file = File::open(path).map_err(EvalError::file(path))?;
    let mut reader = BufReader::new(file);
    let (mut header, mut rows, mut text, mut number) = (None, BTreeMap::new(), String::new(), 0);
    loop {
        text.clear();
        let length = reader.read_line(&mut text).map_err(EvalError::file(path))?;
        if length == 0 || !text.ends_with('\n') {
            return Ok((header, rows));
        }
        number += 1;
        let wrong = |error: serde_json::Error| {
            let remedy = "name another file, or remove this one to begin anew";
            EvalError::line(path, number, None, error.to_string(), remedy)
        };
        if number == 1 {
            header = Some(serde_json::from_str(&text).map_err(wrong)?);
            continue;
        }
        let row: Row = serde_json::from_str(&text).map_err(wrong)?;
        if !(without_errors && row.error.is_some()) {
            rows.insert(row.id.clone(), row);
        }
    }
}
