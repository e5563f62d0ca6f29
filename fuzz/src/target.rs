//! One target, and its executions.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, Once, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::corpus::{Corpus, smaller};
use crate::{Choices, Place, Reached, variable};

/// What the inputs of a short run are made from.
const SHORT_SEED: u64 = 0x5eed;
/// Tries to find a smaller input that fails too.
const SMALLER_TRIES: u32 = 2000;
/// An execution that takes longer is one without end: its input is printed, and the run aborted. An ordinary one takes milliseconds.
const ENDLESS: Duration = Duration::from_secs(120);

/// What is tried, how often in a short run, and what is expected of it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'expected> {
    /// The test is called `fuzz_` and this.
    pub name: &'static str,
    /// Executions of a short run.
    pub executions: u64,
    /// Bytes that one execution may have allocated at a time.
    pub max_bytes: u64,
    /// Places of which each has to be reached: a target that does not come there tries too little.
    pub places: &'expected [Place],
}

/// How one execution ended.
struct Execution {
    reached: Reached,
    failure: Option<String>,
}

thread_local! {
    /// Whether a panic of this thread is one of an execution, which is told later, with its input.
    static IS_EXECUTING: Cell<bool> = const { Cell::new(false) };
    /// Where the last of those was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Target<'_> {
    /// Executes the target: an input, for a time, or as often as in a short run, as the environment says.
    ///
    /// # Panics
    /// When an execution panics, or takes more memory than it may; says by which input. When a place was not reached.
    pub fn run(&self, execute: impl Fn(&mut Choices<'_>, &mut Reached)) {
        quieten();
        if let Some(input) = env::var(variable::INPUT).ok().filter(|it| !it.is_empty()) {
            let input = from_hex(&input).expect("an input is hexadecimal");
            let execution = self.execute(&execute, &input);
            println!("{}", execution.reached.lines().join("\n"));
            if let Some(failure) = execution.failure {
                panic!("{failure}");
            }
            return;
        }
        let number = |name| env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
        let seconds = number(variable::SECONDS);
        let seed = number(variable::SEED).unwrap_or(SHORT_SEED);
        let reached = self.try_many(&execute, seed, seconds.map(Duration::from_secs));
        let missing: Vec<&Place> = self.places.iter().filter(|it| !reached.has(**it)).collect();
        assert!(
            missing.is_empty(),
            "fuzz target {}: never reached {missing:?}",
            self.name
        );
    }

    fn try_many(
        &self,
        execute: &impl Fn(&mut Choices<'_>, &mut Reached),
        seed: u64,
        time: Option<Duration>,
    ) -> Reached {
        let mut rng = Rng::with_seed(seed);
        let (mut corpus, mut reached, mut most) = (Corpus::default(), Reached::default(), BTreeMap::new());
        let begin = Instant::now();
        let is_over = |executions| match time {
            Some(time) => begin.elapsed() >= time,
            None => executions >= self.executions,
        };
        let current = &Mutex::new((Instant::now(), Vec::new()));
        let mut executions = 0;
        thread::scope(|scope| {
            let (done, is_done) = mpsc::channel::<()>();
            scope.spawn(move || self.watch(current, &is_done));
            while !is_over(executions) {
                let input = corpus.next(&mut rng);
                *current.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), input.clone());
                let execution = self.execute(execute, &input);
                executions += 1;
                if let Some(failure) = execution.failure {
                    drop(done);
                    self.fail(execute, &input, &failure);
                }
                if reached.add(&execution.reached, &mut most) {
                    corpus.add(input, &mut rng);
                }
            }
            drop(done);
        });
        println!(
            "{}: {executions} executions in {:.0} s from seed {seed}, {} places\n{}",
            self.name,
            begin.elapsed().as_secs_f64(),
            most.len(),
            reached.lines().join("\n")
        );
        reached
    }

    fn execute(&self, execute: &impl Fn(&mut Choices<'_>, &mut Reached), input: &[u8]) -> Execution {
        let mut reached = Reached::default();
        let mut result = Ok(());
        IS_EXECUTING.set(true);
        let memory = allocation_counter::measure(|| {
            result = panic::catch_unwind(AssertUnwindSafe(|| {
                execute(&mut Choices::new(input), &mut reached);
            }));
        });
        IS_EXECUTING.set(false);
        let failure = match result {
            Err(panic) => Some(format!("{} ({})", message(&*panic), PLACE.take())),
            Ok(()) if memory.bytes_max > self.max_bytes => Some(format!(
                "{} bytes were allocated at a time, more than {}",
                memory.bytes_max, self.max_bytes
            )),
            Ok(()) => None,
        };
        Execution { reached, failure }
    }

    fn fail(&self, execute: &impl Fn(&mut Choices<'_>, &mut Reached), input: &[u8], failure: &str) -> ! {
        let mut failure = failure.to_owned();
        let input = smaller(input, SMALLER_TRIES, |input| {
            let found = self.execute(execute, input).failure;
            found.map(|found| failure = found).is_some()
        });
        panic!("{failure}\n{}", self.again(&input));
    }

    /// How an input is tried again.
    fn again(&self, input: &[u8]) -> String {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "again by: cargo xtask fuzz {} --input {}",
            self.name,
            if hex.is_empty() { "00" } else { &hex }
        )
    }

    /// Ends the run where an execution does not end by itself.
    fn watch(&self, current: &Mutex<(Instant, Vec<u8>)>, is_done: &mpsc::Receiver<()>) {
        while is_done.recv_timeout(ENDLESS / 4) == Err(mpsc::RecvTimeoutError::Timeout) {
            let (since, input) = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if since.elapsed() >= ENDLESS {
                eprintln!(
                    "fuzz target {}: an execution does not end; {}",
                    self.name,
                    self.again(&input)
                );
                std::process::abort();
            }
        }
    }
}

/// Has panics of executions say nothing, as their inputs are tried again and again to make them smaller.
fn quieten() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IS_EXECUTING.get() {
                PLACE.set(info.location().map(ToString::to_string).unwrap_or_default());
            } else {
                usual(info);
            }
        }));
    });
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::{Target, from_hex, message};
    use crate::{Choices, Place, Reached};

    fn failure(places: &[Place], execute: impl Fn(&mut Choices<'_>, &mut Reached)) -> Option<String> {
        let target = Target {
            name: "itself",
            executions: 20_000,
            max_bytes: 1 << 20,
            places,
        };
        let result = catch_unwind(AssertUnwindSafe(|| target.run(execute)));
        result.err().map(|panic| message(&*panic))
    }

    /// Decisions that all have to be right, one in a million inputs: found one after the other, as each leads to a new place.
    #[test]
    fn what_lies_deep_is_found_and_told_with_its_input() {
        const RIGHT: [usize; 5] = [3, 14, 1, 9, 6];
        let found = failure(&[], |choices, reached| {
            for (number, right) in (0..).zip(RIGHT) {
                if choices.below(16) != right {
                    return;
                }
                reached.note("decision", number);
            }
            panic!("found");
        });
        let found = found.expect("it panics");
        assert!(found.starts_with("found (fuzz/src/target.rs:"), "{found}");
        let (_, input) = found
            .split_once("again by: cargo xtask fuzz itself --input ")
            .expect("it is told");
        let input = from_hex(input).expect("it is hexadecimal");
        assert_eq!(
            input
                .iter()
                .map(|byte| usize::from(byte % 16))
                .collect::<Vec<_>>(),
            RIGHT
        );
    }

    #[test]
    fn what_is_not_reached_is_a_failure() {
        let found = failure(&[("here", 0), ("there", 1)], |_, reached| reached.note("here", 0));
        assert!(found.is_some_and(|it| it.contains("never reached [(\"there\", 1)]")));
    }

    #[test]
    fn too_much_memory_is_a_failure() {
        let found = failure(&[], |choices, _| drop(vec![1_u8; choices.below(1 << 24)]));
        assert!(found.is_some_and(|it| it.contains("bytes were allocated")));
    }
}
