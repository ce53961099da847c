#include "gateway/receipt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/json_writer.h"
#include "base/text.h"

namespace stoker::gateway {
namespace {

struct NamedPhase {
  std::string_view name;
  Duration ledger::Phases::* member;
};
constexpr std::array<NamedPhase, 7> phase_names = {{{"queue", &ledger::Phases::queue},
                                                    {"allocate", &ledger::Phases::allocate},
                                                    {"start", &ledger::Phases::start},
                                                    {"load", &ledger::Phases::load},
                                                    {"warmup", &ledger::Phases::warmup},
                                                    {"ttft", &ledger::Phases::ttft},
                                                    {"generate", &ledger::Phases::generate}}};

/// Microseconds of each phase, differences of rounded-down borders: they sum to that of the total.
std::array<std::int64_t, phase_names.size()> phases_us(const ledger::Phases& phases) {
  std::array<std::int64_t, phase_names.size()> result{};
  std::int64_t border_ns = 0;
  for (std::size_t i = 0; i < phase_names.size(); ++i) {
    const std::int64_t before_us = border_ns / 1000;
    border_ns += (phases.*(phase_names[i].member)).ns;
    result[i] = border_ns / 1000 - before_us;
  }
  return result;
}

/// By hand, because every answer carries eight of them: fmt took a fortieth of a request.
void append_ms(std::string& out, std::int64_t us) {
  std::array<char, 24> digits;
  const auto ms = std::to_chars(digits.data(), digits.data() + digits.size(), us / 1000);
  out.append(digits.data(), ms.ptr);
  const std::int64_t rest = us % 1000;
  const char fraction[] = {'.', static_cast<char>('0' + rest / 100),
                           static_cast<char>('0' + rest / 10 % 10),
                           static_cast<char>('0' + rest % 10)};
  out.append(fraction, sizeof fraction);
}

}  // namespace

ledger::Phases phases_of(const Timeline& t) {
  ledger::Phases phases;
  const Instant end = std::max(t.accepted, t.ended);
  if (t.dispatched.ns == 0) {
    phases.queue = end - t.accepted;
    return phases;
  }
  const Instant dispatched = std::clamp(t.dispatched, t.accepted, end);

  // Borders of the start, clipped to the wait. One that was skipped lies where the next one does.
  std::array<Instant, 5> borders = {t.start.wanted, t.start.placed, t.start.up, t.start.loaded,
                                    t.start.ready};
  Instant next = dispatched;
  for (std::size_t i = borders.size(); i-- > 0;) {
    if (borders[i].ns == 0) borders[i] = next;
    borders[i] = next = std::min(next, std::clamp(borders[i], t.accepted, dispatched));
  }
  phases.allocate = borders[1] - borders[0];
  phases.start = borders[2] - borders[1];
  phases.load = borders[3] - borders[2];
  phases.warmup = borders[4] - borders[3];
  phases.queue = (borders[0] - t.accepted) + (dispatched - borders[4]);

  const Instant first = t.first_byte.ns == 0 ? end : std::clamp(t.first_byte, dispatched, end);
  phases.ttft = first - dispatched;
  phases.generate = end - first;
  return phases;
}

ledger::StartKind start_kind(const Timeline& t) {
  if (t.dispatched.ns == 0) return ledger::StartKind::none;
  if (t.start.ready <= t.accepted) return ledger::StartKind::warm;
  return t.start.resumed ? ledger::StartKind::resumed : ledger::StartKind::cold;
}

void add_server_timing(std::string& text, const ledger::Phases& phases, bool whole) {
  const auto us = phases_us(phases);
  std::int64_t total_us = 0;
  for (std::size_t i = 0; i < phase_names.size(); ++i) {
    total_us += us[i];
    if (phase_names[i].name == "generate" && !whole) break;
    if (i > 0) text += ", ";
    text += phase_names[i].name;
    text += ";dur=";
    append_ms(text, us[i]);
  }
  if (whole) {
    text += ", total;dur=";
    append_ms(text, total_us);
  }
}

std::string receipt_json(std::string_view deployment, const ledger::Usage& usage) {
  const auto us = phases_us(usage.phases);
  JsonWriter json;
  json.object([&] {
    json.field("request", public_id(usage.request));
    json.field("deployment", deployment);
    json.field("instance", usage.instance);
    json.field("device", usage.device);
    json.field("start", ledger::to_text(usage.start));
    json.object("phases_ms", [&] {
      std::int64_t total_us = 0;
      std::string number;
      const auto field = [&](std::string_view name, std::int64_t phase_us) {
        number.clear();
        append_ms(number, phase_us);
        json.raw_field(name, number);
      };
      for (std::size_t i = 0; i < phase_names.size(); ++i) {
        total_us += us[i];
        field(phase_names[i].name, us[i]);
      }
      field("total", total_us);
    });
    json.object("usage", [&] {
      json.field("input_tokens", usage.input_tokens);
      json.field("output_tokens", usage.output_tokens);
      json.field("cached_tokens", usage.cached_tokens);
      json.field("device_ms", usage.device_ms);
      json.field("known", usage.usage_known);
    });
  });
  return json.take();
}

}  // namespace stoker::gateway
