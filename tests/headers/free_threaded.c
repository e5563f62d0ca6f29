/* What CPython's own headers say about a free-threaded build: its published offsets, and what is no offset. The debug information of
 * this program has the rest. It is never linked with an interpreter. */
#define Py_BUILD_CORE 1
#define Py_GIL_DISABLED 1
#include <Python.h>
#include <stdio.h>
#include <string.h>
#include "internal/pycore_ceval.h"
#include "internal/pycore_dict.h"
#include "internal/pycore_frame.h"
#include "internal/pycore_interp.h"
#include "internal/pycore_moduleobject.h"
#include "internal/pycore_object.h"
#include "internal/pycore_tstate.h"
#if PY_VERSION_HEX >= 0x030e0000
#include "internal/pycore_interpframe.h"
#endif
#include "internal/pycore_runtime.h"
#if PY_VERSION_HEX >= 0x030e0000
#include "internal/pycore_debug_offsets.h"
static _Py_DebugOffsets published = _Py_DebugOffsets_INIT(_Py_Debug_Cookie);
#else
#include "internal/pycore_runtime_init.h"
_PyRuntimeState runtime = _PyRuntimeState_INIT(runtime, _Py_Debug_Cookie);
#define published runtime.debug_offsets
#endif

/* Has these types in the debug information. */
PyHeapTypeObject heap_type;
PyCodeObject code;
PyUnicodeObject text;
PyBytesObject bytes;
PySetObject set;
PyListObject list;
PyTupleObject tuple;
PyModuleObject module;
PyFunctionObject function;
PyMethodObject method;
PyCFunctionObject method_in_c;
PyDescrObject descriptor;
PyCellObject cell;
PyWeakReference weak_reference;
PyGenObject generator;
_PyThreadStateImpl thread;
PyDictObject dict;
PyDictValues values;
PyDictKeysObject *keys;
DictKeysKind keys_kind;
PyDictKeyEntry entry;
PyDictUnicodeEntry unicode_entry;
PyFrameState state;
enum _frameowner owner;

int main(void)
{
    PyASCIIObject string;
    unsigned int bits;
    unsigned long word;
    memset(&string, 0, sizeof string);
    string.state.kind = 1;
    memcpy(&bits, &string.state, sizeof bits);
    printf("%ld %d", -(long)MANAGED_DICT_OFFSET, __builtin_ctz(bits));
    for (size_t at = 0; at < sizeof published; at += sizeof word) {
        memcpy(&word, (char *)&published + at, sizeof word);
        printf(" %lu", word);
    }
    return 0;
}
