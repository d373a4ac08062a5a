#include "os/open_files.h"

#include <sys/resource.h>

#include <algorithm>

namespace leeward::os {
namespace {

// The log's segments, loops and timers, what this node dials, a checkpoint or a
// state that is taken over.
constexpr std::uint64_t kOwn = 192;
constexpr std::uint64_t kLeast = 128;  // to share, whatever is left

}  // namespace

std::uint64_t raise_open_files() noexcept {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

ConnectionShares share_connections(std::uint64_t open_files, std::uint64_t tables) noexcept {
  const std::uint64_t own = kOwn + std::min(tables, open_files);
  const std::uint64_t spare = std::max(open_files > own ? open_files - own : 0, kLeast);
  return {spare / 2, spare / 4, spare / 16};
}

}  // namespace leeward::os
