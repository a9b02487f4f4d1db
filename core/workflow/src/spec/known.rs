//! The providers that are known while a workflow is checked: their names, what they serve, and where.

use std::collections::{BTreeMap, BTreeSet};

/// A provider that is known while a workflow is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownProvider {
    /// By which tasks may ask for it.
    pub name: String,
    /// The methods that it serves, by full name.
    pub methods: Vec<String>,
    /// Where the service is that it calls: an address, or `*` if its tasks say where; absent: it calls none, or it is
    /// not said where.
    pub address: Option<String>,
}

/// Which providers there may be besides those that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// None: another name is an error.
    None,
    /// Those that are not connected now: another name is worth a note.
    Later,
    /// Any: another name is worth a note if it looks like a known one.
    Any,
}

/// The providers that are known while a workflow is checked.
#[derive(Clone, Debug)]
pub struct KnownProviders {
    pub(super) names: BTreeSet<String>,
    pub(super) methods: BTreeMap<String, Serving>,
    pub(super) others: Others,
}

/// Who serves a method: the addresses that are known, by name. Providers of one name share their calls, wherever they
/// are.
pub(super) type Serving = BTreeMap<String, BTreeSet<String>>;

impl KnownProviders {
    /// These, and which there may be besides.
    pub fn new(providers: impl IntoIterator<Item = KnownProvider>, others: Others) -> Self {
        let (mut names, mut methods) = (BTreeSet::new(), BTreeMap::<String, Serving>::new());
        for KnownProvider { name, methods: served, address } in providers {
            for method in served {
                methods.entry(method).or_default().entry(name.clone()).or_default().extend(address.clone());
            }
            names.insert(name);
        }
        Self { names, methods, others }
    }
}
