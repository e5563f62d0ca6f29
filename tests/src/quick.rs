//! One trial of each kind, for `cargo xtask test --quick`: what differs between interpreters is left to the whole run.

use std::collections::BTreeMap;
use std::env;

use libtest_mimic::Trial;

/// Set where one trial of each kind will do.
const QUICK: &str = "AWAITWHAT_QUICK";

/// Whether one trial of each kind will do.
pub fn is_asked() -> bool {
    env::var_os(QUICK).is_some()
}

/// Leaves one trial of each kind, if that is asked for.
pub fn choose(trials: Vec<Trial>) -> Vec<Trial> {
    if !is_asked() {
        return trials;
    }
    let names: Vec<_> = trials
        .iter()
        .map(|it| (it.name().to_owned(), it.has_ignored_flag()))
        .collect();
    let chosen = chosen(&names);
    let trials = trials.into_iter().zip(chosen);
    trials
        .filter_map(|(trial, is_chosen)| is_chosen.then_some(trial))
        .collect()
}

/// Which of the trials, each of them with whether it is skipped, are run: of each kind one that can, by the interpreter that has had the fewest turns.
fn chosen(trials: &[(String, bool)]) -> Vec<bool> {
    let mut kinds: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, (name, _)) in trials.iter().enumerate() {
        kinds.entry(parts(name).1).or_default().push(place);
    }
    // Kinds that few can run choose first; the others then make up for it.
    let mut kinds: Vec<_> = kinds.into_values().collect();
    let can_run = |places: &[usize]| places.iter().filter(|it| !trials[**it].1).count();
    kinds.sort_by_key(|places| can_run(places));
    let mut turns: BTreeMap<&str, usize> = BTreeMap::new();
    let mut chosen = vec![false; trials.len()];
    for places in kinds {
        let fewest = places
            .into_iter()
            .min_by_key(|it| (trials[*it].1, turns.get(parts(&trials[*it].0).0).copied()));
        if let Some(place) = fewest {
            chosen[place] = true;
            *turns.entry(parts(&trials[place].0).0).or_default() += 1;
        }
    }
    chosen
}

/// The interpreter and the kind of a trial: `3.12` and `gather_tasks` of `3.12::gather_tasks`, `inside::many_loops` of `inside::3.12::many_loops`.
/// Numbers in it say how much of something there is, and not what is tested.
fn parts(name: &str) -> (&str, String) {
    let is_label = |part: &&str| part.starts_with(|first: char| first.is_ascii_digit());
    let label = name.split("::").find(is_label).unwrap_or_default();
    let kind: Vec<_> = name.split("::").filter(|part| *part != label).collect();
    let mut kind = kind.join("::");
    kind.retain(|letter| !letter.is_ascii_digit());
    (label, kind)
}

#[cfg(test)]
mod tests {
    use super::chosen;

    fn names<'a>(trials: &[(&'a str, bool)]) -> Vec<&'a str> {
        let owned: Vec<_> = trials.iter().map(|it| (it.0.to_owned(), it.1)).collect();
        let chosen = chosen(&owned);
        let chosen = trials.iter().zip(chosen).filter(|it| it.1);
        chosen.map(|it| it.0.0).collect()
    }

    #[test]
    fn every_kind_has_a_trial_and_every_interpreter_a_turn() {
        let trials = [
            ("3.7::a", false),
            ("3.7::b", false),
            ("3.7::c", false),
            ("3.8::a", false),
            ("3.8::b", false),
            ("3.8::c", true),
            ("3.9::a", false),
            ("3.9::b", false),
            ("3.9::c", true),
            ("once", false),
        ];
        assert_eq!(names(&trials), ["3.7::c", "3.8::a", "3.9::b", "once"]);
    }

    #[test]
    fn an_interpreter_may_stand_behind_the_place() {
        let trials = [
            ("inside::3.7::a", false),
            ("inside::3.8::a", false),
            ("outside::3.7::a", false),
            ("outside::3.8::a", false),
        ];
        assert_eq!(names(&trials), ["inside::3.7::a", "outside::3.8::a"]);
    }

    #[test]
    fn how_much_there_is_makes_no_other_kind() {
        assert_eq!(
            names(&[
                ("3.7::server_5_percent", false),
                ("3.8::server_50_percent", false)
            ])
            .len(),
            1
        );
    }

    #[test]
    fn a_kind_that_nothing_can_run_is_still_said_to_be_skipped() {
        assert_eq!(names(&[("3.7::a", true), ("3.8::a", true)]), ["3.7::a"]);
    }
}
