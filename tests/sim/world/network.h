// Frames between simulated nodes: lost, late, out of order, cut off one way or
// both, between two nodes or between all of two regions, which have a weather of
// their own. A frame to a process that has died since is lost.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
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

  Weather weather;  // within a region
  Weather wan;      // between two
  std::uint64_t wan_bandwidth = 0;  // bytes a second of all that goes from one region to another; 0: no limit
  bool corrupts = false;  // `tamper` changes what members hold true: they are right to say so
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
  // Stays through heal(): the links of a region fail and come back on their own.
  void place(NodeId id, const std::string& region) { region_[id] = region; }
  void cut_regions(const std::string& from, const std::string& to) { cut_regions_.insert({from, to}); }
  void heal_regions() { cut_regions_.clear(); }
  bool cut_off(NodeId from, NodeId to) const {
    return cut_.contains({from, to}) || (!cut_regions_.empty() && cut_regions_.contains({region_of(from), region_of(to)}));
  }
  bool reaches(NodeId from, NodeId to) const { return links_.contains(to) && !cut_off(from, to); }
  // Puts a frame on its way, as if `from` had sent it.
  void carry(NodeId from, NodeId to, Lane lane, Bytes frame);
  std::uint64_t delivered() const { return delivered_; }
  // What waits for the link between their regions, of all nodes.
  std::size_t queued(NodeId from, NodeId to) const;

 private:
  const std::string& region_of(NodeId id) const {
    static const std::string kNone;
    const auto it = region_.find(id);
    return it == region_.end() ? kNone : it->second;
  }

  Scheduler& scheduler_;
  Dice& dice_;
  std::map<NodeId, SimLink*> links_;
  std::map<NodeId, std::string> region_;
  std::set<std::pair<NodeId, NodeId>> cut_;
  std::set<std::pair<std::string, std::string>> cut_regions_;
  std::uint64_t delivered_ = 0;
  std::map<std::pair<std::string, std::string>, Instant> link_free_;  // between regions, with a bandwidth
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
  std::size_t queued(NodeId to, Lane) const override { return network_.queued(self_, to); }
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

inline std::size_t Network::queued(NodeId from, NodeId to) const {
  const auto free = link_free_.find({region_of(from), region_of(to)});
  if (wan_bandwidth == 0 || free == link_free_.end() || free->second <= scheduler_.now()) return 0;
  return static_cast<std::size_t>(to_s(free->second - scheduler_.now()) * static_cast<double>(wan_bandwidth));
}

inline void Network::carry(NodeId from, NodeId to, Lane lane, Bytes frame) {
  if (tamper) {
    frame = tamper(from, to, lane, std::move(frame));
    if (frame.empty()) return;
  }
  const auto& w = region_of(from) == region_of(to) ? weather : wan;
  if (dice_.chance(w.loss)) return;
  auto delay = dice_.between(w.delay_low, w.delay_high);
  if (wan_bandwidth != 0 && region_of(from) != region_of(to)) {
    auto& free = link_free_[{region_of(from), region_of(to)}];
    free = std::max(free, scheduler_.now()) + Duration(frame.size() * 1'000'000'000 / wan_bandwidth);
    delay += free - scheduler_.now();
  }
  if (dice_.chance(w.straggler)) delay += dice_.between(Duration(0), w.straggle);
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
    if (it == links_.end() || it->second != target || cut_off(from, to)) return;
    scheduler_.note(from.value() << 32 | to.value() << 8 | static_cast<std::uint64_t>(lane));
    scheduler_.note(frame.view());
    ++delivered_;
    target->arrive(from, lane, frame);
  });
}

}  // namespace leeward::sim
