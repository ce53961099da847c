#include "worker/llama/step_pacer.h"

#include <gtest/gtest.h>

namespace stoker::worker {
namespace {

// Feeds `steps` full steps whose cost is fixed + per_token x tokens. Gives: the bound at the end.
std::int32_t bound_after(StepPacer& pacer, int steps, Duration fixed, Duration per_token) {
  for (int step = 0; step < steps; ++step) {
    const std::int32_t tokens = pacer.bound();
    pacer.after_step(tokens, Duration{fixed.ns + per_token.ns * tokens});
  }
  return pacer.bound();
}

TEST(StepPacer, ReachesTheWholeBatchInNineStepsWhenTokensAreCheap) {
  StepPacer pacer(512, ms(60));
  EXPECT_EQ(bound_after(pacer, 8, us(300), us(10)), 256);
  EXPECT_EQ(bound_after(pacer, 1, us(300), us(10)), 512);
  EXPECT_EQ(bound_after(pacer, 5, us(300), us(10)), 512);
}

TEST(StepPacer, SettlesWhereAStepTakesTheTarget) {
  StepPacer pacer(512, ms(60));
  const std::int32_t bound = bound_after(pacer, 20, ms(0), ms(5));
  EXPECT_EQ(bound, 12);
}

TEST(StepPacer, LetsAStepCostTwoTokensWhereOneExceedsTheTarget) {
  StepPacer pacer(512, ms(60));
  EXPECT_LE(bound_after(pacer, 20, ms(0), ms(150)), 2);
}

TEST(StepPacer, UsesThatReadingTheWeightsIsTheCostAndNotTheTokens) {
  StepPacer pacer(512, ms(60));
  EXPECT_GT(bound_after(pacer, 20, ms(80), ms(1)), 16);
}

TEST(StepPacer, HalvesAtMostForOneSlowStepAndRecovers) {
  StepPacer pacer(512, ms(60));
  bound_after(pacer, 12, us(300), us(10));
  EXPECT_EQ(pacer.after_step(512, seconds(5)), 256);
  EXPECT_EQ(bound_after(pacer, 1, us(300), us(10)), 512);
}

TEST(StepPacer, IgnoresStepsThatOnlyGenerate) {
  StepPacer pacer(512, ms(60));
  bound_after(pacer, 12, us(300), us(10));
  EXPECT_EQ(pacer.after_step(3, seconds(5)), 512);
}

}  // namespace
}  // namespace stoker::worker
