// config/runtime_options.h and the workers' parsers: the same names, and what one calls good the
// other takes.
#include "config/runtime_options.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <sstream>
#include <string>

#include "config/load.h"
#include "worker/echo/echo_options.h"
#include "worker/exec/exec_options.h"
#include "worker/llama/llama_options.h"
#include "worker/onnx/onnx_options.h"

namespace stoker {
namespace {

using config::OptionInfo;
using config::Runtime;

/// What a parser says about `json`; "" if it takes it.
using Parser = std::function<std::string(const std::string& json)>;

struct Kind {
  Runtime runtime;
  Parser parse;
  std::set<std::string> internal;  // what app/plans.cpp adds, not the user
};

std::string llama(const std::string& json) {
  worker::LoadOrder order;
  order.model = "/m.gguf";
  order.options = json;
  const auto parsed = worker::llama_arguments(order, 4096);
  return parsed ? "" : parsed.error().message;
}
std::string onnx(const std::string& json) {
  const auto parsed = worker::onnx::parse_options(json);
  return parsed ? "" : parsed.error();
}
std::string echo(const std::string& json) {
  const auto parsed = worker::read_echo_options(json);
  return parsed ? "" : parsed.error();
}
std::string exec(const std::string& json) {
  const std::string rest = json == "{}" ? "}" : "," + json.substr(1);
  const auto parsed = worker::read_exec_options(R"({"command":["x"])" + rest);
  return parsed ? "" : parsed.error();
}

std::vector<Kind> kinds() {
  return {{Runtime::llama_cpp, llama, {}},
          {Runtime::onnx, onnx, {}},
          {Runtime::echo, echo, {}},
          {Runtime::command,
           exec,
           {"command", "env", "health_path", "start_timeout", "load_timeout", "sandboxed"}}};
}

/// A parser lists what it knows to someone who is far off.
std::set<std::string> names_of(const Kind& kind) {
  const std::string said = kind.parse(R"({"zzzzzzzzzzzz":1})");
  constexpr std::string_view list = "there are ";
  std::set<std::string> names;
  std::istringstream words(said.substr(said.find(list) + list.size()));
  for (std::string name; std::getline(words, name, ',');) {
    name.erase(0, name.find_first_not_of(' '));
    if (!kind.internal.contains(name)) names.insert(name);
  }
  return names;
}

/// Values that the table calls good, as JSON.
std::vector<std::string> good_values(const OptionInfo& option) {
  using T = OptionInfo::Type;
  std::vector<std::string> values;
  for (const std::string_view choice : option.choices)
    values.push_back(fmt::format("\"{}\"", choice));
  switch (option.type) {
    case T::integer:
      return {std::to_string(option.min), std::to_string(std::min<std::int64_t>(option.max, 100))};
    case T::flag:
      return {"true", "false"};
    case T::text:
    case T::path:
      return {R"("x")"};
    case T::texts:
      return {"[]", R"(["--top-k","5"])"};
    case T::duration:
      return {"5", R"("200ms")", R"("5 minutes")"};
    case T::size:
      return {"5", R"("64MiB")"};
    case T::choice:
      return values;
    case T::flag_or_choice:
      values.insert(values.end(), {"true", "false"});
      return values;
    case T::map:
      return {"{}"};
  }
  return values;
}

TEST(RuntimeOptions, AreThoseOfTheWorkers) {
  for (const Kind& kind : kinds()) {
    std::set<std::string> names;
    for (const OptionInfo& option : config::options_of(kind.runtime)) {
      names.emplace(option.name);
      for (const std::string& value : good_values(option)) {
        const std::string json = fmt::format(R"({{"{}":{}}})", option.name, value);
        EXPECT_EQ(kind.parse(json), "") << json;
      }
    }
    EXPECT_EQ(names, names_of(kind)) << static_cast<int>(kind.runtime);
  }
}

}  // namespace
}  // namespace stoker
