"""Prints what `awaitwhat/src/layout/opcodes/` has of the interpreter that runs this: one instruction a line.

Fields: number, name, units of inline cache, how it jumps (`>` forward, `<` backward, `@` to a place, `-` not at all), how many values the stack
has more after it, the same where it jumps, and the numbers of specialised and instrumented instructions that stand for it. A number of values
is `?` where it depends on the argument, and two numbers where only the argument's lowest bit decides. Lines before the instructions begin with a dot.
"""

import dis
import opcode
import sys

# Arguments that effects are asked of.
ARGUMENTS = range(1, 33)
# They stand for an instruction that is kept elsewhere, or are never met in code.
HIDDEN = {"CACHE", "RESERVED", "INSTRUMENTED_LINE", "INSTRUMENTED_INSTRUCTION", "ENTER_EXECUTOR", "TRACE_RECORD", "<0>"}
TELLS_JUMPS = sys.version_info >= (3, 8)


def every():
    return {name: number for name, number in getattr(dis, "_all_opmap", opcode.opmap).items() if number < 256}


def stand_for():
    """Numbers of other instructions, by the name of the one that they stand for."""
    bases = getattr(dis, "deoptmap", {})
    found = {}
    for name, number in every().items():
        base = bases.get(name)
        if base is None and name.startswith("INSTRUMENTED_"):
            base = name[len("INSTRUMENTED_") :]
        if base in opcode.opmap:
            found.setdefault(base, []).append(number)
    return found


def caches(name, number):
    entries = getattr(opcode, "_inline_cache_entries", None)
    if entries is None:
        return 0
    return entries[number] if isinstance(entries, list) else entries.get(name, 0)


def effect(number, argument, jumps):
    how = {"jump": jumps} if TELLS_JUMPS else {}
    for arguments in [argument], []:
        try:
            return dis.stack_effect(number, *arguments, **how)
        except ValueError:
            pass
    return None


def effects(number, jumps):
    values = [effect(number, argument, jumps) for argument in ARGUMENTS]
    if None in values:
        return "?"
    odd, even = set(values[::2]), set(values[1::2])
    if len(odd | even) == 1:
        return "%+d" % values[0]
    return "%+d/%+d" % (values[1], values[0]) if len(odd) == len(even) == 1 else "?"


def jump(name, number):
    if number in dis.hasjabs:
        return "@"
    if number in dis.hasjrel:
        return "<" if "BACKWARD" in name or name == "END_ASYNC_FOR" else ">"
    return "-"


def common(value):
    """A constant that instructions have a number for, as it is written."""
    if isinstance(value, type) or callable(value):
        return value.__name__
    return repr(value) if value is None or isinstance(value, int) else "-"


def main():
    # Since 3.10 the argument of a jump counts code units, before it counted bytes.
    print(".unit", 2 if sys.version_info >= (3, 10) else 1)
    # Values that make a function, with no flag set.
    print(".function", 1 - effect(opcode.opmap["MAKE_FUNCTION"], 0, False))
    if sys.version_info >= (3, 14):
        import _opcode

        names = [name for name, _ in _opcode.get_nb_ops()]
        print(".subscript", names.index("NB_SUBSCR"))
        special = _opcode.get_special_method_names()
        print(".aenter", special.index("__aenter__"))
        print(".aexit", special.index("__aexit__"))
        print(".common", *map(common, opcode._common_constants))
    others = stand_for()
    hidden = HIDDEN | {name for name in every() if every()[name] in sum(others.values(), [])}
    for name, number in sorted(opcode.opmap.items(), key=lambda item: item[1]):
        if name in hidden or number > 255:
            continue
        how = jump(name, number)
        when_it_jumps = "-" if how == "-" else effects(number, True) if TELLS_JUMPS else "?"
        print(number, name, caches(name, number), how, effects(number, False), when_it_jumps, *sorted(others.get(name, ())))


main()
