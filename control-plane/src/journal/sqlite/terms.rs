//! The terms of a store: each start and each copy begins one after the last entry. The table is not part of the format:
//! a version that does not know it leaves it alone, and a store without it gets it at its next start.

use gleitzeit_run::{History, Position, Term, TermId};
use rusqlite::{Connection, params};

use super::sum::{Checksum, Sum, loaded, stored};
use super::{number, signed};

/// How many terms are kept. A client that missed that many starts has to begin anew.
const KEPT: u64 = 1_000;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS terms (number INTEGER PRIMARY KEY, id TEXT NOT NULL,
  after INTEGER NOT NULL, checksum INTEGER NOT NULL);";

/// Begins a term after the entry at `after`. Returns all known terms.
pub(super) fn begin(db: &mut Connection, id: TermId, after: Position) -> rusqlite::Result<History> {
    let transaction = db.transaction()?;
    transaction.execute_batch(TABLE)?;
    let mut terms = read(&transaction)?;
    let last: Option<i64> = transaction.query_row("SELECT max(number) FROM terms", [], |row| row.get(0))?;
    let number = last.and_then(|last| u64::try_from(last).ok()).unwrap_or(0) + 1;
    let term = Term { number, id, after };
    transaction.execute(
        "INSERT INTO terms VALUES (?1, ?2, ?3, ?4)",
        params![signed(number), term.id.as_str(), signed(after.0), stored(sum(&term)),],
    )?;
    transaction.execute("DELETE FROM terms WHERE number <= ?1", [signed(number.saturating_sub(KEPT))])?;
    transaction.commit()?;
    terms.push(term);
    Ok(History::new(terms))
}

/// Copies the terms of another store unchanged.
pub(super) fn copy(from: &Connection, to: &Connection) -> rusqlite::Result<()> {
    if !from.table_exists(None, "terms")? {
        return Ok(());
    }
    to.execute_batch(TABLE)?;
    let mut statement = from.prepare("SELECT number, id, after, checksum FROM terms")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let values = (0..4).map(|at| row.get::<_, rusqlite::types::Value>(at)).collect::<Result<Vec<_>, _>>()?;
        to.execute("INSERT OR IGNORE INTO terms VALUES (?1, ?2, ?3, ?4)", rusqlite::params_from_iter(values))?;
    }
    Ok(())
}

/// Reads the terms. A term whose checksum does not match is left out; a client that names it begins anew.
fn read(db: &Connection) -> rusqlite::Result<Vec<Term>> {
    let mut statement = db.prepare("SELECT number, id, after, checksum FROM terms ORDER BY number")?;
    let rows = statement.query_map([], |row| {
        let id: String = row.get(1)?;
        let term = Term { number: number(row, 0)?, id: id.into(), after: Position(number(row, 2)?) };
        Ok((sum(&term) == loaded(row.get(3)?)).then_some(term))
    })?;
    rows.filter_map(Result::transpose).collect()
}

fn sum(term: &Term) -> Checksum {
    Sum::new().number(signed(term.number)).bytes(term.id.as_str().as_bytes()).number(signed(term.after.0)).value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_follow_each_other_and_only_the_latest_are_kept() {
        let mut db = Connection::open_in_memory().expect("a database");
        let mut next = |id: String, after| begin(&mut db, id.into(), Position(after)).expect("it is written");
        assert!(next("t1".into(), 0).is_first());
        let history = next("t2".into(), 5);
        let shown = |position| history.of(Position(position)).map(|term| (term.number, term.id.to_string()));
        assert_eq!((shown(5), shown(6)), (Some((1, "t1".into())), Some((2, "t2".into()))));
        for number in 3..=KEPT + 1 {
            next(format!("t{number}"), 5);
        }
        let seen = |id: &str| gleitzeit_run::Seen { term: id.into(), position: Position(0) };
        let history = next("last".into(), 5);
        assert!(!history.has(&seen("t1"), Position(9)) && history.has(&seen("t3"), Position(9)));
    }

    #[test]
    fn terms_are_migrated_and_a_store_without_terms_has_none() {
        let (mut old, mut new) =
            (Connection::open_in_memory().expect("a database"), Connection::open_in_memory().expect("a database"));
        copy(&old, &new).expect("nothing is copied");
        begin(&mut old, "a".into(), Position(0)).expect("it is written");
        copy(&old, &new).expect("it is copied");
        let history = begin(&mut new, "b".into(), Position(9)).expect("it is written");
        assert_eq!(history.of(Position(8)).map(|term| term.id.to_string()), Some("a".to_owned()));
    }

    #[test]
    fn a_damaged_term_is_ignored() {
        let mut db = Connection::open_in_memory().expect("a database");
        begin(&mut db, "a".into(), Position(0)).expect("it is written");
        db.execute("UPDATE terms SET after = 7", []).expect("it is changed");
        let history = begin(&mut db, "b".into(), Position(9)).expect("it is written");
        assert!(history.of(Position(8)).is_none());
        assert_eq!(history.current().map(|term| term.number), Some(2));
    }
}
