// What a good file gives, and where files are looked for.
#include "config/load.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "reading.h"
#include "support/temp_dir.h"

namespace stoker::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;
using testing::StartsWith;
using testing::UnorderedElementsAre;

/// The only deployment of a file that must be good.
DeploymentConfig only(std::string_view yaml, const std::vector<Override>& overrides = {}) {
  Loaded loaded = read(yaml, overrides);
  EXPECT_THAT(said(loaded), IsEmpty());
  if (loaded.config.deployments.size() != 1) return {};
  return loaded.config.deployments.front();
}

TEST(Load, TakesTheTwoBlocksOfTheDesignAsTheyStand) {
  const Loaded loaded = read(R"(
deployments:
  first:
    runtime: echo
    deployment:
      min_instances: 2          # always keep 2 warm
      max_instances: 10
  second:
    runtime: echo
    autoscaling:
      min_instances: 1
      max_instances: 50
      target_utilization: 70%
      scale_up_threshold: 10 requests queued
      scale_down_delay: 5 minutes
)");
  ASSERT_THAT(said(loaded), IsEmpty());
  const AutoscalingConfig& first = loaded.config.deployments.at(0).autoscaling;
  EXPECT_EQ(first.min_instances, 2);
  EXPECT_EQ(first.max_instances, 10);
  const AutoscalingConfig& second = loaded.config.deployments.at(1).autoscaling;
  EXPECT_EQ(second.min_instances, 1);
  EXPECT_EQ(second.max_instances, 50);
  EXPECT_EQ(second.target_utilization_percent, 70);
  EXPECT_EQ(second.scale_up_threshold, 10);
  EXPECT_EQ(second.scale_down_delay, minutes(5));
  EXPECT_EQ(second.scale_to_zero_delay, minutes(5));
}

TEST(Load, TakesTheWholeFileOfTheDesign) {
  const Loaded loaded = read(R"(
listen: 127.0.0.1:8080
state_dir: ./state
auth: keys
devices:
  - {id: gpu0, kind: cuda, memory: 80GiB, slots: 4, price_per_hour: $2.50}
model_store: {disk: 200GiB, host_memory: 16GiB}
currency: USD
deployments:
  chat:
    model: hf://org/repo/file.gguf
    runtime: llama.cpp
    options: {context: 4096, threads: 1}
    concurrency: 4
    aliases: [org/Chat-7B, "gpt:latest"]
    autoscaling: {spare_instances: 0, scale_to_zero_delay: 10m}
    limits: {max_queued: 512, queue_timeout: 2m, start_timeout: 5m, request_timeout: 10m}
    pricing: {per_request: $0.001, per_gpu_second: $0.0001, per_1k_input_tokens: $0.001, per_1k_output_tokens: $0.002}
  vllm:
    runtime: command
    command: [vllm, serve, "{model}", --port, "{port}"]
    usage: inject
    served_model_name: org/Chat-7B
    env: {HF_HUB_OFFLINE: 1}
)");
  ASSERT_TRUE(loaded.ok());
  EXPECT_THAT(said(loaded), ElementsAre(HasSubstr("model_store.disk: accepted, has no"),
                                        HasSubstr("deployments.chat.model: models are not "
                                                  "downloaded yet")));
  const ServerConfig& config = loaded.config;
  EXPECT_FALSE(config.devices_auto);
  EXPECT_EQ(config.devices.at(0).id, "gpu0");
  EXPECT_EQ(config.devices.at(0).kind, DeviceKind::cuda);
  EXPECT_EQ(config.devices.at(0).memory, gib(80));
  EXPECT_EQ(config.devices.at(0).price_per_hour.value, 2'500'000'000);
  EXPECT_EQ(config.model_store.disk, gib(200));
  const DeploymentConfig& chat = config.deployments.at(0);
  EXPECT_EQ(chat.options, R"({"context":4096,"threads":1})");
  EXPECT_THAT(chat.aliases, ElementsAre("org/Chat-7B", "gpt"));
  EXPECT_EQ(chat.pricing.per_gpu_second.value, 100'000);
  EXPECT_FALSE(chat.autoscaling.scale_down_delay);
  EXPECT_EQ(chat.autoscaling.scale_to_zero_delay, minutes(10));
  const DeploymentConfig& vllm = config.deployments.at(1);
  EXPECT_THAT(vllm.command, ElementsAre("vllm", "serve", "{model}", "--port", "{port}"));
  EXPECT_EQ(vllm.served_model_name, "org/Chat-7B");
  EXPECT_EQ(vllm.cache_salt, CacheSalt::automatic);
  EXPECT_THAT(vllm.env, ElementsAre(Pair("HF_HUB_OFFLINE", "1")));
}

TEST(Load, KnowsTheSpellingsOfOtherSystems) {
  struct Case {
    std::string_view line;
    std::string_view canonical;
  };
  const std::vector<Case> table = {
      {"autoscaling: {min_replicas: 1}", "autoscaling: {min_instances: 1}"},
      {"autoscaling: {minReplicas: 1, maxReplicas: 3}",
       "autoscaling: {min_instances: 1, max_instances: 3}"},
      {"autoscaling: {workersMax: 3}", "autoscaling: {max_instances: 3}"},
      {"autoscaling_config: {downscale_delay_s: 600}", "autoscaling: {scale_down_delay: 10m}"},
      {"autoscaling: {scaledown_window: 60}", "autoscaling: {scale_down_delay: 1m}"},
      {"autoscaling: {keep_alive: 5m}", "autoscaling: {scale_down_delay: 5m}"},
      {"autoscaling: {keep_alive: -1}", "autoscaling: {scale_down_delay: never}"},
      {"autoscaling: {keep_alive: 0}", "autoscaling: {scale_down_delay: 0s}"},
      {"autoscaling: {ttl: 0}", "autoscaling: {scale_down_delay: never}"},
      {"autoscaling: {ttl: 300}", "autoscaling: {scale_down_delay: 5m}"},
      {"autoscaling: {target_utilization_percentage: 80}",
       "autoscaling: {target_utilization: 80%}"},
      {"containerConcurrency: 2", "concurrency: 2"},
      {"max_ongoing_requests: 2", "concurrency: 2"},
      {"limits: {executionTimeoutMs: 1500}", "limits: {request_timeout: 1500ms}"},
      {"limits: {timeout: 300}", "limits: {request_timeout: 5m}"},
      {"pricing: {input_cost_per_token: 0.000001}", "pricing: {per_1k_input_tokens: $0.001}"},
      {"pricing: {per_1m_output_tokens: $2}", "pricing: {per_1k_output_tokens: $0.002}"},
  };
  for (const auto& [line, canonical] : table) {
    const Loaded theirs = read(fmt::format("deployments: {{x: {{runtime: echo, {}}}}}", line));
    const Loaded ours = read(fmt::format("deployments: {{x: {{runtime: echo, {}}}}}", canonical));
    EXPECT_THAT(said(theirs), IsEmpty()) << line;
    EXPECT_THAT(said(ours), IsEmpty()) << canonical;
    EXPECT_EQ(to_yaml(theirs.config), to_yaml(ours.config)) << line;
  }
}

TEST(Load, OptionsKeepTheirTypes) {
  const DeploymentConfig echo = only(R"(
deployments:
  e:
    runtime: echo
    options:
      tokens: 4096
      faults:
        float: 1.0
        small: 1e-3
        text: "5"
        code: 007
        yes_is_text: yes
        truth: true
        nothing: null
        empty:
        list: [1, two, [3.5]]
        map: {a: {b: c}}
)");
  EXPECT_EQ(
      echo.options,
      R"({"tokens":4096,"faults":{"float":1.0,"small":0.001,"text":"5","code":"007",)"
      R"("yes_is_text":"yes","truth":true,"nothing":null,"empty":null,"list":[1,"two",[3.5]],)"
      R"("map":{"a":{"b":"c"}}}})");
  EXPECT_THAT(said(read("deployments: {e: {runtime: echo, options: {n: 99999999999999999999}}}")),
              ElementsAre(HasSubstr("99999999999999999999 does not fit into 64 bits")));
}

TEST(Load, DerivesWhatFollows) {
  EXPECT_EQ(only("deployments: {e: {runtime: echo, deployment: {min_instances: 3}}}")
                .autoscaling.max_instances,
            3);
  const DeploymentConfig dedicated =
      only("deployments: {e: {runtime: echo, mode: dedicated, deployment: {max_instances: 3}}}");
  EXPECT_EQ(dedicated.autoscaling.min_instances, 3);
  const std::string upper(64, 'A');
  const Loaded checked = read(fmt::format("deployments: {{e: {{model: m, sha256: {}}}}}", upper));
  EXPECT_EQ(checked.config.deployments.at(0).sha256, std::string(64, 'a'));
  EXPECT_THAT(said(checked), ElementsAre(HasSubstr("sha256: is not compared")));
}

TEST(Load, MacrosComeFromTheEnvironmentAndNeverShow) {
  const DeploymentConfig echo = only(R"(
deployments:
  e:
    runtime: echo
    concurrency: ${env.NUMBER}
    options: {faults: {n: "${env.NUMBER}"}}
    env:
      A: Bearer ${env.TOKEN}!
      B: $${env.TOKEN}
      C: ${PORT} ${env
)");
  EXPECT_EQ(echo.concurrency, 7);
  EXPECT_EQ(echo.options, R"({"faults":{"n":"7"}})");
  EXPECT_THAT(echo.env, ElementsAre(Pair("A", "Bearer s3cret!"), Pair("B", "${env.TOKEN}"),
                                    Pair("C", "${PORT} ${env")));

  const Loaded wrong = read(R"(
deployments:
  e:
    runtime: ${env.TOKEN}
    concurrency: ${env.TOKEN}
    model: ${env.MISSING}
    sha256: ${env.no close
)");
  EXPECT_THAT(said(wrong), Contains(HasSubstr("the environment variable MISSING is not set")));
  EXPECT_THAT(said(wrong), Contains(HasSubstr("has a broken macro")));
  EXPECT_THAT(said(wrong), Contains(HasSubstr("the value of '${env.TOKEN}' is not")));
  EXPECT_THAT(said(wrong), Not(Contains(HasSubstr("s3cret"))));
}

TEST(Load, AMacroCannotBringInSettings) {
  const Loaded loaded = parse("deployments: {e: {runtime: echo, model: \"${env.X}\"}}", "f",
                              [](auto) { return std::optional<std::string>("a\nauth: none\n"); });
  EXPECT_EQ(loaded.config.auth, Auth::keys);
  EXPECT_EQ(loaded.config.deployments.at(0).model, "a\nauth: none\n");
}

TEST(Load, OverridesWinAndMerge) {
  constexpr std::string_view yaml = R"(
listen: 127.0.0.1:1
deployments:
  llama3.2:
    runtime: echo
    options: {tokens: 1, reply_bytes: 2}
    deployment: {min_instances: 1, max_instances: 2}
)";
  const Loaded loaded = read(yaml, {{"listen", "127.0.0.1:2"},
                                    {"listen", "127.0.0.1:3"},
                                    {"deployments.llama3.2.autoscaling.max_instances", "5"},
                                    {"deployments.llama3.2.options.reply_bytes", "3"},
                                    {"deployments.new", "{runtime: echo}"}});
  EXPECT_THAT(said(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.listen, "127.0.0.1:3");
  ASSERT_EQ(loaded.config.deployments.size(), 2U);
  const DeploymentConfig& llama = loaded.config.deployments.at(0);
  EXPECT_EQ(llama.name, "llama3.2");
  EXPECT_EQ(llama.autoscaling.min_instances, 1);
  EXPECT_EQ(llama.autoscaling.max_instances, 5);
  EXPECT_EQ(llama.options, R"({"tokens":1,"reply_bytes":3})");
  EXPECT_EQ(loaded.config.deployments.at(1).name, "new");

  EXPECT_THAT(said(read(yaml, {{"lisen", "x"}, {"listen", "[1"}})),
              ElementsAre(StartsWith("--set: lisen: unknown key (did you mean 'listen'?)"),
                          StartsWith("--set: listen: ")));
}

TEST(Load, TakesWhatInstancesAskOfDevices) {
  const Loaded loaded = read(R"(
devices:
  - {id: a, kind: cuda, labels: {zone: near, disk: fast}}
  - {id: b, kind: cuda, labels: {zone: near}}
  - {id: c, kind: cpu}
deployments:
  two: {runtime: echo, resources: {devices: 2, kind: cuda, share: 50%, labels: {zone: near}}}
  alone: {runtime: echo, resources: {exclusive: true}}
  any: {runtime: echo}
)");
  ASSERT_TRUE(loaded.ok()) << testing::PrintToString(said(loaded));
  EXPECT_THAT(said(loaded), IsEmpty());
  EXPECT_THAT(loaded.config.devices.at(0).labels,
              ElementsAre(Pair("disk", "fast"), Pair("zone", "near")));
  const ResourcesConfig& two = loaded.config.deployments.at(2).resources;
  EXPECT_EQ(two.devices, 2);
  EXPECT_EQ(two.share_percent, 50);
  EXPECT_THAT(two.labels, ElementsAre(Pair("zone", "near")));
  EXPECT_TRUE(loaded.config.deployments.at(0).resources.exclusive);
  EXPECT_FALSE(loaded.config.deployments.at(1).resources.share_percent)
      << "unset: none is promised";
}

TEST(Load, SaysWhatNoDeviceCanGive) {
  EXPECT_THAT(said(read(R"(
devices:
  - {id: a, kind: cuda, labels: {zone: near}}
  - {id: b, kind: cpu, labels: {disk: fast}}
deployments:
  far: {runtime: echo, resources: {labels: {zone: far}}}
  kind: {runtime: echo, resources: {kind: cuda, labels: {disk: fast}}}
  split: {runtime: echo, resources: {labels: {zone: near, disk: fast}}}
  two: {runtime: echo, resources: {devices: 2, kind: cuda}}
  alone: {runtime: echo, resources: {exclusive: true, share: 50%}}
)")),
              UnorderedElementsAre(HasSubstr("far.resources.labels.zone: no device that it can"),
                                   HasSubstr("kind.resources.labels.disk: no device that it can"),
                                   HasSubstr("split.resources.labels: needs a device that"),
                                   HasSubstr("two.resources.devices: needs 2 devices that fit, and "
                                             "of those under devices: only 1 does"),
                                   HasSubstr("alone.resources.share: has no effect where nobody")));
  EXPECT_THAT(said(read("deployments: {e: {runtime: echo, resources: {labels: {zone: a}}}}")),
              ElementsAre(HasSubstr("with devices: auto none has labels")));
}

TEST(Load, TakesWeightsOfTenants) {
  const Loaded loaded = read(R"(
tenants: {default: {weight: 3}, team-b: {weight: 2}, a: {}}
deployments: {e: {runtime: echo}}
)");
  ASSERT_TRUE(loaded.ok()) << testing::PrintToString(said(loaded));
  EXPECT_THAT(said(loaded), IsEmpty());
  std::vector<std::pair<std::string, std::int32_t>> weights;
  for (const TenantConfig& each : loaded.config.tenants) {
    weights.emplace_back(each.name, each.weight);
  }
  EXPECT_THAT(weights, ElementsAre(Pair("a", 1), Pair("default", 3), Pair("team-b", 2)));
  EXPECT_EQ(read("deployments: {e: {runtime: echo}}").config.tenants.at(0).weight, 1);

  EXPECT_THAT(said(read("tenants: {A: {weight: 2}, default: {weight: 0, wieght: 2}}\n"
                        "deployments: {e: {runtime: echo}}")),
              UnorderedElementsAre(HasSubstr("tenants.A: 'A' is not a name"),
                                   HasSubstr("tenants.default.weight: "),
                                   HasSubstr("tenants.default.wieght: unknown key (did you mean "
                                             "'weight'?)")));
}

TEST(Load, TakesLimitsOfTenants) {
  const Loaded loaded = read(R"(
tenants: {acme: {limits: {rpm: 5, concurrent_requests: 0, gpu_seconds_per_day: auto}}}
deployments: {e: {runtime: echo}}
)");
  ASSERT_TRUE(loaded.ok()) << testing::PrintToString(said(loaded));
  const TenantLimitsConfig& limits = loaded.config.tenants.at(0).limits;
  EXPECT_EQ(limits.requests_per_minute, 5);
  EXPECT_EQ(limits.concurrent_requests, 0);
  EXPECT_EQ(limits.gpu_seconds_per_day, std::nullopt);
  EXPECT_EQ(limits.input_tokens_per_minute, std::nullopt);

  EXPECT_THAT(
      said(read("tenants:\n  a: {limits: {requests_per_minute: -1, output_token_per_minute: 5}}\n"
                "  b: {limits: 7}\n  c: {limits: {rpm: 1, requests_per_minute: 2}}\n"
                "deployments: {e: {runtime: echo}}")),
      UnorderedElementsAre(
          HasSubstr("2:37: tenants.a.limits.requests_per_minute: "),
          HasSubstr("tenants.a.limits.output_token_per_minute: unknown key (did you "
                    "mean 'output_tokens_per_minute'?)"),
          HasSubstr("3:15: tenants.b.limits: "),
          HasSubstr("tenants.c.limits.requests_per_minute: is 2 here")));
}

TEST(Load, CanonicalTextGivesTheSameConfiguration) {
  const Loaded loaded = read(R"(
currency: EUR
devices: [{id: a, memory: 1GiB}, {id: b, kind: fake, slots: 2, price_per_hour: 1.25}]
deployments:
  e:
    runtime: command
    command: [run, --flag, "", "null", "a b", "x,y", "#1", "${env.TOKEN}", "$${env.NAME}", "ümlaut", "1:"]
    env: {A: "line\nfeed", B: "tab\t\"quote\" \\", C: ""}
    options: {health_interval: 0, endpoint: relay}
    readable: [data, "a b"]
    autoscaling: {max_instances: 4, scale_down_delay: never, schedule: [{days: mon-fri, from: "08:00", to: "18:00", timezone: "Etc/GMT-2", min_instances: 2}]}
    scale_on: {requests_per_second: 2.5}
  f:
    runtime: echo
    options: {faults: {s: "$${env.NAME}", f: 2.0, deep: [{a: "b: c"}]}}
)");
  ASSERT_TRUE(loaded.ok()) << testing::PrintToString(said(loaded));
  const std::string text = to_yaml(loaded.config);
  const Loaded again = read(text);
  ASSERT_TRUE(again.ok()) << text << testing::PrintToString(said(again));
  EXPECT_EQ(to_yaml(again.config), text);
  EXPECT_EQ(again.config.deployments.at(0).autoscaling.schedule.at(0).utc_offset_minutes, 120);
  EXPECT_FALSE(again.config.deployments.at(0).autoscaling.target_utilization_percent);
  EXPECT_EQ(again.config.deployments.at(0).command, loaded.config.deployments.at(0).command);
  EXPECT_EQ(again.config.deployments.at(0).env, loaded.config.deployments.at(0).env);
  for (const std::size_t i : {0U, 1U}) {
    EXPECT_EQ(again.config.deployments.at(i).options, loaded.config.deployments.at(i).options);
  }
}

TEST(Load, FingerprintFollowsSettingsAndNotSecrets) {
  const auto print = [](std::string_view yaml) { return fingerprint(read(yaml).config); };
  const std::string base = print("deployments: {e: {runtime: echo, env: {K: one}}}");
  EXPECT_EQ(base.size(), 16U);
  EXPECT_EQ(base, print("deployments:\n  e: {env: {K: two}, runtime: echo, concurrency: 4}"));
  EXPECT_NE(base, print("deployments: {e: {runtime: echo, env: {L: one}}}"));
  EXPECT_NE(base, print("deployments: {e: {runtime: echo, env: {K: one}, concurrency: 5}}"));
}

class Files : public testing::Test {
 protected:
  std::string write(const std::string& name, std::string_view text) const {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path.string();
  }
  const TempDir dir_;
  const std::filesystem::path folder_ = dir_.path();
};

TEST_F(Files, AreReadOrRefused) {
  EXPECT_THAT(said(load((folder_ / "none.yaml").string(), test_environment)),
              ElementsAre(HasSubstr("none.yaml: cannot be read: No such file")));
  EXPECT_THAT(said(load(folder_.string(), test_environment)),
              ElementsAre(HasSubstr("is a directory")));
  EXPECT_TRUE(load(write("a.yaml", "deployments: {e: {runtime: echo}}"), test_environment).ok());
  const std::string huge = write("b.yaml", std::string(3U << 20, '#'));
  EXPECT_THAT(said(load(huge, test_environment)),
              ElementsAre(HasSubstr("at most 1048576 are read")));
}

TEST_F(Files, AMissingModelIsOnlyAWarning) {
  const std::string model = write("there.gguf", "x");
  const std::string file = write("c.yaml", fmt::format("deployments:\n"
                                                       "  a: {{model: \"{}\"}}\n"
                                                       "  b: {{model: \"{}.gone\"}}\n"
                                                       "  c: {{model: \"file:{}.gone\"}}\n"
                                                       "  d: {{model: hf://o/r/f}}\n",
                                                       model, model, model));
  const Loaded loaded = load(file, test_environment);
  EXPECT_TRUE(loaded.ok());
  EXPECT_THAT(said(loaded),
              ElementsAre(HasSubstr("deployments.b.model: "), HasSubstr("deployments.c.model: "),
                          HasSubstr("deployments.d.model: models are not downloaded yet")));
}

TEST_F(Files, AreFoundInTheirOrder) {
  const std::string home = folder_.string();
  bool has_variable = false;
  const Environment environment = [&](std::string_view name) -> std::optional<std::string> {
    if (name == "HOME") return home;
    if (name == "STOKER_CONFIG" && has_variable) return "variable.yaml";
    return std::nullopt;
  };
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder_);
  EXPECT_EQ(locate({}, environment), std::nullopt);
  const std::string in_home = write(".config/stoker/stoker.yaml", "");
  EXPECT_EQ(locate({}, environment), in_home);
  write("stoker.yaml", "");
  EXPECT_EQ(locate({}, environment), "stoker.yaml");
  has_variable = true;
  EXPECT_EQ(locate({}, environment), "variable.yaml");
  EXPECT_EQ(locate("flag.yaml", environment), "flag.yaml");
  std::filesystem::current_path(before);
}

}  // namespace
}  // namespace stoker::config
