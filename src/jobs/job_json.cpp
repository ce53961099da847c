#include "jobs/job_json.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <utility>

#include "base/json_writer.h"
#include "base/text.h"

namespace stoker::jobs {
namespace {

using simdjson::dom::element;
using simdjson::dom::object;

constexpr Duration usual_ttl = minutes(24 * 60);
constexpr std::int64_t longest_ms = std::int64_t{7} * 24 * 3600 * 1000;

tl::unexpected<Error> wrong(std::string_view field, std::string_view what) {
  return failure(ErrorCode::invalid, fmt::format("'{}' {}", field, what));
}

/// `members` with "model" set to `model`.
std::string with_model(const object& members, std::string_view model) {
  JsonWriter json;
  json.object([&] {
    json.field("model", model);
    for (const auto& [name, value] : members) {
      if (name != "model") json.raw_field(name, simdjson::minify(value));
    }
  });
  return json.take();
}

bool flag_of(const object& members, const char* name) {
  bool value = false;
  return members[name].get(value) == simdjson::SUCCESS && value;
}

Result<void> read_input(const element& input, const gateway::Deployment& deployment,
                        JobWish& wish) {
  object members;
  if (input.get(members) != simdjson::SUCCESS) return wrong("input", "must be an object");
  element ignored;
  const auto has = [&](const char* name) {
    return members[name].get(ignored) == simdjson::SUCCESS;
  };
  std::string_view route;
  if (members["openai_route"].get(route) == simdjson::SUCCESS) {
    object inner;
    if (!route.starts_with("/v1/")) return wrong("openai_route", "must begin with /v1/");
    if (members["openai_input"].get(inner) != simdjson::SUCCESS) {
      return wrong("openai_input", "must be an object");
    }
    wish.target = route;
    wish.body = with_model(inner, deployment.name);
    wish.stream = flag_of(inner, "stream");
  } else if (has("messages") || has("prompt")) {
    wish.target = has("messages") ? "/v1/chat/completions" : "/v1/completions";
    wish.body = with_model(members, deployment.name);
    wish.stream = flag_of(members, "stream");
  } else if (has("inputs")) {
    wish.target = fmt::format("/v2/models/{}/infer", deployment.name);
    wish.body = simdjson::minify(input);
  } else if (deployment.runtime == gateway::RuntimeKind::command ||
             deployment.runtime == gateway::RuntimeKind::container) {
    wish.target = fmt::format("/invoke/{}/", deployment.name);
    wish.body = simdjson::minify(input);
  } else {
    return wrong("input",
                 "must have 'messages', 'prompt', 'inputs', or 'openai_route' with "
                 "'openai_input'");
  }
  return {};
}

Result<Duration> ms_of(const object& policy, const char* name, Duration usual) {
  element value;
  if (policy[name].get(value) != simdjson::SUCCESS || value.is_null()) return usual;
  std::int64_t count = 0;
  if (value.get(count) != simdjson::SUCCESS || count < 1 || count > longest_ms) {
    return wrong(name, fmt::format("must be from 1 to {} milliseconds", longest_ms));
  }
  return ms(count);
}

Result<void> read_policy(const element& value, JobWish& wish) {
  object policy;
  if (value.get(policy) != simdjson::SUCCESS) return wrong("policy", "must be an object");
  const Result<Duration> timeout = ms_of(policy, "executionTimeout", {});
  if (!timeout) return tl::unexpected(timeout.error());
  const Result<Duration> ttl = ms_of(policy, "ttl", usual_ttl);
  if (!ttl) return tl::unexpected(ttl.error());
  wish.execution_timeout = *timeout;
  wish.ttl = *ttl;
  wish.low_priority = flag_of(policy, "lowPriority");
  return {};
}

/// Finds a text in {"error": {"<name>"}}, or {"error": "..."} for the message.
std::string error_text(std::string_view body, const char* name) {
  simdjson::dom::parser parser;
  object root;
  object inner;
  std::string_view text;
  if (parser.parse(simdjson::padded_string(body)).get(root) != simdjson::SUCCESS) return {};
  if (root["error"].get(inner) == simdjson::SUCCESS) {
    return inner[name].get(text) == simdjson::SUCCESS ? std::string(text) : std::string();
  }
  const char* const flat = std::string_view(name) == "message" ? "error" : name;
  return root[flat].get(text) == simdjson::SUCCESS ? std::string(text) : std::string();
}

}  // namespace

Result<JobWish> read_wish(std::string_view body, const gateway::Deployment& deployment) {
  simdjson::dom::parser parser;
  const simdjson::padded_string padded(body);
  object root;
  if (parser.parse(padded).get(root) != simdjson::SUCCESS) {
    return failure(ErrorCode::invalid, "the body must be a JSON object with an 'input'");
  }
  JobWish wish;
  wish.ttl = usual_ttl;
  bool has_input = false;
  for (const auto& [name, value] : root) {
    Result<void> read;
    if (name == "input") {
      has_input = true;
      read = read_input(value, deployment, wish);
    } else if (name == "policy") {
      read = read_policy(value, wish);
    } else if (name == "webhook" && !value.is_null()) {
      std::string_view url;
      if (value.get(url) != simdjson::SUCCESS) return wrong("webhook", "must be a URL");
      wish.webhook = url;
    }
    if (!read) return tl::unexpected(read.error());
  }
  if (!has_input) return wrong("input", "is missing");
  return wish;
}

JobWish wish_of_call(std::string_view target, std::string_view body) {
  JobWish wish;
  wish.target = target;
  wish.body = body;
  wish.ttl = usual_ttl;
  return wish;
}

std::string status_json(const Job& job, WallTime now, std::optional<std::size_t> position) {
  const auto ms_between = [](WallTime from, WallTime to) {
    return std::max<std::int64_t>(0, (to.ns - from.ns) / 1'000'000);
  };
  JsonWriter json;
  json.object([&] {
    json.field("id", job.id);
    json.field("status", to_text(job.state));
    const WallTime waited_until = job.started_at.value_or(job.finished_at.value_or(now));
    json.field("delayTime", ms_between(job.created_at, waited_until));
    if (job.started_at) {
      json.field("executionTime", ms_between(*job.started_at, job.finished_at.value_or(now)));
    }
    if (position) json.field("queuePosition", *position);
    if (!job.worker.empty()) json.field("workerId", job.worker);
    if (job.retries > 0) json.field("retries", job.retries);
    if (job.request) json.field("requestId", public_id(job.request));
    if (!job.output.empty()) json.raw_field("output", job.output);
    if (!job.error.empty()) json.field("error", job.error);
  });
  return json.take();
}

std::string short_json(std::string_view id, JobState state) {
  JsonWriter json;
  json.object([&] {
    json.field("id", id);
    json.field("status", to_text(state));
  });
  return json.take();
}

std::string stream_json(JobState state, const std::vector<std::string>& chunks, std::size_t from) {
  JsonWriter json;
  json.object([&] {
    json.field("status", to_text(state));
    json.array("stream", [&] {
      for (std::size_t i = from; i < chunks.size(); ++i) {
        json.object([&] { json.raw_field("output", chunks[i]); });
      }
    });
  });
  return json.take();
}

std::string error_message(std::string_view body) {
  std::string text = error_text(body, "message");
  return text.empty() ? std::string(body) : text;
}

std::string error_code(std::string_view body) {
  return error_text(body, "code");
}

std::string as_json(std::string_view body) {
  simdjson::dom::parser parser;
  element root;
  if (parser.parse(simdjson::padded_string(body)).get(root) == simdjson::SUCCESS) {
    return std::string(body);
  }
  std::string text;
  append_json_string(text, body);
  return text;
}

}  // namespace stoker::jobs
