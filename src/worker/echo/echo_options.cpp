#include "worker/echo/echo_options.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "worker/options.h"

namespace stoker::worker {
namespace {

constexpr std::int64_t max_tokens = 10'000'000;
constexpr std::int64_t max_reply_bytes = 64 << 20;

std::optional<std::int64_t> optional_integer(OptionReader& options, std::string_view key,
                                             std::int64_t max) {
  if (!options.raw(key)) return std::nullopt;
  return options.integer(key, 0, {.min = 0, .max = max});
}

FaultPoint fault_point(OptionReader& options, std::string_view key) {
  const std::string text = options.text(key, "");
  if (text.empty()) return {};
  if (text == "loading") return {Moment::loading};
  if (text == "ready") return {Moment::ready};
  if (text == "first_token") return {Moment::first_token};
  constexpr std::string_view prefix = "token:";
  std::int64_t token = 0;
  const char* const end = text.data() + text.size();
  if (text.starts_with(prefix) &&
      std::from_chars(text.data() + prefix.size(), end, token).ptr == end && token > 0) {
    return {Moment::token, token};
  }
  options.problem(
      fmt::format("option `{}` must be loading, ready, first_token or token:N, not {}", key, text));
  return {};
}

Garbage garbage(OptionReader& options, std::string_view key) {
  const std::string text = options.text(key, "");
  if (text.empty()) return Garbage::none;
  if (text == "control") return Garbage::control;
  if (text == "ended") return Garbage::ended;
  if (text == "http") return Garbage::http;
  if (text == "stream") return Garbage::stream;
  options.problem(
      fmt::format("option `{}` must be control, ended, http or stream, not {}", key, text));
  return Garbage::none;
}

EchoFaults read_faults(OptionReader& options) {
  EchoFaults faults;
  faults.load_failed = options.text("load_failed", "");
  faults.fail_first_loads = options.integer("fail_first_loads", 0, {.min = 0, .max = 1000});
  faults.counter_file = options.text("counter_file", "");
  if (faults.fail_first_loads > 0 && faults.counter_file.empty()) {
    options.problem("option `fail_first_loads` needs `counter_file`");
  }
  faults.load_stall = options.boolean("load_stall", false);
  faults.crash_at = fault_point(options, "crash_at");
  faults.exit_code = static_cast<int>(options.integer("exit_code", 1, {.min = 0, .max = 255}));
  faults.signal = static_cast<int>(options.integer("signal", 0, {.min = 0, .max = 64}));
  faults.hang_at = fault_point(options, "hang_at");
  faults.stop_control = options.boolean("stop_control", false);
  faults.garbage_at = garbage(options, "garbage_at");
  faults.double_done = options.boolean("double_done", false);
  faults.tokens_after_done = options.boolean("tokens_after_done", false);
  faults.negative_usage = options.boolean("negative_usage", false);
  faults.ignore_cancel = options.boolean("ignore_cancel", false);
  faults.slow = options.integer("slow", 1, {.min = 1, .max = 1'000'000});
  faults.probes = options.boolean("probes", false);
  return faults;
}

}  // namespace

tl::expected<EchoOptions, std::string> read_echo_options(const std::string& json) {
  OptionReader options(json);
  EchoOptions echo;
  echo.load_time = options.duration("load_time", {});
  echo.warmup_time = options.duration("warmup_time", {});
  echo.prefill_delay = options.duration("prefill_delay", {});
  echo.token_delay = options.duration("token_delay", {});
  echo.tokens = optional_integer(options, "tokens", max_tokens);
  echo.reply_bytes = optional_integer(options, "reply_bytes", max_reply_bytes);
  echo.memory = options.bytes("memory", {});
  if (const std::optional<std::string> text = options.raw("faults")) {
    OptionReader faults(*text);
    echo.faults = read_faults(faults);
    if (const auto problem = faults.finish()) options.problem("faults: " + *problem);
  }
  echo.prefill_delay.ns *= echo.faults.slow;
  echo.token_delay.ns *= echo.faults.slow;
  if (const auto problem = options.finish()) return tl::unexpected(*problem);
  return echo;
}

}  // namespace stoker::worker
