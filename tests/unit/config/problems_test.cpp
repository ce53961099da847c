// What is said about a wrong file.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reading.h"

namespace stoker::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Problems, AreSaidAtOnceWithPlaceAndHint) {
  const Loaded loaded = read(R"(listen: nowhere
auth: nobody
deployments:
  chat:
    model: m.gguf
    concurrency: 0
    autoscaling:
      min_instnces: 2
      min_instances: 3
      max_instances: 2
      target_utilization: 0.7
)");
  EXPECT_FALSE(loaded.ok());
  EXPECT_THAT(
      said(loaded),
      ElementsAre(
          "f.yaml:1:9: listen: 'nowhere' is not HOST:PORT (write for example 127.0.0.1:8080, "
          "[::1]:8080 or unix:/run/s.sock)",
          "f.yaml:2:7: auth: 'nobody' is not one of keys, none",
          "f.yaml:6:18: deployments.chat.concurrency: is 0, must be 1 or more",
          "f.yaml:8:7: deployments.chat.autoscaling.min_instnces: unknown key (did you mean "
          "'min_instances'?)",
          "f.yaml:9:22: deployments.chat.autoscaling.min_instances: is 3, above max_instances = 2 "
          "(raise max_instances or lower min_instances)",
          "f.yaml:11:27: deployments.chat.autoscaling.target_utilization: '0.7' has no percent "
          "sign "
          "(write 70%)"));
}

TEST(Problems, OfASettingInBothBlocksNameBothLines) {
  const Loaded loaded = read(R"(deployments:
  chat:
    runtime: echo
    deployment:
      min_instances: 2
      max_instances: 9
    autoscaling:
      min_replicas: 1
      max_instances: 9
)");
  EXPECT_THAT(
      said(loaded),
      ElementsAre("f.yaml:8:21: deployments.chat.autoscaling.min_replicas: is 1 here and 2 at "
                  "line 5 ('deployments.chat.deployment.min_instances') (they are one setting; "
                  "keep one of them)"));
}

/// A forgotten quote must not swallow the rest of the file, whether the library minds or not.
TEST(Problems, OfAnOpenQuoteNameTheLineThatOpensIt) {
  struct Case {
    std::string_view yaml;
    std::string_view place;
  };
  const std::vector<Case> table = {
      {"state_dir: \"./s\ndeployments:\n  e: {runtime: echo}\n", "f.yaml:1:12: "},
      {"state_dir: './s\ndeployments:\n  e: {runtime: echo}\n", "f.yaml:1:12: "},
      // Closed by the quote of a later value.
      {"state_dir: \"./s\nauth: keys\ndeployments:\n  e:\n    model: \"m\"\n", "f.yaml:1:12: "},
      {"deployments:\n  e:\n    runtime: echo\n    env: {A: 'x, B: y}\n    aliases: ['z']\n",
       "f.yaml:4:14: "},
      // Legal YAML.
      {"deployments:\n  e:\n    model: \"a\n      b\"\n", "f.yaml:3:12: "},
      {"deployments:\n  e:\n    command: [a,\n      'b\n       c']\n", "f.yaml:4:7: "},
      {"\xEF\xBB\xBFstate_dir: \"a\n  b\"\n", "f.yaml:1:12: "},
  };
  for (const auto& [yaml, place] : table) {
    const Loaded loaded = read(yaml);
    EXPECT_FALSE(loaded.ok()) << yaml;
    EXPECT_THAT(said(loaded),
                ElementsAre(HasSubstr(fmt::format("{}this quote is not closed", place))))
        << yaml;
  }
}

TEST(Problems, AreNotMadeOfQuotesThatAreClosed) {
  for (const std::string_view yaml : {
           R"(deployments: {e: {runtime: echo, env: {A: "a\"b", B: 'it''s', C: "\\"}}})",
           "deployments:\n  e:\n    runtime: echo\n    env:\n      A: |\n        \"one\n"
           "        'two\n      B: don't\n      C: \"x\" # \"y\n",
       }) {
    EXPECT_THAT(said(read(yaml)), ElementsAre()) << yaml;
  }
}

TEST(Problems, OfSettingsAgainstEachOther) {
  struct Case {
    std::string_view yaml;
    std::string_view message;
  };
  const std::vector<Case> table = {
      {"{auth: none, listen: 0.0.0.0:80, deployments: {e: {runtime: echo}}}",
       "loopback listener only"},
      {"{auth: none, listen: ':80', deployments: {e: {runtime: echo}}}", "loopback listener only"},
      {"{auth: none, listen: '127.evil.org:80', deployments: {e: {runtime: echo}}}",
       "loopback listener only"},
      {"deployments: {e: {runtime: llama.cpp}}", "runtime llama.cpp needs a model"},
      {"deployments: {e: {runtime: command}}", "runtime command needs it"},
      {"deployments: {e: {model: m, command: [x]}}", "write runtime: command"},
      {"deployments: {e: {runtime: echo, image: x}}", "write runtime: container"},
      {"deployments: {e: {runtime: container}}", "runtime container needs it"},
      {"deployments: {e: {runtime: echo, sha256: abc}}", "is 3 characters, must be 64"},
      {"deployments: {models: {runtime: echo}}", "is a reserved name"},
      {"deployments: {Big: {runtime: echo}}", "is not a name"},
      {"deployments: {e: {runtime: echo, aliases: [openai]}}", "is a reserved name"},
      {"deployments: {e: {runtime: echo, aliases: [f]}, f: {runtime: echo}}",
       "'f' already names deployment 'f'"},
      {"deployments: {e: {runtime: echo, aliases: [x, 'x:latest']}}",
       "'x' already names deployment 'e'"},
      {"deployments: {e: {runtime: echo, mode: dedicated, deployment: {min_instances: 1, "
       "max_instances: 2}}}",
       "dedicated keeps a fixed number"},
      {"deployments: {e: {runtime: echo, keep_warm: {min: 1h}}}", "above max = 15m"},
      {"deployments: {e: {runtime: echo, limits: {queue_timeout: never}}}", "cannot be never"},
      {"{traffic: {file_size: 1MiB, total_size: 512KiB}, deployments: {e: {runtime: echo}}}",
       "is less than one file may hold, 1.0 MiB"},
      {"{devices: [], deployments: {e: {runtime: echo}}}", "is an empty list"},
      {"{devices: [{kind: cpu}], deployments: {e: {runtime: echo}}}", "has no id"},
      {"{devices: [{id: a}, {id: a}], deployments: {e: {runtime: echo}}}", "another device too"},
      {"{currency: EUR, deployments: {e: {runtime: echo, pricing: {per_request: $1}}}}",
       "is in $, but currency is EUR"},
      {"deployments: {e: {runtime: echo, env: {STOKER_NONCE: x}}}", "set by Stoker itself"},
      {"deployments: {e: {runtime: echo, env: [NOVALUE]}}", "is not NAME=value"},
      {"deployments: {e: {runtime: echo, autoscaling: {schedule: [{min_instances: 2}]}}}",
       "is 2, above max_instances = 1"},
      {"deployments: {e: {runtime: echo, autoscaling: {schedule: [{timezone: Europe/Berlin}]}}}",
       "daylight saving is not followed"},
      {"deployments: {e: {runtime: echo, autoscaling: {schedule: [{timezone: '+15:00'}]}}}",
       "-14:00 to +14:00"},
      {"deployments: {e: {model: 'ftp://x/y'}}", "'ftp://' is not known"},
      {"deployments: {e: {runtime: echo, min_instances: 1}}", "belongs under autoscaling:"},
      {"deployments: {e: {runtime: ech}}", "did you mean 'echo'?"},
      {"deployments: {e: {runtime: echo, concurrency: [1]}}", "not a list"},
      {"deployments: {e: {runtime: echo, concurrency: }}", "has no value"},
      {"deployments: [e]", "must be a block of NAME: settings, not a list"},
      {"deployments: {e: {runtime: echo, aliases: x}}", "must be a list"},
      {"deployments: {e: {runtime: echo, readable: [/]}}", "would show everything"},
      {"deployments: {e: {runtime: onnx, model: m.gguf}}", "write runtime: llama.cpp"},
      {"deployments: {e: {model: m.onnx}}", "write runtime: onnx"},
      {"{listen: 99, deployments: {e: {runtime: echo}}}", "write 127.0.0.1:99, or :99 for all"},
  };
  for (const auto& [yaml, message] : table) {
    const Loaded loaded = read(yaml);
    EXPECT_FALSE(loaded.ok()) << yaml;
    EXPECT_THAT(said(loaded), Contains(HasSubstr(std::string(message)))) << yaml;
  }
}

TEST(Problems, OfOptionsAreFoundBeforeAWorkerSeesThem) {
  const Loaded loaded = read(R"(deployments:
  chat:
    model: m.gguf
    options:
      contxt: 512
      threads: many
      n_gpu_layers: 3
      embeddings: average
      mlock: true
      prompt_cache_memory: 256MiB
  echo:
    runtime: echo
    options: {token_delay: 5 moments, load_time: 1s}
  own:
    runtime: command
    command: [x]
    options: {speed: high}
)");
  EXPECT_THAT(
      said(loaded),
      ElementsAre(
          "f.yaml:5:15: deployments.chat.options.contxt: runtime llama.cpp has no such option (did "
          "you mean 'context'?)",
          "f.yaml:6:16: deployments.chat.options.threads: must be: whole number, 1 to 1024",
          "f.yaml:7:21: deployments.chat.options.n_gpu_layers: runtime llama.cpp has no such "
          "option "
          "(did you mean 'gpu_layers'?)",
          "f.yaml:8:19: deployments.chat.options.embeddings: must be: true, false, or one of none, "
          "mean, cls, last, rank",
          "f.yaml:13:28: deployments.echo.options.token_delay: must be: duration",
          "f.yaml:17:22: deployments.own.options.speed: runtime command has no such option (there "
          "are endpoint, health_interval, health_failures)"));
}

TEST(Problems, NameWhatWasMeantAndGoOn) {
  EXPECT_THAT(said(read("deployments: {e: {modle: m.gguf}}")),
              Contains(HasSubstr("modle: unknown key (did you mean 'model'?)")));
  // A misplaced block is read all the same, so that what is wrong in it is said at once.
  EXPECT_THAT(said(read("deployment: {e: {runtime: echo, concurency: 1}}")),
              ElementsAre(HasSubstr("deployment: unknown key (write deployments:"),
                          HasSubstr("deployment.e.concurency: unknown key (did you mean "
                                    "'concurrency'?)")));
  EXPECT_THAT(said(read("deployments: {e: {runtime: command, command: 'vllm serve'}}")),
              ElementsAre(HasSubstr("command: must be a list, not a single value (write [a, b])")));
}

TEST(Problems, OfTheCommandLineNameItsFlagAndTheSettingOnce) {
  constexpr std::string_view yaml = "deployments: {e: {runtime: echo}}";
  EXPECT_THAT(said(read(yaml, {{"deployments.e.concurrency", "0"}})),
              ElementsAre("--set: deployments.e.concurrency: is 0, must be 1 or more"));
  EXPECT_THAT(said(read(yaml, {{"listen", "99", "--listen"}})),
              ElementsAre("--listen: '99' is not HOST:PORT (write 127.0.0.1:99, or :99 for all "
                          "interfaces)"));
  EXPECT_THAT(said(read(yaml, {{"state_dir", "'x"}})),
              ElementsAre(HasSubstr("--set: state_dir: this quote is not closed")));
}

TEST(Problems, AreWarningsWhereASettingHasNoEffectYet) {
  struct Case {
    std::string_view yaml;
    std::string_view path;
  };
  const std::vector<Case> table = {
      {"{runtime: container, image: x}", "deployments.e.runtime: container is accepted"},
      {"{runtime: echo, health_path: /ready}", "deployments.e.health_path: has no effect for"},
  };
  for (const auto& [yaml, path] : table) {
    const Loaded loaded = read(fmt::format("deployments: {{e: {}}}", yaml));
    EXPECT_TRUE(loaded.ok()) << yaml;
    EXPECT_THAT(said(loaded), ElementsAre(HasSubstr(fmt::format("warning: {}", path)))) << yaml;
  }
}

TEST(Problems, OfBrokenYamlHaveTheirPlace) {
  struct Case {
    std::string_view yaml;
    std::string_view message;
  };
  const std::vector<Case> table = {
      {"", "f.yaml: is empty"},
      {"# only a comment\n", "f.yaml: is empty"},
      {"a: [1, 2\n", "broken YAML"},
      {"listen: a: b\n", "f.yaml:1:10: broken YAML"},
      {"\tlisten: x\n", "broken YAML"},
      {"listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n",
       "f.yaml:2:1: 'listen' is given twice, first at line 1"},
      {"a: &x 1\n", "anchor '&x'"},
      {"a: *x\n", ""},
      {"a: !!int 5\n", "tags are not supported"},
      {"a: 1\n---\nb: 2\n", "a second document begins here"},
      {"? [1]\n: 2\n", "a key must be plain text"},
      {"~: 1\n", "a key is missing"},
      {"just text\n", "must be a block of settings, not a single value"},
      {"- 1\n", "must be a block of settings, not a list"},
      {"a: \xff\n", "is not UTF-8 text"},
  };
  for (const auto& [yaml, message] : table) {
    const Loaded loaded = read(yaml);
    EXPECT_FALSE(loaded.ok()) << yaml;
    EXPECT_THAT(said(loaded), Contains(HasSubstr(std::string(message)))) << yaml;
  }
  EXPECT_FALSE(read(std::string_view("a: \0b\n", 6)).ok());
}

TEST(Problems, OfWhatIsTooMuchComeEarly) {
  EXPECT_THAT(said(read(std::string((1U << 20) + 1, '#'))),
              ElementsAre(HasSubstr("at most 1048576")));
  EXPECT_THAT(said(read("a: " + std::string(500, '[') + std::string(500, ']'))),
              ElementsAre(HasSubstr("more than 64 levels of nesting")));
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  EXPECT_THAT(said(read(deep)), ElementsAre(HasSubstr("more than 64 levels of nesting")));
}

}  // namespace
}  // namespace stoker::config
