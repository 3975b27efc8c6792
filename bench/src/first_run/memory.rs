//! Memory of quire and everything it started, from /proc.

use std::collections::HashMap;
use std::fs;

use super::program::Quire;
use crate::failure::Failure;
use crate::report::line;

/// What a tree of processes holds in memory, in KiB.
pub(super) struct Memory {
    rss: u64,
    /// Pages that several processes share count once: each has its share of them.
    pss: u64,
    processes: Vec<(u32, String, u64)>,
}

impl Memory {
    /// Measures quire with its children, and PostgreSQL with its children should it have another parent.
    pub(super) fn of(quire: &Quire) -> Result<Self, Failure> {
        let roots = [Some(quire.pid()), quire.postmaster()];
        let mut memory = Self {
            rss: 0,
            pss: 0,
            processes: Vec::new(),
        };
        for pid in tree(roots.into_iter().flatten().collect()) {
            let path = format!("/proc/{pid}/smaps_rollup");
            let Ok(text) = fs::read_to_string(&path) else {
                // Ended meanwhile.
                continue;
            };
            let (Some(rss), Some(pss)) = (field(&text, "Rss:"), field(&text, "Pss:")) else {
                return Err(Failure::failed(format!("{path} has no Rss or Pss")));
            };
            memory.rss += rss;
            memory.pss += pss;
            memory.processes.push((pid, name(pid), pss));
        }
        Ok(memory)
    }

    pub(super) fn pss_mib(&self) -> f64 {
        mib(self.pss)
    }

    pub(super) fn print(&self, when: &str) {
        let names = |wanted: &str| {
            let own = self.processes.iter().filter(|(_, name, _)| name == wanted);
            own.map(|(_, _, pss)| pss).sum::<u64>()
        };
        line(format!(
            "memory {when}: {} processes, PSS {:.1} MiB (quire {:.1}, postgres {:.1}), sum of RSS {:.1} MiB",
            self.processes.len(),
            self.pss_mib(),
            mib(names("quire")),
            mib(names("postgres")),
            mib(self.rss),
        ));
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1_024.0
}

/// The processes and all that descend from them.
fn tree(mut found: Vec<u32>) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            && let Some(parent) = parent(pid)
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let more = children.remove(pid).unwrap_or_default();
        found.extend(more);
        next += 1;
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "PPid:")?.try_into().ok()
}

fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
