// What etcd's mixin (contrib/mixin: alerts and a board) and the dashboards made
// for etcd ask for, under etcd's names. README.md says what each is here.
#pragma once

#include "telemetry/metrics.h"
#include "telemetry/page.h"

namespace leeward::telemetry {

void add_etcd_names(Page& page, const MetricsSources& from, const NodeStatus& status, const NodeProbe& probe, const StateFigures& state);

}  // namespace leeward::telemetry
