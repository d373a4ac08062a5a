#include "os/random.h"

#include <sys/random.h>

#include <bit>

#include "base/check.h"

namespace leeward::os {
namespace {

std::uint64_t kernel_seed() {
  std::uint64_t seed = 0;
  // Up to 256 bytes come whole once the kernel's pool is ready (getrandom(2)).
  LEEWARD_CHECK(getrandom(&seed, sizeof seed, 0) == static_cast<ssize_t>(sizeof seed));
  return seed;
}

// Spreads a seed over the state, as the authors of xoshiro advise.
std::uint64_t splitmix64(std::uint64_t& x) {
  std::uint64_t z = (x += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

SeededRandom::SeededRandom(std::uint64_t seed) {
  for (auto& word : state_) word = splitmix64(seed);
}

std::uint64_t SeededRandom::next() {
  const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const std::uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

SystemRandom::SystemRandom() : SeededRandom(kernel_seed()) {}

}  // namespace leeward::os
