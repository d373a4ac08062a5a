// What members say to one another: there and back, and from any bytes at all.
#include <gtest/gtest.h>

#include "node/frames.h"
#include "node/group_state.h"
#include "node/membership.h"
#include "node/lessor.h"
#include "world/scheduler.h"

namespace leeward::node {
namespace {

Manifest manifest() {
  Manifest m;
  m.id = "abc";
  m.state.point = {Index(7), Term(2), {HistoryIndex(3), sha256("x"), 9, 100}};
  m.state.revision = Revision(12);
  m.state.state_hash = sha256("state");
  m.membership = "m";
  m.files = {{"000012.sst", 4096, sha256("f")}, {"CURRENT", 16, sha256("c")}};
  return m;
}

TEST(Frames, ComeBackAsTheyWent) {
  const auto text = encode(manifest());
  const auto back = decode_manifest(text);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(encode(*back), text);

  Entry entry;
  entry.kind = EntryKind::kWrites;
  entry.index = Index(9);
  entry.position = {HistoryIndex(4), sha256("y"), 10, 104};
  entry.payload = Bytes(std::string("four"));
  const LedgerPiece piece{Index(20), HistoryIndex(3), false, true, {entry, entry}};
  const auto same_piece = decode_ledger_piece(Bytes(encode(piece)));
  ASSERT_TRUE(same_piece.ok());
  EXPECT_EQ(encode(*same_piece), encode(piece));
  EXPECT_TRUE(same_piece->end && !same_piece->gone && same_piece->entries.size() == 2);
  EXPECT_EQ(same_piece->entries[1].payload, entry.payload);
  const auto ledger_ask = decode_ledger_ask(Bytes(encode(LedgerAsk{Index(20), HistoryIndex(3)})));
  ASSERT_TRUE(ledger_ask.ok());
  EXPECT_EQ(ledger_ask->follow, Index(20));
  EXPECT_EQ(ledger_ask->after, HistoryIndex(3));

  Forward forward;
  forward.commands.push_back({Op::kPut, Bytes("request"), {NodeId(2), Incarnation(5), 11, 77}, {}});
  const auto commands = decode_forward(Bytes(encode(forward)));
  ASSERT_TRUE(commands.ok());
  EXPECT_EQ(commands->commands[0].origin, forward.commands[0].origin);
  EXPECT_EQ(commands->commands[0].request.view(), "request");

  const auto refused = decode_forward_refused(Bytes(encode(ForwardRefused{9, {1, 500}, {Code::kOverloaded, "no"}})));
  ASSERT_TRUE(refused.ok());
  EXPECT_EQ(refused->sequences, (std::vector<std::uint64_t>{1, 500}));

  const auto ask = decode_adopt_ask(Bytes(encode(AdoptAsk{HistoryIndex(77), "abc"})));
  ASSERT_TRUE(ask.ok());
  EXPECT_EQ(ask->above, HistoryIndex(77));
  EXPECT_EQ(ask->id, "abc");
  EXPECT_FALSE(decode_adopt_ask(Bytes(encode(AdoptAsk{HistoryIndex(77), "abc"}).substr(1))).ok());

  MemberStatus status;
  status.id = NodeId(3);
  status.lag.high = Duration(5ms);
  status.eligibility = {{"lag", true, "1 ms"}};
  status.drill = {7, 1'700'000'000'123, 345'678};
  status.ledger_entries = 7;
  status.newest_format = 9;
  const auto again = decode_report(Bytes(encode(Report{status, {1'700'000'000'000'000, {{NodeId(4), -250'000}}}})));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->status.drill, status.drill);
  EXPECT_EQ(again->status.ledger_entries, 7u);
  EXPECT_EQ(again->status.newest_format, 9u);
  EXPECT_EQ(again->status.lag.high, Duration(5ms));
  EXPECT_FALSE(again->status.lag.low.has_value());
  EXPECT_EQ(again->status.eligibility[0].detail, "1 ms");
  EXPECT_EQ(again->clock.sent_us, 1'700'000'000'000'000);
  ASSERT_EQ(again->clock.ways.size(), 1u);
  EXPECT_EQ(again->clock.ways[0].from, NodeId(4));
  EXPECT_EQ(again->clock.ways[0].late_us, -250'000);
  const auto centuries = decode_report(Bytes(encode(Report{status, {kMostClockUs + 1, {{NodeId(4), 7}}}})));
  ASSERT_TRUE(centuries.ok()) << "a wrong clock makes no other word of a node's wrong";
  EXPECT_EQ(centuries->status.id, status.id);
  EXPECT_EQ(centuries->clock.sent_us, 0) << "it could not be reckoned with";
  EXPECT_TRUE(centuries->clock.ways.empty());
}

TEST(Frames, AManifestThatWouldLeaveItsDirectoryIsRefused) {
  for (const auto* name : {"../x", "/etc/passwd", "a/b", "", ".hidden", "a b"}) {
    auto m = manifest();
    m.files[0].name = name;
    EXPECT_FALSE(decode_manifest(encode(m)).ok()) << name;
  }
}

TEST(Frames, AChunkWithAFlippedBitIsRefused) {
  const std::string data = "some bytes of a file";
  auto frame = encode_chunk_head({"id", 1, 4096, 0x12345678, {}}) + data;
  EXPECT_FALSE(decode_snapshot_chunk(Bytes(frame)).ok());
}

TEST(Frames, ANewerVersionIsRefusedAsSuch) {
  auto bytes = encode_header({});
  bytes[0] = 9;
  const auto frame = decode_frame(Bytes(bytes));
  ASSERT_FALSE(frame.ok());
  EXPECT_EQ(frame.error().code, Code::kNewerFormat);
}

Node some_node(std::uint64_t id, GroupRole role = GroupRole::kPrimary) {
  return {NodeId(id), "n" + std::to_string(id), "east", "a", "h" + std::to_string(id) + ":2380", "http://h:2379", role};
}

TEST(Frames, AChangeOfMembersComesBackAsItWas) {
  MemberChange change{.add = {some_node(4)}, .promote = {NodeId(5)}, .remove = {NodeId(1), NodeId(2)}, .move = {some_node(3)}, .force = true};
  const auto call = decode_call(Bytes(encode(Call{7, CallKind::kChange, 0, encode(change)})));
  ASSERT_TRUE(call.ok());
  const auto back = decode_member_change(call->body);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(encode(*back), encode(change));
  EXPECT_EQ(back->add.front().peer_address, "h4:2380");
  EXPECT_EQ(back->remove, change.remove);
  EXPECT_TRUE(back->force);
  const auto notice = decode_removed_notice(Bytes(encode(RemovedNotice{Incarnation(9), Index(77), {Epoch(4), 5}})));
  ASSERT_TRUE(notice.ok());
  EXPECT_EQ(notice->index, Index(77));
  EXPECT_EQ(notice->applied, (Seen{Epoch(4), 5}));
  const auto refused = decode_call_answer(Bytes(encode(CallAnswer{7, refusal(rule::kQuorum, "why")})));
  ASSERT_TRUE(refused.ok()) << "a refusal by a rule travels";
  EXPECT_TRUE(refused_by(refused->result.error(), rule::kQuorum));
}

TEST(Frames, AListOfOneGroupOnlyIsTaken) {
  GroupList list{GroupId(5), Index(9), {some_node(4), some_node(5)}};
  const auto back = decode_group_list(encode(list));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(encode(*back), encode(list));
  list.nodes.push_back(some_node(6, GroupRole::kStandby));
  EXPECT_FALSE(decode_group_list(encode(list)).ok());
  list.nodes.clear();
  EXPECT_FALSE(decode_group_list(encode(list)).ok());
}

TEST(Frames, WhatAGroupKnowsOfItsMembersComesBackAsItWas) {
  GroupState state;
  state.lineage.bytes[0] = 1;
  state.topology = {some_node(1), some_node(4)};
  state.named = {NodeId(4)};
  state.removed[NodeId(2)] = {Incarnation(8), Index(30), "h2:2380"};
  state.listed = Index(30);
  state.others_listed[GroupId(6)] = Index(12);
  state.over_quota = {NodeId(1), NodeId(4)};
  state.retired = {{Incarnation(8), Index(30)}, {Incarnation(9), Index(12)}};
  const auto back = decode_group_state(encode(state));
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(encode(*back), encode(state));
  EXPECT_EQ(back->removed, state.removed);
  EXPECT_EQ(back->named, state.named);
  EXPECT_EQ(back->over_quota, state.over_quota);
  EXPECT_EQ(back->retired, state.retired);
  state.format = 2;
  const auto finalized = decode_group_state(encode(state));
  ASSERT_TRUE(finalized.ok()) << finalized.error().message;
  EXPECT_EQ(finalized->format, 2u);
}

// So that whoever knows no other format may read it.
TEST(Frames, AGroupOfTheFirstFormatSaysNothingOfFormats) {
  GroupState state;
  state.lineage.bytes[0] = 1;
  EXPECT_EQ(encode(state)[0], 6);
  state.format = 2;
  EXPECT_EQ(encode(state)[0], 7);
}

// Of format 4, before there were alarms; of 3, before groups changed their members: all up to `leapt`.
TEST(Frames, WhatAnOlderVersionKnewOfItsGroupIsReadOrRefusedByItsFormat) {
  GroupState state;
  state.lineage.bytes[0] = 1;
  state.membership.voters = {NodeId(1)};
  state.admitted[NodeId(1)] = Incarnation(7);
  state.topology = {some_node(1)};
  state.leapt = Index(3);
  const auto now = encode(state);
  auto older = now;
  auto back = decode_group_state(now);
  for (const char format : {5, 4}) {  // no retired lives; no alarms
    older.pop_back();
    older[0] = format;
    back = decode_group_state(older);
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_EQ(encode(*back), now);
  }
  older.resize(older.size() - 4);  // named, removed, listed and others_listed, all empty
  older[0] = 3;
  back = decode_group_state(older);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(encode(*back), now);
  for (const char format : {1, 2, 8}) {
    older[0] = format;
    const auto refused = decode_group_state(older);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Code::kNewerFormat) << "of another version, not damaged";
    EXPECT_EQ(refused.error().message.find("malformed"), std::string::npos) << refused.error().message;
  }
}

// Cut anywhere and changed anywhere: an error or a value, nothing else.
TEST(Frames, AnyBytesAreTaken) {
  sim::Dice dice(42);
  std::vector<std::string> seeds = {encode(manifest()), encode(Call{1, CallKind::kAdmit, 3}),
                                    encode(Knock{"name", sha256("l")}), encode(KnockAnswer{"n", {}, {}, {}, true}),
                                    encode(Report{}), encode(SnapshotFetch{"i", 1, 2, 3}),
                                    encode(GroupState{}), encode(MemberChange{.add = {some_node(4)}, .remove = {NodeId(3)}}),
                                    encode(GroupList{GroupId(5), Index(9), {some_node(4)}}), encode(ForwardRefused{1, {2}, {Code::kUnknown, "t"}})};
  for (int i = 0; i < 20000; ++i) {
    auto text = seeds[dice.below(seeds.size())];
    for (std::uint64_t n = dice.below(4); n > 0 && !text.empty(); --n)
      text[dice.below(text.size())] = static_cast<char>(dice.next());
    text.resize(dice.below(text.size() + 1));
    const Bytes bytes(text);
    (void)decode_frame(bytes);
    (void)decode_manifest(text);
    (void)decode_forward(bytes);
    (void)decode_forward_refused(bytes);
    (void)decode_call(bytes);
    (void)decode_call_answer(bytes);
    (void)decode_snapshot_fetch(bytes);
    (void)decode_snapshot_chunk(bytes);
    (void)decode_snapshot_done(bytes);
    (void)decode_ledger_ask(bytes);
    (void)decode_ledger_piece(bytes);
    (void)decode_knock(bytes);
    (void)decode_knock_answer(bytes);
    (void)decode_report(bytes);
    (void)decode_group_state(text);
    (void)decode_admission(text);
    (void)decode_alarm_change(text);
    (void)decode_member_change(text);
    (void)decode_group_list(text);
    (void)decode_membership_note(text);
    (void)decode_removed_notice(bytes);
  }
}

TEST(Lessor, ALeaseRunsOutAfterItsTimeAndNotBefore) {
  Lessor lessor(1000);
  const Instant t0{Duration(100s)};
  lessor.lead(t0, {{7, 10}});
  EXPECT_TRUE(lessor.expired(t0 + 9s).empty());
  EXPECT_EQ(lessor.renew(t0 + 9s, 7), 10);
  EXPECT_TRUE(lessor.expired(t0 + 18s).empty());
  EXPECT_EQ(lessor.expired(t0 + 19s), (std::vector<std::int64_t>{7}));
  EXPECT_FALSE(lessor.renew(t0 + 19s, 7));  // its revoke may be in the log
  EXPECT_TRUE(lessor.expired(t0 + 20s).empty());
  EXPECT_EQ(lessor.expired(t0 + 23s).size(), 1u);  // still there: asked again
  lessor.revoked(7);
  EXPECT_TRUE(lessor.expired(t0 + 60s).empty());
}

TEST(Lessor, RevokesAreLimitedInRate) {
  Lessor lessor(10);
  const Instant t0{Duration(100s)};
  std::vector<LeaseInfo> leases;
  for (int i = 1; i <= 25; ++i) leases.push_back({i, 1});
  lessor.lead(t0, leases);
  EXPECT_EQ(lessor.expired(t0 + 1s).size(), 10u);
  EXPECT_EQ(lessor.expired(t0 + 1500ms).size(), 0u);
  EXPECT_EQ(lessor.expired(t0 + 2s).size(), 10u);
}

}  // namespace
}  // namespace leeward::node
