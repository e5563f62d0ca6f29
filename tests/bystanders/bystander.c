/*
 * A program that is no Python, with memory of every kind that a look at it must leave alone. `bystander FOLDER [FILE]`: files are made in FOLDER, and
 * FILE is mapped as an image is.
 * It touches none of it, announces itself by a line of JSON, and ends with its standard input.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIZE (16L << 20)
#define READ_WRITE (PROT_READ | PROT_WRITE)

static const char *kinds = "";

/* Adds a kind of memory that this machine has. */
static void count(const char *kind, void *mapping)
{
    static char all[1024];
    if (mapping == MAP_FAILED) {
        return;
    }
    size_t used = strlen(all);
    snprintf(all + used, sizeof all - used, "%s\"%s\"", used ? "," : "", kind);
    kinds = all;
}

static int sparse(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || ftruncate(file, SIZE) != 0) {
        perror(path);
        exit(1);
    }
    return file;
}

static void *device(const char *path, int flags)
{
    return mmap(NULL, SIZE, READ_WRITE, flags, open(path, O_RDWR), 0);
}

static void *ring(void)
{
    struct perf_event_attr event = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof event,
        .config = PERF_COUNT_SW_DUMMY,
        .exclude_kernel = 1,
    };
    int file = syscall(SYS_perf_event_open, &event, 0, -1, -1, 0);
    return mmap(NULL, 9 * 4096, READ_WRITE, MAP_SHARED, file, 0);
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : ".";
    count("shared file", mmap(NULL, SIZE, READ_WRITE, MAP_SHARED, sparse(folder, "shared"), 0));
    count("shared file for reading", mmap(NULL, SIZE, PROT_READ, MAP_SHARED, sparse(folder, "read"), 0));
    count("private file", mmap(NULL, SIZE, READ_WRITE, MAP_PRIVATE, sparse(folder, "private"), 0));
    count("image", mmap(NULL, SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, sparse(folder, "image"), 0));
    count("shared", mmap(NULL, SIZE, READ_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    count("/dev/zero", device("/dev/zero", MAP_SHARED));
    count("/dev/mem", device("/dev/mem", MAP_SHARED));
    count("huge pages", mmap(NULL, SIZE, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0));
    count("event ring", ring());
    if (argc > 2) {
        count("file", mmap(NULL, SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, open(argv[2], O_RDONLY), 0));
    }
    int segment = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
    count("segment", segment < 0 ? MAP_FAILED : shmat(segment, NULL, 0));
    if (segment >= 0) {
        shmctl(segment, IPC_RMID, NULL);
    }
    printf("{\"pid\": %d, \"kinds\": [%s]}\n", getpid(), kinds);
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}
