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

}  // namespace

/// Counts loops down; shared with them, as a loop may report after the waiter gave up.
struct GatewayServer::Countdown {
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t left = 0;

  void down() {
    const std::lock_guard lock(mutex);
    --left;
    changed.notify_all();
  }
  bool wait(Duration at_most) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::nanoseconds(at_most.ns), [&] { return left == 0; });
  }
};

Result<Listeners> Listeners::bind(net::ListenAddress address, int threads) {
  const std::string unix_path = address.unix_path;
  Result<std::vector<UniqueFd>> fds =
      listeners_for(std::move(address), static_cast<std::size_t>(std::max(1, threads)));
  if (!fds) return tl::unexpected(fds.error());
  Listeners listeners;
  listeners.fds_ = std::move(*fds);
  if (!unix_path.empty()) listeners.file_.emplace(unix_path);
  return listeners;
}

std::string Listeners::address() const {
  return net::bound_address(fds_.front().get());
}

GatewayServer::GatewayServer(GatewayOptions options, const GatewayParts& parts)
    : options_(std::move(options)),
      parts_(parts),
      metrics_(parts.registry),
      kept_streams_(options_.kept_streams) {
  obs::Gauge& kept =
      parts.registry.gauge({.name = "stoker_kept_stream_bytes",
                            .help = "Memory of streams whose clients may come back for them"});
  parts.registry.on_render(
      [this, &kept] { kept.set(static_cast<std::int64_t>(kept_streams_.bytes())); });
}

GatewayServer::~GatewayServer() {
  stop();
}

Result<std::unique_ptr<GatewayServer>> GatewayServer::create(GatewayOptions options,
                                                             const GatewayParts& parts,
                                                             DirectoryPtr directory,
                                                             const access::KeyRingPtr& keys) {
  Result<Listeners> listeners = Listeners::bind(options.listen, options.threads);
  if (!listeners) return tl::unexpected(listeners.error());
  return create(std::move(options), parts, directory, keys, std::move(*listeners));
}

Result<std::unique_ptr<GatewayServer>> GatewayServer::create(GatewayOptions options,
                                                             const GatewayParts& parts,
                                                             const DirectoryPtr& directory,
                                                             const access::KeyRingPtr& keys,
                                                             Listeners listeners) {
  options.auth.unix_listener = !options.listen.unix_path.empty();
  auto server = std::unique_ptr<GatewayServer>(new GatewayServer(std::move(options), parts));
  const Result<void> made = server->make_loops(std::move(listeners), directory, keys);
  if (!made) return tl::unexpected(made.error());
  return server;
}

Result<void> GatewayServer::make_loops(Listeners listeners, const DirectoryPtr& directory,
                                       const access::KeyRingPtr& keys) {
  address_ = listeners.address();
  if (listeners.file_) socket_file_.emplace(std::move(*listeners.file_));
  for (UniqueFd& listener : listeners.fds_) {
    Result<std::unique_ptr<net::EventLoop>> loop = net::EventLoop::create();
    if (!loop) return tl::unexpected(loop.error());
    (*loop)->observe_rounds(
        [&rounds = metrics_.rounds_of(loops_.size())](Duration took) { rounds.observe(took); });
    loops_.push_back(std::make_unique<GatewayLoop>(std::move(*loop), std::move(listener), options_,
                                                   parts_, metrics_, admin_thread_, kept_streams_,
                                                   directory, keys));
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

void GatewayServer::replace_keys(const access::KeyRingPtr& keys, KeyId cut_off) {
  for (const auto& loop : loops_) loop->replace_keys(keys, cut_off);
}

void GatewayServer::launch(DetachedRequest request, std::shared_ptr<DetachedSink> sink) {
  GatewayLoop& loop = *loops_[request.id.value % loops_.size()];
  loop.launch(std::move(request), std::move(sink));
}

void GatewayServer::cancel_launched(RequestId request) {
  loops_[request.value % loops_.size()]->cancel_launched(request);
}

/// Asks every loop for something; gives what to wait on until all have said that it is done.
template <class Ask>
std::shared_ptr<GatewayServer::Countdown> GatewayServer::ask_all(Ask ask) {
  auto countdown = std::make_shared<Countdown>();
  countdown->left = loops_.size();
  for (const auto& loop : loops_) ask(*loop, [countdown] { countdown->down(); });
  return countdown;
}

template <class Ask>
bool GatewayServer::wait_for_all(Duration at_most, Ask ask) {
  return ask_all(std::move(ask))->wait(at_most);
}

bool GatewayServer::drain(Duration at_most) {
  if (threads_.empty()) return true;
  return wait_for_all(
      at_most, [](GatewayLoop& loop, std::function<void()> done) { loop.drain(std::move(done)); });
}

void GatewayServer::end_requests() {
  if (threads_.empty()) return;
  wait_for_all(stop_wait, [](GatewayLoop& loop, std::function<void()> done) {
    loop.end_requests(std::move(done));
  });
}

void GatewayServer::stop(Duration for_answers) {
  socket_file_.reset();  // while somebody still listens: a successor cannot have the path yet
  if (!threads_.empty()) {
    // The listener first, so that nothing comes any more once the requests have been ended.
    const auto closed = ask_all([](GatewayLoop& loop, std::function<void()> done) {
      loop.close_listener(std::move(done));
    });
    end_requests();
    (void)closed->wait(for_answers);
  }
  admin_thread_.stop();
  for (const auto& loop : loops_) loop->close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace stoker::gateway
