// The generated documents agree with the tables. UPDATE_GOLDEN=1 rewrites them; review the diff.
#include "config/describe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "config/load.h"

namespace stoker::config {
namespace {

void expect_file(const std::string& name, const std::string& text) {
  const std::string path = std::string(STOKER_SOURCE_DIR) + "/" + name;
  if (std::getenv("UPDATE_GOLDEN") != nullptr) std::ofstream(path) << text;
  std::ifstream file(path);
  const std::string committed{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(committed, text) << name << " is not up to date: run with UPDATE_GOLDEN=1";
}

std::optional<std::string> no_environment(std::string_view) {
  return std::nullopt;
}

TEST(Documents, AreWhatTheTablesSay) {
  expect_file("docs/reference/config.md", reference_markdown());
  expect_file("configs/example.yaml", example_yaml());
}

TEST(Documents, TheExampleIsTheDefaults) {
  const Loaded loaded = parse(example_yaml(), "example.yaml", no_environment);
  EXPECT_THAT(loaded.problems, testing::IsEmpty());
  ServerConfig defaults;
  defaults.deployments.push_back({.name = "example", .runtime = Runtime::echo});
  EXPECT_EQ(to_yaml(loaded.config), to_yaml(defaults));
}

TEST(Documents, TheSchemaIsJsonAndKnowsEveryBlock) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text{schema()};
  const simdjson::dom::element root = parser.parse(text);
  const std::string_view dialect = root["$schema"];
  EXPECT_EQ(dialect, "https://json-schema.org/draft/2020-12/schema");
  const simdjson::dom::element deployment =
      root["properties"]["deployments"]["additionalProperties"];
  const bool is_open = deployment["additionalProperties"];
  EXPECT_FALSE(is_open);
  const simdjson::dom::element scaling = deployment["properties"]["autoscaling"]["properties"];
  const std::int64_t most = scaling["max_instances"]["default"];
  EXPECT_EQ(most, 1);
  EXPECT_EQ(scaling["min_replicas"].error(), simdjson::SUCCESS);
}

}  // namespace
}  // namespace stoker::config
