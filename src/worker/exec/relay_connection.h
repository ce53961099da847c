// One relayed connection: two sockets and the bytes on their way. Internal to relay.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/unique_fd.h"
#include "net/event_loop.h"
#include "worker/counters.h"

namespace stoker::worker {

class Relay;

class RelayConnection : public std::enable_shared_from_this<RelayConnection> {
 public:
  RelayConnection(Relay& relay, UniqueFd client, UniqueFd engine);
  ~RelayConnection();
  /// Registers both sockets; the relay owns the connection until removed() was called.
  void start();
  /// Ends both sides in the ordinary way; what is still under way is lost.
  void close();
  /// Resets both sides.
  void abort();

  /// Bytes moved either way at or after `at`, or the engine still owes an answer.
  [[nodiscard]] bool busy_since(Instant at) const;
  [[nodiscard]] bool active() const { return active_; }
  void set_active(bool active);

 private:
  enum Which : std::size_t { client = 0, engine = 1 };

  class Side final : public net::FdHandler {
   public:
    Side(RelayConnection& connection, Which which) : connection_(connection), which_(which) {}
    void on_events(std::uint32_t events) override { connection_.on_events(which_, events); }

   private:
    RelayConnection& connection_;
    const Which which_;
  };

  /// Bytes from one side to the other.
  struct Direction {
    std::array<char, 64 << 10> bytes;
    std::size_t begin = 0;
    std::size_t end = 0;
    bool ended = false;  // the source has said its last byte
    bool shut = false;   // and the sink was told
    [[nodiscard]] bool empty() const { return begin == end; }
    [[nodiscard]] bool full() const { return end == bytes.size(); }
  };

  void on_events(Which side, std::uint32_t events);
  bool pump(Which from);
  bool read_some(Which from);
  bool write_some(Which from);
  void note_bytes(Which from, std::size_t count);
  void update_interest(Which side);

  static Which other(Which side) { return side == client ? engine : client; }

  Relay& relay_;
  std::array<UniqueFd, 2> fds_;
  std::array<Side, 2> sides_;
  std::array<bool, 2> registered_{};
  std::array<std::uint32_t, 2> interest_{};
  std::array<std::unique_ptr<Direction>, 2> directions_;  // by source
  Instant last_bytes_at_;
  bool answer_owed_ = false;  // the last byte came from the client
  bool active_ = false;
};

}  // namespace stoker::worker
