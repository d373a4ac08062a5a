#include "os/exit_record.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>

namespace leeward::os {
namespace {

constexpr char kTitle[] = "leeward exits 1\n";
constexpr std::string_view kRunning = "running";
constexpr int kWord = 9;                            // "assertion"
constexpr off_t kLastAt = sizeof kTitle - 1;        // the line that says how the last process ended
constexpr std::size_t kMostBytes = 512;

std::uint64_t seconds(WallTime now) {
  return static_cast<std::uint64_t>(
      std::max<std::int64_t>(0, std::chrono::floor<std::chrono::seconds>(now.time_since_epoch()).count()));
}

// All lines are of fixed width, so that a handler overwrites one word.
std::string last_line(std::string_view word, std::uint64_t at) {
  char line[64];
  std::snprintf(line, sizeof line, "%-*.*s %020llu\n", kWord, static_cast<int>(word.size()), word.data(),
                static_cast<unsigned long long>(at));
  return line;
}

std::string text_of(const ExitRecord::Entries& entries, std::string_view word, std::uint64_t at) {
  std::string out = kTitle + last_line(word, at);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    char line[80];
    std::snprintf(line, sizeof line, "%-*s %020llu %020llu\n", kWord, kExitReasons[i].data(),
                  static_cast<unsigned long long>(entries[i].count), static_cast<unsigned long long>(entries[i].last_seconds));
    out += line;
  }
  return out;
}

// Adds the end that the first line tells to the counts; nullopt: no such file.
std::optional<ExitRecord::Entries> read_entries(const std::string& text) {
  if (!text.starts_with(kTitle)) return std::nullopt;
  const char* at = text.c_str() + kLastAt;
  char word[16];
  unsigned long long time = 0, count = 0;
  int used = 0;
  if (std::sscanf(at, "%15s %llu%n", word, &time, &used) != 2) return std::nullopt;
  at += used;
  const std::string ended = word;
  const std::uint64_t ended_at = time;
  ExitRecord::Entries entries;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (std::sscanf(at, "%15s %llu %llu%n", word, &count, &time, &used) != 3 || kExitReasons[i] != word) return std::nullopt;
    entries[i] = {count, time};
    at += used;
  }
  auto reason = std::find(kExitReasons.begin(), kExitReasons.end(), ended);
  if (reason == kExitReasons.end()) reason = kExitReasons.end() - 1;  // still running: it was not asked
  ExitRecord::Entry& entry = entries[static_cast<std::size_t>(reason - kExitReasons.begin())];
  ++entry.count;
  entry.last_seconds = ended_at;
  return entries;
}

Error io_error(const std::string& doing, const std::string& path) {
  return {Code::kIo, doing + " " + path + ": " + std::strerror(errno)};
}

}  // namespace

Result<std::unique_ptr<ExitRecord>> ExitRecord::open(const std::string& path, WallTime now) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  if (fd < 0) return io_error("open", path);
  std::string text(kMostBytes, '\0');
  const ssize_t n = pread(fd, text.data(), text.size(), 0);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  const Entries entries = read_entries(text).value_or(Entries{});
  const std::string fresh = text_of(entries, kRunning, seconds(now));
  const bool written = pwrite(fd, fresh.data(), fresh.size(), 0) == static_cast<ssize_t>(fresh.size()) &&
                       ftruncate(fd, static_cast<off_t>(fresh.size())) == 0 && fdatasync(fd) == 0;
  if (!written) {
    const Error error = io_error("write", path);
    ::close(fd);
    return error;
  }
  return std::unique_ptr<ExitRecord>(new ExitRecord(fd, entries));
}

ExitRecord::~ExitRecord() { ::close(fd_); }

void ExitRecord::alive(WallTime now) {
  if (final_) return;
  const std::string line = last_line(kRunning, seconds(now));
  (void)!pwrite(fd_, line.data(), line.size(), kLastAt);  // a figure's date is not worth a failure
}

void ExitRecord::ends(ExitReason reason, WallTime now) {
  if (final_) return;
  const std::string line = last_line(kExitReasons[static_cast<std::size_t>(reason)], seconds(now));
  (void)!pwrite(fd_, line.data(), line.size(), kLastAt);
  (void)fdatasync(fd_);
}

void ExitRecord::ends_by(ExitReason reason) noexcept {
  if (final_.exchange(true)) return;
  char word[kWord];
  std::memset(word, ' ', sizeof word);
  const std::string_view name = kExitReasons[static_cast<std::size_t>(reason)];
  std::memcpy(word, name.data(), name.size());
  (void)!pwrite(fd_, word, sizeof word, kLastAt);
}

}  // namespace leeward::os
