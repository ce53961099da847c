// From the ledger's records to a trace that reads back.
#include "traffic/recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "base/text.h"
#include "sim/workload/open_trace.h"
#include "support.h"

namespace stoker::traffic {
namespace {

using ledger::Sequence;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t noon = 1'764'331'200'000'000'000;

ledger::Admission admission(std::uint64_t id, Duration after_noon = {}) {
  ledger::Admission made;
  made.request = RequestId{std::uint64_t{1} << 40U | id};
  made.accepted_at = WallTime{noon + after_noon.ns};
  made.deployment = "chat";
  made.tenant = "team-a";
  made.route = "completions";
  made.stream = true;
  made.priority = 3;
  return made;
}

ledger::Usage usage(std::uint64_t id) {
  ledger::Usage made;
  made.request = RequestId{std::uint64_t{1} << 40U | id};
  made.outcome = ledger::Outcome::completed;
  made.start = ledger::StartKind::cold;
  made.instance = "chat/1";
  made.phases = {ms(1), ms(2), ms(30), ms(400), ms(5), ms(60), ms(700)};
  made.input_tokens = 12;
  made.output_tokens = 34;
  made.usage_known = true;
  return made;
}

struct Rig {
  TempDir folder;
  Disk disk;
  RecorderOptions options{.files = {folder / "traffic", mib(1), mib(8)}};
  sim::TraceWorld world{
      .devices = {{.name = "cpu0", .memory = gib(4)}},
      .deployments = {{.name = "chat", .memory = mib(64), .weights = {}, .concurrency = 2}}};
  std::vector<std::string> troubles;
  std::uint64_t lost = 0;
  std::unique_ptr<Recorder> recorder;

  void start(std::uint64_t journal_end = 0) {
    recorder.reset();
    recorder = std::make_unique<Recorder>(
        options, world, Sequence{journal_end},
        Recorder::Events{[this](const Error& error) { troubles.push_back(error.message); },
                         [this](std::uint64_t count) { lost += count; }},
        disk);
  }
  void admitted(std::uint64_t id, std::uint64_t record, Duration after_noon = {}) {
    recorder->admitted(Sequence{record}, admission(id, after_noon));
  }
  void ended(std::uint64_t id, bool stored_before = false) {
    recorder->ended(admission(id), usage(id), stored_before);
  }
  /// What is on the disk, after a pause of the ledger.
  std::vector<sim::TraceRequest> recorded() {
    recorder->batch_ended();
    return on_disk();
  }
  std::vector<sim::TraceRequest> on_disk() const {
    std::vector<sim::TraceRequest> requests;
    if (names_in(folder / "traffic").empty()) return requests;
    const auto source = sim::open_trace((folder / "traffic").string());
    EXPECT_TRUE(source) << source.error().message;
    sim::TraceRequest request;
    while (source && (*source)->next(request).value()) requests.push_back(request);
    return requests;
  }
  std::vector<std::uint64_t> ids() const {
    std::vector<std::uint64_t> numbers;
    for (const sim::TraceRequest& each : on_disk()) {
      numbers.push_back(parse_request_id(each.id)->value & 0xffU);
    }
    return numbers;
  }
};

TEST(Recorder, WritesWhatTheServerKnows) {
  Rig rig;
  rig.start();
  rig.admitted(1, 10);
  rig.ended(1);
  const std::vector<sim::TraceRequest> requests = rig.recorded();
  ASSERT_EQ(requests.size(), 1U);
  sim::TraceRequest want;
  want.id = public_id(admission(1).request);
  want.route = sim::TraceRoute::completions;
  want.stream = true;
  want.priority = 3;
  want.input_tokens = 12;
  want.output_tokens = 34;
  want.service = ms(760);
  want.outcome = sim::TraceOutcome::completed;
  want.receipt = sim::TraceReceipt{
      sim::TraceStart::cold, "chat/1", ms(1), ms(2), ms(30), ms(400), ms(5), ms(60)};
  EXPECT_EQ(requests.front(), want);
  const auto source = sim::open_trace((rig.folder / "traffic").string());
  const sim::TraceWorld& world = (*source)->world();
  EXPECT_EQ(world.started_at, WallTime{noon});
  EXPECT_EQ(world.tenants, std::vector<std::string>{"team-a"});
  EXPECT_EQ(world.devices, rig.world.devices);
  EXPECT_EQ(world.deployments.at(0).concurrency, 2);
}

TEST(Recorder, HoldsNoSecret) {
  Rig rig;
  rig.start();
  rig.admitted(1, 10);
  rig.ended(1);
  rig.recorder->batch_ended();
  EXPECT_EQ(content(rig.folder / "traffic/traffic-0000000001.jsonl"),
            "{\"stoker_trace\":1,\"started_at_ms\":1764331200000,\"devices\":[{\"name\":\"cpu0\","
            "\"kind\":\"cpu\",\"memory_bytes\":4294967296,\"slots\":0,\"price_per_hour\":\"0\"}],"
            "\"deployments\":{\"chat\":{\"memory_bytes\":67108864,\"weights_bytes\":0,"
            "\"start_ms\":30,\"load_ms\":405,\"concurrency\":2,\"prefill_tokens_per_s\":"
            "1000000000000,\"decode_tokens_per_s\":1000000000000,\"request_ms\":760}}}\n"
            "{\"at_ms\":0,\"id\":\"req-0000010000000001\",\"deployment\":\"chat\",\"tenant\":"
            "\"team-a\",\"route\":\"completions\",\"stream\":true,\"priority\":3,\"input_tokens\":"
            "12,\"output_tokens\":34,\"service_ms\":760,\"outcome\":\"completed\",\"start\":"
            "\"cold\",\"instance\":\"chat/1\",\"queue_ms\":1,\"allocate_ms\":2,\"start_ms\":30,"
            "\"load_ms\":400,\"warmup_ms\":5,\"ttft_ms\":60,\"sequence\":10}\n");
}

TEST(Recorder, StandsInTheOrderOfArrival) {
  Rig rig;
  rig.start();
  rig.admitted(1, 10);
  rig.admitted(2, 11, ms(5));
  rig.admitted(3, 12, ms(3));  // two threads: its time was taken first
  rig.ended(3);
  rig.ended(2);
  EXPECT_THAT(rig.recorded(), IsEmpty());
  rig.ended(1);
  const std::vector<sim::TraceRequest> requests = rig.recorded();
  EXPECT_THAT(rig.ids(), ElementsAre(1, 2, 3));
  EXPECT_EQ(requests.at(1).at, ms(5));
  EXPECT_EQ(requests.at(2).at, ms(5));
}

TEST(Recorder, DoesNotHoldBackWithoutEnd) {
  Rig rig;
  rig.options.most_held = 2;
  rig.start();
  rig.admitted(1, 10);
  rig.admitted(2, 11);
  rig.admitted(3, 12);
  rig.ended(2);
  const std::vector<sim::TraceRequest> requests = rig.recorded();
  ASSERT_EQ(requests.size(), 2U);  // the first as far as it is known
  EXPECT_EQ(requests[0].outcome, sim::TraceOutcome::unknown);
  EXPECT_EQ(requests[0].receipt, std::nullopt);
  rig.ended(1);
  rig.ended(3);
  rig.recorder->batch_ended();
  EXPECT_THAT(rig.ids(), ElementsAre(1, 2, 3));
}

TEST(Recorder, OfARequestThatNeverRanOrWasCutShort) {
  Rig rig;
  rig.start();
  rig.admitted(1, 10);
  ledger::Usage refused = usage(1);
  refused.outcome = ledger::Outcome::expired;
  refused.start = ledger::StartKind::none;
  refused.instance.clear();
  refused.phases = {seconds(9)};
  refused.usage_known = false;
  rig.recorder->ended(admission(1), refused, false);
  rig.admitted(2, 12);
  ledger::Usage cancelled = usage(2);
  cancelled.outcome = ledger::Outcome::cancelled;
  rig.recorder->ended(admission(2), cancelled, false);
  const std::vector<sim::TraceRequest> requests = rig.recorded();
  ASSERT_EQ(requests.size(), 2U);
  EXPECT_EQ(requests[0].outcome, sim::TraceOutcome::expired);
  EXPECT_EQ(requests[0].service, std::nullopt);
  EXPECT_EQ(requests[0].input_tokens, 256);  // not known, so the default
  EXPECT_EQ(requests[0].receipt->wait(), seconds(9));
  EXPECT_EQ(requests[1].gone_after, ms(1198));
}

TEST(Recorder, WhatIsToldTwiceIsWrittenOnce) {
  Rig rig;
  rig.start();
  for (int told = 0; told < 3; ++told) {
    rig.admitted(1, 10);
    rig.admitted(2, 11);
    rig.ended(2, told > 0);
    rig.recorder->batch_ended();
  }
  rig.ended(1);
  rig.admitted(1, 10);
  rig.admitted(2, 11);
  rig.ended(2, true);
  rig.ended(1, true);
  rig.recorder->batch_ended();
  EXPECT_THAT(rig.ids(), ElementsAre(1, 2));
}

TEST(Recorder, FromBeforeTheFirstRecordingNothingIsWritten) {
  Rig rig;
  rig.start(30);
  rig.admitted(1, 10);
  rig.admitted(2, 11);
  rig.ended(1, true);
  rig.ended(2);  // it ran until now
  rig.recorder->batch_ended();
  EXPECT_THAT(rig.ids(), ElementsAre(2));
}

TEST(Recorder, AfterACrashItGoesOnWhereTheFilesEnd) {
  Rig rig;
  rig.start();
  rig.admitted(1, 10);
  rig.admitted(2, 11);
  rig.admitted(3, 12);
  rig.ended(1);
  rig.ended(3);  // held back for 2
  rig.recorder->batch_ended();
  EXPECT_THAT(rig.ids(), ElementsAre(1));
  const std::filesystem::path file = rig.folder / "traffic/traffic-0000000001.jsonl";
  std::ofstream(file, std::ios::app) << "{\"at_ms\":5,\"id\":\"req-00";  // kill -9 in a write

  rig.start(20);
  rig.admitted(1, 10);
  rig.ended(1, true);
  rig.admitted(2, 11);
  rig.admitted(3, 12);
  rig.ended(3, true);
  rig.ended(2);  // the start ended it as interrupted
  rig.recorder->batch_ended();
  EXPECT_THAT(rig.ids(), ElementsAre(1, 2, 3));
  EXPECT_EQ(names_in(rig.folder / "traffic").size(), 2U);

  // The journal was moved away: what the files say of it means nothing.
  rig.start(5);
  rig.admitted(7, 3);
  rig.ended(7);
  rig.recorder->batch_ended();
  EXPECT_THAT(rig.ids(), ElementsAre(1, 2, 3, 7));
}

TEST(Recorder, RotatesAndStaysWithinItsBound) {
  Rig rig;
  rig.options.files.file_size = kib(4);
  rig.options.files.total_size = kib(16);
  rig.start();
  for (std::uint64_t i = 1; i <= 200; ++i) {
    rig.admitted(i, i, ms(static_cast<std::int64_t>(i)));
    rig.ended(i);
    if (i % 7 == 0) rig.recorder->batch_ended();
    std::uintmax_t all = 0;
    for (const std::string& name : names_in(rig.folder / "traffic")) {
      all += std::filesystem::file_size(rig.folder / ("traffic/" + name));
    }
    EXPECT_LE(all, 16U << 10U);
  }
  const std::vector<sim::TraceRequest> requests = rig.recorded();
  EXPECT_GT(requests.size(), 20U);
  EXPECT_EQ(rig.ids().back(), 200U);
  for (std::size_t i = 1; i < requests.size(); ++i) {
    EXPECT_EQ(requests[i].at - requests[i - 1].at, ms(1));  // over the files too
  }
}

TEST(Recorder, AFullDiskLosesLinesAndNothingElse) {
  Rig rig;
  rig.start();
  rig.admitted(1, 1);
  rig.ended(1);
  rig.recorder->batch_ended();
  rig.disk.full = true;
  rig.disk.rest = 40;
  for (std::uint64_t i = 2; i <= 9; ++i) {
    rig.admitted(i, i);
    rig.ended(i);
    rig.recorder->batch_ended();
  }
  ASSERT_EQ(rig.troubles.size(), 1U);  // told once
  EXPECT_THAT(rig.troubles.front(), HasSubstr("No space left"));
  EXPECT_EQ(rig.lost, 0U);
  rig.disk.full = false;
  rig.admitted(10, 10);
  rig.ended(10);
  rig.recorder->batch_ended();
  EXPECT_EQ(rig.lost, 8U);
  EXPECT_THAT(rig.ids(), ElementsAre(1, 10));
}

TEST(Recorder, TheNextLifeKnowsWhatThisOneMeasured) {
  Rig rig;
  rig.start();
  rig.admitted(1, 1);
  rig.ended(1);
  rig.start(1);
  rig.admitted(2, 2);
  ledger::Usage warm = usage(2);
  warm.start = ledger::StartKind::warm;
  rig.recorder->ended(admission(2), warm, false);
  rig.recorder->batch_ended();
  const auto newest = sim::open_trace((rig.folder / "traffic/traffic-0000000002.jsonl").string());
  EXPECT_EQ((*newest)->world().deployments.at(0).start, ms(30));
  EXPECT_EQ((*newest)->world().deployments.at(0).load, ms(405));
}

}  // namespace
}  // namespace stoker::traffic
