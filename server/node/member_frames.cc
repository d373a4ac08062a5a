// What arrives from other nodes, by lane and type.
#include <algorithm>

#include "node/member.h"

namespace leeward::node {
namespace {

bool is_counted(raft::MessageType type) {
  using enum raft::MessageType;
  return type == kPreVoteReply || type == kVoteReply || type == kAppendReply || type == kHeartbeatReply;
}

// What the first entry of a group says that this log holds and that is not applied.
std::optional<GroupState> begun_in(const LogView& log) {
  const auto entries = log.read(log.base().index + 1, log.last().index + 1, 1_MiB);
  if (!entries.ok()) return std::nullopt;
  for (const auto& e : *entries) {
    if (e.kind != EntryKind::kBootstrap) continue;
    auto state = decode_group_state(e.payload.view());
    return state.ok() ? std::optional(std::move(*state)) : std::nullopt;
  }
  return std::nullopt;
}

// Who fills that id in the group by another life is none of it.
bool is_other_life(const GroupState& group, NodeId id, Incarnation incarnation) {
  const auto it = group.admitted.find(id);
  return it != group.admitted.end() && it->second && it->second != incarnation;
}

}  // namespace

void Member::on_frame(NodeId from, Lane lane, Bytes bytes) {
  if (failed_ || stopped_ || context_.removed) return;
  if (lane == Lane::kStream) {
    const auto it = lane_handlers_.find(lane);
    if (it != lane_handlers_.end()) it->second(from, lane, std::move(bytes));
    return;
  }
  auto frame = decode_frame(bytes);
  if (!frame.ok()) {
    context_.ports.log.warn("an unreadable frame was dropped", {{"peer", from}, {"error", frame.error().message}});
    return;
  }
  const auto& header = frame->header;
  if (const auto ours = own_lineage(); header.lineage.known() && ours.known() && header.lineage != ours) {
    context_.ports.log.warn("a node of another lineage was refused", {{"peer", from}, {"lineage", header.lineage.hex()}});
    return bootstrap_->hear_stranger(from, header.lineage);
  }
  // A write may be refused at any time, and who asked is told so.
  const bool refuses = header.type == FrameType::kForward || header.type == FrameType::kForwardRefused;
  if (!heed_epoch(from, header) && !refuses) return;
  if (lane == Lane::kControl) return on_control(from, *frame);
  // The other lanes are the group's own.
  if (!context_.core || installing_ || context_.frozen) return;
  if (header.group && group() && header.group != group()) {
    if (lane == Lane::kBulk) on_foreign_bulk(from, *frame);
    if (lane == Lane::kConsensus && bootstrap_->takes_in(header.group)) join_spoken(header.group);
    return;
  }
  if (tell_if_removed(from, header)) return;
  if (!of_own_group(from, header) || !of_one_beginning(from, header)) return;
  hear_incarnation(from, header.incarnation);
  hear_start(from, header);
  if (header.group && !group() && bootstrap_->takes_in(header.group)) join_spoken(header.group);
  if (lane == Lane::kBulk) return on_bulk(from, *frame);
  if (lane == Lane::kConsensus) return on_consensus(from, *frame);
  const auto it = lane_handlers_.find(lane);
  if (it != lane_handlers_.end()) it->second(from, lane, std::move(bytes));
}

// A leader may be one that this member's log does not name yet.
bool Member::of_own_group(NodeId from, const FrameHeader& header) const {
  if (membership().contains(from) || bootstrap_->in_own_list(from)) return true;
  if (group()) return header.group == group();
  const auto nodes = topology();
  const auto find = [&](NodeId id) { return std::find_if(nodes.begin(), nodes.end(), [id](const Node& n) { return n.id == id; }); };
  return find(from) != nodes.end() && find(self()) != nodes.end() && same_list(*find(from), *find(self()));
}

// While one of the two is of no group yet. The one that begins may hold the first
// entry of the other's, or be taken in by it; the one that has a group knows who is
// about to begin it. On both sides the ids are the same for another group, whose disks
// are gone or come back: neither may hear the other.
bool Member::of_one_beginning(NodeId from, const FrameHeader& header) const {
  if (context_.group.started()) return header.group == group() || !is_other_life(context_.group, from, header.incarnation);
  const auto begun = begun_in(*context_.log);
  if (begun && is_other_life(*begun, from, header.incarnation)) return false;
  if (!header.group || header.group == group()) return true;
  return bootstrap_->takes_in(header.group) || (begun && begun->control.group == header.group);
}

// A voter that lost its storage has forgotten its vote and what it has
// acknowledged: neither may be counted before it is admitted again. As a
// learner it counts for nothing and may catch up. Who leads has been admitted,
// which this member may hear from it alone.
bool Member::may_be_counted(NodeId from, const FrameHeader& header) {
  return !is_other_life(context_.group, from, header.incarnation) || !membership().is_voter(from);
}

void Member::time_append(const raft::Message& reply) {
  if (reply.type != raft::MessageType::kAppendReply) return;
  if (context_.traces.any() && !reply.reject) context_.traces.acknowledged(reply.from, reply.index, context_.now());
  const auto it = timed_appends_.find(reply.from);
  if (it == timed_appends_.end()) return;
  const auto& timed = it->second;
  if (timed.term == reply.term && !reply.reject) {
    if (reply.index < timed.last) return;
    context_.probe.stage_append.observe(context_.now() - timed.at);
  }
  timed_appends_.erase(it);
}

void Member::on_consensus(NodeId from, const Frame& frame) {
  switch (frame.header.type) {
    case FrameType::kRaft: {
      auto message = raft::decode_message(frame.body);
      if (!message.ok() || message->from != from || message->to != self()) {
        context_.ports.log.warn("a malformed Raft message was dropped", {{"peer", from}});
        return;
      }
      if (is_counted(message->type) && !may_be_counted(from, frame.header)) return;
      // A read is not confirmed by a leader that does not serve: not yet, or because its
      // group is no primary, whatever this member still takes it for.
      if (message->type == raft::MessageType::kReadIndexReply && !frame.header.serves) return;
      time_append(*message);
      context_.core->step(context_.now(), std::move(*message));
      break;
    }
    case FrameType::kForward: {
      auto forward = decode_forward(frame.body);
      if (!forward.ok()) return;
      proposals_->arrive(from, std::move(*forward), write_refusal());
      break;
    }
    case FrameType::kForwardRefused: {
      const auto refused = decode_forward_refused(frame.body);
      if (!refused.ok()) return;
      proposals_->refused(*refused);
      break;
    }
    case FrameType::kCall: {
      const auto call = decode_call(frame.body);
      if (!call.ok()) return;
      serve(*call, [this, from, id = call->id](Result<std::int64_t> result) {
        context_.send(from, Lane::kConsensus, FrameType::kCallAnswer, encode(CallAnswer{id, std::move(result)}));
      });
      break;
    }
    case FrameType::kCallAnswer: {
      auto answer = decode_call_answer(frame.body);
      if (!answer.ok()) return;
      const auto it = calls_.find(answer->id);
      if (it == calls_.end() || it->second.sent_to != from) return;
      auto done = std::move(it->second.done);
      calls_.erase(it);
      done(std::move(answer->result));
      break;
    }
    default:
      return;
  }
  wake();
}

void Member::on_control(NodeId from, const Frame& frame) {
  switch (frame.header.type) {
    case FrameType::kKnock: {
      const auto knock = decode_knock(frame.body);
      if (!knock.ok() || tell_if_removed(from, frame.header)) return;
      if (knock->cluster_name != context_.options.cluster_name)
        context_.ports.log.warn("a node of another cluster knocks", {{"peer", from}, {"name", knock->cluster_name}});
      else if ((bootstrap_->in_own_list(from) || context_.group.membership.contains(from)) &&
               (!frame.header.group || frame.header.group == group()))  // else it is the same id in another group
        hear_incarnation(from, frame.header.incarnation);
      return bootstrap_->answer(from, frame.header, *knock, waits_cold());
    }
    case FrameType::kKnockAnswer: {
      const auto answer = decode_knock_answer(frame.body);
      if (answer.ok()) bootstrap_->hear(from, frame.header, *answer);
      return;
    }
    case FrameType::kReport:
      if (tell_if_removed(from, frame.header)) return;
      return on_report(from, frame);
    case FrameType::kRemoved:
      return hear_removed(from, frame);
    case FrameType::kGroupList:
      return hear_list(from, frame);
    default: {
      const auto it = lane_handlers_.find(Lane::kControl);
      if (it != lane_handlers_.end()) it->second(from, Lane::kControl, frame.body);
    }
  }
}

void Member::on_report(NodeId from, const Frame& frame) {
  auto report = decode_report(frame.body);
  if (!report.ok() || report->status.id != from) return;
  auto& status = report->status;
  const bool same_lineage = frame.header.lineage.known() && frame.header.lineage == lineage();
  if (same_lineage) heed_drill(status.drill);
  clocks_.heard(from, report->clock, context_.ports.clock.wall());
  reports_[from] = {std::move(status), context_.now(), group() && frame.header.group == group(), frame.header.seen, same_lineage};
}

}  // namespace leeward::node
