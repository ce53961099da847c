#include "gateway/kept_streams.h"

#include <utility>

#include "base/invariant.h"

namespace stoker::gateway {
namespace {

// What a stream and an event cost beside their bytes.
constexpr std::size_t stream_overhead = 1024;
constexpr std::size_t event_overhead = 64;

std::size_t cost_of(const std::string& event) {
  return event.size() + event_overhead;
}

}  // namespace

/// Guarded by the mutex of KeptStreams, but for what is const.
class KeptStream {
 public:
  enum class State : std::uint8_t { running, whole, broken, gone };

  KeptStream(KeptStreamOwner its_owner, std::weak_ptr<KeptWriter> its_writer)
      : owner(std::move(its_owner)), writer(std::move(its_writer)) {}

  /// Id of the next event that will come.
  [[nodiscard]] std::uint64_t next() const { return first + events.size(); }

  const KeptStreamOwner owner;
  const std::weak_ptr<KeptWriter> writer;
  State state = State::running;
  std::deque<std::string> events;
  std::uint64_t first = 1;    // id of the first one of them
  std::uint64_t to_take = 1;  // id of the next one that a reader is to have
  std::string rest;           // after the last event
  std::size_t bytes = stream_overhead;
  std::size_t untaken = 0;    // bytes from to_take on
  std::size_t ask_below = 0;  // the writer is to be told once fewer are untaken; 0: it is not
  std::shared_ptr<KeptReader> reader;
  std::uint64_t turn = 0;  // among those that have ended, or are alone; the last absence
};

struct KeptStreams::Told {
  std::vector<std::shared_ptr<KeptReader>> cut;
  std::vector<std::shared_ptr<KeptWriter>> lost;

  ~Told() {
    for (const auto& each : cut) each->on_news(nullptr);
    for (const auto& each : lost) each->on_lost();
  }
};

KeptStreams::KeptStreams(KeptStreamLimits limits) : limits_(limits) {}

/// A reader and its stream hold each other.
KeptStreams::~KeptStreams() {
  for (const auto& [id, stream] : streams_) stream->reader.reset();
}

KeptStreamPtr KeptStreams::begin(KeptStreamOwner owner, std::weak_ptr<KeptWriter> writer,
                                 std::shared_ptr<KeptReader> reader) {
  const RequestId id = owner.request;
  auto stream = std::make_shared<KeptStream>(std::move(owner), std::move(writer));
  Told told;
  const std::lock_guard lock(mutex_);
  make_room(*stream, stream->bytes, told);
  if (bytes_ + stream->bytes > limits_.total_bytes) return nullptr;
  bytes_ += stream->bytes;
  stream->reader = std::move(reader);
  streams_[id] = stream;
  return stream;
}

bool KeptStreams::append(KeptStream& stream, std::string event) {
  const std::size_t cost = cost_of(event);
  Told told;
  const std::lock_guard lock(mutex_);
  if (stream.state != KeptStream::State::running) return false;
  while (stream.bytes + cost > limits_.stream_bytes && drop_first(stream)) {
  }
  make_room(stream, cost, told);
  if (stream.state != KeptStream::State::running) return false;
  if (stream.bytes + cost > limits_.stream_bytes || bytes_ + cost > limits_.total_bytes) {
    lose(stream, told);
    return false;
  }
  stream.events.push_back(std::move(event));
  stream.bytes += cost;
  stream.untaken += cost;
  bytes_ += cost;
  return true;
}

/// For `bytes` more of `stream`, as far as there is something that may go.
void KeptStreams::make_room(KeptStream& stream, std::size_t bytes, Told& told) {
  while (bytes_ + bytes > limits_.total_bytes) {
    if (!ended_.empty()) {
      lose(*ended_.begin()->second, told);
    } else if (!drop_first(stream)) {
      if (alone_.empty()) return;
      lose(*alone_.begin()->second, told);
    }
  }
}

/// Gives: false if a reader is still to have it, or there is none.
bool KeptStreams::drop_first(KeptStream& stream) {
  if (stream.events.empty() || stream.first >= stream.to_take) return false;
  const std::size_t cost = cost_of(stream.events.front());
  stream.events.pop_front();
  ++stream.first;
  stream.bytes -= cost;
  bytes_ -= cost;
  return true;
}

void KeptStreams::lose(KeptStream& stream, Told& told) {
  if (stream.state == KeptStream::State::gone) return;
  if (stream.state == KeptStream::State::running) {
    if (auto writer = stream.writer.lock()) told.lost.push_back(std::move(writer));
  }
  ended_.erase(stream.turn);
  alone_.erase(stream.turn);
  bytes_ -= stream.bytes;
  stream.state = KeptStream::State::gone;
  stream.events = {};
  stream.rest = {};
  stream.bytes = 0;
  stream.untaken = 0;
  if (stream.reader) told.cut.push_back(std::move(stream.reader));
  gone_.push_back(stream.owner.request);
  if (gone_.size() <= limits_.remembered) return;
  streams_.erase(gone_.front());
  gone_.pop_front();
}

void KeptStreams::announce(KeptStream& stream, const net::EventLoop* on) {
  std::shared_ptr<KeptReader> reader;
  {
    const std::lock_guard lock(mutex_);
    reader = stream.reader;
  }
  if (reader) reader->on_news(on);
}

void KeptStreams::pass(KeptStream& stream, std::string_view bytes, const net::EventLoop* on) {
  std::shared_ptr<KeptReader> reader;
  {
    const std::lock_guard lock(mutex_);
    // Who is still behind has enough to read.
    if (stream.to_take == stream.next()) reader = stream.reader;
  }
  if (reader) reader->on_passing(bytes, on);
}

std::size_t KeptStreams::untaken_bytes(KeptStream& stream, std::size_t ask_below) {
  const std::lock_guard lock(mutex_);
  if (!stream.reader) return 0;
  if (stream.untaken > ask_below) stream.ask_below = ask_below;
  return stream.untaken;
}

void KeptStreams::end(KeptStream& stream, bool whole, std::string rest, const net::EventLoop* on) {
  std::shared_ptr<KeptReader> reader;
  Told told;
  {
    const std::lock_guard lock(mutex_);
    if (stream.state != KeptStream::State::running) return;
    make_room(stream, rest.size(), told);
    if (stream.state != KeptStream::State::running) return;
    if (bytes_ + rest.size() <= limits_.total_bytes) stream.rest = std::move(rest);
    stream.state = whole ? KeptStream::State::whole : KeptStream::State::broken;
    stream.bytes += stream.rest.size();
    bytes_ += stream.rest.size();
    alone_.erase(stream.turn);
    stream.turn = ++turns_;
    ended_[stream.turn] = &stream;
    reader = stream.reader;
  }
  if (reader) reader->on_news(on);
}

bool KeptStreams::abandon(KeptStream& stream, std::uint64_t absence) {
  Told told;
  const std::lock_guard lock(mutex_);
  const bool alone = stream.state == KeptStream::State::running && !stream.reader;
  if (!alone || stream.turn != absence) return false;
  lose(stream, told);
  told.lost.clear();  // it is who asks
  return true;
}

bool KeptStreams::expire(KeptStream& stream) {
  Told told;
  const std::lock_guard lock(mutex_);
  if (stream.reader) return false;
  lose(stream, told);
  return true;
}

KeptStreams::Attached KeptStreams::attach(RequestId request, const access::Key& key,
                                          std::uint64_t last_seen,
                                          std::shared_ptr<KeptReader> reader) {
  std::shared_ptr<KeptReader> replaced;
  KeptStreamPtr stream;
  {
    const std::lock_guard lock(mutex_);
    const auto found = streams_.find(request);
    if (found == streams_.end()) return {Attach::unknown, {}};
    stream = found->second;
    if (stream->owner.tenant != key.tenant || !key.may_use(stream->owner.deployment)) {
      return {Attach::unknown, {}};
    }
    if (stream->state == KeptStream::State::gone) return {Attach::gone, {}};
    if (last_seen >= stream->next()) return {Attach::ahead, {}};
    const std::uint64_t wanted = last_seen + 1;
    if (wanted < stream->first) return {Attach::gone, {}};
    if (stream->state != KeptStream::State::running && wanted == stream->next()) {
      return {Attach::nothing_left, {}};
    }
    if (reader == nullptr) return {Attach::attached, {}};
    replaced = std::exchange(stream->reader, std::move(reader));
    alone_.erase(stream->turn);
    stream->to_take = wanted;
    stream->untaken = 0;
    for (std::uint64_t i = wanted - stream->first; i < stream->events.size(); ++i) {
      stream->untaken += cost_of(stream->events[i]);
    }
  }
  if (replaced) replaced->on_replaced();
  return {Attach::attached, std::move(stream)};
}

KeptStreams::Taken KeptStreams::take(KeptStream& stream, const KeptReader& reader, std::size_t most,
                                     std::string& out) {
  std::shared_ptr<KeptReader> leaves;  // let go once the mutex is free
  std::shared_ptr<KeptWriter> writer;
  Taken taken = Taken::some;
  {
    const std::lock_guard lock(mutex_);
    if (stream.reader.get() != &reader) return Taken::cut;
    STOKER_INVARIANT(stream.to_take >= stream.first, "event {} of {} is no more", stream.to_take,
                     stream.first);
    while (stream.to_take < stream.next() && out.size() < most) {
      const std::string& event = stream.events[stream.to_take - stream.first];
      out += event;
      stream.untaken -= cost_of(event);
      ++stream.to_take;
    }
    if (stream.ask_below > 0 && stream.untaken <= stream.ask_below) {
      stream.ask_below = 0;
      writer = stream.writer.lock();
    }
    if (stream.to_take == stream.next()) {
      taken = Taken::all;
      if (stream.state != KeptStream::State::running) {
        out += stream.rest;
        leaves = std::move(stream.reader);
        taken = stream.state == KeptStream::State::whole ? Taken::end : Taken::cut;
      }
    }
  }
  if (writer) writer->on_taken();
  return taken;
}

void KeptStreams::detach(KeptStream& stream, const KeptReader& reader) {
  std::shared_ptr<KeptReader> leaves;
  std::shared_ptr<KeptWriter> writer;
  std::uint64_t absence = 0;
  {
    const std::lock_guard lock(mutex_);
    if (stream.reader.get() != &reader) return;
    leaves = std::move(stream.reader);
    if (stream.state != KeptStream::State::running) return;
    absence = stream.turn = ++turns_;
    alone_[absence] = &stream;
    writer = stream.writer.lock();
  }
  if (writer) writer->on_reader_left(absence);
}

std::size_t KeptStreams::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace stoker::gateway
