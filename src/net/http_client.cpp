#include "net/http_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "net/client_connection.h"

namespace stoker::net {

std::string Endpoint::text() const {
  if (!unix_path.empty()) return "unix:" + unix_path;
  const std::string_view scheme = tls ? "https" : "http";
  if (host.find(':') != host.npos) return fmt::format("{}://[{}]:{}", scheme, host, port);
  return fmt::format("{}://{}:{}", scheme, host, port);
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  constexpr std::string_view unix_prefix = "unix:";
  constexpr std::string_view http_prefix = "http://";
  constexpr std::string_view https_prefix = "https://";
  Endpoint endpoint;
  if (text.starts_with(unix_prefix)) {
    endpoint.unix_path = text.substr(unix_prefix.size());
    if (SocketAddress::unix_path(endpoint.unix_path)) return endpoint;
  } else if (text.starts_with(http_prefix) || text.starts_with(https_prefix)) {
    endpoint.tls = text.starts_with(https_prefix);
    std::string_view rest = text.substr(endpoint.tls ? https_prefix.size() : http_prefix.size());
    if (rest.ends_with('/')) rest.remove_suffix(1);
    const std::size_t bracket = rest.rfind(']');
    const std::size_t colon = rest.find(':', bracket == rest.npos ? 0 : bracket);
    std::string_view host = rest.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    endpoint.host = host;
    endpoint.port = endpoint.tls ? 443 : 80;
    bool port_ok = true;
    if (colon != rest.npos) {
      const std::string_view port = rest.substr(colon + 1);
      const auto [end, error] =
          std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
      port_ok = error == std::errc{} && end == port.data() + port.size() && endpoint.port > 0 &&
                endpoint.port <= 65535;
    }
    if (port_ok && (host == "localhost" || SocketAddress::internet(endpoint.host, 0))) {
      return endpoint;
    }
  }
  return failure(
      ErrorCode::invalid, fmt::format("\"{}\" is not an endpoint", text),
      "write unix:/path, http://HOST:PORT or https://HOST:PORT with a numeric host or localhost");
}

namespace {

std::optional<SocketAddress> address_of(const Endpoint& endpoint) {
  if (!endpoint.unix_path.empty()) return SocketAddress::unix_path(endpoint.unix_path);
  return SocketAddress::internet(endpoint.host == "localhost" ? "127.0.0.1" : endpoint.host,
                                 endpoint.port);
}

}  // namespace

struct HttpClient::Impl : ClientShared {
  bool address_ok = false;

  Impl(EventLoop& loop_, Endpoint endpoint_, ClientOptions options_)
      : ClientShared(loop_, std::move(endpoint_), options_) {
    if (const std::optional<SocketAddress> found = address_of(endpoint)) {
      address = *found;
      address_ok = true;
    }
    const bool is_unix = !endpoint.unix_path.empty();
    host_field = is_unix
                     ? "Host: localhost\r\n"
                     : fmt::format("Host: {}\r\n", endpoint.text().substr(endpoint.tls ? 8 : 7));
    answer_limits.header_block_bytes = options.head_bytes;
    answer_limits.header_fields = 256;
    answer_limits.body_bytes = std::numeric_limits<std::size_t>::max();  // streamed, not kept
    answer_limits.chunks = std::numeric_limits<std::size_t>::max();
  }
  void sweep_later();
  Call* send_on_fresh(const CallRequest& request, CallHandler& handler);
};

Call* HttpClient::Impl::send_on_fresh(const CallRequest& request, CallHandler& handler) {
  auto fresh = std::make_shared<ClientConnection>(*this, connections.size());
  ClientConnection* connection = fresh.get();
  connections.push_back(std::move(fresh));
  if (sweep == 0) sweep_later();
  return connection->open_and_send(request, handler) ? connection : nullptr;
}

/// Idle connections are looked at now and then, so that a call costs no timer.
void HttpClient::Impl::sweep_later() {
  sweep = loop.run_at(loop.now() + std::max(ms(5), Duration{options.idle_timeout.ns / 4}), [this] {
    sweep = 0;
    while (!idle.empty() && loop.now() - idle.front()->idle_since() > options.idle_timeout) {
      idle.front()->close();
    }
    if (!connections.empty()) sweep_later();
  });
}

HttpClient::HttpClient(EventLoop& loop, Endpoint endpoint, ClientOptions options)
    : impl_(std::make_unique<Impl>(loop, std::move(endpoint), options)) {}

HttpClient::~HttpClient() {
  while (!impl_->connections.empty()) impl_->connections.back()->close();
  impl_->loop.cancel(impl_->sweep);
  // A callback of one of its connections may be on the stack.
  EventLoop& loop = impl_->loop;
  loop.dispose(std::shared_ptr<Impl>(std::move(impl_)));
}

Call* HttpClient::send(std::string_view method, std::string_view target,
                       std::string_view head_fields, std::string_view body, CallHandler& handler) {
  Impl& impl = *impl_;
  const CallRequest request{method, target, head_fields, body, false};
  if (!impl.address_ok) {
    handler.on_failure(CallFailure::connect_failed, "not an address: " + impl.endpoint.text());
    return nullptr;
  }
  if (impl.endpoint.tls && impl.options.secure == nullptr) {
    handler.on_failure(CallFailure::connect_failed, "no TLS here: " + impl.endpoint.text());
    return nullptr;
  }
  if (!impl.idle.empty()) {
    ClientConnection* kept = impl.idle.back();
    impl.idle.pop_back();
    kept->send_again(request, handler);
    return kept;
  }
  return impl.send_on_fresh(request, handler);
}

Call* HttpClient::send_upgrade(std::string_view target, std::string_view head_fields,
                               CallHandler& handler) {
  if (!impl_->address_ok) {
    handler.on_failure(CallFailure::connect_failed, "not an address: " + impl_->endpoint.text());
    return nullptr;
  }
  return impl_->send_on_fresh({"GET", target, head_fields, {}, true}, handler);
}

std::size_t HttpClient::idle_connections() const {
  return impl_->idle.size();
}

}  // namespace stoker::net
