// gateway::AnswerKeeper on a thread of its own. Who runs under which key is in memory: after a
// crash it has no answer, and runs again. Answers are on disk; those of a round of the loop are one
// transaction.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "answers/answer_store.h"
#include "gateway/answer_keeper.h"
#include "net/event_loop.h"
#include "obs/log.h"

namespace stoker::answers {

struct KeptAnswersOptions {
  Duration retention = minutes(24 * 60);
  std::int64_t most_bytes = std::int64_t{512} << 20;  // of all bodies
};

class KeptAnswers final : public gateway::AnswerKeeper, private net::RoundEndHook {
 public:
  /// Starts the thread. `log` outlives it.   Errors: those of making a loop.
  [[nodiscard]] static Result<std::unique_ptr<KeptAnswers>> create(AnswerStore store,
                                                                   KeptAnswersOptions options,
                                                                   obs::Logger& log);
  /// Writes what is not written and ends the thread.
  ~KeptAnswers() override;

  void claim(gateway::AnswerClaim claim, std::function<void(gateway::ClaimOutcome)> then) override;
  void keep(const gateway::AnswerClaim& claim, gateway::KeptAnswer answer,
            std::function<void()> then) override;
  void release(const gateway::AnswerClaim& claim) override;

 private:
  using Name = std::pair<KeyId, std::string>;
  struct Write {
    gateway::AnswerClaim claim;
    gateway::KeptAnswer answer;
    std::function<void()> then;
  };
  KeptAnswers(AnswerStore store, KeptAnswersOptions options, obs::Logger& log,
              std::unique_ptr<net::EventLoop> loop);
  [[nodiscard]] gateway::ClaimOutcome decide(const gateway::AnswerClaim& claim);
  [[nodiscard]] Result<void> write_all();
  void on_round_end() override;
  void sweep();
  void forget();

  AnswerStore store_;
  const KeptAnswersOptions options_;
  obs::Logger& log_;
  std::unique_ptr<net::EventLoop> loop_;
  std::map<Name, std::string> running_;  // to the fingerprint
  std::vector<Write> writes_;            // of this round
  std::int64_t unswept_bytes_ = 0;       // kept since forget() was last asked
  std::thread thread_;
};

}  // namespace stoker::answers
