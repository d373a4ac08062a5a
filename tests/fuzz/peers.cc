// What another node, or whoever reaches the peer port, may send.
#include "net/peer_frame.h"
#include "node/frames.h"
#include "node/group_state.h"
#include "node/membership.h"
#include "raft/types.h"
#include "standby/messages.h"
#include "target.h"

#include "base/check.h"

namespace leeward::fuzz {
namespace {

Hash some_hash(unsigned n) { return sha256(std::to_string(n)); }

Position some_position(unsigned n) { return {HistoryIndex(n), some_hash(n), n * 2, n * 300}; }

// A stream of bytes in pieces of any size: the first byte says how large.
void frames_between_nodes(std::string_view bytes) {
  Input input(bytes);
  const std::size_t piece = 1 + input.u8();
  net::FrameReader reader(64 << 10);
  while (!input.empty()) {
    std::string_view data = input.take(piece);
    while (!data.empty()) {
      auto frame = reader.next(data);
      if (!frame.ok()) return;
      if (!*frame) break;
      if (const auto hello = net::decode_hello((*frame)->payload); hello.ok())
        LEEWARD_CHECK(net::decode_hello(net::encode(*hello)).ok(), "a hello that was read can be sent");
      if (const auto reply = net::decode_reply((*frame)->payload); reply.ok())
        LEEWARD_CHECK(net::decode_reply(net::encode(*reply)).ok(), "an answer that was read can be sent");
    }
  }
}

std::string framed(const std::string& payload) {
  return net::frame_header(1, {Bytes(std::string(payload))}) + payload;
}

std::vector<std::string> frame_seeds() {
  net::Hello hello{1, NodeId(1), NodeId(2), 1, "test", {}};
  net::HelloReply reply{true, NodeId(2), "test", {}, ""};
  const std::string both = framed(net::encode(hello)) + framed(net::encode(reply));
  return {"\xff" + framed(net::encode(hello)), "\x05" + both, "\x01" + framed("")};
}

// What is decoded can be encoded, and then says the same.
template <class Decode>
void again(const Bytes& body, Decode decode) {
  const auto value = decode(body);
  if (!value.ok()) return;
  using node::encode;  // some of these types are of ports
  const std::string once = encode(*value);
  const auto back = decode(Bytes(std::string(once)));
  LEEWARD_CHECK(back.ok(), "what was encoded is decoded: " + (back.ok() ? "" : back.error().message));
  LEEWARD_CHECK(encode(*back) == once, "decoding loses nothing");
}

void raft_message(const Bytes& body) {
  const auto message = raft::decode_message(body);
  if (!message.ok()) return;
  std::string once;
  raft::encode(*message, once);
  const auto back = raft::decode_message(Bytes(std::string(once)));
  LEEWARD_CHECK(back.ok() && *back == *message, "a message that was read can be sent");
}

// The first byte is the frame's type: a body of each, without header.
void node_frames(std::string_view bytes) {
  if (const auto frame = node::decode_frame(Bytes::copy(bytes)); frame.ok())
    LEEWARD_CHECK(node::decode_frame(Bytes(node::encode_header(frame->header) + std::string(frame->body.view()))).ok(),
                  "a header that was read can be sent");
  Input input(bytes);
  const auto type = static_cast<node::FrameType>(input.u8());
  const Bytes body = Bytes::copy(input.rest());
  switch (type) {
    case node::FrameType::kRaft: return raft_message(body);
    case node::FrameType::kForward: return again(body, node::decode_forward);
    case node::FrameType::kForwardRefused: return again(body, node::decode_forward_refused);
    case node::FrameType::kCall:
      if (const auto call = node::decode_call(body); call.ok())
        again(Bytes(std::string(call->body)), [](const Bytes& b) { return node::decode_member_change(b.view()); });
      return again(body, node::decode_call);
    case node::FrameType::kCallAnswer: return again(body, node::decode_call_answer);
    case node::FrameType::kSnapshotOffer:
    case node::FrameType::kAdoptManifest:
    case node::FrameType::kAdoptOffer: return again(body, [](const Bytes& b) { return decode_manifest(b.view()); });
    case node::FrameType::kAdoptAsk: return again(body, node::decode_adopt_ask);
    case node::FrameType::kSnapshotFetch: return again(body, node::decode_snapshot_fetch);
    case node::FrameType::kSnapshotChunk: return (void)node::decode_snapshot_chunk(body);  // any end is fine
    case node::FrameType::kSnapshotGone: return again(body, [](const Bytes& b) { return node::decode_group_state(b.view()); });
    case node::FrameType::kAdoptHeld:
    case node::FrameType::kSnapshotDone: return again(body, node::decode_snapshot_done);
    case node::FrameType::kKnock: return again(body, node::decode_knock);
    case node::FrameType::kKnockAnswer: return again(body, node::decode_knock_answer);
    case node::FrameType::kReport: return again(body, node::decode_report);
    case node::FrameType::kRemoved: return again(body, node::decode_removed_notice);
    case node::FrameType::kGroupList: return again(body, [](const Bytes& b) { return node::decode_group_list(b.view()); });
  }
}

Entry some_entry() {
  Entry entry;
  entry.term = Term(2);
  entry.index = Index(7);
  entry.kind = EntryKind::kWrites;
  entry.epoch = Epoch(1);
  entry.writes = 1;
  entry.payload = Bytes(std::string("\x01\x05key=v", 7));
  entry.position = extend(some_position(6), entry.epoch, entry.kind, entry.writes, entry.payload.view());
  return entry;
}

std::string with_type(node::FrameType type, const std::string& body) {
  return std::string(1, static_cast<char>(type)) + body;
}

std::vector<std::string> node_seeds() {
  using node::FrameType;
  std::vector<std::string> seeds;
  for (int type = 1; type < 16; ++type) {
    raft::Message message;
    message.type = static_cast<raft::MessageType>(type);
    message.from = NodeId(1), message.to = NodeId(2), message.term = Term(3);
    message.index = Index(6), message.log_term = Term(2), message.commit = Index(5);
    message.entries = {some_entry(), some_entry()};
    std::string out;
    raft::encode(message, out);
    seeds.push_back(with_type(FrameType::kRaft, out));
  }
  Command command;
  command.op = Op::kPut;
  command.request = Bytes(std::string("request"));
  seeds.push_back(with_type(FrameType::kForward, encode(node::Forward{Term(3), {command, command}})));
  seeds.push_back(with_type(FrameType::kForwardRefused,
                            encode(node::ForwardRefused{9, {1, 2, 300}, {Code::kUnavailable, "no leader"}})));
  seeds.push_back(with_type(FrameType::kCall, encode(node::Call{4, node::CallKind::kKeepAlive, 77})));
  node::MemberChange change;
  change.add.push_back({NodeId(4), "n4", "east", "a", "h:2380", "http://h:2379", GroupRole::kPrimary});
  change.remove = {NodeId(1), NodeId(300)};
  seeds.push_back(with_type(FrameType::kCall, encode(node::Call{5, node::CallKind::kChange, 0, encode(change)})));
  seeds.push_back(with_type(FrameType::kRemoved, encode(node::RemovedNotice{Incarnation(9), Index(300), {}})));
  seeds.push_back(with_type(FrameType::kGroupList, encode(node::GroupList{GroupId(5), Index(300), change.add})));
  seeds.push_back(with_type(FrameType::kCallAnswer, encode(node::CallAnswer{4, std::int64_t{60}})));
  Manifest manifest;
  manifest.id = "abcd";
  manifest.membership = "members";
  manifest.files.resize(2);
  manifest.files[0].name = "000012.sst";
  manifest.files[1].name = "CURRENT";
  seeds.push_back(with_type(FrameType::kSnapshotOffer, leeward::encode(manifest)));
  seeds.push_back(with_type(FrameType::kSnapshotFetch, encode(node::SnapshotFetch{"abcd", 1, 4096, 1024})));
  node::SnapshotChunk chunk{"abcd", 1, 4096, 7, Bytes(std::string("data"))};
  seeds.push_back(with_type(FrameType::kSnapshotChunk, node::encode_chunk_head(chunk) + "data"));
  node::GroupState group;
  group.control.group = GroupId(5);
  group.admitted[NodeId(1)] = Incarnation(8);
  seeds.push_back(with_type(FrameType::kSnapshotGone, encode(group)));
  seeds.push_back(with_type(FrameType::kSnapshotDone, encode(node::SnapshotDone{"abcd", true, Index(9)})));
  seeds.push_back(with_type(FrameType::kAdoptAsk, encode(node::AdoptAsk{HistoryIndex(9), "abcd"})));
  seeds.push_back(with_type(FrameType::kKnock, encode(node::Knock{"test", some_hash(1)})));
  node::KnockAnswer answer;
  answer.cluster_name = "test";
  answer.membership = "members";
  seeds.push_back(with_type(FrameType::kKnockAnswer, encode(answer)));
  node::Report report{{}, {1'700'000'000'000'000, {{NodeId(1), 500}}}};
  report.status.id = NodeId(3);
  seeds.push_back(with_type(FrameType::kReport, node::encode(report)));
  return seeds;
}

void standby_messages(std::string_view bytes) {
  const auto frame = standby::decode(Bytes::copy(bytes));
  if (!frame.ok()) return;
  for (const bool compress : {false, true}) {
    const auto back = standby::decode(standby::encode(frame->header, frame->body, {compress}));
    LEEWARD_CHECK(back.ok() && back->body.index() == frame->body.index(), "a message that was read can be sent");
  }
}

std::vector<std::string> standby_seeds() {
  using namespace standby;
  Header header;
  header.lineage.bytes[3] = 9;
  header.group = GroupId(77);
  header.epoch = Epoch(3);
  Entries entries;
  entries.session = 42;
  entries.before = some_position(6);
  Position at = entries.before;
  for (int i = 0; i < 3; ++i) {
    StreamEntry e;
    e.epoch = Epoch(1), e.writes = 1, e.payload = Bytes(std::string(40, 'p'));
    at = extend(at, e.epoch, e.kind, e.writes, e.payload.view());
    e.position = at;
    entries.entries.push_back(e);
  }
  Command command;
  command.op = Op::kTxn;
  command.request = Bytes(std::string("request"));
  const std::vector<Body> bodies = {
      Hello{1, "west", Epoch(3), {{Epoch(2), 7, HistoryIndex(5), some_hash(5)}}, true, some_position(8), some_position(7), 1 << 20, true},
      Welcome{1, some_position(10)},
      Refused{1, Refusal::kFork, "why", some_position(8), {{Epoch(2), 7, HistoryIndex(5), some_hash(5)}}},
      entries,
      Idle{1, HistoryIndex(99)},
      Ack{1, 1 << 23, some_position(5), {HistoryIndex(5), some_hash(5)}},
      Bye{1},
      Ping{5, NodeId(4), true, {HistoryIndex(5), some_hash(5)}},
      Pong{5, NodeId(4), NodeId(1), {Epoch(1), Term(9), 11}, some_position(6), HashVerdict::kEqual, HistoryIndex(5)},
      Progress{"west", GroupId(9), some_position(5), 12},
      Presence{true, 40, false, "why"},
      Forward{8, Call::kPropose, 5000, command, -3},
      ForwardReply{},
      Survey{7},
      SurveyReply{7, true, Stamp{Epoch(1), Term(2), 3}, {}, 40, Epoch(2), "why"},
      ColdQuestion{9},
      ColdAnswer{9, Epoch(2)},
      StampSent{Term(3), 5, 6},
      StampReturned{Term(3), 5, 6},
      SealAsked{7, true},
      SealTold{7, SealFate::kActivated, Index(9), "entry", Revision(1ll << 44), NodeId(4), 1500},
      ResignAsked{8, true},
      ResignTold{8, Index(9), "entry"}};
  std::vector<std::string> seeds;
  for (const auto& body : bodies)
    for (const bool compress : {false, true}) seeds.emplace_back(encode(header, body, {compress}).view());
  return seeds;
}

}  // namespace

std::vector<Target> peer_targets() {
  return {{"peer-frames", frames_between_nodes, frame_seeds},
          {"node-messages", node_frames, node_seeds},
          {"standby-messages", standby_messages, standby_seeds}};
}

}  // namespace leeward::fuzz
