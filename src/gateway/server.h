// The HTTP gateway: event loops on threads of their own, each with a listener on one address.
//
//   auto server = GatewayServer::create(options, parts, directory);   // binds: errors come here
//   (*server)->start();
//   ... (*server)->drain(seconds(30)); (*server)->stop();
//
// After stop() nothing is asked of the dispatcher any more, but the loops still exist: the server
// must be destroyed only when the dispatcher has stopped calling sinks.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gateway/gateway_loop.h"

namespace stoker::gateway {

class GatewayServer {
 public:
  /// Errors: in_use with the address and what to do; unavailable.
  static Result<std::unique_ptr<GatewayServer>> create(GatewayOptions options,
                                                       const GatewayParts& parts,
                                                       DirectoryPtr directory);
  ~GatewayServer();
  GatewayServer(const GatewayServer&) = delete;
  GatewayServer& operator=(const GatewayServer&) = delete;

  void start();
  /// "127.0.0.1:8080", with the port that the kernel chose; "unix:/path".
  [[nodiscard]] const std::string& address() const { return address_; }
  /// Requests that come after this returns may still see the old one for an instant.
  void replace_directory(const DirectoryPtr& directory);
  /// Stops accepting and waits for what runs. Gives: true if all of it ended in time.
  /// Threads: not a loop's.
  bool drain(Duration at_most);
  /// Ends what still runs, as failed and on record, closes all connections, joins the threads.
  /// Threads: not a loop's. May be called twice.
  void stop();

 private:
  GatewayServer(GatewayOptions options, const GatewayParts& parts);
  [[nodiscard]] Result<void> listen(const DirectoryPtr& directory);
  template <class Ask>
  bool wait_for_all(Duration at_most, Ask ask);

  const GatewayOptions options_;
  const GatewayParts parts_;
  GatewayMetrics metrics_;
  AdminThread admin_thread_;
  std::string address_;
  std::vector<std::unique_ptr<GatewayLoop>> loops_;
  std::vector<std::thread> threads_;
};

}  // namespace stoker::gateway
