// ServeGen's folders: what is read, and what is drawn from it.
#include "sim/workload/servegen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "workload_support.h"

namespace stoker::sim {
namespace {

using ::testing::HasSubstr;

std::vector<std::int64_t> arrivals(const std::vector<RateWindow>& windows, std::uint64_t seed) {
  ClientArrivals client(windows, seed);
  std::vector<std::int64_t> times;
  std::int64_t at_ns = 0;
  while (client.next(at_ns)) times.push_back(at_ns);
  return times;
}

constexpr std::int64_t second = 1'000'000'000;

TEST(ClientArrivals, KeepTheRateAndTheBurstinessOfTheirWindow) {
  struct Case {
    const char* name;
    GapLaw law;
    double shape;
    double cv;
  };
  const Case cases[] = {
      {"exponential", GapLaw::exponential, 1, 1},
      {"smooth", GapLaw::gamma, 4, 0.5},
      {"bursty gamma", GapLaw::gamma, 0.25, 2},
      {"smooth weibull", GapLaw::weibull, 2, 0.5227},
      {"bursty weibull", GapLaw::weibull, 0.5, 2.2361},
  };
  for (const Case& c : cases) {
    const std::vector<std::int64_t> times = arrivals({{0, 10'000 * second, 40, c.shape, c.law}}, 3);
    std::vector<TraceRequest> requests(times.size());
    for (std::size_t i = 0; i < times.size(); ++i) requests[i].at = Duration{times[i]};
    const Gaps gaps = gaps_of(requests);
    // The count of n gaps deviates by CV x sqrt(n); four of them.
    EXPECT_NEAR(static_cast<double>(times.size()), 400'000, 4 * c.cv * std::sqrt(400'000))
        << c.name;
    EXPECT_NEAR(gaps.cv, c.cv, 0.03 * c.cv) << c.name;
  }
}

TEST(ClientArrivals, TheExpectedCountIsExactHoweverFewAndBursty) {
  // Windows of half a request each, silent ones between: a process that began anew in each window,
  // or with a request at its start, would be far off.
  for (const auto& [law, shape] : {std::pair{GapLaw::gamma, 0.1},
                                   {GapLaw::weibull, 0.4},
                                   {GapLaw::gamma, 9.0},
                                   {GapLaw::exponential, 1.0}}) {
    std::vector<RateWindow> windows;
    for (std::int64_t i = 0; i < 6; ++i) {
      windows.push_back({i * 1200 * second, (i * 1200 + 600) * second, 1.0 / 1200, shape, law});
    }
    std::size_t count = 0;
    for (std::uint64_t seed = 0; seed < 40'000; ++seed) count += arrivals(windows, seed).size();
    EXPECT_NEAR(static_cast<double>(count) / 40'000, 3.0, 0.12) << "shape " << shape;
  }
}

TEST(ClientArrivals, AreInOrderWithinTheirWindows) {
  const std::vector<RateWindow> windows = {
      {5 * second, 6 * second, 100'000, 0.3, GapLaw::gamma},
      {6 * second, 7 * second, 5, 0.3, GapLaw::weibull},
      {9 * second, 10 * second, 100'000, 30, GapLaw::gamma},
  };
  const std::vector<std::int64_t> times = arrivals(windows, 1);
  std::int64_t last = 5 * second;
  for (const std::int64_t at : times) {
    ASSERT_GE(at, last);
    ASSERT_TRUE(at < 7 * second || at >= 9 * second) << at;
    last = at;
  }
  EXPECT_LT(last, 10 * second);
  EXPECT_NEAR(static_cast<double>(times.size()), 200'005, 4 * 1.83 * std::sqrt(100'000));
}

class ServeGenFolder : public ::testing::Test {
 protected:
  void client(const std::string& name, std::string_view rows) const {
    (void)folder_.file(name + "-trace.csv", rows);
  }
  [[nodiscard]] std::vector<std::int64_t> counts(const ServeGenOptions& options) const {
    const auto source = opened(folder_.path(), {.servegen = options});
    std::vector<std::int64_t> count(source->world().deployments.size());
    for (const TraceRequest& request : all_of(*source)) ++count[request.deployment];
    return count;
  }
  TempFolder folder_;
};

TEST_F(ServeGenFolder, EachClientIsADeploymentAtItsOwnRate) {
  client("chunk-10", "0,2,1,Gamma,1,0.5\n600,2,1,Gamma,1,0.5\n");
  client("chunk-2", "0,0,0,,0,0\n600,20,3,Weibull,0.6,0.01\n");
  client("chunk-1", "0,0,0,,0,0\n600,0,0,,0,0\n");
  (void)folder_.file("chunk-1-dataset.json", "{}");  // of ServeGen, but not read
  const auto source = opened(folder_.path());
  std::vector<std::string> names;
  for (const TraceDeployment& d : source->world().deployments) names.push_back(d.name);
  EXPECT_EQ(names, (std::vector<std::string>{"chunk-1", "chunk-2", "chunk-10"}));
  const std::vector<TraceRequest> requests = all_of(*source);
  Duration last;
  for (const TraceRequest& request : requests) {
    ASSERT_GE(request.at, last);
    last = request.at;
    ASSERT_TRUE(request.deployment == 2 || request.at >= minutes(10));
    ASSERT_LT(request.at, minutes(20));
  }
  const std::vector<std::int64_t> count = counts({});
  EXPECT_EQ(count[0], 0);
  EXPECT_NEAR(static_cast<double>(count[1]), 12'000, 4 * 1.8 * std::sqrt(12'000));
  EXPECT_NEAR(static_cast<double>(count[2]), 2'400, 4 * std::sqrt(2'400));
}

TEST_F(ServeGenFolder, ThinningKeepsTheBurstiness) {
  client("a", "0,100,2,Gamma,0.25,0.04\n600,100,2,Gamma,0.25,0.04\n");
  for (const double thin : {1.0, 10.0}) {
    const auto source = opened(folder_.path(), {.servegen = {.thin = thin}});
    const std::vector<TraceRequest> requests = all_of(*source);
    const double want = 120'000 / thin;
    EXPECT_NEAR(static_cast<double>(requests.size()), want, 4 * 2 * std::sqrt(want));
    EXPECT_NEAR(gaps_of(requests).cv, 2, 0.1);
  }
}

TEST_F(ServeGenFolder, ASpanBeginsAtZero) {
  client("a", "0,1,1,Gamma,1,1\n600,50,1,Gamma,1,0.02\n1200,3,1,Gamma,1,0.3\n");
  const ServeGenOptions options{.from = minutes(5), .length = minutes(10)};
  const auto source = opened(folder_.path(), {.servegen = options});
  std::int64_t early = 0;
  std::int64_t late = 0;
  for (const TraceRequest& request : all_of(*source)) {
    ++(request.at < minutes(5) ? early : late);
    ASSERT_LT(request.at, minutes(10));
  }
  EXPECT_NEAR(static_cast<double>(early), 300, 4 * std::sqrt(300));
  EXPECT_NEAR(static_cast<double>(late), 15'000, 4 * std::sqrt(15'000));
}

TEST_F(ServeGenFolder, TheSeedIsAllThatMatters) {
  client("a", "0,5,1,Gamma,0.5,0.4\n600,5,1,Weibull,0.5,0.4\n");
  client("b", "0,5,1,,0,0\n600,0,1,,0,0\n");
  const auto hash = [&](std::uint64_t seed) {
    return hash_of(*opened(folder_.path(), {.servegen = {.seed = seed}}));
  };
  EXPECT_EQ(hash(1), hash(1));
  EXPECT_NE(hash(1), hash(2));
  // Another client in the folder leaves the others as they are.
  const auto times_of_a = [&] {
    std::vector<std::int64_t> times;
    const auto source = opened(folder_.path());
    for (const TraceRequest& r : all_of(*source)) {
      if (source->world().deployments[r.deployment].name == "a") times.push_back(r.at.ns);
    }
    return times;
  };
  const auto before = times_of_a();
  client("a0", "0,9,1,,0,0\n");
  EXPECT_EQ(times_of_a(), before);
}

TEST_F(ServeGenFolder, ClientsMayBeTenants) {
  client("a", "0,1,1,,0,0\n");
  client("b", "0,1,1,,0,0\n");
  const auto source =
      opened(folder_.path(), {.servegen = {.clients = ServeGenOptions::Clients::are_tenants}});
  EXPECT_EQ(source->world().tenants, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(source->world().deployments.size(), 1U);
  std::int64_t tenant_b = 0;
  for (const TraceRequest& request : all_of(*source)) {
    EXPECT_EQ(request.deployment, 0U);
    tenant_b += request.tenant;
  }
  EXPECT_NEAR(static_cast<double>(tenant_b), 600, 100);
}

TEST_F(ServeGenFolder, EveryMistakeNamesItsLine) {
  struct Case {
    const char* rows;
    const char* place;
    const char* message;
  };
  const Case cases[] = {
      {"0,1", ":1: ", "2 columns"},
      {"x,1,1,Gamma,1,1", ":1: ", "t must be a number"},
      {"0,1,1,Gamma,1,1\n600,-1,1,Gamma,1,1", ":2: ", "rate must be a number"},
      {"0,nan,1,Gamma,1,1", ":1: ", "rate must be"},
      {"0,1,1,Pareto,1,1", ":1: ", "distribution Pareto is not known"},
      {"0,1,1,Gamma", ":1: ", "shape must be"},
      {"0,1,1,Weibull,0.001,1", ":1: ", "shape must be a number from 0.02"},
      {"600,1,1,,0,0\n0,1,1,,0,0", ":2: ", "t must be more"},
  };
  for (const Case& c : cases) {
    client("a", c.rows);
    const auto source = open_trace(folder_.path());
    ASSERT_FALSE(source) << c.rows;
    EXPECT_THAT(source.error().message, HasSubstr("/a-trace.csv" + std::string(c.place))) << c.rows;
    EXPECT_THAT(source.error().message, HasSubstr(c.message)) << c.rows;
    EXPECT_FALSE(source.error().hint.empty()) << c.rows;
  }
  client("a", "0,1,1,,0,0");
  EXPECT_FALSE(open_trace(folder_.path(), {.servegen = {.thin = 0}}));
  const TempFolder empty;
  const auto source = open_trace(empty.path());
  ASSERT_FALSE(source);
  EXPECT_THAT(source.error().message, HasSubstr("no .csv file"));
}

}  // namespace
}  // namespace stoker::sim
