//! One emulated machine, from its start to its report.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::image::{BEGUN, DOCTOR, DONE, FAILED};
use super::package::Kernel;
use crate::repo;
use crate::test::counts::Counts;

/// How long a guest may take, from power-on to power-off.
const LIMIT: Duration = Duration::from_secs(480);
/// Between two looks at whether it has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What a guest left.
#[derive(Clone, Debug)]
pub struct Report {
    /// The kernel's release, or where it comes from where it did not get so far.
    release: String,
    counts: Counts,
    /// What stood in the way of the tests, if anything.
    problem: Option<String>,
    /// All that it wrote.
    pub console: String,
}

/// Boots `kernel`, and waits for its end. It is emulated: KVM is not everywhere, and of kernels nothing else is asked here than to be right.
///
/// # Errors
/// When the emulator cannot be started.
pub fn run(kernel: &Kernel, image: &Path) -> Result<Report> {
    eprintln!("Booting the kernel of Debian {}", kernel.suite);
    let console = repo::cache("kernels")?.join(&kernel.suite).join("console.log");
    // The emulated cmpxchg16b of QEMU 7.2 damages the flags, which 6.12 and later do not survive: take it away. And where CPUs are emulated in a
    // thread each, one may execute a breakpoint by which another patches the kernel's code after it has been taken back, which no kernel survives.
    let mut child = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg,thread=single",
            "-cpu",
            "Haswell-noTSX,-cx16",
            "-smp",
            "2",
            "-m",
            "1500",
        ])
        .args([
            "-display",
            "none",
            "-monitor",
            "none",
            "-nic",
            "none",
            "-no-reboot",
        ])
        // On a busy host an emulated timer is too late for the kernel's own test of it.
        .args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image)
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .stdin(Stdio::null())
        // It warns of what the processor has and the emulation has not.
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    let has_ended = wait(&mut child)?;
    let bytes = fs::read(&console).with_context(|| format!("cannot read {}", console.display()))?;
    Ok(Report::of(
        &kernel.suite,
        &String::from_utf8_lossy(&bytes),
        has_ended,
    ))
}

/// Waits until the guest has ended; ends it, and returns false, when it does not.
fn wait(child: &mut Child) -> Result<bool> {
    let end = Instant::now() + LIMIT;
    while child.try_wait().context("cannot wait for the guest")?.is_none() {
        if Instant::now() > end {
            child.kill().context("cannot end the guest")?;
            child.wait().context("cannot wait for the guest")?;
            return Ok(false);
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(true)
}

impl Report {
    fn of(suite: &str, console: &str, has_ended: bool) -> Self {
        let mut report = Self {
            release: format!("of {suite}"),
            counts: Counts::default(),
            problem: Some("it did not come to its end".to_owned()),
            console: console.to_owned(),
        };
        let (mut doctor, mut failed) = (None, None);
        for line in console.lines().map(str::trim_end) {
            report.counts.add(line);
            if let Some(release) = line.strip_prefix(BEGUN) {
                report.release = release.to_owned();
            } else if let Some(code) = line.strip_prefix(DOCTOR) {
                doctor = Some(code.to_owned());
            } else if let Some(test) = line.strip_prefix(FAILED) {
                failed = Some(format!("`{test}` failed"));
            } else if line == DONE {
                report.problem = None;
            }
        }
        if !has_ended {
            report.problem = Some(format!("it was ended after {} seconds", LIMIT.as_secs()));
        } else if report.problem.is_none() && doctor.as_deref() != Some("0") {
            report.problem = Some("`awaitwhat doctor` says that something is missing".to_owned());
        } else if report.problem.is_none() && report.counts.passed == 0 {
            report.problem = Some("no test passed".to_owned());
        } else if report.problem.is_none() {
            report.problem = failed;
        }
        report
    }

    /// Whether all went well.
    pub fn is_success(&self) -> bool {
        self.problem.is_none() && self.counts.failed == 0
    }

    /// `kernel 6.1.0: N passed, M failed`, and what stood in the way.
    pub fn line(&self) -> String {
        let problem = self.problem.iter().map(|problem| format!(" ({problem})"));
        format!(
            "kernel {}: {}{}",
            self.release,
            self.counts.line(),
            problem.collect::<String>()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    fn report(console: &str, has_ended: bool) -> (bool, String) {
        let report = Report::of("bookworm", console, has_ended);
        (report.is_success(), report.line())
    }

    const PASSED: &str = "test result: ok. 3 passed; 0 failed; 0 ignored\r\n";

    #[test]
    fn a_guest_that_passes() {
        let console = format!("guest: begun 6.1.0\r\nguest: doctor 0\r\n{PASSED}{PASSED}guest: done\r\n");
        assert_eq!(
            report(&console, true),
            (true, "kernel 6.1.0: 6 passed, 0 failed".to_owned())
        );
    }

    #[test]
    fn every_way_to_fail_fails() {
        let failed = "test result: FAILED. 1 passed; 2 failed\n";
        for (console, has_ended, expected) in [
            (
                "",
                true,
                "kernel of bookworm: 0 passed, 0 failed (it did not come to its end)",
            ),
            (
                "guest: begun 6\nguest: doctor 0\nguest: done\n",
                true,
                "kernel 6: 0 passed, 0 failed (no test passed)",
            ),
            (
                &format!("guest: begun 6\nguest: doctor 4\n{PASSED}guest: done\n"),
                true,
                "kernel 6: 3 passed, 0 failed (`awaitwhat doctor` says that something is missing)",
            ),
            (
                &format!("guest: begun 6\nguest: doctor 0\n{failed}guest: failed shapes\nguest: done\n"),
                true,
                "kernel 6: 1 passed, 2 failed (`shapes` failed)",
            ),
            (
                &format!("guest: begun 6\nguest: doctor 0\n{PASSED}guest: failed profiles\nguest: done\n"),
                true,
                "kernel 6: 3 passed, 0 failed (`profiles` failed)",
            ),
            (
                &format!("guest: begun 6\nguest: doctor 0\n{PASSED}"),
                false,
                "kernel 6: 3 passed, 0 failed (it was ended after 480 seconds)",
            ),
        ] {
            assert_eq!(report(console, has_ended), (false, expected.to_owned()));
        }
    }
}
