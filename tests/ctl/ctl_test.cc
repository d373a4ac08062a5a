// The command as an operator types it: what it prints, where, and how it ends.
#include "ctl/commands.h"

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "base/quantity.h"
#include "ctl/table.h"
#include "support.h"

namespace leeward::ctl {
namespace {

const char* const kStatus = R"({"cluster":"orders","lineage":"0f1e","epoch":"1","term":"5","leader_id":"2","revision":"12345",
  "node_id":"1","role":"primary","state":"follower","waiting_for":"","members":[
  {"id":"1","name":"a1","region":"east","zone":"a","role":"primary","state":"follower","voter":true,"admitted":true,"healthy":true,
   "applied_index":"12000","lag_entries":"3","state_hash":"abcdef0123456789","state_hash_index":"11990","db_bytes":"1572864","report_age_ms":0},
  {"id":"2","name":"a2","region":"east","zone":"b","role":"primary","state":"leader","voter":true,"admitted":true,"healthy":true,
   "applied_index":"12003","lag_entries":"0","state_hash":"abcdef0123456789","state_hash_index":"11990","db_bytes":"1048576",
   "client_url":"http://10.0.1.2:2379","report_age_ms":120.5},
  {"id":"3","name":"a3","region":"east","zone":"c","role":"primary","state":"down","voter":true,"admitted":true,"healthy":false,
   "applied_index":"0","state_hash":"0000","state_hash_index":"0","db_bytes":"0"}]})";

const char* const kStandbys = R"({"standbys":[
  {"id":"11","region":"west","connected":true,"lag_writes":"3","lag_entries":"2","lag_bytes":"1536","lag_low_ms":0,"lag_high_ms":80.2,
   "promotion_eligible":true,"reasons":[{"check":"lag","ok":true,"detail":"80 ms"}]},
  {"id":"12","region":"west","connected":false,"promotion_eligible":false,
   "reasons":[{"check":"lag","ok":false,"detail":"not known"},{"check":"hash","ok":false,"detail":""},{"check":"disk","ok":true,"detail":""}]}]})";

TEST(Tables, AlignNumbersToTheRightAndCountCharactersNotBytes) {
  Table table({{"N", Table::Align::kRight}, {"NAME"}, {"X"}});
  table.add({"1", "né", "a"});
  table.add({"1,000", "node", "b"});
  EXPECT_EQ(table.text(), "    N  NAME  X\n    1  né    a\n1,000  node  b\n");
}

TEST(Figures, AreRoundedForPeople) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(12345678), "12,345,678");
  EXPECT_EQ(human_size(812), "812 B");
  EXPECT_EQ(human_size(1536), "1.5 KiB");
  EXPECT_EQ(human_size(3ull << 40), "3.0 TiB");
  EXPECT_EQ(human_duration(300us), "0.3 ms");
  EXPECT_EQ(human_duration(80ms), "80 ms");
  EXPECT_EQ(human_duration(12500ms), "12.5 s");
}

TEST(Endpoints, AreReadInAllForms) {
  const auto plain = parse_endpoint("10.0.0.1:2379", false);
  ASSERT_TRUE(plain.ok());
  EXPECT_FALSE(plain->tls);
  EXPECT_TRUE(parse_endpoint("10.0.0.1:2379", true)->tls);
  EXPECT_TRUE(parse_endpoint("https://h:1", false)->tls);
  EXPECT_FALSE(parse_endpoint("http://h:1/", true)->tls);
  EXPECT_EQ(parse_endpoint("[::1]:80", false)->host, "::1");
  EXPECT_EQ(parse_endpoint("unix:///run/leeward/admin.sock", true)->socket, "/run/leeward/admin.sock");
  for (const char* bad : {"", "h", "h:", ":1", "h:0", "h:70000", "h:1/x", "unix://relative", "::1:80", "http://"})
    EXPECT_FALSE(parse_endpoint(bad, false).ok()) << bad;
}

TEST_F(CtlTest, ClusterStatusIsATableForPeople) {
  cluster_.answers["/v3/cluster/status"] = {200, kStatus};
  const Ran ran = run({"cluster", "status"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out,
            "cluster   orders   lineage 0f1e\n"
            "answered  node 1 (a1), primary follower\n"
            "epoch     1   term 5   leader 2 (a2)   revision 12,345\n"
            "\n"
            "ID  NAME  REGION  ZONE  ROLE     STATE     VOTER  HEALTH       APPLIED  LAG (ENTRIES)  STATE HASH                DATA\n"
            " 1  a1    east    a     primary  follower  yes    healthy       12,000              3  abcdef012345 @ 11,990  1.5 MiB\n"
            " 2  a2    east    b     primary  leader    yes    healthy       12,003              0  abcdef012345 @ 11,990  1.0 MiB\n"
            " 3  a3    east    c     -        down      yes    never heard        0        unknown  none @ 0                   0 B\n");
}

TEST_F(CtlTest, JsonPassesTheServersAnswerOn) {
  cluster_.answers["/v3/cluster/status"] = {200, kStatus};
  cluster_.answers["/v3/standby/status"] = {200, kStandbys};
  EXPECT_EQ(run({"-o", "json", "cluster", "status"}).out, std::string(kStatus) + "\n");
  EXPECT_EQ(run({"standby", "status", "-o", "json"}).out, std::string(kStandbys) + "\n");
}

TEST_F(CtlTest, StandbyStatusShowsLagAndReasonsAndWhatIsUnknown) {
  cluster_.answers["/v3/standby/status"] = {200, kStandbys};
  const Ran ran = run({"standby", "status"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out,
            "ID  REGION  STREAM     LAG (WRITES)  (ENTRIES)  (BYTES)  (TIME)           ELIGIBLE  WHY NOT\n"
            "11  west    connected             3          2  1.5 KiB  0.0 ms to 80 ms  yes       -\n"
            "12  west    down            unknown    unknown  unknown  unknown          no        lag: not known; hash\n");
  run({"standby", "status", "--id", "12"});
  EXPECT_EQ(cluster_.asked.back(), "127.0.0.1:2379/v3/standby/status {\"id\":\"12\"}");
}

TEST_F(CtlTest, ReplicaStatusNamesWhatIsKnownOfOneMember) {
  cluster_.answers["/v3/replica/status"] = {200, R"({"member":{"id":"12","name":"s2","region":"west","zone":"b","role":"standby",
    "state":"follower","voter":true,"admitted":false,"healthy":true,"applied_index":"10","durable_index":"8","lag_entries":"2","position_index":"9",
    "state_hash":"ab","state_hash_index":"9","db_bytes":"2048","db_bytes_in_use":"1024","report_age_ms":30,"version":"0.1.0"},
    "standby":{"id":"12","region":"west","connected":true,"promotion_eligible":false,"reasons":[]}})"};
  const Ran ran = run({"replica", "status", "--id=12"});
  EXPECT_EQ(ran.code, 0);
  for (const char* line : {"member         12 s2\n", "role           standby, follower, votes, not admitted: leewardctl member admit 12\n",
                           "applied        10 (durable 8, 2 entries behind)\n", "data           2.0 KiB, 1.0 KiB in use\n", "no verdict yet\n"})
    EXPECT_NE(ran.out.find(line), std::string::npos) << line << ran.out;
}

TEST_F(CtlTest, TopologyListsRegions) {
  cluster_.answers["/v3/cluster/topology"] = {200, R"({"cluster":"orders","lineage":"0f","epoch":"1","regions":[
    {"region":"east","role":"primary","leader_id":"1","members":[{"id":"1","name":"a1","zone":"a","peer_address":"h:2380","client_url":"http://h:2379","voter":true}]}]})"};
  const Ran ran = run({"cluster", "topology"});
  EXPECT_NE(ran.out.find("east: primary, leader 1 (a1)\nID  NAME  ZONE  VOTER  PEER    CLIENT\n 1  a1    a     yes    h:2380  http://h:2379\n"),
            std::string::npos) << ran.out;
}

TEST_F(CtlTest, MemberListTurnsEtcdsNamesIntoOurs) {
  cluster_.answers["/v3/cluster/member/list"] = {200, R"({"header":{},"members":[
    {"ID":"1","name":"a1","peerURLs":["http://h1:2380"],"clientURLs":["http://h1:2379"]},{"ID":"2","peerURLs":["http://h2:2380"],"isLearner":true}]})"};
  EXPECT_EQ(run({"member", "list"}).out,
            "ID  NAME  PEER            CLIENT          LEARNER\n"
            " 1  a1    http://h1:2380  http://h1:2379  no\n"
            " 2  -     http://h2:2380  -               yes\n");
  EXPECT_EQ(run({"-o", "json", "member", "list"}).out,
            R"({"members":[{"id":"1","name":"a1","peer_urls":["http://h1:2380"],"client_urls":["http://h1:2379"],"is_learner":false},)"
            R"({"id":"2","name":"","peer_urls":["http://h2:2380"],"client_urls":[],"is_learner":true}]})" "\n");
}

TEST_F(CtlTest, MemberAdmitSendsTheId) {
  cluster_.answers["/v3/member/admit"] = {200, R"({"id":"3"})"};
  const Ran ran = run({"member", "admit", "3"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(cluster_.asked.back(), "127.0.0.1:2379/v3/member/admit {\"id\":\"3\"}");
  EXPECT_EQ(ran.out, "member 3 is admitted; it votes when it has caught up (leewardctl cluster status)\n");
  EXPECT_EQ(run({"-o", "json", "member", "admit", "3"}).out, "{\"id\":\"3\",\"admitted\":true,\"already\":false}\n");
}

TEST_F(CtlTest, WhatIsOfAnotherRegionsMemberIsAskedThere) {
  cluster_.answers["/v3/cluster/status"] = {200, R"({"node_id":"1","members":[
    {"id":"1","region":"east","role":"primary","state":"leader","client_url":"http://10.0.1.1:2379"},
    {"id":"11","region":"west","role":"standby","state":"follower","client_url":"http://10.0.2.1:2379"},
    {"id":"12","region":"west","role":"standby","state":"leader","client_url":"http://10.0.2.2:2379"}]})"};
  const Reply stranger{404, R"({"error":"x","code":5,"message":"member 11 is not one of this group"})"};
  cluster_.answers["127.0.0.1:2379/v3/member/admit"] = stranger;
  cluster_.answers["10.0.2.2:2379/v3/member/admit"] = {200, R"({"id":"11"})"};
  const Ran ran = run({"member", "admit", "11"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(cluster_.asked.back(), R"(10.0.2.2:2379/v3/member/admit {"id":"11"})") << "its leader first";
  cluster_.answers["127.0.0.1:2379/v3/member/change"] = stranger;
  cluster_.answers["10.0.2.2:2379/v3/member/change"] = {200, R"({"index":"7"})"};
  EXPECT_EQ(run({"member", "remove", "11"}).code, 0);
  // Of nobody that is known the first answer stands.
  EXPECT_EQ(run({"member", "admit", "77"}).code, 1);
}

TEST_F(CtlTest, OneThatIsAdmittedAlreadyIsSaidSoAndASuccess) {
  cluster_.answers["/v3/member/admit"] = {200, R"({"id":"3","already":true})"};
  const Ran ran = run({"member", "admit", "3"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "member 3 is admitted already; nothing was changed\n");
  EXPECT_EQ(run({"-o", "json", "member", "admit", "3"}).out, "{\"id\":\"3\",\"admitted\":true,\"already\":true}\n");
}

TEST_F(CtlTest, ChangesOfMembersSendWhatIsAskedForInOneCall) {
  cluster_.answers["/v3/member/change"] = {200, R"({"index":"9"})"};
  const auto sent = [&](std::vector<std::string> words) {
    const Ran ran = run(std::move(words));
    EXPECT_EQ(ran.code, 0) << ran.err;
    return cluster_.asked.back().substr(cluster_.asked.back().find('{'));
  };
  EXPECT_EQ(sent({"member", "add", "4", "--name", "a4", "--region", "east", "--zone", "b", "--peer-url", "h:2380", "--client-url", "http://h:2379"}),
            R"({"add":[{"id":"4","name":"a4","region":"east","zone":"b","peer_address":"h:2380","client_url":"http://h:2379"}]})");
  EXPECT_EQ(sent({"member", "promote", "4"}), R"({"promote":["4"]})");
  EXPECT_EQ(sent({"member", "remove", "3"}), R"({"remove":["3"],"force":false})");
  EXPECT_EQ(sent({"member", "remove", "3", "--force"}), R"({"remove":["3"],"force":true})");
  EXPECT_EQ(sent({"member", "replace", "3", "4", "2", "5"}), R"({"promote":["4","5"],"remove":["3","2"],"force":false})");
  EXPECT_EQ(sent({"member", "update", "3", "--peer-url", "h:1"}), R"({"move":[{"id":"3","peer_address":"h:1","client_url":""}]})");
  EXPECT_EQ(run({"member", "replace", "3"}).code, 2);
  EXPECT_EQ(run({"member", "add", "4"}).code, 2) << "without a place to reach it";
  EXPECT_EQ(run({"-o", "json", "member", "promote", "4"}).out, "{\"index\":\"9\"}\n");
}

TEST_F(CtlTest, ASwitchoverAsksThePrimarysLeaderAndPrintsThePause) {
  cluster_.answers["/v3/cluster/status"] = {200, kStatus};
  cluster_.answers["10.0.1.2:2379/v3/dr/switchover"] = {200, R"({"epoch":"2","region":"west","leader_id":"11","fork_index":"90","fork_revision":"70",
    "first_revision":"71","steps":[{"name":"seal","ms":3.5},{"name":"stream","ms":2}],"duration_ms":8.25,"paused_ms":8.25})"};
  const Ran done = run({"dr", "switchover", "--to", "west", "--reason", "why"});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_NE(done.out.find("writes paused"), std::string::npos) << done.out;
  EXPECT_EQ(cluster_.asked.back(), R"(10.0.1.2:2379/v3/dr/switchover {"region":"west","reason":"why"})");
  cluster_.answers["10.0.1.2:2379/v3/dr/switchover"] = {400, R"({"error":"x","code":9,"message":"lag: region west is 3000 ms behind"})"};
  const Ran refused = run({"dr", "switchover"});
  EXPECT_EQ(refused.code, 3);
  EXPECT_NE(refused.err.find("lag: "), std::string::npos) << refused.err;
  // Begun, and not known how it ends.
  cluster_.answers["10.0.1.2:2379/v3/dr/switchover"] = {409, R"({"error":"x","code":10,"message":"leeward: taken back after 5000 ms"})"};
  EXPECT_EQ(run({"dr", "switchover"}).code, 1);
  cluster_.answers["10.0.1.2:2379/v3/dr/disarm"] = {200, R"({"epoch":"1","state":"serving","armed_region":"","next_command":"leewardctl dr arm","changed":true})"};
  EXPECT_EQ(run({"dr", "disarm", "--force"}).code, 0);
  EXPECT_EQ(cluster_.asked.back(), R"(10.0.1.2:2379/v3/dr/disarm {"force":true})");
}

TEST_F(CtlTest, ADiscardIsAskedOfTheRegionThatDivergedAndSaysWhatIsAccepted) {
  cluster_.answers["/v3/cluster/status"] = {200, kStatus};
  cluster_.answers["/v3/dr/status"] = {200, R"({"region":"east","role":"primary","state":"serving"})"};
  const Ran serves = run({"dr", "rejoin", "--discard", "--accept-data-loss"});
  EXPECT_EQ(serves.code, 3);
  EXPECT_TRUE(serves.err.starts_with("leewardctl: primary: region east serves")) << serves.err;
  cluster_.answers["/v3/dr/status"] = {200, R"({"region":"east","role":"standby","state":"following"})"};
  cluster_.answers["10.0.1.2:2379/v3/dr/rejoin"] = {400, R"({"error":"x","code":9,"message":"accept_data_loss: say it"})"};
  const Ran asked = run({"dr", "rejoin", "--discard"});
  EXPECT_EQ(asked.code, 3);
  EXPECT_EQ(asked.err, "leewardctl: accept_data_loss: say it\n");
  EXPECT_EQ(cluster_.asked.back(), R"(10.0.1.2:2379/v3/dr/rejoin {"discard":true,"accept_data_loss":false})");
  cluster_.answers["10.0.1.2:2379/v3/dr/rejoin"] = {200, R"({"epoch":"1","state":"following","changed":true,"position_index":"50"})"};
  EXPECT_EQ(run({"dr", "rejoin", "--discard", "--accept-data-loss"}).code, 0);
  EXPECT_EQ(cluster_.asked.back(), R"(10.0.1.2:2379/v3/dr/rejoin {"discard":true,"accept_data_loss":true})");
}

TEST_F(CtlTest, ARegionThatServesHasNoPlan) {
  cluster_.answers["/v3/cluster/status"] = {200, kStatus};
  cluster_.answers["/v3/dr/status"] = {200, R"({"region":"east","role":"primary","state":"serving"})"};
  cluster_.answers["/v3/dr/plan"] = {200, R"({"allowed":false,"digest":"d1","refusals":[{"rule":"serving","detail":"this group is primary"},{"rule":"not_armed"}]})"};
  const Ran ran = run({"dr", "plan", "--region", "east"});
  EXPECT_EQ(ran.code, 3);
  EXPECT_EQ(ran.err, "leewardctl: serving: this group is primary; a planned change of roles is leewardctl dr switchover\n");
  EXPECT_EQ(run({"-o", "json", "dr", "plan", "--region", "east"}).code, 0);
}

TEST_F(CtlTest, APromotionOfARegionThatNobodyKnowsIsAskedOfNobody) {
  cluster_.answers["/v3/cluster/status"] = {200, kStatus};
  cluster_.answers["/v3/dr/status"] = {200, R"({"region":"east","role":"primary","state":"serving"})"};
  const Ran ran = run({"dr", "promote", "--digest", "d1", "--accept-data-loss", "--region", "wset"});
  EXPECT_EQ(ran.err, "leewardctl: no member is of region wset\n");
  for (const auto& each : cluster_.asked) EXPECT_EQ(each.find("/v3/dr/promote"), std::string::npos) << each;
}

TEST_F(CtlTest, APlanOfMembersThatNobodyKnowsNamesThem) {
  cluster_.answers["/v3/cluster/status"] = {200, kStatus};
  for (const char* given : {"99", "0", "4294967296", "2,99"}) {
    const Ran ran = run({"dr", "plan", "--members", given});
    EXPECT_EQ(ran.code, 1);
    const std::string unknown = std::string(given).starts_with("2,") ? "99" : given;
    EXPECT_EQ(ran.err, "leewardctl: no member has the id " + unknown + "; leewardctl cluster status lists all of them\n");
  }
  EXPECT_EQ(cluster_.asked.back().find("/v3/dr/plan"), std::string::npos) << "nobody is asked";
  cluster_.answers["10.0.1.2:2379/v3/dr/plan"] = {200, R"({"allowed":false,"digest":"d1"})"};
  EXPECT_EQ(run({"dr", "plan", "--members", "2"}).code, 0);
}

// Its word is of nobody but itself: an operator would be told to name survivors while the group is well.
TEST_F(CtlTest, APlanGoesByAMemberThatTakesPartThoughOneThatWasRemovedIsNamedFirst) {
  cluster_.answers["/v3/cluster/status"] = {200, kStatus};
  cluster_.answers["10.0.1.9:2379/v3/cluster/status"] = {200, R"({"node_id":"9","state":"removed","members":[
    {"id":"9","region":"east","role":"primary","state":"removed","client_url":"http://10.0.1.9:2379"}]})"};
  cluster_.answers["/v3/dr/status"] = {200, R"({"region":"east","role":"primary","state":"serving"})"};
  cluster_.answers["10.0.1.9:2379/v3/dr/status"] = {200, R"({"region":"east","role":"standby","state":"removed"})"};
  cluster_.answers["10.0.1.9:2379/v3/dr/plan"] = {503, R"({"error":"x","code":14,"message":"no_quorum: region east has no leader"})"};
  cluster_.answers["/v3/dr/plan"] = {200, R"({"allowed":true,"digest":"d1"})"};
  const Ran ran = run({"--endpoints", "10.0.1.9:2379,10.0.1.1:2379", "dr", "plan", "--region", "east"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(cluster_.asked.back(), R"(10.0.1.2:2379/v3/dr/plan {"members":[]})") << "who leads, as the second one says";
}

TEST_F(CtlTest, ARefusedChangeNamesItsRuleAndExitsWithThree) {
  cluster_.answers["/v3/member/change"] = {400, R"({"error":"x","code":9,"message":"quorum: only 1 of the 2 voters that remain answer; override by --force"})"};
  const Ran ran = run({"member", "remove", "3"});
  EXPECT_EQ(ran.code, 3);
  EXPECT_EQ(ran.err, "leewardctl: quorum: only 1 of the 2 voters that remain answer; override by --force\n");
}

TEST_F(CtlTest, WaitSyncEndsWhenTheMemberIsInSyncAndElseSaysHowFarItIs) {
  cluster_.answers["/v3/member/sync"] = {200, R"({"id":"4","in_sync":true,"behind_entries":"2"})"};
  EXPECT_EQ(run({"member", "wait-sync", "4"}).out, "member 4 is in sync, 2 entries behind its leader\n");
  cluster_.answers["/v3/member/sync"] = {200, R"({"id":"4","detail":"member 4 is 5000 entries behind the leader's commit"})"};
  const Ran late = run({"member", "wait-sync", "4", "--timeout", "10ms"});
  EXPECT_EQ(late.code, 1);
  EXPECT_EQ(late.out, "member 4 is 5000 entries behind the leader's commit\n");
  EXPECT_NE(late.err.find("is not in sync in time"), std::string::npos) << late.err;
  cluster_.answers["/v3/member/sync"] = {404, R"({"error":"x","code":5,"message":"member 9 is not one of this group"})"};
  EXPECT_EQ(run({"member", "wait-sync", "9"}).code, 1);
}

TEST_F(CtlTest, MoveLeaderFindsTheLeaderThoughItIsNotAmongTheEndpoints) {
  cluster_.answers["/v3/cluster/status"] = {200, kStatus};
  cluster_.answers["/v3/maintenance/transfer-leadership"] = {400, R"({"error":"etcdserver: not leader","code":9,"message":"etcdserver: not leader"})"};
  cluster_.answers["10.0.1.2:2379/v3/maintenance/transfer-leadership"] = {200, "{}"};
  const Ran ran = run({"--endpoints", "10.0.1.1:2379,10.0.1.3:2379", "member", "move-leader", "1"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "leadership moved to member 1\n");
  EXPECT_EQ(cluster_.asked.back(), "10.0.1.2:2379/v3/maintenance/transfer-leadership {\"targetID\":\"1\"}");
}

TEST_F(CtlTest, MoveLeaderThatDoesNotReachTheLeaderNamesItAndWhatToAdd) {
  cluster_.answers["/v3/cluster/status"] = {200, kStatus};
  cluster_.answers["10.0.1.1:2379/v3/maintenance/transfer-leadership"] = {400, R"({"error":"etcdserver: not leader","code":9,"message":"etcdserver: not leader"})"};
  const Ran ran = run({"--endpoints", "10.0.1.1:2379", "member", "move-leader", "1"});
  EXPECT_NE(ran.code, 0);
  EXPECT_NE(ran.err.find("10.0.1.2:2379"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("--cert"), std::string::npos) << ran.err;
  EXPECT_EQ(ran.err.find("changed meanwhile"), std::string::npos) << ran.err;
}

TEST_F(CtlTest, EndpointsAreTriedInTurn) {
  cluster_.answers["a:1/v3/cluster/status"] = {404, "not found"};  // another server's
  cluster_.answers["b:2/v3/cluster/status"] = {503, R"({"error":"etcdserver: no leader","code":14,"message":"etcdserver: no leader"})"};
  cluster_.answers["c:3/v3/cluster/status"] = {200, kStatus};
  const Ran ran = run({"--endpoints=a:1,b:2,c:3", "cluster", "status"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(cluster_.asked.size(), 3u);
}

TEST_F(CtlTest, NobodyReachedIsExit4AndSaysWhatToDo) {
  const Ran ran = run({"--endpoints=a:1,b:2", "cluster", "status"});
  EXPECT_EQ(ran.code, 4);
  EXPECT_EQ(ran.err, "leewardctl: no endpoint was reached (a:1: Connection refused; b:2: Connection refused); "
                     "check that nodes run and --endpoints names them\n");
  EXPECT_TRUE(ran.out.empty());
}

TEST_F(CtlTest, ErrorsOfTheServerBecomeExitCodes) {
  const auto with = [&](int http, const char* code, const char* text) {
    cluster_.answers["/v3/member/admit"] = {http, std::string("{\"error\":\"x\",\"code\":") + code + ",\"message\":\"" + text + "\"}"};
    return run({"member", "admit", "3"});
  };
  EXPECT_EQ(with(403, "7", "leeward: this call needs an operator").code, 3);
  EXPECT_EQ(with(403, "7", "leeward: this call needs an operator").err, "leewardctl: this call needs an operator\n");
  EXPECT_EQ(with(400, "9", "precondition").code, 3);
  EXPECT_EQ(with(404, "5", "leeward: no member has the id 3").code, 1);
  EXPECT_EQ(with(503, "14", "no leader").code, 1);
  EXPECT_EQ(with(400, "3", "bad").code, 2);
  EXPECT_EQ(with(501, "12", "not built").code, 1);
}

TEST_F(CtlTest, WhatIsNoCommandIsSaid) {
  const Ran ran = run({"dr", "restore"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_TRUE(ran.err.starts_with("leewardctl: \"restore\" is not a command")) << ran.err;
  EXPECT_EQ(ran.err.find("did you mean"), std::string::npos) << "nothing is near it: " << ran.err;
}

TEST_F(CtlTest, WhatWasProbablyMeantIsNamed) {
  const auto meant = [&](const std::vector<std::string>& typed, const char* what) {
    const Ran ran = run(typed);
    EXPECT_EQ(ran.code, 2);
    EXPECT_NE(ran.err.find(std::string("(did you mean ") + what + "?)"), std::string::npos) << ran.err;
  };
  meant({"dr", "promot"}, "promote");
  meant({"dr", "plna"}, "plan");
  meant({"clutser", "status"}, "cluster");
  meant({"dr", "plan", "--regoin", "west"}, "--region");
  meant({"dr", "plan", "--endpoint", "127.0.0.1:1"}, "--endpoints");
}

TEST_F(CtlTest, AReclaimNamesTheRulesFirstAndIsThenAForcedPromotionOfItsOwnRegion) {
  cluster_.answers["/v3/cluster/status"] = {200, kStatus};
  cluster_.answers["/v3/dr/status"] = {200, R"({"region":"east","role":"primary","state":"serving"})"};
  const Ran serves = run({"dr", "reclaim", "--force", "sealed"});
  EXPECT_EQ(serves.code, 3);
  EXPECT_TRUE(serves.err.starts_with("leewardctl: not_sealed: region east is serving")) << serves.err;
  cluster_.answers["/v3/dr/status"] = {200, R"({"region":"east","role":"primary","state":"sealed"})"};
  cluster_.answers["/v3/dr/plan"] = {200, R"({"allowed":false,"digest":"d1","refusals":[{"rule":"sealed"},{"rule":"not_armed"}]})"};
  const Ran asked = run({"dr", "reclaim"});
  EXPECT_EQ(asked.code, 3);
  EXPECT_NE(asked.err.find("leewardctl dr reclaim --force sealed,not_armed"), std::string::npos) << asked.err;
  for (const auto& each : cluster_.asked) EXPECT_EQ(each.find("/v3/dr/promote"), std::string::npos) << "nothing was begun";
  cluster_.answers["/v3/dr/promote"] = {200, R"({"epoch":"7","region":"east","leader_id":"2"})"};
  const Ran done = run({"-o", "json", "dr", "reclaim", "--force", "sealed,not_armed", "--reason", "west burns"});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(done.out, "{\"epoch\":\"7\",\"state\":\"serving\",\"next_command\":\"leewardctl dr status --history\"}\n");
  EXPECT_NE(cluster_.asked.back().find(R"("digest":"d1","accept_data_loss":true,"reason":"west burns","force":["sealed","not_armed"])"), std::string::npos)
      << cluster_.asked.back();
}

TEST_F(CtlTest, AnAnswerOfSomethingElseIsNamed) {
  cluster_.answers["/v3/cluster/status"] = {404, "<html>nginx</html>"};
  EXPECT_EQ(run({"cluster", "status"}).err, "leewardctl: 127.0.0.1:2379 answered HTTP 404; is it the client port of a Leeward node?\n");
  cluster_.answers["/v3/cluster/status"] = {404, "404 page not found\n"};
  EXPECT_EQ(run({"cluster", "status"}).err, "leewardctl: 127.0.0.1:2379 answered HTTP 404: 404 page not found; is it the client port of a Leeward node?\n");
  for (const std::string& unfit : {std::string("\x1b[2J"), std::string(1000, 'x'), std::string("\0", 1)}) {
    cluster_.answers["/v3/cluster/status"] = {404, unfit};
    EXPECT_EQ(run({"cluster", "status"}).err, "leewardctl: 127.0.0.1:2379 answered HTTP 404; is it the client port of a Leeward node?\n");
  }
  // As a gateway says it of a call that it does not have: etcd's own, or that of an older node.
  cluster_.answers["/v3/cluster/status"] = {404, R"({"error":"Not Found","message":"Not Found","code":5})"};
  EXPECT_EQ(run({"cluster", "status"}).err, "leewardctl: 127.0.0.1:2379 does not know this call; is it a Leeward node, and of this version?\n");
  cluster_.answers["/v3/cluster/status"] = {200, "hello"};
  EXPECT_EQ(run({"cluster", "status"}).code, 1);
}

// The body is what a node's TLS port tells a client that speaks none.
TEST_F(CtlTest, PlainToATlsPortIsToldInTheServersWords) {
  cluster_.answers["/v3/cluster/status"] = {400, "this port speaks TLS: use an https:// address\n"};
  const Ran ran = run({"cluster", "status"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "leewardctl: 127.0.0.1:2379 answered HTTP 400: this port speaks TLS: use an https:// address\n");
}

const char* const kTwoRegions = R"({"members":[
  {"id":"1","role":"primary","state":"leader","client_url":"http://10.0.1.1:2379"},
  {"id":"11","role":"standby","state":"leader","client_url":"http://10.0.2.1:2379"},
  {"id":"12","role":"standby","state":"follower","client_url":"http://10.0.2.2:2379"}]})";

TEST_F(CtlTest, ADrillIsAskedOfAStandbyThatLeadsNothingAndSaysWhatFailed) {
  cluster_.answers["/v3/cluster/status"] = {200, kTwoRegions};
  const std::string passed = R"({"passed":true,"rto_ms":345.6,"standby_lag_during_ms":80,"node_id":"12","region":"west","duration_ms":2000,
    "checks":[{"name":"fork","ok":true,"ms":12,"detail":"d"},{"name":"hash","ok":true,"ms":1,"detail":"equal"}]})";
  cluster_.answers["10.0.2.2:2379/v3/dr/drill"] = {200, passed};
  Ran ran = run({"dr", "drill"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  for (const char* text : {"passed", "346 ms", "80 ms", "west", "leewardctl dr plan", "hash", "equal"})
    EXPECT_NE(ran.out.find(text), std::string::npos) << text << "\n" << ran.out;
  EXPECT_EQ(run({"-o", "json", "dr", "drill"}).out, passed + "\n");

  // Nobody at that one: its leader then. A failed drill is exit 1, and the check is named.
  cluster_.answers.erase("10.0.2.2:2379/v3/dr/drill");
  cluster_.answers["10.0.2.1:2379/v3/dr/drill"] = {200, R"({"passed":false,"checks":[{"name":"fork","ok":true,"ms":1,"detail":""},
    {"name":"log","ok":false,"ms":3,"detail":"log-1.seg at offset 512"}]})"};
  ran = run({"dr", "drill"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "leewardctl: the drill failed at its check 'log': log-1.seg at offset 512\n");
  EXPECT_NE(ran.out.find("failed"), std::string::npos) << ran.out;

  // A rule that refuses is exit 3; the one that is named is asked and no other.
  cluster_.answers["10.0.1.1:2379/v3/dr/drill"] = {400, R"({"code":9,"message":"role: this member's group is primary"})"};
  ran = run({"dr", "drill", "--id", "1"});
  EXPECT_EQ(ran.code, 3);
  EXPECT_EQ(ran.err, "leewardctl: role: this member's group is primary\n");
  EXPECT_EQ(run({"dr", "drill", "--id", "9"}).code, 1);
  EXPECT_EQ(run({"dr", "drill", "--timeout", "5"}).code, 2);
}

TEST_F(CtlTest, UsageErrorsAreExit2InOneLine) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {}, {"nonsense"}, {"cluster"}, {"cluster", "nonsense"}, {"member", "admit"}, {"member", "admit", "x"}, {"member", "admit", "0"},
           {"member", "admit", "4294967296"}, {"-o", "yaml", "cluster", "status"}, {"--timeout", "5", "cluster", "status"},
           {"--endpoints", "nonsense", "cluster", "status"}, {"--cert", "c", "cluster", "status"}, {"storage", "verify"}, {"--nonsense"}}) {
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, 2) << (arguments.empty() ? "" : arguments[0]) << ran.err;
    EXPECT_EQ(ran.err.substr(0, 12), "leewardctl: ");
    EXPECT_TRUE(cluster_.asked.empty());
  }
}

TEST_F(CtlTest, HelpNamesEveryCommandAndNoneThatIsNotBuilt) {
  const Ran ran = run({"--help"});
  EXPECT_EQ(ran.code, 0);
  for (const char* word : {"cluster", "member", "replica", "standby", "storage", "--endpoints", "--cacert"})
    EXPECT_NE(ran.out.find(word), std::string::npos) << word;
  for (const char* word : {"backup", "ledger"}) EXPECT_EQ(ran.out.find(word), std::string::npos) << word;
  EXPECT_EQ(run({"cluster", "--help"}).code, 0);
}

// Serves `answer` to one connection after another, as bytes.
class RawServer {
 public:
  RawServer(std::string answer, const std::string& unix_path = "") : answer_(std::move(answer)) {
    if (unix_path.empty()) {
      fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
      socklen_t size = sizeof address;
      EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
      endpoint = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    } else {
      fd_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      std::strncpy(address.sun_path, unix_path.c_str(), sizeof address.sun_path - 1);
      EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
      endpoint = "unix://" + unix_path;
    }
    EXPECT_EQ(::listen(fd_, 5), 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~RawServer() {
    stop_ = true;
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  std::string endpoint;
  std::string request;

 private:
  void serve() {
    while (!stop_) {
      const int client = ::accept(fd_, nullptr, nullptr);
      if (client < 0) return;
      char buffer[4096];
      std::string got;
      while (got.find("\r\n\r\n{") == std::string::npos) {
        const ssize_t n = ::recv(client, buffer, sizeof buffer, 0);
        if (n <= 0) break;
        got.append(buffer, static_cast<std::size_t>(n));
        if (got[0] == 0x16) break;  // a TLS record on a plain port
      }
      request = got;
      if (answer_ == "hang") {
        while (!stop_ && ::recv(client, buffer, sizeof buffer, 0) > 0) {}
      } else {
        for (const char c : answer_) (void)!::send(client, &c, 1, MSG_NOSIGNAL);  // in as many pieces as there are
      }
      ::close(client);
    }
  }

  std::string answer_;
  int fd_ = -1;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

TEST_F(CtlTest, AnswersOfEveryFramingAreReadOverTheWire) {
  const std::string body = kStandbys;
  char chunk[32];
  std::snprintf(chunk, sizeof chunk, "%zx", body.size() - 10);
  for (const std::string& answer :
       {"HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n" + body.substr(0, 10) + "\r\n" + chunk + "\r\n" + body.substr(10) + "\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n" + body}) {
    RawServer server(answer);
    const Ran ran = run({"--endpoints", server.endpoint, "-o", "json", "standby", "status"}, nullptr);
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(ran.out, body + "\n");
    EXPECT_EQ(server.request.substr(0, 34), "POST /v3/standby/status HTTP/1.1\r\n");
  }
}

TEST_F(CtlTest, AUnixSocketIsAnEndpointToo) {
  char pattern[] = "/tmp/leeward-ctl-XXXXXX";
  const std::string directory = mkdtemp(pattern);
  {
    RawServer server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", directory + "/admin.sock");
    EXPECT_EQ(run({"--endpoints", server.endpoint, "cluster", "status"}, nullptr).code, 0);
  }
  EXPECT_EQ(std::system(("rm -r " + directory).c_str()), 0);
}

TEST_F(CtlTest, BrokenAnswersAndClosedPortsAreUnreachableNeverAHang) {
  for (const char* answer : {"", "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    RawServer server(answer);
    EXPECT_EQ(run({"--endpoints", server.endpoint, "cluster", "status"}, nullptr).code, 4) << answer;
  }
  const Ran refused = run({"--endpoints", "127.0.0.1:1", "cluster", "status"}, nullptr);
  EXPECT_EQ(refused.code, 4);
  EXPECT_NE(refused.err.find("Connection refused"), std::string::npos);
}

TEST_F(CtlTest, ASilentNodeIsGivenUpAfterTheTimeout) {
  RawServer server("hang");
  const Ran ran = run({"--endpoints", server.endpoint, "--timeout", "100ms", "cluster", "status"}, nullptr);
  EXPECT_EQ(ran.code, 4);
  EXPECT_NE(ran.err.find("timed out"), std::string::npos) << ran.err;
}

TEST_F(CtlTest, TlsToAPlainPortIsSaidSo) {
  // Of any HTTP server; of a node (an alert, as server/net sends it); of one that hangs up.
  const std::pair<std::string, const char*> answers[] = {
      {"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "does not speak TLS"},
      {std::string("\x15\x03\x01\x00\x02\x02\x46", 7), "the other side speaks no TLS, or no version of it that is spoken here (tlsv1 alert protocol version)"},
      {"", "cut during the TLS handshake"},
  };
  for (const auto& [answer, cause] : answers) {
    RawServer server(answer);
    const Ran ran = run({"--endpoints", "https://" + server.endpoint, "--timeout", "60s", "cluster", "status"}, nullptr);
    EXPECT_EQ(ran.code, 4);
    EXPECT_NE(ran.err.find(cause), std::string::npos) << ran.err;
    EXPECT_NE(ran.err.find("the port may speak no TLS: then use http://" + server.endpoint), std::string::npos) << ran.err;
  }
}

TEST_F(CtlTest, ACertificateFileThatIsMissingIsAUsageError) {
  RawServer server("");
  const Ran ran = run({"--endpoints", server.endpoint, "--cacert", "/nonexistent/ca.pem", "cluster", "status"}, nullptr);
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("/nonexistent/ca.pem"), std::string::npos) << ran.err;
}

}  // namespace
}  // namespace leeward::ctl
