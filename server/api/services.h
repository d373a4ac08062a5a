// The client port's services behind net's RpcHandler: finds the method, keeps
// the figures, and ends the call of a client that went away. README.md says
// what each service does.
//
// Thread rule: start() on the call's loop; any number of loops.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "api/core.h"
#include "api/errors.h"
#include "api/probe.h"
#include "ports/rpc.h"

namespace leeward::api {

class Call;

class Services final : public RpcHandler {
 public:
  // What `dependencies` refers to outlives this; this outlives every call.
  Services(Dependencies dependencies, Options options);
  ~Services() override;

  void start(std::shared_ptr<RpcCall> call) override;

  Core& core() { return *core_; }

  // Ends the open streams that this node must not go on with: all of a removed
  // member's, those of a fenced one that only a serving region gives. Any thread.
  void heed(const NodeStatus& status);

 private:
  static constexpr std::size_t kStreamsKept = 64;
  struct Stream {
    std::weak_ptr<Call> call;
    bool of_serving = false;  // only a region that serves gives it
  };
  void note_stream(const std::shared_ptr<Call>& call, bool of_serving);
  void end_streams(bool of_serving_only, const RpcStatus& why);

  std::mutex streams_mutex_;
  std::vector<Stream> streams_;  // under streams_mutex_, as is forget_at_
  std::size_t forget_at_ = kStreamsKept;
  std::unique_ptr<Core> core_;
};

}  // namespace leeward::api
