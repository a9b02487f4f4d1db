//! Terms: which history a position belongs to.
//!
//! Each start of a control plane on a store begins a term, a number and a random id, after the store's last entry. A
//! position alone is ambiguous after a backup was restored or a store was removed, because other entries may now have
//! that position. Together with the id of the term in which it was learnt, it can be checked, see [`History::has`].

use serde::{Deserialize, Serialize};

use crate::id::{Position, TermId};

/// One start of a control plane on a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The term's number, from 1; it grows with each start. After a restore, a number may occur again with another id.
    pub number: u64,
    /// The term's random id.
    pub id: TermId,
    /// The last entry of the previous term; this term's entries follow it.
    pub after: Position,
}

/// What a component has seen of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The term that the hub named when the component last registered.
    pub term: TermId,
    /// The last position that the component has seen; 0 if none.
    #[serde(default)]
    pub position: Position,
}

/// The terms of a journal, oldest first. Very old ones may be missing; their positions are then treated as foreign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    terms: Vec<Term>,
}

impl History {
    /// Takes the terms in the order of their numbers.
    pub fn new(terms: Vec<Term>) -> Self {
        Self { terms }
    }

    /// The current term; `None` if terms are not recorded.
    pub fn current(&self) -> Option<&Term> {
        self.terms.last()
    }

    /// Whether the current term is the first one. Earlier entries were then written by a version without terms.
    pub fn is_first(&self) -> bool {
        self.terms.len() == 1 && self.terms[0].number == 1
    }

    /// The term in which an entry was recorded, if known.
    pub fn of(&self, position: Position) -> Option<&Term> {
        self.terms.iter().rev().find(|term| term.after < position)
    }

    /// Whether everything that was seen is in this journal, whose last entry is `head`: the journal has that term, and
    /// the term had reached that position before the next one began.
    pub fn has(&self, seen: &Seen, head: Position) -> bool {
        let Some(at) = self.terms.iter().position(|term| term.id == seen.term) else { return false };
        let end = self.terms.get(at + 1).map_or(head, |next| next.after);
        seen.position <= end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(number: u64, id: &str, after: u64) -> Term {
        Term { number, id: id.into(), after: Position(after) }
    }

    #[test]
    fn a_position_is_valid_only_in_a_term_that_reached_it() {
        let history = History::new(vec![term(1, "a", 0), term(2, "b", 10), term(4, "d", 30)]);
        let has =
            |id: &str, position| history.has(&Seen { term: id.into(), position: Position(position) }, Position(50));
        assert!(has("a", 0) && has("a", 10));
        assert!(!has("a", 11), "the term ended before");
        assert!(has("b", 5) && has("b", 30) && !has("b", 31));
        assert!(has("d", 50) && !has("d", 51), "it is beyond the end");
        assert!(!has("c", 0), "a term of another journal");
    }

    #[test]
    fn an_entry_belongs_to_the_surviving_term() {
        let history = History::new(vec![term(3, "c", 10), term(4, "d", 30)]);
        let of = |position| history.of(Position(position)).map(|term| term.number);
        assert_eq!((of(10), of(11), of(30), of(31)), (None, Some(3), Some(3), Some(4)));
        assert!(!history.is_first());
    }
}
