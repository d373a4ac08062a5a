#include <gtest/gtest.h>

#include "base/codec.h"
#include "base/command.h"
#include "base/crc32c.h"
#include "base/entry.h"
#include "base/function.h"
#include "base/traceparent.h"

namespace leeward {
namespace {

TEST(Crc32c, GivesTheCheckValuesOfRfc3720) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST(Crc32c, CanBeContinued) {
  EXPECT_EQ(crc32c("6789", crc32c("12345")), crc32c("123456789"));
}

TEST(Ids, ALineageTellsWhenItWasMade) {
  const WallTime now{1'795'285'080'123ms};
  const auto lineage = Lineage::make(~0ull, ~0ull, now);
  EXPECT_EQ(lineage.created(), now);
  EXPECT_EQ(lineage.hex(), "ffffffffffffffffffff01a1ff54583b");
  EXPECT_NE(lineage, Lineage::make(~0ull - 1, ~0ull, now));
}

TEST(Codec, VarintsComeBackAtEveryBorder) {
  for (std::uint64_t v : {0ull, 1ull, 127ull, 128ull, 16383ull, 16384ull, ~0ull >> 1, ~0ull}) {
    std::string out;
    codec::put_varint(out, v);
    EXPECT_EQ(out.size(), codec::varint_size(v));
    std::string_view in = out;
    std::uint64_t back = 0;
    ASSERT_TRUE(codec::get_varint(in, back));
    EXPECT_EQ(back, v);
    EXPECT_TRUE(in.empty());
  }
}

TEST(Codec, AVarintThatOverflowsOrEndsEarlyIsRefused) {
  std::uint64_t v;
  std::string_view overflow = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02";
  EXPECT_FALSE(codec::get_varint(overflow, v));
  std::string_view cut = "\xff\xff";
  EXPECT_FALSE(codec::get_varint(cut, v));
}

Entry sample_entry() {
  Entry e;
  e.term = Term(3);
  e.index = Index(1000000);
  e.kind = EntryKind::kWrites;
  e.epoch = Epoch(2);
  e.writes = 1;
  e.payload = Bytes(std::string("payload\0with zero", 17));
  e.envelope = Bytes(std::string("envelope"));
  e.position = extend({}, e.epoch, e.kind, e.writes, e.payload.view());
  return e;
}

TEST(Entry, ComesBackAsItWas) {
  const Entry e = sample_entry();
  auto out = std::make_shared<std::string>();
  encode(e, *out);
  EXPECT_EQ(out->size(), encoded_size(e));
  std::string_view in = *out;
  auto back = decode_entry(in, out);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(*back, e);
  EXPECT_TRUE(in.empty());
}

TEST(Entry, EveryTruncationIsRefused) {
  std::string out;
  encode(sample_entry(), out);
  for (std::size_t n = 0; n < out.size(); ++n) {
    std::string_view in(out.data(), n);
    EXPECT_FALSE(decode_entry(in, nullptr).ok()) << n;
  }
}

TEST(ChainHash, CoversEveryFieldOfTheHistory) {
  const Position start;
  const Position a = extend(start, Epoch(1), EntryKind::kWrites, 1, "x");
  EXPECT_EQ(a.index, HistoryIndex(1));
  EXPECT_EQ(a.writes, 1u);
  EXPECT_EQ(a.bytes, 1u);
  EXPECT_NE(a.hash, extend(start, Epoch(2), EntryKind::kWrites, 1, "x").hash);
  EXPECT_NE(a.hash, extend(start, Epoch(1), EntryKind::kSeal, 1, "x").hash);
  EXPECT_NE(a.hash, extend(start, Epoch(1), EntryKind::kWrites, 2, "x").hash);
  EXPECT_NE(a.hash, extend(start, Epoch(1), EntryKind::kWrites, 1, "y").hash);
  EXPECT_NE(extend(a, Epoch(1), EntryKind::kWrites, 1, "x").hash, a.hash);
}

TEST(ChainHash, AControlEntryDoesNotMoveThePosition) {
  Entry e;
  e.kind = EntryKind::kNoop;
  e.position = sample_entry().position;
  EXPECT_TRUE(chains(e.position, e));
  EXPECT_FALSE(chains({}, e));
}

TEST(ChainHash, AnAdoptAndAFollowLeadWhereTheirPayloadsSay) {
  for (const auto kind : {EntryKind::kAdopt, EntryKind::kFollow}) {
    const Position there{HistoryIndex(900), sha256("there"), 7000, 123456};
    Entry e;
    e.kind = kind;
    e.position = there;
    e.payload = Bytes(leap_payload(there, "manifest"));
    EXPECT_TRUE(chains(sample_entry().position, e));
    const auto adopt = decode_leap(e.payload.view());
    ASSERT_TRUE(adopt.ok());
    EXPECT_EQ(adopt->position, there);
    EXPECT_EQ(adopt->rest, "manifest");
    e.position.writes += 1;
    EXPECT_FALSE(chains(sample_entry().position, e));
    for (std::size_t cut = 0; cut < e.payload.size(); ++cut)
      EXPECT_FALSE(decode_leap(e.payload.view().substr(0, cut)).ok()) << cut;
  }
}

TEST(Commands, ComeBackFromPayloadAndEnvelope) {
  std::vector<Command> commands(2);
  commands[0] = {Op::kPut, Bytes(std::string("put")), {NodeId(1), Incarnation(9), 42, 7}, {}};
  commands[1] = {Op::kTxn, Bytes(std::string()), {NodeId(2), Incarnation(8), 43, 7}, {}};
  commands[1].trace.sampled = true;
  commands[1].trace.trace_id[3] = 5;
  const std::string payload = encode_payload(commands), envelope = encode_envelope(commands);
  auto views = decode_payload(payload, 2);
  auto items = decode_envelope(envelope, 2);
  ASSERT_TRUE(views.ok() && items.ok());
  EXPECT_EQ((*views)[0].op, Op::kPut);
  EXPECT_EQ((*views)[0].request, "put");
  EXPECT_EQ((*items)[1].origin, commands[1].origin);
  EXPECT_EQ((*items)[1].trace, commands[1].trace);
  EXPECT_FALSE(decode_payload(payload, 3).ok());
  EXPECT_FALSE(decode_envelope(envelope.substr(1), 2).ok());
}

TEST(Function, MayOwnWhatCannotBeCopied) {
  auto value = std::make_unique<int>(5);
  Function<int(int)> f = [v = std::move(value)](int x) { return *v + x; };
  EXPECT_TRUE(f);
  EXPECT_EQ(f(2), 7);
  EXPECT_FALSE(Function<void()>{});
}

TEST(Traceparent, AMalformedTraceparentIsNone) {
  const std::string good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
  EXPECT_NE(parse_traceparent(good), TraceContext{});
  EXPECT_NE(parse_traceparent("cc-" + good.substr(3) + "-future"), TraceContext{});
  std::vector<std::string> bad = {"", good.substr(1), good + "-x", "ff" + good.substr(2), good.substr(0, 53) + "0g"};
  bad.push_back("00-00000000000000000000000000000000-b7ad6b7169203331-01");
  bad.push_back("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01");
  bad.push_back("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01");
  for (const auto& text : bad) EXPECT_EQ(parse_traceparent(text), TraceContext{}) << text;
}

}  // namespace
}  // namespace leeward
