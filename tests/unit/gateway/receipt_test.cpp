#include "gateway/receipt.h"

#include <gtest/gtest.h>

#include "base/prng.h"

namespace stoker::gateway {
namespace {

Instant at(std::int64_t milliseconds) {
  return Instant{milliseconds * 1'000'000};
}

TEST(Receipt, TilesTheTimeOfARequest) {
  struct Case {
    const char* what;
    Timeline t;  // accepted, dispatched, first_byte, ended, {wanted, placed, up, loaded, ready}
    std::int64_t queue, allocate, start, load, warmup, ttft, generate;
  };
  const Instant no{};
  for (const Case& c : {
           Case{"warm",
                {at(100), at(101), at(110), at(150), {at(1), at(2), at(3), at(4), at(5)}},
                1,
                0,
                0,
                0,
                0,
                9,
                40},
           Case{"cold",
                {at(100), at(900), at(910), at(950), {at(101), at(103), at(203), at(603), at(803)}},
                1 + 97,
                2,
                100,
                400,
                200,
                10,
                40},
           Case{"joined a start that was under way",
                {at(300), at(900), at(910), at(950), {at(101), at(103), at(203), at(603), at(803)}},
                97,
                0,
                0,
                303,
                200,
                10,
                40},
           Case{"joined during the warm-up",
                {at(700), at(803), at(910), at(950), {at(101), at(103), at(203), at(603), at(803)}},
                0,
                0,
                0,
                0,
                103,
                107,
                40},
           Case{"a standby worker was up already",
                {at(100), at(900), at(910), at(950), {at(101), no, no, at(603), at(803)}},
                1 + 97,
                502,
                0,
                0,
                200,
                10,
                40},
           Case{"never ran", {at(100), no, no, at(400), {}}, 300, 0, 0, 0, 0, 0, 0},
           Case{"cancelled before its first byte",
                {at(100), at(150), no, at(400), {at(1), at(2), at(3), at(4), at(5)}},
                50,
                0,
                0,
                0,
                0,
                250,
                0},
           Case{"clocks read out of order",
                {at(100), at(90), at(80), at(70), {at(500), at(400), at(300), at(200), at(100)}},
                0,
                0,
                0,
                0,
                0,
                0,
                0},
       }) {
    const ledger::Phases p = phases_of(c.t);
    EXPECT_EQ(whole_ms(p.queue), c.queue) << c.what;
    EXPECT_EQ(whole_ms(p.start), c.start) << c.what;
    EXPECT_EQ(whole_ms(p.load), c.load) << c.what;
    EXPECT_EQ(whole_ms(p.warmup), c.warmup) << c.what;
    EXPECT_EQ(whole_ms(p.ttft), c.ttft) << c.what;
    EXPECT_EQ(whole_ms(p.generate), c.generate) << c.what;
    EXPECT_EQ(whole_ms(p.allocate), c.allocate) << c.what;
  }
}

TEST(Receipt, SumsExactlyAndIsNeverNegativeWhateverTheTimeline) {
  Prng random(7);
  const auto instant = [&] { return Instant{static_cast<std::int64_t>(random.below(12)) * 333}; };
  for (int i = 0; i < 100'000; ++i) {
    const Timeline t{instant(),
                     instant(),
                     instant(),
                     instant(),
                     {instant(), instant(), instant(), instant(), instant()}};
    const ledger::Phases p = phases_of(t);
    for (const Duration d : {p.queue, p.allocate, p.start, p.load, p.warmup, p.ttft, p.generate}) {
      ASSERT_GE(d.ns, 0);
    }
    ASSERT_EQ(p.total(), std::max(t.accepted, t.ended) - t.accepted);
  }
}

TEST(Receipt, IsColdOnlyIfTheRequestWaitedForTheStart) {
  const StartTimeline start{at(1), at(2), at(3), at(4), at(50)};
  EXPECT_EQ(start_kind({at(10), at(60), {}, at(70), start}), ledger::StartKind::cold);
  EXPECT_EQ(start_kind({at(50), at(60), {}, at(70), start}), ledger::StartKind::warm);
  EXPECT_EQ(start_kind({at(10), {}, {}, at(70), {}}), ledger::StartKind::none);
}

std::string timing_text(const ledger::Phases& phases, bool whole) {
  std::string text;
  add_server_timing(text, phases, whole);
  return text;
}

TEST(Receipt, PrintsIntervalsThatAddUp) {
  ledger::Phases p;
  p.queue = Duration{1'499};
  p.ttft = Duration{1'499};
  p.generate = Duration{2'000'002};
  EXPECT_EQ(timing_text(p, true),
            "queue;dur=0.001, allocate;dur=0.000, start;dur=0.000, load;dur=0.000, "
            "warmup;dur=0.000, ttft;dur=0.001, generate;dur=2.001, total;dur=2.003");
  EXPECT_EQ(timing_text(p, false),
            "queue;dur=0.001, allocate;dur=0.000, start;dur=0.000, load;dur=0.000, "
            "warmup;dur=0.000, ttft;dur=0.001");
}

TEST(Receipt, IsOneLineOfJson) {
  ledger::Usage usage;
  usage.request = RequestId{42};
  usage.start = ledger::StartKind::cold;
  usage.instance = "chat/3";
  usage.device = "cpu0";
  usage.phases.load = ms(1500);
  usage.input_tokens = 7;
  usage.output_tokens = 9;
  usage.usage_known = true;
  usage.device_ms = 12;
  EXPECT_EQ(
      receipt_json("chat", usage),
      R"({"request":"req-000000000000002a","deployment":"chat","instance":"chat/3","device":"cpu0",)"
      R"("start":"cold","phases_ms":{"queue":0.000,"allocate":0.000,"start":0.000,)"
      R"("load":1500.000,"warmup":0.000,"ttft":0.000,"generate":0.000,"total":1500.000},)"
      R"("usage":{"input_tokens":7,"output_tokens":9,"cached_tokens":0,"device_ms":12,)"
      R"("known":true}})");
}

}  // namespace
}  // namespace stoker::gateway
