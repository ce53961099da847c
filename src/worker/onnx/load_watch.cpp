#include "worker/onnx/load_watch.h"

#include <chrono>
#include <condition_variable>
#include <ctime>
#include <mutex>

#include "base/units.h"

namespace stoker::worker::onnx {
namespace {

constexpr std::chrono::milliseconds interval(200);
/// Below this the growth may be the watching itself.
constexpr Duration least_work = ms(2);

Duration process_cpu_time() {
  timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return Duration{t.tv_sec * 1'000'000'000 + t.tv_nsec};
}

}  // namespace

LoadWatch::LoadWatch(LoadProgress& progress, std::function<void()> give_up)
    : progress_(progress),
      give_up_(std::move(give_up)),
      thread_([this](const std::stop_token& ended) { watch(ended); }) {}

void LoadWatch::watch(const std::stop_token& ended) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  Duration before = process_cpu_time();
  bool gave_up = false;
  while (!wake.wait_for(lock, ended, interval, [&] { return ended.stop_requested(); })) {
    const Duration now = process_cpu_time();
    if (now - before >= least_work) progress_.advance({});
    before = now;
    if (progress_.stopped() && !std::exchange(gave_up, true)) give_up_();
  }
}

}  // namespace stoker::worker::onnx
