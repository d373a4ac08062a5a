// Makes fdatasync() and fsync() of one process wait, as a disk that hangs, for
// as long as the file that OPERATOR_TEST_HOLD names exists.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_for_the_disk(void) {
  const char* path = getenv("OPERATOR_TEST_HOLD");
  while (path != NULL && access(path, F_OK) == 0) usleep(10000);
}

int fdatasync(int fd) {
  wait_for_the_disk();
  return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

int fsync(int fd) {
  wait_for_the_disk();
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
