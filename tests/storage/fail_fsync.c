// Makes fdatasync() and fsync() of one process fail with EIO from an instant
// on: when the file that STORAGE_TEST_FSYNC_FAILS names exists, and as many
// calls have failed as the kernel would report: all of them.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int fails(void) {
  const char* path = getenv("STORAGE_TEST_FSYNC_FAILS");
  return path != NULL && access(path, F_OK) == 0;
}

int fdatasync(int fd) {
  if (fails()) return errno = EIO, -1;
  return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

int fsync(int fd) {
  if (fails()) return errno = EIO, -1;
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
