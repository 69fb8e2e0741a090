/* Kills the process at its n-th call that changes files below a path, whoever makes it: Python,
 * tensorstore, any other library. Loaded with LD_PRELOAD, and armed from Python through ctypes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long seen;
static long deadly;
static int torn;
static char below[PATH_MAX];

void killer_arm(const char *path, long number, int tear) {
    strncpy(below, path, sizeof below - 1);
    deadly = number;
    torn = tear;
    atomic_store(&seen, 0);
}

long killer_seen(void) { return atomic_load(&seen); }

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int watched(const char *path) {
    return below[0] && strncmp(path, below, strlen(below)) == 0;
}

static int of_fd(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n < 0 ? 0 : n] = 0;
    return watched(path);
}

static int of_path(int dir, const char *path) {
    char folder[PATH_MAX];
    if (!below[0] || !path) return 0;
    if (path[0] == '/') return watched(path);
    if (dir == AT_FDCWD) return 0; /* everything here has a whole path */
    return of_fd(dir, folder);
}

/* Whether it is this call; those that are to die before they begin do so. */
static int is_deadly(void) { return atomic_fetch_add(&seen, 1) + 1 == deadly; }

static void step(int is_watched) {
    if (is_watched && is_deadly()) die();
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)

#define WRITE(name, parameters, half, arguments)                       \
    ssize_t name parameters {                                          \
        REAL(name);                                                    \
        char path[PATH_MAX];                                           \
        if (below[0] && of_fd(fd, path) && is_deadly()) {              \
            if (torn) half;                                            \
            die();                                                     \
        }                                                              \
        return real arguments;                                         \
    }

WRITE(write, (int fd, const void *data, size_t n), real(fd, data, n / 2), (fd, data, n))
WRITE(pwrite, (int fd, const void *data, size_t n, off_t at), real(fd, data, n / 2, at),
      (fd, data, n, at))
WRITE(pwrite64, (int fd, const void *data, size_t n, off64_t at), real(fd, data, n / 2, at),
      (fd, data, n, at))
WRITE(writev, (int fd, const struct iovec *v, int n), real(fd, v, n / 2), (fd, v, n))
WRITE(pwritev, (int fd, const struct iovec *v, int n, off_t at), real(fd, v, n / 2, at),
      (fd, v, n, at))

#define OPEN(name)                                                     \
    int name(const char *path, int flags, ...) {                       \
        REAL(name);                                                    \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode_t mode = va_arg(rest, mode_t);                            \
        va_end(rest);                                                  \
        if (flags & (O_CREAT | O_TRUNC)) step(of_path(AT_FDCWD, path)); \
        return real(path, flags, mode);                                \
    }
#define OPENAT(name)                                                   \
    int name(int dir, const char *path, int flags, ...) {              \
        REAL(name);                                                    \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode_t mode = va_arg(rest, mode_t);                            \
        va_end(rest);                                                  \
        if (flags & (O_CREAT | O_TRUNC)) step(of_path(dir, path));     \
        return real(dir, path, flags, mode);                           \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define CALL(name, parameters, is_watched, arguments)                  \
    int name parameters {                                              \
        REAL(name);                                                    \
        step(is_watched);                                              \
        return real arguments;                                         \
    }
#define FD(fd) ({ char path[PATH_MAX]; below[0] && of_fd(fd, path); })

CALL(rename, (const char *a, const char *b), of_path(AT_FDCWD, b), (a, b))
CALL(renameat, (int d, const char *a, int e, const char *b), of_path(e, b), (d, a, e, b))
CALL(renameat2, (int d, const char *a, int e, const char *b, unsigned f), of_path(e, b),
     (d, a, e, b, f))
CALL(link, (const char *a, const char *b), of_path(AT_FDCWD, b), (a, b))
CALL(linkat, (int d, const char *a, int e, const char *b, int f), of_path(e, b), (d, a, e, b, f))
CALL(unlink, (const char *a), of_path(AT_FDCWD, a), (a))
CALL(unlinkat, (int d, const char *a, int f), of_path(d, a), (d, a, f))
CALL(rmdir, (const char *a), of_path(AT_FDCWD, a), (a))
CALL(mkdir, (const char *a, mode_t m), of_path(AT_FDCWD, a), (a, m))
CALL(mkdirat, (int d, const char *a, mode_t m), of_path(d, a), (d, a, m))
CALL(ftruncate, (int fd, off_t n), FD(fd), (fd, n))
CALL(ftruncate64, (int fd, off64_t n), FD(fd), (fd, n))
CALL(fallocate, (int fd, int m, off_t a, off_t n), FD(fd), (fd, m, a, n))
CALL(fallocate64, (int fd, int m, off64_t a, off64_t n), FD(fd), (fd, m, a, n))
