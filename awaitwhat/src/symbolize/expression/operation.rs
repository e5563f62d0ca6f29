//! What instructions do to a stack of expressions, by their names: these mean the same in all versions that have them.
//!
//! Facts: the documentation of the module `dis` of 3.7 to 3.15, and what the compiler of each emits. How many values an instruction takes
//! and leaves, and how it jumps, the interpreters' own listings say ([`crate::layout::opcodes`]).

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// It is not modelled: nothing is known of the stack after it.
    Unmodelled,
    Nothing,
    /// Takes values, or leaves unknown ones, as the listing says, and reads none that it keeps.
    Moves,
    /// Takes one value, and leaves unknown ones for it: as many more as the listing says.
    Replaces,
    /// Leaves one unknown value, and takes as many as make up what the listing says.
    Results,
    /// Takes so many values for each one that the argument counts, and so many more, and leaves an unknown one.
    Gathers {
        each: u32,
        more: u32,
    },
    /// The argument of the next instruction has more bits.
    Extends,
    LoadLocal,
    LoadLocals,
    StoreAndLoadLocal,
    /// A variable that is shared with other functions.
    LoadShared,
    /// `co_names` has the name.
    LoadName,
    LoadConstant,
    LoadSmallInt,
    LoadCommonConstant,
    LoadAttribute,
    LoadMethod,
    LoadSuperAttribute,
    LoadSpecial,
    PushNull,
    /// Leaves copies of the topmost values, so many.
    Duplicates(usize),
    Copies,
    Swaps,
    /// Takes the topmost value down, so far.
    Rotates(usize),
    RotatesByArgument,
    /// `object[key]`.
    Subscripts,
    /// `object[from:to]`.
    Slices,
    OperatesOnTwo,
    BuildsTuple,
    Formats,
    MakesFunction,
    Unpacks,
    UnpacksRest,
    /// The next call has keywords.
    Keywords,
    /// From 3.11 on: a call takes a callable and NULL, or a method and its object.
    Calls,
    CallsWithKeywords,
    CallsWithMany,
    /// Before 3.11.
    CallsFunction,
    CallsFunctionWithKeywords,
    Iterates,
    TakesNext,
    EntersAsync,
    /// `await` and `yield from`: since 3.11, and before.
    Sends,
    YieldsFrom,
    /// Goes on elsewhere, or nowhere.
    Leaves,
    /// Takes a value and may jump.
    JumpsByValue,
    /// Jumps with the value, or takes it.
    JumpsWithValue,
    Loops,
    /// What is behind the jump begins with an exception.
    SetsUp,
}

impl Operation {
    /// By the name of the instruction.
    pub(super) fn named(name: &str) -> Self {
        Self::loading(name)
            .or_else(|| Self::moving(name))
            .or_else(|| Self::calling(name))
            .or_else(|| Self::jumping(name))
            .or_else(|| Self::computing(name))
            .unwrap_or(Self::Unmodelled)
    }

    fn loading(name: &str) -> Option<Self> {
        Some(match name {
            "LOAD_FAST" | "LOAD_FAST_CHECK" | "LOAD_FAST_BORROW" => Self::LoadLocal,
            "LOAD_FAST_LOAD_FAST" | "LOAD_FAST_BORROW_LOAD_FAST_BORROW" => Self::LoadLocals,
            "STORE_FAST_LOAD_FAST" => Self::StoreAndLoadLocal,
            "LOAD_DEREF" | "LOAD_CLASSDEREF" => Self::LoadShared,
            "LOAD_NAME" | "LOAD_GLOBAL" => Self::LoadName,
            "LOAD_CONST" => Self::LoadConstant,
            "LOAD_SMALL_INT" => Self::LoadSmallInt,
            "LOAD_COMMON_CONSTANT" => Self::LoadCommonConstant,
            "LOAD_ATTR" => Self::LoadAttribute,
            "LOAD_METHOD" => Self::LoadMethod,
            "LOAD_SUPER_ATTR" => Self::LoadSuperAttribute,
            "LOAD_SPECIAL" => Self::LoadSpecial,
            "PUSH_NULL" => Self::PushNull,
            _ => return None,
        })
    }

    fn moving(name: &str) -> Option<Self> {
        Some(match name {
            "NOP"
            | "RESUME"
            | "NOT_TAKEN"
            | "PRECALL"
            | "MAKE_CELL"
            | "COPY_FREE_VARS"
            | "POP_BLOCK"
            | "GET_AWAITABLE"
            | "GET_YIELD_FROM_ITER"
            | "SETUP_ANNOTATIONS"
            | "DELETE_FAST"
            | "DELETE_DEREF"
            | "DELETE_NAME"
            | "DELETE_GLOBAL" => Self::Nothing,
            "POP_TOP"
            | "POP_ITER"
            | "END_FOR"
            | "LOAD_FAST_AND_CLEAR"
            | "LOAD_CLOSURE"
            | "LOAD_ASSERTION_ERROR"
            | "LOAD_BUILD_CLASS"
            | "STORE_NAME"
            | "STORE_GLOBAL"
            | "STORE_FAST"
            | "STORE_DEREF"
            | "STORE_FAST_STORE_FAST"
            | "STORE_ATTR"
            | "STORE_SUBSCR"
            | "STORE_SLICE"
            | "DELETE_ATTR"
            | "DELETE_SUBSCR"
            | "LIST_APPEND"
            | "LIST_EXTEND"
            | "SET_ADD"
            | "SET_UPDATE"
            | "MAP_ADD"
            | "DICT_UPDATE"
            | "DICT_MERGE"
            | "IMPORT_FROM"
            | "GEN_START"
            | "RETURN_GENERATOR" => Self::Moves,
            "DUP_TOP" => Self::Duplicates(1),
            "DUP_TOP_TWO" => Self::Duplicates(2),
            "COPY" => Self::Copies,
            "SWAP" => Self::Swaps,
            "ROT_TWO" => Self::Rotates(2),
            "ROT_THREE" => Self::Rotates(3),
            "ROT_FOUR" => Self::Rotates(4),
            "ROT_N" => Self::RotatesByArgument,
            "EXTENDED_ARG" => Self::Extends,
            _ => return None,
        })
    }

    fn calling(name: &str) -> Option<Self> {
        Some(match name {
            "KW_NAMES" => Self::Keywords,
            "CALL" => Self::Calls,
            "CALL_KW" => Self::CallsWithKeywords,
            "CALL_FUNCTION_EX" => Self::CallsWithMany,
            "CALL_FUNCTION" => Self::CallsFunction,
            "CALL_FUNCTION_KW" => Self::CallsFunctionWithKeywords,
            // `LOAD_METHOD` leaves what a call of 3.11 takes.
            "CALL_METHOD" => Self::Calls,
            "GET_AITER" => Self::Iterates,
            "GET_ANEXT" => Self::TakesNext,
            "BEFORE_ASYNC_WITH" => Self::EntersAsync,
            "SEND" => Self::Sends,
            "YIELD_FROM" => Self::YieldsFrom,
            _ => return None,
        })
    }

    fn jumping(name: &str) -> Option<Self> {
        Some(match name {
            // `CLEANUP_THROW` goes on behind the `SEND` that it belongs to, with what that left there.
            "JUMP_FORWARD"
            | "JUMP_ABSOLUTE"
            | "JUMP_BACKWARD"
            | "JUMP_BACKWARD_NO_INTERRUPT"
            | "RETURN_VALUE"
            | "RETURN_CONST"
            | "RAISE_VARARGS"
            | "RERAISE"
            | "BREAK_LOOP"
            | "CONTINUE_LOOP"
            | "INTERPRETER_EXIT"
            | "CLEANUP_THROW" => Self::Leaves,
            "JUMP_IF_TRUE_OR_POP" | "JUMP_IF_FALSE_OR_POP" => Self::JumpsWithValue,
            "FOR_ITER" => Self::Loops,
            "SETUP_FINALLY" | "SETUP_EXCEPT" | "SETUP_LOOP" | "SETUP_ASYNC_WITH" => Self::SetsUp,
            _ if name.starts_with("POP_JUMP_") => Self::JumpsByValue,
            _ => return None,
        })
    }

    fn computing(name: &str) -> Option<Self> {
        Some(match name {
            "BINARY_SUBSCR" => Self::Subscripts,
            "BINARY_OP" => Self::OperatesOnTwo,
            "GET_ITER" | "BEFORE_WITH" => Self::Replaces,
            "BINARY_SLICE" => Self::Slices,
            "COMPARE_OP"
            | "IS_OP"
            | "CONTAINS_OP"
            | "TO_BOOL"
            | "FORMAT_SIMPLE"
            | "FORMAT_WITH_SPEC"
            | "CONVERT_VALUE"
            | "CALL_INTRINSIC_1"
            | "CALL_INTRINSIC_2"
            | "IMPORT_NAME"
            | "SET_FUNCTION_ATTRIBUTE"
            | "LIST_TO_TUPLE"
            | "YIELD_VALUE"
            | "ASYNC_GEN_WRAP"
            | "END_SEND" => Self::Results,
            "BUILD_TUPLE" => Self::BuildsTuple,
            "BUILD_LIST" | "BUILD_SET" | "BUILD_STRING" | "BUILD_SLICE" => Self::Gathers { each: 1, more: 0 },
            "BUILD_MAP" => Self::Gathers { each: 2, more: 0 },
            "BUILD_CONST_KEY_MAP" => Self::Gathers { each: 1, more: 1 },
            "FORMAT_VALUE" => Self::Formats,
            "MAKE_FUNCTION" => Self::MakesFunction,
            "UNPACK_SEQUENCE" => Self::Unpacks,
            "UNPACK_EX" => Self::UnpacksRest,
            _ if is_unpacking(name) => Self::Gathers { each: 1, more: 0 },
            _ if ["UNARY_", "BINARY_", "INPLACE_"]
                .iter()
                .any(|kind| name.starts_with(kind)) =>
            {
                Self::Results
            }
            _ => return None,
        })
    }
}

/// `BUILD_LIST_UNPACK` and the like (until 3.8).
fn is_unpacking(name: &str) -> bool {
    name.starts_with("BUILD_") && (name.ends_with("_UNPACK") || name.ends_with("_UNPACK_WITH_CALL"))
}

#[cfg(test)]
mod tests {
    use super::Operation;

    #[test]
    fn knows_instructions_by_name() {
        for (name, operation) in [
            ("LOAD_FAST", Operation::LoadLocal),
            ("POP_JUMP_FORWARD_IF_NONE", Operation::JumpsByValue),
            ("BINARY_ADD", Operation::Results),
            (
                "BUILD_TUPLE_UNPACK_WITH_CALL",
                Operation::Gathers { each: 1, more: 0 },
            ),
            ("UNARY_NOT", Operation::Results),
            ("MATCH_KEYS", Operation::Unmodelled),
            ("", Operation::Unmodelled),
        ] {
            assert_eq!(Operation::named(name), operation, "{name}");
        }
    }
}
