//! Goes through instructions in their order, and keeps what expressions are on the stack.
//!
//! Each instruction is gone through once, whatever loops there are. A place that several ways lead to has what all of them agree
//! about. What compiled code keeps on the stack below a loop is the same in all of its turns. What an exception leaves, and what instructions
//! that are not modelled leave, is unknown. A number that is no known instruction ends it: it may be of any length.

use std::collections::BTreeMap;

use super::nodes::{Id, Node, Nodes, Stack};
use super::operation::Operation;
use crate::layout::opcodes::{Effect, Jump, Opcode, Opcodes};

/// Bytes of a code unit: opcode, then argument.
pub(super) const CODE_UNIT: usize = 2;
/// Places ahead that jumps lead to, at a time.
const MAX_AHEAD: usize = 1024;
/// Bits of an argument that an instruction has for itself.
const ARGUMENT_BITS: u32 = 8;

/// An instruction with its argument, and the unit behind it.
#[derive(Clone, Copy)]
struct Step {
    opcode: Opcode,
    argument: u32,
    at: usize,
    next: usize,
}

/// The instructions of a version, with what they do.
#[derive(Debug)]
pub(super) struct Instructions {
    pub(super) opcodes: Opcodes,
    by_number: Vec<Option<(Opcode, Operation)>>,
    /// Where `SEND` has the receiver: `END_SEND` takes all from there on, and leaves one.
    receiver_depth: usize,
}

impl Instructions {
    pub(super) fn new(opcodes: Opcodes) -> Self {
        let of_number = |number| {
            let opcode = opcodes.get(number)?;
            Some((opcode, Operation::named(opcode.name)))
        };
        let receiver_depth = match opcodes.named("END_SEND").map(|end| end.effect) {
            Some(Effect::Always(effect)) => 1 + effect.unsigned_abs() as usize,
            _ => 2,
        };
        Self {
            by_number: (0..=u8::MAX).map(of_number).collect(),
            receiver_depth,
            opcodes,
        }
    }

    fn get(&self, number: u8) -> Option<(Opcode, Operation)> {
        self.by_number.get(usize::from(number)).copied().flatten()
    }
}

/// Goes through the instructions until one.
pub(super) struct Machine<'a> {
    instructions: &'a Instructions,
    nodes: Nodes,
    /// `None` where no instruction leads on to the next one.
    stack: Option<Stack>,
    /// What jumps have left for places ahead.
    ahead: BTreeMap<usize, Stack>,
    /// The constant that names the keywords of the next call.
    keywords: Option<u32>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(instructions: &'a Instructions) -> Self {
        Self {
            instructions,
            nodes: Nodes::new(),
            stack: Some(Stack::default()),
            ahead: BTreeMap::new(),
            keywords: None,
        }
    }

    /// What is awaited at the code unit `unit`: the expressions, and which of them. `None` where nothing is, or nothing can be said.
    pub(super) fn awaited(mut self, code: &[u8], unit: usize) -> Option<(Nodes, Id)> {
        let (units, _) = code.as_chunks::<CODE_UNIT>();
        let (mut at, mut argument) = (0, 0_u32);
        while let Some([number, low]) = units.get(at) {
            // An instruction of `yield from` follows the one that its frame says it is at.
            if at > unit.saturating_add(1) || self.ahead.len() > MAX_AHEAD {
                return None;
            }
            self.arrive(at);
            let (opcode, operation) = self.instructions.get(*number)?;
            let step = Step {
                opcode,
                argument: argument << ARGUMENT_BITS | u32::from(*low),
                at,
                next: at + 1 + usize::from(opcode.caches),
            };
            if let Some(id) = self.awaited_by(operation, step, unit) {
                return Some((self.nodes, id));
            }
            argument = if operation == Operation::Extends {
                step.argument
            } else {
                0
            };
            self.perform(operation, step);
            at = step.next;
        }
        None
    }

    /// What the stack has at a place.
    fn arrive(&mut self, at: usize) {
        let jumped = self.ahead.remove(&at);
        self.stack = Some(match (self.stack.take(), jumped) {
            (Some(stack), Some(jumped)) => stack.meet(&jumped),
            (Some(stack), None) | (None, Some(stack)) => stack,
            (None, None) => Stack::default(),
        });
    }

    fn awaited_by(&mut self, operation: Operation, step: Step, unit: usize) -> Option<Id> {
        let stack = self.stack.as_ref()?;
        match operation {
            // Until the coroutine has ended, its frame is at `SEND`, or in the loop behind it.
            Operation::Sends if (step.at..self.target(step)?).contains(&unit) => {
                Some(stack.peek(self.instructions.receiver_depth))
            }
            // `f_lasti` is that of the instruction before, so that `YIELD_FROM` comes again (`Python/ceval.c` of 3.7 to 3.10).
            Operation::YieldsFrom if step.at == unit || step.at == unit + 1 => Some(stack.peek(2)),
            _ => None,
        }
    }

    /// Where a jump leads.
    fn target(&self, step: Step) -> Option<usize> {
        let unit = self.instructions.opcodes.facts.jump_unit as usize;
        let distance = step.argument as usize * unit / CODE_UNIT;
        match step.opcode.jump {
            Jump::Forward => Some(step.next + distance),
            Jump::Absolute => Some(distance),
            Jump::Backward | Jump::None => None,
        }
    }

    /// Leaves a stack for the place that a jump leads to, if that is still to come.
    fn jump(&mut self, step: Step, stack: Stack) {
        let Some(target) = self.target(step).filter(|target| *target >= step.next) else {
            return;
        };
        let stack = match self.ahead.remove(&target) {
            Some(other) => other.meet(&stack),
            None => stack,
        };
        self.ahead.insert(target, stack);
    }

    fn perform(&mut self, operation: Operation, step: Step) {
        let mut stack = self.stack.take().unwrap_or_default();
        let is_known = self.arrange(operation, step, &mut stack)
            || self.load(operation, step, &mut stack)
            || self.call(operation, step, &mut stack)
            || self.compute(operation, step, &mut stack)
            || self.go_on(operation, step, &mut stack);
        if !is_known {
            stack = Stack::default();
            self.jump(step, Stack::default());
        }
        if operation != Operation::Leaves {
            self.stack = Some(stack);
        }
    }

    /// Instructions that move values; whether it is one.
    fn arrange(&mut self, operation: Operation, step: Step, stack: &mut Stack) -> bool {
        let depth = step.argument as usize;
        match operation {
            Operation::Nothing | Operation::Extends => {}
            Operation::Duplicates(count) => {
                for _ in 0..count {
                    stack.push(stack.peek(count));
                }
            }
            Operation::Copies => stack.push(stack.peek(depth)),
            Operation::Swaps => stack.swap(depth),
            Operation::Rotates(depth) => stack.rotate(depth),
            Operation::RotatesByArgument => stack.rotate(depth),
            Operation::Moves => return take_and_leave(step, stack, 0),
            _ => return false,
        }
        true
    }

    /// Instructions that load something; whether it is one.
    fn load(&mut self, operation: Operation, step: Step, stack: &mut Stack) -> bool {
        /// `LOAD_FAST_LOAD_FAST` and the like have two numbers of four bits in their arguments.
        const PAIR_BITS: u32 = 4;
        let argument = step.argument;
        let mut push = |node| stack.push(self.nodes.add(node));
        match operation {
            Operation::LoadLocal => push(Node::Local(argument)),
            Operation::LoadLocals => {
                push(Node::Local(argument >> PAIR_BITS));
                push(Node::Local(argument & ((1 << PAIR_BITS) - 1)));
            }
            Operation::StoreAndLoadLocal => {
                stack.pop();
                stack.push(self.nodes.add(Node::Local(argument & ((1 << PAIR_BITS) - 1))));
            }
            Operation::LoadShared => push(Node::Shared(argument)),
            Operation::LoadConstant => push(Node::Constant(argument)),
            Operation::LoadSmallInt => push(Node::SmallInt(argument)),
            Operation::LoadCommonConstant => push(Node::Common(argument)),
            Operation::PushNull => stack.push(Id::NULL),
            Operation::LoadName => {
                let (index, has_null) = name_index(step, 1);
                let name = self.nodes.add(Node::Name(index));
                push_callable(stack, name, has_null);
            }
            _ => return self.load_attribute(operation, step, stack),
        }
        true
    }

    fn load_attribute(&mut self, operation: Operation, step: Step, stack: &mut Stack) -> bool {
        match operation {
            Operation::LoadAttribute => {
                let (index, has_null) = name_index(step, 1);
                let attribute = Node::Attribute(stack.pop(), index);
                push_callable(stack, self.nodes.add(attribute), has_null);
            }
            Operation::LoadMethod => {
                let attribute = Node::Attribute(stack.pop(), step.argument);
                push_callable(stack, self.nodes.add(attribute), true);
            }
            Operation::LoadSuperAttribute => {
                // `super`, the class and the object.
                stack.drop(3);
                // The second bit tells `super()` from `super(type, object)`.
                let (index, has_null) = name_index(step, 2);
                let attribute = self.nodes.add(Node::SuperAttribute(index));
                push_callable(stack, attribute, has_null);
            }
            Operation::LoadSpecial => {
                let special = Node::Special(stack.pop(), step.argument);
                push_callable(stack, self.nodes.add(special), true);
            }
            _ => return false,
        }
        true
    }

    /// Instructions that call something; whether it is one.
    fn call(&mut self, operation: Operation, step: Step, stack: &mut Stack) -> bool {
        let keywords = self.keywords.take();
        match operation {
            Operation::Keywords => self.keywords = Some(step.argument),
            Operation::Calls => self.push_call(step.argument, true, keywords, stack),
            Operation::CallsFunction => self.push_call(step.argument, false, None, stack),
            Operation::CallsWithKeywords | Operation::CallsFunctionWithKeywords => {
                let names = match self.nodes.get(stack.pop()) {
                    Node::Constant(index) => Some(index),
                    // There are keywords, which no constant names.
                    _ => Some(u32::MAX),
                };
                let is_pair = operation == Operation::CallsWithKeywords;
                self.push_call(step.argument, is_pair, names, stack);
            }
            Operation::CallsWithMany => return self.call_with_many(step, stack),
            Operation::Iterates => {
                let iterator = Node::Iterator(stack.pop());
                stack.push(self.nodes.add(iterator));
            }
            Operation::TakesNext => {
                let next = Node::Next(stack.peek(1));
                stack.push(self.nodes.add(next));
            }
            Operation::EntersAsync => {
                let object = stack.pop();
                stack.push(self.nodes.add(Node::Exit(object)));
                stack.push(self.nodes.add(Node::Entering(object)));
            }
            _ => return false,
        }
        true
    }

    /// Takes a callable with its arguments, and leaves the call. `is_pair`: two values are what is called, as from 3.11 on.
    fn push_call(&mut self, count: u32, is_pair: bool, keywords: Option<u32>, stack: &mut Stack) {
        let arguments = stack.items(count);
        let callable = self.take_callable(is_pair, stack);
        let call = match self.nodes.get(callable) {
            Node::Special(of, number) if Some(number) == self.instructions.opcodes.facts.enter => {
                Node::Entering(of)
            }
            Node::Special(of, number) if Some(number) == self.instructions.opcodes.facts.exit => {
                Node::Leaving(of)
            }
            Node::Special(..) => Node::Unknown,
            Node::Exit(of) => Node::Leaving(of),
            _ => Node::Call(callable, arguments, keywords),
        };
        stack.push(self.nodes.add(call));
    }

    fn take_callable(&self, is_pair: bool, stack: &mut Stack) -> Id {
        let upper = stack.pop();
        if !is_pair {
            return upper;
        }
        let lower = stack.pop();
        match (lower, upper) {
            (callable, Id::NULL) | (Id::NULL, callable) => callable,
            // `__aexit__` is a bound method, and is called with its first argument in the place of an object (3.11 to 3.13).
            (exit, _) if matches!(self.nodes.get(exit), Node::Exit(_)) => exit,
            _ => Id::UNKNOWN,
        }
    }

    /// `f(*arguments, **keywords)`: keywords are there if the lowest bit says so, or always (from 3.14 on).
    fn call_with_many(&mut self, step: Step, stack: &mut Stack) -> bool {
        let Some(effect) = step.opcode.effect.of(step.argument) else {
            return false;
        };
        let has_keywords = matches!(step.opcode.effect, Effect::Always(_)) || step.argument & 1 != 0;
        let others = 1 + u32::from(has_keywords);
        // Where one value more is taken, two are what is called.
        let is_pair = effect.unsigned_abs() > others;
        stack.drop(others);
        let callable = self.take_callable(is_pair, stack);
        let is_known = callable != Id::UNKNOWN && callable != Id::NULL;
        let call = if is_known {
            self.nodes.add(Node::CallWithMany(callable))
        } else {
            Id::UNKNOWN
        };
        stack.push(call);
        true
    }

    /// Instructions that make values of others; whether it is one.
    fn compute(&mut self, operation: Operation, step: Step, stack: &mut Stack) -> bool {
        let argument = step.argument;
        match operation {
            Operation::Replaces => return take_and_leave(step, stack, 1),
            Operation::Results => return leave_result(step, stack),
            Operation::OperatesOnTwo if Some(argument) != self.instructions.opcodes.facts.subscript => {
                return leave_result(step, stack);
            }
            Operation::Subscripts | Operation::OperatesOnTwo => {
                let key = stack.pop();
                let item = Node::Item(stack.pop(), key);
                stack.push(self.nodes.add(item));
            }
            Operation::Slices => {
                stack.drop(2);
                let item = Node::Item(stack.pop(), Id::UNKNOWN);
                stack.push(self.nodes.add(item));
            }
            Operation::BuildsTuple => {
                let items = Node::Tuple(stack.items(argument));
                stack.push(self.nodes.add(items));
            }
            Operation::Gathers { each, more } => {
                stack.drop(argument.saturating_mul(each).saturating_add(more));
                stack.push_unknown(1);
            }
            Operation::Formats => {
                /// The value has a format (`FVS_HAVE_SPEC`, ceval.c).
                const HAS_FORMAT: u32 = 4;
                stack.drop(1 + u32::from(argument & HAS_FORMAT != 0));
                stack.push_unknown(1);
            }
            Operation::MakesFunction => {
                // Until 3.12 each of four flags is for a value.
                let flags = if step.opcode.effect == Effect::Varies {
                    argument & 0xf
                } else {
                    0
                };
                stack.drop(self.instructions.opcodes.facts.function_values + flags.count_ones());
                stack.push_unknown(1);
            }
            Operation::Unpacks => {
                stack.pop();
                stack.push_unknown(argument);
            }
            Operation::UnpacksRest => {
                stack.pop();
                stack.push_unknown((argument & 0xff) + 1 + (argument >> ARGUMENT_BITS));
            }
            _ => return false,
        }
        true
    }

    /// Instructions after which it may go on elsewhere; whether it is one.
    fn go_on(&mut self, operation: Operation, step: Step, stack: &mut Stack) -> bool {
        match operation {
            Operation::Leaves => self.jump(step, stack.clone()),
            Operation::JumpsByValue => {
                stack.pop();
                self.jump(step, stack.clone());
            }
            Operation::JumpsWithValue => {
                self.jump(step, stack.clone());
                stack.pop();
            }
            Operation::SetsUp => self.jump(step, Stack::default()),
            Operation::Loops => {
                let mut ended = stack.clone();
                match step.opcode.effect_of_jump {
                    Effect::Always(effect) if effect < 0 => ended.drop(effect.unsigned_abs()),
                    Effect::Always(effect) => ended.push_unknown(effect.unsigned_abs()),
                    _ => ended = Stack::default(),
                }
                self.jump(step, ended);
                stack.push_unknown(1);
            }
            Operation::Sends => {
                // The value that was sent becomes one that was yielded, or at last the result.
                stack.pop();
                let mut ended = stack.clone();
                if step.opcode.effect_of_jump == Effect::Always(-1) {
                    ended.pop();
                }
                ended.push_unknown(1);
                self.jump(step, ended);
                stack.push_unknown(1);
            }
            Operation::YieldsFrom => {
                stack.drop(2);
                stack.push_unknown(1);
            }
            _ => return false,
        }
        true
    }
}

/// A name's index in an argument, whose lowest bit says that NULL is pushed too where the instruction's effect depends on it (`LOAD_GLOBAL` from 3.11 on,
/// `LOAD_ATTR` from 3.12 on); `bits` are then not the index's.
fn name_index(step: Step, bits: u32) -> (u32, bool) {
    match step.opcode.effect {
        Effect::ByBit(_) => (step.argument >> bits, step.argument & 1 != 0),
        _ => (step.argument, false),
    }
}

/// Which of the two is above the other differs between versions, and does not matter.
fn push_callable(stack: &mut Stack, callable: Id, has_null: bool) {
    if has_null {
        stack.push(Id::NULL);
    }
    stack.push(callable);
}

/// Takes so many values, and leaves as many unknown ones as the instruction's effect says; without any, it may take more. Whether that is known.
fn take_and_leave(step: Step, stack: &mut Stack, taken: u32) -> bool {
    let Some(effect) = step.opcode.effect.of(step.argument) else {
        return false;
    };
    let left = i64::from(taken) + i64::from(effect);
    stack.drop(taken.saturating_add(u32::try_from(-left).unwrap_or(0)));
    stack.push_unknown(u32::try_from(left).unwrap_or(0));
    true
}

/// Takes what the effect says, and one more, and leaves one; whether that is known.
fn leave_result(step: Step, stack: &mut Stack) -> bool {
    let Some(effect) = step.opcode.effect.of(step.argument) else {
        return false;
    };
    stack.drop(u32::try_from(1 - effect).unwrap_or(0));
    stack.push_unknown(1);
    true
}
