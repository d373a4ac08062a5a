// How the processes that ran on a data directory ended: what a crash must not
// forget, and what a crash cannot write down itself.
//
// While a process runs the file says so; whoever finds that at its start knows
// that the one before had no time to say anything (SIGKILL, power). Everything
// but ends_by() belongs to one thread at a time. Format: README.md.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/units.h"

namespace leeward::os {

enum class ExitReason : std::uint8_t { kClean, kAssertion, kFsync, kSignal, kUnknown };
inline constexpr std::array<std::string_view, 5> kExitReasons = {"clean", "assertion", "fsync", "signal", "unknown"};

class ExitRecord {
 public:
  struct Entry {
    std::uint64_t count = 0;
    std::uint64_t last_seconds = 0;  // since 1970; 0: never
  };
  using Entries = std::array<Entry, kExitReasons.size()>;

  // Reads `path`, counts how the last process ended, and notes that this one
  // runs since `now`. A file that makes no sense is begun anew. Errors: kIo.
  static Result<std::unique_ptr<ExitRecord>> open(const std::string& path, WallTime now);
  ~ExitRecord();
  ExitRecord(const ExitRecord&) = delete;
  ExitRecord& operator=(const ExitRecord&) = delete;

  // As found at the start: of processes that have ended.
  const Entries& ended() const { return ended_; }

  // Still alive; without it a kill would be dated to the start.
  void alive(WallTime now);
  // The last word wins, but for a crash's own: what ends_by() wrote stays.
  void ends(ExitReason reason, WallTime now);
  // For handlers of signals and failed checks: no lock, no allocation.
  void ends_by(ExitReason reason) noexcept;

 private:
  ExitRecord(int fd, Entries ended) : fd_(fd), ended_(ended) {}

  const int fd_;
  const Entries ended_;
  std::atomic<bool> final_{false};
};

}  // namespace leeward::os
