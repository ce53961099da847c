#include "gateway/admin_routes.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "base/text.h"
#include "gateway/follower.h"
#include "gateway/ollama_lists.h"

namespace stoker::gateway {
namespace {

constexpr std::int64_t max_listed = 10'000;

/// Number in the query string; `fallback` if absent.
Result<std::int64_t> number(std::string_view query, std::string_view name, std::int64_t fallback) {
  const std::optional<std::string> text = net::query_value(query, name);
  if (!text) return fallback;
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), n);
  if (error != std::errc{} || end != text->data() + text->size() || n < 0 || n > max_listed) {
    return failure(ErrorCode::invalid,
                   fmt::format("'{}' must be a whole number from 0 to {}", name, max_listed));
  }
  return n;
}

/// Seconds since 1970 or nothing.
Result<std::optional<WallTime>> time(std::string_view query, std::string_view name) {
  const std::optional<std::string> text = net::query_value(query, name);
  if (!text) return std::optional<WallTime>{};
  std::int64_t s = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), s);
  constexpr std::int64_t last_second = 9'000'000'000;
  if (error != std::errc{} || end != text->data() + text->size() || s < 0 || s > last_second) {
    return failure(ErrorCode::invalid, fmt::format("'{}' must be in seconds since 1970", name));
  }
  return std::optional<WallTime>{WallTime{s * 1'000'000'000}};
}

bool flag(std::string_view query, std::string_view name) {
  const std::optional<std::string> text = net::query_value(query, name);
  return text && *text != "0" && *text != "false";
}

std::string text(std::string_view query, std::string_view name) {
  return net::query_value(query, name).value_or(std::string{});
}

/// A key with `admin` sees everything, another one what its tenant and its deployments are.
Sight sight_of(const access::Key& key) {
  if (key.has(access::scope::admin)) return {};
  return {key.tenant_name, key.deployments};
}

Result<EventFilter> event_filter(std::string_view query, const Sight& sight) {
  EventFilter filter;
  filter.sight = sight;
  const Result<std::int64_t> limit = number(query, "limit", filter.limit);
  if (!limit) return tl::unexpected(limit.error());
  filter.limit = *limit;
  filter.deployment = text(query, "deployment");
  const std::string since = text(query, "since");
  std::from_chars(since.data(), since.data() + since.size(), filter.since);
  return filter;
}

Result<std::string> list_requests(AdminApi& api, std::string_view query, const Sight& sight) {
  RequestFilter filter;
  filter.sight = sight;
  const Result<std::int64_t> limit = number(query, "limit", filter.limit);
  if (!limit) return tl::unexpected(limit.error());
  filter.limit = *limit;
  filter.deployment = text(query, "deployment");
  filter.outcome = text(query, "outcome");
  return api.requests_json(filter);
}

Result<std::string> sum_usage(AdminApi& api, std::string_view query, const Sight& sight) {
  UsageFilter filter;
  filter.sight = sight;
  filter.deployment = text(query, "deployment");
  if (const std::optional<std::string> by = net::query_value(query, "by")) filter.by = *by;
  for (const auto& [name, member] :
       {std::pair{"from", &UsageFilter::from}, {"to", &UsageFilter::to}}) {
    const Result<std::optional<WallTime>> at = time(query, name);
    if (!at) return tl::unexpected(at.error());
    filter.*member = *at;
  }
  return api.usage_json(filter);
}

/// What a query is asked with; a copy, as it runs on another thread.
struct Question {
  Route route;
  std::string method;
  std::string name;
  std::string query;
  std::string body;
  Sight sight;
};

Result<std::string> run_query(AdminApi& api, const Question& question) {
  const auto& [route, method, name, query, body, sight] = question;
  switch (route) {
    case Route::ps:
      return api.ps_json(text(query, "deployment"), sight);
    case Route::ollama_ps:
      return api.ps_json({}, sight).map([](const std::string& ps) { return ollama_ps_json(ps); });
    case Route::events:
    case Route::decisions: {
      const Result<EventFilter> filter = event_filter(query, sight);
      if (!filter) return tl::unexpected(filter.error());
      return route == Route::events ? api.events_json(*filter) : api.decisions_json(*filter);
    }
    case Route::logs: {
      const Result<std::int64_t> lines = number(query, "lines", 100);
      if (!lines) return tl::unexpected(lines.error());
      return api.log_text(name, *lines, sight);
    }
    case Route::requests:
      return list_requests(api, query, sight);
    case Route::request: {
      const std::optional<RequestId> id = parse_request_id(name);
      if (!id) {
        return failure(ErrorCode::not_found, fmt::format("'{}' is not the id of a request", name));
      }
      return api.request_json(*id, sight);
    }
    case Route::usage:
      return sum_usage(api, query, sight);
    case Route::warm:
      return api.warm(name);
    case Route::stop:
      return api.stop(name);
    case Route::keys:
      return method == "POST" ? api.create_key(body) : api.keys_json();
    case Route::key:
      return method == "DELETE" ? api.revoke_key(name, flag(query, "hard"))
                                : api.change_key(name, body);
    case Route::webhook_secret:
      return api.webhook_secret_json(
          net::query_value(query, "tenant").value_or(std::string(access::default_tenant_name)));
    default:
      return failure(ErrorCode::not_found, "there is no such query");
  }
}

ApiError busy() {
  return {503, "busy", "too many admin queries at once; try again", {}, seconds(1)};
}

}  // namespace

std::string id_fields(Dialect dialect, RequestId id) {
  std::string fields = fmt::format("X-Request-Id: {}\r\n", public_id(id));
  if (dialect == Dialect::anthropic) fields += fmt::format("request-id: {}\r\n", public_id(id));
  return fields;
}

std::string plain_fields(std::string_view content_type, RequestId id) {
  return fmt::format("Content-Type: {}\r\n", content_type) + id_fields(Dialect::plain, id);
}

void send_error(net::Exchange& exchange, Dialect dialect, const ApiError& error, RequestId id) {
  const std::string fields = "Content-Type: application/json\r\n" + id_fields(dialect, id);
  exchange.respond(error.status, fields + retry_after_field(error), error_body(dialect, error));
}

ApiError to_error(const Error& error) {
  const std::string message =
      error.hint.empty() ? error.message : error.message + "; " + error.hint;
  switch (error.code) {
    case ErrorCode::invalid:
      return {400, "invalid", message, {}, {}};
    case ErrorCode::not_found:
      return {404, "not_found", message, {}, {}};
    case ErrorCode::in_use:
      return {409, "in_use", message, {}, {}};
    case ErrorCode::no_capacity:
      return {503, "no_capacity", message, {}, seconds(1)};
    case ErrorCode::unavailable:
      return {503, "unavailable", message, {}, seconds(1)};
    case ErrorCode::outcome_unknown:
    case ErrorCode::corrupt:
      return {500, "internal", message, {}, {}};
  }
  return {500, "internal", message, {}, {}};
}

void AdminRoutes::handle(const net::ExchangePtr& exchange, const RouteMatch& match,
                         const access::Key& key, RequestId id) {
  const Route route = match.spec->route;
  const net::HttpRequest& request = exchange->request();
  Question question{route,
                    std::string(request.method),
                    match.first,
                    std::string(request.query),
                    std::string(request.body),
                    sight_of(key)};
  const std::string& query = question.query;
  const bool follows = (route == Route::events || route == Route::logs) && flag(query, "follow");
  if (draining_ && (follows || route == Route::warm || route == Route::reload)) {
    send_error(*exchange, Dialect::plain,
               {503, "draining", "the server is shutting down", {}, seconds(1)}, id);
    return;
  }
  if (follows) {
    follow(exchange, id, match, question.sight);
    return;
  }
  if (route == Route::reload) {
    reload(exchange, id);
    return;
  }
  AnswerForm form;
  if (route == Route::logs) form.content_type = "text/plain; charset=utf-8";
  if (route == Route::warm || route == Route::stop) form.status = 202;
  if (route == Route::keys && question.method == "POST") form.status = 201;
  answer(exchange, id, form,
         [question = std::move(question)](AdminApi& api) { return run_query(api, question); });
}

void AdminRoutes::answer(const net::ExchangePtr& exchange, RequestId id, AnswerForm form,
                         Query query) {
  // The pointer is moved on, not copied, so that the exchange is always let go on its own loop.
  const bool queued =
      thread_.submit([this, id, form, query = std::move(query), exchange = exchange]() mutable {
        loop_.post([id, form, result = query(api_), exchange = std::move(exchange)] {
          if (result) {
            exchange->respond(form.status, plain_fields(form.content_type, id), *result);
          } else {
            send_error(*exchange, Dialect::plain, to_error(result.error()), id);
          }
        });
      });
  if (!queued) send_error(*exchange, Dialect::plain, busy(), id);
}

void AdminRoutes::reload(const net::ExchangePtr& exchange, RequestId id) {
  constexpr int unprocessable = 422;
  const bool queued = thread_.submit([this, id, exchange = exchange]() mutable {
    loop_.post([id, report = api_.reload(), exchange = std::move(exchange)] {
      exchange->respond(report.ok ? 200 : unprocessable, plain_fields("application/json", id),
                        report.json);
    });
  });
  if (!queued) send_error(*exchange, Dialect::plain, busy(), id);
}

void AdminRoutes::follow(const net::ExchangePtr& exchange, RequestId id, const RouteMatch& match,
                         const Sight& sight) {
  const std::string query(exchange->request().query);
  const bool is_log = match.spec->route == Route::logs;
  const Result<std::int64_t> lines = number(query, "lines", 100);
  const Result<EventFilter> filter = event_filter(query, sight);
  if (!lines || !filter) {
    send_error(*exchange, Dialect::plain, to_error(lines ? filter.error() : lines.error()), id);
    return;
  }
  const auto follower = Follower::create(
      loop_, thread_, exchange, is_log ? Follower::Form::text : Follower::Form::events, id);
  std::erase_if(followers_, [](const auto& known) { return known.expired(); });
  followers_.push_back(follower);
  const bool queued = thread_.submit(
      [this, follower, is_log, name = match.first, lines = *lines, filter = *filter] {
        follower->subscribed(is_log ? api_.follow_log(name, lines, filter.sight, follower)
                                    : api_.follow_events(filter, follower));
      });
  if (!queued) follower->refuse(busy());
}

void AdminRoutes::begin_drain() {
  draining_ = true;
  for (const auto& known : followers_) {
    if (const auto follower = known.lock()) follower->on_closed();
  }
  followers_.clear();
}

}  // namespace stoker::gateway
