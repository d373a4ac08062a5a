// The client port's services behind net's RpcHandler: finds the method, keeps
// the figures, and ends the call of a client that went away. README.md says
// what each service does.
//
// Thread rule: start() on the call's loop; any number of loops.
#pragma once

#include <memory>

#include "api/core.h"
#include "api/probe.h"
#include "ports/rpc.h"

namespace leeward::api {

class Services final : public RpcHandler {
 public:
  // What `dependencies` refers to outlives this; this outlives every call.
  Services(Dependencies dependencies, Options options);
  ~Services() override;

  void start(std::shared_ptr<RpcCall> call) override;

  Core& core() { return *core_; }

 private:
  std::unique_ptr<Core> core_;
};

}  // namespace leeward::api
