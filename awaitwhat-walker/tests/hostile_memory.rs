//! The walker over memory that was made to mislead it: cycles, garbage pointers, absurd sizes, changes between slices.
//!
//! Whatever it reads, a slice ends within a bounded number of steps, nothing panics (arithmetic is checked in this build), and every
//! record keeps what its header promises.

mod hostile;

use std::collections::BTreeSet;

use awaitwhat_common::limits::{MAX_FOREIGN_LOOPS, MAX_FRAMES};
use awaitwhat_common::plan::{Root, ThreadPlan, root_kind, wants};
use awaitwhat_fuzz::{Choices, Place, Reached, Target};
use awaitwhat_walker::{Flow, Walk};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use hostile::host::{Change, EVERYTHING, Hostile, Seen};
use hostile::image::{self, LAYOUTS, TRIO};

/// What the places are called that a walk came to, by the number of its layout.
const NAMES: [&str; LAYOUTS] = [
    "like 3.14",
    "like 3.11",
    "like 3.10",
    "like 3.9",
    "like 3.14 with trio",
];
/// The last of the walk's phases.
const LAST_PHASE: u32 = 49;
/// Bytes that one execution may hold: some memories, and what made them.
const MAX_HELD_BYTES: u64 = 4 << 20;
/// Registries of a plan: enough to meet each kind of it next to the others.
const ROOTS: usize = 16;

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

/// The case that the choices name: one that is made anew, and then changed here and there.
fn chosen(choices: &mut Choices<'_>) -> Case {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&choices.word().to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut case = case()
        .new_tree(&mut runner)
        .expect("nothing is rejected")
        .current();
    for image in &mut case.images {
        for _ in 0..choices.below(8) {
            let (place, word) = other_word(image, choices);
            image[place] = word;
        }
    }
    if choices.once_in(2) {
        // The loop of one task, as those of the image have themselves in its place.
        case.plan.running_loop = image::task_loop(choices.below(image::OBJECTS as usize) as u64);
    }
    case
}

/// A place in an image, and what may be there instead.
fn other_word(image: &[u64], choices: &mut Choices<'_>) -> (usize, u64) {
    let place = choices.below(image.len());
    let word = match choices.below(5) {
        0 | 1 => image::BASE + choices.below(image.len()) as u64 * 8,
        2 => image[choices.below(image.len())],
        3 => image[place].wrapping_add(choices.number()),
        _ => choices.number(),
    };
    (place, word)
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
    (vec(root, ROOTS), 1..=ROOTS as u32, max_frames, image::address()).prop_map(
        |(roots, root_count, max_frames, thread_state)| ThreadPlan {
            tgid: 1,
            tid: 1,
            sends_strangers: 1,
            wants: wants::NAME | wants::LINKS,
            address_space: 1,
            thread_state,
            foreign_loops: [u64::MAX; MAX_FOREIGN_LOOPS],
            root_count,
            max_frames,
            ..ThreadPlan::of(&roots)
        },
    )
}

/// Walks the case's memories one after the other, each for two slices: the second goes on where the first one stopped. Some words change
/// in the middle of a slice, as those of a build without the GIL do.
fn walk(case: &Case, choices: &mut Choices<'_>, reached: &mut Reached) {
    let layout = image::layout(case.layout);
    assert!(layout.is_within_bounds(), "a layout that user space would refuse");
    let mut walk = Box::new(Walk::NEW);
    let mut seen = BTreeSet::new();
    let slices = case.images.iter().flat_map(|image| [image, image]);
    for (number, (words, disturbances)) in slices.zip(&case.disturbances).enumerate() {
        let changes: Vec<Change> = (0..choices.below(8).saturating_sub(5))
            .map(|_| {
                let (place, word) = other_word(words, choices);
                let reads = u64::from(choices.byte());
                Change { reads, place, word }
            })
            .collect();
        let mut host = Hostile::new(words, &changes, *disturbances, case.plan.max_frames, &mut seen);
        let time = number as u64;
        walk.begin_slice(&layout, &case.plan, number % 2 == 0, time, time, time);
        let mut steps = 0;
        let status = loop {
            reached.note("phase", walk.phase());
            if let Flow::Done(status) = walk.step(&layout, &case.plan, &mut host) {
                break status;
            }
            steps += 1;
            assert!(steps < MAX_SLICE_STEPS, "a slice goes on and on");
        };
        walk.end_slice(status, 1);
        seen.insert(Seen::Slice(status as u8));
    }
    for (number, what) in (0..).zip(EVERYTHING) {
        if seen.contains(&what) {
            reached.note(NAMES[case.layout], number);
        }
    }
}

/// Every slice ends, and every record is one.
#[test]
fn fuzz_walker() {
    // The memories are of use only where they lead the walker everywhere, with each layout.
    let outcomes = NAMES
        .iter()
        .flat_map(|name| {
            (0..)
                .zip(EVERYTHING)
                .map(move |(number, what)| (*name, number, what))
        })
        .filter(|(name, _, what)| !(*name == NAMES[TRIO] && what.is_of_futures()))
        .map(|(name, number, _)| (name, number));
    let phases = (0..=LAST_PHASE).map(|phase| ("phase", phase));
    let places: Vec<Place> = outcomes.chain(phases).collect();
    let target = Target {
        name: "walker",
        executions: 2500,
        max_bytes: MAX_HELD_BYTES,
        places: &places,
    };
    target.run(|choices, reached| {
        let case = chosen(choices);
        walk(&case, choices, reached);
    });
}
