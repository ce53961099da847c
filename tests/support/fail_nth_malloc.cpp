// Preloaded into a server (LD_PRELOAD), it makes one allocation fail: from SIGUSR2 on the one of
// number STOKER_FAIL_MALLOC, counted over all threads. It says so on stderr. Everything else is
// glibc's own.
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <string_view>

// Glibc's names for what is replaced here.
extern "C" void* __libc_malloc(std::size_t size);
extern "C" void* __libc_calloc(std::size_t count, std::size_t size);
extern "C" void* __libc_realloc(void* old, std::size_t size);
extern "C" void* __libc_memalign(std::size_t alignment, std::size_t size);

namespace {

std::atomic<long> left{0};  // allocations until the one that fails; 0 and below: none does
long number = 0;

bool strikes() {
  if (left.load(std::memory_order_relaxed) <= 0 || left.fetch_sub(1) != 1) return false;
  constexpr std::string_view said = "fail_nth_malloc: failed one\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, said.data(), said.size());
  errno = ENOMEM;
  return true;
}

void arm(int) {
  left.store(number);
}

[[gnu::constructor]] void prepare() {
  const char* text = std::getenv("STOKER_FAIL_MALLOC");
  if (text == nullptr) return;
  number = std::atol(text);
  struct sigaction action = {};
  action.sa_handler = arm;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGUSR2, &action, nullptr);
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) {
  return strikes() ? nullptr : __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  return strikes() ? nullptr : __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) {
  return strikes() ? nullptr : __libc_realloc(old, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return strikes() ? nullptr : __libc_memalign(alignment, size);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  if (strikes()) return ENOMEM;
  *out = __libc_memalign(alignment, size);
  return *out == nullptr ? ENOMEM : 0;
}

}  // extern "C"
