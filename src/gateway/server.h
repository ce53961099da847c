// The HTTP gateway: event loops on threads of their own, each with a listener on one address.
//
//   auto server = GatewayServer::create(options, parts, directory);   // binds: errors come here
//   (*server)->start();
//   ... (*server)->drain(seconds(30)); (*server)->stop(seconds(2));
//
// Through the whole drain the listener stays: whoever comes is told 503, and /readyz says so.
// After stop() nothing is asked of the dispatcher any more, but the loops still exist: the server
// must be destroyed only when the dispatcher has stopped calling sinks.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gateway/gateway_loop.h"

namespace stoker::gateway {

/// The bound sockets of one address, one for each loop. Can be made long before the server, so that
/// an address that is taken is known before anything else is begun.
class Listeners {
 public:
  /// Errors: in_use with the address and what to do; unavailable.
  static Result<Listeners> bind(net::ListenAddress address, int threads);
  /// "127.0.0.1:8080", with the port that the kernel chose; "unix:/path".
  [[nodiscard]] std::string address() const;

 private:
  friend class GatewayServer;
  std::vector<UniqueFd> fds_;
  std::optional<net::SocketFile> file_;  // of a Unix socket; goes before they do
};

class GatewayServer final : public RequestLauncher {
 public:
  /// Binds `options.listen` itself. Errors: as Listeners::bind.
  static Result<std::unique_ptr<GatewayServer>> create(GatewayOptions options,
                                                       const GatewayParts& parts,
                                                       DirectoryPtr directory,
                                                       const access::KeyRingPtr& keys);
  /// Serves on `listeners`, one loop each; `options.threads` counts no more.
  static Result<std::unique_ptr<GatewayServer>> create(GatewayOptions options,
                                                       const GatewayParts& parts,
                                                       const DirectoryPtr& directory,
                                                       const access::KeyRingPtr& keys,
                                                       Listeners listeners);
  ~GatewayServer() override;
  GatewayServer(const GatewayServer&) = delete;
  GatewayServer& operator=(const GatewayServer&) = delete;

  void start();
  /// "127.0.0.1:8080", with the port that the kernel chose; "unix:/path".
  [[nodiscard]] const std::string& address() const { return address_; }
  /// Requests that come after this returns may still see the old one for an instant.
  void replace_directory(const DirectoryPtr& directory);
  /// The same; what runs for the key `cut_off`, if there is one, ends.
  void replace_keys(const access::KeyRingPtr& keys, KeyId cut_off);
  void launch(DetachedRequest request, std::shared_ptr<DetachedSink> sink) override;
  void cancel_launched(RequestId request) override;
  /// From now on every answer is the last of its connection; waits for the requests that run.
  /// Whether a new one is admitted is the dispatcher's to say. Gives: true if all ended in time.
  /// Threads: not a loop's.
  bool drain(Duration at_most);
  /// Ends what still runs, as failed and on record. Threads: not a loop's.
  void end_requests();
  /// end_requests(), closes the listener, waits at most so long until clients have taken their
  /// answers, closes all connections, joins the threads.
  /// Threads: not a loop's. May be called twice.
  void stop(Duration for_answers = seconds(2));

 private:
  GatewayServer(GatewayOptions options, const GatewayParts& parts);
  [[nodiscard]] Result<void> make_loops(Listeners listeners, const DirectoryPtr& directory,
                                        const access::KeyRingPtr& keys);
  struct Countdown;
  template <class Ask>
  std::shared_ptr<Countdown> ask_all(Ask ask);
  template <class Ask>
  bool wait_for_all(Duration at_most, Ask ask);

  const GatewayOptions options_;
  const GatewayParts parts_;
  GatewayMetrics metrics_;
  AdminThread admin_thread_;
  KeptStreams kept_streams_;
  std::string address_;
  std::optional<net::SocketFile> socket_file_;
  std::vector<std::unique_ptr<GatewayLoop>> loops_;
  std::vector<std::thread> threads_;
};

}  // namespace stoker::gateway
