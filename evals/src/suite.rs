//! A list of datasets with floors: what `make eval` runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::dataset::{Dataset, Form, ReadOptions};
use crate::metrics::{Direction, find};
use crate::report::Report;

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its sets, in order.
    #[serde(rename = "set")]
    pub sets: Vec<SuiteSet>,
    /// The folder of the file.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// A dataset with its floors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteSet {
    /// Its name in tables and files.
    pub name: String,
    /// Its folder: relative to the file, or, when `external` is set, to the folder of external sets.
    pub folder: PathBuf,
    /// Whether it is outside the repository.
    #[serde(default)]
    pub external: bool,
    /// The style of its questions.
    pub style: Option<String>,
    /// The tag that answerable cases must have.
    pub tag: Option<String>,
    /// A folder whose passages take the place of its own.
    pub passages: Option<PathBuf>,
    /// What its accepted answers are, where the folder does not say.
    pub form: Option<Form>,
    /// The least that metrics must reach; the most, of those of which less is better.
    #[serde(default)]
    pub floors: BTreeMap<String, f64>,
}

/// A floor and what was reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Floor {
    /// The metric.
    pub metric: String,
    /// What must be reached.
    pub floor: f64,
    /// What was; `None` when the metric has no value.
    pub value: Option<f64>,
    /// Whether that is enough.
    pub reached: bool,
}

impl Suite {
    /// Reads a file. Errors: input, with what is wrong.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let text = std::fs::read_to_string(path).map_err(EvalError::file(path))?;
        let remedy = "see evals/suite.toml for an example";
        let suite: Self = toml::from_str(&text)
            .map_err(|error| EvalError::input(path, error.to_string(), remedy))?;
        for set in &suite.sets {
            for metric in set.floors.keys() {
                if find(metric).is_none() {
                    let problem = format!("{}: there is no metric {metric}", set.name);
                    return Err(EvalError::input(path, problem, remedy));
                }
            }
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { folder, ..suite })
    }

    /// The dataset of a set; `None` when it is an external one and `external` is not there or does not hold it.
    pub fn dataset(
        &self,
        set: &SuiteSet,
        external: Option<&Path>,
    ) -> Result<Option<Dataset>, EvalError> {
        let root = match (set.external, external) {
            (true, None) => return Ok(None),
            (true, Some(external)) => external,
            (false, _) => &self.folder,
        };
        let folder = root.join(&set.folder);
        if set.external && !folder.exists() {
            return Ok(None);
        }
        let options = ReadOptions { style: set.style.clone(), split: None };
        let mut dataset = Dataset::read(&folder, &options)?;
        if let Some(tag) = &set.tag {
            dataset.keep_tag(tag);
        }
        if let Some(passages) = &set.passages {
            dataset.over(Dataset::read(&root.join(passages), &ReadOptions::default())?);
        }
        if let Some(form) = set.form {
            dataset.cases.iter_mut().for_each(|case| case.form = form);
        }
        dataset.name.clone_from(&set.name);
        Ok(Some(dataset))
    }
}

/// Holds a report against floors. A metric without a value misses its floor.
pub fn floors(report: &Report, floors: &BTreeMap<String, f64>) -> Vec<Floor> {
    let hold =
        |(metric, floor): (&String, &f64)| {
            let value = report.metric(metric).map(|interval| interval.value);
            let higher = find(metric).is_none_or(|metric| metric.direction == Direction::Higher);
            let reached = value.is_some_and(|value| {
                if higher { value >= floor - 1e-9 } else { value <= floor + 1e-9 }
            });
            Floor { metric: metric.clone(), floor: *floor, value, reached }
        };
    floors.iter().map(hold).collect()
}
