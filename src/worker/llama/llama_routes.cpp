#include "worker/llama/llama_routes.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "net/multipart.h"
#include "server-context.h"
#include "worker/http_exchange.h"

namespace stoker::worker {

namespace {

using Handler = server_http_context::handler_t server_routes::*;

struct Route {
  std::string_view method;
  std::string_view path;
  Handler handler;
};

constexpr Route kRoutes[] = {
    {"POST", "/v1/chat/completions", &server_routes::post_chat_completions},
    {"POST", "/chat/completions", &server_routes::post_chat_completions},
    {"POST", "/v1/completions", &server_routes::post_completions_oai},
    {"POST", "/completions", &server_routes::post_completions},
    {"POST", "/completion", &server_routes::post_completions},
    {"POST", "/v1/responses", &server_routes::post_responses_oai},
    {"POST", "/responses", &server_routes::post_responses_oai},
    {"POST", "/v1/messages", &server_routes::post_anthropic_messages},
    {"POST", "/v1/embeddings", &server_routes::post_embeddings_oai},
    {"POST", "/embeddings", &server_routes::post_embeddings},
    {"POST", "/embedding", &server_routes::post_embeddings},
    {"POST", "/v1/rerank", &server_routes::post_rerank},
    {"POST", "/v1/reranking", &server_routes::post_rerank},
    {"POST", "/rerank", &server_routes::post_rerank},
    {"POST", "/reranking", &server_routes::post_rerank},
    {"POST", "/v1/audio/transcriptions", &server_routes::post_transcriptions_oai},
    {"POST", "/audio/transcriptions", &server_routes::post_transcriptions_oai},
    {"POST", "/infill", &server_routes::post_infill},
    {"POST", "/tokenize", &server_routes::post_tokenize},
    {"POST", "/detokenize", &server_routes::post_detokenize},
    {"POST", "/apply-template", &server_routes::post_apply_template},
    {"POST", "/v1/chat/completions/control", &server_routes::post_control},
    {"POST", "/v1/chat/completions/input_tokens", &server_routes::post_chat_completions_tok},
    {"POST", "/chat/completions/input_tokens", &server_routes::post_chat_completions_tok},
    {"POST", "/v1/responses/input_tokens", &server_routes::post_responses_tok_oai},
    {"POST", "/responses/input_tokens", &server_routes::post_responses_tok_oai},
    {"POST", "/v1/messages/count_tokens", &server_routes::post_anthropic_count_tokens},
    {"GET", "/v1/models", &server_routes::get_models},
    {"GET", "/models", &server_routes::get_models},
    {"GET", "/props", &server_routes::get_props},
    {"GET", "/metrics", &server_routes::get_metrics},
    {"GET", "/lora-adapters", &server_routes::get_lora_adapters},
};

// 0 without a gateway, where all are one tenant; theirs are counted from 1.
std::uint64_t tenant_of(const WorkerExchange& exchange) {
  const std::string_view text = exchange.field("X-Stoker-Tenant").value_or("");
  std::uint64_t tenant = 0;
  std::from_chars(text.data(), text.data() + text.size(), tenant);
  return tenant;
}

// Gives: nullptr after having answered with 404 or 405.
Handler find_route(WorkerExchange& exchange) {
  bool path_known = false;
  for (const Route& route : kRoutes) {
    if (route.path != exchange.path()) continue;
    if (route.method == exchange.method()) return route.handler;
    path_known = true;
  }
  if (path_known) {
    exchange.respond_error(
        405, "invalid_request_error", "method_not_allowed",
        fmt::format("{} is not possible on {}", exchange.method(), exchange.path()));
  } else {
    exchange.respond_error(404, "not_found_error", "route_not_found",
                           fmt::format("llama.cpp has no route {}", exchange.path()));
  }
  return nullptr;
}

// A form becomes what llama.cpp's routes expect: plain fields as a JSON object, files apart.
// Gives: false if the form is malformed.
bool read_form(std::string_view boundary, server_http_req& request) {
  const std::string form = std::move(request.body);
  const auto parts = net::parse_form(form, boundary);
  if (!parts) return false;
  json fields = json::object();
  for (const net::FormPart& part : *parts) {
    if (part.file_name.empty()) {
      fields[std::string(part.name)] = std::string(part.content);
    } else {
      request.files[std::string(part.name)] =
          uploaded_file{.data = raw_buffer(part.content.begin(), part.content.end()),
                        .filename = std::string(part.file_name),
                        .content_type = std::string(part.content_type)};
    }
  }
  request.body = fields.dump();
  return true;
}

// llama.cpp's convention: std::invalid_argument and JSON errors are the caller's fault.
server_http_res_ptr call(const server_http_context::handler_t& handler,
                         const server_http_req& request, WorkerExchange& exchange) {
  try {
    return handler(request);
  } catch (const std::invalid_argument& error) {
    exchange.respond_error(400, "invalid_request_error", "invalid_request", error.what());
  } catch (const common_json_error& error) {
    exchange.respond_error(400, "invalid_request_error", "invalid_request", error.what());
  } catch (const std::exception& error) {
    exchange.respond_error(500, "server_error", "engine_error", error.what());
  }
  return nullptr;
}

// The usage goes out before the terminal event, so it must be final by then: the slot lets go of a
// task right after it queued the task's last result.
void relay_stream(WorkerExchange& exchange, server_http_res& response, RequestTasks& tasks) {
  bool started = false;
  bool more = true;
  while (more) {
    std::string events;
    more = response.next(events);
    // Nothing is sent before the first event, so that the head may still be held back.
    if (events.empty()) continue;
    if (!started) exchange.start_stream(response.content_type);
    started = true;
    if (find_terminal_event(events) != std::string_view::npos) exchange.set_usage(tasks.wait());
    if (!exchange.write(events) || !exchange.wait_writable()) return;
  }
  if (!started && !exchange.stopped()) exchange.start_stream(response.content_type);
}

// llama.cpp advises arguments of its own program, which nobody here can give it.
// Gives: what to do instead; "" if the answer stands.
std::string_view advice_for(int status, std::string_view body) {
  if (status < 400) return {};
  const auto says = [body](std::string_view words) {
    return body.find(words) != std::string_view::npos;
  };
  if (says("--embedding")) {
    return "this deployment does not serve embeddings: set options: {embeddings: mean}";
  }
  if (says("Pooling type 'none'")) {
    return "this deployment gives a vector per token, which this route cannot: set options: "
           "{embeddings: mean}";
  }
  if (says("--rerank")) {
    return "this deployment does not serve rerank: set options: {embeddings: rank}";
  }
  return {};
}

}  // namespace

void LlamaRoutes::serve(WorkerExchange& exchange) {
  const Handler handler = find_route(exchange);
  if (handler == nullptr) return;
  const std::function<bool()> stopped = [&exchange] { return exchange.stopped(); };
  // No header fields are passed on: llama.cpp would find a stored conversation by one of them.
  server_http_req request{.params = {},
                          .headers = {},
                          .path = std::string(exchange.path()),
                          .query_string = std::string(exchange.query()),
                          .body = std::string(exchange.body()),
                          .files = {},
                          .should_stop = stopped};
  const auto boundary = net::form_boundary(exchange.field("content-type").value_or(""));
  if (boundary && !read_form(*boundary, request)) {
    exchange.respond_error(400, "invalid_request_error", "invalid_form",
                           "the multipart/form-data body is malformed");
    return;
  }

  // A slot or a stored prompt of another tenant is never reused: the time and the count of cached
  // tokens would tell what somebody else asked.
  RequestTasks tasks(ledger_, tenant_of(exchange));
  server_http_res_ptr response = call(routes_.*handler, request, exchange);
  if (!response) return;
  const bool streamed = response->is_stream();
  if (streamed) relay_stream(exchange, *response, tasks);
  const int status = response->status;
  const std::string content_type = response->content_type;
  const std::string body = std::move(response->data);
  response.reset();  // cancels what is still running
  exchange.set_usage(tasks.wait());
  if (exchange.stopped()) return;
  const std::string_view advice = streamed ? std::string_view() : advice_for(status, body);
  if (streamed) {
    exchange.finish();
  } else if (!advice.empty()) {
    exchange.respond_error(status, status == 501 ? "not_supported_error" : "invalid_request_error",
                           "not_supported", advice);
  } else {
    exchange.respond(status, content_type, body);
  }
}

}  // namespace stoker::worker
