/* Classes derived from asyncio's own in C, as an extension does that knows them by name only: `c_task_subclass.py` uses them.
 *
 * How long an object of the base is, is asked when the module is imported; the derived class has fields of its own behind that. */
#include <Python.h>
#include <stddef.h>
#include <stdint.h>

#define FIELDS 6

/* What every object has behind what the base needs. */
typedef struct {
    uintptr_t fields[FIELDS];
} Extra;

static Extra *extra_of(PyObject *self, PyTypeObject *base)
{
    return (Extra *)((char *)self + base->tp_basicsize);
}

/* The classes that were found by import. */
static PyTypeObject *task_base, *future_base;

static int fill(PyObject *self, PyTypeObject *base, PyObject *arguments, PyObject *options)
{
    Extra *extra = extra_of(self, base);
    /* What could be taken for references to objects. */
    for (int at = 0; at < FIELDS; at++)
        extra->fields[at] = (uintptr_t)self;
    return base->tp_init(self, arguments, options);
}

static int task_init(PyObject *self, PyObject *arguments, PyObject *options)
{
    return fill(self, task_base, arguments, options);
}

static int future_init(PyObject *self, PyObject *arguments, PyObject *options)
{
    return fill(self, future_base, arguments, options);
}

/* Whether the fields are still what they were filled with. */
static PyObject *is_intact(PyObject *self, PyTypeObject *base)
{
    Extra *extra = extra_of(self, base);
    for (int at = 0; at < FIELDS; at++)
        if (extra->fields[at] != (uintptr_t)self)
            Py_RETURN_FALSE;
    Py_RETURN_TRUE;
}

static PyObject *task_is_intact(PyObject *self, PyObject *unused)
{
    (void)unused;
    return is_intact(self, task_base);
}

static PyObject *future_is_intact(PyObject *self, PyObject *unused)
{
    (void)unused;
    return is_intact(self, future_base);
}

static PyMethodDef task_methods[] = {{"is_intact", task_is_intact, METH_NOARGS, NULL}, {0}};
static PyMethodDef future_methods[] = {{"is_intact", future_is_intact, METH_NOARGS, NULL}, {0}};
static PyType_Slot task_slots[] = {{Py_tp_init, task_init}, {Py_tp_methods, task_methods}, {0}};
static PyType_Slot future_slots[] = {{Py_tp_init, future_init}, {Py_tp_methods, future_methods}, {0}};

static PyType_Spec task_spec = {
    .name = "derived.CountedTask", .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, .slots = task_slots};
static PyType_Spec future_spec = {
    .name = "derived.CountedFuture", .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, .slots = future_slots};

/* Adds the class of `spec`, derived from the one of that name in `_asyncio`, to the module. */
static PyTypeObject *add(PyObject *module, PyType_Spec *spec, const char *name, const char *base_name)
{
    PyObject *asyncio = PyImport_ImportModule("_asyncio");
    if (asyncio == NULL)
        return NULL;
    PyObject *base = PyObject_GetAttrString(asyncio, base_name);
    Py_DECREF(asyncio);
    if (base == NULL)
        return NULL;
    spec->basicsize = (int)(((PyTypeObject *)base)->tp_basicsize + (Py_ssize_t)sizeof(Extra));
    PyObject *bases = PyTuple_Pack(1, base);
    PyObject *type = bases == NULL ? NULL : PyType_FromSpecWithBases(spec, bases);
    Py_XDECREF(bases);
    if (type == NULL || PyModule_AddObject(module, name, type) < 0)
        return NULL;
    /* Kept for good: the objects' methods need it. */
    return (PyTypeObject *)base;
}

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "derived", .m_size = -1};

PyMODINIT_FUNC PyInit_derived(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    task_base = add(module, &task_spec, "CountedTask", "Task");
    future_base = task_base == NULL ? NULL : add(module, &future_spec, "CountedFuture", "Future");
    if (future_base == NULL) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
