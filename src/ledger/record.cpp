#include "ledger/record.h"

namespace stoker::ledger {

const char* to_text(StartKind kind) {
  switch (kind) {
    case StartKind::none:
      return "none";
    case StartKind::warm:
      return "warm";
    case StartKind::cold:
      return "cold";
    case StartKind::resumed:
      return "resumed";
  }
  return "unknown";
}

const char* to_text(Outcome outcome) {
  switch (outcome) {
    case Outcome::completed:
      return "completed";
    case Outcome::failed:
      return "failed";
    case Outcome::cancelled:
      return "cancelled";
    case Outcome::expired:
      return "expired";
    case Outcome::refused:
      return "refused";
    case Outcome::interrupted:
      return "interrupted";
  }
  return "unknown";
}

Pico amount_of(const Prices& prices, const Usage& usage) {
  // What never ran used nothing: the price per request is for the attempt, not for the refusal.
  if (usage.start == StartKind::none) return {};
  return charge_request(prices.per_request) +
         charge_device_time(prices.per_device_second, usage.device_ms) +
         charge_tokens(prices.per_1k_input_tokens, usage.input_tokens) +
         charge_tokens(prices.per_1k_output_tokens, usage.output_tokens);
}

}  // namespace stoker::ledger
