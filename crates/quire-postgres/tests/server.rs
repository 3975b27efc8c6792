//! The life of a real server: first start, sharing, killing, adopting, fencing, supervising.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::Duration;

use quire_postgres::{Binaries, Error, Options, Server};
use rustix::process::Signal;
use support::{Outcome, Place, kill, lives, query, query_with, until};

#[tokio::test]
async fn first_start_and_clean_stop() -> Outcome {
    let place = Place::new()?;
    let server = Server::open(place.options()).await?;
    let pid = server.pid();
    assert!(lives(pid) && !server.adopted());
    assert_eq!(
        query(
            &server,
            "show server_encoding; show data_checksums; show fsync"
        )?,
        "UTF8\non\non"
    );
    assert_eq!(query(&server, "show listen_addresses")?, "");
    assert_eq!(query(&server, "show shared_buffers")?, "128MB");

    let run = fs::metadata(server.socket_dir())?;
    assert_eq!(run.mode() & 0o777, 0o700);
    let process = fs::metadata(format!("/proc/{pid}"))?;
    assert_ne!(process.uid(), 0, "the server never runs as root");
    assert_eq!(run.uid(), process.uid());

    server.close().await?;
    assert!(!lives(pid));
    assert!(!place.data().join("postmaster.pid").exists());
    assert_eq!(place.server_processes()?, 0);
    Ok(())
}

#[tokio::test]
async fn the_last_one_out_stops_it() -> Outcome {
    let place = Place::new()?;
    let first = Server::open(place.options()).await?;
    let second = Server::open(place.options()).await?;
    let pid = first.pid();
    assert_eq!(second.pid(), pid);
    assert!(second.adopted() && !first.adopted());

    first.close().await?;
    assert!(lives(pid));
    assert_eq!(query(&second, "select 1")?, "1");
    second.close().await?;
    assert!(!lives(pid));
    Ok(())
}

/// Services spawn these futures, so they must be allowed to move between threads.
fn sendable<T: Send>(future: T) -> T {
    future
}

#[tokio::test]
async fn many_open_at_once_and_share_one() -> Outcome {
    let place = Place::new()?;
    let (a, b, c) = tokio::join!(
        sendable(Server::open(place.options())),
        Server::open(place.options()),
        Server::open(place.options()),
    );
    let (a, b, c) = (a?, b?, c?);
    assert!(a.pid() == b.pid() && b.pid() == c.pid());
    let pid = a.pid();
    sendable(a.supervise(std::future::ready(()))).await;
    let (a, b, c) = tokio::join!(sendable(a.close()), b.close(), c.close());
    a.and(b).and(c)?;
    assert!(!lives(pid));
    Ok(())
}

#[tokio::test]
async fn data_survives_a_killed_postmaster() -> Outcome {
    let place = Place::new()?;
    let server = Server::open(place.options()).await?;
    query(
        &server,
        "create table kept (id int); insert into kept values (42)",
    )?;
    let killed = server.pid();
    kill(killed, Signal::KILL);
    drop(server);

    let server = Server::open(place.options()).await?;
    assert_ne!(server.pid(), killed);
    assert_eq!(query(&server, "select id from kept")?, "42");
    server.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_dropped_handle_leaves_a_server_to_adopt() -> Outcome {
    let place = Place::new()?;
    let server = Server::open(place.options()).await?;
    let pid = server.pid();
    drop(server);
    assert!(lives(pid));

    let server = Server::open(place.options()).await?;
    assert_eq!(server.pid(), pid);
    assert!(server.adopted());
    server.close().await?;
    assert!(!lives(pid));
    Ok(())
}

/// Holds the server of `$QUIRE_TEST_HOLD` until it is killed; does nothing in an ordinary run.
#[tokio::test]
async fn holder_process() -> Outcome {
    let Some(dir) = std::env::var_os("QUIRE_TEST_HOLD") else {
        return Ok(());
    };
    let server = Server::open(Options::new(dir)).await?;
    std::future::pending::<()>().await;
    server.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_killed_process_gives_up_its_share() -> Outcome {
    let place = Place::new()?;
    let mut holder = Command::new(std::env::current_exe()?)
        .args(["holder_process", "--exact"])
        .env("QUIRE_TEST_HOLD", place.dir())
        .stdout(Stdio::null())
        .spawn()?;
    let ready = || {
        fs::read_to_string(place.data().join("postmaster.pid"))
            .is_ok_and(|text| text.contains("ready"))
    };
    assert!(until(Duration::from_secs(60), ready).await);

    let server = Server::open(place.options()).await?;
    assert!(server.adopted());
    let pid = server.pid();
    holder.kill()?;
    holder.wait()?;
    assert!(
        lives(pid),
        "the server outlives the process that started it"
    );
    server.close().await?;
    assert!(!lives(pid), "the killed process holds no share");
    Ok(())
}

#[tokio::test]
async fn a_note_that_names_somebody_else_is_removed() -> Outcome {
    let place = Place::new()?;
    Server::open(place.options()).await?.close().await?;

    // The same user as the server's, because the server itself would refuse to start over it.
    let mut stranger = place.as_server_user("/bin/sleep")?.arg("600").spawn()?;
    let note = format!(
        "{}\n{}\n1\n5432\n\n\n",
        stranger.id(),
        place.data().display()
    );
    fs::write(place.data().join("postmaster.pid"), &note)?;
    let server = Server::open(place.options()).await?;
    assert!(!server.adopted());
    assert_eq!(query(&server, "select 1")?, "1");
    assert!(
        stranger.try_wait()?.is_none(),
        "the stranger is not touched"
    );
    server.close().await?;
    stranger.kill()?;
    stranger.wait()?;
    Ok(())
}

#[tokio::test]
async fn a_note_that_names_a_dead_process_is_harmless() -> Outcome {
    let place = Place::new()?;
    Server::open(place.options()).await?.close().await?;
    let mut gone = Command::new("/bin/true").spawn()?;
    gone.wait()?;
    let note = format!("{}\n{}\n1\n5432\n\n\n", gone.id(), place.data().display());
    fs::write(place.data().join("postmaster.pid"), note)?;
    Server::open(place.options()).await?.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_accepts_nobody_is_fenced() -> Outcome {
    let place = Place::new()?;
    let server = Server::open(place.options()).await?;
    let stuck = server.pid();
    query(&server, "create table kept as select 7 as id")?;
    // Halted, it stays alive and its note says ready, but nobody gets an answer.
    kill(stuck, Signal::STOP);
    drop(server);

    let mut options = place.options();
    options.start_timeout = Duration::from_secs(20);
    let server = Server::open(options).await?;
    assert_ne!(server.pid(), stuck);
    assert!(!lives(stuck));
    assert_eq!(query(&server, "select id from kept")?, "7");
    server.close().await?;
    Ok(())
}

#[tokio::test]
async fn an_interrupted_initdb_leaves_nothing_behind() -> Outcome {
    let place = Place::new()?;
    let rubbish = place.dir().join("data.new-4711");
    fs::create_dir_all(rubbish.join("base"))?;
    fs::write(rubbish.join("PG_VERSION"), "15\n")?;
    let server = Server::open(place.options()).await?;
    assert!(!rubbish.exists());
    assert_eq!(query(&server, "select 1")?, "1");
    server.close().await?;
    Ok(())
}

/// Named binaries that stand in for a system without the locale C.UTF-8.
#[tokio::test]
async fn a_system_without_the_locale_gets_the_plain_one() -> Outcome {
    let place = Place::new()?;
    let real = Binaries::find(None)?;
    let postgres = format!(
        "#!/bin/sh\nexec {} \"$@\"\n",
        real.program("postgres").display()
    );
    let initdb = format!(
        "#!/bin/sh\ncase \"$*\" in *C.UTF-8*) echo 'initdb: error: invalid locale name' >&2; exit 1;; esac\nexec {} \"$@\"\n",
        real.program("initdb").display()
    );
    let binaries = place.programs(&[("postgres", &postgres), ("initdb", &initdb)])?;
    let mut options = place.options();
    options.binaries = Some(binaries);
    let server = Server::open(options).await?;
    let psql = real.program("psql");
    assert_eq!(
        query_with(&psql, &server, "show lc_collate; show server_encoding")?,
        "C\nUTF8"
    );
    server.close().await?;
    Ok(())
}

#[tokio::test]
async fn supervise_brings_a_killed_server_back() -> Outcome {
    let place = Place::new()?;
    let server = Server::open(place.options()).await?;
    let killed = server.pid();
    let story = async {
        kill(killed, Signal::KILL);
        let back = until(Duration::from_secs(30), || server.pid() != killed).await;
        assert!(back && lives(server.pid()));
        assert_eq!(query(&server, "select 1")?, "1");
        assert!(
            !std::path::Path::new(&format!("/proc/{killed}")).exists(),
            "no zombie stays"
        );
        Outcome::Ok(())
    };
    let (told, done) = tokio::sync::oneshot::channel::<()>();
    let (story, ()) = tokio::join!(
        async {
            let result = story.await;
            told.send(()).ok();
            result
        },
        server.supervise(async {
            done.await.ok();
        }),
    );
    story?;
    let pid = server.pid();
    server.close().await?;
    assert!(!lives(pid));
    Ok(())
}

#[tokio::test]
async fn a_long_path_gets_a_short_socket_directory() -> Outcome {
    let place = Place::below(&"deep/".repeat(25))?;
    let server = Server::open(place.options()).await?;
    let run = server.socket_dir();
    assert!(run.as_os_str().len() < 60, "{}", run.display());
    assert_eq!(fs::metadata(&run)?.mode() & 0o777, 0o700);
    assert_eq!(query(&server, "select 1")?, "1");
    server.close().await?;

    // Somebody else may have taken the name in the shared place.
    fs::remove_dir_all(&run)?;
    symlink("/var", &run)?;
    let refused = Server::open(place.options()).await;
    fs::remove_file(&run)?;
    assert!(matches!(refused, Err(Error::NotOwner { .. })));
    Ok(())
}

#[tokio::test]
async fn a_parent_that_the_server_cannot_pass_is_named() -> Outcome {
    let place = Place::new()?;
    if !place.are_root() {
        return Ok(());
    }
    let closed = place.dir().join("closed");
    fs::create_dir_all(&closed)?;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700))?;
    let refused = Server::open(Options::new(closed.join("postgres"))).await;
    let text = refused
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(text.contains("closed is not accessible for user"), "{text}");
    Ok(())
}

#[tokio::test]
async fn foreign_data_and_other_majors_are_left_alone() -> Outcome {
    let place = Place::new()?;
    fs::create_dir_all(place.data())?;
    fs::write(place.data().join("thesis.txt"), "mine")?;
    let refused = Server::open(place.options()).await;
    assert!(matches!(refused, Err(Error::ForeignData(_))));

    fs::write(place.data().join("PG_VERSION"), "99\n")?;
    let refused = Server::open(place.options()).await;
    assert!(matches!(refused, Err(Error::OtherMajor { major: 99, .. })));
    assert_eq!(fs::read_to_string(place.data().join("thesis.txt"))?, "mine");
    Ok(())
}

#[tokio::test]
async fn a_wrong_setting_shows_what_the_server_says() -> Outcome {
    let place = Place::new()?;
    let mut options = place.options();
    options.settings = vec![("work_mem".into(), "plenty".into())];
    let refused = Server::open(options).await;
    let text = refused
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(text.contains("work_mem"), "{text}");

    let mut options = place.options();
    options.settings = vec![("listen_addresses".into(), "*".into())];
    assert!(matches!(
        Server::open(options).await,
        Err(Error::BadSetting(_))
    ));
    Server::open(place.options()).await?.close().await?;
    Ok(())
}

#[tokio::test]
async fn the_newest_binaries_are_found_and_can_be_named() -> Outcome {
    let found = Binaries::find(None)?;
    assert!(found.version.major >= 15);
    assert_eq!(Binaries::find(Some(&found.dir))?, found);
    Ok(())
}
