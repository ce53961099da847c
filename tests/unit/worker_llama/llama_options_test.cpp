#include "worker/llama/llama_options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

namespace stoker::worker {
namespace {

LoadOrder order_with(std::string options, int concurrency = 1) {
  LoadOrder order;
  order.deployment = "chat";
  order.model = "/models/m.gguf";
  order.options = std::move(options);
  order.concurrency = concurrency;
  return order;
}

// The value behind `name`; "set" for a flag at the end; "" if absent.
std::string value_of(const LlamaArguments& arguments, std::string_view name) {
  const auto& list = arguments.arguments;
  const auto at = std::find(list.begin(), list.end(), name);
  if (at == list.end()) return "";
  return at + 1 == list.end() ? "set" : *(at + 1);
}

TEST(LlamaOptions, GivesEverySlotTheWholeContext) {
  const auto arguments = llama_arguments(order_with(R"({"context":2048})", 3), 8192);
  ASSERT_TRUE(arguments);
  EXPECT_EQ(value_of(*arguments, "--ctx-size"), "6144");
  EXPECT_EQ(value_of(*arguments, "--parallel"), "3");
}

TEST(LlamaOptions, NeverReservesMoreContextThanTheModelWasTrainedWith) {
  EXPECT_EQ(value_of(*llama_arguments(order_with("{}"), 512), "--ctx-size"), "512");
  EXPECT_EQ(value_of(*llama_arguments(order_with(R"({"context":4096})"), 512), "--ctx-size"),
            "512");
  EXPECT_EQ(value_of(*llama_arguments(order_with("{}"), 131072), "--ctx-size"), "4096");
}

TEST(LlamaOptions, LetsAnEmbeddingFillTheContextInOneStep) {
  const auto arguments = llama_arguments(order_with(R"({"embeddings":"rank"})"), 2048);
  ASSERT_TRUE(arguments);
  EXPECT_EQ(arguments->batch, 2048);
  EXPECT_EQ(value_of(*arguments, "--pooling"), "rank");
}

TEST(LlamaOptions, PoolsByMeanWhereTheModelNamesNoPooling) {
  const LoadOrder order = order_with(R"({"embeddings":true})");
  EXPECT_EQ(value_of(*llama_arguments(order, 512), "--pooling"), "mean");
  EXPECT_EQ(value_of(*llama_arguments(order, 512, true), "--pooling"), "") << "the model's own";
}

TEST(LlamaOptions, PassesFurtherArgumentsLast) {
  const auto arguments = llama_arguments(order_with(R"({"extra_args":["--top-k","5"]})"), 512);
  ASSERT_TRUE(arguments);
  EXPECT_EQ(arguments->arguments.back(), "5");
}

TEST(LlamaOptions, RefusesAllMistakesAtOnceInWords) {
  const auto arguments = llama_arguments(
      order_with(R"({"contxt":1,"threads":0,"load_mode":"fast","extra_args":["--help"]})", 300),
      512);
  ASSERT_FALSE(arguments);
  EXPECT_EQ(arguments.error().code, LoadFailure::bad_option);
  for (const std::string_view part : {"context", "threads", "load_mode", "--help", "concurrency"}) {
    EXPECT_NE(arguments.error().message.find(part), std::string::npos) << arguments.error().message;
  }
}

}  // namespace
}  // namespace stoker::worker
