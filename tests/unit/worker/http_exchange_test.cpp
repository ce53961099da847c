#include "worker/http_exchange.h"

#include <gtest/gtest.h>

namespace stoker::worker {
namespace {

TEST(HttpExchange, WritesUsageAsTheContractSays) {
  EXPECT_EQ(usage_text({.input = 12, .output = 34, .cached = 0, .device_ms = 120}),
            "input=12,output=34,cached=0,device_ms=120");
}

TEST(HttpExchange, FindsTheTerminalEventOfEachDialect) {
  EXPECT_EQ(find_terminal_event("data: [DONE]\n\n"), 0U);
  EXPECT_EQ(find_terminal_event("data: {}\n\ndata: [DONE]\n\n"), 10U);
  EXPECT_EQ(find_terminal_event("event: message_stop\ndata: {}\n\n"), 0U);
  EXPECT_EQ(find_terminal_event("data: {}\n\nevent: response.completed\ndata: {}\n\n"), 10U);
}

TEST(HttpExchange, IsNotFooledByTheSameWordsInsideOfAnEvent) {
  EXPECT_EQ(find_terminal_event("data: {\"content\":\"data: [DONE]\"}\n\n"), std::string::npos);
  EXPECT_EQ(find_terminal_event("event: x\ndata: [DONE]\n\n"), std::string::npos);
  EXPECT_EQ(find_terminal_event(""), std::string::npos);
}

TEST(HttpExchange, ErrorsHaveOpenAisShape) {
  EXPECT_EQ(error_json("server_error", "internal", "It \"broke\"."),
            R"({"error":{"message":"It \"broke\".","type":"server_error","code":"internal"}})");
}

}  // namespace
}  // namespace stoker::worker
