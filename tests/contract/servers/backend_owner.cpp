// A process that owns a process backend, to be killed by a test. Arguments: state_dir, worker_dir,
// then the behaviours of the workers to start. Prints the process ids of each worker when all have
// said hello, then runs until it dies.
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "backend/process/process_backend.h"

namespace {

using namespace stoker;           // NOLINT(google-build-using-namespace): one small program
using namespace stoker::backend;  // NOLINT(google-build-using-namespace)

class Owner final : public BackendListener {
 public:
  Owner(InstanceBackend& backend, int wanted) : backend_(backend), wanted_(wanted) {}
  void on_hello(InstanceKey, const WorkerHello&) override {
    if (--wanted_ > 0) return;
    for (const InstanceInfo& info : backend_.list()) {
      for (const pid_t pid : backend_.processes_of(info.key)) std::printf("%d\n", pid);
    }
    std::printf("up\n");
    std::fflush(stdout);
  }
  void on_message(InstanceKey, const WorkerMessage&) override {}
  void on_contract_breach(InstanceKey, const std::string&) override {}
  void on_unkillable(InstanceKey) override {}
  void on_exited(InstanceKey, const ExitInfo& exit) override {
    std::fprintf(stderr, "exited: %s\n", exit.text.c_str());
  }

 private:
  InstanceBackend& backend_;
  int wanted_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  Result<std::unique_ptr<net::EventLoop>> loop = net::EventLoop::create();
  if (!loop) return 1;
  Result<std::unique_ptr<InstanceBackend>> backend =
      ProcessBackend::create(**loop, {.state_dir = argv[1], .worker_dir = argv[2]});
  if (!backend) return 1;
  Owner owner(**backend, argc - 3);
  (*backend)->set_listener(owner);
  for (int i = 3; i < argc; ++i) {
    const auto id = static_cast<std::uint64_t>(i);
    const Result<void> started = (*backend)->start({.key = {InstanceId{id}, Generation{1}},
                                                    .name = "owned/" + std::to_string(i),
                                                    .worker = "tiny",
                                                    .nonce = "nonce-" + std::to_string(i),
                                                    .env = {{"TINY", argv[i]}}});
    if (!started) return 1;
  }
  (*loop)->run();
}
