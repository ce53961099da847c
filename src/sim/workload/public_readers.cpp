// Two public formats that record requests to one model: Azure's CSV and Mooncake's JSON lines.
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <chrono>

#include "sim/workload/decimal.h"
#include "sim/workload/json_fields.h"
#include "sim/workload/line_reader.h"
#include "sim/workload/readers.h"
#include "sim/workload/world_builder.h"

namespace stoker::sim {
namespace {

constexpr std::int64_t most_tokens = 1'000'000'000;

TraceWorld one_model(const TraceOptions& options) {
  return {.devices = {}, .deployments = {options.unknown_deployment}, .tenants = {"default"}};
}

tl::unexpected<Error> unsorted(const LineReader& lines, std::string_view field) {
  return lines.wrong(
      fmt::format("{} is before that of the line before: requests must stand in the order of their "
                  "time",
                  field),
      fmt::format("Sort the lines by {}.", field));
}

std::optional<std::int64_t> whole(std::string_view text, std::int64_t most) {
  const auto number = parse_decimal(text, 0);
  return number && *number >= 0 && *number <= most ? number : std::nullopt;
}

/// "2023-11-16 18:17:03.9799600", with T instead of the blank and a zone (Z, +01:00) if it likes.
/// Gives: nanoseconds since 1970.
std::optional<std::int64_t> parse_timestamp(std::string_view text) {
  constexpr std::string_view form = "dddd-dd-dd dd:dd:dd";
  if (text.size() < form.size()) return std::nullopt;
  for (std::size_t i = 0; i < form.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (form[i] == 'd' ? !digit : text[i] != form[i] && !(form[i] == ' ' && text[i] == 'T')) {
      return std::nullopt;
    }
  }
  const auto part = [&](std::size_t at, std::size_t digits) {
    int number = 0;
    for (std::size_t i = at; i < at + digits; ++i) number = number * 10 + (text[i] - '0');
    return number;
  };
  const std::chrono::year_month_day date(std::chrono::year(part(0, 4)),
                                         std::chrono::month(static_cast<unsigned>(part(5, 2))),
                                         std::chrono::day(static_cast<unsigned>(part(8, 2))));
  if (!date.ok() || part(0, 4) < 1970 || part(0, 4) > 2200 || part(11, 2) > 23 ||
      part(14, 2) > 59 || part(17, 2) > 60) {
    return std::nullopt;
  }
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  std::int64_t ns =
      (((days * 24 + part(11, 2)) * 60 + part(14, 2)) * 60 + part(17, 2)) * 1'000'000'000;
  text.remove_prefix(form.size());
  if (text.starts_with('.')) {
    const std::size_t end = std::min(text.find_first_not_of("0123456789", 1), text.size());
    const auto fraction = parse_decimal("0" + std::string(text.substr(0, end)), 9);
    if (!fraction) return std::nullopt;
    ns += *fraction;
    text.remove_prefix(end);
  }
  if (text.empty() || text == "Z") return ns;
  if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') return std::nullopt;
  const auto hours = whole(text.substr(1, 2), 14);
  const auto minutes_over = whole(text.substr(4, 2), 59);
  if (!hours || !minutes_over) return std::nullopt;
  const std::int64_t zone = minutes(*hours * 60 + *minutes_over).ns;
  return text[0] == '+' ? ns - zone : ns + zone;
}

class AzureReader final : public RequestSource {
 public:
  AzureReader(LineReader lines, const TraceOptions& options)
      : lines_(std::move(lines)), world_(one_model(options)) {}
  [[nodiscard]] const TraceWorld& world() const override { return world_; }

  [[nodiscard]] Result<void> read_head() {
    std::string_view line;
    const Result<bool> any = lines_.next(line);
    if (!any) return tl::unexpected(any.error());
    if (!*any || line.find("ContextTokens") == std::string_view::npos ||
        line.find("GeneratedTokens") == std::string_view::npos) {
      return lines_.wrong("the head must be TIMESTAMP,ContextTokens,GeneratedTokens");
    }
    return {};
  }

  [[nodiscard]] Result<bool> next(TraceRequest& out) override {
    std::string_view line;
    Result<bool> any = lines_.next(line);
    if (!any || !*any) return any;
    out.clear();
    const std::size_t first = line.find(',');
    const std::size_t second = first == std::string_view::npos ? first : line.find(',', first + 1);
    if (second == std::string_view::npos) return wrong("three columns are needed");
    const auto at = parse_timestamp(line.substr(0, first));
    if (!at) return wrong("TIMESTAMP must be like 2023-11-16 18:17:03.9799600");
    const auto in = whole(line.substr(first + 1, second - first - 1), most_tokens);
    if (!in) return wrong("ContextTokens must be a number from 0");
    const auto generated = whole(line.substr(second + 1), most_tokens);
    if (!generated) return wrong("GeneratedTokens must be a number from 0");
    if (!first_ns_) first_ns_ = last_ns_ = *at;
    if (*at < last_ns_) return unsorted(lines_, "TIMESTAMP");
    last_ns_ = *at;
    out.at = Duration{*at - *first_ns_};
    out.input_tokens = *in;
    out.output_tokens = *generated;
    return true;
  }

 private:
  [[nodiscard]] tl::unexpected<Error> wrong(std::string_view what) const {
    return lines_.wrong(what, "Correct the line or remove it.");
  }
  LineReader lines_;
  TraceWorld world_;
  std::optional<std::int64_t> first_ns_;
  std::int64_t last_ns_ = 0;
};

class MooncakeReader final : public RequestSource {
 public:
  MooncakeReader(LineReader lines, const TraceOptions& options)
      : lines_(std::move(lines)), world_(one_model(options)) {}
  [[nodiscard]] const TraceWorld& world() const override { return world_; }

  [[nodiscard]] Result<bool> next(TraceRequest& out) override {
    std::string_view line;
    Result<bool> any = lines_.next(line);
    if (!any || !*any) return any;
    out.clear();
    bool has_time = false;
    const Problem problem = for_each_field_of(
        parser_, line, [&](std::string_view key, const JsonValue& value) -> Problem {
          if (key == "timestamp") {
            has_time = true;
            return read_ms(key, value, out.at);
          }
          if (key == "input_length") return read_count(key, value, most_tokens, out.input_tokens);
          if (key == "output_length") return read_count(key, value, most_tokens, out.output_tokens);
          if (key == "hash_ids") return read_ids(key, value, out.prefix);
          return std::nullopt;
        });
    if (problem) return lines_.wrong(*problem, "Correct the line or remove it.");
    if (!has_time) return lines_.wrong("the request has no timestamp (milliseconds)");
    if (out.at < last_at_) return unsorted(lines_, "timestamp");
    last_at_ = out.at;
    return true;
  }

 private:
  LineReader lines_;
  simdjson::ondemand::parser parser_;
  TraceWorld world_;
  Duration last_at_;
};

}  // namespace

OpenedSource open_azure_trace(const std::string& path, const TraceOptions& options) {
  Result<LineReader> lines = LineReader::open(path);
  if (!lines) return tl::unexpected(lines.error());
  auto reader = std::make_unique<AzureReader>(std::move(*lines), options);
  const Result<void> head = reader->read_head();
  if (!head) return tl::unexpected(head.error());
  return reader;
}

OpenedSource open_mooncake_trace(const std::string& path, const TraceOptions& options) {
  Result<LineReader> lines = LineReader::open(path);
  if (!lines) return tl::unexpected(lines.error());
  return std::make_unique<MooncakeReader>(std::move(*lines), options);
}

}  // namespace stoker::sim
