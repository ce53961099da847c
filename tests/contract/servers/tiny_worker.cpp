// A worker in the raw: the contract by hand, no framework, and on demand every way to break it.
// TINY in its environment says how it behaves; see `behaviours` at the end.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

namespace {

constexpr int control = 3;
constexpr int listener = 4;

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

void say(std::string_view packet) {
  (void)!::send(control, packet.data(), packet.size(), 0);
}

void say_hello(const std::string& nonce) {
  say(R"({"type":"hello","contract":1,"worker":"tiny","version":"1","nonce":")" + nonce +
      R"(","pid":)" + std::to_string(::getpid()) + "}");
}

/// Answers every connection, so that a test sees that the socket is reachable from outside.
void serve() {
  for (;;) {
    const int connection = ::accept(listener, nullptr, nullptr);
    if (connection < 0) continue;
    constexpr std::string_view answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    (void)!::write(connection, answer.data(), answer.size());
    ::close(connection);
  }
}

void on_load() {
  const std::string mode = env("TINY");
  if (mode == "load_fails") {
    say(R"({"type":"load_failed","code":"model_broken","message":"bad magic"})");
    std::exit(3);
  }
  if (mode.starts_with("exit:")) std::exit(std::atoi(mode.c_str() + 5));
  if (mode == "abort") std::abort();
  if (mode == "segv") {
    ::signal(SIGSEGV, SIG_DFL);  // the sanitizers catch it
    ::raise(SIGSEGV);
  }
  if (mode == "oom") {
    for (;;) {
      constexpr std::size_t block = 1 << 20;
      void* memory =
          ::mmap(nullptr, block, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) std::exit(9);
      std::memset(memory, 1, block);
    }
  }
  say(R"({"type":"loading","fraction":0.5})");
  say(R"({"type":"loaded","private_bytes":10,"shared_bytes":20})");
  say(mode == "bad_endpoint"
          ? R"({"type":"ready","private_bytes":10,"shared_bytes":20,"endpoint":"http://192.0.2.1:80"})"
          : R"({"type":"ready","private_bytes":10,"shared_bytes":20})");
}

/// The ordinary life: obeys, and ends with its channel.
void obey() {
  std::array<char, 65536> packet{};
  for (;;) {
    const ssize_t got = ::recv(control, packet.data(), packet.size(), 0);
    if (got <= 0) std::exit(0);
    const std::string_view text(packet.data(), static_cast<std::size_t>(got));
    if (text.find(R"("load")") != std::string_view::npos) on_load();
    if (text.find(R"("shutdown")") != std::string_view::npos) std::exit(0);
    if (text.find(R"("cancel")") != std::string_view::npos) {
      say(R"({"type":"ended","request":"r1","input":0,"output":0,"cached":0,"device_ms":0,"reason":"unknown"})");
    }
  }
}

/// Ends for nobody: not for `shutdown`, not for SIGTERM, not for a closed channel.
void be_stubborn() {
  for (;;) ::pause();
}

/// A grandchild that left session, process group and parent.
void leave_daemon() {
  if (::fork() != 0) return;
  ::setsid();
  if (::fork() != 0) ::_exit(0);
  ::close(control);
  ::signal(SIGTERM, SIG_IGN);
  for (;;) ::pause();
}

// --- The drill: what a compromised worker would try (C17) ----------------------------------------

int failures = 0;
void must_fail(const char* what, bool succeeded) {
  std::printf("%s: %s\n", what, succeeded ? "POSSIBLE" : std::strerror(errno));
  if (succeeded) ++failures;
}

bool can_open(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags, 0600);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

bool can_connect(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
}

bool can_read_memory(pid_t pid) {
  char byte = 0;
  iovec here{&byte, 1};
  iovec there{reinterpret_cast<void*>(0x400000), 1};
  return ::process_vm_readv(pid, &here, 1, &there, 1, 0) == 1;
}

/// Gives: whether far more processes than the limit could be made.
bool can_fork_bomb() {
  for (int i = 0; i < 2000; ++i) {
    const pid_t child = ::fork();
    if (child < 0) return false;
    if (child == 0) {
      for (;;) ::pause();
    }
  }
  return true;
}

void drill() {
  const auto sibling = static_cast<pid_t>(std::atoi(env("TINY_SIBLING").c_str()));
  must_fail("connect", can_connect(std::atoi(env("TINY_PORT").c_str())));
  must_fail("read /etc/shadow", can_open("/etc/shadow", O_RDONLY));
  must_fail("read the key of the administrator", can_open(env("TINY_SECRET"), O_RDONLY));
  must_fail("read another model", can_open(env("TINY_OTHER_MODEL"), O_RDONLY));
  if (!can_open(env("TINY_OWN_MODEL"), O_RDONLY)) {
    std::printf("own model: not readable\n");
    ++failures;
  }
  must_fail("write the own model", can_open(env("TINY_OWN_MODEL"), O_WRONLY));
  must_fail("write /usr", can_open("/usr/tiny", O_WRONLY | O_CREAT));
  must_fail("write core_pattern", can_open("/proc/sys/kernel/core_pattern", O_WRONLY));
  must_fail("write sysrq-trigger", can_open("/proc/sysrq-trigger", O_WRONLY));
  must_fail("write /sys", can_open("/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY));
  must_fail("ptrace a sibling", ::ptrace(PTRACE_ATTACH, sibling, nullptr, nullptr) == 0);
  must_fail("kill a sibling", ::kill(sibling, 0) == 0);
  must_fail("read a sibling's memory", can_read_memory(sibling));
  must_fail("open a sibling's memory",
            can_open("/proc/" + std::to_string(sibling) + "/mem", O_RDWR));
  must_fail("new user namespace", ::unshare(CLONE_NEWUSER) == 0);
  must_fail("mount", ::mount("none", "/tmp", "tmpfs", 0, nullptr) == 0);
  must_fail("make a device", ::mknod("/tmp/disk", S_IFBLK | 0600, makedev(254, 0)) == 0);
  must_fail("change the host name", ::sethostname("x", 1) == 0);
  // Only where the machine lets us limit it: without a pids cgroup it would hurt the machine.
  if (env("TINY_FORK_BOMB") == "1") must_fail("fork bomb", can_fork_bomb());
  std::fflush(stdout);
  ::_exit(failures == 0 ? 0 : 1);
}

struct Behaviour {
  std::string_view name;
  void (*run)();
};
constexpr Behaviour behaviours[] = {
    {"garbage",
     [] {
       say("\xff\x01 no json");
       obey();
     }},
    {"no_object",
     [] {
       say("[1,2]");
       obey();
     }},
    {"unknown_type",
     [] {
       say(R"({"type":"surprise"})");
       obey();
     }},
    {"negative",
     [] {
       say(R"({"type":"progress","active":-1,"steps":0,"tokens":0})");
       obey();
     }},
    {"second_hello",
     [] {
       say_hello(env("STOKER_NONCE"));
       obey();
     }},
    {"long",
     [] {
       say("{\"type\":\"error\",\"code\":\"" + std::string(100'000, 'x') + "\"}");
       obey();
     }},
    {"empty",
     [] {
       say("");
       obey();
     }},
    {"closes",
     [] {
       ::shutdown(control, SHUT_RDWR);
       be_stubborn();
     }},
    {"stubborn", be_stubborn},
    {"daemon",
     [] {
       leave_daemon();
       obey();
     }},
    {"daemon_then_exit",
     [] {
       leave_daemon();
       ::_exit(0);
     }},
    {"chatty",
     [] {
       for (int i = 0; i < 2000; ++i) std::printf("line %d\n", i);
       std::fflush(stdout);
       obey();
     }},
    {"drill", drill},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--bystander") {
    for (;;) ::pause();
  }
  const std::string mode = env("TINY");
  if (mode == "exit_at_once") return 42;
  if (mode == "not_hello") say(R"({"type":"progress","active":0,"steps":0,"tokens":0})");
  if (mode == "stubborn" || mode == "closes")
    ::signal(SIGTERM, SIG_IGN);  // before anybody may send one
  say_hello(mode == "wrong_nonce" ? "guess" : env("STOKER_NONCE"));
  std::thread(serve).detach();
  for (const Behaviour& behaviour : behaviours) {
    if (mode == behaviour.name) behaviour.run();
  }
  obey();
}
