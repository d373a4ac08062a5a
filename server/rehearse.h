// A drill's rehearsal in a process of its own: what the node beside starts, and
// what runs there. With wiring.cc the only place that names concrete classes.
//
// The process opens a fork and nothing else: it has no link to any node, no
// listener, no environment; a crash of it is a failed drill.
#pragma once

#include <memory>

#include "base/result.h"
#include "config/config.h"
#include "ports/clock.h"
#include "ports/disk.h"
#include "ports/executor.h"
#include "standby/drill.h"

namespace leeward {

// The stage on which a daemon rehearses: `leewardd --rehearse` with a
// configuration that it writes beside the fork. All outlive it. `background`
// polls the process; destroy it when neither loop runs callbacks any more.
std::unique_ptr<standby::Stage> process_stage(const config::Config& config, Disk& disk, Executor& core, Executor& background);

// In that process: opens the fork that `config` names, rehearses, tells of it on
// the standard output. The exit code: 0 when it was told whole, whatever it says.
int rehearse(const config::Config& config);

}  // namespace leeward
