//! Why a store does not open: each text names the file and says what to do.

use super::file::FORMAT;
use rusqlite::ErrorCode;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why a store does not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server has it.
    #[error("{}: in use by another server: stop that one, or choose another data folder", file.display())]
    Locked {
        /// The store's file.
        file: PathBuf,
    },
    /// The folder is not there.
    #[error("{}: its folder does not exist: create it, or choose another data folder", file.display())]
    NoFolder {
        /// The store's file.
        file: PathBuf,
    },
    /// There is nothing.
    #[error("{}: does not exist", file.display())]
    NoFile {
        /// The store's file.
        file: PathBuf,
    },
    /// We may not write there.
    #[error(
        "{}: no permission to read and write it: start as its owner, or choose another data folder",
        file.display()
    )]
    Permission {
        /// The store's file.
        file: PathBuf,
    },
    /// Nobody may write there.
    #[error(
        "{}: its file system is read-only: make it writable, or choose another data folder",
        file.display()
    )]
    ReadOnly {
        /// The store's file.
        file: PathBuf,
    },
    /// Some other program's file, or none of SQLite's at all.
    #[error("{}: not a store of everynode: choose another data folder, or move the file away", file.display())]
    Foreign {
        /// The store's file.
        file: PathBuf,
    },
    /// Written by a version with another format.
    #[error(
        "{}: written in format {found}, this version reads format {FORMAT}: start the version that wrote it, \
         or move the file away to begin an empty cluster",
        file.display()
    )]
    Format {
        /// The store's file.
        file: PathBuf,
        /// The number that stands in it.
        found: i64,
    },
    /// Not what we wrote.
    #[error(
        "{}: damaged ({what}), and was left as it is: check the disk and bring back a backup, \
         or move the file away to begin an empty cluster",
        file.display()
    )]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where it differs.
        what: String,
    },
    /// No room to open.
    #[error("{}: no space left on the disk: free some space and start again", file.display())]
    Full {
        /// The store's file.
        file: PathBuf,
    },
    /// Anything else that the system says.
    #[error("{}: cannot be opened", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What it says.
        #[source]
        source: std::io::Error,
    },
    /// Anything else that SQLite says.
    #[error("{}: cannot be opened", file.display())]
    Sqlite {
        /// The file.
        file: PathBuf,
        /// What it says.
        #[source]
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// The same about the file of which `copy` is a copy.
    pub(super) fn about(mut self, copy: &Path, original: &Path) -> Self {
        let (Self::Locked { file }
        | Self::NoFolder { file }
        | Self::NoFile { file }
        | Self::Permission { file }
        | Self::ReadOnly { file }
        | Self::Foreign { file }
        | Self::Format { file, .. }
        | Self::Damaged { file, .. }
        | Self::Full { file }
        | Self::Io { file, .. }
        | Self::Sqlite { file, .. }) = &mut self;
        let suffix = file.as_os_str().to_string_lossy();
        let suffix =
            suffix.strip_prefix(&*copy.as_os_str().to_string_lossy()).unwrap_or_default().to_string();
        *file = super::file::with_suffix(original, &suffix);
        self
    }
}

/// What the system says, as advice.
pub(super) fn io_error(path: &Path, source: std::io::Error) -> OpenError {
    let file = path.to_path_buf();
    match source.kind() {
        ErrorKind::PermissionDenied => OpenError::Permission { file },
        ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly { file },
        ErrorKind::NotFound | ErrorKind::NotADirectory => OpenError::NoFolder { file },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => OpenError::Full { file },
        _ => OpenError::Io { file, source },
    }
}

/// What SQLite says, as advice.
pub(super) fn sqlite_error(path: &Path, source: rusqlite::Error) -> OpenError {
    let file = path.to_path_buf();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { file },
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            OpenError::Permission { file }
        }
        Some(ErrorCode::DiskFull) => OpenError::Full { file },
        Some(ErrorCode::NotADatabase) => OpenError::Foreign { file },
        // Unknown is what SQLite says of a table or column that is not there.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
            OpenError::Damaged { file, what: source.to_string() }
        }
        Some(_) => OpenError::Sqlite { file, source },
        // Not from the disk, but from us: a column of another type, a row that is missing.
        None => OpenError::Damaged { file, what: source.to_string() },
    }
}
