//! Profiles of several processes as one: a chain that is the same in all of them counts once, with the time of all.

use std::collections::HashMap;

use super::lengths::merged_waits;
use super::{Chain, Hold, Holds, Profile};

impl Profile {
    /// The sum of `profiles`, which were taken within one period: it began at `started_at`, and lasted for `duration_seconds`.
    #[must_use]
    pub fn merged(profiles: &[Self], started_at: jiff::Timestamp, duration_seconds: f64) -> Self {
        let mut merged = Self {
            processes: Vec::new(),
            started_at,
            duration_seconds,
            samples: 0,
            task_visits: 0,
            busy_seconds: 0.0,
            threads: 0,
            chains: merged_chains(profiles.iter().flat_map(|profile| profile.chains.iter().cloned())),
            waits: merged_waits(profiles.iter().flat_map(|profile| &profile.waits)),
            holds: merged_holds(profiles),
            losses: Default::default(),
            target_exited: !profiles.is_empty(),
            timeline: None,
        };
        for profile in profiles {
            merged.processes.extend(profile.processes.iter().cloned());
            merged.samples += profile.samples;
            merged.task_visits += profile.task_visits;
            merged.busy_seconds += profile.busy_seconds;
            merged.threads += profile.threads;
            merged.losses.add(&profile.losses);
            merged.target_exited &= profile.target_exited;
        }
        merged
    }
}

/// The holds of all, those at one place as one.
fn merged_holds(profiles: &[Profile]) -> Vec<Hold> {
    let mut merged = Holds::default();
    for hold in profiles.iter().flat_map(|profile| &profile.holds) {
        merged.add(hold.clone());
    }
    merged.into_sorted()
}

/// Makes chains that look the same one. The most time comes first.
pub(crate) fn merged_chains(chains: impl IntoIterator<Item = Chain>) -> Vec<Chain> {
    let mut merged: HashMap<_, Chain> = HashMap::new();
    for chain in chains {
        let (stack, terminal) = (chain.stack.clone(), chain.terminal.clone());
        let key = (stack, chain.state, terminal, chain.resource.clone());
        merged
            .entry(key)
            .and_modify(|known| {
                known.task_seconds += chain.task_seconds;
                known.answers += chain.answers;
            })
            .or_insert(chain);
    }
    let mut chains: Vec<_> = merged.into_values().collect();
    chains.sort_by(|one, other| {
        let by_time = other.task_seconds.total_cmp(&one.task_seconds);
        by_time
            .then_with(|| one.stack.cmp(&other.stack))
            .then_with(|| one.terminal.cmp(&other.terminal))
            .then_with(|| called(one).cmp(&called(other)))
            .then_with(|| (one.state, &one.resource).cmp(&(other.state, &other.resource)))
    });
    chains
}

fn called(chain: &Chain) -> Option<String> {
    chain.resource.as_ref().map(|resource| resource.called())
}

#[cfg(test)]
mod tests {
    use crate::profile::{ChainState, Profile};
    use crate::snapshot::Losses;
    use crate::testing::{chain, frame, profile, running, small_profile};

    const STARTED: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

    #[test]
    fn equal_chains_of_several_processes_are_one() {
        let worker = || [frame("worker", "/srv/app.py", 20)];
        let one = profile(vec![
            chain(&worker(), Some("Future"), 3.0),
            running(&worker(), 0.5),
        ]);
        let mut other = profile(vec![
            chain(&worker(), Some("Future"), 4.0),
            chain(&worker(), Some("Event"), 5.0),
        ]);
        other.processes[0].pid = 4712;
        other.target_exited = true;
        other.losses = Losses {
            torn: 2,
            ..Losses::default()
        };
        let merged = Profile::merged(&[one, other], STARTED, 20.0);
        let seconds: Vec<_> = merged
            .chains
            .iter()
            .map(|chain| (chain.task_seconds, chain.state, chain.terminal.as_deref()))
            .collect();
        assert_eq!(
            seconds,
            [
                (7.0, ChainState::Waiting, Some("Future")),
                (5.0, ChainState::Waiting, Some("Event")),
                (0.5, ChainState::Running, None),
            ]
        );
        let pids: Vec<u32> = merged.processes.iter().map(|process| process.pid).collect();
        assert_eq!(pids, [4711, 4712]);
        assert_eq!((merged.threads, merged.samples, merged.losses.torn), (2, 1980, 2));
        assert_eq!((merged.duration_seconds, merged.target_exited), (20.0, false));
        // Two processes with one loop each, half a second of 20 on a CPU each.
        assert_eq!(merged.busy_share(), 0.025);
        assert_eq!(merged.mean_tasks(), 12.5 / 20.0);
    }

    #[test]
    fn one_profile_stays_what_it_is() {
        let mut one = small_profile();
        one.chains = super::merged_chains(one.chains);
        assert_eq!(
            Profile::merged(std::slice::from_ref(&one), one.started_at, one.duration_seconds),
            one
        );
    }

    #[test]
    fn of_no_profiles_there_is_an_empty_one() {
        let nothing = Profile::merged(&[], STARTED, 1.0);
        assert_eq!((nothing.busy_share(), nothing.mean_tasks()), (0.0, 0.0));
        assert!(!nothing.target_exited);
    }
}
