// What /v3/dr/status, /v3/dr/plan, /v3/cluster/status and /v3/standby/status
// answer, for a port of the same node that speaks no gRPC: the same text. Any
// thread; pure.
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
// {"cluster_status":{}, "standby_status":{}, "dr_status":{}} of one status, of the
// history the newest epochs. Errors: kCorrupt.
Result<std::string> answers_json(const NodeStatus& status, RecoveryStatus told);

}  // namespace leeward::api
