//! How many tests passed, failed and were skipped.

/// How a test binary's last line begins, libtest's and libtest-mimic's alike.
const RESULT: &str = "test result: ";

/// Counts over all test binaries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
}

impl Counts {
    /// Adds a test binary's last line, and returns whether it is one; any other line adds nothing.
    pub fn add(&mut self, line: &str) -> bool {
        let Some(result) = line.strip_prefix(RESULT) else {
            return false;
        };
        for part in result.split(['.', ';']) {
            let Some((number, word)) = part.trim().split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
        true
    }

    /// `N passed, M failed`, and what was skipped.
    pub fn line(&self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.ignored > 0 {
            line.push_str(&format!(", {} skipped", self.ignored));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn results_of_all_binaries_are_added_up() {
        let mut counts = Counts::default();
        assert!(!counts.add("running 3 tests"));
        assert!(counts.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ));
        assert!(counts.add("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out"));
        assert_eq!(counts.line(), "5 passed, 4 failed, 1 skipped");
    }

    #[test]
    fn nothing_skipped_is_not_mentioned() {
        let mut counts = Counts::default();
        counts.add("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(counts.line(), "1 passed, 0 failed");
    }
}
