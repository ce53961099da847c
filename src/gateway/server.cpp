#include "gateway/server.h"

#include <fcntl.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace stoker::gateway {
namespace {

/// Time for the endings of a stopping server to reach the disk.
constexpr Duration stop_wait = seconds(2);

/// One listening socket per loop. A port is tried without SO_REUSEPORT first: with it, a second
/// server of the same user would quietly share the port with this one.
Result<std::vector<UniqueFd>> listeners_for(net::ListenAddress address, std::size_t count) {
  std::vector<UniqueFd> listeners;
  const bool is_unix = !address.unix_path.empty();
  Result<UniqueFd> first = net::listen_on(address, false);
  if (!first) return tl::unexpected(first.error());
  if (count > 1 && !is_unix) {
    Result<net::ListenAddress> bound = net::parse_listen_address(net::bound_address(first->get()));
    if (!bound) return tl::unexpected(bound.error());
    address = std::move(*bound);
    first->reset();
    first = net::listen_on(address, true);
    if (!first) return tl::unexpected(first.error());
  }
  listeners.push_back(std::move(*first));
  while (listeners.size() < count) {
    if (is_unix) {  // a path has one socket; all loops accept from it
      listeners.emplace_back(::fcntl(listeners.front().get(), F_DUPFD_CLOEXEC, 0));
      if (!listeners.back()) return tl::unexpected(errno_error("duplicating the listener"));
      continue;
    }
    Result<UniqueFd> next = net::listen_on(address, true);
    if (!next) return tl::unexpected(next.error());
    listeners.push_back(std::move(*next));
  }
  return listeners;
}

/// Counts loops down; shared with them, as a loop may report after the waiter gave up.
struct Countdown {
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t left = 0;
};

}  // namespace

GatewayServer::GatewayServer(GatewayOptions options, const GatewayParts& parts)
    : options_(std::move(options)), parts_(parts), metrics_(parts.registry) {}

GatewayServer::~GatewayServer() {
  stop();
}

Result<std::unique_ptr<GatewayServer>> GatewayServer::create(GatewayOptions options,
                                                             const GatewayParts& parts,
                                                             DirectoryPtr directory) {
  options.auth.unix_listener = !options.listen.unix_path.empty();
  auto server = std::unique_ptr<GatewayServer>(new GatewayServer(std::move(options), parts));
  const Result<void> listening = server->listen(directory);
  if (!listening) return tl::unexpected(listening.error());
  return server;
}

Result<void> GatewayServer::listen(const DirectoryPtr& directory) {
  const auto count = static_cast<std::size_t>(std::max(1, options_.threads));
  Result<std::vector<UniqueFd>> listeners = listeners_for(options_.listen, count);
  if (!listeners) return tl::unexpected(listeners.error());
  address_ = net::bound_address(listeners->front().get());
  for (UniqueFd& listener : *listeners) {
    Result<std::unique_ptr<net::EventLoop>> loop = net::EventLoop::create();
    if (!loop) return tl::unexpected(loop.error());
    loops_.push_back(std::make_unique<GatewayLoop>(std::move(*loop), std::move(listener), options_,
                                                   parts_, metrics_, admin_thread_, directory));
  }
  return {};
}

void GatewayServer::start() {
  for (std::size_t i = 0; i < loops_.size(); ++i) {
    threads_.emplace_back([&loop = *loops_[i], i] {
      // Seen in top and in the measurement of what each thread costs.
      ::pthread_setname_np(::pthread_self(), ("gateway/" + std::to_string(i)).c_str());
      loop.run();
    });
  }
}

void GatewayServer::replace_directory(const DirectoryPtr& directory) {
  for (const auto& loop : loops_) loop->replace_directory(directory);
}

/// Asks every loop for something and waits until all have said that it is done.
template <class Ask>
bool GatewayServer::wait_for_all(Duration at_most, Ask ask) {
  const auto countdown = std::make_shared<Countdown>();
  countdown->left = loops_.size();
  for (const auto& loop : loops_) {
    ask(*loop, [countdown] {
      const std::lock_guard lock(countdown->mutex);
      --countdown->left;
      countdown->changed.notify_all();
    });
  }
  std::unique_lock lock(countdown->mutex);
  return countdown->changed.wait_for(lock, std::chrono::nanoseconds(at_most.ns),
                                     [&] { return countdown->left == 0; });
}

bool GatewayServer::drain(Duration at_most) {
  if (threads_.empty()) return true;
  return wait_for_all(
      at_most, [](GatewayLoop& loop, std::function<void()> done) { loop.drain(std::move(done)); });
}

void GatewayServer::stop() {
  admin_thread_.stop();
  if (threads_.empty()) return;
  wait_for_all(stop_wait, [](GatewayLoop& loop, std::function<void()> done) {
    loop.end_requests(std::move(done));
  });
  for (const auto& loop : loops_) loop->close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace stoker::gateway
