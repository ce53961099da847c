// Calls to webhooks: signed, tried again, never forgotten, never to two ends under one id (C16 in
// RELIABILITY.md).
#include <gmock/gmock.h>

#include "job_rig.h"

namespace stoker::jobs {
namespace {

using gateway::JobVerb;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* with_webhook = R"(,"webhook":"https://hooks.example/a?token=t")";

class WebhookTest : public JobRig {
 protected:
  WebhookTest() { options.webhooks.first_pause = ms(2); }
  /// A job that names a webhook and has completed.
  std::string completed() {
    const std::string id = submitted(with_webhook);
    complete(launcher.launched.next());
    return id;
  }
};

TEST_F(WebhookTest, TellsOfTheEndSigned) {
  start();
  const std::string id = completed();
  const Posted posted = poster.posted.next();
  EXPECT_EQ(posted.request.url, "https://hooks.example/a?token=t");
  EXPECT_EQ(posted.request.host, "hooks.example");
  EXPECT_THAT(posted.request.body, HasSubstr("\"id\":\"" + id));
  EXPECT_THAT(posted.request.body, HasSubstr(R"("status":"COMPLETED")"));
  EXPECT_THAT(posted.request.body, HasSubstr(R"("output":{"ok":1})"));
  EXPECT_EQ(posted.field("Content-Type"), "application/json");
  EXPECT_EQ(posted.field("webhook-id"), id + ".0");
  EXPECT_EQ(posted.field("webhook-signature"),
            secrets.sign("default", id + ".0", std::stoll(posted.field("webhook-timestamp")),
                         posted.request.body));
  posted.done({204, {}});
  restart();
  EXPECT_THAT(status(id).json, HasSubstr("COMPLETED"));
  EXPECT_EQ(poster.posted.left(), 0U) << "it has arrived";
}

TEST_F(WebhookTest, FailuresAreTriedAgainUnderTheSameId) {
  start();
  const std::string id = completed();
  const Posted first = poster.posted.next();
  first.done({500, {}});
  const Posted second = poster.posted.next();
  second.done({0, "hooks.example: is at an address that is not public"});
  const Posted third = poster.posted.next();
  EXPECT_EQ(third.field("webhook-id"), id + ".0");
  EXPECT_EQ(first.request.body, third.request.body);
  third.done({302, {}});
  poster.posted.next().done({200, {}});
}

TEST_F(WebhookTest, ARestartForgetsNone) {
  start();
  const std::string id = completed();
  (void)poster.posted.next();  // no answer comes in this life
  restart();
  const Posted again = poster.posted.next();
  EXPECT_EQ(again.field("webhook-id"), id + ".0");
  options.webhooks.first_pause = options.webhooks.longest_pause = minutes(60);
  again.done({410, {}});
  restart();
  EXPECT_THAT(status(id).json, HasSubstr("COMPLETED"));
  EXPECT_EQ(poster.posted.left(), 0U) << "410: the receiver wants no more";
}

TEST_F(WebhookTest, GivesUpAfterAWhile) {
  options.webhooks.give_up_after = ms(1);
  start();
  const std::string id = completed();
  poster.posted.next().done({500, {}});
  restart();
  EXPECT_THAT(status(id).json, HasSubstr("COMPLETED"));
  EXPECT_EQ(poster.posted.left(), 0U);
}

TEST_F(WebhookTest, EveryKindOfEndIsTold) {
  start();
  const std::string id = submitted(with_webhook);
  (void)launcher.launched.next();
  (void)call(JobVerb::cancel, "", id).get();
  const Posted cancelled = poster.posted.next();
  EXPECT_THAT(cancelled.request.body, HasSubstr("CANCELLED"));
  EXPECT_EQ(cancelled.field("webhook-id"), id + ".0");
  // What runs again has another end; of the first one nothing more is told.
  (void)call(JobVerb::retry, "", id).get();
  const Launched launched = launcher.launched.next();
  cancelled.done({500, {}});
  launched.sink->on_dispatched("e/1");
  launched.sink->on_end(500, "application/json", R"({"error":{"message":"no"}})");
  const Posted failed = poster.posted.next();
  EXPECT_EQ(failed.field("webhook-id"), id + ".1");
  EXPECT_THAT(failed.request.body, HasSubstr("FAILED"));
}

TEST_F(WebhookTest, OneHostThatHangsDoesNotTakeAllCalls) {
  start();
  for (int i = 0; i < 6; ++i) (void)completed();
  std::vector<Posted> hanging;
  for (int i = 0; i < 4; ++i) hanging.push_back(poster.posted.next());
  const std::string other = submitted(R"(,"webhook":"https://other.example/")");
  complete(launcher.launched.next());
  const Posted posted = poster.posted.next();
  EXPECT_EQ(posted.request.host, "other.example");
  EXPECT_EQ(poster.posted.left(), 0U);
  hanging[0].done({200, {}});
  EXPECT_EQ(poster.posted.next().request.host, "hooks.example");
}

TEST_F(WebhookTest, AUrlThatMayNotBeCalledIsRefusedAtOnce) {
  start();
  const Told refused = submit(R"(,"webhook":"http://127.0.0.1/")");
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.json, HasSubstr("'webhook' is not public"));
  EXPECT_EQ(submit(R"(,"webhook":7)").status, 400);
  EXPECT_EQ(submit(R"(,"webhook":null)").status, 200);
  EXPECT_EQ(submit(R"(,"webhook":"")").status, 200);
}

TEST_F(WebhookTest, AReceiverSaysWhenToComeBack) {
  start();
  (void)completed();
  poster.posted.next().done({503, {}, minutes(30)});
  (void)completed();
  poster.posted.next().done({503, {}, {}});
  EXPECT_THAT(poster.posted.next().field("webhook-id"), EndsWith(".0")) << "the second one";
  restart();
  EXPECT_EQ(poster.posted.next().request.host, "hooks.example");
  EXPECT_EQ(poster.posted.left(), 0U) << "the first one waits";
}

TEST(WebhookPause, IsNotLessThanWhatTheReceiverAskedFor) {
  const WebhookOptions options;
  Prng random(7);
  EXPECT_EQ(webhook_pause(options, 1, seconds(90), random), seconds(90));
  EXPECT_EQ(webhook_pause(options, 1, minutes(600), random), options.longest_pause);
  EXPECT_GE(webhook_pause(options, 7, seconds(90), random), minutes(30));
}

TEST(WebhookPause, GrowsToABoundAndIsNeverTheSame) {
  const WebhookOptions options;
  Prng random(7);
  for (const auto& [attempts, most] : {std::pair(1, seconds(5)),
                                       {2, seconds(20)},
                                       {3, seconds(80)},
                                       {7, minutes(60)},
                                       {1'000'000, minutes(60)}}) {
    Duration smallest = most;
    Duration largest{};
    for (int i = 0; i < 200; ++i) {
      const Duration pause = webhook_pause(options, attempts, {}, random);
      smallest = std::min(smallest, pause);
      largest = std::max(largest, pause);
    }
    EXPECT_GE(smallest.ns, most.ns / 2);
    EXPECT_LE(largest.ns, most.ns);
    EXPECT_GT(largest.ns - smallest.ns, most.ns / 4);
  }
}

TEST(WebhookSecrets, AreTheTenantsAndSignAsStandardWebhooksDo) {
  const access::WebhookSecrets secrets("0123456789abcdef");
  EXPECT_THAT(std::string(secrets.of("a").reveal()), StartsWith("whsec_"));
  EXPECT_NE(secrets.of("a").reveal(), secrets.of("b").reveal());
  EXPECT_EQ(secrets.of("a").reveal(), access::WebhookSecrets("0123456789abcdef").of("a").reveal());
  const std::string signature = secrets.sign("a", "id", 1, "body");
  EXPECT_THAT(signature, StartsWith("v1,"));
  EXPECT_EQ(signature.size(), 3U + 44U);
  EXPECT_NE(signature, secrets.sign("b", "id", 1, "body"));
  EXPECT_NE(signature, secrets.sign("a", "id", 2, "body"));
  EXPECT_NE(signature, secrets.sign("a", "id", 1, "Body"));
}

}  // namespace
}  // namespace stoker::jobs
