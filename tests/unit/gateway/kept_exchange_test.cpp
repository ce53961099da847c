// The end of a kept answer waits for the disk; what does not count is not kept.
#include "gateway/kept_exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace stoker::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Connection final : public net::Exchange {
 public:
  std::vector<std::string> said;

  [[nodiscard]] const net::HttpRequest& request() const override { return head; }
  [[nodiscard]] Instant accepted_at() const override { return {}; }
  [[nodiscard]] const std::shared_ptr<const void>& context() const override { return nothing_; }
  [[nodiscard]] bool open() const override { return true; }
  [[nodiscard]] std::string peer() const override { return "test"; }
  void forget_request() override {}
  void respond(int status, std::string_view, std::string_view body) override {
    said.push_back(std::to_string(status) + " " + std::string(body.substr(0, 20)));
  }
  void start(int status, std::string_view, std::optional<std::uint64_t>) override {
    said.push_back("start " + std::to_string(status));
  }
  void write(std::string_view bytes) override { said.emplace_back(bytes.substr(0, 20)); }
  void switch_protocol(std::string_view) override {}
  void pause_input() override {}
  void resume_input() override {}
  void finish() override { said.emplace_back("finish"); }
  void abort() override { said.emplace_back("abort"); }
  [[nodiscard]] std::size_t unsent_bytes() const override { return 0; }
  void set_callbacks(Callbacks) override {}

  net::HttpRequest head;

 private:
  std::shared_ptr<const void> nothing_;
};

class Keeper final : public AnswerKeeper {
 public:
  void claim(AnswerClaim, std::function<void(ClaimOutcome)>) override {}
  void keep(const AnswerClaim&, KeptAnswer answer, std::function<void()> then) override {
    kept.push_back(std::move(answer));
    on_disk.push_back(std::move(then));
  }
  void release(const AnswerClaim&) override { ++released; }

  std::vector<KeptAnswer> kept;
  std::vector<std::function<void()>> on_disk;
  int released = 0;
};

class KeptExchangeTest : public ::testing::Test {
 protected:
  /// The disk has it, and the loop has heard of that.
  void write_to_disk() {
    for (auto& then : keeper.on_disk) std::exchange(then, nullptr)();
    loop->post([this] { loop->stop(); });
    loop->run();
  }

  std::unique_ptr<net::EventLoop> loop = net::EventLoop::create().value();
  Keeper keeper;
  std::shared_ptr<Connection> connection = std::make_shared<Connection>();
  std::shared_ptr<KeptExchange> exchange =
      std::make_shared<KeptExchange>(connection, *loop, keeper, AnswerClaim{KeyId{1}, "k", "f"});
};

TEST_F(KeptExchangeTest, AWholeAnswerGoesOutOnceItIsOnTheDisk) {
  exchange->will_be_whole();
  exchange->respond(200, "A: b\r\n", "body");
  EXPECT_FALSE(exchange->open());
  exchange.reset();
  EXPECT_THAT(connection->said, IsEmpty());
  write_to_disk();
  EXPECT_THAT(connection->said, ElementsAre("200 body"));
  ASSERT_EQ(keeper.kept.size(), 1U);
  EXPECT_EQ(keeper.kept[0].status, 200);
  EXPECT_EQ(keeper.kept[0].fields, "A: b\r\n");
  EXPECT_EQ(keeper.kept[0].body, "body");
  EXPECT_EQ(keeper.released, 0);
}

TEST_F(KeptExchangeTest, OfAStreamOnlyTheEndWaits) {
  exchange->start(200, "T: s\r\n", std::nullopt);
  exchange->write("one ");
  exchange->will_be_whole();
  exchange->write("two");
  exchange->finish();
  EXPECT_THAT(connection->said, ElementsAre("start 200", "one ", "two"));
  write_to_disk();
  EXPECT_EQ(connection->said.back(), "finish");
  EXPECT_EQ(keeper.kept[0].body, "one two");
}

TEST_F(KeptExchangeTest, ErrorsOfOursAndOfTheEngineAreNotKept) {
  exchange->respond(429, "", "limit");
  exchange.reset();
  EXPECT_THAT(connection->said, ElementsAre("429 limit"));
  EXPECT_EQ(keeper.released, 1);

  exchange = std::make_shared<KeptExchange>(connection, *loop, keeper, AnswerClaim{});
  exchange->will_be_whole();
  exchange->respond(500, "", "engine");
  exchange.reset();
  EXPECT_EQ(keeper.released, 2);

  exchange = std::make_shared<KeptExchange>(connection, *loop, keeper, AnswerClaim{});
  exchange->start(200, "", std::nullopt);
  exchange->write("data");
  exchange->write("error event");
  exchange->finish();
  exchange.reset();
  EXPECT_EQ(keeper.released, 3);
  EXPECT_EQ(connection->said.back(), "finish");
  EXPECT_THAT(keeper.kept, IsEmpty());
}

TEST_F(KeptExchangeTest, WhoseClientLeftLeavesTheKeyFree) {
  exchange->start(200, "", std::nullopt);
  exchange->abort();
  exchange.reset();
  EXPECT_EQ(keeper.released, 1);
}

TEST_F(KeptExchangeTest, OneThatIsTooLongIsSentAndOnlyNoted) {
  exchange->will_be_whole();
  exchange->respond(200, "A: b\r\n", std::string(KeptExchange::most_bytes + 1, 'x'));
  write_to_disk();
  EXPECT_THAT(connection->said, ElementsAre("200 xxxxxxxxxxxxxxxxxxxx"));
  EXPECT_EQ(keeper.kept[0].status, 0);
  EXPECT_EQ(keeper.kept[0].body, "");
}

TEST(Fingerprint, IsOfWhatIsAskedFor) {
  net::HttpRequest request;
  request.target = "/v1/x";
  request.body = "{}";
  const std::string first = fingerprint_of(request);
  EXPECT_EQ(first.size(), 64U);
  EXPECT_EQ(fingerprint_of(request), first);
  request.body = "{ }";
  EXPECT_NE(fingerprint_of(request), first);
  request.body = "{}";
  request.target = "/v1/y";
  EXPECT_NE(fingerprint_of(request), first);
}

}  // namespace
}  // namespace stoker::gateway
