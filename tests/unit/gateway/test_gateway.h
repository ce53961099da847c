// A whole gateway on a port of its own, over fakes. Start it after the fakes and options are set.
#pragma once

#include <fcntl.h>

#include <memory>
#include <string>
#include <utility>

#include "fakes.h"
#include "gateway/server.h"
#include "net/clock.h"
#include "sockets.h"
#include "test_keys.h"

namespace stoker::gateway {

struct TestGateway {
  FakeDispatcher dispatcher;
  FakeRecords records;
  FakeAdmin admin;
  obs::Registry registry;
  UniqueFd null{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  obs::Logger log{{.fd = null.get()}};
  GatewayOptions options;
  std::vector<Deployment> deployments;
  FakeJobs jobs;
  access::KeyRingPtr keys = test_ring({test_key(1, "sk-test")});
  std::unique_ptr<GatewayServer> server;

  TestGateway() {
    options.listen.host = "127.0.0.1";
    options.auth.keys_required = false;
    options.requests.cancelled_usage_wait = seconds(10);
    add("chat", RuntimeKind::echo).aliases = {"org/chat"};
  }
  Deployment& add(std::string name, RuntimeKind runtime, UsageMode usage = UsageMode::contract) {
    Deployment& deployment = deployments.emplace_back();
    deployment.id = DeploymentId{deployments.size()};
    deployment.name = std::move(name);
    deployment.runtime = runtime;
    deployment.usage = usage;
    return deployment;
  }
  void start() {
    auto directory = Directory::create(deployments);
    auto made = GatewayServer::create(options, {dispatcher, records, admin, jobs, registry, log},
                                      std::move(*directory), keys);
    server = std::move(*made);
    server->start();
  }
  /// Every request goes to `target` at once.
  void dispatch_all_to(DispatchTargetPtr target) {
    dispatcher.on_admit = [target = std::move(target)](const Arrival&) { return target; };
  }
  [[nodiscard]] TestClient connect() const { return TestClient(server->address()); }
  /// One request on a connection of its own.
  [[nodiscard]] Answer ask(std::string_view request) const {
    TestClient client = connect();
    client.send(request);
    return client.read_answer();
  }
};

/// A warm instance behind a Unix socket.
inline DispatchTargetPtr warm_target(const std::string& socket_path, bool speaks_contract = true) {
  auto target = std::make_shared<DispatchTarget>();
  target->instance = InstanceId{7};
  target->generation = Generation{1};
  target->name = "chat/7";
  target->device = "cpu0";
  target->endpoint.unix_path = socket_path;
  target->speaks_contract = speaks_contract;
  target->timeline = {Instant{1}, Instant{2}, Instant{3}, Instant{4}, Instant{5}};
  return target;
}

constexpr const char* chat_body = R"({"model":"chat","messages":[]})";
constexpr const char* stream_body = R"({"model":"chat","stream":true,"messages":[]})";
constexpr const char* stream_head =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

inline std::string chunk(std::string_view bytes) {
  char size[32];
  std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  return size + std::string(bytes) + "\r\n";
}
inline std::string with_length(int status, std::string_view fields, std::string_view body) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\n" + std::string(fields) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

}  // namespace stoker::gateway
