#include <cstdint>

#include "base/format.h"
#include "revision.h"  // written by the build: cmake/revision.cmake
#include "wiring.h"

namespace leeward {

const char* version() { return LEEWARD_VERSION; }
// As text, so that a build which knows another format differs from this one in
// a byte: tests of upgrades make one.
std::uint32_t newest_format() {
  static_assert(kNewestFormat == 2, "the text says it too");
  static const volatile char kText[] = "newest format: 2";
  return static_cast<std::uint32_t>(kText[sizeof(kText) - 2] - '0');
}

const char* revision() { return LEEWARD_REVISION; }

}  // namespace leeward
