//! `doctor`: what this kernel, these privileges and a target allow.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::args::DoctorArgs;
use super::exit::Exit;
use super::{people_stdout, probe};
use crate::capture::{self, Feature};
use crate::check::{Check, CheckStatus, Concern};
use crate::privileges::{self, Set};
use crate::processes::read_status;
use crate::session;
use crate::view;

/// Capabilities by their numbers in `linux/capability.h`.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<Exit> {
    privileges::only_read(Set::empty());
    let mut checks = machine();
    let probed = probe::probe(args.pid, &missing_in(&checks));
    privileges::nothing();
    checks.extend(probed.checks);
    let mut stdout = people_stdout();
    view::doctor::write(&checks, &mut stdout)?;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    view::doctor::write_report(&release, &probed.report, &mut stdout)?;
    stdout.flush()?;
    Ok(exit(&checks))
}

/// The names of what is missing.
fn missing_in(checks: &[Check]) -> Vec<String> {
    let missing = checks.iter().filter(|it| it.status == CheckStatus::Missing);
    missing.map(|check| check.name.clone()).collect()
}

fn exit(checks: &[Check]) -> Exit {
    let missing = |concern| {
        checks
            .iter()
            .any(|check| check.concerns == concern && check.status == CheckStatus::Missing)
    };
    if missing(Concern::Machine) {
        Exit::Privilege
    } else if missing(Concern::Target) {
        Exit::Target
    } else {
        Exit::Ok
    }
}

fn machine() -> Vec<Check> {
    let status = read_status(Path::new("/proc/self")).unwrap_or_default();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut checks = vec![Check::ok(Concern::Machine, "kernel", release), type_information()];
    checks.extend(features());
    checks.push(processes());
    checks.extend(capabilities(&status));
    checks.extend(lockdown(
        &fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default(),
    ));
    checks
}

/// Whether `/proc` tells what processes there are.
fn processes() -> Check {
    match session::check_proc() {
        Ok(()) if session::hides_processes() => Check::unknown(
            Concern::Machine,
            "/proc",
            "it hides the processes of others (`hidepid` in /proc/mounts): only your own can be looked at",
            Some(session::SHOW_ALL.to_owned()),
        ),
        Ok(()) => Check::ok(Concern::Machine, "/proc", "it tells what processes there are"),
        Err(error) => Check::missing(Concern::Machine, "/proc", error.to_string(), None),
    }
}

fn type_information() -> Check {
    let name = "kernel type information (BTF)";
    let path = "/sys/kernel/btf/vmlinux";
    if Path::new(path).exists() {
        Check::ok(Concern::Machine, name, path)
    } else {
        Check::missing(
            Concern::Machine,
            name,
            format!("{path} is not there: eBPF programs cannot find the kernel's structures"),
            Some("boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (the distributions' own are)".to_owned()),
        )
    }
}

/// What the kernel has of what the programs need, one by one.
fn features() -> Vec<Check> {
    // That the type information itself is missing has been said.
    let found = capture::features().unwrap_or_default();
    found
        .iter()
        .map(|(feature, is_there)| feature_check(feature, *is_there))
        .collect()
}

fn feature_check(feature: &Feature, is_there: bool) -> Check {
    let Feature {
        name, purpose, since, ..
    } = *feature;
    if is_there {
        return Check::ok(Concern::Machine, name, format!("it can {purpose}"));
    }
    Check::missing(
        Concern::Machine,
        name,
        format!("this kernel lacks it, which is needed to {purpose}"),
        Some(format!(
            "boot a kernel 6.1 or newer, which has everything; this came with {since}"
        )),
    )
}

/// What `/proc/self/status` says about capabilities.
fn capabilities(status: &str) -> Vec<Check> {
    let Some(effective) = effective_capabilities(status) else {
        let meaning = "/proc/self/status does not tell the capabilities";
        return vec![Check::unknown(Concern::Machine, "capabilities", meaning, None)];
    };
    let has = |capability: u32| effective >> capability & 1 == 1;
    let check = |capability, name: &str, purpose: &str| {
        if has(capability) {
            Check::ok(Concern::Machine, name, format!("{purpose} is allowed"))
        } else if has(CAP_SYS_ADMIN) {
            Check::ok(
                Concern::Machine,
                name,
                format!("{purpose} is allowed (by CAP_SYS_ADMIN)"),
            )
        } else {
            Check::missing(
                Concern::Machine,
                name,
                format!("{purpose} is not allowed"),
                Some(grant()),
            )
        }
    };
    vec![
        check(CAP_BPF, "CAP_BPF", "loading eBPF programs"),
        check(
            CAP_PERFMON,
            "CAP_PERFMON",
            "reading other processes by eBPF and perf events",
        ),
    ]
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn grant() -> String {
    let program =
        std::env::current_exe().map_or_else(|_| "awaitwhat".into(), |path| path.display().to_string());
    format!(
        "sudo {program} ..., or once: sudo setcap cap_bpf,cap_perfmon=ep {program}, or in a systemd unit: \
         AmbientCapabilities=CAP_BPF CAP_PERFMON"
    )
}

/// The kernel's lockdown mode: `none [integrity] confidentiality`, the one in brackets is in force.
fn lockdown(modes: &str) -> Option<Check> {
    let name = "kernel lockdown";
    if modes.contains("[confidentiality]") {
        let meaning = "the mode `confidentiality` forbids eBPF programs to read memory";
        let remedy = "boot with lockdown=integrity (often: switch Secure Boot off)".to_owned();
        return Some(Check::missing(Concern::Machine, name, meaning, Some(remedy)));
    }
    modes
        .contains('[')
        .then(|| Check::ok(Concern::Machine, name, modes.trim()))
}

#[cfg(test)]
mod tests {
    use super::{Exit, capabilities, exit, lockdown};
    use crate::check::{Check, CheckStatus, Concern};

    fn statuses(checks: &[Check]) -> Vec<CheckStatus> {
        checks.iter().map(|check| check.status).collect()
    }

    #[test]
    fn capabilities_are_read_from_the_status() {
        use CheckStatus::{Missing, Ok, Unknown};
        let both = (1_u64 << 38) | (1 << 39);
        for (effective, expected) in [
            (both, [Ok, Ok]),
            (0, [Missing, Missing]),
            (1 << 39, [Ok, Missing]),
            (1 << 21, [Ok, Ok]),
        ] {
            let status = format!("Name:\tx\nCapEff:\t{effective:016x}\n");
            assert_eq!(statuses(&capabilities(&status)), expected, "{effective:x}");
        }
        assert_eq!(statuses(&capabilities("")), [Unknown]);
    }

    #[test]
    fn lockdown_matters_where_reading_is_forbidden() {
        assert_eq!(
            lockdown("none integrity [confidentiality]\n").unwrap().status,
            CheckStatus::Missing
        );
        assert_eq!(
            lockdown("[none] integrity confidentiality\n").unwrap().status,
            CheckStatus::Ok
        );
        assert_eq!(lockdown(""), None);
    }

    #[test]
    fn what_is_missing_decides_the_exit_code() {
        let missing = |concern| Check::missing(concern, "x", "y", None);
        assert_eq!(
            exit(&[Check::unknown(Concern::Machine, "x", "y", None)]),
            Exit::Ok
        );
        assert_eq!(exit(&[missing(Concern::Target)]), Exit::Target);
        assert_eq!(
            exit(&[missing(Concern::Target), missing(Concern::Machine)]),
            Exit::Privilege
        );
    }
}
