//! An environment of pinned Python packages in quire's cache, made once: what others are driven by.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::failure::Failure;
use crate::report::note;

/// The drivers of one suite, and what runs them.
pub(crate) struct Drivers {
    /// Where they are; as an absolute path.
    pub(crate) folder: PathBuf,
    /// Where their packages are.
    pub(crate) place: PathBuf,
    /// The interpreter that has them.
    pub(crate) python: PathBuf,
}

impl Drivers {
    /// Installs what `requirements.txt` of `peers/<suite>` names and is not there yet.
    ///
    /// The text of a failure is for the reader: without others a suite still measures quire.
    pub(crate) async fn install(peers: &Path, suite: &str) -> Result<Self, Failure> {
        let folder = std::path::absolute(peers.join(suite));
        let folder = folder.map_err(Failure::doing("finding the drivers"))?;
        let wanted = std::fs::read_to_string(folder.join("requirements.txt"));
        let wanted = wanted.map_err(|_| {
            Failure::Missing(format!(
                "{} has no drivers; name their folder with --peers",
                folder.display()
            ))
        })?;
        let place = crate::cache_dir().join("peers").join(suite);
        let drivers = Self {
            folder,
            python: place.join("bin/python"),
            place,
        };
        let installed = drivers.place.join("installed.txt");
        if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
            return Ok(drivers);
        }
        note(format!("{suite}: installing the peers"));
        let mut venv = Command::new("python3");
        run(venv.args(["-m", "venv"]).arg(&drivers.place)).await?;
        let mut whole = true;
        let packages = wanted.lines().filter(|line| !line.starts_with('#'));
        // One by one: one that can't be had leaves the others.
        for package in packages {
            let mut pip = Command::new(&drivers.python);
            pip.args(["-m", "pip", "install", "--quiet", package]);
            if let Err(failure) = run(&mut pip).await {
                whole = false;
                note(format!("{suite}: can't install {package}: {failure}"));
            }
        }
        if whole {
            std::fs::write(&installed, wanted).map_err(Failure::doing(installed.display()))?;
        }
        Ok(drivers)
    }
}

/// Runs a command to its end; a failure is the last line that it complained with.
pub(crate) async fn run(command: &mut Command) -> Result<(), Failure> {
    let program = command.as_std().get_program().display().to_string();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = output.await.map_err(Failure::doing(program))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().rfind(|line| !line.trim().is_empty());
    Err(Failure::failed(last.unwrap_or("it failed without a word")))
}
