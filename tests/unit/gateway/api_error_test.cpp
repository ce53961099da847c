#include "gateway/api_error.h"

#include <gtest/gtest.h>

namespace stoker::gateway {
namespace {

const ApiError no_model{404, "model_not_found", "no \"x\"", "model", {}};
const ApiError lost{502, "instance_lost", "gone", {}, seconds(1)};

TEST(ApiError, HasTheShapeOfEachDialect) {
  EXPECT_EQ(error_body(Dialect::openai, no_model),
            R"({"error":{"type":"not_found_error","message":"no \"x\"","code":"model_not_found",)"
            R"("param":"model"}})");
  EXPECT_EQ(
      error_body(Dialect::responses, lost),
      R"({"error":{"type":"server_error","message":"gone","code":"instance_lost","param":null}})");
  EXPECT_EQ(error_body(Dialect::anthropic, no_model),
            R"({"type":"error","error":{"type":"not_found_error","message":"no \"x\"",)"
            R"("code":"model_not_found"}})");
  EXPECT_EQ(error_body(Dialect::open_inference, no_model),
            R"({"error":"no \"x\"","code":"model_not_found"})");
  EXPECT_EQ(error_body(Dialect::ollama, no_model), R"({"error":"no \"x\""})");
}

TEST(ApiError, IsOneEventOfEachDialect) {
  EXPECT_EQ(error_event(Dialect::openai, lost),
            "data: {\"error\":{\"type\":\"server_error\",\"message\":\"gone\","
            "\"code\":\"instance_lost\",\"param\":null}}\n\n");
  EXPECT_EQ(error_event(Dialect::anthropic, lost),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\","
            "\"message\":\"gone\",\"code\":\"instance_lost\"}}\n\n");
  EXPECT_EQ(error_event(Dialect::responses, lost),
            "event: error\ndata: {\"type\":\"error\",\"code\":\"instance_lost\","
            "\"message\":\"gone\",\"param\":null}\n\n");
}

TEST(ApiError, OfOllamaIsALine) {
  EXPECT_EQ(error_event(Dialect::ollama, lost), "{\"error\":\"gone\"}\n");
}

TEST(ApiError, ARejectionHasAStatusAndARetryTime) {
  const ApiError full = to_error(Rejection{RejectReason::queue_full, ms(1200), "full"});
  EXPECT_EQ(full.status, 429);
  EXPECT_EQ(full.code, "queue_full");
  EXPECT_EQ(retry_after_field(full), "Retry-After: 2\r\n");
  for (const RejectReason reason :
       {RejectReason::queue_timeout, RejectReason::load_failed, RejectReason::crash_loop,
        RejectReason::start_timeout, RejectReason::no_capacity, RejectReason::draining,
        RejectReason::undeliverable, RejectReason::storage}) {
    EXPECT_EQ(to_error(Rejection{reason, ms(1), "x"}).status, 503) << to_text(reason);
    EXPECT_EQ(retry_after_field(to_error(Rejection{reason, ms(1), "x"})), "Retry-After: 1\r\n");
  }
  EXPECT_EQ(retry_after_field(no_model), "");
}

}  // namespace
}  // namespace stoker::gateway
