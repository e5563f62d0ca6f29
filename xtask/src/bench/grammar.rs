//! Which chains the tasks of a server can have.

use std::collections::HashSet;

use super::observers::Chain;
use super::target::Target;

/// The chains of a server, innermost first.
pub struct Grammar {
    /// Chains in which a task can be suspended.
    suspended: HashSet<Vec<String>>,
    /// Chains that the running task can have: all outer parts of its call paths.
    running: HashSet<Vec<String>>,
}

impl Grammar {
    /// The grammar that a server tells of itself.
    pub fn of(target: &Target) -> Self {
        Self::new(&target.paths, &target.running_paths)
    }

    /// `paths` are outermost first; those of `running_paths` do not end in anything that suspends.
    fn new(paths: &[Vec<String>], running_paths: &[Vec<String>]) -> Self {
        let inside_out = |path: &[String]| path.iter().rev().cloned().collect::<Vec<_>>();
        let all = paths.iter().chain(running_paths);
        Self {
            suspended: paths.iter().map(|path| inside_out(path)).collect(),
            running: all
                .flat_map(|path| (0..=path.len()).filter_map(|depth| path.get(..depth)))
                .map(inside_out)
                .collect(),
        }
    }

    /// Whether a task can have this chain.
    ///
    /// Several tasks may run in one snapshot: reading takes longer than a task runs.
    pub fn allows(&self, chain: &Chain) -> bool {
        self.suspended.contains(&chain.functions) || chain.may_run && self.running.contains(&chain.functions)
    }
}

#[cfg(test)]
mod tests {
    use super::{Chain, Grammar};

    fn path(functions: &str) -> Vec<String> {
        functions.split_whitespace().map(str::to_owned).collect()
    }

    fn chain(functions: &str, may_run: bool) -> Chain {
        Chain {
            functions: path(functions),
            may_run,
        }
    }

    fn grammar() -> Grammar {
        Grammar::new(&[path("serve query sleep")], &[path("serve render")])
    }

    #[test]
    fn a_task_that_runs_may_be_anywhere() {
        assert!(grammar().allows(&chain("sleep query serve", true)));
        assert!(grammar().allows(&chain("query serve", true)));
        assert!(grammar().allows(&chain("render serve", true)));
    }

    #[test]
    fn a_task_that_does_not_run_has_a_whole_chain() {
        assert!(grammar().allows(&chain("sleep query serve", false)));
        assert!(!grammar().allows(&chain("query serve", false)));
        assert!(!grammar().allows(&chain("render serve", false)));
    }

    #[test]
    fn what_no_call_path_gives_is_impossible() {
        assert!(!grammar().allows(&chain("sleep sleep", true)));
        assert!(!grammar().allows(&chain("sleep query", true)));
    }
}
