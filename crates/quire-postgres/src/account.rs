//! The system user that runs the server: ourselves, or for root somebody with fewer rights, because
//! PostgreSQL refuses root. Refuses to know what the directories are for.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{getegid, geteuid};
use tokio::process::Command;

use crate::Error;

/// Who runs the server.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
    name: String,
    /// Whether we are root and have to become this user.
    switch: bool,
}

/// One line of `/etc/passwd`, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// The user who has to run a server in `dir`. For root that is whoever owns the data already, then
    /// whoever owns the directory, then `postgres`, then `nobody`.
    pub(crate) fn for_dir(dir: &Path, data: &Path) -> Result<Account, Error> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let entries = passwd();
        let owner = fs::metadata(dir).map_err(Error::io("look at", dir))?;
        if uid != 0 {
            if owner.uid() != uid {
                return Err(Error::NotOwner {
                    path: dir.to_owned(),
                    owner: name_of(&entries, owner.uid()),
                    user: name_of(&entries, uid),
                });
            }
            return Ok(Account {
                uid,
                gid,
                name: name_of(&entries, uid),
                switch: false,
            });
        }

        let data_owner = fs::metadata(data).ok();
        for owner in data_owner.iter().chain([&owner]) {
            if owner.uid() != 0 {
                return Ok(Self::stand_in(owner_entry(&entries, owner)));
            }
        }
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| entries.iter().find(|entry| entry.name == *name))
            .map(|entry| Self::stand_in(entry.clone()))
            .ok_or(Error::NoAccount)
    }

    fn stand_in(entry: Entry) -> Account {
        Account {
            uid: entry.uid,
            gid: entry.gid,
            name: entry.name,
            switch: true,
        }
    }

    /// The user's name, or its number when it has none.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether root runs quire, so that this is somebody else.
    pub(crate) fn switches(&self) -> bool {
        self.switch
    }

    /// A command of this user without our environment (it may hold secrets), in `dir`.
    pub(crate) fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .current_dir(dir)
            .stdin(Stdio::null());
        if self.switch {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Gives `path` to this user; a link itself, never what it points to.
    pub(crate) fn give(&self, path: &Path) -> Result<(), Error> {
        if self.switch {
            lchown(path, Some(self.uid), Some(self.gid)).map_err(Error::io("give away", path))?;
        }
        Ok(())
    }

    /// Whether this user owns a file with this metadata.
    pub(crate) fn owns(&self, metadata: &Metadata) -> bool {
        metadata.uid() == self.uid
    }

    /// The name of the owner of a file, for messages.
    pub(crate) fn owner_name(metadata: &Metadata) -> String {
        name_of(&passwd(), metadata.uid())
    }

    /// Fails when this user cannot pass through `dir` or one of its parents.
    pub(crate) fn check_reach(&self, dir: &Path) -> Result<(), Error> {
        if !self.switch {
            return Ok(());
        }
        let mut ancestors: Vec<&Path> = dir.ancestors().collect();
        ancestors.reverse();
        for path in ancestors {
            let metadata = fs::metadata(path).map_err(Error::io("look at", path))?;
            if !can_pass(&metadata, self.uid, self.gid) {
                return Err(Error::Unreachable {
                    path: path.to_owned(),
                    user: self.name.clone(),
                });
            }
        }
        Ok(())
    }
}

fn can_pass(directory: &Metadata, uid: u32, gid: u32) -> bool {
    let bit = if directory.uid() == uid {
        0o100
    } else if directory.gid() == gid {
        0o010
    } else {
        0o001
    };
    directory.mode() & bit != 0
}

fn owner_entry(entries: &[Entry], owner: &Metadata) -> Entry {
    let known = entries.iter().find(|entry| entry.uid == owner.uid());
    known.cloned().unwrap_or_else(|| Entry {
        name: owner.uid().to_string(),
        uid: owner.uid(),
        gid: owner.gid(),
    })
}

fn name_of(entries: &[Entry], uid: u32) -> String {
    match entries.iter().find(|entry| entry.uid == uid) {
        Some(entry) => entry.name.clone(),
        None => uid.to_string(),
    }
}

fn passwd() -> Vec<Entry> {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines().filter_map(parse_entry).collect()
}

fn parse_entry(line: &str) -> Option<Entry> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Entry { name, uid, gid })
}

#[cfg(test)]
mod tests;
