#include "worker/control_message.h"

#include <gtest/gtest.h>

#include <string>

namespace stoker::worker {
namespace {

template <class Wanted>
Wanted parsed(std::string_view packet) {
  auto order = parse_order(packet);
  EXPECT_TRUE(order) << packet << ": " << (order ? "" : order.error().message);
  return order ? std::get<Wanted>(*order) : Wanted{};
}

TEST(ControlMessage, ReadsALoadWithEverything) {
  const auto load = parsed<LoadOrder>(
      R"({"type":"load","deployment":"chat","model":"/m.gguf","options":{"context": 4096},)"
      R"("concurrency":4,"device":{"kind":"cuda","id":"gpu0"},"warmup":false,"later":1})");
  EXPECT_EQ(load.deployment, "chat");
  EXPECT_EQ(load.model, "/m.gguf");
  EXPECT_EQ(load.options, R"({"context":4096})");
  EXPECT_EQ(load.concurrency, 4);
  EXPECT_EQ(load.device_kind, "cuda");
  EXPECT_EQ(load.device_id, "gpu0");
  EXPECT_FALSE(load.warmup);
}

TEST(ControlMessage, FillsInWhatALoadLeavesOut) {
  const auto load = parsed<LoadOrder>(R"({"type":"load","options":null})");
  EXPECT_EQ(load.options, "{}");
  EXPECT_EQ(load.concurrency, 1);
  EXPECT_EQ(load.device_kind, "cpu");
  EXPECT_TRUE(load.warmup);
}

TEST(ControlMessage, BoundsTheGraceOfAShutdown) {
  EXPECT_EQ(parsed<ShutdownOrder>(R"({"type":"shutdown","grace_ms":250})").grace, ms(250));
  EXPECT_EQ(parsed<ShutdownOrder>(R"({"type":"shutdown"})").grace, ms(0));
  EXPECT_EQ(parsed<ShutdownOrder>(R"({"type":"shutdown","grace_ms":-5})").grace, ms(0));
  EXPECT_EQ(parsed<ShutdownOrder>(R"({"type":"shutdown","grace_ms":9223372036854775807})").grace,
            minutes(24 * 60));
}

TEST(ControlMessage, RefusesWhatIsNoOrder) {
  const std::string cases[] = {"",
                               "no JSON",
                               "[]",
                               "{}",
                               R"({"type":7})",
                               R"({"type":"cancel"})",
                               R"({"type":"cancel","request":""})",
                               R"({"type":"load","options":[]})",
                               R"({"type":"load","concurrency":0})",
                               R"({"type":"load","concurrency":4294967296})",
                               R"({"type":"unload"} trailing)",
                               std::string("\xff\x00\x01", 3)};
  for (const std::string& packet : cases) {
    const auto order = parse_order(packet);
    ASSERT_FALSE(order) << packet;
    EXPECT_EQ(order.error().code, "bad_message") << packet;
  }
  EXPECT_EQ(parse_order(R"({"type":"dance"})").error().code, "unsupported");
}

TEST(ControlMessage, WritesWhatTheContractSays) {
  EXPECT_EQ(loading_packet(0.5), R"({"type":"loading","fraction":0.5})");
  EXPECT_EQ(loading_packet(std::nullopt), R"({"type":"loading"})");
  EXPECT_EQ(loading_packet(std::nullopt, "GET / on port 1 answered 503"),
            R"({"type":"loading","detail":"GET / on port 1 answered 503"})");
  EXPECT_EQ(ready_packet({mib(1), kib(4)}, ""),
            R"({"type":"ready","private_bytes":1048576,"shared_bytes":4096})");
  EXPECT_EQ(
      ready_packet({}, "http://127.0.0.1:9"),
      R"({"type":"ready","private_bytes":0,"shared_bytes":0,"endpoint":"http://127.0.0.1:9"})");
  EXPECT_EQ(ended_packet("req-1", {.input = 1, .output = 2, .cached = 3, .device_ms = 4},
                         EndReason::cancelled),
            R"({"type":"ended","request":"req-1","input":1,"output":2,"cached":3,"device_ms":4,)"
            R"("reason":"cancelled"})");
  EXPECT_EQ(load_failed_packet({LoadFailure::model_broken, "bad magic"}),
            R"({"type":"load_failed","code":"model_broken","message":"bad magic"})");
}

TEST(ControlMessage, CutsMessagesThatWouldNotBeAccepted) {
  const std::string packet = error_packet("internal", std::string(1 << 20, 'x'));
  EXPECT_LT(packet.size(), std::size_t{5} << 10);
}

}  // namespace
}  // namespace stoker::worker
