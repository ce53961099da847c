#include "outbound/curl_poster.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace stoker::outbound {
namespace {

constexpr std::int64_t most_retry_after_s = 24 * 60 * 60;
constexpr std::size_t most_answer_bytes = std::size_t{64} << 10;  // nobody reads them
constexpr int poll_ms = 60'000;  // a new request or the end wakes it

std::optional<IpAddress> address_of(const curl_sockaddr& to) {
  IpAddress address;
  if (to.family == AF_INET) {
    sockaddr_in four{};
    std::memcpy(&four, &to.addr, sizeof four);
    std::array<std::uint8_t, 4> bytes{};
    std::memcpy(bytes.data(), &four.sin_addr, bytes.size());
    return IpAddress::v4(bytes);
  }
  if (to.family == AF_INET6) {
    // curl_sockaddr ends with room for a sockaddr only; curl keeps the whole address there.
    std::memcpy(address.bytes.data(),
                reinterpret_cast<const char*>(&to.addr) + offsetof(sockaddr_in6, sin6_addr),
                address.bytes.size());
    return address;
  }
  return std::nullopt;
}

struct FreeEasy {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct FreeMulti {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

/// libcurl's own set-up, once a process.
bool set_up() {
  static const bool done = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  return done;
}

}  // namespace

class CurlPoster::Engine {
 public:
  explicit Engine(DestinationRule rule) : rule_(std::move(rule)), multi_(curl_multi_init()) {}
  ~Engine() { stop(); }

  [[nodiscard]] bool start() {
    if (multi_ == nullptr) return false;
    thread_ = std::thread([this] {
      ::pthread_setname_np(::pthread_self(), "outbound");
      run();
    });
    return true;
  }
  [[nodiscard]] const DestinationRule& rule() const { return rule_; }

  void post(PostRequest request, std::function<void(PostAnswer)> done) {
    {
      const std::lock_guard lock(mutex_);
      if (ending_) return;
      waiting_.push_back(std::make_unique<Transfer>(*this, std::move(request), std::move(done)));
    }
    curl_multi_wakeup(multi_.get());
  }

 private:
  struct Transfer {
    Transfer(Engine& owner, PostRequest what, std::function<void(PostAnswer)> then)
        : engine(owner), request(std::move(what)), done(std::move(then)) {}

    Engine& engine;
    PostRequest request;
    std::function<void(PostAnswer)> done;
    std::unique_ptr<curl_slist, FreeList> fields;
    std::string refused;  // an address that the rule does not allow
    std::size_t answer_bytes = 0;
    std::array<char, CURL_ERROR_SIZE> error{};
    std::unique_ptr<CURL, FreeEasy> easy;  // first to go: it points to the rest
  };

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    if (!thread_.joinable()) return;
    curl_multi_wakeup(multi_.get());
    thread_.join();
  }

  void run() {
    while (take_up_waiting()) {
      int running = 0;
      curl_multi_perform(multi_.get(), &running);
      int left = 0;
      while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
        if (message->msg == CURLMSG_DONE) finish(message->easy_handle, message->data.result);
      }
      curl_multi_poll(multi_.get(), nullptr, 0, poll_ms, nullptr);
    }
    for (auto& [easy, transfer] : running_) curl_multi_remove_handle(multi_.get(), easy);
    running_.clear();
  }

  /// Gives: false once the poster ends.
  bool take_up_waiting() {
    std::vector<std::unique_ptr<Transfer>> waiting;
    {
      const std::lock_guard lock(mutex_);
      if (ending_) return false;
      waiting.swap(waiting_);
    }
    for (std::unique_ptr<Transfer>& each : waiting) {
      if (!prepare(*each) || curl_multi_add_handle(multi_.get(), each->easy.get()) != CURLM_OK) {
        each->done({0, "there is no memory to send it"});
        continue;
      }
      CURL* const easy = each->easy.get();
      running_.emplace(easy, std::move(each));
    }
    return true;
  }

  bool prepare(Transfer& transfer) {
    transfer.easy.reset(curl_easy_init());
    CURL* const easy = transfer.easy.get();
    if (easy == nullptr) return false;
    const PostRequest& request = transfer.request;
    curl_slist* list = nullptr;
    for (const std::string& field : request.fields) list = curl_slist_append(list, field.c_str());
    transfer.fields.reset(list);
    bool good = true;
    const auto set = [&](CURLoption option, auto value) {
      good = good && curl_easy_setopt(easy, option, value) == CURLE_OK;
    };
    set(CURLOPT_URL, request.url.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_PROXY, "");  // whatever the environment says: a proxy would choose the address
    set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(CURLOPT_FORBID_REUSE, 1L);
    set(CURLOPT_FRESH_CONNECT, 1L);
    set(CURLOPT_DNS_CACHE_TIMEOUT, 0L);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_QUICK_EXIT, 1L);
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(whole_ms(request.timeout)));
    set(CURLOPT_USERAGENT, "Stoker/" STOKER_VERSION);
    set(CURLOPT_HTTPHEADER, transfer.fields.get());
    set(CURLOPT_POST, 1L);
    set(CURLOPT_POSTFIELDS, request.body.data());
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(CURLOPT_ERRORBUFFER, transfer.error.data());
    set(CURLOPT_PRIVATE, &transfer);
    set(CURLOPT_OPENSOCKETFUNCTION, &Engine::open_socket);
    set(CURLOPT_OPENSOCKETDATA, &transfer);
    set(CURLOPT_WRITEFUNCTION, &Engine::drop_bytes);
    set(CURLOPT_WRITEDATA, &transfer);
    return good;
  }

  static curl_socket_t open_socket(void* data, curlsocktype, curl_sockaddr* to) {
    Transfer& transfer = *static_cast<Transfer*>(data);
    const std::optional<IpAddress> address = address_of(*to);
    if (!address || !transfer.engine.rule_.allows(*address, transfer.request.host)) {
      transfer.refused = "is at an address that is not public";
      return CURL_SOCKET_BAD;
    }
    return ::socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
  }

  static std::size_t drop_bytes(char*, std::size_t size, std::size_t count, void* data) {
    Transfer& transfer = *static_cast<Transfer*>(data);
    transfer.answer_bytes += size * count;
    return transfer.answer_bytes > most_answer_bytes ? 0 : size * count;
  }

  void finish(CURL* easy, CURLcode result) {
    const auto found = running_.find(easy);
    const std::unique_ptr<Transfer> transfer = std::move(found->second);
    running_.erase(found);
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(multi_.get(), easy);
    PostAnswer answer;
    const bool too_long = result == CURLE_WRITE_ERROR;  // its head said all that is asked for
    if (result == CURLE_OK || too_long) {
      answer.status = static_cast<int>(status);
      curl_off_t wait_s = 0;  // read from either form of Retry-After
      curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &wait_s);
      answer.retry_after = seconds(std::clamp<std::int64_t>(wait_s, 0, most_retry_after_s));
    } else {
      const char* const why = !transfer->refused.empty()   ? transfer->refused.c_str()
                              : transfer->error[0] != '\0' ? transfer->error.data()
                                                           : curl_easy_strerror(result);
      answer.problem = fmt::format("{}: {}", transfer->request.host, why);
    }
    transfer->done(std::move(answer));
  }

  const DestinationRule rule_;
  const std::unique_ptr<CURLM, FreeMulti> multi_;
  std::map<CURL*, std::unique_ptr<Transfer>> running_;  // the thread's
  std::mutex mutex_;
  std::vector<std::unique_ptr<Transfer>> waiting_;  // guarded by mutex_, as is the next
  bool ending_ = false;
  std::thread thread_;
};

Result<std::unique_ptr<CurlPoster>> CurlPoster::create(DestinationRule rule) {
  auto engine = set_up() ? std::make_unique<Engine>(std::move(rule)) : nullptr;
  if (engine == nullptr || !engine->start()) {
    return failure(ErrorCode::unavailable, "libcurl cannot begin");
  }
  return std::unique_ptr<CurlPoster>(new CurlPoster(std::move(engine)));
}

CurlPoster::CurlPoster(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
CurlPoster::~CurlPoster() = default;

Result<std::string> CurlPoster::check(std::string_view url) const {
  return host_to_call(url, engine_->rule());
}

void CurlPoster::post(PostRequest request, std::function<void(PostAnswer)> done) {
  engine_->post(std::move(request), std::move(done));
}

}  // namespace stoker::outbound
