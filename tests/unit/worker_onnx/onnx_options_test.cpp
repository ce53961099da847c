#include "worker/onnx/onnx_options.h"

#include <gmock/gmock.h>

namespace stoker::worker::onnx {
namespace {

using testing::HasSubstr;

TEST(OnnxOptions, DefaultsAndValues) {
  const auto defaults = parse_options("{}");
  ASSERT_TRUE(defaults);
  EXPECT_EQ(defaults->threads, 1);
  EXPECT_EQ(defaults->graph_optimization, GraphOptimization::all);

  const auto given =
      parse_options(R"({"threads": 4, "inter_threads": 2, "graph_optimization": "basic"})");
  ASSERT_TRUE(given);
  EXPECT_EQ(given->threads, 4);
  EXPECT_EQ(given->inter_threads, 2);
  EXPECT_EQ(given->graph_optimization, GraphOptimization::basic);
}

TEST(OnnxOptions, AllProblemsAtOnce) {
  const auto parsed =
      parse_options(R"({"thread": 2, "inter_threads": 0, "graph_optimization": "al"})");
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error(), HasSubstr("thread"));
  EXPECT_THAT(parsed.error(), HasSubstr("did you mean"));
  EXPECT_THAT(parsed.error(), HasSubstr("inter_threads"));
  EXPECT_THAT(parsed.error(), HasSubstr("must be off, basic, extended or all"));
  EXPECT_THAT(parsed.error(), HasSubstr("'all'?"));
}

}  // namespace
}  // namespace stoker::worker::onnx
