//! Makes stores from copies. A store that is replaced is kept beside the new one.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::journal::StoreError;

use super::backup::{Copied, check};
use super::part_file::{Part, sweep};
use super::swap::{Swap, resume};
use super::{lock, make_folder, real_path};

/// Makes a store from a copy. If a store already exists and `replace` is set, it is kept beside the new one, at the
/// returned path. An interrupted restore is finished first.
///
/// # Errors
/// If the copy is damaged, the store is in use, or it exists and is not to be replaced; then nothing is changed.
pub fn restore(from: &Path, store: &Path, replace: bool) -> Result<(Copied, Option<PathBuf>), StoreError> {
    if !from.is_file() {
        return Err(StoreError::Backup(format!("there is no backup `{}`", from.display())));
    }
    make_folder(store)?;
    // The canonical path, as every process that uses the store locks it.
    let store = &real_path(store)?;
    // Held until the new store has replaced the old one.
    let mut mark = lock(store)?;
    resume(store, &mut mark)?;
    sweep(store);
    if store.exists() && !replace {
        let text =
            format!("there is a store `{}`; it is kept beside the restored one with `--replace`", store.display());
        return Err(StoreError::Backup(text));
    }
    // The store may also be in use under another name.
    let _claim = store.exists().then(|| super::claim::Claim::of_any(store)).transpose()?;
    let part = Part::new(store)?;
    let refused = |source| StoreError::Open { path: from.to_owned(), source };
    let copy = || std::io::copy(&mut File::open(from)?, &mut File::options().write(true).open(&part.path)?);
    copy().map_err(refused)?;
    let (copied, id) = check(&part.path, |_| Ok(())).map_err(|error| error.about(from))?;
    let old = Swap::put(part, store, (id, copied.position), &mut mark)?;
    Ok((copied, old))
}
