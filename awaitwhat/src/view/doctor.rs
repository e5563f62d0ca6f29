//! What `doctor` found, one check after the other.

use std::io::{self, Write};

use super::escape::Escaped;
use super::style::{ERROR, FAINT, HEADING, RUNNING, WARNING, styled};
use crate::check::{Check, CheckStatus, Concern};
use crate::target::report::Entry;

/// Writes all checks and what they come to.
///
/// # Errors
/// When `output` fails.
pub fn write(checks: &[Check], output: &mut impl Write) -> io::Result<()> {
    for (concern, heading) in [
        (Concern::Machine, "This machine"),
        (Concern::Target, "The target"),
    ] {
        let group: Vec<&Check> = checks.iter().filter(|check| check.concerns == concern).collect();
        if !group.is_empty() {
            writeln!(output, "{}", styled(HEADING, heading))?;
            group
                .into_iter()
                .try_for_each(|check| write_check(check, output))?;
        }
    }
    let missing = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Missing)
        .count();
    let verdict = match missing {
        0 => "Everything that is needed is there.".to_owned(),
        1 => "1 thing is missing.".to_owned(),
        many => format!("{many} things are missing."),
    };
    writeln!(output, "{verdict}")
}

/// Writes what to send in a bug report about a target, if there is anything, from a machine whose kernel is `release`.
///
/// # Errors
/// When `output` fails.
pub fn write_report(release: &str, report: &[Entry], output: &mut impl Write) -> io::Result<()> {
    if report.is_empty() {
        return Ok(());
    }
    writeln!(output)?;
    writeln!(
        output,
        "{} {}",
        styled(HEADING, "For a bug report"),
        styled(
            FAINT,
            "(the interpreter and its layout; no code, names or arguments of the program)"
        )
    )?;
    writeln!(output, "  awaitwhat: {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(output, "  kernel: {}", Escaped(release))?;
    report
        .iter()
        .try_for_each(|entry| writeln!(output, "  {}: {}", entry.key, Escaped(&entry.value)))
}

fn write_check(check: &Check, output: &mut impl Write) -> io::Result<()> {
    let (style, word) = match check.status {
        CheckStatus::Ok => (RUNNING, "ok     "),
        CheckStatus::Missing => (ERROR, "missing"),
        CheckStatus::Unknown => (WARNING, "unclear"),
    };
    let mut lines = check.meaning.lines();
    let first = Escaped(lines.next().unwrap_or_default());
    writeln!(
        output,
        "  {}  {}: {first}",
        styled(style, word),
        Escaped(&check.name)
    )?;
    lines.try_for_each(|line| writeln!(output, "           {}", Escaped(line)))?;
    if let Some(remedy) = &check.remedy {
        writeln!(
            output,
            "           {} {}",
            styled(FAINT, "to mend it:"),
            Escaped(remedy)
        )?;
    }
    if !check.verbatim.is_empty() {
        writeln!(output, "           {}", styled(FAINT, "the kernel's own words:"))?;
    }
    let mut verbatim = check.verbatim.lines();
    verbatim.try_for_each(|line| writeln!(output, "             {}", styled(FAINT, Escaped(line))))
}

#[cfg(test)]
mod tests {
    use crate::check::{Check, Concern};
    use crate::target::report::Entry;

    fn drawn(checks: &[Check]) -> String {
        let mut output = Vec::new();
        super::write(checks, &mut output).unwrap();
        anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string()
    }

    #[test]
    fn checks_with_their_remedies() {
        let checks = [
            Check::ok(Concern::Machine, "kernel", "6.18.0"),
            Check::missing(
                Concern::Machine,
                "CAP_BPF",
                "loads programs\nand maps",
                Some("sudo awaitwhat".to_owned()),
            ),
            Check::unknown(Concern::Target, "Python", "version \x1b unknown", None),
        ];
        insta::assert_snapshot!(drawn(&checks), @r"
        This machine
          ok       kernel: 6.18.0
          missing  CAP_BPF: loads programs
                   and maps
                   to mend it: sudo awaitwhat
        The target
          unclear  Python: version \x1b unknown
        1 thing is missing.
        ");
    }

    #[test]
    fn what_the_kernel_says_comes_last() {
        let checks = [Check::missing(
            Concern::Machine,
            "eBPF programs",
            "they cannot be loaded without bpf_loop (above)",
            Some("mend that first".to_owned()),
        )
        .quoting("12: (85) call bpf_loop#181\ninvalid func\x1b bpf_loop#181")];
        insta::assert_snapshot!(drawn(&checks), @r"
        This machine
          missing  eBPF programs: they cannot be loaded without bpf_loop (above)
                   to mend it: mend that first
                   the kernel's own words:
                     12: (85) call bpf_loop#181
                     invalid func\x1b bpf_loop#181
        1 thing is missing.
        ");
    }

    #[test]
    fn a_report_can_be_pasted() {
        let entry = |key, value: &str| Entry {
            key,
            value: value.to_owned(),
        };
        let report = [
            entry("image", "python\u{202e}3"),
            entry("FAILS", "x: expected 1, found 2"),
        ];
        let mut output = Vec::new();
        super::write_report("6.18.0", &report, &mut output).unwrap();
        let text = anstream::adapter::strip_str(std::str::from_utf8(&output).unwrap()).to_string();
        let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        insta::assert_snapshot!(text, @r"

        For a bug report (the interpreter and its layout; no code, names or arguments of the program)
          awaitwhat: VERSION
          kernel: 6.18.0
          image: python\u{202e}3
          FAILS: x: expected 1, found 2
        ");
        let mut output = Vec::new();
        super::write_report("6.18.0", &[], &mut output).unwrap();
        assert!(output.is_empty());
    }

    #[test]
    fn all_is_well() {
        insta::assert_snapshot!(drawn(&[Check::ok(Concern::Machine, "kernel", "6.18.0")]), @"
        This machine
          ok       kernel: 6.18.0
        Everything that is needed is there.
        ");
    }
}
