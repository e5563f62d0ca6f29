//! What the kernel calls a thread, of which the interpreter knows only what the C library calls it.
//!
//! Before 3.11 a `PyThreadState` has its `pthread_t` alone. With glibc and musl that is the address of the library's own `struct pthread`,
//! in which the thread's id is somewhere: where, one sees from all threads at once.

use std::collections::BTreeSet;

use crate::memory::{Address, Memory};

/// Bytes of a `struct pthread` that are searched: in glibc the id is behind the thread's header, which has 704 bytes on x86-64.
const SEARCHED_BYTES: u64 = 1024;
/// Where it is in glibc (`nptl/descr.h`, `struct pthread`, since 2.4), in musl 1.2 and in musl 1.1 (`src/internal/pthread_impl.h`). They
/// are tried first, as an id of one digit (in a container) is found in many places.
const KNOWN_PLACES: [u64; 3] = [720, 48, 56];

/// Finds where a `struct pthread` has the id of its thread: where each of those at `threads` that has not
/// ended has another one of `ids`.
pub(super) fn find_place(
    memory: &dyn Memory,
    threads: &BTreeSet<Address>,
    ids: &BTreeSet<u32>,
) -> Option<u64> {
    let searched = (0..SEARCHED_BYTES).step_by(4);
    let mut best = (0, None);
    for place in KNOWN_PLACES.into_iter().chain(searched) {
        let found = count_ids(memory, threads, ids, place);
        if found > best.0 {
            best = (found, Some(place));
        }
    }
    best.1
}

/// How many of `threads` have an id at `place`; 0 where one of them has something else there, or two have the same.
fn count_ids(memory: &dyn Memory, threads: &BTreeSet<Address>, ids: &BTreeSet<u32>, place: u64) -> usize {
    let mut found = BTreeSet::new();
    let is_plausible = |thread: &Address| match read(memory, *thread, place) {
        // It has ended: its memory is gone, or the kernel has cleared its id.
        None | Some(0) => true,
        Some(id) => ids.contains(&id) && found.insert(id),
    };
    if threads.iter().all(is_plausible) {
        found.len()
    } else {
        0
    }
}

/// The id that the `struct pthread` at `thread` has at `place`.
pub(super) fn read(memory: &dyn Memory, thread: Address, place: u64) -> Option<u32> {
    let mut bytes = [0; 4];
    memory.read(thread.offset(place), &mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::image::MemoryImage;

    const THREADS: [u64; 3] = [0x1000, 0x8000, 0x9000];

    fn find(image: &MemoryImage, threads: &[u64], ids: &[u32]) -> Option<u64> {
        let threads = threads.iter().copied().map(Address).collect();
        find_place(image, &threads, &ids.iter().copied().collect())
    }

    fn image(place: u64, ids: [u32; 3]) -> MemoryImage {
        let mut image = MemoryImage::default();
        for (thread, id) in THREADS.into_iter().zip(ids) {
            image.write(thread + place, &id.to_le_bytes());
        }
        image
    }

    #[test]
    fn finds_the_ids_of_all_threads_wherever_they_are() {
        for place in [720, 48, 56, 132, 1020] {
            let mut image = image(place, [70, 71, 72]);
            // The id of the process is in each; the id of one thread in one.
            for thread in THREADS {
                image.write(thread + 16, &70_u32.to_le_bytes());
            }
            image.write(THREADS[1] + 20, &71_u32.to_le_bytes());
            assert_eq!(find(&image, &THREADS, &[70, 71, 72, 73]), Some(place));
        }
    }

    #[test]
    fn knows_where_to_look_for_the_only_thread_of_a_container() {
        let mut image = image(720, [1, 0, 0]);
        image.write(THREADS[0] + 24, &1_u32.to_le_bytes());
        assert_eq!(find(&image, &THREADS[..1], &[1]), Some(720));
    }

    #[test]
    fn finds_none_where_there_is_none() {
        let image = image(720, [70, 71, 71]);
        assert_eq!(find(&image, &THREADS, &[70, 71, 72]), None);
        assert_eq!(find(&image, &THREADS[..2], &[70]), None);
        assert_eq!(find(&image, &[0x7000_0000], &[70]), None);
    }

    #[test]
    fn leaves_out_threads_that_have_ended() {
        let threads = [THREADS[0], THREADS[1], THREADS[2], 0x7000_0000];
        assert_eq!(find(&image(132, [70, 0, 72]), &threads, &[70, 72]), Some(132));
    }
}
