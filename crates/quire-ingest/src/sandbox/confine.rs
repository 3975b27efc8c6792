//! What the reading child takes away from itself, and with it from every program it starts.
//!
//! Resource limits always hold. The kernel filters hold where the kernel offers them, and the child says which did.
//!
//! How many processes it may start is not limited: the kernel counts them by user, with all that the service and its
//! database run, so a limit would stop good files on a busy machine and no fork bomb before it. What it starts can't
//! leave its process group and ends with it, and whoever runs the service bounds their number from outside (`TasksMax`,
//! `pids.max`). A seccomp filter can't tell a signal to a child from one to others, so signals are Landlock's (Linux 6.12);
//! namespaces of users would bound both, and are off on many machines.

use std::collections::BTreeMap;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use serde::{Deserialize, Serialize};

const MEMORY_BYTES: u64 = 2 << 30;
const FILE_BYTES: u64 = 512 << 20;
const OPEN_FILES: u64 = 64;

/// What the kernel keeps a reading child from doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Every resource limit is set.
    pub limits: bool,
    /// It can open no socket, look into no other process, change no limit or priority of one, and leave neither its
    /// process group nor its namespaces (seccomp).
    pub network: bool,
    /// It sees system files and its own folder only (Landlock).
    pub files: bool,
    /// It can send signals to what it started only (Landlock).
    #[serde(default)]
    pub signals: bool,
}

/// Confines this process for the rest of its life. The current directory stays writable; `cpu_seconds` counts
/// for this process, and anew for each that it starts.
pub fn confine(cpu_seconds: u64) -> Confinement {
    Confinement {
        limits: limit_resources(cpu_seconds),
        files: close_files().unwrap_or(false),
        signals: close_signals().unwrap_or(false),
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

/// Signals reach only what runs under the same rules: this process and what it starts.
fn close_signals() -> Option<bool> {
    let status = Ruleset::default()
        .scope(Scope::Signal | Scope::AbstractUnixSocket)
        .and_then(Ruleset::create)
        .and_then(|rules| rules.restrict_self())
        .ok()?;
    Some(status.ruleset == RulesetStatus::FullyEnforced)
}

fn close_network() -> Option<()> {
    let refused = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_io_uring_setup,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        libc::SYS_perf_event_open,
        libc::SYS_bpf,
        libc::SYS_userfaultfd,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        libc::SYS_mount,
        libc::SYS_fsopen,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_chroot,
        libc::SYS_unshare,
        libc::SYS_setns,
        // What the parent ends, it ends by its process group.
        libc::SYS_setsid,
        libc::SYS_setpgid,
        libc::SYS_setpriority,
        libc::SYS_ioprio_set,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setattr,
        // Landlock knows no modes and owners of files.
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_fchmodat2,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chmod,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chown,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lchown,
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_fsetxattr,
    ];
    let mut rules: BTreeMap<_, _> = refused.into_iter().map(|call| (call, Vec::new())).collect();
    // Its own limits, which it may look at and lower.
    let of_others = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0).ok()?;
    rules.insert(
        libc::SYS_prlimit64,
        vec![SeccompRule::new(vec![of_others]).ok()?],
    );
    let namespaces = NAMESPACES.into_iter().map(|flag| {
        let op = SeccompCmpOp::MaskedEq(flag);
        let is_asked = SeccompCondition::new(0, SeccompCmpArgLen::Qword, op, flag).ok()?;
        SeccompRule::new(vec![is_asked]).ok()
    });
    rules.insert(libc::SYS_clone, namespaces.collect::<Option<_>>()?);
    refuse(rules, libc::EPERM)?;
    // What it asks for stands in memory, where no filter looks; whoever is told that there is no such call takes clone.
    refuse(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        libc::ENOSYS,
    )
}

/// What `clone` makes a process of its own world with.
const NAMESPACES: [u64; 7] = [
    libc::CLONE_NEWUSER as u64,
    libc::CLONE_NEWPID as u64,
    libc::CLONE_NEWNS as u64,
    libc::CLONE_NEWNET as u64,
    libc::CLONE_NEWIPC as u64,
    libc::CLONE_NEWUTS as u64,
    libc::CLONE_NEWCGROUP as u64,
];

/// Answers these calls with an error from now on.
fn refuse(rules: BTreeMap<i64, Vec<SeccompRule>>, error: i32) -> Option<()> {
    let refuse = SeccompAction::Errno(error as u32);
    let arch = std::env::consts::ARCH.try_into().ok()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).ok()?;
    let program: BpfProgram = filter.try_into().ok()?;
    seccompiler::apply_filter(&program).ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixDatagram;

    use rustix::process::test_kill_process;

    use super::*;

    /// Both filters bind the thread that asks for them and what it starts, so a thread can try them.
    #[test]
    fn what_is_reported_holds() {
        let Ok(folder) = tempfile::tempdir() else {
            return;
        };
        let path = folder.path().to_owned();
        let tried = std::thread::spawn(move || {
            let files = close_files().unwrap_or(false);
            let signals = close_signals().unwrap_or(false);
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
                assert!(rustix::process::setsid().is_err());
                assert!(
                    rustix::process::getrlimit(Resource::Nofile)
                        .current
                        .is_some()
                );
                let mode = std::fs::Permissions::from_mode(0o700);
                assert!(std::fs::set_permissions(&path, mode).is_err());
            }
            if signals {
                let parent = rustix::process::getppid();
                assert!(parent.is_none_or(|other| test_kill_process(other).is_err()));
            }
            let tool = |program: &str, arguments: &[&str]| {
                let run = std::process::Command::new(program).args(arguments).output();
                run.is_ok_and(|output| output.status.success())
            };
            let parent = std::process::id().to_string();
            if network {
                assert!(tool("/usr/bin/true", &[]));
                assert!(!tool("/usr/bin/setsid", &["/usr/bin/true"]));
                assert!(!tool("/usr/bin/prlimit", &["--pid", &parent, "--core=0"]));
                assert!(!tool("/usr/bin/unshare", &["--user", "/usr/bin/true"]));
            }
            if signals {
                assert!(!tool("/usr/bin/kill", &["-CONT", &parent]));
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
