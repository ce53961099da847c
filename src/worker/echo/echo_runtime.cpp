#include "worker/echo/echo_runtime.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <thread>

#include "base/unique_fd.h"
#include "net/clock.h"
#include "worker/control_message.h"
#include "worker/echo/echo_job.h"
#include "worker/echo/probe.h"

namespace stoker::worker {
namespace {

constexpr Duration load_step = ms(20);
constexpr Duration after_ready = ms(100);
constexpr std::size_t page_bytes = 4096;

LoadFailure failure_code(std::string_view name) {
  constexpr std::array all = {LoadFailure::model_missing, LoadFailure::model_broken,
                              LoadFailure::bad_option,    LoadFailure::out_of_memory,
                              LoadFailure::start_failed,  LoadFailure::internal};
  for (const LoadFailure code : all) {
    if (name == to_text(code)) return code;
  }
  return LoadFailure::internal;
}

/// Adds one to the number in `path`, across processes.   Gives: the number before.
std::int64_t count_in_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd || ::flock(fd.get(), LOCK_EX) != 0) return 0;
  std::array<char, 32> text{};
  const ssize_t size = ::pread(fd.get(), text.data(), text.size(), 0);
  std::int64_t count = 0;
  if (size > 0) std::from_chars(text.data(), text.data() + size, count);
  const std::string next = std::to_string(count + 1);
  return ::pwrite(fd.get(), next.data(), next.size(), 0) > 0 ? count : 0;
}

[[noreturn]] void hang() {
  for (;;) ::pause();
}

}  // namespace

bool TouchedMemory::allocate(Bytes bytes) {
  free();
  if (bytes.value == 0) return true;
  bytes_ = static_cast<std::size_t>(bytes.value);
  void* const start =
      ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return false;
  start_ = static_cast<char*>(start);
  ::madvise(start_, bytes_, MADV_HUGEPAGE);
  return true;
}

void TouchedMemory::touch(double fraction) {
  const auto goal =
      std::min(bytes_, static_cast<std::size_t>(static_cast<double>(bytes_) * fraction));
  for (; touched_ < goal; touched_ += page_bytes) start_[touched_] = 1;
}

void TouchedMemory::free() {
  if (start_ != nullptr) ::munmap(start_, bytes_);
  start_ = nullptr;
  bytes_ = 0;
  touched_ = 0;
}

// --- Loading ---

LoadResult EchoRuntime::load(const LoadOrder& order, LoadProgress& progress) {
  auto options = read_echo_options(order.options);
  if (!options) return load_failure(LoadFailure::bad_option, options.error());
  options_ = std::make_shared<const EchoOptions>(std::move(*options));
  deployment_ = order.deployment;
  const EchoFaults& faults = options_->faults;
  if (faults.crash_at.moment == Moment::loading) crash(faults);
  if (faults.hang_at.moment == Moment::loading) hang();
  if (const LoadResult told = fail_if_told(); !told) return told;
  if (!memory_.allocate(options_->memory)) {
    return load_failure(LoadFailure::out_of_memory,
                        fmt::format("no room for {} bytes", options_->memory.value));
  }
  if (const LoadResult taken = take_time(progress); !taken) return taken;
  if (!order.warmup) arm_faults_of_ready();
  return {};
}

LoadResult EchoRuntime::fail_if_told() const {
  const EchoFaults& faults = options_->faults;
  const bool early =
      faults.fail_first_loads > 0 && count_in_file(faults.counter_file) < faults.fail_first_loads;
  const bool always = faults.fail_first_loads == 0 && !faults.load_failed.empty();
  if (!early && !always) return {};
  return load_failure(failure_code(faults.load_failed), "the options say that this load fails");
}

LoadResult EchoRuntime::take_time(LoadProgress& progress) {
  const Instant begun = net::monotonic_now();
  const auto stopped = [] { return load_failure(LoadFailure::internal, "stopped"); };
  while (options_->faults.load_stall) {
    if (!progress.pause(seconds(3600))) return stopped();
  }
  for (;;) {
    const Duration passed = net::monotonic_now() - begun;
    const double fraction = options_->load_time.ns == 0
                                ? 1.0
                                : std::min(1.0, static_cast<double>(passed.ns) /
                                                    static_cast<double>(options_->load_time.ns));
    memory_.touch(fraction);
    progress.advance(fraction);
    if (fraction >= 1.0) return {};
    if (!progress.pause(std::min(load_step, options_->load_time - passed))) return stopped();
  }
}

LoadResult EchoRuntime::warm_up() {
  std::this_thread::sleep_for(std::chrono::nanoseconds(options_->warmup_time.ns));
  count_step(context_->counters);
  arm_faults_of_ready();
  return {};
}

/// Its model is its options: nothing of it is kept in the host's memory.
LoadResult EchoRuntime::suspend() {
  memory_.free();
  return {};
}

LoadResult EchoRuntime::resume(LoadProgress& progress) {
  if (!memory_.allocate(options_->memory)) {
    return load_failure(LoadFailure::out_of_memory,
                        fmt::format("no room for {} bytes", options_->memory.value));
  }
  memory_.touch(1.0);
  progress.advance(1.0);
  return {};
}

void EchoRuntime::unload() {
  memory_.free();
  options_ = std::make_shared<EchoOptions>();
}

/// `ready` goes out right after the load thread is done; a moment later it surely has.
void EchoRuntime::arm_faults_of_ready() {
  const bool crashes = options_->faults.crash_at.moment == Moment::ready;
  if (!crashes && !options_->faults.stop_control) return;
  context_->loop.post([this, crashes, options = options_] {
    context_->loop.run_at(context_->loop.now() + after_ready, [this, crashes, options] {
      if (crashes) crash(options->faults);
      context_->mute_control = true;
    });
  });
}

// --- Serving ---

void EchoRuntime::serve(WorkerExchangePtr exchange) {
  if (options_->faults.garbage_at != Garbage::none) send_garbage();
  const EchoRoute route = route_of(exchange->path());
  if (route == EchoRoute::plain) {
    if (exchange->path() == "/probe" && options_->faults.probes) {
      return serve_probe(std::move(exchange));
    }
    serve_plain(*exchange);
    exchange->release();
  } else if (route == EchoRoute::models) {
    exchange->respond(200, "application/json", models_answer(deployment_));
    exchange->release();
  } else {
    serve_openai(route, std::move(exchange));
  }
}

void EchoRuntime::send_garbage() {
  if (std::exchange(garbage_sent_, true) || control_fd_ < 0) return;
  constexpr std::string_view noise = "\x80\xff no JSON {";
  const std::string stray = ended_packet("req-0000000000000000", {}, EndReason::cancelled);
  const Garbage kind = options_->faults.garbage_at;
  const std::string_view packet = kind == Garbage::control ? noise
                                  : kind == Garbage::ended ? std::string_view(stray)
                                                           : std::string_view();
  if (!packet.empty()) ::send(control_fd_, packet.data(), packet.size(), MSG_NOSIGNAL);
}

void EchoRuntime::serve_openai(EchoRoute route, WorkerExchangePtr exchange) {
  std::optional<EchoRequest> request = parse_echo_request(route, exchange->body(), parser_);
  if (!request) {
    exchange->respond_error(400, "invalid_request_error", "bad_request",
                            "The body is not a request of this route.");
    exchange->release();
    return;
  }
  if (request->model.empty()) request->model = deployment_;
  if (route == EchoRoute::embeddings || route == EchoRoute::rerank ||
      route == EchoRoute::count_tokens) {
    count_step(context_->counters);
    if (route != EchoRoute::count_tokens) exchange->set_usage({.input = request->input_tokens});
    exchange->respond(200, "application/json",
                      route == EchoRoute::embeddings ? embeddings_answer(*request)
                      : route == EchoRoute::rerank   ? rerank_answer(*request)
                                                     : count_answer(*request));
    exchange->release();
    return;
  }
  std::make_shared<EchoJob>(*context_, options_, std::move(exchange), std::move(*request))->start();
}

/// Sends back what came, with its type.
void EchoRuntime::serve_plain(WorkerExchange& exchange) const {
  count_step(context_->counters);
  std::string body(exchange.body());
  if (options_->reply_bytes) body.resize(static_cast<std::size_t>(*options_->reply_bytes), 'x');
  exchange.respond(200, exchange.field("Content-Type").value_or("text/plain"), body);
}

void EchoRuntime::serve_probe(WorkerExchangePtr exchange) const {
  // A probe blocks; a thread for each is good enough for a drill.
  std::thread([exchange = std::move(exchange)] {
    exchange->respond(200, "application/json", run_probe(exchange->body()));
    exchange->release();
  }).detach();
}

}  // namespace stoker::worker
