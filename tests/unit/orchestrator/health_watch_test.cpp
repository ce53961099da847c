#include "orchestrator/health_watch.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace stoker::orchestrator {
namespace {

constexpr backend::InstanceKey key{InstanceId{1}, Generation{1}};
constexpr Instant at(std::int64_t second) {
  return Instant{seconds(1000 + second).ns};
}

/// What is heard at each second, and when the watch must give which verdict.
struct Message {
  std::int64_t second;
  std::int64_t active;
  std::int64_t steps;
};
struct Case {
  const char* name;
  std::vector<Message> heard;
  std::vector<std::int64_t> not_looked;  // seconds at which the watcher slept
  std::optional<std::int64_t> hung_at;
  core::HangKind kind = core::HangKind::no_progress;
};

std::vector<Message> every_second(std::int64_t from, std::int64_t to, std::int64_t active,
                                  std::int64_t steps, std::int64_t steps_per_second) {
  std::vector<Message> messages;
  for (std::int64_t s = from; s <= to; ++s) {
    messages.push_back({s, active, steps + (s - from) * steps_per_second});
  }
  return messages;
}

std::vector<Message> joined(std::vector<Message> a, const std::vector<Message>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(HealthWatch, JudgesByTheProgressOfWork) {
  const Case cases[] = {
      {"idle and talking", every_second(1, 30, 0, 5, 0), {}, std::nullopt},
      {"busy and stepping", every_second(1, 30, 4, 0, 3), {}, std::nullopt},
      {"silent from the start", {}, {}, 8, core::HangKind::silent},
      {"silent after a while", every_second(1, 5, 0, 0, 0), {}, 13, core::HangKind::silent},
      {"busy without a step", every_second(1, 30, 1, 7, 0), {}, 9},  // the first one moved it
      {"stuck after steps",
       joined(every_second(1, 5, 1, 0, 1), every_second(6, 30, 1, 4, 0)),
       {},
       13},
      {"one step in seven seconds is enough",
       joined(joined(every_second(1, 7, 1, 0, 0), every_second(8, 14, 1, 1, 0)),
              every_second(15, 20, 1, 2, 0)),
       {},
       std::nullopt},
      {"a moment of idleness starts its clock anew",
       joined(every_second(1, 6, 1, 3, 0), joined({{7, 0, 3}}, every_second(8, 13, 1, 3, 0))),
       {},
       15},
      {"the watcher slept itself: it must not judge",
       joined(every_second(1, 5, 1, 0, 1), {{20, 1, 5}}),
       {6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19},
       std::nullopt},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    HealthWatch watch({.silent = seconds(8), .no_progress = seconds(8), .tick = seconds(1)});
    (void)watch.look(at(0));
    watch.arm(key, at(0));
    std::optional<std::int64_t> hung_at;
    for (std::int64_t second = 1; second <= 20 && !hung_at; ++second) {
      for (const Message& m : c.heard) {
        if (m.second == second) watch.heard(key, m.active, m.steps, at(second));
      }
      bool sleeps = false;
      for (const std::int64_t s : c.not_looked) sleeps = sleeps || s == second;
      if (sleeps) continue;
      for (const HealthWatch::Verdict& verdict : watch.look(at(second))) {
        hung_at = second;
        EXPECT_EQ(verdict.key, key);
        EXPECT_EQ(verdict.kind, c.kind);
      }
    }
    EXPECT_EQ(hung_at, c.hung_at);
  }
}

TEST(HealthWatch, AVerdictIsGivenOnce) {
  HealthWatch watch({});
  watch.arm(key, at(0));
  (void)watch.look(at(0));
  std::size_t verdicts = 0;
  for (std::int64_t second = 1; second <= 30; ++second) verdicts += watch.look(at(second)).size();
  EXPECT_EQ(verdicts, 1U);
}

TEST(HealthWatch, WhatIsNotArmedIsNotJudged) {
  HealthWatch watch({});
  watch.heard(key, 1, 0, at(0));
  watch.arm(key, at(0));
  watch.disarm(key);
  for (std::int64_t second = 0; second <= 30; ++second) EXPECT_TRUE(watch.look(at(second)).empty());
}

}  // namespace
}  // namespace stoker::orchestrator
