// The wire format between nodes: frames, and the hello that opens a
// connection. README.md, "Peer connections", is the specification. Pure
// functions and values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace leeward::net {

inline constexpr std::size_t kFrameHeader = 12;
inline constexpr std::size_t kMaxFrame = 16 << 20;
inline constexpr std::uint8_t kFrameVersion = 1;
inline constexpr std::uint8_t kHelloLane = 0;

// The header of a frame whose payload is the concatenation of `parts`.
std::string frame_header(std::uint8_t lane, const std::vector<Bytes>& parts);

struct Frame {
  std::uint8_t lane = 0;
  std::string payload;
};

// Cuts a stream of bytes into frames. After an error the connection is of no
// use. Errors: kCorrupt, kNewerFormat.
class FrameReader {
 public:
  explicit FrameReader(std::size_t max = kMaxFrame) : max_(max) {}
  void limit(std::size_t max) { max_ = max; }
  // Takes bytes off the front of `data`; nullopt when more are needed.
  Result<std::optional<Frame>> next(std::string_view& data);
  // Bytes held of a payload that is not whole.
  std::size_t unfinished() const { return in_payload_ ? frame_.payload.size() : 0; }

 private:
  Result<void> begin();

  std::size_t max_;
  std::string header_;
  Frame frame_;
  std::size_t size_ = 0;
  std::uint32_t checksum_ = 0;
  bool in_payload_ = false;
};

// What a node says of itself when a connection opens, and again when its
// lineage becomes known.
struct Hello {
  std::uint8_t format = 1;
  NodeId from;
  NodeId to;             // whom the dialer means to reach
  std::uint8_t lane = 0; // what the connection will carry
  std::string cluster;
  Lineage lineage;       // zero: not known yet
};
std::string encode(const Hello& hello);
Result<Hello> decode_hello(std::string_view payload);

// The acceptor's answer. A refusal says why and is followed by the end.
struct HelloReply {
  bool accepted = false;
  NodeId from;
  std::string cluster;
  Lineage lineage;
  std::string reason;
};
std::string encode(const HelloReply& reply);
Result<HelloReply> decode_reply(std::string_view payload);

// Why two nodes must not talk: another cluster name or another lineage. Empty:
// they may.
std::string mismatch(const std::string& our_cluster, const Lineage& ours, const std::string& their_cluster,
                     const Lineage& theirs);

}  // namespace leeward::net
