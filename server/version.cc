#include "revision.h"  // written by the build: cmake/revision.cmake
#include "wiring.h"

namespace leeward {

const char* version() { return LEEWARD_VERSION; }
const char* revision() { return LEEWARD_REVISION; }

}  // namespace leeward
