/* A library with symbols of the interpreter's that are not an interpreter. */
unsigned long _PyRuntime[64] = {1, 2, 3};
unsigned long Py_Version = 0x030c01f0;
/* Address space only: a large library lies below those that were loaded before it, and is found first. */
char ballast[64 << 20];
