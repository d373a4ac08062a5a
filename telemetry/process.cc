#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

#include "telemetry/metrics.h"

namespace leeward::telemetry {
namespace {

// Field `number` (from 1) of /proc/self/stat; the second may hold spaces.
double stat_field(int number) {
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream rest(text.substr(std::min(text.rfind(')') + 2, text.size())));
  std::string word;
  for (int i = 3; i <= number; ++i) rest >> word;
  return word.empty() ? 0 : std::stod(word);
}

double boot_time_seconds() {
  std::ifstream file("/proc/stat");
  std::string word;
  double seconds = 0;
  while (file >> word)
    if (word == "btime") file >> seconds;
  return seconds;
}

std::uint64_t open_descriptors() {
  DIR* directory = opendir("/proc/self/fd");
  if (!directory) return 0;
  std::uint64_t count = 0;
  while (const dirent* entry = readdir(directory)) count += entry->d_name[0] != '.';
  closedir(directory);
  return count - 1;  // its own
}

bool binary_replaced() {
  char path[4096];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  return n > 0 && std::string_view(path, static_cast<std::size_t>(n)).ends_with(" (deleted)");
}

}  // namespace

ProcessFigures process_figures() {
  static const double started = boot_time_seconds() + stat_field(22) / static_cast<double>(sysconf(_SC_CLK_TCK));
  ProcessFigures out;
  out.start_time_seconds = started;
  out.resident_bytes = static_cast<std::uint64_t>(stat_field(24)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  out.open_fds = open_descriptors();
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) out.max_fds = limit.rlim_cur;
  out.binary_replaced = binary_replaced();
  return out;
}

}  // namespace leeward::telemetry
