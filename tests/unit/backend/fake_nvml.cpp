// NVML's symbols with two made-up devices. FAKE_NVML_INIT in the environment is what init returns.
#include <cstdlib>
#include <cstring>

namespace {
constexpr int success = 0;
constexpr int insufficient_size = 7;
constexpr unsigned long long gigabyte = 1ULL << 30;
// Device 0 has more processes than the reader first makes room for.
constexpr unsigned int process_counts[] = {100, 1};
int devices[2] = {0, 1};
int index_of(void* handle) {
  return *static_cast<int*>(handle);
}
}  // namespace

extern "C" {
struct Memory {
  unsigned long long total, free, used;
};
struct Utilization {
  unsigned int gpu, memory;
};
struct Process {
  unsigned int pid;
  unsigned long long used;
  unsigned int gpu_instance, compute_instance;
};

int nvmlInit_v2() {
  const char* status = std::getenv("FAKE_NVML_INIT");
  return status != nullptr ? std::atoi(status) : success;
}
int nvmlShutdown() {
  return success;
}
const char* nvmlErrorString(int) {
  return "Driver Not Loaded";
}
int nvmlSystemGetDriverVersion(char* text, unsigned int size) {
  std::strncpy(text, "550.54", size);
  return success;
}
int nvmlDeviceGetCount_v2(unsigned int* count) {
  *count = 2;
  return success;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void** handle) {
  *handle = &devices[index];
  return success;
}
int nvmlDeviceGetName(void*, char* text, unsigned int size) {
  std::strncpy(text, "NVIDIA Fake 80GB", size);
  return success;
}
int nvmlDeviceGetUUID(void* handle, char* text, unsigned int size) {
  std::strncpy(text, index_of(handle) == 0 ? "GPU-aaaa" : "GPU-bbbb", size);
  return success;
}
int nvmlDeviceGetMemoryInfo(void*, Memory* memory) {
  *memory = {80 * gigabyte, 60 * gigabyte, 20 * gigabyte};
  return success;
}
int nvmlDeviceGetUtilizationRates(void*, Utilization* utilization) {
  *utilization = {42, 17};
  return success;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void* handle, unsigned int* count, Process* processes) {
  const unsigned int there = process_counts[index_of(handle)];
  const unsigned int room = *count;
  *count = there;
  if (room < there) return insufficient_size;
  for (unsigned int i = 0; i < there; ++i) processes[i] = {1000 + i, gigabyte, 0, 0};
  if (index_of(handle) == 1) processes[0].used = ~0ULL;  // a driver that does not tell
  return success;
}
}
