// The output of streams whose clients asked to be able to come back for it (DESIGN 4.13): in
// memory, bounded for each stream, in total and in time. Knows nothing of sockets: a writer puts
// whole events in, one reader at a time takes them out, and both may live on different threads.
// Each event has an id, counted from 1; what is taken is never a gap and never twice.
//
// What goes first where memory is short: streams that have ended, oldest first; then what this
// stream's reader has had; then running streams that nobody reads, alone for the longest first. A
// stream that cannot be kept whole any more is lost: its writer is told, and who asks for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "access/key.h"
#include "base/units.h"

namespace stoker::net {
class EventLoop;
}

namespace stoker::gateway {

struct KeptStreamLimits {
  std::size_t stream_bytes = std::size_t{4} << 20;
  std::size_t total_bytes = std::size_t{128} << 20;
  std::size_t remembered = 4096;  // streams that are gone, so that who asks is told so
};

/// Who takes a stream's events. Calls come from any thread, never under a lock.
class KeptReader {
 public:
  virtual ~KeptReader() = default;
  /// There is something to take(), or an end. `on`: the loop whose thread calls.
  virtual void on_news(const net::EventLoop* on) = 0;
  /// Bytes that are for whoever reads just now, and are not kept.
  virtual void on_passing(std::string_view bytes, const net::EventLoop* on) = 0;
  /// Another one reads now.
  virtual void on_replaced() = 0;
};

/// Who puts them in. Calls come from any thread, never under a lock.
class KeptWriter {
 public:
  virtual ~KeptWriter() = default;
  /// Of what the reader has not had little is left.
  virtual void on_taken() = 0;
  /// Nobody reads any more; `absence` is for KeptStreams::abandon().
  virtual void on_reader_left(std::uint64_t absence) = 0;
  /// The stream had to make room for others: it is gone.
  virtual void on_lost() = 0;
};

/// Whose stream it is.
struct KeptStreamOwner {
  RequestId request;
  TenantId tenant;
  std::string deployment;
};

class KeptStream;  // a handle; all of it belongs to KeptStreams
using KeptStreamPtr = std::shared_ptr<KeptStream>;

/// Threads: any, throughout.
class KeptStreams {
 public:
  explicit KeptStreams(KeptStreamLimits limits = {});
  ~KeptStreams();
  KeptStreams(const KeptStreams&) = delete;
  KeptStreams& operator=(const KeptStreams&) = delete;

  // For the writer.
  /// `reader` takes the first events.   Gives: nullptr where there is no room for one more.
  KeptStreamPtr begin(KeptStreamOwner owner, std::weak_ptr<KeptWriter> writer,
                      std::shared_ptr<KeptReader> reader);
  /// `event` is the next one, whole. Whoever reads is told by announce().
  /// Gives: false if it cannot be kept: the stream is gone, and on_lost() is, or was, called.
  [[nodiscard]] bool append(KeptStream& stream, std::string event);
  void announce(KeptStream& stream, const net::EventLoop* on);
  /// For whoever reads now; nothing is kept.
  void pass(KeptStream& stream, std::string_view bytes, const net::EventLoop* on);
  /// Bytes that the reader has not had; 0 without one. Above `ask_below`, on_taken() follows once
  /// they are fewer.
  [[nodiscard]] std::size_t untaken_bytes(KeptStream& stream, std::size_t ask_below);
  /// Nothing comes any more but `rest`, which has no id. `whole`: false, it broke off.
  void end(KeptStream& stream, bool whole, std::string rest, const net::EventLoop* on);
  /// Nobody came back in time. Gives: true, and it is gone, if it still runs without a reader since
  /// that absence.
  [[nodiscard]] bool abandon(KeptStream& stream, std::uint64_t absence);
  /// The time after its end is over.   Gives: false while somebody still reads it.
  [[nodiscard]] bool expire(KeptStream& stream);

  // For readers.
  enum class Attach : std::uint8_t {
    attached,
    unknown,       // never heard of, or not of this key's tenant, or forgotten
    gone,          // it was kept, or a part of what is asked for was, and is no more
    ahead,         // no such event has been
    nothing_left,  // the stream has ended, and all of it was seen
  };
  struct Attached {
    Attach how = Attach::unknown;
    KeptStreamPtr stream;  // where attached
  };
  /// `reader` takes what comes after the event `last_seen`; who read before is told that he does no
  /// more. `reader` null: only asks.
  [[nodiscard]] Attached attach(RequestId request, const access::Key& key, std::uint64_t last_seen,
                                std::shared_ptr<KeptReader> reader);
  enum class Taken : std::uint8_t {
    some,  // and there may be more
    all,   // for now
    end,   // nothing comes any more
    cut,   // it broke off, is lost, or another one reads it
  };
  /// Appends events to `out`, of `most` bytes or a little more.
  [[nodiscard]] Taken take(KeptStream& stream, const KeptReader& reader, std::size_t most,
                           std::string& out);
  /// It reads no more.
  void detach(KeptStream& stream, const KeptReader& reader);

  /// Of all streams, as counted against the limit.
  [[nodiscard]] std::size_t bytes() const;

 private:
  struct Told;  // who is to be told, once the mutex is free
  void make_room(KeptStream& stream, std::size_t bytes, Told& told);
  bool drop_first(KeptStream& stream);
  void lose(KeptStream& stream, Told& told);

  const KeptStreamLimits limits_;
  mutable std::mutex mutex_;
  std::map<RequestId, KeptStreamPtr> streams_;
  // By the number of their turn, so that the first is the longest there.
  std::map<std::uint64_t, KeptStream*> ended_;
  std::map<std::uint64_t, KeptStream*> alone_;  // running without a reader
  std::deque<RequestId> gone_;
  std::uint64_t turns_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace stoker::gateway
