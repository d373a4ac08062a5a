// Raft messages as they stand on the simulated wire, to look at and to change.
#pragma once

#include <optional>

#include "node/frames.h"
#include "ports/peer_link.h"
#include "raft/types.h"

namespace leeward::sim {

struct RaftFrame {
  node::FrameHeader header;
  raft::Message message;
};

inline std::optional<RaftFrame> raft_frame(Lane lane, const Bytes& bytes) {
  if (lane != Lane::kConsensus) return std::nullopt;
  auto frame = node::decode_frame(bytes);
  if (!frame.ok() || frame->header.type != node::FrameType::kRaft) return std::nullopt;
  auto message = raft::decode_message(frame->body);
  if (!message.ok()) return std::nullopt;
  return RaftFrame{frame->header, std::move(*message)};
}

inline Bytes to_bytes(const RaftFrame& frame) {
  auto out = node::encode_header(frame.header);
  raft::encode(frame.message, out);
  return Bytes(std::move(out));
}

}  // namespace leeward::sim
