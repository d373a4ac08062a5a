// Handover for any thread: carries what is asked to the core loop, and the
// answer back to the asker's. Lives as long as what it is given; made and
// destroyed on the core loop.
#pragma once

#include <memory>

#include "node/group.h"
#include "standby/desk.h"
#include "standby/rearming.h"
#include "standby/switchover.h"

namespace leeward::standby {

class HandoverDesk final : public Handover {
 public:
  HandoverDesk(node::Group& group, Switchover& switchover, Rearming& rearming, const Regions& regions)
      : group_(group), switchover_(switchover), rearming_(rearming), regions_(regions) {}

  void switchover(SwitchoverRequest request, Executor& reply, Function<void(Result<SwitchoverRecord>)> done) override {
    on_core(reply, std::move(done), [this, request = std::move(request)](auto answer) mutable {
      switchover_.begin(std::move(request), std::move(answer));
    });
  }
  void abort(Executor& reply, Function<void(Result<HandoverState>)> done) override {
    on_core(reply, std::move(done), [this](auto answer) { switchover_.abort(std::move(answer)); });
  }
  void arm(std::string region, Executor& reply, Function<void(Result<HandoverState>)> done) override {
    on_core(reply, std::move(done), [this, region = std::move(region)](auto answer) mutable {
      rearming_.arm(std::move(region), regions_, std::move(answer));
    });
  }
  void disarm(bool force, Executor& reply, Function<void(Result<HandoverState>)> done) override {
    on_core(reply, std::move(done), [this, force](auto answer) { rearming_.disarm(force, std::move(answer)); });
  }

 private:
  template <class T, class Work>
  void on_core(Executor& reply, Function<void(Result<T>)> done, Work work) {
    group_.loop().post([alive = std::weak_ptr<bool>(alive_), answer = answer_on(reply, std::move(done)), work = std::move(work)]() mutable {
      if (alive.expired()) return answer(kNodeStops);
      work(std::move(answer));
    });
  }

  node::Group& group_;
  Switchover& switchover_;
  Rearming& rearming_;
  const Regions& regions_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace leeward::standby
