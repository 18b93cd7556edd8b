//! The file through which others connect to a listener.
//!
//! Owns which file it was when it was bound, and so whether it still is.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::path::{self, Path, PathBuf};

use crate::error::AttemptError;

/// The file through which others connect to a listener, and which one it was.
///
/// Does not keep the file, nor remove it. It is known by its device and number (inode), where the
/// system has those: the number must not become that of another file, so hold what keeps it, such as
/// the bound socket. On systems other than Unix any file at the path is taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl BoundFile {
    /// The file that is at `path` now; of a link, the link itself.
    ///
    /// A relative path means what it means at the time of the call, whatever the working directory
    /// becomes.
    ///
    /// # Errors
    ///
    /// There is no such file (`NotFound`), or it cannot be looked at.
    pub fn at(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path::absolute(path)?;
        let identity = identity(&fs::symlink_metadata(&path)?);
        Ok(Self { path, identity })
    }

    /// Its path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what is at its path is this very file, not a link to it. Asks the system.
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|file| identity(&file) == self.identity)
    }

    /// What keeps others from connecting: it is gone, or another is in its place. Asks the system.
    ///
    /// A link in its place that leads to it is as good, since who connects follows it. What cannot be
    /// looked at is not taken for lost.
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

/// Whether there is nothing at the path, perhaps since what was a directory is none any more.
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
