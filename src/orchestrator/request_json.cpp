#include "orchestrator/request_json.h"

#include <algorithm>

#include "base/text.h"

namespace stoker::orchestrator {
namespace {

/// Milliseconds rounded to microseconds, so that the text stays short.
double in_ms(Duration d) {
  return static_cast<double>((d.ns + 500) / 1000) / 1000.0;
}

/// When the server died nobody knows, so that the phases are not either: what is known is how long
/// the request was open, to the start that ended it.
Duration total_of(const ledger::RequestRow& row) {
  if (row.usage.outcome != ledger::Outcome::interrupted) return row.usage.phases.total();
  return {std::max<std::int64_t>(row.usage.ended_at.ns - row.admission.accepted_at.ns, 0)};
}

}  // namespace

void write_request(JsonWriter& json, const ledger::RequestRow& row, std::string_view currency) {
  const ledger::Phases& p = row.usage.phases;
  json.object([&] {
    json.field("request", public_id(row.admission.request));
    json.field("deployment", row.admission.deployment);
    json.field("tenant", row.admission.tenant);
    json.field("key", row.admission.key);
    json.field("route", row.admission.route);
    json.field("stream", row.admission.stream);
    json.field("accepted_at", to_text(row.admission.accepted_at));
    json.field("ended_at", to_text(row.usage.ended_at));
    json.field("outcome", ledger::to_text(row.usage.outcome));
    json.field("status", row.usage.status);
    if (!row.usage.reason.empty()) json.field("reason", row.usage.reason);
    json.field("start", ledger::to_text(row.usage.start));
    json.field("instance", row.usage.instance);
    json.field("device", row.usage.device);
    json.object("phases_ms", [&] {
      json.field("queue", in_ms(p.queue));
      json.field("allocate", in_ms(p.allocate));
      json.field("start", in_ms(p.start));
      json.field("load", in_ms(p.load));
      json.field("warmup", in_ms(p.warmup));
      json.field("ttft", in_ms(p.ttft));
      json.field("generate", in_ms(p.generate));
      json.field("total", in_ms(total_of(row)));
    });
    json.object("usage", [&] {
      json.field("known", row.usage.usage_known);
      json.field("input_tokens", row.usage.input_tokens);
      json.field("output_tokens", row.usage.output_tokens);
      json.field("cached_tokens", row.usage.cached_tokens);
      json.field("device_ms", row.usage.device_ms);
    });
    json.field("amount", to_text(row.amount));
    json.field("currency", currency);
  });
}

}  // namespace stoker::orchestrator
