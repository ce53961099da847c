// Azure's and Mooncake's formats.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "workload_support.h"

namespace stoker::sim {
namespace {

using ::testing::HasSubstr;

TEST(AzureTrace, TimesCountFromTheFirstRequest) {
  const TempFolder folder;
  const auto source = opened(folder.file("azure",
                                         "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
                                         "2023-11-16 23:59:59.9799600,4808,10\r\n"
                                         "2023-11-17 00:00:00,3180,8\r\n"
                                         "2024-02-29T00:00:00.5Z,110,27"),
                             {.unknown_deployment = {.name = "code", .concurrency = 9}});
  EXPECT_EQ(source->world().deployments,
            (std::vector<TraceDeployment>{{.name = "code", .concurrency = 9}}));
  EXPECT_EQ(source->world().tenants, std::vector<std::string>{"default"});
  const std::vector<TraceRequest> requests = all_of(*source);
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(requests[0].at, Duration{});
  EXPECT_EQ(requests[0].input_tokens, 4808);
  EXPECT_EQ(requests[0].output_tokens, 10);
  EXPECT_EQ(requests[0].session, 0U);
  EXPECT_TRUE(requests[0].prefix.empty());
  EXPECT_EQ(requests[1].at, us(20'040));
  EXPECT_EQ(requests[2].at, minutes(104 * 24 * 60) + us(520'040));  // over a leap day
}

TEST(AzureTrace, ZonesAreTakenOff) {
  const TempFolder folder;
  const auto source = opened(folder.file("azure",
                                         "TIMESTAMP,ContextTokens,GeneratedTokens\n"
                                         "2024-05-10 02:00:00.009930+02:00,1,2\n"
                                         "2024-05-10 00:00:00.009931+00:00,3,4\n"
                                         "2024-05-09 22:30:00.009932-01:30,5,6\n"));
  const std::vector<TraceRequest> requests = all_of(*source);
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(requests[1].at, us(1));
  EXPECT_EQ(requests[2].at, us(2));
}

TEST(AzureTrace, EveryMistakeNamesItsLine) {
  struct Case {
    const char* lines;
    const char* place;
    const char* message;
  };
  const Case cases[] = {
      {"2023-11-16 18:17:03,1", ":2: ", "three columns"},
      {"yesterday,1,2", ":2: ", "TIMESTAMP must be like"},
      {"2023-13-16 18:17:03,1,2", ":2: ", "TIMESTAMP"},
      {"2023-02-29 18:17:03,1,2", ":2: ", "TIMESTAMP"},
      {"2023-11-16 24:17:03,1,2", ":2: ", "TIMESTAMP"},
      {"2023-11-16 18:17:03.,1,2", ":2: ", "TIMESTAMP"},
      {"2023-11-16 18:17:03+9,1,2", ":2: ", "TIMESTAMP"},
      {"2023-11-16 18:17:03,-1,2", ":2: ", "ContextTokens"},
      {"2023-11-16 18:17:03,1,x", ":2: ", "GeneratedTokens"},
      {"2023-11-16 18:17:03,1,2\n2023-11-16 18:17:02,1,2", ":3: ", "order of their time"},
  };
  const TempFolder folder;
  for (const Case& c : cases) {
    const std::string path =
        folder.file("azure", std::string("TIMESTAMP,ContextTokens,GeneratedTokens\n") + c.lines);
    const auto source = opened(path);
    TraceRequest request;
    Result<bool> more = source->next(request);
    while (more && *more) more = source->next(request);
    ASSERT_FALSE(more) << c.lines;
    EXPECT_THAT(more.error().message, HasSubstr(path + c.place)) << c.lines;
    EXPECT_THAT(more.error().message, HasSubstr(c.message)) << c.lines;
    EXPECT_FALSE(more.error().hint.empty()) << c.lines;
  }
  EXPECT_FALSE(open_trace(folder.file("azure", "TIMESTAMP,Other\n")));
}

TEST(MooncakeTrace, BlocksAreThePrefix) {
  const TempFolder folder;
  const auto source = opened(folder.file(
      "mooncake",
      R"({"timestamp": 0, "input_length": 6755, "output_length": 500, "hash_ids": [0, 1, 2]})"
      "\n"
      R"({"timestamp": 3052, "input_length": 7234, "output_length": 794, "hash_ids": []})"
      "\n"
      R"({"timestamp": 3052.5, "hash_ids": [0, 18446744073709551615], "session_id": "x"})"
      "\n"));
  const std::vector<TraceRequest> requests = all_of(*source);
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(requests[0].input_tokens, 6755);
  EXPECT_EQ(requests[0].output_tokens, 500);
  EXPECT_EQ(requests[0].prefix, (std::vector<std::uint64_t>{0, 1, 2}));
  EXPECT_EQ(requests[1].at, ms(3052));
  EXPECT_TRUE(requests[1].prefix.empty());
  EXPECT_EQ(requests[2].at, us(3'052'500));
  EXPECT_EQ(requests[2].prefix, (std::vector<std::uint64_t>{0, UINT64_MAX}));
}

TEST(MooncakeTrace, EveryMistakeNamesItsLine) {
  struct Case {
    const char* line;
    const char* message;
  };
  const Case cases[] = {
      {"{\"input_length\": 4}", "no timestamp"},
      {"{\"timestamp\": 4}", "order of their time"},
      {"{\"timestamp\": 6, \"output_length\": -4}", "output_length must be"},
      {"{\"timestamp\": 6, \"hash_ids\": [-4]}", "hash_ids must be"},
      {"{\"timestamp\": 6, \"hash_ids\": [4}", "not JSON"},
  };
  const TempFolder folder;
  for (const Case& c : cases) {
    const std::string path = folder.file(
        "mooncake", std::string("{\"timestamp\": 5, \"input_length\": 1}\n") + c.line + "\n");
    const auto source = opened(path);
    TraceRequest request;
    EXPECT_TRUE(source->next(request).value());
    const Result<bool> more = source->next(request);
    ASSERT_FALSE(more) << c.line;
    EXPECT_THAT(more.error().message, HasSubstr(path + ":2: ")) << c.line;
    EXPECT_THAT(more.error().message, HasSubstr(c.message)) << c.line;
  }
}

}  // namespace
}  // namespace stoker::sim
