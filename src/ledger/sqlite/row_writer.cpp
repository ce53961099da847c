#include "ledger/sqlite/row_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "ledger/sqlite/pico_text.h"

namespace stoker::ledger {
namespace {

std::string marks_for(std::string_view columns) {
  std::string marks = "?";
  for (auto i = std::ranges::count(columns, ','); i > 0; --i) marks += ", ?";
  return marks;
}

constexpr const char* row_columns =
    "request_id, terms, ending, place, accepted_at_ns, ended_at_ns, queue_ns, allocate_ns, "
    "start_ns, load_ns, warmup_ns, ttft_ns, generate_ns, input_tokens, output_tokens, "
    "cached_tokens, device_ms, amount_pico";

}  // namespace

// --- SharedValues ------------------------------------------------------------------------------

Result<SharedValues> SharedValues::open(Database& db, const char* table, const char* columns) {
  const std::string marks = marks_for(columns);
  Result<Statement> select =
      db.prepare(fmt::format("SELECT id FROM {} WHERE ({}) = ({})", table, columns, marks));
  if (!select) return tl::unexpected(std::move(select.error()));
  Result<Statement> insert = db.prepare(
      fmt::format("INSERT INTO {} ({}) VALUES ({}) RETURNING id", table, columns, marks));
  if (!insert) return tl::unexpected(std::move(insert.error()));
  return SharedValues(std::move(*select), std::move(*insert));
}

void SharedValues::add(std::int64_t value) {
  key_ += 'n';
  key_.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void SharedValues::add(std::string_view text) {
  const auto size = static_cast<std::int64_t>(text.size());
  key_ += 't';
  key_.append(reinterpret_cast<const char*>(&size), sizeof size).append(text);
}

void SharedValues::bind_key_to(Statement& statement) const {
  statement.reset();
  std::string_view rest = key_;
  while (!rest.empty()) {
    const bool is_text = rest.front() == 't';
    std::int64_t value = 0;
    std::memcpy(&value, rest.data() + 1, sizeof value);
    rest.remove_prefix(1 + sizeof value);
    if (is_text) {
      statement.bind(rest.substr(0, static_cast<std::size_t>(value)));
      rest.remove_prefix(static_cast<std::size_t>(value));
    } else {
      statement.bind(value);
    }
  }
}

Result<std::int64_t> SharedValues::number() {
  if (const auto known = known_.find(key_); known != known_.end()) return known->second;
  Statement* statement = &select_;
  bind_key_to(select_);
  Result<bool> found = select_.step();
  if (found && !*found) {
    statement = &insert_;
    bind_key_to(insert_);
    found = insert_.step();
  }
  if (!found) return tl::unexpected(std::move(found.error()));
  const std::int64_t number = statement->integer();
  statement->reset();  // an open reader would keep the transaction from ending
  known_.emplace(key_, number);
  return number;
}

// --- RowWriter ---------------------------------------------------------------------------------

Result<RowWriter> RowWriter::open(Database& db) {
  Result<Statement> insert = db.prepare(
      fmt::format("INSERT INTO ended_requests ({}) VALUES ({}) ON CONFLICT (request_id) DO NOTHING",
                  row_columns, marks_for(row_columns)));
  if (!insert) return tl::unexpected(std::move(insert.error()));
  Result<Statement> insert_span = db.prepare(
      "INSERT INTO request_spans (terms, last_request_id, first_request_id, last_ended_at_ns) "
      "VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING");
  if (!insert_span) return tl::unexpected(std::move(insert_span.error()));
  Result<SharedValues> terms = SharedValues::open(
      db, "request_terms",
      "deployment, tenant, key, route, stream, priority, per_request_nano, per_device_second_nano, "
      "per_1k_input_tokens_nano, per_1k_output_tokens_nano");
  if (!terms) return tl::unexpected(std::move(terms.error()));
  Result<SharedValues> endings =
      SharedValues::open(db, "request_endings", "outcome, status, reason, start_kind, usage_known");
  if (!endings) return tl::unexpected(std::move(endings.error()));
  Result<SharedValues> places = SharedValues::open(db, "request_places", "instance, device");
  if (!places) return tl::unexpected(std::move(places.error()));
  return RowWriter(std::move(*insert), std::move(*insert_span), std::move(*terms),
                   std::move(*endings), std::move(*places));
}

Result<void> RowWriter::write(const Admission& a, const Usage& u) {
  terms_.begin();
  for (const std::string& text :
       {std::cref(a.deployment), std::cref(a.tenant), std::cref(a.key), std::cref(a.route)}) {
    terms_.add(text);
  }
  for (const std::int64_t value :
       {std::int64_t{a.stream}, std::int64_t{a.priority}, a.prices.per_request.value,
        a.prices.per_device_second.value, a.prices.per_1k_input_tokens.value,
        a.prices.per_1k_output_tokens.value}) {
    terms_.add(value);
  }
  const Result<std::int64_t> terms = terms_.number();
  if (!terms) return tl::unexpected(terms.error());

  endings_.begin();
  endings_.add(std::string_view(to_text(u.outcome)));
  endings_.add(std::int64_t{u.status});
  endings_.add(std::string_view(u.reason));
  endings_.add(std::string_view(to_text(u.start)));
  endings_.add(std::int64_t{u.usage_known});
  const Result<std::int64_t> ending = endings_.number();
  if (!ending) return tl::unexpected(ending.error());

  places_.begin();
  places_.add(std::string_view(u.instance));
  places_.add(std::string_view(u.device));
  const Result<std::int64_t> place = places_.number();
  if (!place) return tl::unexpected(place.error());

  const std::string amount = pico_text(amount_of(a.prices, u));
  insert_.reset();
  for (const std::int64_t value :
       {static_cast<std::int64_t>(a.request.value), *terms, *ending, *place, a.accepted_at.ns,
        u.ended_at.ns, u.phases.queue.ns, u.phases.allocate.ns, u.phases.start.ns, u.phases.load.ns,
        u.phases.warmup.ns, u.phases.ttft.ns, u.phases.generate.ns, u.input_tokens, u.output_tokens,
        u.cached_tokens, u.device_ms}) {
    insert_.bind(value);
  }
  insert_.bind(amount);
  const Result<bool> stored = insert_.step();
  if (!stored) return tl::unexpected(stored.error());

  Span& span = spans_.try_emplace(*terms, Span{a.request, a.request, u.ended_at}).first->second;
  span.last_request = std::max(span.last_request, a.request);
  span.first_request = std::min(span.first_request, a.request);
  span.last_ended_at = std::max(span.last_ended_at, u.ended_at);
  return {};
}

Result<void> RowWriter::end_batch() {
  insert_.reset();
  for (const auto& [terms, span] : spans_) {
    insert_span_.reset();
    insert_span_.bind(terms);
    insert_span_.bind(static_cast<std::int64_t>(span.last_request.value));
    insert_span_.bind(static_cast<std::int64_t>(span.first_request.value));
    insert_span_.bind(span.last_ended_at.ns);
    if (const Result<bool> stored = insert_span_.step(); !stored) {
      return tl::unexpected(stored.error());
    }
  }
  spans_.clear();
  return {};
}

}  // namespace stoker::ledger
