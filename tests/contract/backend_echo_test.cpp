// The process backend with a worker of the product instead of the test's own.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/process/process_backend.h"
#include "backend_rig.h"
#include "base/unique_fd.h"

namespace stoker::backend {
namespace {

/// Gives: the status line of the answer to GET /health.
std::string ask_health(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  constexpr std::string_view request = "GET /health HTTP/1.1\r\nHost: worker\r\n\r\n";
  EXPECT_EQ(::write(fd.get(), request.data(), request.size()),
            static_cast<ssize_t>(request.size()));
  char answer[64] = {};
  EXPECT_GT(::read(fd.get(), answer, sizeof(answer) - 1), 0);
  const std::string_view text(answer);
  return std::string(text.substr(0, text.find('\r')));
}

class EchoWorker : public testing::TestWithParam<bool> {};

TEST_P(EchoWorker, LivesAWholeLife) {
  const TemporaryFolder folder;
  const std::unique_ptr<net::EventLoop> loop = std::move(*net::EventLoop::create());
  Recorder recorder(*loop);
  ProcessBackendConfig config;
  config.state_dir = folder.path();
  config.worker_dir = STOKER_TEST_BIN;
  config.sandbox = GetParam();
  const std::unique_ptr<InstanceBackend> backend =
      std::move(*ProcessBackend::create(*loop, config));
  backend->set_listener(recorder);

  StartRequest request = tiny_instance(1);
  request.worker = "echo";
  ASSERT_TRUE(backend->start(request).has_value());
  Heard& heard = recorder.of(key_of(1));
  run_until(*loop, [&] { return heard.find<WorkerReady>() != nullptr; });
  EXPECT_EQ(ask_health(heard.find<WorkerReady>()->endpoint.substr(5)), "HTTP/1.1 200 OK");
  backend->send(key_of(1), R"({"type":"cancel","request":"req-0000000000000001"})");
  run_until(*loop, [&] { return heard.find<WorkerEnded>() != nullptr; });
  EXPECT_EQ(heard.find<WorkerEnded>()->reason, WorkEnd::unknown);
  backend->stop(key_of(1), StopMode::graceful, seconds(5));
  run_until(*loop, [&] { return !heard.exits.empty(); });
  EXPECT_EQ(heard.exits[0].text, "exit 0") << heard.exits[0].log_tail;
  EXPECT_TRUE(heard.breaches.empty());
}

INSTANTIATE_TEST_SUITE_P(Plain, EchoWorker, testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Sandbox, EchoWorker, testing::Values(true));

}  // namespace
}  // namespace stoker::backend
