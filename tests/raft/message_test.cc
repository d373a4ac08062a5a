#include <gtest/gtest.h>

#include "raft/types.h"

namespace leeward::raft {
namespace {

Entry entry(std::uint64_t index) {
  Entry e;
  e.term = Term(3);
  e.index = Index(index);
  e.kind = EntryKind::kWrites;
  e.epoch = Epoch(1);
  e.writes = 2;
  e.payload = Bytes(std::string("payload\0", 8));
  e.envelope = Bytes(std::string("envelope"));
  e.position = extend({}, e.epoch, e.kind, e.writes, e.payload.view());
  return e;
}

Message full() {
  Message m;
  m.type = MessageType::kAppend;
  m.from = NodeId(1);
  m.to = NodeId(0xffffffff);
  m.term = Term(300);
  m.index = Index(1u << 20);
  m.log_term = Term(299);
  m.log_hash = sha256("x");
  m.commit = Index(7);
  m.entries = {entry(1), entry(2)};
  m.reject = true;
  m.hint = Index(5);
  m.hint_term = Term(4);
  m.context = ~0ull;
  m.transfer = true;
  m.heard_serving = true;
  return m;
}

std::string encoded(const Message& m) {
  std::string out;
  encode(m, out);
  return out;
}

TEST(Message, ComesBackAsItWasForEveryType) {
  for (std::uint8_t type = 1; type <= 13; ++type) {
    Message m = full();
    m.type = static_cast<MessageType>(type);
    auto back = decode_message(Bytes(encoded(m)));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, m);
    Message empty;
    empty.type = m.type;
    back = decode_message(Bytes(encoded(empty)));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, empty);
  }
}

TEST(Message, EntriesShareTheFrameAndOutliveIt) {
  std::vector<Entry> entries;
  {
    const Bytes frame(encoded(full()));
    auto m = decode_message(frame);
    ASSERT_TRUE(m.ok());
    entries = std::move(m->entries);
    const char* at = entries[0].payload.data();
    EXPECT_TRUE(at >= frame.data() && at < frame.data() + frame.size());
  }
  EXPECT_EQ(entries[1], entry(2));
}

TEST(Message, EveryCutAndEveryTrailingByteIsRefused) {
  const std::string whole = encoded(full());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(decode_message(Bytes(whole.substr(0, size))).ok()) << size;
  }
  EXPECT_EQ(decode_message(Bytes(whole + "x")).error().code, Code::kCorrupt);
}

TEST(Message, ANewerFormatIsNamedAsSuch) {
  std::string frame = encoded(full());
  frame[0] = 2;
  EXPECT_EQ(decode_message(Bytes(frame)).error().code, Code::kNewerFormat);
  frame[0] = 0;
  EXPECT_EQ(decode_message(Bytes(frame)).error().code, Code::kCorrupt);
}

TEST(Message, AnUnknownTypeOrFlagIsRefused) {
  for (char type : {char(0), char(14), char(-1)}) {
    std::string frame = encoded(full());
    frame[1] = type;
    EXPECT_EQ(decode_message(Bytes(frame)).error().code, Code::kCorrupt);
  }
  std::string frame = encoded(full());
  frame[2] = char(0x80);
  EXPECT_EQ(decode_message(Bytes(frame)).error().code, Code::kCorrupt);
}

TEST(Message, GarbageNeverDoesMoreThanFail) {
  std::uint64_t seed = 1;
  auto random = [&] { return seed = seed * 6364136223846793005u + 1442695040888963407u, seed >> 33; };
  const std::string whole = encoded(full());
  for (int i = 0; i < 20000; ++i) {
    std::string frame = whole;
    for (auto flips = random() % 4; flips > 0; --flips) frame[random() % frame.size()] = static_cast<char>(random());
    if (random() % 2) frame.resize(random() % frame.size());
    (void)decode_message(Bytes(frame));      // whatever it says
    (void)decode_membership(frame);
  }
}

TEST(Membership, ComesBackAsItWas) {
  Membership m;
  m.voters = {NodeId(1), NodeId(2), NodeId(0xffffffff)};
  m.outgoing = {NodeId(1), NodeId(3)};
  m.learners = {NodeId(4)};
  m.learners_next = {NodeId(3)};
  auto back = decode_membership(encode(m));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, m);
  EXPECT_EQ(*decode_membership(encode(Membership{})), Membership{});
}

TEST(Membership, ANoteRidesAlongAndWithoutOneNothingDoes) {
  Membership m;
  m.voters = {NodeId(1)};
  const auto bytes = encode(m, "who they are");
  std::string_view note;
  const auto back = decode_membership(bytes, &note);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, m);
  EXPECT_EQ(note, "who they are");
  EXPECT_EQ(*decode_membership(bytes), m) << "who does not ask for it need not know of it";
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_membership(bytes.substr(0, size)).ok());
  const auto plain = encode(m);
  ASSERT_TRUE(decode_membership(plain, &note).ok());
  EXPECT_EQ(note, "");
}

TEST(Membership, CutsRepeatedIdsAndNewerFormatsAreRefused) {
  Membership m;
  m.voters = {NodeId(1), NodeId(2)};
  std::string bytes = encode(m);
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_membership(bytes.substr(0, size)).ok());
  bytes[3] = 1;  // 1 twice
  EXPECT_EQ(decode_membership(bytes).error().code, Code::kCorrupt);
  bytes[0] = 9;
  EXPECT_EQ(decode_membership(bytes).error().code, Code::kNewerFormat);
}

}  // namespace
}  // namespace leeward::raft
