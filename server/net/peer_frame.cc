#include "net/peer_frame.h"

#include <algorithm>

#include "base/codec.h"
#include "base/crc32c.h"

namespace leeward::net {

namespace {

constexpr std::string_view kHelloMagic = "LWPEERhi", kReplyMagic = "LWPEERok";
constexpr std::uint8_t kFormat = 1;
const Error kBadHello{Code::kCorrupt, "the hello is malformed: the other side is no Leeward node"};

void put_lineage(std::string& out, const Lineage& lineage) {
  out.append(reinterpret_cast<const char*>(lineage.bytes.data()), lineage.bytes.size());
}

bool get_lineage(std::string_view& in, Lineage& lineage) {
  if (in.size() < lineage.bytes.size()) return false;
  std::copy_n(in.begin(), lineage.bytes.size(), lineage.bytes.begin());
  in.remove_prefix(lineage.bytes.size());
  return true;
}

Result<std::uint8_t> take_opening(std::string_view& in, std::string_view magic) {
  std::uint8_t format = 0;
  if (!in.starts_with(magic)) return kBadHello;
  in.remove_prefix(magic.size());
  if (!codec::get_u8(in, format)) return kBadHello;
  if (format > kFormat)
    return Error{Code::kNewerFormat, "the other side speaks peer format " + std::to_string(format) +
                                         ", newer than ours: upgrade this node"};
  return format;
}

}  // namespace

std::string frame_header(std::uint8_t lane, const std::vector<Bytes>& parts) {
  std::string tail;
  codec::put_u8(tail, lane);
  codec::put_u8(tail, kFrameVersion);
  tail.append(2, '\0');
  std::uint32_t checksum = crc32c(tail);
  std::size_t size = 0;
  for (const auto& part : parts) checksum = crc32c(part.view(), checksum), size += part.size();
  std::string header;
  header.reserve(kFrameHeader);
  codec::put_u32(header, static_cast<std::uint32_t>(size));
  codec::put_u32(header, checksum);
  return header.append(tail);
}

Result<void> FrameReader::begin() {
  std::string_view in = header_;
  std::uint32_t size = 0;
  std::uint8_t version = 0;
  codec::get_u32(in, size);
  codec::get_u32(in, checksum_);
  codec::get_u8(in, frame_.lane);
  codec::get_u8(in, version);
  if (version != kFrameVersion || in != std::string_view("\0\0", 2))
    return Error{version > kFrameVersion ? Code::kNewerFormat : Code::kCorrupt,
                 "a frame of version " + std::to_string(version) + ", or no frame at all"};
  if (size > max_)
    return Error{Code::kCorrupt, "a frame of " + std::to_string(size) + " bytes, more than the " +
                                     std::to_string(max_) + " allowed"};
  size_ = size;
  frame_.payload.clear();
  frame_.payload.reserve(std::min<std::size_t>(size_, 1 << 20));
  in_payload_ = true;
  return {};
}

Result<std::optional<Frame>> FrameReader::next(std::string_view& data) {
  if (!in_payload_) {
    const std::size_t n = std::min(kFrameHeader - header_.size(), data.size());
    header_.append(data.substr(0, n));
    data.remove_prefix(n);
    if (header_.size() < kFrameHeader) return std::optional<Frame>();
    LEEWARD_TRY(begin());
  }
  const std::size_t n = std::min(size_ - frame_.payload.size(), data.size());
  frame_.payload.append(data.substr(0, n));
  data.remove_prefix(n);
  if (frame_.payload.size() < size_) return std::optional<Frame>();
  if (crc32c(frame_.payload, crc32c(std::string_view(header_).substr(8))) != checksum_)
    return Error{Code::kCorrupt, "a frame whose checksum is wrong"};
  header_.clear();
  in_payload_ = false;
  return std::optional<Frame>(std::move(frame_));
}

std::string encode(const Hello& hello) {
  std::string out(kHelloMagic);
  codec::put_u8(out, hello.format);
  codec::put_u64(out, hello.from.value());
  codec::put_u64(out, hello.to.value());
  codec::put_u8(out, hello.lane);
  codec::put_bytes(out, hello.cluster);
  put_lineage(out, hello.lineage);
  return out;
}

Result<Hello> decode_hello(std::string_view in) {
  const auto format = take_opening(in, kHelloMagic);
  if (!format) return format.error();
  Hello hello;
  hello.format = *format;
  std::uint64_t from = 0, to = 0;
  std::string_view cluster;
  if (!codec::get_u64(in, from) || !codec::get_u64(in, to) || !codec::get_u8(in, hello.lane) ||
      !codec::get_bytes(in, cluster) || !get_lineage(in, hello.lineage))
    return kBadHello;
  hello.from = NodeId(from);
  hello.to = NodeId(to);
  hello.cluster = cluster;
  return hello;
}

std::string encode(const HelloReply& reply) {
  std::string out(kReplyMagic);
  codec::put_u8(out, kFormat);
  codec::put_u8(out, reply.accepted ? 1 : 0);
  codec::put_u64(out, reply.from.value());
  codec::put_bytes(out, reply.cluster);
  put_lineage(out, reply.lineage);
  codec::put_bytes(out, reply.reason);
  return out;
}

Result<HelloReply> decode_reply(std::string_view in) {
  const auto format = take_opening(in, kReplyMagic);
  if (!format) return format.error();
  HelloReply reply;
  std::uint8_t accepted = 0;
  std::uint64_t from = 0;
  std::string_view cluster, reason;
  if (!codec::get_u8(in, accepted) || !codec::get_u64(in, from) || !codec::get_bytes(in, cluster) ||
      !get_lineage(in, reply.lineage) || !codec::get_bytes(in, reason))
    return kBadHello;
  reply.accepted = accepted != 0;
  reply.from = NodeId(from);
  reply.cluster = cluster;
  reply.reason = reason;
  return reply;
}

std::string mismatch(const std::string& our_cluster, const Lineage& ours, const std::string& their_cluster,
                     const Lineage& theirs) {
  if (our_cluster != their_cluster)
    return "the cluster names differ: \"" + our_cluster + "\" here, \"" + their_cluster + "\" there";
  if (ours.known() && theirs.known() && ours != theirs)
    return "another lineage: " + ours.hex() + " here, " + theirs.hex() + " there";
  return {};
}

}  // namespace leeward::net
