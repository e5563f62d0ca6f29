//! Expressions of a program, as its instructions put them together, and the stack that they are on.
//!
//! Nothing is read for them: they refer to names and constants by number. Both are bounded, whatever the instructions are.

/// An expression of [`Nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u32);

impl Id {
    pub(super) const UNKNOWN: Self = Self(0);
    /// What is beside a callable on the stack (`PUSH_NULL`).
    pub(super) const NULL: Self = Self(1);
}

/// Levels of an expression that are told; what is built on more of them is unknown.
const MAX_LEVELS: u8 = 12;
/// Arguments of a call, or items of a tuple, that are told.
pub(super) const MAX_ITEMS: usize = 6;

/// One expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Unknown,
    Null,
    /// A variable, by its place among the frame's.
    Local(u32),
    /// A variable that is shared with other functions, by its place among those (before 3.11) or among all.
    Shared(u32),
    /// `co_names[n]`.
    Name(u32),
    /// `co_consts[n]`.
    Constant(u32),
    SmallInt(u32),
    /// What `LOAD_COMMON_CONSTANT` loads.
    Common(u32),
    /// An object, and the name of an attribute in `co_names`.
    Attribute(Id, u32),
    /// An attribute of `super()`.
    SuperAttribute(u32),
    Item(Id, Id),
    Tuple(Items),
    /// A callable, its arguments, and which constant has the names of the last ones.
    Call(Id, Items, Option<u32>),
    /// A call with `*` or `**`.
    CallWithMany(Id),
    /// What `async with` calls of an object: by number until it is called (`LOAD_SPECIAL`).
    Special(Id, u32),
    /// `__aexit__` of an object.
    Exit(Id),
    /// `async with` of an object begins, and ends.
    Entering(Id),
    Leaving(Id),
    /// What `async for` goes through, and takes the next item of.
    Iterator(Id),
    Next(Id),
}

impl Node {
    /// What it is built of, besides the items of a call.
    fn parts(&self) -> [Id; 2] {
        match *self {
            Self::Attribute(of, _)
            | Self::Call(of, ..)
            | Self::CallWithMany(of)
            | Self::Special(of, _)
            | Self::Exit(of)
            | Self::Entering(of)
            | Self::Leaving(of)
            | Self::Iterator(of)
            | Self::Next(of) => [of, Id::UNKNOWN],
            Self::Item(of, key) => [of, key],
            _ => [Id::UNKNOWN; 2],
        }
    }

    fn items(&self) -> &[Id] {
        match self {
            Self::Tuple(items) | Self::Call(_, items, _) => items.told(),
            _ => &[],
        }
    }
}

/// Arguments of a call, or items of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Items {
    /// The first of them.
    first: [Id; MAX_ITEMS],
    /// How many there are.
    pub(super) count: u32,
}

impl Items {
    pub(super) fn told(&self) -> &[Id] {
        let told = (self.count as usize).min(MAX_ITEMS);
        self.first.get(..told).unwrap_or_default()
    }
}

/// All expressions of one run.
#[derive(Debug)]
pub(super) struct Nodes(Vec<(Node, u8)>);

impl Nodes {
    pub(super) fn new() -> Self {
        Self(vec![(Node::Unknown, 0), (Node::Null, 0)])
    }

    pub(super) fn get(&self, id: Id) -> Node {
        self.0.get(id.0 as usize).map_or(Node::Unknown, |(node, _)| *node)
    }

    /// An expression; unknown where it is built of something unknown, but for items and keys, or on too much.
    pub(super) fn add(&mut self, node: Node) -> Id {
        let parts = node.parts();
        let [of, _] = parts;
        let is_of_something = !matches!(node, Node::Attribute(..) | Node::Item(..) | Node::Call(..))
            || (of != Id::UNKNOWN && of != Id::NULL);
        let levels = node.items().iter().chain(&parts);
        let levels = levels.map(|id| self.levels(*id)).max().unwrap_or(0) + 1;
        let Ok(number) = u32::try_from(self.0.len()) else {
            return Id::UNKNOWN;
        };
        if !is_of_something || levels > MAX_LEVELS {
            return Id::UNKNOWN;
        }
        self.0.push((node, levels));
        Id(number)
    }

    fn levels(&self, id: Id) -> u8 {
        self.0.get(id.0 as usize).map_or(0, |(_, levels)| *levels)
    }
}

/// Values of the stack that are kept: those below them are unknown.
const MAX_STACK: usize = 64;

/// What is known of the stack: its top. What lies below that is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stack(Vec<Id>);

impl Stack {
    pub(super) fn push(&mut self, id: Id) {
        if self.0.len() >= MAX_STACK {
            self.0.remove(0);
        }
        self.0.push(id);
    }

    pub(super) fn push_unknown(&mut self, count: u32) {
        for _ in 0..count.min(MAX_STACK as u32) {
            self.push(Id::UNKNOWN);
        }
    }

    pub(super) fn pop(&mut self) -> Id {
        self.0.pop().unwrap_or(Id::UNKNOWN)
    }

    /// Takes the topmost values.
    pub(super) fn drop(&mut self, count: u32) {
        self.0.truncate(self.0.len().saturating_sub(count as usize));
    }

    /// Takes the topmost values, which are items in their order.
    pub(super) fn items(&mut self, count: u32) -> Items {
        let mut first = [Id::UNKNOWN; MAX_ITEMS];
        for (index, item) in first.iter_mut().enumerate() {
            *item = match (count as usize).checked_sub(index) {
                Some(depth) => self.peek(depth),
                None => Id::UNKNOWN,
            };
        }
        self.drop(count);
        Items { first, count }
    }

    /// The value so far from the top; the topmost one is 1.
    pub(super) fn peek(&self, depth: usize) -> Id {
        let index = self.0.len().checked_sub(depth);
        let found = index.and_then(|index| self.0.get(index));
        found.copied().unwrap_or(Id::UNKNOWN)
    }

    /// Exchanges the topmost value and the one at a depth.
    pub(super) fn swap(&mut self, depth: usize) {
        if self.has(depth) {
            let top = self.0.len() - 1;
            self.0.swap(top, top + 1 - depth);
        }
    }

    /// Takes the topmost value down to a depth.
    pub(super) fn rotate(&mut self, depth: usize) {
        if self.has(depth) {
            let from = self.0.len() - depth;
            if let Some(values) = self.0.get_mut(from..) {
                values.rotate_right(1);
            }
        }
    }

    /// Whether there is something to do at a depth; makes place for it. Where it is too deep, nothing is known afterwards.
    fn has(&mut self, depth: usize) -> bool {
        if depth == 0 || depth > MAX_STACK {
            self.0.clear();
            return false;
        }
        while self.0.len() < depth {
            self.0.insert(0, Id::UNKNOWN);
        }
        true
    }

    /// What is known however the place was reached: what both agree about.
    pub(super) fn meet(&self, other: &Self) -> Self {
        let pairs = self.0.iter().rev().zip(other.0.iter().rev());
        let met = pairs.map(|(one, other)| if one == other { *one } else { Id::UNKNOWN });
        let mut met: Vec<_> = met.collect();
        met.reverse();
        Self(met)
    }
}

#[cfg(test)]
mod tests {
    use super::{Id, MAX_LEVELS, MAX_STACK, Node, Nodes, Stack};

    fn stack(ids: &[u32]) -> Stack {
        Stack(ids.iter().map(|id| Id(*id)).collect())
    }

    #[test]
    fn is_unknown_below_what_it_has() {
        let mut it = stack(&[5]);
        assert_eq!(
            (it.peek(1), it.peek(2), it.peek(0)),
            (Id(5), Id::UNKNOWN, Id::UNKNOWN)
        );
        it.swap(3);
        assert_eq!(it, stack(&[5, 0, 0]));
        it.drop(2);
        it.push(Id(6));
        it.rotate(2);
        assert_eq!(it, stack(&[6, 5]));
        it.drop(u32::MAX);
        assert_eq!(it.pop(), Id::UNKNOWN);
        for depth in [0, MAX_STACK + 1, usize::MAX] {
            let mut it = stack(&[5, 6]);
            it.swap(depth);
            assert_eq!(it, Stack::default());
        }
    }

    #[test]
    fn keeps_the_topmost_values() {
        let mut it = stack(&[5]);
        it.push_unknown(u32::MAX);
        assert_eq!(it.0, [Id::UNKNOWN; MAX_STACK]);
        it.push(Id(7));
        assert_eq!((it.0.len(), it.peek(1)), (MAX_STACK, Id(7)));
    }

    #[test]
    fn meets_at_the_top() {
        assert_eq!(stack(&[4, 5, 6]).meet(&stack(&[9, 6])), stack(&[0, 6]));
    }

    #[test]
    fn takes_items_in_their_order() {
        let mut it = stack(&[5, 6, 7]);
        let items = it.items(2);
        assert_eq!((items.told(), it), (&[Id(6), Id(7)][..], stack(&[5])));
        let mut few = stack(&[5]);
        assert_eq!(few.items(2).told(), [Id::UNKNOWN, Id(5)]);
        assert_eq!(stack(&[5]).items(u32::MAX).count, u32::MAX);
    }

    #[test]
    fn ends_with_so_many_levels() {
        let mut nodes = Nodes::new();
        let mut id = nodes.add(Node::Local(0));
        for _ in 1..MAX_LEVELS {
            id = nodes.add(Node::Attribute(id, 0));
            assert_ne!(id, Id::UNKNOWN);
        }
        assert_eq!(nodes.add(Node::Attribute(id, 0)), Id::UNKNOWN);
        assert_eq!(nodes.add(Node::Attribute(Id::NULL, 0)), Id::UNKNOWN);
    }
}
