//! Files under construction beside a store, and their names.

use std::fs::File;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::journal::StoreError;

use super::create_private;

/// A file under construction. It is removed on drop unless it was finished.
pub(super) struct Part {
    pub(super) path: PathBuf,
    /// The id in its name.
    pub(super) id: String,
    kept: bool,
}

impl Part {
    pub(super) fn new(of: &Path) -> Result<Self, StoreError> {
        let id = Uuid::now_v7().simple().to_string();
        let path = part_of(of, &id);
        create_private(&path).map_err(|source| StoreError::Open { path: path.clone(), source })?;
        Ok(Self { path, id, kept: false })
    }

    /// Flushes the file and its name to the disk.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        sync_folder(&self.path)
    }

    /// Keeps the file where it is, whatever happens.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // A file that was kept stays; one that was renamed is already gone. Only the files beside it are removed.
        let itself = if self.kept { None } else { Some("") };
        for ending in itself.into_iter().chain(["-wal", "-shm", ".lock"]) {
            let _ = std::fs::remove_file(beside(&self.path, ending));
        }
    }
}

/// The path of a file that is to replace a store.
pub(super) fn part_of(store: &Path, id: &str) -> PathBuf {
    beside(store, &format!(".{id}.part"))
}

/// Removes what killed processes left behind beside a store. The caller must hold the store's lock.
pub(super) fn sweep(store: &Path) {
    let (Some(folder), Some(name)) = (store.parent(), store.file_name().and_then(|name| name.to_str())) else { return };
    let Ok(found) = std::fs::read_dir(folder) else { return };
    for file in found.flatten() {
        let left = file.file_name();
        let rest = left.to_str().and_then(|left| left.strip_prefix(name)).and_then(|rest| rest.strip_prefix('.'));
        if let Some((id, "part" | "part-wal" | "part-shm" | "part.lock")) = rest.and_then(|rest| rest.split_once('.'))
            && is_id(id)
        {
            let _ = std::fs::remove_file(file.path());
        }
    }
}

/// Whether a text is an id as [`Part::new`] creates it.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Flushes the directory entries of a file's folder to the disk.
pub(super) fn sync_folder(of: &Path) -> std::io::Result<()> {
    let folder = of.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
