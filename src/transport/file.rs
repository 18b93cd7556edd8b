//! The file through which others connect to a listener.
//!
//! Owns the identity of that file when it was bound, and so the answer whether it is still there.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::path::{self, Path, PathBuf};

use crate::error::AttemptError;

/// The path and identity of a file through which others connect to a listener.
///
/// The value neither keeps the file nor removes it. It knows the file by its device and inode number, where
/// the system has those. The system may give the number of a removed file to another one, so hold what
/// prevents that, such as the bound socket. On systems other than Unix any file at the path is taken for
/// the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl BoundFile {
    /// The file that is at `path` now. If it is a symbolic link: the link itself.
    ///
    /// A relative path is resolved in this call, and keeps its meaning when the working directory changes.
    ///
    /// # Errors
    ///
    /// There is no such file (`NotFound`), or the system does not let us look at it.
    pub fn at(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path::absolute(path)?;
        let identity = identity(&fs::symlink_metadata(&path)?);
        Ok(Self { path, identity })
    }

    /// The absolute path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this very file, not a link to it, is at the path. Asks the system.
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|file| identity(&file) == self.identity)
    }

    /// The error if others cannot connect through the file any more: it is gone, or another is at its path.
    /// Asks the system.
    ///
    /// A link at the path that leads to the file is no loss, since a connecting program follows it. A file
    /// that we may not look at is not taken for lost.
    pub(crate) fn loss(&self) -> Option<AttemptError> {
        let replaced = match fs::metadata(&self.path) {
            Ok(file) if identity(&file) == self.identity => return None,
            Ok(_) => true,
            Err(error) if is_absent(&error) => false,
            Err(_) => return None,
        };
        Some(AttemptError::FileLost { path: self.path.clone(), replaced })
    }
}

/// Whether the error says that nothing is at the path, perhaps because a directory on it was replaced.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(unix)]
fn identity(file: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}
