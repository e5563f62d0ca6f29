//! Memory with objects of every kind, as each version has them.

use awaitwhat_common::layout::Layout;
use awaitwhat_fuzz::Choices;

use super::hostile::{Hostile, Plain};
use super::objects::Planter;
use crate::layout::{Offsets, Table, Version};
use crate::memory::Address;
use crate::python::frame::Frames;
use crate::python::future::FutureTypes;
use crate::python::image::MemoryImage;
use crate::python::trio::TrioTypes;
use crate::python::{Objects, Types};
use crate::target::self_check_tests::tables;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Text,
    Number,
    Bytes,
    Dict,
    Sequence,
    Class,
    Instance,
    Module,
    Code,
    Function,
    Coroutine,
    Awaitable,
    /// A coroutine that waits in a function which a rule is for, and what it waits for.
    Waiter,
    Awaited,
    Job,
    WorkItem,
    Queue,
    TrioTask,
    Thread,
    ThreadLocal,
}

/// A process's memory, and what is where in it.
pub(super) struct World {
    offsets: Offsets,
    types: Types,
    pub(super) layout: Layout,
    pub(super) futures: FutureTypes,
    pub(super) trio: TrioTypes,
    plain: Plain,
    planted: Vec<(Kind, Address)>,
    all: Vec<Address>,
}

impl World {
    /// One for each version.
    pub(super) fn every() -> Vec<Self> {
        let old = [7, 8, 9, 10].map(|minor| {
            let version = Version::from_hex(3 << 24 | minor << 16 | 0xf0);
            Table::for_interpreter(&MemoryImage::default(), version, Address::NULL)
                .expect("until 3.12 they publish nothing")
        });
        let new = tables().into_iter().map(|(_, table)| table);
        old.into_iter()
            .chain(new)
            .map(|table| Self::new(&table))
            .collect()
    }

    fn new(table: &Table) -> Self {
        let planter = Planter::planted(table);
        Self {
            offsets: planter.heap.offsets,
            types: planter.heap.types,
            layout: planter.layout,
            futures: planter.futures,
            trio: planter.trio,
            plain: Plain::new(&planter.heap.image),
            all: planter.planted.iter().map(|(_, address)| *address).collect(),
            planted: planter.planted,
        }
    }

    /// This memory, with changes.
    pub(super) fn memory(&self, choices: &mut Choices<'_>) -> Hostile {
        Hostile::new(&self.plain, choices, &self.all)
    }

    pub(super) fn objects<'a>(&'a self, memory: &'a Hostile) -> Objects<'a> {
        Objects {
            memory,
            offsets: &self.offsets,
            types: &self.types,
        }
    }

    pub(super) fn frames<'a>(&'a self, memory: &'a Hostile) -> Frames<'a> {
        Frames {
            objects: self.objects(memory),
            layout: &self.layout,
        }
    }

    /// The address of an object of this kind; sometimes of another one, or of anything.
    pub(super) fn pick(&self, choices: &mut Choices<'_>, kind: Kind) -> Address {
        match choices.below(16) {
            14 => choices.pick(&self.all),
            15 => Address(self.plain.address(choices)),
            _ => {
                let those = self.planted.iter().filter(|(other, _)| *other == kind);
                let those: Vec<Address> = those.map(|(_, address)| *address).collect();
                choices.pick(&those)
            }
        }
    }
}
