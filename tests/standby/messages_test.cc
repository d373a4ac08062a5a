#include <gtest/gtest.h>

#include "standby/messages.h"

namespace leeward::standby {
namespace {

Header header() {
  Header h;
  h.lineage.bytes[3] = 9;
  h.group = GroupId(77);
  h.epoch = Epoch(3);
  return h;
}

Position position(std::uint64_t i) { return {HistoryIndex(i), sha256(std::to_string(i)), i * 2, i * 300}; }

Entries some_entries(int count, std::string_view payload) {
  Entries m;
  m.session = 42;
  m.before = position(9);
  Position at = m.before;
  for (int i = 0; i < count; ++i) {
    StreamEntry e;
    e.epoch = Epoch(1);
    e.writes = 3;
    e.payload = Bytes::copy(payload);
    at = extend(at, e.epoch, e.kind, e.writes, payload);
    e.position = at;
    m.entries.push_back(e);
  }
  return m;
}

std::vector<Body> one_of_each() {
  Command command;
  command.op = Op::kTxn;
  command.request = Bytes(std::string("request"));
  command.trace.sampled = true;
  command.trace.trace_id[0] = 5;
  ForwardReply reply;
  reply.request = 8;
  reply.outcome.end = node::Outcome::End::kApplied;
  reply.outcome.result = {"etcdserver: x", Bytes(std::string("answer")), Revision(1ll << 44)};
  reply.seconds = -1;
  return {
      Hello{1, "west", Epoch(3), {{Epoch(2), 7, HistoryIndex(5), sha256("fork")}}, true, position(8), position(7), 1 << 20, true},
      Welcome{1, position(10)},
      Refused{1, Refusal::kFork, "why", position(8), {{Epoch(2), 7, HistoryIndex(5), sha256("fork")}}},
      some_entries(3, "payload"),
      Idle{1, HistoryIndex(99)},
      Ack{1, 1 << 23, position(5), {HistoryIndex(5), sha256("a")}},
      Bye{1},
      Ping{5, NodeId(4), true, {HistoryIndex(5), sha256("a")}},
      Pong{5, NodeId(4), NodeId(1), {Epoch(1), Term(9), 11}, position(6), HashVerdict::kEqual, HistoryIndex(5)},
      Progress{"west", GroupId(9), position(5), 12},
      Presence{true, 40, false, "why"},
      Forward{8, Call::kPropose, 5000, command, -3},
      reply,
      Survey{77},
      SurveyReply{77, true, Stamp{Epoch(1), Term(9), 11}, position(6), 40, Epoch(2), "why"},
      ColdQuestion{78},
      ColdAnswer{78, Epoch(2)},
      StampSent{Term(3), 5, 6},
      StampReturned{Term(3), 5, 6},
      SealAsked{7, true},
      SealTold{7, SealFate::kActivated, Index(9), "entry", Revision(1ll << 44), NodeId(4), 1500},
      ResignAsked{8, true},
      ResignTold{8, Index(9), "entry"},
      Aid{Aid::Kind::kStage, 7, "body"},
  };
}

TEST(Frames, EveryKindComesBackAsItWas) {
  std::size_t kind = 0;
  for (const auto& body : one_of_each()) {
    EXPECT_EQ(body.index(), kind++);
    const auto bytes = encode(header(), body);
    auto frame = decode(bytes);
    ASSERT_TRUE(frame.ok()) << kind;
    EXPECT_EQ(frame->header.lineage, header().lineage);
    EXPECT_EQ(frame->header.group, GroupId(77));
    EXPECT_EQ(frame->header.epoch, Epoch(3));
    EXPECT_EQ(encode(frame->header, frame->body), bytes) << kind;
  }
  EXPECT_EQ(kind, std::variant_size_v<Body>);
}

TEST(Frames, EntriesRegainIndexesAndTotals) {
  const auto sent = some_entries(5, "payload");
  const auto frame = decode(encode(header(), sent));
  ASSERT_TRUE(frame.ok());
  EXPECT_EQ(std::get<Entries>(frame->body).entries, sent.entries);
}

TEST(Frames, AreCompressedOnlyWhenItPays) {
  const auto repetitive = some_entries(50, std::string(200, 'x'));
  const auto plain = encode(header(), repetitive), small = encode(header(), repetitive, {.compress = true});
  EXPECT_LT(small.size(), plain.size() / 2);
  auto frame = decode(small);
  ASSERT_TRUE(frame.ok());
  EXPECT_EQ(std::get<Entries>(frame->body).entries, repetitive.entries);

  std::string noise;
  for (int i = 0; i < 100; ++i) {
    const auto h = sha256(std::to_string(i));
    noise.append(reinterpret_cast<const char*>(h.bytes.data()), h.bytes.size());
  }
  const auto random = some_entries(1, noise);
  EXPECT_EQ(encode(header(), random, {.compress = true}), encode(header(), random));
  const auto tiny = some_entries(1, "x");
  EXPECT_EQ(encode(header(), tiny, {.compress = true}), encode(header(), tiny));
}

TEST(Frames, CutAnywhereAreRefused) {
  for (const auto& body : one_of_each()) {
    const auto bytes = encode(header(), body, {.compress = true});
    for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode(bytes.slice(0, size)).ok());
    EXPECT_FALSE(decode(Bytes(std::string(bytes.view()) + "x")).ok()) << body.index();
  }
}

TEST(Frames, GarbageNeverDoesMoreThanFail) {
  std::uint64_t state = 88172645463325252ull;
  auto random = [&] { return state ^= state << 13, state ^= state >> 7, state ^= state << 17, state; };
  auto bodies = one_of_each();
  bodies.push_back(some_entries(40, std::string(100, 'z')));
  for (int round = 0; round < 40'000; ++round) {
    std::string bytes(encode(header(), bodies[random() % bodies.size()], {.compress = true}).view());
    for (std::uint64_t flips = 1 + random() % 4; flips > 0; --flips)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    const auto frame = decode(Bytes(bytes));
    if (frame.ok()) encode(frame->header, frame->body);  // what decodes is well-formed
  }
}

TEST(Frames, OfANewerVersionAreNamedAsSuch) {
  std::string bytes(encode(header(), Bye{1}).view());
  bytes[1] = 2;
  const auto frame = decode(Bytes(bytes));
  ASSERT_FALSE(frame.ok());
  EXPECT_EQ(frame.error().code, Code::kNewerFormat);
}

TEST(Frames, ControlEntriesAreNotHistory) {
  auto m = some_entries(1, "x");
  m.entries[0].kind = EntryKind::kMembership;
  EXPECT_FALSE(decode(encode(header(), m)).ok());
}

TEST(Envelopes, KeepTracesAndDropOrigins) {
  Command waiting, traced;
  waiting.origin = {NodeId(1), Incarnation(5), 9, 1234};
  traced = waiting;
  traced.trace.sampled = true;
  traced.trace.trace_id[2] = 7;
  EXPECT_TRUE(traces_of(Bytes(encode_envelope({waiting, waiting})), 2).empty());
  EXPECT_TRUE(traces_of(Bytes(std::string("garbage")), 2).empty());
  const auto items = decode_envelope(traces_of(Bytes(encode_envelope({waiting, traced})), 2).view(), 2);
  ASSERT_TRUE(items.ok());
  EXPECT_EQ((*items)[1].trace, traced.trace);
  EXPECT_EQ((*items)[1].origin, Origin{});
}

}  // namespace
}  // namespace leeward::standby
