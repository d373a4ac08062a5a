#include "base/command.h"

#include "base/codec.h"

namespace leeward {

std::string encode_payload(const std::vector<Command>& commands) {
  std::size_t size = 0;
  for (const auto& c : commands) size += 1 + codec::varint_size(c.request.size()) + c.request.size();
  std::string out;
  out.reserve(size);
  for (const auto& c : commands) {
    codec::put_u8(out, static_cast<std::uint8_t>(c.op));
    codec::put_bytes(out, c.request.view());
  }
  return out;
}

// An item: flags (1: sampled), varint node, u64 incarnation, u64 process,
// varint sequence, then 16 + 8 bytes of trace when sampled.
std::string encode_envelope(const std::vector<Command>& commands) {
  std::string out;
  out.reserve(commands.size() * 24);
  for (const auto& c : commands) {
    codec::put_u8(out, c.trace.sampled ? 1 : 0);
    codec::put_varint(out, c.origin.node.value());
    codec::put_u64(out, c.origin.incarnation.value());
    codec::put_u64(out, c.origin.process);
    codec::put_varint(out, c.origin.sequence);
    if (c.trace.sampled) {
      out.append(reinterpret_cast<const char*>(c.trace.trace_id.data()), c.trace.trace_id.size());
      out.append(reinterpret_cast<const char*>(c.trace.span_id.data()), c.trace.span_id.size());
    }
  }
  return out;
}

Result<std::vector<CommandView>> decode_payload(std::string_view in, std::uint32_t writes) {
  std::vector<CommandView> commands;
  while (!in.empty()) {
    std::uint8_t op;
    CommandView view{};
    if (!codec::get_u8(in, op) || !codec::get_bytes(in, view.request))
      return Error{Code::kCorrupt, "a command is cut short"};
    view.op = static_cast<Op>(op);
    commands.push_back(view);
  }
  if (commands.size() != writes)
    return Error{Code::kCorrupt, "an entry announces " + std::to_string(writes) + " commands and holds " +
                                     std::to_string(commands.size())};
  return commands;
}

Result<std::vector<EnvelopeItem>> decode_envelope(std::string_view in, std::uint32_t writes) {
  std::vector<EnvelopeItem> items;
  if (in.empty()) return items;
  const Error corrupt{Code::kCorrupt, "an entry's envelope is malformed"};
  while (!in.empty()) {
    EnvelopeItem item;
    std::uint8_t flags;
    std::uint64_t node, incarnation;
    if (!codec::get_u8(in, flags) || !codec::get_varint(in, node) || !codec::get_u64(in, incarnation) ||
        !codec::get_u64(in, item.origin.process) || !codec::get_varint(in, item.origin.sequence))
      return corrupt;
    item.origin.node = NodeId(node);
    item.origin.incarnation = Incarnation(incarnation);
    item.trace.sampled = (flags & 1) != 0;
    if (item.trace.sampled &&
        (!codec::get_fixed(in, item.trace.trace_id) || !codec::get_fixed(in, item.trace.span_id)))
      return corrupt;
    items.push_back(item);
  }
  if (items.size() != writes) return corrupt;
  return items;
}

}  // namespace leeward
