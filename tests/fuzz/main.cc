// One binary for all fuzzers; libFuzzer leaves arguments with two dashes to us.
//
//   leeward-fuzz --target=NAME [libFuzzer's flags and corpora]
//   leeward-fuzz --list
//   leeward-fuzz --target=NAME --seeds=DIRECTORY     writes the first inputs
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "target.h"

namespace {

const leeward::fuzz::Target* chosen = nullptr;

std::vector<leeward::fuzz::Target>& targets() {
  static auto* all = [] {
    auto* list = new std::vector<leeward::fuzz::Target>;
    for (const auto& some : {leeward::fuzz::peer_targets(), leeward::fuzz::disk_targets(),
                             leeward::fuzz::config_targets(), leeward::fuzz::client_targets()})
      list->insert(list->end(), some.begin(), some.end());
    return list;
  }();
  return *all;
}

void write_seeds(const std::string& directory) {
  int number = 0;
  for (const auto& seed : chosen->seeds()) {
    std::ofstream out(directory + "/seed" + std::to_string(number++), std::ios::binary);
    out << seed;
    if (!out.flush()) std::fprintf(stderr, "leeward-fuzz: cannot write to %s\n", directory.c_str()), std::exit(1);
  }
  std::exit(0);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  std::string seeds;
  for (int i = 1; i < *argc; ++i) {
    const std::string_view arg = (*argv)[i];
    if (arg == "--list") {
      for (const auto& target : targets()) std::puts(target.name);
      std::exit(0);
    }
    for (const auto& target : targets())
      if (arg == std::string("--target=") + target.name) chosen = &target;
    if (arg.starts_with("--seeds=")) seeds = arg.substr(8);
  }
  if (chosen == nullptr) std::fprintf(stderr, "leeward-fuzz: --target=NAME is needed; --list names them\n"), std::exit(2);
  if (!seeds.empty()) write_seeds(seeds);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  chosen->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
