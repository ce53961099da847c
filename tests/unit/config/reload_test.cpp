// What a later configuration changes of an earlier one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reading.h"

namespace stoker::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

DeploymentConfig one(const std::string& settings) {
  const Loaded loaded = read("deployments:\n  a:\n    runtime: echo\n" + settings);
  EXPECT_TRUE(loaded.ok()) << testing::PrintToString(said(loaded));
  return loaded.config.deployments.at(0);
}

TEST(Reload, BoundsLimitsAndPricesLeaveInstancesAlone) {
  const DeploymentConfig before = one("");
  for (const char* settings :
       {"    aliases: [x]\n", "    autoscaling: {min_instances: 1}\n",
        "    keep_warm: {policy: fixed}\n", "    limits: {max_queued: 7}\n",
        "    pricing: {per_request: $1}\n", "    priority: 3\n", "    mode: dedicated\n",
        "    scale_on: {ttft: 1s}\n", "    abandoned_load: abort\n"}) {
    const DeploymentConfig after = one(settings);
    EXPECT_TRUE(same_instances(before, after)) << settings;
    EXPECT_FALSE(same(before, after)) << settings;
  }
  for (const char* settings : {"    options: {tokens: 3}\n", "    model: /m\n", "    env: {A: b}\n",
                               "    concurrency: 9\n", "    network: true\n",
                               "    readable: [/x]\n", "    resources: {memory: 1GiB}\n"}) {
    EXPECT_FALSE(same_instances(before, one(settings))) << settings;
  }
  EXPECT_TRUE(same(before, one("    priority: 0\n")));
}

TEST(Reload, NamesWhatDiffersOutsideTheDeployments) {
  const ServerConfig before = read("deployments: {a: {runtime: echo}}").config;
  EXPECT_THAT(changed_settings(before, before), IsEmpty());
  const Loaded after = read(R"(listen: 127.0.0.1:9
drain_timeout: 1s
log: {level: debug}
deployments: {a: {runtime: echo, priority: 1}}
)");
  EXPECT_THAT(changed_settings(before, after.config),
              ElementsAre("listen", "drain_timeout", "log", "deployments"));
}

TEST(Tls, NeedsBothFilesAndAPort) {
  const auto problems = [](const std::string& text) {
    return said(read(text + "\ndeployments: {a: {runtime: echo}}"));
  };
  EXPECT_THAT(problems("tls: {certificate: c, key: k}"), IsEmpty());
  EXPECT_THAT(problems("tls: {certificate: c}"), ElementsAre(HasSubstr("tls: has no key")));
  EXPECT_THAT(problems("tls: {key: k}"), ElementsAre(HasSubstr("tls: has no certificate")));
  EXPECT_THAT(problems("listen: unix:/x\ntls: {certificate: c, key: k}"),
              ElementsAre(HasSubstr("no use on a Unix socket")));
}

TEST(Cors, OriginsAreWrittenAsBrowsersSendThem) {
  const auto problems = [](const std::string& origin) {
    return said(read("cors: {origins: ['" + origin + "']}\ndeployments: {a: {runtime: echo}}"));
  };
  for (const char* good :
       {"https://a.example.com", "http://localhost:3000", "https://[::1]:8443"}) {
    EXPECT_THAT(problems(good), IsEmpty()) << good;
  }
  EXPECT_THAT(problems("*"), ElementsAre(HasSubstr("name each one")));
  for (const char* bad : {"", "null", "a.example.com", "https://", "https://a/", "https://a/b",
                          "https://A", "ftp://a", "https://*.a.com", "https://a b"}) {
    EXPECT_THAT(problems(bad), Contains(HasSubstr("is not an origin"))) << bad;
  }
}

}  // namespace
}  // namespace stoker::config
