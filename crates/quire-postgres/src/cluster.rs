//! Making the data directory, and finding the binaries that fit it. Refuses to know running servers.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::binaries::Binaries;
use crate::layout::{Layout, private_dir};
use crate::server::ADMIN_USER;
use crate::{Error, Options};

/// Unfinished data directories start with this; they are rubbish once nobody holds the gate.
const UNFINISHED: &str = "data.new-";

/// The binaries for the data in `layout`, which is made first when there is none. Needs the gate.
pub(crate) async fn prepare(layout: &Layout, options: &Options) -> Result<Binaries, Error> {
    sweep(layout);
    let configured = options.binaries.as_deref();
    match written_by(&layout.data)? {
        Some(major) => {
            take_over(&layout.data, &layout.account)?;
            Binaries::find_major(configured, major, &layout.data)
        }
        None => {
            let binaries = Binaries::find(configured)?;
            create(layout, &binaries).await?;
            Ok(binaries)
        }
    }
}

/// The major version in `PG_VERSION`, or `None` when the data directory is absent or empty.
fn written_by(data: &Path) -> Result<Option<u32>, Error> {
    let path = data.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => Err(Error::ForeignData(data.to_owned())),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let occupied = fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some());
            if occupied {
                return Err(Error::ForeignData(data.to_owned()));
            }
            Ok(None)
        }
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

/// Builds the cluster beside its place and renames it, so that an interrupted `initdb` leaves no half.
async fn create(layout: &Layout, binaries: &Binaries) -> Result<(), Error> {
    let started = std::time::Instant::now();
    let unfinished = layout
        .dir
        .join(format!("{UNFINISHED}{}", std::process::id()));
    let mut result = initdb(layout, binaries, &unfinished, "C.UTF-8").await;
    if let Err(Error::Initdb { output, .. }) = &result
        && output.contains("locale")
    {
        fs::remove_dir_all(&unfinished).map_err(Error::io("remove", &unfinished))?;
        result = initdb(layout, binaries, &unfinished, "C").await;
    }
    result?;

    fs::rename(&unfinished, &layout.data).map_err(Error::io("put in place", &layout.data))?;
    let sync = fs::File::open(&layout.dir).and_then(|dir| dir.sync_all());
    sync.map_err(Error::io("sync", &layout.dir))?;
    tracing::info!(
        postgres.data = %layout.data.display(),
        postgres.version = %binaries.version,
        elapsed_ms = started.elapsed().as_millis(),
        "made the PostgreSQL data directory",
    );
    Ok(())
}

async fn initdb(
    layout: &Layout,
    binaries: &Binaries,
    target: &Path,
    locale: &str,
) -> Result<(), Error> {
    private_dir(target, &layout.account)?;
    let program = binaries.program("initdb");
    let output = layout
        .account
        .command(&program, &layout.dir)
        .arg("-D")
        .arg(target)
        .args(["-U", ADMIN_USER, "--auth=trust", "--encoding=UTF8"])
        .arg(format!("--locale={locale}"))
        .arg("--data-checksums")
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Error::io("run", &program))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Error::Initdb {
        data: layout.data.clone(),
        output: words.split_whitespace().collect::<Vec<_>>().join(" "),
    })
}

/// Removes what an interrupted `initdb` left. That one may still be running for a moment without its
/// parent and make removal fail; then the next start does it.
fn sweep(layout: &Layout) {
    let Ok(entries) = fs::read_dir(&layout.dir) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            continue;
        }
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "cannot remove an unfinished data directory");
        }
    }
}

/// Gives data that root restored or copied to the user who runs the server.
fn take_over(data: &Path, account: &Account) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(data).map_err(Error::io("look at", data))?;
    if account.owns(&metadata) || !account.switches() {
        return Ok(());
    }
    let mut pending: Vec<PathBuf> = vec![data.to_owned()];
    while let Some(path) = pending.pop() {
        account.give(&path)?;
        let metadata = fs::symlink_metadata(&path).map_err(Error::io("look at", &path))?;
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).map_err(Error::io("list", &path))?;
            pending.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    Ok(())
}
