// What /v3/dr/status and /v3/dr/plan answer, for a port of the same node that
// speaks no gRPC: the same text. Any thread; pure.
#pragma once

#include <string>

#include "base/result.h"
#include "base/units.h"
#include "ports/recovery.h"
#include "ports/status.h"

namespace leeward::api {

// `told` without content while storage is being opened. Errors: kCorrupt.
Result<std::string> dr_status_json(const NodeStatus& status, const RecoveryStatus& told);
// `now`: by which `unknown_since` is told. Errors: kCorrupt.
Result<std::string> dr_plan_json(const PromotionPlan& plan, WallTime now);

}  // namespace leeward::api
