// Runs the simulator over seeds; see scripts/sim.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "world/world.h"

using namespace leeward;

int main(int argc, char** argv) {
  std::uint64_t seed = 1, runs = 0;
  double minutes = 0;
  bool verbose = false, seed_given = false;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--verbose") {
      verbose = true;
      continue;
    }
    if (i + 1 >= argc) {
      std::fprintf(stderr, "sim: %s needs a value\n", flag.c_str());
      return 2;
    }
    const char* value = argv[++i];
    if (flag == "--seed") {
      seed = std::strtoull(value, nullptr, 10);
      seed_given = true;
    } else if (flag == "--runs") {
      runs = std::strtoull(value, nullptr, 10);
    } else if (flag == "--minutes") {
      minutes = std::strtod(value, nullptr);
    } else {
      std::fprintf(stderr, "sim: unknown option %s\n", flag.c_str());
      return 2;
    }
  }
  if (runs == 0 && minutes == 0) runs = seed_given ? 1 : 100;
  const auto started = std::chrono::steady_clock::now();
  std::uint64_t done = 0, writes = 0;
  auto more = [&] {
    if (runs != 0 && done >= runs) return false;
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - started;
    return minutes == 0 || passed.count() < minutes * 60;
  };
  for (; more(); ++done, ++seed) {
    auto options = sim::varied(seed);
    options.log_to_stderr = verbose;
    sim::World world(options);
    const bool good = world.torment(Duration(30s));
    writes += world.acknowledged();
    if (runs == 1 || !good)
      std::printf("seed %llu: %s, trace %016llx, %llu writes acknowledged\n", static_cast<unsigned long long>(seed),
                  good ? "held" : world.checkers.breach().c_str(),
                  static_cast<unsigned long long>(world.scheduler.trace()),
                  static_cast<unsigned long long>(world.acknowledged()));
    if (!good) {
      std::printf("replay: scripts/sim --seed %llu --verbose\n", static_cast<unsigned long long>(seed));
      return 1;
    }
  }
  std::printf("%llu runs held, %llu writes acknowledged\n", static_cast<unsigned long long>(done),
              static_cast<unsigned long long>(writes));
  return 0;
}
