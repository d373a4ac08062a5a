// Runs the simulator over seeds; see scripts/sim.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "world/world.h"

using namespace leeward;

int main(int argc, char** argv) {
  std::uint64_t seed = 1, runs = 0;
  int regions = 0;
  double minutes = 0;
  bool verbose = false, seed_given = false, members = false, operate = false, forces = false, pauses = false;
  std::map<std::string, int> changes;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--verbose") {
      verbose = true;
      continue;
    }
    if (flag == "--pauses") {
      pauses = true;
      continue;
    }
    if (flag == "--members") {
      members = true;
      continue;
    }
    if (flag == "--operate" || flag == "--force") {
      operate = true;
      forces = forces || flag == "--force";
      regions = 2;
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
    } else if (flag == "--regions" && (value == std::string("1") || value == std::string("2"))) {
      regions = std::atoi(value);
    } else if (flag == "--minutes") {
      minutes = std::strtod(value, nullptr);
    } else {
      std::fprintf(stderr, "sim: unknown option %s\n", flag.c_str());
      return 2;
    }
  }
  if (runs == 0 && minutes == 0) runs = seed_given ? 1 : 100;
  const auto started = std::chrono::steady_clock::now();
  std::uint64_t done = 0, of_two = 0, writes = 0, compared = 0, adoptions = 0;
  Duration simulated{0};
  auto passed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count(); };
  auto more = [&] {
    if (runs != 0 && done >= runs) return false;
    return minutes == 0 || passed() < minutes * 60;
  };
  for (; more(); ++done, ++seed) {
    auto options = operate ? sim::operated(seed, forces) : sim::varied(seed, regions);
    options.log_to_stderr = verbose;
    options.change_members = members;
    options.pauses = pauses;
    sim::World world(options);
    const auto began = world.scheduler.now();
    const bool good = world.torment(operate ? Duration(90s) : Duration(30s));
    for (const auto& [what, count] : world.changes()) changes[what] += count;
    if (world.checkers.contested()) ++changes["contested, judged up to there"];
    simulated += world.scheduler.now() - began;
    writes += world.acknowledged();
    of_two += world.two_regions() ? 1 : 0;
    compared += world.checkers.compared_across();
    adoptions += world.checkers.adoptions();
    if (runs == 1 || !good)
      std::printf("seed %llu: %s, trace %016llx, %llu writes acknowledged\n", static_cast<unsigned long long>(seed),
                  good ? "held" : world.checkers.breach().c_str(),
                  static_cast<unsigned long long>(world.scheduler.trace()),
                  static_cast<unsigned long long>(world.acknowledged()));
    if (!good || runs == 1)
      for (const auto& [what, count] : world.changes()) std::printf("%s: %d\n", what.c_str(), count);
    if (!good) {
      std::printf("%s\n", world.standing().c_str() + 1);
      std::printf("replay: scripts/sim --seed %llu%s%s%s%s --verbose\n", static_cast<unsigned long long>(seed), members ? " --members" : "", pauses ? " --pauses" : "", forces ? " --force" : operate ? " --operate" : "",
                  operate ? "" : regions == 0 ? "" : regions == 1 ? " --regions 1" : " --regions 2");
      return 1;
    }
  }
  for (const auto& [what, count] : changes) std::printf("%s: %d\n", what.c_str(), count);
  std::printf("%llu runs held, %llu of two regions, %llu writes acknowledged, %llu states compared across regions, %llu adopted; "
              "%.0f s simulated in %.0f s\n",
              static_cast<unsigned long long>(done), static_cast<unsigned long long>(of_two),
              static_cast<unsigned long long>(writes), static_cast<unsigned long long>(compared),
              static_cast<unsigned long long>(adoptions), to_s(simulated), passed());
  return 0;
}
