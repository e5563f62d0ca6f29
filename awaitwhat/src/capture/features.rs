//! What the programs need of the kernel, one by one, as far as the kernel's own type information tells: that needs no privilege, and
//! loads nothing. Never by the kernel's version: distributions bring features to older ones.
//!
//! Where each came from: `include/uapi/linux/bpf.h` and `kernel/bpf/{task_iter,bpf_iter}.c` of the first release that has it.

use super::error::CaptureError;
use super::kernel_types::{self, Types};

/// Something that the programs need of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What the kernel calls it.
    pub name: &'static str,
    /// What awaitwhat does with it.
    pub purpose: &'static str,
    /// The first release of Linux that has it.
    pub since: &'static str,
    sign: Sign,
}

/// How the kernel's type information shows a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Structure(&'static str),
    Field(&'static str, &'static str),
    Enumerator(&'static str),
}

const fn feature(name: &'static str, since: &'static str, sign: Sign, purpose: &'static str) -> Feature {
    Feature {
        name,
        purpose,
        since,
        sign,
    }
}

/// All that is needed, oldest first.
const FEATURES: [Feature; 8] = [
    feature(
        "perf event programs",
        "4.9",
        Sign::Enumerator("BPF_PROG_TYPE_PERF_EVENT"),
        "sample threads while they run",
    ),
    feature(
        "bpf_probe_read_user",
        "5.5",
        Sign::Enumerator("BPF_FUNC_probe_read_user"),
        "read the thread that runs",
    ),
    feature(
        "ring buffers",
        "5.8",
        Sign::Enumerator("BPF_MAP_TYPE_RINGBUF"),
        "hand over records",
    ),
    feature(
        "task iterators",
        "5.8",
        Sign::Structure("bpf_iter__task"),
        "visit threads that rest",
    ),
    feature(
        "mapping iterators",
        "5.12",
        Sign::Structure("bpf_iter__task_vma"),
        "list a target's mappings",
    ),
    feature(
        "bpf_loop",
        "5.17",
        Sign::Enumerator("BPF_FUNC_loop"),
        "walk any number of tasks",
    ),
    feature(
        "bpf_copy_from_user_task",
        "5.18",
        Sign::Enumerator("BPF_FUNC_copy_from_user_task"),
        "read threads that rest",
    ),
    feature(
        "iterators over one thread",
        "6.1",
        Sign::Field("bpf_iter_link_info", "task"),
        "visit the target's threads only",
    ),
];

/// Every feature, and whether the running kernel has it.
///
/// # Errors
/// When the kernel has no type information.
pub fn features() -> Result<Vec<(Feature, bool)>, CaptureError> {
    let bytes = kernel_types::read()?;
    Ok(found_in(&Types::parse(&bytes)?))
}

fn found_in(types: &Types<'_>) -> Vec<(Feature, bool)> {
    let named = |feature: &Feature| match feature.sign {
        Sign::Enumerator(name) => Some(name),
        Sign::Structure(_) | Sign::Field(..) => None,
    };
    let wanted: Vec<&str> = FEATURES.iter().filter_map(named).collect();
    let declared = types.enumerators(&wanted);
    let is_there = |feature: &Feature| match feature.sign {
        Sign::Structure(name) => types.has_structure(name),
        Sign::Field(structure, field) => types.has_field(structure, field),
        Sign::Enumerator(name) => declared.contains(&name),
    };
    FEATURES.iter().map(|it| (*it, is_there(it))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::kernel_types::Types;
    use super::{FEATURES, found_in};

    #[test]
    fn a_kernel_that_declares_nothing_has_nothing() {
        // An empty header: no types, and one empty string.
        let mut blob = vec![0x9f, 0xeb, 1, 0];
        for word in [24_u32, 0, 0, 0, 1] {
            blob.extend(word.to_le_bytes());
        }
        blob.push(0);
        let found = found_in(&Types::parse(&blob).unwrap());
        assert_eq!(found.len(), FEATURES.len());
        assert!(found.iter().all(|(_, is_there)| !is_there));
    }
}
