#include "kv/events.h"

#include "base/codec.h"

namespace leeward::kv {
namespace {

constexpr int kEventsField = 11;

// An event's own fields, without its frame.
void append_event(std::string& out, std::int64_t main, std::string_view key, std::string_view record) {
  if (!record.empty()) return append_kv(out, 2, key, record);
  append_varint_field(out, 1, 1);
  std::string fields;
  append_varint_field(fields, 3, static_cast<std::uint64_t>(main));
  append_kv(out, 2, key, fields);
}

}  // namespace

void Revisions::add(std::string_view key, std::string_view record, std::string_view previous) {
  std::string body;
  body.reserve(key.size() + record.size() + 24);
  append_event(body, main_, key, record);
  append_bytes_field(plain_, kEventsField, body);

  Event event;
  event.deletion = record.empty();
  event.end = static_cast<std::uint32_t>(plain_.size());
  // The key follows the frames of the event and of its kv.
  const std::size_t behind = event.deletion ? 1 + codec::varint_size(static_cast<std::uint64_t>(main_)) : record.size();
  event.key_at = static_cast<std::uint32_t>(plain_.size() - behind - key.size());
  event.key_size = static_cast<std::uint32_t>(key.size());
  if (!previous.empty()) append_kv(previous_, 3, key, previous);
  event.previous_end = static_cast<std::uint32_t>(previous_.size());
  events_.push_back(event);
}

std::string_view Revisions::key(std::size_t i) const {
  return std::string_view(plain_).substr(events_[i].key_at, events_[i].key_size);
}

void Revisions::build_with_previous() const {
  std::uint32_t start = 0, previous_start = 0;
  for (const Event& event : events_) {
    std::string_view field = std::string_view(plain_).substr(start, event.end - start);
    WireReader in(field);
    in.next();
    const auto previous = std::string_view(previous_).substr(previous_start, event.previous_end - previous_start);
    codec::put_varint(with_previous_, kEventsField << 3 | 2);
    codec::put_varint(with_previous_, in.bytes().size() + previous.size());
    with_previous_.append(in.bytes());
    with_previous_.append(previous);
    with_previous_ends_.push_back(static_cast<std::uint32_t>(with_previous_.size()));
    start = event.end;
    previous_start = event.previous_end;
  }
}

std::string_view Revisions::encoded(std::size_t i, std::size_t j, bool with_previous) const {
  if (i >= j) return {};
  if (!with_previous || previous_.empty()) {
    const std::uint32_t start = i == 0 ? 0 : events_[i - 1].end;
    return std::string_view(plain_).substr(start, events_[j - 1].end - start);
  }
  std::call_once(once_, [this] { build_with_previous(); });
  const std::uint32_t start = i == 0 ? 0 : with_previous_ends_[i - 1];
  return std::string_view(with_previous_).substr(start, with_previous_ends_[j - 1] - start);
}

std::size_t Revisions::bytes() const {
  return sizeof(*this) + events_.size() * sizeof(Event) + plain_.size() + previous_.size();
}

}  // namespace leeward::kv
