//! Who may start or stop the server, and who uses it. Refuses to know what is guarded.
//!
//! Both are kernel locks on open files: a process that dies, however it dies, lets go of them. The files
//! close on exec, so the server does not inherit them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Error;
use crate::layout::{Layout, open_own};

const RETRY: Duration = Duration::from_millis(50);

/// The right to start or stop the server; given back on drop.
#[derive(Debug)]
pub(crate) struct Gate {
    file: File,
}

/// A share in the server; given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    file: File,
}

impl Gate {
    /// Waits until nobody else starts or stops the server, at most for `patience`.
    pub(crate) async fn take(layout: &Layout, patience: Duration) -> Result<Gate, Error> {
        let path = layout.gate();
        let file = open_lock(&path)?;
        let started = Instant::now();
        while !try_exclusive(&file, &path)? {
            if started.elapsed() >= patience {
                return Err(Error::GateHeld {
                    dir: layout.dir.clone(),
                    holder: holder(&file),
                    waited_s: patience.as_secs(),
                });
            }
            tokio::time::sleep(RETRY).await;
        }
        let gate = Gate { file };
        gate.sign().map_err(Error::io("write", &path))?;
        Ok(gate)
    }

    /// Leaves our process id for those who wait.
    fn sign(&self) -> std::io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        write!(file, "{}", std::process::id())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Closing the file would do, unless another thread is just between fork and exec: its copy
        // would keep the lock for that moment.
        self.file.unlock().ok();
    }
}

impl Share {
    /// Says that we use the server. Needs the gate, so nobody is deciding to stop it meanwhile.
    pub(crate) fn take(layout: &Layout, _gate: &Gate) -> Result<Share, Error> {
        let path = layout.users();
        let file = open_lock(&path)?;
        file.lock_shared().map_err(Error::io("lock", &path))?;
        Ok(Share { file })
    }

    /// Gives the share back; true when nobody else has one.
    pub(crate) fn give_back(self, layout: &Layout, _gate: &Gate) -> Result<bool, Error> {
        let path = layout.users();
        self.file.unlock().map_err(Error::io("unlock", &path))?;
        try_exclusive(&self.file, &path)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.file.unlock().ok();
    }
}

fn open_lock(path: &Path) -> Result<File, Error> {
    open_own(path, OpenOptions::new().read(true).write(true))
}

fn try_exclusive(file: &File, path: &Path) -> Result<bool, Error> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", path)(source)),
    }
}

fn holder(file: &File) -> String {
    let mut pid = String::new();
    let mut file = file;
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_string(&mut pid));
    match read {
        Ok(length) if length > 0 => format!("quire process {}", pid.trim()),
        _ => "another quire process".to_owned(),
    }
}
