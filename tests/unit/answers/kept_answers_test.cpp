// Answers under an Idempotency-Key: kept once, given again, forgotten in time.
#include "answers/kept_answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>

#include "support/temp_dir.h"

namespace stoker::answers {
namespace {

using gateway::AnswerClaim;
using gateway::ClaimOutcome;
using gateway::KeptAnswer;
using Kind = ClaimOutcome::Kind;

class KeptAnswersTest : public ::testing::Test {
 protected:
  KeptAnswersTest() { start(); }
  [[nodiscard]] AnswerStore open() const {
    return AnswerStore::open(folder_ / "answers.db").value();
  }
  void start(KeptAnswersOptions options = {}) {
    kept_.reset();
    kept_ = KeptAnswers::create(open(), options, log_).value();
  }
  ClaimOutcome claim(const AnswerClaim& what) {
    std::promise<ClaimOutcome> told;
    kept_->claim(what, [&](ClaimOutcome outcome) { told.set_value(std::move(outcome)); });
    return told.get_future().get();
  }
  void keep(const AnswerClaim& what, KeptAnswer answer) {
    std::promise<void> done;
    kept_->keep(what, std::move(answer), [&] { done.set_value(); });
    done.get_future().get();
  }

  obs::Logger log_{{.level = obs::Level::error}};
  TempDir folder_;
  std::unique_ptr<KeptAnswers> kept_;
  AnswerClaim mine_{KeyId{1}, "k", "f"};
};

TEST_F(KeptAnswersTest, OneRunsTheOthersGetItsAnswer) {
  EXPECT_EQ(claim(mine_).kind, Kind::yours);
  EXPECT_EQ(claim(mine_).kind, Kind::running);
  EXPECT_EQ(claim({KeyId{1}, "k", "g"}).kind, Kind::different);
  EXPECT_EQ(claim({KeyId{2}, "k", "f"}).kind, Kind::yours) << "of another key";
  EXPECT_EQ(claim({KeyId{1}, "l", "f"}).kind, Kind::yours);
  const std::string body("\0\xff bytes", 8);
  keep(mine_, {201, "A: b\r\n", body});
  for (int life = 0; life < 2; ++life) {
    const ClaimOutcome again = claim(mine_);
    EXPECT_EQ(again.kind, Kind::answered);
    EXPECT_EQ(again.answer.status, 201);
    EXPECT_EQ(again.answer.fields, "A: b\r\n");
    EXPECT_EQ(again.answer.body, body);
    EXPECT_EQ(claim({KeyId{1}, "k", "g"}).kind, Kind::different);
    start();
  }
}

TEST_F(KeptAnswersTest, WhatHasNoAnswerThatCountsRunsAgain) {
  EXPECT_EQ(claim(mine_).kind, Kind::yours);
  kept_->release(mine_);
  EXPECT_EQ(claim(mine_).kind, Kind::yours);
  start();
  EXPECT_EQ(claim(mine_).kind, Kind::yours) << "the server has died meanwhile";
}

TEST_F(KeptAnswersTest, ManyLargeOnesAreForgottenAsTheyCome) {
  start({.most_bytes = 800});
  for (int i = 0; i < 20; ++i) {
    const AnswerClaim each{KeyId{1}, std::to_string(i), "f"};
    EXPECT_EQ(claim(each).kind, Kind::yours);
    keep(each, {200, "", std::string(101, 'x')});
  }
  EXPECT_EQ(claim({KeyId{1}, "11", "f"}).kind, Kind::yours) << "forgotten";
  EXPECT_EQ(claim({KeyId{1}, "19", "f"}).kind, Kind::answered);
}

TEST_F(KeptAnswersTest, TimeAndSizeAreBounded) {
  kept_.reset();  // its own sweep would find answers of 1970
  AnswerStore store = open();
  const auto put = [&](const char* key, std::int64_t at) {
    ASSERT_TRUE(store.insert({KeyId{1}, key, "f"}, {200, "", std::string(100, 'x')}, {at}));
  };
  for (int i = 0; i < 5; ++i) put(std::string(1, static_cast<char>('a' + i)).c_str(), i);
  const auto has = [&](const char* key) { return store.find(KeyId{1}, key).value().has_value(); };
  ASSERT_TRUE(store.forget({1}, 1'000));
  EXPECT_FALSE(has("a"));
  EXPECT_TRUE(has("b"));
  ASSERT_TRUE(store.forget({1}, 299));
  EXPECT_FALSE(has("b"));
  EXPECT_FALSE(has("c"));
  EXPECT_TRUE(has("d"));
  EXPECT_TRUE(has("e"));
  ASSERT_TRUE(store.forget({1}, 0));
  EXPECT_FALSE(has("e"));
}

}  // namespace
}  // namespace stoker::answers
