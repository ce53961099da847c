// The simulator itself: worlds run clean, the same seed is the same run, and what a core decided
// can be decided again from the bytes of its events.
#include "sim/seed_run.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "core/event_codec.h"

namespace stoker::sim {
namespace {

TEST(SeedRun, WorldsRunClean) {
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    const SeedResult result = run_seed(seed, {.requests = 1000});
    EXPECT_FALSE(result.violation) << "seed " << seed << ": " << *result.violation;
  }
}

TEST(SeedRun, CalmWorldsLoseNothing) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const SeedResult result = run_seed(seed, {.requests = 500, .with_faults = false});
    EXPECT_FALSE(result.violation) << "seed " << seed << ": " << *result.violation;
    // A server that ends gives running requests only so long.
    if (result.states.of(State::shutdown_limit_cut) > 0) continue;
    EXPECT_EQ(result.totals.failed, 0U) << "seed " << seed;
    EXPECT_EQ(result.totals.interrupted, 0U) << "seed " << seed;
  }
}

TEST(SeedRun, TheSameSeedIsTheSameRun) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const SeedResult a = run_seed(seed, {.requests = 800});
    const SeedResult b = run_seed(seed, {.requests = 800});
    EXPECT_EQ(a.totals.action_hash, b.totals.action_hash) << "seed " << seed;
    EXPECT_EQ(a.totals.events, b.totals.events) << "seed " << seed;
  }
}

/// Each life of the server: its configuration, its events, and what it ordered, as bytes.
class Recorder final : public Observer {
 public:
  struct Life {
    std::string config;
    std::string events;
    std::string orders;
  };
  void on_server_start(Instant, const core::CoreConfig& config) override {
    lives.emplace_back();
    core::encode(lives.back().config, config);
  }
  void before_step(Instant now, const core::Event& event) override {
    core::encode(lives.back().events, now, event);
  }
  void on_action(Instant, const core::Event&, const core::Action& action) override {
    core::encode(lives.back().orders, action);
  }
  std::vector<Life> lives;
};

TEST(EventCodec, ReplayedEventsGiveTheSameOrdersByteForByte) {
  std::size_t lives = 0;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Recorder recorder;
    const SeedResult result = run_seed(seed, {.requests = 500, .trace = {}, .listener = &recorder});
    ASSERT_FALSE(result.violation) << "seed " << seed;
    for (const Recorder::Life& life : recorder.lives) {
      ++lives;
      std::string_view config_bytes = life.config;
      const auto config = core::decode_config(config_bytes);
      ASSERT_TRUE(config && config_bytes.empty());
      core::Core again(*config);
      std::string orders;
      for (std::string_view rest = life.events; !rest.empty();) {
        const auto timed = core::decode_event(rest);
        ASSERT_TRUE(timed) << "seed " << seed;
        core::Actions actions;
        again.step(timed->at, timed->event, actions);
        for (const core::Action& action : actions) core::encode(orders, action);
      }
      EXPECT_EQ(orders, life.orders) << "seed " << seed;
    }
  }
  EXPECT_GT(lives, 30U) << "no server was started again";
}

TEST(EventCodec, DamagedBytesAreRefused) {
  Recorder recorder;
  ASSERT_FALSE(run_seed(3, {.requests = 100, .trace = {}, .listener = &recorder}).violation);
  const std::string& events = recorder.lives.front().events;
  for (std::size_t cut = 0; cut < 200; ++cut) {
    std::string_view rest = std::string_view(events).substr(0, cut);
    while (!rest.empty() && core::decode_event(rest)) {
    }  // ends without a crash, and never reads past the end
  }
  std::string_view unknown("\x00\x7f", 2);
  EXPECT_FALSE(core::decode_event(unknown));
}

}  // namespace
}  // namespace stoker::sim
