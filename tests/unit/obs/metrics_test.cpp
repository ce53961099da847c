#include "obs/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

namespace stoker::obs {
namespace {

using testing::HasSubstr;

TEST(Registry, RendersTheTextFormat) {
  Registry registry;
  Family<Counter>& requests = registry.counter_family({.name = "stoker_requests_total",
                                                       .help = "Requests that ended",
                                                       .labels = {"deployment", "outcome"}});
  requests.with({"chat", "completed"}).add(3);
  requests.with({"chat", "failed"}).add();
  registry.gauge({.name = "stoker_queued_requests", .help = "Requests that wait"}).set(-2);
  registry
      .counter({.name = "stoker_device_busy_seconds_total", .help = "Busy", .unit = Unit::seconds})
      .add(ms(1500));
  const std::vector<std::int64_t> bounds = {ms(10).ns, seconds(1).ns};
  Histogram& ttft = registry
                        .histogram_family({.name = "stoker_ttft_seconds",
                                           .help = "Time to first token",
                                           .labels = {"deployment"},
                                           .unit = Unit::seconds},
                                          bounds)
                        .with({"chat"});
  ttft.observe(ms(10));
  ttft.observe(ms(11));
  ttft.observe(seconds(2));

  EXPECT_EQ(registry.render(),
            "# HELP stoker_device_busy_seconds_total Busy\n"
            "# TYPE stoker_device_busy_seconds_total counter\n"
            "stoker_device_busy_seconds_total 1.5\n"
            "# HELP stoker_queued_requests Requests that wait\n"
            "# TYPE stoker_queued_requests gauge\n"
            "stoker_queued_requests -2\n"
            "# HELP stoker_requests_total Requests that ended\n"
            "# TYPE stoker_requests_total counter\n"
            "stoker_requests_total{deployment=\"chat\",outcome=\"completed\"} 3\n"
            "stoker_requests_total{deployment=\"chat\",outcome=\"failed\"} 1\n"
            "# HELP stoker_ttft_seconds Time to first token\n"
            "# TYPE stoker_ttft_seconds histogram\n"
            "stoker_ttft_seconds_bucket{deployment=\"chat\",le=\"0.01\"} 1\n"
            "stoker_ttft_seconds_bucket{deployment=\"chat\",le=\"1\"} 2\n"
            "stoker_ttft_seconds_bucket{deployment=\"chat\",le=\"+Inf\"} 3\n"
            "stoker_ttft_seconds_sum{deployment=\"chat\"} 2.021\n"
            "stoker_ttft_seconds_count{deployment=\"chat\"} 3\n");
}

TEST(Registry, EscapesLabelsAndHelp) {
  Registry registry;
  registry.gauge_family({.name = "stoker_x", .help = "a\\b\nc \"d\"", .labels = {"l"}})
      .with({"q\"b\\n\n"})
      .set(1);
  EXPECT_EQ(registry.render(),
            "# HELP stoker_x a\\\\b\\nc \"d\"\n"
            "# TYPE stoker_x gauge\n"
            "stoker_x{l=\"q\\\"b\\\\n\\n\"} 1\n");
}

TEST(Registry, ExactNumbersAtTheEdges) {
  Registry registry;
  registry.counter({.name = "stoker_a_total", .help = "h"}).add(~0ULL);
  registry.gauge({.name = "stoker_b", .help = "h"}).set(INT64_MIN);
  registry.gauge({.name = "stoker_c_seconds", .help = "h", .unit = Unit::seconds})
      .set(Duration{-1});
  const std::string text = registry.render();
  EXPECT_THAT(text, HasSubstr("stoker_a_total 18446744073709551615\n"));
  EXPECT_THAT(text, HasSubstr("stoker_b -9223372036854775808\n"));
  EXPECT_THAT(text, HasSubstr("stoker_c_seconds -0.000000001\n"));
}

TEST(Family, IsBounded) {
  Registry registry;
  Family<Counter>& family = registry.counter_family(
      {.name = "stoker_x_total", .help = "h", .labels = {"name"}, .max_series = 2});
  Counter& first = family.with({"a"});
  family.with({"b"});
  Counter& overflow = family.with({"c"});
  EXPECT_EQ(&overflow, &family.with({"d"}));
  EXPECT_EQ(&first, &family.with({"a"}));
  for (int i = 0; i < 10'000; ++i) family.with({std::to_string(i)}).add();
  EXPECT_EQ(overflow.value(), 10'000U);
  const std::string text = registry.render();
  EXPECT_EQ(std::ranges::count(text, '{'), 3);
  EXPECT_THAT(text, HasSubstr("stoker_x_total{name=\"other\"} 10000\n"));
}

TEST(Registry, ShowsAReaderOnlyWhatItMaySee) {
  Registry registry;
  auto& family = registry.counter_family(
      {.name = "stoker_x_total", .help = "h", .labels = {"status", "deployment"}});
  for (const char* deployment : {"mine", "theirs"}) family.with({"2xx", deployment}).add();
  registry.counter({.name = "stoker_y_total", .help = "h"}).add(7);
  const std::string text = registry.render([](std::string_view label, std::string_view value) {
    return label != "deployment" || value == "mine";
  });
  EXPECT_THAT(text, HasSubstr("stoker_x_total{status=\"2xx\",deployment=\"mine\"} 1\n"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("theirs")));
  EXPECT_THAT(text, HasSubstr("stoker_y_total 7\n"));
}

TEST(Registry, CollectorsRunBeforeEachRender) {
  Registry registry;
  Gauge& gauge = registry.gauge({.name = "stoker_x", .help = "h"});
  registry.on_render([&] { gauge.add(); });
  EXPECT_THAT(registry.render(), HasSubstr("stoker_x 1\n"));
  EXPECT_THAT(registry.render(), HasSubstr("stoker_x 2\n"));
}

TEST(Histogram, BucketsAreClosedAbove) {
  const std::vector<std::int64_t> bounds = {0, 10};
  Histogram histogram(bounds);
  for (const std::int64_t value : {-5, 0, 1, 10, 11}) histogram.observe(value);
  const Histogram::Snapshot now = histogram.snapshot();
  EXPECT_THAT(now.cumulative, testing::ElementsAre(2, 4, 5));
  EXPECT_EQ(now.sum, 17);
}

TEST(Metrics, LoseNothingUnderThreads) {
  Registry registry;
  Family<Counter>& family =
      registry.counter_family({.name = "stoker_x_total", .help = "h", .labels = {"n"}});
  Histogram& histogram =
      registry.histogram_family({.name = "stoker_y_seconds", .help = "h"}).only();
  constexpr int rounds = 5'000;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        Counter& mine = family.with({std::to_string(t % 2)});
        for (int i = 0; i < rounds; ++i) {
          mine.add();
          histogram.observe(ms(i));
        }
      });
    }
    for (int i = 0; i < 20; ++i)
      EXPECT_THAT(registry.render(), HasSubstr("stoker_y_seconds_count"));
  }
  EXPECT_EQ(family.with({"0"}).value(), 2U * rounds);
  EXPECT_EQ(histogram.snapshot().cumulative.back(), 4U * rounds);
  EXPECT_EQ(histogram.snapshot().sum, 4 * ms(rounds * (rounds - 1) / 2).ns);
}

TEST(MetricsDeathTest, OurMistakesStopTheProcess) {
  Registry registry;
  registry.gauge({.name = "stoker_x", .help = "h"});
  EXPECT_DEATH(registry.gauge({.name = "stoker_x", .help = "h"}), "registered twice");
  EXPECT_DEATH(registry.gauge({.name = "other_x", .help = "h"}), "metric name 'other_x'");
  EXPECT_DEATH(registry.counter({.name = "stoker_y", .help = "h"}), "must end in _total");
}

}  // namespace
}  // namespace stoker::obs
