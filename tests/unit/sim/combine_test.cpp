// Sources made of sources.
#include "sim/workload/combine.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "workload_support.h"

namespace stoker::sim {
namespace {

TraceRequest request(std::int64_t at_ns, std::uint32_t deployment, std::uint32_t tenant,
                     std::int64_t input_tokens) {
  TraceRequest made;
  made.at = Duration{at_ns};
  made.deployment = deployment;
  made.tenant = tenant;
  made.input_tokens = input_tokens;
  return made;
}

TEST(Merge, NamesMeetAndTimesInterleave) {
  std::vector<std::unique_ptr<RequestSource>> sources;
  sources.push_back(
      replay({.devices = {}, .deployments = {{.name = "a"}, {.name = "b"}}, .tenants = {"t", "u"}},
             {request(1, 0, 0, 10), request(5, 1, 1, 11), request(5, 0, 0, 12)}));
  sources.push_back(replay({.devices = {{.kind = "cuda"}},
                            .deployments = {{.name = "c"}, {.name = "b", .concurrency = 99}},
                            .tenants = {"u"}},
                           {request(0, 1, 0, 20), request(5, 0, 0, 21), request(9, 1, 0, 22)}));
  sources.push_back(replay({.devices = {{.kind = "cpu"}}, .deployments = {}, .tenants = {}}, {}));
  const auto merged = merge(std::move(sources));
  EXPECT_EQ(merged->world(),
            (TraceWorld{.devices = {{.kind = "cuda"}},
                        .deployments = {{.name = "a"}, {.name = "b"}, {.name = "c"}},
                        .tenants = {"t", "u"}}));
  EXPECT_EQ(all_of(*merged),
            (std::vector<TraceRequest>{request(0, 1, 1, 20), request(1, 0, 0, 10),
                                       request(5, 1, 1, 11), request(5, 0, 0, 12),
                                       request(5, 2, 1, 21), request(9, 1, 1, 22)}));
}

TEST(Merge, FollowsAWorldThatGrows) {
  const TempFolder folder;
  const std::string path =
      folder.file("trace",
                  "{\"stoker_trace\": 1}\n{\"at_ms\": 0, \"deployment\": \"x\"}\n"
                  "{\"at_ms\": 2, \"deployment\": \"y\", \"tenant\": \"t\"}\n");
  std::vector<std::unique_ptr<RequestSource>> sources;
  sources.push_back(replay({.devices = {}, .deployments = {{.name = "y"}}, .tenants = {"t"}},
                           {request(1'000'000, 0, 0, 1)}));
  sources.push_back(opened(path, {.read_ahead = false}));
  const auto merged = merge(std::move(sources));
  std::vector<std::string> names;
  for (const TraceRequest& r : all_of(*merged)) {
    names.push_back(merged->world().deployments.at(r.deployment).name + " " +
                    merged->world().tenants.at(r.tenant));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"x default", "y t", "y t"}));
}

RC_GTEST_PROP(Merge, IsAStableSort, (const std::vector<std::vector<std::uint8_t>>& gaps)) {
  std::vector<std::unique_ptr<RequestSource>> sources;
  std::vector<TraceRequest> all;
  const TraceWorld world{.devices = {}, .deployments = {{.name = "a"}}, .tenants = {"t"}};
  std::int64_t number = 0;
  for (const std::vector<std::uint8_t>& source : gaps) {
    std::vector<TraceRequest> requests;
    std::int64_t at_ns = 0;
    for (const std::uint8_t gap : source) {
      requests.push_back(request(at_ns += gap % 4, 0, 0, number++));
    }
    all.insert(all.end(), requests.begin(), requests.end());
    sources.push_back(replay(world, requests));
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.at < b.at; });
  RC_ASSERT(all_of(*merge(std::move(sources))) == all);
}

TEST(Merge, PassesAnErrorOn) {
  const TempFolder folder;
  std::vector<std::unique_ptr<RequestSource>> sources;
  sources.push_back(
      opened(folder.file("trace", "{\"stoker_trace\": 1}\nbroken\n"), {.read_ahead = false}));
  TraceRequest out;
  EXPECT_FALSE(merge(std::move(sources))->next(out));
}

TEST(Limit, ByNumberAndByTime) {
  const TraceWorld world{.devices = {}, .deployments = {{.name = "a"}}, .tenants = {"t"}};
  const auto count = [&](const Limit& options) {
    const auto limited = limit(replay(world, {request(1, 0, 0, 1), request(2, 0, 0, 2),
                                              request(2, 0, 0, 3), request(4, 0, 0, 4)}),
                               options);
    const std::size_t given = all_of(*limited).size();
    TraceRequest out;
    EXPECT_FALSE(limited->next(out).value());  // and it stays at its end
    return given;
  };
  EXPECT_EQ(count({}), 4U);
  EXPECT_EQ(count({.requests = 3}), 3U);
  EXPECT_EQ(count({.requests = 0}), 0U);
  EXPECT_EQ(count({.until = Duration{2}}), 1U);
  EXPECT_EQ(count({.until = Duration{3}}), 3U);
  EXPECT_EQ(count({.requests = 2, .until = Duration{3}}), 2U);
}

}  // namespace
}  // namespace stoker::sim
