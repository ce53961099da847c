// A blocking HTTP client and a worker whose every byte the test decides, for tests of the gateway.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "base/unique_fd.h"
#include "support/temp_dir.h"

namespace stoker::gateway {

/// One answer as a client sees it.
struct Answer {
  int status = 0;
  std::map<std::string, std::string> fields;  // names in lower case
  std::string body;
  bool whole = false;  // ended properly: all of Content-Length, or the last chunk

  [[nodiscard]] std::string field(const std::string& name) const {
    const auto found = fields.find(name);
    return found == fields.end() ? std::string() : found->second;
  }
};

class TestClient {
 public:
  explicit TestClient(const std::string& address);  // "127.0.0.1:PORT"
  void send(std::string_view bytes);
  /// Reads until the body so far holds `text`. Gives false if the answer ended before.
  bool read_until(std::string_view text);
  /// Reads the answer to its end. May follow read_until().
  Answer read_answer();
  void close() { fd_.reset(); }
  /// The next read sees a reset instead of an end.
  void reset();

 private:
  bool read_more();
  bool parse_head();
  void take_body();

  UniqueFd fd_;
  std::string input_;  // not yet parsed
  bool head_done_ = false;
  bool chunked_ = false;
  std::size_t body_left_ = 0;
  Answer answer_;
};

/// "POST PATH" with a JSON body and the usual fields.
std::string post(std::string_view path, std::string_view body, std::string_view more_fields = {});
std::string get(std::string_view path, std::string_view more_fields = {});

/// One connection that the gateway made to the scripted worker.
class WorkerConnection {
 public:
  explicit WorkerConnection(UniqueFd fd) : fd_(std::move(fd)) {}
  /// One whole request: head and body. Empty once the gateway closed the connection.
  std::string read_request();
  void send(std::string_view bytes);
  /// Waits until the gateway closes the connection. False: it did not in time.
  bool wait_closed();
  void reset();

 private:
  UniqueFd fd_;
  std::string input_;
};

/// Calls `script` on a thread of its own for each connection.
class ScriptedWorker {
 public:
  using Script = std::function<void(WorkerConnection&)>;
  explicit ScriptedWorker(Script script);
  ~ScriptedWorker();
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  void accept_all();

  Script script_;
  TempDir directory_;
  std::string path_;
  UniqueFd listener_;
  std::list<std::thread> connections_;
  std::thread acceptor_;
};

}  // namespace stoker::gateway
