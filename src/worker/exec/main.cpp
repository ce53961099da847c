// stoker-worker-exec
#include "worker/exec/exec_runtime.h"

int main(int argc, char** argv) {
  stoker::worker::EngineProcess::prepare();
  stoker::worker::ExecRuntime runtime;
  return stoker::worker::worker_main(argc, argv, runtime);
}
