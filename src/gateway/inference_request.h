// One request that runs on an instance, from its admission to its ending record.
//
//   waiting --dispatched--> running --answer whole-----------> recording --> done
//      |  \--refused---------------------------------------------^   ^
//      |                     |--client gone, failed, too late--> settling
//      \--client gone----------------------------------------------^
//
// settling: the outcome is decided, the engine is told to stop, and its real usage is awaited for a
// bounded time. recording: the ending is in the journal, its durability is awaited. Only after that
// the last byte of an answer goes out. Exactly one ending follows each admission, whatever happens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "access/key_ring.h"
#include "gateway/client_answer.h"
#include "gateway/detached.h"
#include "gateway/directory.h"
#include "gateway/dispatcher.h"
#include "gateway/json_reader.h"
#include "gateway/kept_exchange.h"
#include "gateway/metrics.h"
#include "gateway/ollama_answer.h"
#include "gateway/receipt.h"
#include "gateway/record_sink.h"
#include "gateway/request_wishes.h"
#include "gateway/routes.h"
#include "gateway/stream_relay.h"
#include "gateway/upstreams.h"
#include "ledger/record.h"
#include "net/event_loop.h"
#include "net/http_client.h"
#include "obs/log.h"

namespace stoker::gateway {

struct RequestLimits {
  Duration stream_head_hold = seconds(10);     // then a stream begins without a token (DESIGN 4.10)
  Duration keep_alive_interval = seconds(10);  // between comments while nothing else is sent
  Duration progress_interval = seconds(1);     // between events that tell what a request waits for
  Duration cancelled_usage_wait = seconds(10);  // for the usage of a request whose client left
  Duration failed_usage_wait = ms(500);  // the same while the client still waits for an error
  std::size_t write_buffer_bytes =
      net::HttpLimits{}.write_buffer_bytes;                     // beyond: who sends is paused
  std::size_t held_answer_bytes = std::size_t{1} << 20;         // longer answers go on as they come
  std::size_t translated_answer_bytes = std::size_t{32} << 20;  // longer ones are not translated
};

class InferenceRequest;

/// What the requests of one event loop share. Outlives them.
struct RequestHost {
  net::EventLoop& loop;
  Dispatcher& dispatcher;
  RecordSink& records;
  obs::Logger& log;
  JsonReader& json;
  Upstreams& upstreams;
  RequestLimits limits;
  bool access_log = true;
  std::list<std::shared_ptr<InferenceRequest>> running;
  std::string fields;             // scratch for the head of a request to an engine
  std::function<void()> on_done;  // after each request that left `running`
};

/// A request that passed every check of the gateway.
struct Incoming {
  net::ExchangePtr exchange;
  const RouteSpec* route = nullptr;
  DeploymentPtr deployment;
  access::KeyPtr key;  // who asks
  const DeploymentMetrics* metrics = nullptr;
  RequestId id;
  std::string_view engine_method;              // a literal; empty: the client's
  std::string engine_target;                   // path and query at the engine
  std::optional<std::string> changed_body;     // instead of the client's
  std::unique_ptr<OllamaAnswer> translator;    // null: answers go on in the engine's words
  TokenCounts estimate;                        // what it may use at most, as far as that is known
  std::shared_ptr<DetachedExchange> detached;  // `exchange`, of a job; null: a client is connected
  std::shared_ptr<KeptExchange> kept;  // `exchange`, under an Idempotency-Key; null: without one
  bool stream = false;
  std::uint64_t affinity = 0;  // of session_affinity.h
  bool hide_usage = false;     // of a stream whose client did not ask for it
  bool only_loads = false;     // the model is to be there, and nothing to be generated
  RequestWishes wishes;
};

/// Threads: the loop's, but for the calls of DispatchSink and DurableListener, which post to it.
class InferenceRequest final : public DispatchSink,
                               public DurableListener,
                               public std::enable_shared_from_this<InferenceRequest>,
                               private net::CallHandler {
 public:
  /// Admits the request and keeps it in host.running until it is done.
  static void start(RequestHost& host, Incoming incoming);
  InferenceRequest(RequestHost& host, Incoming incoming);

  /// The server stops: the request ends now, as failed, without waiting for its usage.
  void shut_down();
  /// Its key was revoked so that nothing goes on for it.
  void cut_off();
  [[nodiscard]] const access::Key& key() const { return *in_.key; }

  void on_dispatched(DispatchTargetPtr target) override;
  void on_rejected(Rejection rejection) override;
  void on_worker_ended(WorkerUsage usage) override;
  void on_instance_lost(std::string reason) override;
  void on_durable(bool written) override;

 private:
  enum class Phase : std::uint8_t { waiting, running, settling, recording, done };

  // Life: inference_request.cpp.
  void begin();
  void hear_client();
  bool write_admission();
  void dispatch(DispatchTargetPtr target);
  bool note_dispatch();
  void refused(const Rejection& rejection);
  void client_gone();
  void cancel_for_client();
  void end_switched(std::function<void()> end);
  void instance_lost(const std::string& reason);
  void end_with(EndState state, ApiError error, Duration usage_wait);
  void complete(EndState state, std::string reason);
  void record();
  [[nodiscard]] ledger::Usage ending(Instant now, std::int64_t device_ms);
  void refuse_by_limit(const Rejection& rejection);
  [[nodiscard]] TokenCounts used() const;
  void deliver(bool written);
  void done();
  void leave_instance();
  void stop_call();
  void arm_keep_alive(Instant at);
  void keep_alive();
  void write_log(const ledger::Usage& usage) const;

  // Its deadline, and what it waits for: inference_wait.cpp.
  [[nodiscard]] Instant latest_dispatch() const;
  [[nodiscard]] Duration run_timeout() const;
  void arm_deadline(Instant dispatched);
  [[nodiscard]] bool is_past_deadline() const;
  void tell_progress();

  // The engine's answer: inference_relay.cpp.
  void on_head(const net::HttpResponseHead& head) override;
  void on_body(std::string_view bytes) override;
  void on_end() override;
  void on_failure(net::CallFailure failure, const std::string& detail) override;
  void on_drained() override;
  void switch_protocol(const net::HttpResponseHead& head);
  void send_to_engine(std::string_view bytes);
  void relay_events(std::string_view bytes);
  void relay_bytes(std::string_view bytes);
  void end_of_events();
  void end_of_bytes();
  void put_into_dialect();
  [[nodiscard]] std::string last_bytes();
  void fail_late_answer();
  void start_events();
  void slow_down();
  void stay_within_limits();
  void add_own_fields(std::string& text, bool whole) const;
  [[nodiscard]] std::string own_fields(bool whole) const;

  RequestHost& host_;
  Incoming in_;  // without its exchange, which answer_ has
  ClientAnswer answer_;
  std::list<std::shared_ptr<InferenceRequest>>::iterator self_;
  Phase phase_ = Phase::waiting;

  // The instance that runs it.
  DispatchTargetPtr target_;
  net::Call* call_ = nullptr;
  bool call_paused_ = false;
  bool on_instance_ = false;

  // The engine's answer.
  int engine_status_ = 0;
  std::string engine_fields_;
  std::string held_body_;
  std::optional<StreamRelay> relay_;
  WorkerUsage usage_;

  // How it ended.
  EndState end_state_ = EndState::failed;
  std::optional<ApiError> error_;
  std::string reason_;
  ledger::Usage ending_;
  bool ran_ = false;  // dispatched, heard of or not, so the dispatcher must hear ended()

  Timeline timeline_;
  net::TimerId deadline_timer_ = 0;
  net::TimerId settle_timer_ = 0;
  net::TimerId keep_alive_timer_ = 0;
  net::TimerId progress_timer_ = 0;
};

}  // namespace stoker::gateway
