#include "worker_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <simdjson.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <system_error>
#include <thread>

#include "net/clock.h"
#include "net/http.h"
#include "net/http_server.h"

namespace stoker::test {
namespace {

/// From the top, so that nobody is left to start another while its children are looked for.
void kill_with_descendants(pid_t pid) {
  ::kill(pid, SIGSTOP);
  std::error_code none;
  for (const auto& task :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), none)) {
    std::ifstream children(task.path() / "children");
    for (pid_t child = 0; children >> child;) kill_with_descendants(child);
  }
  ::kill(pid, SIGKILL);
}

bool wait_readable(int fd, Duration at_most = patience) {
  pollfd polled{fd, POLLIN, 0};
  return ::poll(&polled, 1, static_cast<int>(whole_ms(at_most))) == 1;
}

template <class Value>
std::optional<Value> get(const std::string& text, std::string_view key) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  Value value{};
  if (parser.parse(text).get(object) != simdjson::SUCCESS ||
      object.at_key(key).get(value) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  return value;
}

/// Undoes chunked coding.   Gives: nullopt if the last chunk has not come.
std::optional<std::string> dechunk(std::string_view bytes) {
  std::string body;
  for (;;) {
    const std::size_t line_end = bytes.find("\r\n");
    if (line_end == std::string_view::npos) return std::nullopt;
    std::size_t size = 0;
    std::from_chars(bytes.data(), bytes.data() + line_end, size, 16);
    bytes.remove_prefix(line_end + 2);
    if (bytes.size() < size + 2) return std::nullopt;
    if (size == 0) return body;
    body += bytes.substr(0, size);
    bytes.remove_prefix(size + 2);
  }
}

/// Every 5 ms until `holds` does: for what cannot be waited for on a descriptor.
template <class Condition>
bool poll_until(Condition&& holds) {
  const Instant deadline = net::monotonic_now() + patience;
  while (!holds()) {
    if (net::monotonic_now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace

// --- TemporaryFolder and Json ---

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "stoker-XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryFolder::file(std::string_view name) const {
  return fmt::format("{}/{}", path_, name);
}

std::string Json::string(std::string_view key) const {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  std::string_view value;
  if (parser.parse(text).get(object) != simdjson::SUCCESS ||
      object.at_key(key).get(value) != simdjson::SUCCESS) {
    return {};
  }
  return std::string(value);
}

std::int64_t Json::number(std::string_view key) const {
  return get<std::int64_t>(text, key).value_or(0);
}

std::optional<double> Json::real(std::string_view key) const {
  return get<double>(text, key);
}

// --- HttpConnection ---

HttpConnection::HttpConnection(const std::string& socket_path)
    : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0)
      << socket_path;
}

void HttpConnection::send(std::string_view method, std::string_view path, std::string_view body,
                          std::string_view id) {
  bytes_.clear();
  const std::string request = fmt::format(
      "{} {} HTTP/1.1\r\nHost: worker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n"
      "{}{}{}\r\n{}",
      method, path, body.size(), id.empty() ? "" : "X-Stoker-Request: ", id,
      id.empty() ? "" : "\r\n", body);
  EXPECT_EQ(::send(fd_.get(), request.data(), request.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(request.size()));
}

bool HttpConnection::read_more() {
  if (!wait_readable(fd_.get())) {
    ADD_FAILURE() << "no bytes for too long after: " << bytes_;
    return false;
  }
  std::array<char, 16384> buffer{};
  const ssize_t size = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
  if (size <= 0) return false;
  bytes_.append(buffer.data(), static_cast<std::size_t>(size));
  return true;
}

bool HttpConnection::read_until(std::string_view text) {
  while (bytes_.find(text) == std::string::npos) {
    if (!read_more()) return false;
  }
  return true;
}

void HttpConnection::read_answer() {
  while (!answer_is_whole() && read_more()) {
  }
}

void HttpConnection::read_to_end() {
  while (read_more()) {
  }
}

bool HttpConnection::answer_is_whole() const {
  const std::size_t head_end = bytes_.find("\r\n\r\n");
  if (head_end == std::string::npos) return false;
  const std::string_view after = std::string_view(bytes_).substr(head_end + 4);
  if (const std::string length = field("Content-Length"); !length.empty()) {
    return after.size() >= std::stoul(length);
  }
  return field("Transfer-Encoding") == "chunked" && dechunk(after).has_value();
}

int HttpConnection::status() const {
  return bytes_.size() < 12 ? 0 : std::atoi(bytes_.substr(9, 3).c_str());
}

std::string HttpConnection::field(std::string_view name) const {
  std::string_view head = std::string_view(bytes_).substr(0, bytes_.find("\r\n\r\n"));
  while (!head.empty()) {
    const std::string_view line = head.substr(0, head.find("\r\n"));
    head.remove_prefix(std::min(head.size(), line.size() + 2));
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    if (!net::equal_ignoring_case(line.substr(0, colon), name)) continue;
    const std::size_t value = line.find_first_not_of(' ', colon + 1);
    return value == std::string_view::npos ? "" : std::string(line.substr(value));
  }
  return {};
}

std::string HttpConnection::body() const {
  const std::size_t head_end = bytes_.find("\r\n\r\n");
  if (head_end == std::string::npos) return {};
  const std::string rest = bytes_.substr(head_end + 4);
  return field("Transfer-Encoding") == "chunked" ? dechunk(rest).value_or(rest) : rest;
}

// --- WorkerProcess ---

WorkerProcess::WorkerProcess(const std::string& program,
                             std::vector<std::pair<std::string, std::string>> env)
    : socket_path_(folder_.file("http.sock")), nonce_("nonce-of-this-start") {
  net::ListenAddress address;
  address.unix_path = socket_path_;
  auto listener = net::listen_on(address, /*reuse_port=*/false);
  EXPECT_TRUE(listener) << (listener ? "" : listener.error().message);
  if (!listener) return;
  listener_ = std::move(*listener);
  std::array<int, 2> pair{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()), 0);
  control_.reset(pair[0]);
  // Above 4, so that one dup2 does not overwrite what the other needs.
  const UniqueFd theirs(::fcntl(pair[1], F_DUPFD_CLOEXEC, 10));
  ::close(pair[1]);
  const UniqueFd listening(::fcntl(listener_.get(), F_DUPFD_CLOEXEC, 10));

  env.insert(env.end(), {{"STOKER_CONTROL_FD", "3"},
                         {"STOKER_LISTEN_FD", "4"},
                         {"STOKER_NONCE", nonce_},
                         {"STOKER_INSTANCE", "test/1"}});
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) entries.emplace_back(*entry);
  for (const auto& [name, value] : env) entries.push_back(fmt::format("{}={}", name, value));
  std::vector<char*> environment;
  for (std::string& entry : entries) environment.push_back(entry.data());
  environment.push_back(nullptr);
  std::string name = program;
  std::array<char*, 2> words = {name.data(), nullptr};

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), 3);
  ::posix_spawn_file_actions_adddup2(&actions, listening.get(), 4);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, folder_.file("log").c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
  const int error =
      ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, words.data(), environment.data());
  ::posix_spawn_file_actions_destroy(&actions);
  EXPECT_EQ(error, 0) << program;
  if (error == 0) pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
}

WorkerProcess::~WorkerProcess() {
  if (::testing::Test::HasFailure()) std::cerr << log();
  if (pid_ == 0 || exit_code_) return;
  // A worker ends what it started when the channel closes. One that does not is killed, and then,
  // as a backend would, all that it had started.
  control_.reset();
  if (!wait_readable(pidfd_.get())) kill_with_descendants(pid_);
  ::waitpid(pid_, nullptr, 0);
}

bool anybody_has(std::string_view entry) {
  std::error_code ignored;
  for (std::filesystem::directory_iterator at("/proc", ignored), end; !ignored && at != end;
       at.increment(ignored)) {
    std::ifstream file(at->path() / "environ", std::ios::binary);
    const std::string environment{std::istreambuf_iterator<char>(file), {}};
    if (environment.find(entry) != std::string::npos) return true;
  }
  return false;
}

std::string WorkerProcess::log() const {
  std::ifstream file(folder_.file("log"), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WorkerProcess::send(std::string_view packet) {
  EXPECT_EQ(::send(control_.get(), packet.data(), packet.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(packet.size()));
}

std::optional<Json> WorkerProcess::next() {
  if (!wait_readable(control_.get())) {
    ADD_FAILURE() << "no packet for too long";
    return std::nullopt;
  }
  std::array<char, 65536> buffer{};
  const ssize_t size = ::recv(control_.get(), buffer.data(), buffer.size(), 0);
  if (size <= 0) return std::nullopt;
  return Json{std::string(buffer.data(), static_cast<std::size_t>(size))};
}

Json WorkerProcess::wait_for(std::string_view type) {
  const Instant deadline = net::monotonic_now() + patience;
  while (std::optional<Json> packet = next()) {
    if (packet->type() == type) return *packet;
    skipped_.push_back(std::move(*packet));
    if (net::monotonic_now() > deadline) break;  // `progress` never ends
  }
  std::string heard;
  for (const Json& packet : skipped_) heard += packet.text + "\n";
  ADD_FAILURE() << "no `" << type << "` came, but:\n" << heard;
  return {};
}

Json WorkerProcess::cancel(std::string_view request) {
  send(fmt::format(R"({{"type":"cancel","request":"{}"}})", request));
  return wait_for("ended");
}

std::size_t WorkerProcess::count_skipped(std::string_view type) const {
  return static_cast<std::size_t>(std::count_if(
      skipped_.begin(), skipped_.end(), [&](const Json& packet) { return packet.type() == type; }));
}

Json WorkerProcess::load(std::string_view order) {
  send(order);
  return wait_for("ready");
}

HttpConnection WorkerProcess::ask(std::string_view method, std::string_view path,
                                  std::string_view body, std::string_view id) const {
  HttpConnection connection = connect();
  connection.send(method, path, body, id);
  connection.read_answer();
  return connection;
}

Json WorkerProcess::stats() const {
  return {ask("GET", "/stats").body()};
}

bool WorkerProcess::active_becomes(std::int64_t active) const {
  return poll_until([&] { return stats().number("active") == active; });
}

void WorkerProcess::signal(int number) const {
  ::kill(pid_, number);
}

int WorkerProcess::wait_exit() {
  if (exit_code_) return *exit_code_;
  if (!wait_readable(pidfd_.get())) return -1;
  int status = 0;
  ::waitpid(pid_, &status, 0);
  exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return *exit_code_;
}

bool process_disappears(pid_t pid) {
  return poll_until([pid] { return ::kill(pid, 0) != 0 && errno == ESRCH; });
}

}  // namespace stoker::test
