//! Lists runs. Each part of a query walks one index in the order of the page, wherever the page begins: filtered by id,
//! status or name, a page reads about as many rows as it shows. Other criteria are tested on each of these rows.

use gleitzeit_run::{RunId, RunStatus};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use uuid::Uuid;

use super::database;
use super::run_row::{name, run};
use crate::journal::{RunFilter, RunRow, StoreError};

/// The columns that [`run`] reads.
const COLUMNS: &str = "run_id, name, status, correlation_id, submitted_at, finished_at, labels, error, task_count,
  retry_of, start_sum, end_sum";

const ALL: [RunStatus; 4] = [RunStatus::Running, RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled];

pub(super) fn list(
    db: &Connection,
    filter: &RunFilter,
    after: Option<RunId>,
    limit: i64,
) -> Result<Vec<RunRow>, StoreError> {
    let Some(range) = range(filter, after) else { return Ok(Vec::new()) };
    let failed = database("list runs");
    let (mut parts, mut values) = (Vec::new(), Vec::new());
    for status in statuses(filter) {
        let part = Part::new(filter, range, status);
        parts.push(format!("SELECT * FROM ({} LIMIT ?)", part.sql()));
        values.extend(part.values);
        values.push(Value::from(limit));
    }
    values.push(Value::from(limit));
    let sql = format!("{} ORDER BY 1 DESC LIMIT ?", parts.join(" UNION ALL "));
    let mut statement = db.prepare_cached(&sql).map_err(&failed)?;
    let rows = statement.query_map(params_from_iter(values), run).map_err(&failed)?;
    rows.collect::<Result<_, _>>().map_err(&failed)
}

/// The first and the last id that the page may show. There is one bound on each side: of two, the database would use
/// only one to search the index and would test the other on every row in between.
fn range(filter: &RunFilter, after: Option<RunId>) -> Option<(RunId, RunId)> {
    let (first, last) = filter.id_range()?;
    let last = match after {
        Some(after) => last.min(RunId(Uuid::from_u128(after.0.as_u128().checked_sub(1)?))),
        None => last,
    };
    (first <= last).then_some((first, last))
}

/// The statuses to query, one part each: the status index is in page order only within one status.
fn statuses(filter: &RunFilter) -> Vec<Option<RunStatus>> {
    if filter.statuses.is_empty() {
        return vec![None];
    }
    ALL.into_iter().filter(|status| filter.statuses.contains(status)).map(Some).collect()
}

/// A query whose conditions are joined by `AND`, and the values for its placeholders.
struct Part {
    conditions: Vec<&'static str>,
    values: Vec<Value>,
}

impl Part {
    fn new(filter: &RunFilter, (first, last): (RunId, RunId), status: Option<RunStatus>) -> Self {
        let mut part = Self { conditions: Vec::new(), values: Vec::new() };
        part.add("run_id >= ?", first.0.into_bytes().to_vec());
        part.add("run_id <= ?", last.0.into_bytes().to_vec());
        if let Some(status) = status {
            part.add("status = ?", name(status).to_owned());
        }
        if let Some(name) = &filter.name {
            part.add("name = ?", name.clone());
        }
        if let Some(after) = filter.submitted_after {
            part.add("submitted_at >= ?", after.0);
        }
        if let Some(before) = filter.submitted_before {
            part.add("submitted_at < ?", before.0);
        }
        for (label, value) in &filter.labels {
            part.add(
                "EXISTS (SELECT 1 FROM json_each(runs.labels) AS l WHERE l.key = ? AND l.value = ?)",
                label.clone(),
            );
            part.values.push(Value::from(value.clone()));
        }
        part
    }

    fn add(&mut self, condition: &'static str, value: impl Into<Value>) {
        self.conditions.push(condition);
        self.values.push(value.into());
    }

    fn sql(&self) -> String {
        format!("SELECT {COLUMNS} FROM runs WHERE {} ORDER BY run_id DESC", self.conditions.join(" AND "))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gleitzeit_workflow::Timestamp;

    use super::*;
    use crate::journal::SqliteStore;
    use crate::journal::tests::store_suite;

    /// The database's query plan.
    fn plan(filter: &RunFilter, after: Option<RunId>) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path: &Path = &folder.path().join("store.db");
        let store = SqliteStore::open(path).expect("a store");
        let range = range(filter, after).expect("some ids");
        let plans = statuses(filter).into_iter().map(|status| {
            let part = Part::new(filter, range, status);
            let sql = format!("EXPLAIN QUERY PLAN {} LIMIT 10", part.sql());
            let mut statement = store.db.prepare(&sql).expect("valid");
            let lines = statement.query_map(params_from_iter(part.values), |row| row.get::<_, String>(3));
            lines.expect("a plan").map(|line| line.expect("text")).collect::<Vec<_>>().join("; ")
        });
        plans.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn every_filter_walks_an_index_that_is_in_order() {
        let all = RunFilter::default();
        let status = RunFilter { statuses: vec![RunStatus::Failed, RunStatus::Cancelled], ..all.clone() };
        let name = RunFilter { name: Some("n".to_owned()), ..all.clone() };
        let since = RunFilter { submitted_after: Some(Timestamp(5)), ..all.clone() };
        for (filter, expected) in [
            (all, "SEARCH runs USING PRIMARY KEY (run_id>? AND run_id<?)"),
            (status, "SEARCH runs USING INDEX runs_by_status (status=? AND run_id>? AND run_id<?)"),
            (name, "SEARCH runs USING INDEX runs_by_name (name=? AND run_id>? AND run_id<?)"),
            (since, "SEARCH runs USING PRIMARY KEY (run_id>? AND run_id<?)"),
        ] {
            for after in [None, Some(store_suite::run_id(7))] {
                assert_eq!(plan(&filter, after), expected, "{filter:?}");
            }
        }
    }

    #[test]
    fn no_run_is_listed_after_the_smallest_id() {
        assert_eq!(range(&RunFilter::default(), Some(RunId(Uuid::nil()))), None);
    }
}
