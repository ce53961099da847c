// stoker-worker-onnx: one instance of an ONNX model behind the Open Inference Protocol.
#include "worker/onnx/onnx_runtime.h"
#include "worker/runtime.h"

int main(int argc, char** argv) {
  stoker::worker::onnx::OnnxRuntime runtime;
  return stoker::worker::worker_main(argc, argv, runtime);
}
