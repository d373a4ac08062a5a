// The watch stream around the hub: creation, cancellation, progress, slow
// readers, and notifications from other threads.
#include "harness.h"

namespace leeward::api::test {
namespace {

using Request = etcdserverpb::WatchRequest;
using Response = etcdserverpb::WatchResponse;

class Watching : public ScriptedServices {
 protected:
  Watching() { open(); }

  void open() {
    call = make("/etcdserverpb.Watch/Watch");
    services->start(call);
  }
  void send(const Request& request) {
    call->deliver(request.SerializeAsString());
    loop.run();
  }
  etcdserverpb::WatchCreateRequest& create(Request& request, std::string key = "k") {
    request.mutable_create_request()->set_key(key);
    return *request.mutable_create_request();
  }
  void watch(std::string key, std::int64_t id = 0) {
    Request request;
    create(request, key).set_watch_id(id);
    send(request);
  }
  // What was sent since the last call.
  std::vector<Response> received() {
    std::vector<Response> out;
    for (; seen < call->sent.size(); ++seen) out.push_back(parsed<Response>(call->sent[seen]));
    return out;
  }
  static WatchEvents events(std::int64_t revision, std::size_t value_bytes = 1) {
    Response response;
    response.add_events()->mutable_kv()->set_value(std::string(value_bytes, 'v'));
    WatchEvents out;
    out.revision = Revision(revision);
    out.events = Bytes(response.SerializeAsString());
    out.count = 1;
    return out;
  }
  void feed(std::size_t watch, WatchEvents what) {
    state->watches.at(watch)->events.push_back(std::move(what));
    state->watches.at(watch)->ready();
  }

  void ask_progress() {
    Request request;
    request.mutable_progress_request();
    call->deliver(request.SerializeAsString());
  }
  // Of all watches, since the last call.
  int polls() {
    int sum = 0;
    for (const auto& watch : state->watches) sum += std::exchange(watch->polls, 0);
    return sum;
  }
  int looks() {
    int sum = 0;
    for (const auto& watch : state->watches) sum += std::exchange(watch->looks, 0);
    return sum;
  }

  std::shared_ptr<FakeCall> call;
  std::size_t seen = 0;
};

TEST_F(Watching, ACreatedWatchIsAnnouncedBeforeItsEvents) {
  Request request;
  auto& wanted = create(request);
  wanted.set_range_end("m");
  wanted.set_start_revision(4);
  wanted.set_prev_kv(true);
  wanted.add_filters(etcdserverpb::WatchCreateRequest::NODELETE);
  send(request);
  feed(0, events(11));
  loop.run();
  const auto got = received();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_TRUE(got[0].created());
  EXPECT_FALSE(got[0].canceled());
  EXPECT_EQ(got[0].watch_id(), 0);
  EXPECT_EQ(got[0].header().revision(), 10);
  EXPECT_EQ(got[0].header().member_id(), 7u);
  EXPECT_EQ(got[1].header().revision(), 11);
  EXPECT_EQ(got[1].header().raft_term(), (1ull << 32) + 3);
  EXPECT_EQ(got[1].events_size(), 1);
  const auto& asked = state->watches[0]->request;
  EXPECT_EQ(asked.range_end, "m");
  EXPECT_EQ(asked.start, Revision(4));
  EXPECT_TRUE(asked.prev_kv && asked.no_delete && !asked.no_put);
}

TEST_F(Watching, AnEmptyKeyIsTheSmallestKey) {
  watch("");
  EXPECT_EQ(state->watches.at(0)->request.key, std::string(1, '\0'));
}

TEST_F(Watching, IdsAreTheServersOrTheClients) {
  watch("a");
  watch("b", 2);
  watch("c");
  watch("d");  // 2 is taken
  std::vector<std::int64_t> ids;
  for (const auto& response : received()) ids.push_back(response.watch_id());
  EXPECT_EQ(ids, (std::vector<std::int64_t>{0, 2, 1, 3}));
}

TEST_F(Watching, AnIdThatIsTakenIsRefusedAndTheOtherWatchGoesOn) {
  watch("a", 5);
  watch("b", 5);
  feed(0, events(11));
  loop.run();
  const auto got = received();
  ASSERT_EQ(got.size(), 3u);
  EXPECT_TRUE(got[1].created() && got[1].canceled());
  EXPECT_EQ(got[1].watch_id(), -1);
  EXPECT_EQ(got[1].cancel_reason(), "mvcc: duplicate watch ID provided on the WatchStream");
  EXPECT_EQ(got[2].watch_id(), 5);
}

TEST_F(Watching, WhatCannotBeWatchedIsRefusedWithoutEndingTheStream) {
  Request negative, backwards, equal;
  create(negative).set_start_revision(-1);
  create(backwards, "b").set_range_end("a");
  create(equal, "b").set_range_end("b");
  for (const auto& request : {negative, backwards, equal}) send(request);
  state->watch_failure = Error{Code::kUnavailable, "etcdserver: server stopped"};
  watch("k");
  const auto got = received();
  ASSERT_EQ(got.size(), 4u);
  for (const auto& response : got) EXPECT_TRUE(response.created() && response.canceled() && response.watch_id() == -1);
  EXPECT_EQ(got[0].cancel_reason(), "etcdserver: mvcc: required revision has been compacted");
  EXPECT_EQ(got[1].cancel_reason(), "mvcc: watcher range is empty");
  EXPECT_EQ(got[2].cancel_reason(), "mvcc: watcher range is empty");
  EXPECT_EQ(got[3].cancel_reason(), "etcdserver: server stopped");
  EXPECT_FALSE(call->status);
}

TEST_F(Watching, AFromKeyRangeIsNotBackwards) {
  Request request;
  create(request, "b").set_range_end(std::string(1, '\0'));
  send(request);
  EXPECT_FALSE(received().at(0).canceled());
}

TEST_F(Watching, ACancelledWatchSendsNoMore) {
  watch("a");
  watch("b");
  state->watches[0]->events.push_back(events(11));
  Request cancel;
  cancel.mutable_cancel_request()->set_watch_id(0);
  received();
  send(cancel);
  feed(1, events(12));
  state->watches[0]->ready();  // word that was already on its way
  loop.run();
  const auto got = received();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_TRUE(got[0].canceled());
  EXPECT_EQ(got[0].watch_id(), 0);
  EXPECT_EQ(got[1].watch_id(), 1);
  EXPECT_FALSE(state->watches[0]->alive);
  cancel.mutable_cancel_request()->set_watch_id(77);
  send(cancel);
  EXPECT_TRUE(received().empty()) << "etcd does not answer for an unknown id";
}

TEST_F(Watching, ACompactedStartIsToldWithTheRevision) {
  watch("a");
  WatchEvents end;
  end.compacted = Revision(9);
  end.cancel_reason = "etcdserver: mvcc: required revision has been compacted";
  received();
  feed(0, end);
  loop.run();
  const auto got = received();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_TRUE(got[0].canceled());
  EXPECT_EQ(got[0].compact_revision(), 9);
  EXPECT_EQ(got[0].cancel_reason(), "");
  EXPECT_FALSE(state->watches[0]->alive);
  EXPECT_FALSE(call->status);
}

TEST_F(Watching, FragmentsAreMarkedButTheLast) {
  watch("a");
  auto piece = events(11);
  piece.fragment = true;
  feed(0, piece);
  feed(0, events(11));
  received();
  loop.run();
  const auto got = received();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_TRUE(got[0].fragment());
  EXPECT_FALSE(got[1].fragment());
}

TEST_F(Watching, ManyNotificationsWakeTheLoopOnce) {
  for (int i = 0; i < 50; ++i) watch("k" + std::to_string(i));
  const int before = loop.posts;
  for (std::size_t i = 0; i < 50; ++i) feed(i, events(11));
  EXPECT_EQ(loop.posts - before, 1);
  received();
  loop.run();
  EXPECT_EQ(received().size(), 50u);
}

TEST_F(Watching, ASlowClientIsNotPolledForAndGetsEverythingLater) {
  watch("slow");
  call->stuck = true;
  received();
  for (int i = 0; i < 100; ++i) feed(0, events(11 + i, 100'000));
  loop.run();
  const auto first = received();
  EXPECT_LT(first.size(), 5u) << "more than the high-water mark was sent";
  EXPECT_FALSE(state->watches[0]->events.empty());
  call->drain();
  loop.run();
  const auto rest = received();
  ASSERT_FALSE(rest.empty());
  ASSERT_EQ(first.size() + rest.size(), 100u);
  EXPECT_EQ(rest.back().header().revision(), 110);
}

TEST_F(Watching, AClientThatTakesNoAnswersMayNotAskForMore) {
  watch("k", 1);
  call->stuck = true;
  Request again;
  create(again).set_watch_id(1);  // refused each time
  for (int i = 0; i < 100'000 && !call->status; ++i) call->deliver(again.SerializeAsString());
  ASSERT_TRUE(call->status);
  EXPECT_REFUSED(*call->status, GrpcCode::kResourceExhausted, "etcdserver: too many requests");
  EXPECT_GT(call->held, 1_MiB);
  EXPECT_LT(call->held, 3_MiB);
  EXPECT_FALSE(state->watches[0]->alive);
}

TEST_F(Watching, AClientMayAskWhileALargeRevisionIsOnItsWay) {
  watch("a");
  call->stuck = true;
  feed(0, events(11, 3_MiB));
  loop.run();
  watch("b");
  EXPECT_FALSE(call->status);
  EXPECT_TRUE(received().back().created());
}

TEST_F(Watching, AClientThatTakesNothingIsToldNoProgress) {
  Request request;
  create(request).set_progress_notify(true);
  send(request);
  call->held = 1_MiB;
  received();
  loop.advance(std::chrono::minutes(12));
  EXPECT_TRUE(received().empty());
  call->drain();
  loop.advance(std::chrono::minutes(12));
  EXPECT_EQ(received().size(), 1u);
}

TEST_F(Watching, ABusyWatchLeavesRoomForTheOthers) {
  watch("busy");
  watch("quiet");
  for (int i = 0; i < 500; ++i) state->watches[0]->events.push_back(events(11 + i));
  state->watches[0]->ready();
  feed(1, events(11));
  received();
  loop.run();
  const auto got = received();
  ASSERT_EQ(got.size(), 501u);
  EXPECT_TRUE(got[0].watch_id() == 1 || got[1].watch_id() == 1) << "the quiet watch had to wait";
}

TEST_F(Watching, ProgressIsToldWhenAllWatchesAreThere) {
  watch("a");
  watch("b");
  state->info.revision = Revision(20);
  state->watches[0]->synced = Revision(20);
  state->watches[1]->synced = Revision(15);
  Request progress;
  progress.mutable_progress_request();
  received();
  send(progress);
  loop.advance(std::chrono::milliseconds(50));
  EXPECT_TRUE(received().empty()) << "one watch still catches up";
  state->watches[1]->synced = Revision(20);
  loop.advance(std::chrono::milliseconds(50));
  const auto got = received();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].watch_id(), -1);
  EXPECT_EQ(got[0].header().revision(), 20);
  EXPECT_EQ(got[0].events_size(), 0);
}

TEST_F(Watching, ProgressNeverOvertakesEvents) {
  watch("a");
  state->info.revision = Revision(20);
  state->watches[0]->synced = Revision(20);
  state->watches[0]->events.push_back(events(19));
  Request progress;
  progress.mutable_progress_request();
  received();
  send(progress);
  loop.advance(std::chrono::milliseconds(50));
  const auto got = received();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].events_size(), 1);
  EXPECT_EQ(got[1].watch_id(), -1);
}

TEST_F(Watching, ProgressWaitsForASlowClient) {
  watch("a");
  call->stuck = true;
  state->info.revision = Revision(20);
  for (int i = 0; i < 10; ++i) feed(0, events(11 + i, 100'000));
  state->watches[0]->synced = Revision(20);
  Request progress;
  progress.mutable_progress_request();
  received();
  send(progress);
  for (const auto& response : received()) EXPECT_NE(response.watch_id(), -1) << "events are still to come";
  call->drain();
  loop.run();
  EXPECT_EQ(received().back().watch_id(), -1);
}

TEST_F(Watching, ProgressOfManyWatchesLeavesRoomForOtherCalls) {
  for (int i = 0; i < 1000; ++i) watch("k" + std::to_string(i));
  received();
  polls();
  ask_progress();
  EXPECT_LE(polls(), 64) << "the loop was kept for all watches at once";
  loop.run();
  EXPECT_GE(polls(), 900);
  EXPECT_EQ(received().size(), 1u);
}

TEST_F(Watching, OneAnswerServesTheProgressRequestsThatWait) {
  for (int i = 0; i < 1000; ++i) watch("k" + std::to_string(i));
  received();
  polls();
  const auto move_to = [&](std::int64_t revision) {
    state->info.revision = Revision(revision);
    for (const auto& watch : state->watches) watch->synced = Revision(revision);
  };
  for (int i = 0; i < 100; ++i) {
    move_to(20 + i);
    ask_progress();
  }
  loop.run();
  EXPECT_LE(polls(), 1000);
  auto got = received();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].watch_id(), -1);
  EXPECT_EQ(got[0].header().revision(), 119) << "not older than the last request";
  move_to(200);
  ask_progress();
  ask_progress();
  loop.run();
  EXPECT_EQ(polls(), 0) << "so soon again";
  loop.advance(std::chrono::milliseconds(50));
  got = received();
  ASSERT_EQ(got.size(), 1u) << "but not forgotten";
  EXPECT_EQ(got[0].header().revision(), 200);
}

TEST_F(Watching, WhileProgressWaitsForOneWatchTheOthersAreNotLookedAtAllTheTime) {
  for (int i = 0; i < 1000; ++i) watch("k" + std::to_string(i));
  state->info.revision = Revision(20);  // no watch is there yet
  ask_progress();
  loop.run();
  looks();
  Request cancel;
  for (int i = 0; i < 100; ++i) {
    cancel.mutable_cancel_request()->set_watch_id(i);
    send(cancel);
  }
  EXPECT_EQ(looks(), 0);
  for (const auto& watch : state->watches) watch->synced = Revision(20);
  received();
  loop.advance(std::chrono::milliseconds(50));
  EXPECT_EQ(received().size(), 1u);
}

TEST_F(Watching, AWatchThatWaitsForTheFutureIsNotAheadOfTheStore) {
  watch("a");
  state->watches[0]->synced = Revision(99);  // it starts at 100
  Request progress;
  progress.mutable_progress_request();
  received();
  send(progress);
  EXPECT_EQ(received().at(0).header().revision(), 10);
}

TEST_F(Watching, AQuietWatchIsToldTheRevisionNowAndThen) {
  Request request;
  create(request).set_progress_notify(true);
  send(request);
  watch("other");
  received();
  state->watches[0]->synced = state->info.revision = Revision(30);
  loop.advance(std::chrono::minutes(12));
  auto got = received();
  ASSERT_EQ(got.size(), 1u) << "only the watch that asked for it, once";
  EXPECT_EQ(got[0].watch_id(), 0);
  EXPECT_EQ(got[0].header().revision(), 30);
  feed(0, events(31));
  loop.advance(std::chrono::minutes(10));
  got = received();
  ASSERT_EQ(got.size(), 1u) << "events say as much";
  EXPECT_EQ(got[0].events_size(), 1);
}

TEST_F(Watching, ClosingTheSendingSideKeepsTheWatches) {
  watch("a");
  call->half_close();
  feed(0, events(11));
  loop.run();
  EXPECT_EQ(received().size(), 2u);
  EXPECT_FALSE(call->status);
}

TEST_F(Watching, ACancelledStreamLetsGoOfEverything) {
  Request request;
  create(request).set_progress_notify(true);
  send(request);
  const std::weak_ptr<FakeCall> weak = call;
  feed(0, events(11));
  call->cancel();
  EXPECT_FALSE(state->watches[0]->alive);
  EXPECT_EQ(probe.streams.get(), 0);
  call.reset();
  loop.run();
  EXPECT_EQ(loop.timers(), 0u);
  EXPECT_TRUE(weak.expired()) << "the call and its callbacks keep each other";
  state->watches[0]->ready();  // a late word finds nobody
  loop.run();
}

TEST_F(Watching, GarbageEndsTheStreamWithAClearError) {
  call->deliver("\xff\xff");
  ASSERT_TRUE(call->status);
  EXPECT_EQ(call->status->code, GrpcCode::kInvalidArgument);
}

TEST_F(Watching, AnEmptyRequestIsIgnored) {
  send(Request());
  EXPECT_TRUE(received().empty());
  EXPECT_FALSE(call->status);
}

TEST_F(Watching, KeepAlivesOfUnknownLeasesAnswerZero) {
  auto stream = make("/etcdserverpb.Lease/LeaseKeepAlive");
  services->start(stream);
  etcdserverpb::LeaseKeepAliveRequest request;
  request.set_id(5);
  stream->deliver(request.SerializeAsString());
  stream->half_close();
  EXPECT_FALSE(stream->status) << "an answer is still due";
  loop.run();
  ASSERT_EQ(stream->sent.size(), 1u);
  const auto response = parsed<etcdserverpb::LeaseKeepAliveResponse>(stream->sent[0]);
  EXPECT_EQ(response.id(), 5);
  EXPECT_EQ(response.ttl(), 0);
  EXPECT_EQ(response.header().member_id(), 7u);
  ASSERT_TRUE(stream->status && stream->status->ok());
}

TEST_F(Watching, KeepAlivesWithoutALeaderEndTheStream) {
  node->lease_failure = Error{Code::kUnavailable, ""};
  auto stream = make("/etcdserverpb.Lease/LeaseKeepAlive");
  services->start(stream);
  stream->deliver(etcdserverpb::LeaseKeepAliveRequest().SerializeAsString());
  loop.run();
  ASSERT_TRUE(stream->status);
  EXPECT_REFUSED(*stream->status, GrpcCode::kUnavailable, "etcdserver: no leader");
}

}  // namespace
}  // namespace leeward::api::test
