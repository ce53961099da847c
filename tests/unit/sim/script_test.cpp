// A run can be written down, read, and run again; whatever is taken out of it, the rest is as it
// was.
#include "sim/script.h"

#include <gtest/gtest.h>

#include <string>

#include "sim/seed_run.h"
#include "sim/shrink.h"

namespace stoker::sim {
namespace {

TEST(Script, RunsAsItWasDrawn) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Script script;
    const SeedResult drawn = run_seed(seed, {.requests = 600}, &script);
    ASSERT_FALSE(drawn.violation) << "seed " << seed << ": " << *drawn.violation;
    const SeedResult again = run_script(script);
    EXPECT_FALSE(again.violation) << "seed " << seed << ": " << *again.violation;
    EXPECT_EQ(again.totals.action_hash, drawn.totals.action_hash) << "seed " << seed;
    EXPECT_EQ(again.totals.events, drawn.totals.events) << "seed " << seed;
    EXPECT_EQ(again.decisions_compared, drawn.decisions_compared) << "seed " << seed;
  }
}

TEST(Script, IsTheSameAfterItWasWrittenAndRead) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Script script;
    const SeedResult drawn = run_seed(seed, {.requests = 300}, &script);
    const std::string text = to_text(script);
    const Result<Script> read = parse_script(text);
    ASSERT_TRUE(read) << "seed " << seed << ": " << read.error().message;
    EXPECT_EQ(to_text(*read), text) << "seed " << seed;
    EXPECT_EQ(run_script(*read).totals.action_hash, drawn.totals.action_hash) << "seed " << seed;
  }
}

TEST(Script, SaysWhatIsWrongAndWhere) {
  const std::string first = "stoker-sim-script 1 seed=3\n";
  const auto error_of = [](const std::string& text) {
    const Result<Script> script = parse_script(text);
    return script ? std::string() : script.error().message;
  };
  EXPECT_EQ(error_of(""), "the script is empty");
  EXPECT_EQ(error_of("what\n"), "line 1: this is no script of the simulator");
  EXPECT_EQ(error_of(first + "# a remark\n\n1s nonsense\n"),
            "line 4: nothing is called 'nonsense'");
  EXPECT_EQ(error_of(first + "soon warm deployment=1\n"), "line 2: 'soon' is no time");
  EXPECT_EQ(error_of(first + "1s warm model=1\n"), "line 2: there is no 'model' here");
  EXPECT_EQ(error_of(first + "1s warm deployment=x\n"), "line 2: 'deployment=x' cannot be read");
  EXPECT_EQ(error_of(first + "1s warm deployment\n"), "line 2: 'deployment' has no value");
  EXPECT_EQ(error_of(first + "2s end_faults\n1s end_faults\n"), "line 3: time goes back");
  EXPECT_EQ(error_of(first + "0s deployment id=1 kinds=9\n"), "line 2: 'kinds=9' cannot be read");
  EXPECT_EQ(error_of(first + "hit fault=message_lost who=1#2 time=3\n"), "");
}

TEST(Script, WhatIsLeftOutChangesNothingForTheOthers) {
  Script script;
  ASSERT_FALSE(run_seed(4, {.requests = 300}, &script).violation);
  for (const Step& step : script.steps) {
    const auto* added = std::get_if<AddDeployment>(&step.what);
    if (added == nullptr) continue;
    const Script rest = without(script, added->deployment.id);
    EXPECT_LT(rest.size(), script.size());
    for (const Step& each : rest.steps) EXPECT_FALSE(is_about(each.what, added->deployment.id));
  }
}

TEST(Script, OfARunWithoutAViolationIsNotShortened) {
  Script script;
  ASSERT_FALSE(run_seed(1, {.requests = 50}, &script).violation);
  const Shrunk shrunk = shrink(script, [](const ShrinkProgress&) { return true; });
  EXPECT_EQ(shrunk.violation, "");
  EXPECT_EQ(shrunk.script.size(), script.size());
}

TEST(Violation, IsOfTheSameKindWhateverItsNumbers) {
  EXPECT_EQ(kind_of_violation("at 1.5 s, event 7: a.cpp:12: x > 3 (V18 request 12 of 4)"),
            "at #.# s, event #: a.cpp:#: x > # (V18 request # of #)");
  EXPECT_EQ(kind_of_violation("at 2.25 s, event 1234: a.cpp:12: x > 3 (V18 request 7 of 5)"),
            kind_of_violation("at 1.5 s, event 7: a.cpp:12: x > 3 (V18 request 12 of 4)"));
  EXPECT_NE(kind_of_violation("at 1.5 s, event 7: a.cpp:12: x > 3 (V18 request 12 of 4)"),
            kind_of_violation("at 1.5 s, event 7: a.cpp:12: x > 3 (V19 request 12 of 4)"));
}

TEST(PairedRuns, CompareDecisionsOnManySeeds) {
  std::uint64_t pairs = 0;
  std::uint64_t compared = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    const SeedResult result = run_seed(seed, {.requests = 600});
    EXPECT_FALSE(result.violation) << "seed " << seed << ": " << *result.violation;
    pairs += result.states.of(State::looped_beside_others);
    compared += result.decisions_compared;
  }
  EXPECT_GE(pairs, 10U);
  EXPECT_GE(compared, 5000U);
}

}  // namespace
}  // namespace stoker::sim
