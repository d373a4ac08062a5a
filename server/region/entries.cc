#include "region/entries.h"

#include <cstring>

#include "base/codec.h"
#include "base/position_codec.h"

namespace leeward::region {
namespace {

// 1: a fork was told by index and hash alone, and what a Follow keeps not at all.
constexpr std::uint8_t kFormat = 2;
// Of a Follow out of a damaged history alone: older versions read all else.
constexpr std::uint8_t kDamagedFormat = 3;
template <class T>
constexpr std::uint8_t kNewestFormat = kFormat;
template <>
constexpr std::uint8_t kNewestFormat<Follow> = kDamagedFormat;
constexpr std::uint64_t kMostMilliseconds = 86'400'000;
constexpr std::size_t kMostEpochs = 65'536;

// The fields of each payload are named once (fields(), below) and walked by
// either of these.
class Writer {
 public:
  Writer(std::string& out, std::uint8_t format) : out_(out), format_(format) {}
  void id(std::uint64_t& v) { codec::put_u64(out_, v); }
  void number(std::uint64_t& v) { codec::put_varint(out_, v); }
  void signed_number(std::int64_t& v) { codec::put_u64(out_, static_cast<std::uint64_t>(v)); }
  template <class T>
  void ordinal(T& v) {
    codec::put_varint(out_, v.value());
  }
  void group(GroupId& v) { codec::put_u64(out_, v.value()); }
  void text(std::string& v) { codec::put_bytes(out_, v); }
  void hash(Hash& v) { out_.append(reinterpret_cast<const char*>(v.bytes.data()), v.bytes.size()); }
  void place(Position& v) { codec::put_position(out_, v); }
  template <class Each>
  void since(std::uint8_t format, Each each) {
    if (format_ >= format) each();
  }
  void flag(bool& v) { codec::put_u8(out_, v); }
  void milliseconds(Duration& v) { codec::put_varint(out_, static_cast<std::uint64_t>(v / 1ms)); }
  template <class T>
  void choice(T& v, T, T) {
    codec::put_u8(out_, static_cast<std::uint8_t>(v));
  }
  template <class T, class Each>
  void optional(std::optional<T>& v, Each each) {
    codec::put_u8(out_, v.has_value());
    if (v) each(*v);
  }
  template <class T, class Each>
  void list(std::vector<T>& v, Each each) {
    codec::put_varint(out_, v.size());
    for (T& item : v) each(item);
  }

 private:
  std::string& out_;
  std::uint8_t format_;
};

class Reader {
 public:
  Reader(std::string_view in, std::uint8_t format) : in_(in), format_(format) {}
  bool whole() const { return ok_ && in_.empty(); }

  void id(std::uint64_t& v) { take(codec::get_u64(in_, v) && v != 0); }
  void number(std::uint64_t& v) { take(codec::get_varint(in_, v)); }
  void signed_number(std::int64_t& v) {
    std::uint64_t raw = 0;
    take(codec::get_u64(in_, raw));
    v = static_cast<std::int64_t>(raw);
  }
  template <class T>
  void ordinal(T& v) {
    std::uint64_t raw = 0;
    take(codec::get_varint(in_, raw));
    v = T(raw);
  }
  void group(GroupId& v) {
    std::uint64_t raw = 0;
    take(codec::get_u64(in_, raw) && raw != 0);
    v = GroupId(raw);
  }
  void text(std::string& v) {
    std::string_view bytes;
    take(codec::get_bytes(in_, bytes));
    v = bytes;
  }
  void hash(Hash& v) {
    if (!take(in_.size() >= v.bytes.size())) return;
    std::memcpy(v.bytes.data(), in_.data(), v.bytes.size());
    in_.remove_prefix(v.bytes.size());
  }
  // What formats before that one did not tell.
  template <class Each>
  void since(std::uint8_t format, Each each) {
    if (format_ >= format) each();
  }
  void place(Position& v) {
    if (format_ > 1) {
      take(codec::get_position(in_, v));
    } else {
      ordinal(v.index);
      hash(v.hash);
    }
  }
  void flag(bool& v) {
    std::uint8_t raw = 0;
    take(codec::get_u8(in_, raw) && raw <= 1);
    v = raw == 1;
  }
  void milliseconds(Duration& v) {
    std::uint64_t raw = 0;
    take(codec::get_varint(in_, raw) && raw <= kMostMilliseconds);
    v = std::chrono::milliseconds(ok_ ? raw : 0);
  }
  template <class T>
  void choice(T& v, T lowest, T highest) {
    std::uint8_t raw = 0;
    if (take(codec::get_u8(in_, raw) && raw >= static_cast<std::uint8_t>(lowest) && raw <= static_cast<std::uint8_t>(highest)))
      v = static_cast<T>(raw);
  }
  template <class T, class Each>
  void optional(std::optional<T>& v, Each each) {
    bool there = false;
    flag(there);
    if (ok_ && there) each(v.emplace());
  }
  template <class T, class Each>
  void list(std::vector<T>& v, Each each) {
    std::uint64_t size = 0;
    take(codec::get_varint(in_, size) && size <= kMostEpochs);
    for (std::uint64_t i = 0; ok_ && i < size; ++i) each(v.emplace_back());
  }

 private:
  bool take(bool ok) { return ok_ = ok_ && ok; }
  std::string_view in_;
  std::uint8_t format_;
  bool ok_ = true;
};

template <class A>
void fields(A& a, Proof& v) {
  a.group(v.group);
  a.ordinal(v.index);
  a.choice(v.kind, EntryKind{1}, EntryKind{255});
  a.text(v.payload);
}
template <class A>
void fields(A& a, Armed& v) {
  a.id(v.arming);
  a.group(v.group);
  a.text(v.region);
  a.choice(v.mode, FenceMode::kContact, FenceMode::kLease);
  a.milliseconds(v.lease);
  a.flag(v.unguarded);
}
template <class A>
void fields(A& a, Disarmed& v) {
  a.id(v.arming);
  a.optional(v.resigned, [&](Proof& p) { fields(a, p); });
  a.flag(v.unguarded);
}
template <class A>
void fields(A& a, Loss& v) {
  a.number(v.writes);
  a.number(v.entries);
  a.number(v.bytes);
  a.flag(v.more);
}
template <class A>
void fields(A& a, EpochChange& v) {
  a.ordinal(v.epoch);
  a.id(v.promotion);
  a.group(v.group);
  a.text(v.region);
  a.place(v.fork);
  a.choice(v.ending, Ending::kSealed, Ending::kForced);
  a.ordinal(v.cut);
  fields(a, v.announced);
  a.signed_number(v.time_ms);
  a.text(v.by);
  a.text(v.reason);
  a.text(v.plan);
}
template <class A>
void fields(A& a, Measured& v) {
  a.ordinal(v.epoch);
  a.id(v.promotion);
  a.group(v.group);
  fields(a, v.lost);
}
template <class A>
void fields(A& a, Seal& v) {
  a.id(v.seal);
  a.group(v.group);
  a.id(v.arming);
  a.text(v.by);
  a.text(v.reason);
}
template <class A>
void fields(A& a, Unseal& v) {
  a.id(v.seal);
  fields(a, v.reclaimed);
}
template <class A>
void fields(A& a, Resigned& v) {
  a.id(v.arming);
  a.ordinal(v.epoch);
}
template <class A>
void fields(A& a, Cut& v) {
  a.id(v.arming);
}
template <class A>
void fields(A& a, Reclaimed& v) {
  a.id(v.seal);
  a.ordinal(v.epoch);
}
template <class A>
void fields(A& a, Fenced& v) {
  a.ordinal(v.epoch);
  a.id(v.promotion);
  a.text(v.region);
}
template <class A>
void fields(A& a, EpochRecord& v) {
  a.ordinal(v.epoch);
  a.id(v.promotion);
  a.place(v.fork);
}
template <class A>
void fields(A& a, Follow& v) {
  a.list(v.history, [&](EpochRecord& r) { fields(a, r); });  // `common`: see encode()
  a.since(2, [&] { a.place(v.kept); });
  a.since(kDamagedFormat, [&] { a.flag(v.damaged); });
}

template <class A>
void fields(A& a, Regrouped& v) {
  a.group(v.group);
  a.ordinal(v.known);
  a.text(v.region);
  fields(a, v.announced);
  a.signed_number(v.time_ms);
  a.text(v.by);
  a.text(v.reason);
  a.text(v.plan);
}
template <class A>
void fields(A& a, Survivor& v) {
  a.ordinal(v.epoch);
  a.id(v.promotion);
}
template <class A>
void fields(A& a, Discarded& v) {
  a.ordinal(v.follow);
  a.text(v.by);
}

template <class T>
std::string write(T value, std::uint8_t format = kFormat) {
  std::string out;
  codec::put_u8(out, format);
  Writer writer(out, format);
  fields(writer, value);
  return out;
}

template <class T>
Result<T> read(std::string_view in, const char* what) {
  std::uint8_t format = 0;
  if (!codec::get_u8(in, format) || format == 0) return Error{Code::kCorrupt, std::string(what) + " is malformed"};
  if (format > kNewestFormat<T>) return Error{Code::kNewerFormat, std::string(what) + " was written by a newer version; upgrade"};
  T value;
  Reader reader(in, format);
  fields(reader, value);
  if (!reader.whole()) return Error{Code::kCorrupt, std::string(what) + " is malformed"};
  return value;
}

}  // namespace

const char* name(FenceMode mode) { return mode == FenceMode::kLease ? "lease" : "contact"; }
const char* name(Ending ending) {
  return ending == Ending::kSealed ? "planned" : ending == Ending::kGuarded ? "unplanned" : "forced";
}

Revision first_revision(const EpochChange& change, Revision forked) {
  if (change.ending == Ending::kSealed) return Revision(forked.value() + 1);
  return Revision(static_cast<std::int64_t>(change.epoch.value()) * kRevisionsOfAnEpoch);
}

std::string encode(const Armed& v) { return write(v); }
std::string encode(const Disarmed& v) { return write(v); }
std::string encode(const EpochChange& v) { return write(v); }
std::string encode(const Measured& v) { return write(v); }
std::string encode(const Seal& v) { return write(v); }
std::string encode(const Unseal& v) { return write(v); }
std::string encode(const Resigned& v) { return write(v); }
std::string encode(const Cut& v) { return write(v); }
std::string encode(const Reclaimed& v) { return write(v); }
std::string encode(const Fenced& v) { return write(v); }
std::string encode(const Follow& v) { return leap_payload(v.common, write(v, v.damaged ? kDamagedFormat : kFormat)); }
std::string encode(const Regrouped& v) { return write(v); }
std::string encode(const Survivor& v) { return write(v); }
std::string encode(const Discarded& v) { return write(v); }

Result<Armed> decode_armed(std::string_view in) { return read<Armed>(in, "an Armed entry"); }
Result<Disarmed> decode_disarmed(std::string_view in) { return read<Disarmed>(in, "a Disarmed entry"); }
Result<EpochChange> decode_epoch_change(std::string_view in) { return read<EpochChange>(in, "an EpochChange entry"); }
Result<Measured> decode_measured(std::string_view in) { return read<Measured>(in, "a Measured entry"); }
Result<Seal> decode_seal(std::string_view in) { return read<Seal>(in, "a Seal entry"); }
Result<Unseal> decode_unseal(std::string_view in) { return read<Unseal>(in, "an Unseal entry"); }
Result<Resigned> decode_resigned(std::string_view in) { return read<Resigned>(in, "a Resigned entry"); }
Result<Cut> decode_cut(std::string_view in) { return read<Cut>(in, "a Cut entry"); }
Result<Reclaimed> decode_reclaimed(std::string_view in) { return read<Reclaimed>(in, "a Reclaimed entry"); }
Result<Fenced> decode_fenced(std::string_view in) { return read<Fenced>(in, "a Fenced entry"); }
Result<Follow> decode_follow(std::string_view in) {
  const auto leap = decode_leap(in);
  if (!leap.ok()) return leap.error();
  auto v = read<Follow>(leap->rest, "a Follow entry");
  if (!v.ok()) return v;
  v->common = leap->position;
  if (v->kept.index < v->common.index) v->kept = v->common;
  return v;
}
Result<Regrouped> decode_regrouped(std::string_view in) { return read<Regrouped>(in, "a Regroup entry"); }
Result<Survivor> decode_survivor(std::string_view in) { return read<Survivor>(in, "a Survivor entry"); }
Result<Discarded> decode_discarded(std::string_view in) { return read<Discarded>(in, "a Discarded entry"); }

}  // namespace leeward::region
