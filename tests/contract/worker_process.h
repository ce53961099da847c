// Runs one worker the way an instance backend does: socket pair on descriptor 3, listening Unix
// socket on 4, nonce in the environment. Everything waits on descriptors with one generous
// deadline, so that a test fails only when a worker does not do what it should at all.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "base/units.h"

namespace stoker::test {

/// How long anything may take before it counts as never happening.
inline constexpr Duration patience = seconds(30);

/// A folder that is removed with all its content.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string file(std::string_view name) const;

 private:
  std::string path_;
};

/// One JSON object of the control channel or of an answer.
struct Json {
  std::string text;
  /// A field on the first level; empty, 0 or nullopt where there is none of that type.
  [[nodiscard]] std::string string(std::string_view key) const;
  [[nodiscard]] std::int64_t number(std::string_view key) const;
  [[nodiscard]] std::optional<double> real(std::string_view key) const;
  [[nodiscard]] std::string type() const { return string("type"); }
};

/// One connection to a worker's listening socket. Blocking; a failure of the test on timeout.
class HttpConnection {
 public:
  explicit HttpConnection(const std::string& socket_path);
  /// `id`: sent as X-Stoker-Request unless empty.
  void send(std::string_view method, std::string_view path, std::string_view body,
            std::string_view id = {});
  /// Reads until the bytes so far hold `text`, or the peer closes.   Gives: whether they do.
  bool read_until(std::string_view text);
  /// Reads the whole answer (by its length or to its last chunk).
  void read_answer();
  /// Reads until the peer closes.
  void read_to_end();
  /// All bytes so far, as they came.
  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  [[nodiscard]] int status() const;
  /// Value of a head field, empty if absent.
  [[nodiscard]] std::string field(std::string_view name) const;
  /// The bytes after the head, chunked coding undone.
  [[nodiscard]] std::string body() const;
  void close() { fd_.reset(); }

 private:
  bool read_more();
  [[nodiscard]] bool answer_is_whole() const;

  UniqueFd fd_;
  std::string bytes_;
};

class WorkerProcess {
 public:
  explicit WorkerProcess(const std::string& program,
                         std::vector<std::pair<std::string, std::string>> env = {});
  /// Kills what is left of it.
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  [[nodiscard]] const std::string& nonce() const { return nonce_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const std::string& socket_path() const { return socket_path_; }

  // --- Control channel ---
  void send(std::string_view packet);
  /// The next packet, whatever it is; nullopt at the end of the channel.
  std::optional<Json> next();
  /// The next packet of that type; others are put into skipped(). A failure if there is none.
  Json wait_for(std::string_view type);
  /// Sends `cancel` and waits for its `ended`.
  Json cancel(std::string_view request);
  [[nodiscard]] const std::vector<Json>& skipped() const { return skipped_; }
  /// How many of the skipped packets are of that type.
  [[nodiscard]] std::size_t count_skipped(std::string_view type) const;
  void close_control() { control_.reset(); }
  /// Sends `load` and waits for `ready`.
  Json load(std::string_view order);

  // --- HTTP ---
  [[nodiscard]] HttpConnection connect() const { return HttpConnection(socket_path_); }
  /// One request on a connection of its own.
  HttpConnection ask(std::string_view method, std::string_view path, std::string_view body = {},
                     std::string_view id = {}) const;
  /// GET /stats
  [[nodiscard]] Json stats() const;
  /// Asks /stats until `active` is that.   Gives: whether it came to be.
  bool active_becomes(std::int64_t active) const;

  // --- Life ---
  void signal(int number) const;
  /// Waits for its end.   Gives: its exit code, or 128 + signal; -1 if it lives on.
  int wait_exit();
  /// What it wrote to stderr so far.
  [[nodiscard]] std::string log() const;

 private:
  TemporaryFolder folder_;
  std::string socket_path_;
  std::string nonce_;
  UniqueFd listener_;
  UniqueFd control_;
  UniqueFd pidfd_;
  pid_t pid_ = 0;
  std::optional<int> exit_code_;
  std::vector<Json> skipped_;
};

/// Is there a process with that entry in its environment?
bool anybody_has(std::string_view entry);
/// Waits until no process has that id any more.   Gives: whether that came to be.
bool process_disappears(pid_t pid);

}  // namespace stoker::test
