/* A program with an interpreter inside, as applications have that are scripted in Python.
 *
 * usage: embed FILE [ARGUMENT]...
 *
 * Built with one of:
 *   -DLINKED            linked with libpython, shared or static; the interpreter runs in the main thread
 *   -DLINKED -DTHREAD   the same, in another thread
 *   -DPLUGIN=PATH       libpython is loaded at run time; with -DBYSTANDER=PATH another one is loaded as well, and left alone,
 *                       or initialised with -DBYSTANDER_HOME=PATH
 * and optionally -DMAIN=NAME, the function that runs a command line, and, where linked, -DBUILTIN_ASYNCIO: the module `_asyncio` is linked
 * as well, and is one of `sys.builtin_module_names`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct arguments {
    int count;
    char **values;
    int status;
};

#ifndef MAIN
#define MAIN Py_BytesMain
#endif
#define TEXT(word) #word
#define NAME_OF(word) TEXT(word)

#ifdef LINKED
int MAIN(int, char **);
#ifdef BUILTIN_ASYNCIO
void *PyInit__asyncio(void);
int PyImport_AppendInittab(const char *, void *(*)(void));

static int interpreter(int count, char **values)
{
    if (PyImport_AppendInittab("_asyncio", PyInit__asyncio) != 0)
        return 1;
    return MAIN(count, values);
}
#else
#define interpreter MAIN
#endif
#else
static void *load(const char *path, int mode)
{
    void *library = dlopen(path, RTLD_NOW | mode);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return library;
}

static int interpreter(int count, char **values)
{
    /* Extension modules refer to the interpreter's symbols without naming the library. */
    void *library = load(PLUGIN, RTLD_GLOBAL);
#ifdef BYSTANDER
    void *bystander = load(BYSTANDER, RTLD_LOCAL | RTLD_DEEPBIND);
#ifdef BYSTANDER_HOME
    char *home = getenv("PYTHONHOME");
    setenv("PYTHONHOME", BYSTANDER_HOME, 1);
    /* What `site` may import refers to the other library's symbols. */
    *(int *)dlsym(bystander, "Py_NoSiteFlag") = 1;
    ((void (*)(int))dlsym(bystander, "Py_InitializeEx"))(0);
    setenv("PYTHONHOME", home, 1);
#else
    (void)bystander;
#endif
#endif
    int (*run)(int, char **) = (int (*)(int, char **))dlsym(library, NAME_OF(MAIN));
    return run(count, values);
}
#endif

static void *run(void *argument)
{
    struct arguments *arguments = argument;
    arguments->status = interpreter(arguments->count, arguments->values);
    return NULL;
}

int main(int count, char **values)
{
    struct arguments arguments = {count, values, 0};
#ifdef THREAD
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, &arguments) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
#else
    run(&arguments);
#endif
    return arguments.status;
}
