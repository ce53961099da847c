#include "worker/llama/llama_runtime.h"

int main(int argc, char** argv) {
  stoker::worker::LlamaRuntime runtime;
  return stoker::worker::worker_main(argc, argv, runtime);
}
