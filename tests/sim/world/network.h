// Frames between simulated nodes: lost, late, out of order, cut off one way or
// both. A frame to a process that has died since is lost.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "ports/peer_link.h"
#include "world/scheduler.h"

namespace leeward::sim {

class SimLink;

class Network {
 public:
  struct Weather {
    double loss = 0.0;
    Duration delay_low = 200us, delay_high = 2ms;
    double straggler = 0.0;  // this share is late by up to `straggle`, and so out of order
    Duration straggle = 500ms;
  };

  Network(Scheduler& scheduler, Dice& dice) : scheduler_(scheduler), dice_(dice) {}

  Weather weather;
  // May change a frame, or drop it by returning an empty one; for planted bugs.
  std::function<Bytes(NodeId from, NodeId to, Lane lane, Bytes frame)> tamper;

  void join(NodeId id, SimLink* link) { links_[id] = link; }
  void leave(NodeId id, SimLink* link) {
    if (const auto it = links_.find(id); it != links_.end() && it->second == link) links_.erase(it);
  }
  void cut(NodeId from, NodeId to) { cut_.insert({from, to}); }
  void isolate(NodeId id, const std::vector<NodeId>& others) {
    for (const auto o : others) {
      if (o == id) continue;
      cut(id, o);
      cut(o, id);
    }
  }
  void heal() { cut_.clear(); }
  bool reaches(NodeId from, NodeId to) const { return links_.contains(to) && !cut_.contains({from, to}); }
  // Puts a frame on its way, as if `from` had sent it.
  void carry(NodeId from, NodeId to, Lane lane, Bytes frame);
  std::uint64_t delivered() const { return delivered_; }

 private:
  Scheduler& scheduler_;
  Dice& dice_;
  std::map<NodeId, SimLink*> links_;
  std::set<std::pair<NodeId, NodeId>> cut_;
  std::uint64_t delivered_ = 0;
  std::map<std::pair<NodeId, NodeId>, Instant> stream_;  // when the last frame of Lane::kStream arrives
};

class SimLink final : public PeerLink {
 public:
  SimLink(Network& network, Executor& loop, NodeId self) : network_(network), loop_(loop), self_(self) {
    network_.join(self, this);
  }
  ~SimLink() override { network_.leave(self_, this); }

  void set_handler(Handler handler) override { handler_ = std::make_shared<Handler>(std::move(handler)); }
  void set_peers(std::vector<PeerAddress> peers) override {
    peers_.clear();
    for (const auto& p : peers) peers_.insert(p.node);
  }
  bool send(NodeId to, Lane lane, std::vector<Bytes> parts) override {
    if (!peers_.contains(to)) return false;
    std::string whole;
    for (const auto& p : parts) whole += p.view();
    network_.carry(self_, to, lane, Bytes(std::move(whole)));
    return true;
  }
  std::size_t queued(NodeId, Lane) const override { return 0; }
  bool connected(NodeId to) const override { return network_.reaches(self_, to) && network_.reaches(to, self_); }

  void arrive(NodeId from, Lane lane, Bytes frame) {
    if (!handler_) return;
    loop_.post([handler = handler_, from, lane, frame = std::move(frame)]() mutable {
      (*handler)(from, lane, std::move(frame));
    });
  }

 private:
  Network& network_;
  Executor& loop_;
  NodeId self_;
  std::set<NodeId> peers_;
  std::shared_ptr<Handler> handler_;
};

inline void Network::carry(NodeId from, NodeId to, Lane lane, Bytes frame) {
  if (tamper) {
    frame = tamper(from, to, lane, std::move(frame));
    if (frame.empty()) return;
  }
  if (dice_.chance(weather.loss)) return;
  auto delay = dice_.between(weather.delay_low, weather.delay_high);
  if (dice_.chance(weather.straggler)) delay += dice_.between(Duration(0), weather.straggle);
  if (lane == Lane::kStream) {
    // In order while a connection lives; what Raft sends may overtake, since
    // its messages may come over an old and a new connection.
    auto& last = stream_[{from, to}];
    last = std::max(last, scheduler_.now() + delay);
    delay = last - scheduler_.now();
  }
  auto* target = links_.contains(to) ? links_[to] : nullptr;
  scheduler_.after(delay, [this, from, to, lane, target, frame = std::move(frame)] {
    const auto it = links_.find(to);
    if (it == links_.end() || it->second != target || cut_.contains({from, to})) return;
    scheduler_.note(from.value() << 32 | to.value() << 8 | static_cast<std::uint64_t>(lane));
    scheduler_.note(frame.view());
    ++delivered_;
    target->arrive(from, lane, frame);
  });
}

}  // namespace leeward::sim
