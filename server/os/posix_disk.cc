#include "os/posix_disk.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace leeward::os {
namespace {

namespace fs = std::filesystem;

Code code_of(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT: return Code::kNoSpace;
    case ENOENT: return Code::kNotFound;
    case EEXIST: return Code::kExists;
    default: return Code::kIo;
  }
}

Error failed(const char* what, const Path& path, int error) {
  return {code_of(error), std::string(what) + " " + path + ": " + std::generic_category().message(error)};
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);  // nothing rests on it: what matters was synced before
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd) {
    if (const int old = std::exchange(fd_, fd); old >= 0) ::close(old);
  }

 private:
  int fd_;
};

class PosixFile final : public File {
 public:
  PosixFile(int fd, Path path, PosixDisk::Syncs syncs) : fd_(fd), path_(std::move(path)), syncs_(syncs) {}

  Result<std::size_t> read(std::uint64_t offset, std::size_t size, std::string& out) const override {
    const std::size_t start = out.size();
    out.resize(start + size);
    std::size_t done = 0;
    while (done < size) {
      const ssize_t n = ::pread(fd_.get(), out.data() + start + done, size - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        const int error = errno;
        out.resize(start);
        return failed("read", path_, error);
      }
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    out.resize(start + done);
    return done;
  }

  Result<void> write(std::uint64_t offset, std::string_view data) override {
    while (!data.empty()) {
      const ssize_t n = ::pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed("write", path_, errno);
      if (n == 0) return failed("write", path_, ENOSPC);
      data.remove_prefix(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return {};
  }

  // Not retried on any error: after a failure the page cache may call dirty
  // pages clean (the caller must stop).
  Result<void> sync() override {
    if (syncs_ == PosixDisk::Syncs::kReal && ::fdatasync(fd_.get()) != 0) return failed("fdatasync", path_, errno);
    return {};
  }

  Result<std::uint64_t> size() const override {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) return failed("stat", path_, errno);
    return static_cast<std::uint64_t>(status.st_size);
  }

  Result<std::uint64_t> links() const override {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) return failed("stat", path_, errno);
    return static_cast<std::uint64_t>(status.st_nlink);
  }

  Result<void> truncate(std::uint64_t size) override {
    while (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0)
      if (errno != EINTR) return failed("truncate", path_, errno);
    return {};
  }

  Result<void> allocate(std::uint64_t size) override {
    while (::fallocate(fd_.get(), 0, 0, static_cast<off_t>(size)) != 0) {
      if (errno == EINTR) continue;
      if (errno != EOPNOTSUPP) return failed("allocate", path_, errno);
      return fill_to(size);
    }
    return {};
  }

 private:
  // For file systems without fallocate: only written blocks are reserved.
  Result<void> fill_to(std::uint64_t size) {
    const auto now = this->size();
    if (!now.ok()) return now.error();
    const std::string zeros(1 << 20, '\0');
    for (std::uint64_t at = *now; at < size; at += zeros.size())
      LEEWARD_TRY(write(at, std::string_view(zeros).substr(0, std::min<std::uint64_t>(zeros.size(), size - at))));
    return {};
  }

  Descriptor fd_;
  Path path_;
  const PosixDisk::Syncs syncs_;
};

class Lock final : public DirectoryLock {
 public:
  explicit Lock(int fd) : fd_(fd) {}

 private:
  Descriptor fd_;
};

std::string read_small(int fd) {
  char text[64];
  const ssize_t n = ::pread(fd, text, sizeof text, 0);
  return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string();
}

// "process 4711 (leewardd)", as far as it can be told.
std::string describe_holder(int lock_fd) {
  const std::string text = read_small(lock_fd);
  long pid = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (parsed.ec != std::errc() || pid <= 0) return "another process";
  std::string holder = "process " + std::to_string(pid);
  const Descriptor comm(::open(("/proc/" + std::to_string(pid) + "/comm").c_str(), O_RDONLY | O_CLOEXEC));
  std::string name = comm.get() >= 0 ? read_small(comm.get()) : std::string();
  if (!name.empty() && name.back() == '\n') name.pop_back();
  return name.empty() ? holder : holder + " (" + name + ")";
}

int flags_of(OpenMode mode) {
  switch (mode) {
    case OpenMode::kRead: return O_RDONLY;
    case OpenMode::kReadWrite: return O_RDWR;
    case OpenMode::kCreate: return O_RDWR | O_CREAT | O_EXCL;
    case OpenMode::kCreateOrOpen: return O_RDWR | O_CREAT;
  }
  return O_RDONLY;
}

}  // namespace

Result<std::unique_ptr<File>> PosixDisk::open(const Path& path, OpenMode mode) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags_of(mode) | O_CLOEXEC, 0640);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return failed("open", path, errno);
  return std::unique_ptr<File>(std::make_unique<PosixFile>(fd, path, syncs_));
}

Result<void> PosixDisk::rename(const Path& from, const Path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return failed("rename", from + " to " + to, errno);
  return {};
}

Result<void> PosixDisk::link(const Path& from, const Path& to) {
  if (::link(from.c_str(), to.c_str()) != 0) return failed("link", from + " to " + to, errno);
  return {};
}

Result<void> PosixDisk::remove(const Path& path) {
  if (::remove(path.c_str()) != 0) return failed("remove", path, errno);
  return {};
}

Result<void> PosixDisk::remove_all(const Path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return failed("remove", path, error.value());
  return {};
}

Result<void> PosixDisk::make_dirs(const Path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return failed("make directory", path, error.value());
  return {};
}

Result<std::vector<std::string>> PosixDisk::list(const Path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename().string());
  if (error) return failed("list", directory, error.value());
  std::sort(names.begin(), names.end());
  return names;
}

bool PosixDisk::exists(const Path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

Result<void> PosixDisk::sync_dir(const Path& directory) {
  const Descriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return failed("open", directory, errno);
  if (syncs_ == Syncs::kReal && ::fsync(fd.get()) != 0) return failed("fsync", directory, errno);
  return {};
}

Result<DiskSpace> PosixDisk::space(const Path& path) {
  struct statvfs status {};
  if (::statvfs(path.c_str(), &status) != 0) return failed("statvfs", path, errno);
  // What an ordinary user may still take, not what is kept back for root.
  return DiskSpace{static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize,
                   static_cast<std::uint64_t>(status.f_blocks) * status.f_frsize};
}

Result<std::unique_ptr<DirectoryLock>> PosixDisk::lock(const Path& directory) {
  const Path path = directory + "/LOCK";
  Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
  // Mounted read-only here, perhaps not elsewhere: a lock that is there is asked.
  // Without one there is nobody to keep out.
  const bool read_only = fd.get() < 0 && errno == EROFS;
  if (read_only) {
    fd.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0 && errno == ENOENT) return std::make_unique<DirectoryLock>();
  }
  if (fd.get() < 0) return failed("open", path, errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failed("lock", path, errno);
    return Error{Code::kInUse, directory + " is in use by " + describe_holder(fd.get()) +
                                   "; stop it, or give this node a directory of its own"};
  }
  if (read_only) return std::unique_ptr<DirectoryLock>(std::make_unique<Lock>(fd.release()));
  const std::string pid = std::to_string(::getpid()) + "\n";
  // The pid is for people; the lock itself holds without it.
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0)
    return failed("write", path, errno);
  return std::unique_ptr<DirectoryLock>(std::make_unique<Lock>(fd.release()));
}

}  // namespace leeward::os
