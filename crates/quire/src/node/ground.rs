//! What a quire stands on: its data directory, and a database with the passwords for it. Knows no service.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use quire_postgres::{Options, Server};
use quire_store::Database;
use quire_types::{ErrorKind, Secret};

use crate::config::Config;
use crate::failure::Failure;

/// Makes the directories that are not there.
pub(super) fn prepare(data: &Path) -> Result<(), Failure> {
    // Content is below `objects` and `postgres`, which nobody else may read; the directory itself must
    // let the server's user through when quire runs as root.
    let mode = if rustix::process::geteuid().is_root() {
        0o711
    } else {
        0o700
    };
    let create = |path: &Path, mode: u32| {
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .map_err(|error| {
                Failure::new(
                    ErrorKind::Unavailable,
                    format!(
                        "can't create {}: {error}; choose another place with --data",
                        path.display()
                    ),
                )
            })
    };
    create(data, mode)?;
    create(&data.join("objects"), 0o700)?;
    create(&data.join("copies"), 0o700)?;
    create(&data.join("secrets"), 0o700)
}

/// The database that the configuration names, or a server of our own, started or joined.
pub(super) async fn database(
    config: &Config,
    data: &Path,
) -> Result<(Database, Option<Server>), Failure> {
    if let Some(url) = &config.database.url {
        let password = role_password(data)?;
        let expose =
            |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        let app = expose(&config.database.app_url);
        let worker = expose(&config.database.worker_url);
        return Ok((
            Database::remote(url.expose(), app.as_deref(), worker.as_deref(), &password)?,
            None,
        ));
    }
    let options = Options {
        binaries: config.database.binaries.clone(),
        ..Options::new(data.join("postgres"))
    };
    let server = Server::open(options).await?;
    let database = Database::private(
        &server.socket_dir(),
        server.port(),
        server.admin_user(),
        "quire",
    );
    Ok((database, Some(server)))
}

/// The password of quire's own roles on a server that wants one; made once, readable by this user only.
fn role_password(data: &Path) -> Result<String, Failure> {
    let path = data.join("secrets/database-roles");
    let failed = |error: std::io::Error| Failure::internal(format!("{}: {error}", path.display()));
    if let Ok(password) = fs::read_to_string(&path) {
        return Ok(password.trim().to_owned());
    }
    let mut random = [0_u8; 24];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .map_err(failed)?;
    let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    file.write_all(password.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(password)
}
