//! Over simulated loops the account is right on average: however much they work, tasks live, passes are cut, and looks come.

use super::simulated::{POINTS, Point, Registry, Setup, Simulation};

const SEEDS: u64 = 4;
/// How far all task-seconds may be from the truth on average, as a share of it; and each point's share of them.
const BOUND: f64 = 0.01;
/// What more chance may do, in standard errors of the mean, which are themselves small.
const CHANCE: f64 = 3.0;
const LARGEST_ERROR: f64 = 0.006;

/// A mean over several runs, and its standard error.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    mean: f64,
    error: f64,
}

impl Estimate {
    fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self {
            mean,
            error: (variance / count).sqrt(),
        }
    }

    fn is_within_bounds(self) -> bool {
        self.error <= LARGEST_ERROR && self.mean.abs() <= BOUND + CHANCE * self.error
    }
}

/// How far what is shown is from the truth: all task-seconds, and each point's share.
fn deviations(setup: Setup) -> Vec<(String, Estimate)> {
    let outcomes: Vec<_> = (1..=SEEDS).map(|seed| Simulation::run(setup, seed)).collect();
    let waiting = |times: &[f64]| times[..Point::Running as usize].iter().sum::<f64>();
    let estimate = |deviation: &dyn Fn(&[f64], &[f64]) -> f64| {
        let of: Vec<f64> = outcomes
            .iter()
            .map(|it| deviation(&it.shown, &it.truth))
            .collect();
        Estimate::of(&of)
    };
    let total = estimate(&|shown, truth| waiting(shown) / waiting(truth) - 1.0);
    let mut found = vec![("all task-seconds".to_owned(), total)];
    for point in POINTS {
        let share = |times: &[f64]| times[point as usize] / waiting(times);
        let of_point = estimate(&|shown, truth| share(shown) - share(truth));
        found.push((format!("{point:?}"), of_point));
    }
    if setup.tells_waits {
        let running = |times: &[f64]| times[Point::Running as usize] / setup.duration;
        let at_work = estimate(&|shown, truth| running(shown) - running(truth));
        found.push(("at work".to_owned(), at_work));
    }
    found
}

/// Life (s) of requests, how many there are, and idle tasks besides.
type Tasks = (f64, f64, usize);
/// Looks per second, the share of them that make a pass, how long they go on (s), and tasks that a slice can visit in context.
type Looks = (f64, f64, f64, usize);

fn check(busy: f64, cases: &[(Tasks, Looks)]) {
    check_without_cpu(busy, (0.1, 0.0, false), cases);
}

/// A loop that waits for a CPU for this share of its work, and loses it to so many of the looks at it; and whether the kernel tells of that.
fn check_without_cpu(busy: f64, (preempted, taken, tells_waits): (f64, f64, bool), cases: &[(Tasks, Looks)]) {
    let mut wrong = Vec::new();
    for (number, &((life, requests, idlers), (rate, passes, duration, slice))) in cases.iter().enumerate() {
        let setup = Setup {
            busy,
            life,
            requests,
            idlers,
            rate,
            passes,
            duration,
            slice: (500, slice),
            registry: [Registry::List, Registry::Set][number % 2],
            preempted,
            taken,
            tells_waits,
        };
        let found = deviations(setup);
        let is_wrong = |it: &&(String, Estimate)| !it.1.is_within_bounds();
        for (what, by) in found.iter().filter(is_wrong) {
            wrong.push(format!("{what} {by:?}: {setup:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const SHORT: Tasks = (1e-3, 1.0, 2);
const SHORT_AMONG_MANY: Tasks = (1e-3, 1.0, 100);
const MIDDLE: Tasks = (0.1, 20.0, 5);
const MIDDLE_AMONG_MANY: Tasks = (0.1, 40.0, 100);
const LONG: Tasks = (2.0, 60.0, 5);
const LONGEST: Tasks = (10.0, 60.0, 5);

const SELDOM: Looks = (10.0, 1.0, 60.0, 77);
const USUAL: Looks = (99.0, 1.0, 6.0, 77);
const OFTEN: Looks = (999.0, 1.0, 1.0, 77);
const LEFT_OUT: Looks = (99.0, 0.2, 20.0, 77);

/// So many that a walk in context takes most of a second.
const MANY: Tasks = (2.0, 60.0, 1000);

const CASES: [(Tasks, Looks); 12] = [
    (SHORT, SELDOM),
    (SHORT, USUAL),
    (SHORT_AMONG_MANY, USUAL),
    (MIDDLE, (10.0, 1.0, 120.0, 77)),
    (MIDDLE, USUAL),
    (MIDDLE_AMONG_MANY, OFTEN),
    (MIDDLE_AMONG_MANY, USUAL),
    (LONG, SELDOM),
    (LONG, (99.0, 1.0, 10.0, 20)),
    (LONGEST, (99.0, 1.0, 10.0, 20)),
    (LONGEST, OFTEN),
    (LONG, LEFT_OUT),
];

#[test]
fn a_loop_that_hardly_works() {
    check(0.03, &CASES);
}

#[test]
fn a_loop_that_works_at_times() {
    check(0.1, &CASES);
}

#[test]
fn a_loop_that_works_half_of_the_time() {
    check(0.5, &CASES);
}

#[test]
fn a_loop_that_never_rests_unless_it_waits_for_a_cpu() {
    check(1.0, &CASES);
}

/// Passes of both kinds are few: what is seen at the ends of the time counts.
#[test]
fn a_loop_that_waits_for_a_cpu_as_often_as_it_has_one() {
    let looks = [
        (99.0, 1.0, 10.0, 20),
        (99.0, 1.0, 4.0, 20),
        (99.0, 0.02, 10.0, 20),
    ];
    let cases = looks.map(|looks| (MANY, looks));
    check_without_cpu(1.0, (0.6, 0.0, false), &cases);
    check_without_cpu(0.5, (0.6, 0.0, false), &cases);
}

/// Then looks find it at rest more often than it is.
#[test]
fn a_loop_that_loses_its_cpu_to_who_looks() {
    let cases = [
        (MIDDLE, USUAL),
        (MIDDLE_AMONG_MANY, USUAL),
        (LONG, (99.0, 1.0, 10.0, 20)),
    ];
    check_without_cpu(0.5, (0.3, 0.5, false), &cases);
    check_without_cpu(0.3, (0.3, 0.8, false), &cases);
}

/// What it does then has no more than its time.
#[test]
fn a_loop_is_not_more_at_work_because_who_looks_takes_its_cpu() {
    let cases = [
        (MIDDLE, (99.0, 1.0, 20.0, 77)),
        (MIDDLE_AMONG_MANY, (99.0, 1.0, 20.0, 77)),
        (LONG, (99.0, 1.0, 20.0, 20)),
    ];
    check_without_cpu(0.4, (0.0, 0.5, true), &cases);
    check_without_cpu(0.4, (0.3, 0.5, true), &cases);
    check_without_cpu(0.3, (1.0, 0.2, true), &cases);
}
