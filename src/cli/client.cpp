#include "cli/client.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/invariant.h"
#include "ledger/state_dir.h"
#include "net/http_server.h"
#include "tls/tls_client.h"

namespace stoker::cli {
namespace {

/// Collects one answer and ends the loop with its end.
class Collector final : public net::CallHandler {
 public:
  Collector(net::EventLoop& loop, const std::function<void(std::string_view)>* on_body)
      : loop_(loop), on_body_(on_body) {}
  void on_head(const net::HttpResponseHead& head) override {
    answer.status = head.status;
    answer.content_type = head.fields.find("content-type").value_or("");
    // JSON is an answer in one piece, whatever was asked for.
    streams_ = on_body_ != nullptr && head.status < 400 &&
               !answer.content_type.starts_with("application/json");
    answer.server_timing = head.fields.find("server-timing").value_or("");
    answer.start = head.fields.find("x-stoker-start").value_or("");
    answer.request_id = head.fields.find("x-request-id").value_or("");
  }
  void on_body(std::string_view bytes) override {
    if (streams_) {
      (*on_body_)(bytes);
    } else {
      answer.body += bytes;
    }
  }
  void on_end() override { end(); }
  void on_failure(net::CallFailure how, const std::string& detail) override {
    failed = true;
    connected = how != net::CallFailure::connect_failed;
    failure_text = detail;
    end();
  }

  Answer answer;
  bool ended = false;
  bool failed = false;
  bool connected = true;
  std::string failure_text;

 private:
  void end() {
    ended = true;
    loop_.stop();
  }
  net::EventLoop& loop_;
  const std::function<void(std::string_view)>* on_body_;
  bool streams_ = false;
};

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

Result<net::Endpoint> endpoint_of_listener(const std::string& listen) {
  const Result<net::ListenAddress> address = net::parse_listen_address(listen);
  if (!address) return tl::unexpected(address.error());
  net::Endpoint endpoint;
  endpoint.unix_path = address->unix_path;
  endpoint.port = address->port;
  const bool any = address->host.empty() || address->host == "0.0.0.0" || address->host == "::";
  endpoint.host = any ? "127.0.0.1" : address->host;
  return endpoint;
}

const config::Problem& first_error(const config::Loaded& loaded) {
  return *std::ranges::find_if(loaded.problems, [](const config::Problem& problem) {
    return problem.severity == config::Problem::Severity::error;
  });
}

}  // namespace

Result<Client> Client::connect(const Context& context) {
  std::optional<std::string> url = context.url ? context.url : environment("STOKER_URL");
  std::string key = environment("STOKER_API_KEY").value_or("");
  std::string key_trouble;
  std::optional<config::ServerConfig> config;
  if (Result<config::Loaded> loaded = load_config(context); loaded && loaded->ok()) {
    config = std::move(loaded->config);
  } else if (!url) {
    if (!loaded) {
      return failure(ErrorCode::not_found, "nothing says where the server is",
                     "name it with --url http://HOST:PORT or STOKER_URL, or its configuration "
                     "with --config");
    }
    return failure(ErrorCode::invalid,
                   "the configuration cannot be read: " + config::to_text(first_error(*loaded)),
                   "`stoker check` shows all that is wrong; --url finds the server without it");
  }
  if (key.empty() && config) {
    const Result<std::string> admin = ledger::load_admin_key(config->state_dir);
    if (admin) {
      key = *admin;
    } else {
      key_trouble = fmt::format("no key was sent: {}", admin.error().message);
    }
  } else if (key.empty()) {
    key_trouble =
        "no key was sent: STOKER_API_KEY is not set, and no configuration says where "
        "the admin key is";
  }
  Result<net::Endpoint> endpoint =
      url ? net::parse_endpoint(*url) : endpoint_of_listener(config->listen);
  if (!endpoint) return tl::unexpected(endpoint.error());
  const std::string certificate = config ? config->tls.certificate : std::string();
  if (!url && !certificate.empty()) endpoint->tls = true;
  Client client(*endpoint, std::move(key), std::move(key_trouble));
  if (!endpoint->tls) return client;
  const Result<void> secured = client.use_tls(certificate);
  if (!secured) return tl::unexpected(secured.error());
  return client;
}

Result<void> Client::use_tls(const std::string& own_certificate) {
  Result<std::unique_ptr<tls::TlsClient>> maker =
      tls::TlsClient::create(endpoint_.host, own_certificate);
  if (!maker) return tl::unexpected(maker.error());
  secure_ = std::move(*maker);
  net::ClientOptions options;
  options.secure = secure_.get();
  http_ = std::make_unique<net::HttpClient>(*loop_, endpoint_, options);
  return {};
}

Client::Client(net::Endpoint endpoint, std::string key, std::string key_trouble)
    : endpoint_(std::move(endpoint)), key_(std::move(key)), key_trouble_(std::move(key_trouble)) {
  Result<std::unique_ptr<net::EventLoop>> loop = net::EventLoop::create();
  STOKER_INVARIANT(loop.has_value(), "{}", loop.error().message);
  loop_ = std::move(*loop);
  http_ = std::make_unique<net::HttpClient>(*loop_, endpoint_, net::ClientOptions{});
}

Client::~Client() = default;
Client::Client(Client&&) noexcept = default;

Result<Answer> Client::stream(std::string_view method, std::string_view target,
                              std::string_view body,
                              const std::function<void(std::string_view)>& on_body) {
  Collector collector(*loop_, on_body ? &on_body : nullptr);
  std::string fields = "Accept: application/json, text/event-stream, text/plain\r\n";
  if (!body.empty()) fields += "Content-Type: application/json\r\n";
  if (!key_.empty()) fields += "Authorization: Bearer " + key_ + "\r\n";
  (void)http_->send(method, target, fields, body, collector);
  if (!collector.ended) loop_->run();
  if (collector.failed && !collector.connected) {
    return failure(
        ErrorCode::unavailable,
        fmt::format("no server answers at {}: {}", endpoint_.text(), collector.failure_text),
        "start it with `stoker serve --config FILE`, or name another with --url");
  }
  if (collector.failed) {
    return failure(ErrorCode::unavailable, fmt::format("the server at {} broke off: {}",
                                                       endpoint_.text(), collector.failure_text));
  }
  collector.answer.key_trouble = key_trouble_;
  return std::move(collector.answer);
}

Result<Answer> Client::call(std::string_view method, std::string_view target,
                            std::string_view body) {
  return stream(method, target, body, {});
}

Result<std::string> Client::get(std::string_view target) {
  Result<Answer> answer = call("GET", target);
  if (!answer) return tl::unexpected(answer.error());
  if (answer->status >= 400) return tl::unexpected(error_of(*answer));
  return std::move(answer->body);
}

Result<std::string> Client::post(std::string_view target, std::string_view body) {
  Result<Answer> answer = call("POST", target, body);
  if (!answer) return tl::unexpected(answer.error());
  if (answer->status >= 400) return tl::unexpected(error_of(*answer));
  return std::move(answer->body);
}

SpokenError spoken_error(std::string_view json) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  std::string_view message;
  std::string_view code;
  if (parser.parse(json.data(), json.size()).get(root) != simdjson::SUCCESS) return {};
  if (root["error"]["message"].get(message) != simdjson::SUCCESS &&
      root["error"].get(message) != simdjson::SUCCESS) {
    message = {};
  }
  if (root["error"]["code"].get(code) != simdjson::SUCCESS) code = {};
  return {std::string(code), std::string(message)};
}

bool is_servers_own(std::string_view code) {
  constexpr std::array codes = std::to_array<std::string_view>(
      {"instance_lost", "bad_answer", "stream_broken", "queue_full", "queue_timeout", "load_failed",
       "crash_loop", "start_timeout", "no_capacity", "draining", "undeliverable", "storage",
       "request_timeout", "route_not_offered", "model_not_found", "not_found"});
  return std::ranges::find(codes, code) != codes.end();
}

Error error_of(const Answer& answer) {
  const std::string message = spoken_error(answer.body).message;
  Error error;
  error.code = answer.status == 404   ? ErrorCode::not_found
               : answer.status >= 500 ? ErrorCode::unavailable
                                      : ErrorCode::invalid;
  error.message = message.empty() ? fmt::format("the server answered {}", answer.status) : message;
  if (answer.status == 401 || answer.status == 403) {
    if (!answer.key_trouble.empty()) error.message += "; " + answer.key_trouble;
    error.hint =
        "set STOKER_API_KEY, or name the server's configuration with --config so that its "
        "admin key is found";
  }
  return error;
}

Error error_of_run(const Answer& answer, std::string_view deployment) {
  // A request that never ran has no X-Stoker-Start, so no engine can have answered it.
  const SpokenError spoken = spoken_error(answer.body);
  if (answer.start.empty() || is_servers_own(spoken.code)) return error_of(answer);
  Error error = error_of(answer);
  error.message = fmt::format("the engine of '{}' answered {}{}", deployment, answer.status,
                              spoken.message.empty() ? "" : ": " + spoken.message);
  error.hint.clear();
  return error;
}

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~' || c == '/';
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

}  // namespace stoker::cli
