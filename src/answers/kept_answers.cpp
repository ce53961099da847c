#include "answers/kept_answers.h"

#include <pthread.h>

#include <utility>

#include "net/clock.h"

namespace stoker::answers {
namespace {

using gateway::AnswerClaim;
using gateway::ClaimOutcome;

constexpr Duration sweep_interval = seconds(60);

}  // namespace

Result<std::unique_ptr<KeptAnswers>> KeptAnswers::create(AnswerStore store,
                                                         KeptAnswersOptions options,
                                                         obs::Logger& log) {
  Result<std::unique_ptr<net::EventLoop>> loop = net::EventLoop::create();
  if (!loop) return tl::unexpected(loop.error());
  std::unique_ptr<KeptAnswers> kept(
      new KeptAnswers(std::move(store), options, log, std::move(*loop)));
  kept->thread_ = std::thread([self = kept.get()] {
    ::pthread_setname_np(::pthread_self(), "answers");
    self->loop_->run();
  });
  return kept;
}

KeptAnswers::KeptAnswers(AnswerStore store, KeptAnswersOptions options, obs::Logger& log,
                         std::unique_ptr<net::EventLoop> loop)
    : store_(std::move(store)), options_(options), log_(log), loop_(std::move(loop)) {
  loop_->post([this] { sweep(); });
}

KeptAnswers::~KeptAnswers() {
  loop_->post([this] { loop_->stop(); });
  thread_.join();
  on_round_end();
}

void KeptAnswers::claim(AnswerClaim claim, std::function<void(ClaimOutcome)> then) {
  loop_->post([this, claim = std::move(claim), then = std::move(then)] { then(decide(claim)); });
}

ClaimOutcome KeptAnswers::decide(const AnswerClaim& claim) {
  using Kind = ClaimOutcome::Kind;
  const Name name{claim.owner, claim.idempotency_key};
  if (const auto running = running_.find(name); running != running_.end()) {
    return {running->second == claim.fingerprint ? Kind::running : Kind::different, {}};
  }
  Result<std::optional<Kept>> known = store_.find(claim.owner, claim.idempotency_key);
  if (!known) {
    log_.warn("answers_unreadable", {{"text", known.error().message}});
    return {Kind::failed, {}};
  }
  if (*known) {
    if ((*known)->fingerprint != claim.fingerprint) return {Kind::different, {}};
    return {Kind::answered, std::move((*known)->answer)};
  }
  running_.emplace(name, claim.fingerprint);
  return {Kind::yours, {}};
}

void KeptAnswers::keep(const AnswerClaim& claim, gateway::KeptAnswer answer,
                       std::function<void()> then) {
  loop_->post([this, claim, answer = std::move(answer), then = std::move(then)]() mutable {
    writes_.push_back({claim, std::move(answer), std::move(then)});
    loop_->at_round_end(*this);
  });
}

void KeptAnswers::release(const AnswerClaim& claim) {
  loop_->post([this, claim] { running_.erase({claim.owner, claim.idempotency_key}); });
}

Result<void> KeptAnswers::write_all() {
  if (Result<void> begun = store_.begin(); !begun) return begun;
  for (const Write& each : writes_) {
    const Result<void> written = store_.insert(each.claim, each.answer, net::wall_now());
    if (!written) return written;
  }
  return store_.commit();
}

/// What cannot be written goes out all the same: it has run, and the next one under its key will.
void KeptAnswers::on_round_end() {
  if (writes_.empty()) return;
  if (const Result<void> written = write_all(); !written) {
    store_.roll_back();
    log_.warn("answers_unwritten", {{"text", written.error().message}});
  }
  for (Write& each : std::exchange(writes_, {})) {
    unswept_bytes_ += static_cast<std::int64_t>(each.answer.body.size());
    running_.erase({each.claim.owner, each.claim.idempotency_key});
    each.then();
  }
  // Between two rounds of it, no more than this comes on top of what may be kept.
  if (unswept_bytes_ > options_.most_bytes / 8) forget();
}

void KeptAnswers::sweep() {
  forget();
  loop_->run_at(net::monotonic_now() + sweep_interval, [this] { sweep(); });
}

void KeptAnswers::forget() {
  unswept_bytes_ = 0;
  const WallTime now = net::wall_now();
  const Result<void> gone = store_.forget({now.ns - options_.retention.ns}, options_.most_bytes);
  if (!gone) log_.warn("answers_unwritten", {{"text", gone.error().message}});
}

}  // namespace stoker::answers
