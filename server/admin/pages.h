// Bodies of the admin port's pages. Pure functions, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ports/status.h"

namespace leeward::admin {

// etcd's `{"health":"true"}`, with status and checks beside it. `details` off
// leaves out why a check fails.
std::string health_json(const std::vector<NamedCheck>& checks, bool details);

// One page without script; everything in it is escaped.
std::string console_html(const NodeStatus& status, const std::vector<NamedCheck>& checks);
inline constexpr const char* kConsolePolicy =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

}  // namespace leeward::admin
