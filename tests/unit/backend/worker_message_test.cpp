#include "backend/worker_message.h"

#include <gtest/gtest.h>

#include "backend/worker_conversation.h"
#include "base/prng.h"

namespace stoker::backend {
namespace {

TEST(WorkerMessage, EveryTypeIsRead) {
  const auto read = [](std::string_view packet) { return parse_worker_message(packet).value(); };
  EXPECT_EQ(
      std::get<WorkerHello>(
          read(
              R"({"type":"hello","contract":1,"worker":"echo","version":"0","nonce":"n","pid":7})"))
          .pid,
      7);
  EXPECT_EQ(std::get<WorkerLoading>(read(R"({"type":"loading","fraction":0.25})")).fraction, 0.25);
  EXPECT_EQ(std::get<WorkerLoading>(read(R"({"type":"loading"})")).fraction, std::nullopt);
  EXPECT_EQ(std::get<WorkerLoading>(read(R"({"type":"loading","detail":"waits"})")).detail,
            "waits");
  EXPECT_EQ(std::get<WorkerLoaded>(
                read(R"({"type":"loaded","private_bytes":1,"shared_bytes":2,"more":[]})"))
                .shared_bytes,
            Bytes{2});
  EXPECT_EQ(std::get<WorkerReady>(read(R"({"type":"ready","private_bytes":1,"shared_bytes":2})"))
                .endpoint,
            "");
  EXPECT_EQ(std::get<WorkerLoadFailed>(
                read(R"({"type":"load_failed","code":"bad_option","message":"m"})"))
                .code,
            LoadFailure::bad_option);
  EXPECT_EQ(std::get<WorkerProgress>(read(R"({"type":"progress","active":1,"steps":2,"tokens":3})"))
                .tokens,
            3);
  EXPECT_EQ(
      std::get<WorkerEnded>(
          read(
              R"({"type":"ended","request":"r","input":1,"output":2,"cached":0,"device_ms":5,"reason":"completed"})"))
          .reason,
      WorkEnd::completed);
  EXPECT_TRUE(std::holds_alternative<WorkerUnloaded>(read(R"({"type":"unloaded"})")));
  EXPECT_EQ(std::get<WorkerError>(read(R"({"type":"error","code":"c","message":"m"})")).code, "c");
}

TEST(WorkerMessage, WhatIsNotOneIsABreach) {
  const std::string long_text(5000, 'x');
  for (const std::string& packet :
       {std::string(""), std::string("null"), std::string("[]"), std::string("{"),
        std::string("{}"), std::string("\xff\xfe"), std::string(R"({"type":1})"),
        std::string(R"({"type":"load"})"), std::string(R"({"type":"loading","fraction":1.5})"),
        std::string(R"({"type":"loading","fraction":"half"})"),
        std::string(R"({"type":"loaded","private_bytes":-1,"shared_bytes":0})"),
        std::string(R"({"type":"loaded","private_bytes":1.5,"shared_bytes":0})"),
        std::string(R"({"type":"loaded","private_bytes":99999999999999999999,"shared_bytes":0})"),
        std::string(R"({"type":"progress","active":1,"steps":2})"),
        std::string(R"({"type":"load_failed","code":"odd","message":""})"),
        std::string(R"({"type":"error","code":"c","message":")") + long_text + "\"}",
        std::string(
            R"({"type":"hello","contract":2,"worker":"e","version":"","nonce":"","pid":1})")}) {
    EXPECT_FALSE(parse_worker_message(packet).has_value()) << packet;
  }
}

/// Source: RELIABILITY.md W8. A million packets, each valid, cut, spliced or struck by random
/// bytes.
TEST(WorkerMessage, AMillionDamagedPacketsNeverCrashIt) {
  const std::string good[] = {
      R"({"type":"hello","contract":1,"worker":"echo","version":"0","nonce":"n","pid":7})",
      R"({"type":"loading","fraction":0.25})",
      R"({"type":"ready","private_bytes":1,"shared_bytes":2,"endpoint":"unix:/run/1.sock"})",
      R"({"type":"load_failed","code":"model_broken","message":"m"})",
      R"({"type":"progress","active":1,"steps":2,"tokens":3})",
      R"({"type":"ended","request":"r","input":1,"output":2,"cached":0,"device_ms":5,"reason":"completed"})",
      R"({"type":"error","code":"c","message":"\u00e9\n"})",
  };
  constexpr int packets = 1'000'000;
  Prng random(1);
  const auto any_of = [&](const auto& list) { return list[random.below(std::size(list))]; };
  int taken = 0;
  for (int round = 0; round < packets; ++round) {
    std::string packet = any_of(good);
    if (random.below(4) == 0) packet.insert(random.below(packet.size()), any_of(good));
    for (std::uint64_t edits = random.below(4); edits > 0; --edits) {
      constexpr std::string_view telling = "\"\\{}[]:,-0919eE.\xff\x00t";
      packet[random.below(packet.size())] =
          random.below(2) == 0 ? static_cast<char>(random.below(256)) : any_of(telling);
    }
    if (random.below(8) == 0) packet.resize(random.below(packet.size() + 1));
    taken += parse_worker_message(packet).has_value() ? 1 : 0;
  }
  // Both sides were reached: damage that is seen, and packets that still pass.
  EXPECT_GT(taken, packets / 100);
  EXPECT_LT(taken, packets / 2);
}

class Conversation : public testing::Test {
 protected:
  static std::string hello(std::string_view nonce, std::string_view worker = "echo") {
    return R"({"type":"hello","contract":1,"version":"0","pid":7,"worker":")" +
           std::string(worker) + R"(","nonce":")" + std::string(nonce) + "\"}";
  }
  static std::string ready(std::string_view endpoint) {
    return R"({"type":"ready","private_bytes":1,"shared_bytes":2,"endpoint":")" +
           std::string(endpoint) + "\"}";
  }
  ConversationRules rules{.worker = "echo", .nonce = "secret", .endpoint = "unix:/run/1.sock"};
};

TEST_F(Conversation, HelloComesFirstOnceAndWithTheNonce) {
  EXPECT_FALSE(WorkerConversation(rules).accept(R"({"type":"unloaded"})").has_value());
  EXPECT_FALSE(WorkerConversation(rules).accept(hello("secreT")).has_value());
  EXPECT_FALSE(WorkerConversation(rules).accept(hello("secret", "llama")).has_value());
  WorkerConversation conversation(rules);
  EXPECT_TRUE(conversation.accept(hello("secret")).has_value());
  EXPECT_TRUE(conversation.greeted());
  EXPECT_FALSE(conversation.accept(hello("secret")).has_value());
}

TEST_F(Conversation, TheEndpointIsItsOwn) {
  const auto endpoint = [&](const std::string& said) -> std::string {
    WorkerConversation conversation(rules);
    (void)conversation.accept(hello("secret"));
    const Result<WorkerMessage> message = conversation.accept(ready(said));
    return message ? std::get<WorkerReady>(*message).endpoint : "refused";
  };
  EXPECT_EQ(endpoint(""), "unix:/run/1.sock");
  EXPECT_EQ(endpoint("unix:/run/2.sock"), "refused");
  EXPECT_EQ(endpoint("http://127.0.0.1:80"), "refused") << "not without the machine's network";
  rules.loopback_allowed = true;
  EXPECT_EQ(endpoint("http://127.0.0.1:80"), "http://127.0.0.1:80");
  EXPECT_EQ(endpoint("http://192.0.2.1:80"), "refused");
  EXPECT_EQ(endpoint("nonsense"), "refused");
}

TEST_F(Conversation, CountersNeverFall) {
  WorkerConversation conversation(rules);
  (void)conversation.accept(hello("secret"));
  EXPECT_TRUE(
      conversation.accept(R"({"type":"progress","active":1,"steps":5,"tokens":5})").has_value());
  EXPECT_TRUE(
      conversation.accept(R"({"type":"progress","active":0,"steps":5,"tokens":5})").has_value());
  EXPECT_FALSE(
      conversation.accept(R"({"type":"progress","active":0,"steps":4,"tokens":5})").has_value());
}

TEST_F(Conversation, APacketIsAtMost64KiB) {
  WorkerConversation conversation(rules);
  std::string packet = hello("secret");
  packet += std::string(control_packet_bytes, ' ');
  EXPECT_FALSE(conversation.accept(packet).has_value());
}

}  // namespace
}  // namespace stoker::backend
