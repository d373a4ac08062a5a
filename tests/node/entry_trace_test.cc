// Spans of a leader's entries, by hand and clock.
#include "node/entry_trace.h"

#include <gtest/gtest.h>

#include <map>

#include "base/command.h"

namespace leeward::node {
namespace {

class Notes final : public Tracer {
 public:
  TraceContext begin(const TraceContext& parent) override { return parent; }
  TraceContext root() override { return {}; }
  SpanId new_id() override {
    SpanId id{};
    id[7] = static_cast<std::uint8_t>(++ids_);
    id[6] = static_cast<std::uint8_t>(ids_ >> 8);
    return id;
  }
  using Tracer::record;
  void record(std::span<const Span> spans) override { told.insert(told.end(), spans.begin(), spans.end()); }
  void wrote(Revision revision, const TraceContext& trace) override { by_revision[revision] = trace; }
  std::size_t written(Revision, Revision, std::span<TraceContext>) const override { return 0; }

  std::vector<const Span*> of(std::string_view name) const {
    std::vector<const Span*> found;
    for (const auto& span : told)
      if (span.name == name) found.push_back(&span);
    return found;
  }
  std::vector<Span> told;
  std::map<Revision, TraceContext> by_revision;

 private:
  unsigned ids_ = 0;
};

TraceContext trace_of(int number) {
  TraceContext trace;
  trace.trace_id[0] = 1;
  trace.trace_id[1] = static_cast<std::uint8_t>(number);
  trace.span_id[0] = 7;
  trace.sampled = true;
  return trace;
}

Instant at(int ms) { return Instant(std::chrono::milliseconds(ms)); }

Entry entry_with(Index index, Term term, const std::vector<TraceContext>& traces) {
  std::vector<Command> commands(traces.size());
  for (std::size_t i = 0; i < traces.size(); ++i) commands[i].trace = traces[i];
  Entry entry;
  entry.kind = EntryKind::kWrites;
  entry.index = index;
  entry.term = term;
  entry.writes = static_cast<std::uint32_t>(commands.size());
  entry.envelope = Bytes(encode_envelope(commands));
  return entry;
}

class EntryTracesTest : public ::testing::Test {
 protected:
  void apply(const std::vector<Entry>& entries, int from, int to, bool following = false) {
    traces.begin_apply(entries);
    traces.applied(entries, at(from), at(to), following);
  }
  Notes notes;
  EntryTraces traces{&notes};
};

TEST_F(EntryTracesTest, AnEntrysWayHasTheTimesItTook) {
  traces.proposed(Index(5), Term(2), {{trace_of(1), at(10)}}, at(12));
  traces.handed(Index(5), 9, at(13));
  traces.sent(NodeId(2), Index(5), Index(5), at(14));
  traces.sent(NodeId(3), Index(5), Index(5), at(14));
  traces.acknowledged(NodeId(2), Index(5), at(20));
  traces.committed(Index(5), at(20));
  traces.durable(9, at(30));
  apply({entry_with(Index(5), Term(2), {{}, trace_of(1)})}, 31, 33);
  ASSERT_EQ(notes.told.size(), 6u);
  const auto* consensus = notes.of("consensus").at(0);
  EXPECT_EQ(consensus->parent, trace_of(1).span_id);
  EXPECT_EQ(consensus->start, at(12));
  EXPECT_EQ(consensus->end, at(20));
  EXPECT_EQ(notes.of("queue").at(0)->start, at(10));
  EXPECT_EQ(notes.of("queue").at(0)->end, at(12));
  EXPECT_EQ(notes.of("fsync").at(0)->start, at(13));
  EXPECT_EQ(notes.of("fsync").at(0)->end, at(30));
  EXPECT_EQ(notes.of("quorum").at(0)->end, at(20));
  EXPECT_EQ(notes.of("append").at(0)->end, at(20));
  EXPECT_EQ(notes.of("apply").at(0)->start, at(31));
  EXPECT_EQ(notes.of("apply").at(0)->parent, trace_of(1).span_id);
  for (const char* below : {"fsync", "quorum", "append"}) EXPECT_EQ(notes.of(below).at(0)->parent, consensus->context.span_id) << below;
  traces.acknowledged(NodeId(3), Index(5), at(50));  // later than all else
  EXPECT_EQ(notes.of("append").size(), 2u);
  EXPECT_EQ(notes.of("append").at(1)->end, at(50));
  EXPECT_FALSE(traces.any());
}

TEST_F(EntryTracesTest, AFollowerThatNeverAnswersIsToldAndForgotten) {
  traces.proposed(Index(5), Term(2), {{trace_of(1), at(10)}}, at(12));
  traces.sent(NodeId(3), Index(5), Index(5), at(14));
  apply({entry_with(Index(5), Term(2), {trace_of(1)})}, 31, 33);
  EXPECT_TRUE(traces.any());
  apply({}, 6000, 6000);
  EXPECT_FALSE(traces.any());
  ASSERT_EQ(notes.of("append").size(), 1u);
  EXPECT_EQ(notes.of("append").at(0)->failure, "not acknowledged in time");
}

TEST_F(EntryTracesTest, AnotherLeadersEntryInItsPlaceIsNotThisOne) {
  traces.proposed(Index(5), Term(2), {{trace_of(1), at(10)}}, at(12));
  apply({entry_with(Index(5), Term(3), {trace_of(2)})}, 31, 33);
  EXPECT_TRUE(notes.of("consensus").empty());
  ASSERT_EQ(notes.of("apply").size(), 1u);
  EXPECT_EQ(notes.of("apply").at(0)->context.trace_id, trace_of(2).trace_id);
  EXPECT_FALSE(traces.any());
}

TEST_F(EntryTracesTest, WhatCameFromAnotherRegionIsToldThere) {
  apply({entry_with(Index(5), Term(2), {trace_of(1)})}, 31, 33, true);
  EXPECT_TRUE(notes.told.empty());
}

TEST_F(EntryTracesTest, NothingIsKeptBeyondTheBound) {
  for (unsigned i = 1; i <= EntryTraces::kMostEntries + 10; ++i) traces.proposed(Index(i), Term(2), {{trace_of(1), at(10)}}, at(12));
  apply({entry_with(Index(EntryTraces::kMostEntries + 10), Term(2), {{}})}, 31, 33);
  EXPECT_EQ(notes.of("consensus").size(), 1u);  // the others' entries are not among those applied
  EXPECT_FALSE(traces.any());
}

TEST_F(EntryTracesTest, AnEnvelopeThatIsGarbageTellsNothing) {
  for (std::size_t cut = 0; cut < 60; ++cut) {
    Entry entry = entry_with(Index(5), Term(2), {trace_of(1), {}});
    entry.envelope = Bytes(std::string(entry.envelope.view().substr(0, std::min(cut, entry.envelope.size() - 1))));
    apply({entry}, 31, 33);
  }
  Entry entry = entry_with(Index(5), Term(2), {trace_of(1)});
  entry.envelope = Bytes(std::string(100, '\xff'));
  apply({entry}, 31, 33);
  EXPECT_TRUE(notes.told.empty());
}

TEST_F(EntryTracesTest, ASampledWritesRevisionIsNoted) {
  const std::vector<Entry> entries = {entry_with(Index(5), Term(2), {{}, trace_of(1), {}})};
  traces.begin_apply(entries);
  EXPECT_FALSE(traces.wanted(0, 0));
  ASSERT_TRUE(traces.wanted(0, 1));
  EXPECT_FALSE(traces.wanted(0, 2));
  traces.result(0, 1, Revision(77));
  ASSERT_EQ(notes.by_revision.size(), 1u);
  EXPECT_EQ(notes.by_revision.at(Revision(77)), trace_of(1));
}

TEST_F(EntryTracesTest, WithoutATracerNothingIsLookedAt) {
  EntryTraces none(nullptr);
  const std::vector<Entry> entries = {entry_with(Index(5), Term(2), {trace_of(1)})};
  none.begin_apply(entries);
  EXPECT_FALSE(none.wanted(0, 0));
  none.applied(entries, at(1), at(2), false);
  EXPECT_FALSE(none.any());
}

}  // namespace
}  // namespace leeward::node
