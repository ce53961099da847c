// Calls to a running server, one at a time, as any client would make them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/units.h"
#include "cli/context.h"
#include "net/event_loop.h"
#include "net/http_client.h"
#include "net/secure_channel.h"

namespace stoker::cli {

struct Answer {
  int status = 0;
  std::string content_type;
  std::string server_timing;
  std::string start;       // X-Stoker-Start
  std::string request_id;  // X-Request-Id
  std::string body;
  std::string key_trouble;  // why the call went without the admin key; "" if it had a key
};

class Client {
 public:
  /// Finds the server by --url, STOKER_URL or the configuration file, and the key by STOKER_API_KEY
  /// or the state directory that the configuration names.
  /// Errors: not_found, invalid: nothing says where the server is, with the first of the problems
  /// if the configuration is broken.
  static Result<Client> connect(const Context& context);
  /// `key_trouble`: where no key is, why.
  Client(net::Endpoint endpoint, std::string key, std::string key_trouble = {});
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) = delete;

  /// One request. A status of 400 or more is not an error here: look at `status`.
  /// Errors: unavailable (no server there, or it broke off), with what to do.
  [[nodiscard]] Result<Answer> call(std::string_view method, std::string_view target,
                                    std::string_view body = {});
  /// The same, with the body given piece by piece as it comes. Answer::body holds what is no
  /// stream: errors, and JSON.
  [[nodiscard]] Result<Answer> stream(std::string_view method, std::string_view target,
                                      std::string_view body,
                                      const std::function<void(std::string_view)>& on_body);
  /// call(), and a status of 400 or more turned into an error with the server's own words.
  [[nodiscard]] Result<std::string> get(std::string_view target);
  [[nodiscard]] Result<std::string> post(std::string_view target, std::string_view body = {});

  /// Speaks TLS from now on. `own_certificate`: of the server's configuration, trusted as it is;
  /// empty: the machine's roots decide. Errors: it cannot be read.
  Result<void> use_tls(const std::string& own_certificate);

  [[nodiscard]] const net::Endpoint& endpoint() const { return endpoint_; }
  [[nodiscard]] const std::string& key() const { return key_; }  // empty: none is sent

 private:
  net::Endpoint endpoint_;
  std::string key_;
  std::string key_trouble_;
  std::unique_ptr<net::EventLoop> loop_;
  std::unique_ptr<net::ChannelMaker> secure_;  // null: plain HTTP
  std::unique_ptr<net::HttpClient> http_;
};

/// The server's words in an error body: {"error": {"message"}} or {"error": "..."}.
[[nodiscard]] Error error_of(const Answer& answer);
/// The same for an answer to a request that runs a model: what its engine answered itself, and not
/// the server, says so.
[[nodiscard]] Error error_of_run(const Answer& answer, std::string_view deployment);
/// What an error event or body says: its code and its message, each empty if it has none.
struct SpokenError {
  std::string code;
  std::string message;
};
[[nodiscard]] SpokenError spoken_error(std::string_view json);
/// True for the codes of errors that the server itself gives (docs/reference/http-api.md).
[[nodiscard]] bool is_servers_own(std::string_view code);
/// `text` as a part of a path or a query.
[[nodiscard]] std::string percent_encode(std::string_view text);

}  // namespace stoker::cli
