//! The walker over memory that was made to mislead it: cycles, garbage pointers, absurd sizes, changes between slices.
//!
//! Whatever it reads, a slice ends within a bounded number of steps, nothing panics (arithmetic is checked in this build), and every
//! record keeps what its header promises.

mod hostile;

use std::collections::BTreeSet;

use awaitwhat_common::limits::{MAX_FOREIGN_LOOPS, MAX_FRAMES, MAX_ROOTS};
use awaitwhat_common::plan::{Root, ThreadPlan, root_kind};
use awaitwhat_walker::{Flow, Walk};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use hostile::host::{Hostile, Seen};
use hostile::image::{self, LAYOUTS};

/// How many memories are tried.
const CASES: u32 = 2_000;
/// No slice takes more steps: its budget is 2,000 reads, and a task's walk between two looks at the budget is bounded by itself.
const MAX_SLICE_STEPS: u32 = 1 << 16;

/// One try: the memories that follow each other, and the answers to "has the thread run?" in each slice.
#[derive(Clone, Debug, PartialEq)]
struct Case {
    layout: usize,
    plan: ThreadPlan,
    images: Vec<Vec<u64>>,
    disturbances: Vec<u64>,
}

fn case() -> impl Strategy<Value = Case> {
    let disturbances = prop_oneof![4 => 0..1_u64, 1 => any::<u64>()];
    (0..LAYOUTS, plan()).prop_flat_map(move |(layout, plan)| {
        let images = vec(image::image(layout), 1..3);
        (images, vec(disturbances.clone(), 4)).prop_map(move |(images, disturbances)| Case {
            layout,
            plan,
            images,
            disturbances,
        })
    })
}

fn plan() -> impl Strategy<Value = ThreadPlan> {
    let kinds = vec![root_kind::LIST, root_kind::WEAK_SET, root_kind::SET];
    let root = (select(kinds), image::address()).prop_map(|(kind, address)| Root {
        kind,
        reserved: 0,
        address: if kind == root_kind::LIST {
            image::HEAD
        } else {
            address
        },
    });
    let max_frames = prop_oneof![1..4_u32, Just(MAX_FRAMES as u32)];
    (
        vec(root, MAX_ROOTS),
        1..=MAX_ROOTS as u32,
        max_frames,
        image::address(),
    )
        .prop_map(|(roots, root_count, max_frames, thread_state)| ThreadPlan {
            tgid: 1,
            tid: 1,
            sends_strangers: 1,
            address_space: 1,
            thread_state,
            foreign_loops: [u64::MAX; MAX_FOREIGN_LOOPS],
            root_count,
            max_frames,
            ..ThreadPlan::of(&roots)
        })
}

/// Walks the case's memories one after the other, each for two slices: the second goes on where the first one stopped.
fn walk(case: &Case, seen: &mut BTreeSet<Seen>) {
    let layout = image::layout(case.layout);
    assert!(layout.is_within_bounds(), "a layout that user space would refuse");
    let mut walk = Box::new(Walk::NEW);
    let slices = case.images.iter().flat_map(|image| [image, image]);
    for (number, (words, disturbances)) in slices.zip(&case.disturbances).enumerate() {
        let mut host = Hostile::new(words, *disturbances, case.plan.max_frames, seen);
        let time = number as u64;
        walk.begin_slice(&layout, &case.plan, number % 2 == 0, time, time, time);
        let mut steps = 0;
        let status = loop {
            if let Flow::Done(status) = walk.step(&layout, &case.plan, &mut host) {
                break status;
            }
            steps += 1;
            assert!(steps < MAX_SLICE_STEPS, "a slice goes on and on");
        };
        walk.end_slice(status, 1);
        seen.insert(Seen::Slice(status as u8));
    }
}

#[test]
fn every_slice_ends_and_every_record_is_well_formed() {
    // Apart for each layout: each has to lead everywhere.
    let seen: [_; LAYOUTS] = std::array::from_fn(|_| std::cell::RefCell::new(BTreeSet::new()));
    // A walk without end takes long to try, so a failure is made simpler a few times only.
    let config = Config {
        cases: CASES,
        max_shrink_iters: 50,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&case(), |case| {
        walk(&case, &mut seen[case.layout].borrow_mut());
        Ok(())
    });
    assert_eq!(result, Ok(()));
    // The memories are of use only where they lead the walker everywhere.
    for (layout, seen) in seen.iter().enumerate() {
        let seen = seen.borrow();
        let missing: Vec<&Seen> = hostile::host::EVERYTHING
            .iter()
            .filter(|what| !seen.contains(*what))
            .collect();
        assert!(missing.is_empty(), "never seen with layout {layout}: {missing:?}");
    }
}
