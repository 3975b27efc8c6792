//! `quire watch`: the files of a folder, as they come and change, until it is stopped.
//!
//! It looks again and again, since not every file system tells about changes. Content that is known is no news, so it
//! may be stopped and started at any time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use quire_store::sources::Added;

use super::add::{From, Input, add, folder, notebook};
use super::{tenant, until};
use crate::cli::WatchArgs;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

/// How a file looked.
#[derive(Clone, Copy, PartialEq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

/// Files as they were at the last look, and whether they were added like that.
#[derive(Default)]
struct Known(HashMap<PathBuf, (Stamp, bool)>);

impl Known {
    /// Those that stand still since the last look and are not added. One that changes is still being written.
    fn news(&mut self, now: Vec<(Input, PathBuf, Stamp)>) -> Vec<(Input, PathBuf)> {
        let before = std::mem::take(&mut self.0);
        let mut news = Vec::new();
        for (input, path, stamp) in now {
            let was = before.get(&path).filter(|(was, _)| *was == stamp);
            let is_added = was.is_some_and(|(_, is_added)| *is_added);
            self.0.insert(path.clone(), (stamp, is_added));
            if was.is_some() && !is_added {
                news.push((input, path));
            }
        }
        news
    }

    fn settle(&mut self, path: &Path) {
        if let Some((_, is_added)) = self.0.get_mut(path) {
            *is_added = true;
        }
    }
}

pub(super) async fn run(
    args: &WatchArgs,
    node: &Node,
    output: &Output,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    drop(look(&args.dir)?);
    let placement = tenant(&node.store, &args.tenant).await?.placement();
    let notebook = notebook(node, placement, &args.notebook, output).await?;
    let services = node.services().await?;
    let enough = stop.child_token();
    let worker = node.work(&services, None, enough.clone());
    output.note(format!("watching {}; Ctrl-C ends it", args.dir.display()));
    let mut known = Known::default();
    let watching = async {
        loop {
            match look(&args.dir) {
                Ok(found) => {
                    for (input, path) in known.news(found) {
                        let name = &input.name;
                        let groups = args.groups.as_ref();
                        match add(&services, placement, notebook, groups, &input).await {
                            Ok(added) => {
                                output.line(format!("{name}: {}", word(&added)));
                                known.settle(&path);
                            }
                            // It is tried again at the next look.
                            Err(failure) if failure.kind().is_transient() => {
                                output.note(format!("{name}: {}", failure.message()));
                            }
                            Err(failure) => {
                                output.note(format!("{name} is left out: {}", failure.message()));
                                known.settle(&path);
                            }
                        }
                    }
                }
                // Perhaps it is on a disk that comes back.
                Err(failure) => output.note(failure.message()),
            }
            tokio::time::sleep(Duration::from_secs(args.every)).await;
        }
    };
    let _: Option<()> = until(stop, watching).await;
    enough.cancel();
    super::serve::finished(worker).await
}

/// The files below a folder.
fn look(dir: &Path) -> Result<Vec<(Input, PathBuf, Stamp)>, Failure> {
    let mut inputs = Vec::new();
    folder(dir, dir, &mut inputs)?;
    let stamped = inputs.into_iter().filter_map(|input| {
        let From::File(path) = &input.from else {
            return None;
        };
        // Gone since the folder was read: the next look decides.
        let metadata = path.symlink_metadata().ok()?;
        let stamp = Stamp {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
        };
        let path = path.clone();
        Some((input, path, stamp))
    });
    Ok(stamped.collect())
}

fn word(added: &Added) -> &'static str {
    match added {
        Added::Created(_) => "created",
        Added::Updated(_) => "updated",
        Added::Duplicate(_) => "duplicate",
    }
}
