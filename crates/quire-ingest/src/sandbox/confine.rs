//! What the reading child takes away from itself, and with it from every program it starts.
//!
//! Resource limits always hold. The two kernel filters hold where the kernel offers them, and the
//! child says which did.

use std::collections::BTreeMap;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde::{Deserialize, Serialize};

const MEMORY_BYTES: u64 = 2 << 30;
const FILE_BYTES: u64 = 512 << 20;
const OPEN_FILES: u64 = 64;

/// What the kernel keeps a reading child from doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Every resource limit is set.
    pub limits: bool,
    /// It can open no socket and look into no other process (seccomp).
    pub network: bool,
    /// It sees system files and its own folder only (Landlock).
    pub files: bool,
}

/// Confines this process for the rest of its life. The current directory stays writable; `cpu_seconds` counts
/// for this process, and anew for each that it starts.
pub fn confine(cpu_seconds: u64) -> Confinement {
    Confinement {
        limits: limit_resources(cpu_seconds),
        files: close_files().unwrap_or(false),
        network: close_network().is_some(),
    }
}

fn limit_resources(cpu_seconds: u64) -> bool {
    let limits = [
        (Resource::As, MEMORY_BYTES),
        (Resource::Cpu, cpu_seconds),
        (Resource::Fsize, FILE_BYTES),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Core, 0),
    ];
    limits.into_iter().all(|(resource, most)| {
        // One second between the soft and the hard limit: the first sends a signal with a name.
        let hard = if resource == Resource::Cpu {
            most + 1
        } else {
            most
        };
        setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: Some(hard),
            },
        )
        .is_ok()
    })
}

/// Reading is left for libraries, fonts and poppler itself; writing only for the working folder.
fn close_files() -> Option<bool> {
    const SYSTEM: [&str; 8] = [
        "/usr",
        "/lib",
        "/lib64",
        "/bin",
        "/etc/ld.so.cache",
        "/etc/fonts",
        "/dev/urandom",
        "/nix/store",
    ];
    let abi = ABI::V3;
    let own = std::env::current_dir().ok()?;
    // A child that was started by hand somewhere must not get that whole tree.
    let own = if own == Path::new("/") {
        None
    } else {
        Some(own)
    };
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(SYSTEM, AccessFs::from_read(abi))))
        .and_then(|rules| {
            rules.add_rules(path_beneath_rules(
                ["/dev/null"],
                AccessFs::ReadFile | AccessFs::WriteFile,
            ))
        })
        .and_then(|rules| {
            rules.add_rules(path_beneath_rules(
                own,
                AccessFs::from_all(abi) & !AccessFs::Execute,
            ))
        })
        .and_then(|rules| rules.restrict_self())
        .ok()?;
    Some(status.ruleset != RulesetStatus::NotEnforced)
}

fn close_network() -> Option<()> {
    let denied = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_io_uring_setup,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_bpf,
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
    ];
    let rules: BTreeMap<_, _> = denied.into_iter().map(|call| (call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        refuse,
        std::env::consts::ARCH.try_into().ok()?,
    )
    .ok()?;
    let program: BpfProgram = filter.try_into().ok()?;
    seccompiler::apply_filter(&program).ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// Both filters bind the thread that asks for them and what it starts, so a thread can try them.
    #[test]
    fn what_is_reported_holds() {
        let tried = std::thread::spawn(|| {
            let files = close_files().unwrap_or(false);
            let network = close_network().is_some();
            if files {
                assert!(std::fs::read("/etc/passwd").is_err());
                assert!(std::fs::write("/var/tmp/quire-confine-test", "x").is_err());
                assert!(std::fs::read_dir("/usr").is_ok());
            }
            if network {
                assert!(TcpListener::bind("127.0.0.1:0").is_err());
                assert!(UdpSocket::bind("127.0.0.1:0").is_err());
                assert!(UnixDatagram::unbound().is_err());
            }
            let child = std::process::Command::new("/usr/bin/cat")
                .arg("/etc/passwd")
                .output();
            assert!(!files || child.is_ok_and(|output| !output.status.success()));
        });
        assert!(
            tried.join().is_ok(),
            "a level was reported that does not hold"
        );
    }
}
