// Sends frames of Lane::kStream under this member's header. Core loop.
#pragma once

#include "node/group.h"
#include "ports/standby_probe.h"
#include "standby/messages.h"

namespace leeward::standby {

class Outbox {
 public:
  Outbox(node::Group& group, StandbyProbe& probe) : group_(group), probe_(probe) {}

  // False: certainly not sent.
  bool send(NodeId to, const Body& body, EncodeOptions options = {}) {
    auto frame = encode({group_.lineage(), group_.group(), group_.epoch()}, body, options);
    const auto size = frame.size();
    std::vector<Bytes> parts;
    parts.push_back(std::move(frame));
    if (!group_.link().send(to, Lane::kStream, std::move(parts))) return false;
    if (std::holds_alternative<Entries>(body)) probe_.wire_bytes_sent.add(size);
    return true;
  }
  std::size_t queued(NodeId to) const { return group_.link().queued(to, Lane::kStream); }

 private:
  node::Group& group_;
  StandbyProbe& probe_;
};

}  // namespace leeward::standby
