// stoker-worker-echo
#include <cstdlib>

#include "worker/echo/echo_runtime.h"

int main(int argc, char** argv) {
  const char* const control = std::getenv("STOKER_CONTROL_FD");
  stoker::worker::EchoRuntime runtime(control != nullptr ? std::atoi(control) : -1);
  return stoker::worker::worker_main(argc, argv, runtime);
}
