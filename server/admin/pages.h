// Bodies of the health paths. Pure functions, any thread.
#pragma once

#include <string>
#include <vector>

#include "ports/status.h"

namespace leeward::admin {

// etcd's `{"health":"true"}`, with status and checks beside it. `details` off
// leaves out why a check fails.
std::string health_json(const std::vector<NamedCheck>& checks, bool details);

}  // namespace leeward::admin
