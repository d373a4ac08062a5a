// Identifiers and counters of the system as distinct types, so that a term is
// never passed where an index is meant. All are plain values; copy them freely.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>

#include "base/units.h"

namespace leeward {

// A counter with an order: terms, indexes, epochs, revisions. Adding a number
// gives the same type; the difference of two is a plain number.
template <class Tag, class Rep = std::uint64_t>
class Ordinal {
 public:
  using rep = Rep;
  constexpr Ordinal() = default;
  constexpr explicit Ordinal(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  constexpr auto operator<=>(const Ordinal&) const = default;
  constexpr Ordinal& operator++() { ++value_; return *this; }
  constexpr Ordinal operator+(Rep n) const { return Ordinal(value_ + n); }
  constexpr Ordinal operator-(Rep n) const { return Ordinal(value_ - n); }
  constexpr Rep operator-(Ordinal other) const { return value_ - other.value_; }

 private:
  Rep value_ = 0;
};

// A name without arithmetic.
template <class Tag, class Rep = std::uint64_t>
class Id {
 public:
  using rep = Rep;
  constexpr Id() = default;
  constexpr explicit Id(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  constexpr explicit operator bool() const { return value_ != 0; }
  constexpr auto operator<=>(const Id&) const = default;

 private:
  Rep value_ = 0;
};

using Term = Ordinal<struct TermTag>;                     // of one group
using Index = Ordinal<struct IndexTag>;                   // in one group's log, from 1
using HistoryIndex = Ordinal<struct HistoryIndexTag>;     // in the shared history, from 1
using Epoch = Ordinal<struct EpochTag>;                   // which group is primary, from 1
using Revision = Ordinal<struct RevisionTag, std::int64_t>;  // etcd's main revision

using NodeId = Id<struct NodeIdTag>;            // 1..2^32-1; 0 is "nobody"
using GroupId = Id<struct GroupIdTag>;          // random, made by a group's first entry
using Incarnation = Id<struct IncarnationTag>;  // random, made with an empty data directory

// Made once when the first cluster starts, the same for ever in every region:
// 80 random bits, then in 48 the milliseconds since 1970 when it was made, big
// endian. All zero means "not known yet".
struct Lineage {
  std::array<std::uint8_t, 16> bytes{};
  static Lineage make(std::uint64_t random, std::uint64_t more_random, WallTime now);
  WallTime created() const;  // by the clock of whoever made it
  auto operator<=>(const Lineage&) const = default;
  bool known() const { return *this != Lineage{}; }
  std::string hex() const;
};

// A SHA-256.
struct Hash {
  std::array<std::uint8_t, 32> bytes{};
  auto operator<=>(const Hash&) const = default;
  std::string hex() const;
};

}  // namespace leeward

template <class Tag, class Rep>
struct std::hash<leeward::Ordinal<Tag, Rep>> {
  std::size_t operator()(leeward::Ordinal<Tag, Rep> v) const { return std::hash<Rep>{}(v.value()); }
};
template <class Tag, class Rep>
struct std::hash<leeward::Id<Tag, Rep>> {
  std::size_t operator()(leeward::Id<Tag, Rep> v) const { return std::hash<Rep>{}(v.value()); }
};
