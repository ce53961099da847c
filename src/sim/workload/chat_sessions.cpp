// Conversations of several turns: see ChatSessions in generators.h.
#include <algorithm>

#include "base/invariant.h"
#include "sim/workload/generators.h"
#include "sim/workload/min_heap.h"
#include "sim/workload/request_maker.h"

namespace stoker::sim {
namespace {

/// The id of block `index` of a text. Spread over all numbers, so that texts do not share ids.
std::uint64_t block_id(std::uint64_t text, std::size_t index) {
  return Prng(text + index * 0x9e3779b97f4a7c15ULL).next();
}

/// A turn that is still to come.
struct Turn {
  std::int64_t at_ns = 0;
  std::uint64_t number = 0;  // of the session, from 0
  std::uint32_t deployment = 0;
  std::uint32_t tenant = 0;
  std::int64_t said_tokens = 0;  // in the session before this turn
  bool operator<(const Turn& other) const {
    return at_ns != other.at_ns ? at_ns < other.at_ns : number < other.number;
  }
};

class ChatSource final : public RequestSource {
 public:
  ChatSource(const ChatSessions& sessions, const GeneratorOptions& options)
      : maker_(options),
        sessions_(sessions),
        seed_(seed_for(options.seed, "sessions")),
        prng_(seed_for(options.seed, "turns")),
        length_ns_(options.length.ns) {
    STOKER_INVARIANT(sessions.mean_turns >= 1 && sessions.system_tokens >= 0,
                     "{} turns, {} system tokens", sessions.mean_turns, sessions.system_tokens);
    next_session();
  }
  [[nodiscard]] const TraceWorld& world() const override { return maker_.world(); }

  [[nodiscard]] Result<bool> next(TraceRequest& out) override {
    if (turns_.empty() || session_at_ns_ < turns_.top().at_ns) {
      if (session_at_ns_ >= length_ns_) return false;
      maker_.make(Duration{session_at_ns_}, out);
      Turn turn{session_at_ns_, number_++, out.deployment, out.tenant, sessions_.system_tokens};
      next_session();
      speak(turn, out);
      if (another(turn, out)) turns_.push(turn);
      return true;
    }
    Turn turn = turns_.top();
    if (turn.at_ns >= length_ns_) return false;
    maker_.make(Duration{turn.at_ns}, out);
    out.deployment = turn.deployment;
    out.tenant = turn.tenant;
    speak(turn, out);
    if (another(turn, out)) {
      turns_.replace_top(turn);
    } else {
      turns_.pop();
    }
    return true;
  }

 private:
  void next_session() {
    const double gap = exponential(prng_, 1e9 / sessions_.sessions_per_second);
    const double at = static_cast<double>(session_at_ns_) + gap;
    session_at_ns_ =
        at < static_cast<double>(length_ns_) ? static_cast<std::int64_t>(at) : length_ns_;
  }

  /// Makes the drawn request one of the session: its message is added to all that was said.
  void speak(const Turn& turn, TraceRequest& out) const {
    const std::uint64_t text = block_id(seed_, turn.number);
    out.session = text | 1;  // never 0
    out.input_tokens = std::min(turn.said_tokens + out.input_tokens, sessions_.most_input);
    // Only whole blocks: the last, half-full one would be another text one turn later.
    const auto whole = [](std::int64_t tokens) {
      return static_cast<std::size_t>(tokens / prefix_block_tokens);
    };
    const std::size_t blocks = whole(out.input_tokens);
    const std::size_t shared = std::min(whole(sessions_.system_tokens), blocks);
    const std::uint64_t system = block_id(~seed_, turn.deployment);
    out.prefix.resize(blocks);
    for (std::size_t i = 0; i < blocks; ++i) {
      out.prefix[i] = block_id(i < shared ? system : text, i);
    }
  }

  /// Moves `turn` on to the next of its session.  Gives: false if this was the last.
  bool another(Turn& turn, const TraceRequest& spoken) {
    turn.said_tokens = spoken.input_tokens + spoken.output_tokens;
    if (turn.said_tokens >= sessions_.most_input) return false;
    if (bernoulli(prng_, 1.0 / sessions_.mean_turns)) return false;
    const Duration answer = service_time(spoken, world().deployments[spoken.deployment]);
    const double think = exponential(prng_, static_cast<double>(sessions_.mean_think.ns));
    turn.at_ns += answer.ns + static_cast<std::int64_t>(think);
    return turn.at_ns < length_ns_;
  }

  RequestMaker maker_;
  ChatSessions sessions_;
  std::uint64_t seed_;
  Prng prng_;
  std::int64_t length_ns_;
  std::int64_t session_at_ns_ = 0;  // the next session's first turn
  std::uint64_t number_ = 0;
  MinHeap<Turn> turns_;
};

}  // namespace

std::unique_ptr<RequestSource> chat_sessions(const ChatSessions& sessions,
                                             const GeneratorOptions& options) {
  return std::make_unique<ChatSource>(sessions, options);
}

}  // namespace stoker::sim
