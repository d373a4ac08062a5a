// What `dr status` advises: from what one node knows, to what an operator would
// type next, and what the next failure would take. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "ports/status.h"

namespace leeward::api::operations {

// The way on from a state that is none to stay in: who is lost for good loses
// history, who is only down loses nothing by coming back. Empty: all is well.
std::string next_command(const NodeStatus& status);
// What is well only until the next failure.
std::vector<std::string> warnings(const NodeStatus& status);

}  // namespace leeward::api::operations
