#include "app/serve.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <future>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "access/key_admin.h"
#include "access/webhook_secrets.h"
#include "answers/kept_answers.h"
#include "app/plans.h"
#include "app/reload.h"
#include "app/tenants.h"
#include "app/trace_world.h"
#include "backend/devices/nvml.h"
#include "backend/process/process_backend.h"
#include "backend/process/serial_executor.h"
#include "base/text.h"
#include "config/load.h"
#include "gateway/journal_sink.h"
#include "gateway/server.h"
#include "jobs/job_service.h"
#include "ledger/journal.h"
#include "ledger/sqlite/sqlite_ledger.h"
#include "ledger/state_dir.h"
#include "net/clock.h"
#include "orchestrator/admin_service.h"
#include "orchestrator/footprints.h"
#include "orchestrator/orchestrator.h"
#include "orchestrator/state_metrics.h"
#include "outbound/curl_poster.h"
#include "tls/certificate_watch.h"
#include "tls/tls_server.h"
#include "traffic/recorder.h"

namespace stoker::app {
namespace {

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;

int complain(const Error& error, int code) {
  std::fprintf(stderr, "error: %s\n", error.message.c_str());
  if (!error.hint.empty()) std::fprintf(stderr, "  fix: %s\n", error.hint.c_str());
  return code;
}

/// What the configuration asks for is wrong, or the world is.
int exit_code_of(const Error& error) {
  const bool usage = error.code == ErrorCode::invalid || error.code == ErrorCode::not_found;
  return usage ? exit_usage : exit_failed;
}

obs::Level log_level(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::debug:
      return obs::Level::debug;
    case config::LogLevel::info:
      return obs::Level::info;
    case config::LogLevel::warn:
      return obs::Level::warn;
    case config::LogLevel::error:
      return obs::Level::error;
  }
  return obs::Level::info;
}

obs::Format log_format(config::LogFormat format) {
  switch (format) {
    case config::LogFormat::automatic:
      return obs::default_format(2);
    case config::LogFormat::text:
      return obs::Format::text;
    case config::LogFormat::logfmt:
      return obs::Format::logfmt;
    case config::LogFormat::json:
      return obs::Format::json;
  }
  return obs::Format::logfmt;
}

int gateway_threads(const config::ServerConfig& config) {
  if (config.threads > 0) return config.threads;
  const unsigned cpus = std::thread::hardware_concurrency();
  return static_cast<int>(std::clamp(cpus, 1U, 8U));
}

constexpr Duration certificate_period = seconds(1);

/// Most connections of clients on one of so many loops: the other half of the descriptors is for
/// workers, connections to them, and files, so that a crowd at the door takes nothing from those
/// who are inside.
std::size_t most_connections(int loops) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return std::numeric_limits<std::size_t>::max();
  }
  return std::max<std::size_t>(1, limit.rlim_cur / 2 / static_cast<std::size_t>(loops));
}

/// Every connection is a descriptor: take as many as the machine lets us.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

class JournalOfInstances final : public orchestrator::InstanceJournal {
 public:
  JournalOfInstances(ledger::Journal& journal, obs::Logger& log) : journal_(journal), log_(log) {}
  Result<void> started(const ledger::InstanceStart& start) override {
    const Result<ledger::Sequence> written = journal_.append_synced(start);
    if (!written) return tl::unexpected(written.error());
    return {};
  }
  void ended(const ledger::InstanceEnd& end) override {
    const Result<ledger::Sequence> written = journal_.append(end);
    if (!written) log_.warn("instance_end_unwritten", {{"text", written.error().message}});
  }

 private:
  ledger::Journal& journal_;
  obs::Logger& log_;
};

/// SIGINT, SIGTERM and SIGHUP as events of the loop. Needs: they are blocked in all threads.
class Signals final : private net::FdHandler {
 public:
  Signals(net::EventLoop& loop, std::function<void(int)> on_signal)
      : loop_(loop), on_signal_(std::move(on_signal)) {
    fd_.reset(::signalfd(-1, set().get(), SFD_CLOEXEC | SFD_NONBLOCK));
    if (fd_) loop_.add(fd_.get(), EPOLLIN, *this);
  }
  ~Signals() override {
    if (fd_) loop_.remove(fd_.get());
  }
  static void block() { ::sigprocmask(SIG_BLOCK, set().get(), nullptr); }

 private:
  struct Set {
    sigset_t signals{};
    Set() {
      ::sigemptyset(&signals);
      ::sigaddset(&signals, SIGINT);
      ::sigaddset(&signals, SIGTERM);
      ::sigaddset(&signals, SIGHUP);
    }
    const sigset_t* get() const { return &signals; }
  };
  static Set set() { return {}; }
  void on_events(std::uint32_t) override {
    signalfd_siginfo info{};
    while (::read(fd_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      on_signal_(static_cast<int>(info.ssi_signo));
    }
  }

  net::EventLoop& loop_;
  std::function<void(int)> on_signal_;
  UniqueFd fd_;
};

/// All parts of a running server. Members are made in order of need and end in reverse.
class Server {
 public:
  Server(const config::ServerConfig& config, const ServeOptions& options)
      : config_(config),
        options_(options),
        log_({.level = log_level(config.log.level), .format = log_format(config.log.format)}) {}
  ~Server() {
    if (shutdown_.joinable()) shutdown_.join();
  }

  int run() {
    Result<std::vector<orchestrator::DeploymentPlan>> plans = make_plans(config_, ids_);
    if (!plans) return complain(plans.error(), exit_usage);
    const Result<gateway::DirectoryPtr> directory = make_directory(config_, *plans);
    if (!directory) return complain(directory.error(), exit_usage);
    // Before the state directory: a server that cannot serve leaves nothing behind.
    if (const Result<void> opened = open_tls(); !opened) {
      return complain(opened.error(), exit_usage);
    }
    if (const Result<void> bound = bind_listeners(); !bound) {
      return complain(bound.error(), exit_failed);
    }
    Result<backend::DeviceProbe> probe = backend::probe_devices({device_requests(config_)});
    if (!probe) return complain(probe.error(), exit_code_of(probe.error()));
    if (const Result<void> opened = open_state(*plans, probe->devices); !opened) {
      return complain(opened.error(), exit_failed);
    }
    if (const Result<void> made = make_orchestrator(std::move(*plans), probe->devices, *directory);
        !made) {
      return complain(made.error(), exit_code_of(made.error()));
    }
    if (const Result<void> made = make_jobs(*directory); !made) {
      return complain(made.error(), exit_failed);
    }
    if (const Result<void> made = make_gateway(*directory); !made) {
      return complain(made.error(), exit_failed);
    }
    make_reloader(probe->devices);
    serve_until_signal();
    return 0;
  }

 private:
  Result<void> open_tls() {
    const config::TlsConfig& files = config_.tls;
    if (files.certificate.empty()) return {};
    Result<std::unique_ptr<tls::TlsServer>> opened =
        tls::TlsServer::create({files.certificate, files.key});
    if (!opened) return tl::unexpected(opened.error());
    tls_ = std::move(*opened);
    certificate_watch_.emplace(*tls_);
    obs::Gauge& expires = registry_.gauge(
        {.name = "stoker_certificate_expires_seconds",
         .help = "When the certificate of the listener ends, in seconds since 1970"});
    registry_.on_render(
        [&expires, this] { expires.set(tls_->certificate().not_after.ns / 1'000'000'000); });
    const tls::CertificateInfo info = tls_->certificate();
    if (info.not_after < net::wall_now()) {
      log_.warn("certificate_expired",
                {{"subject", info.subject}, {"text", "clients will not trust this server"}});
    }
    return {};
  }

  /// Takes a changed certificate into use, on the loop's thread.
  void watch_certificate() {
    if (const std::optional<Result<void>> tried = certificate_watch_->look(net::wall_now())) {
      const tls::CertificateInfo info = tls_->certificate();
      const std::string sentence =
          *tried
              ? fmt::format("new connections get the certificate {} ({}...)", info.subject,
                            info.fingerprint.substr(0, 16))
              : fmt::format("the one in use stays, {}: {}", info.subject, tried->error().message);
      const char* const event = *tried ? "certificate_replaced" : "certificate_unusable";
      events_.append(net::wall_now(), {event, "", "", "", sentence});
      if (*tried) {
        log_.info(event, {{"text", sentence}});
      } else {
        log_.warn(event, {{"text", sentence}, {"fix", tried->error().hint}});
      }
    }
    loop_->run_at(net::monotonic_now() + certificate_period, [this] { watch_certificate(); });
  }

  void make_reloader(const std::vector<backend::Device>& devices) {
    reloader_.emplace(ReloadParts{*loop_, *orchestrator_, *admin_, *gateway_, *jobs_, *keys_,
                                  *footprints_, events_, log_, tls_.get()},
                      devices, config_, ids_, options_.load_again);
    admin_->set_reload([this] { return reloader_->reload(); });
  }

  Result<void> bind_listeners() {
    Result<net::ListenAddress> address = net::parse_listen_address(config_.listen);
    if (!address) return tl::unexpected(address.error());
    address_ = std::move(*address);
    Result<gateway::Listeners> listeners =
        gateway::Listeners::bind(address_, gateway_threads(config_));
    if (!listeners) return tl::unexpected(listeners.error());
    listeners_.emplace(std::move(*listeners));
    return {};
  }

  Result<void> open_state(std::vector<orchestrator::DeploymentPlan>& plans,
                          const std::vector<backend::Device>& devices) {
    Result<ledger::StateDir> state = ledger::StateDir::open(config_.state_dir);
    if (!state) return tl::unexpected(state.error());
    state_.emplace(std::move(*state));
    if (state_->mode_before()) {
      log_.warn("state_dir_closed", {{"path", state_->path().string()},
                                     {"mode_before", fmt::format("{:04o}", *state_->mode_before())},
                                     {"text", "other users could enter it; it is 0700 now"}});
    }
    const ledger::Durability durability = config_.durability == config::Durability::disk
                                              ? ledger::Durability::disk
                                              : ledger::Durability::process;
    ledger::JournalOptions options;
    options.directory = state_->journal_path();
    options.durability = durability;
    Result<std::unique_ptr<ledger::Journal>> journal = ledger::Journal::open(
        options, {state_->epoch(), net::wall_now(), config::fingerprint(config_)},
        [this](const Error& error) {
          // Nothing that is written from here on can be believed: only a new start may go on.
          log_.error("journal_failed", {{"text", error.message}, {"fix", error.hint}});
          ::_exit(exit_failed);
        });
    if (!journal) return tl::unexpected(journal.error());
    journal_ = std::move(*journal);
    const ledger::Recovered& found = journal_->recovered();
    if (found.interrupted_requests > 0 || !found.open_instances.empty()) {
      log_.warn("earlier_life_ended_abruptly",
                {{"interrupted_requests", found.interrupted_requests},
                 {"open_instances", found.open_instances.size()}});
    }
    footprints_.emplace(state_->footprints_path());
    recall_footprints(*footprints_, devices, plans);
    if (config_.traffic.record) record_traffic(trace_world(devices, plans));
    ledger::SqliteLedgerOptions ledger_options;
    ledger_options.file = state_->ledger_path();
    ledger_options.listener = recorder_.get();
    Result<std::unique_ptr<ledger::Ledger>> ledger =
        ledger::open_sqlite_ledger(ledger_options, *journal_, [this](const Error& error) {
          log_.error("ledger_write_failed", {{"text", error.message}, {"fix", error.hint}});
        });
    if (!ledger) return tl::unexpected(ledger.error());
    ledger_ = std::move(*ledger);
    if (footprints_->damaged_lines() > 0) {
      log_.warn("footprints_damaged", {{"path", state_->footprints_path().string()},
                                       {"lines", footprints_->damaged_lines()},
                                       {"text", "first starts reserve by the model's file"}});
    }
    instance_journal_.emplace(*journal_, log_);
    records_.emplace(*journal_, durability);
    return open_keys();
  }

  Result<void> open_keys() {
    const Result<std::string> admin_secret = state_->admin_key();
    if (!admin_secret) return tl::unexpected(admin_secret.error());
    Result<access::KeyStore> store =
        access::KeyStore::open(state_->access_path(), *admin_secret, net::wall_now());
    if (!store) return tl::unexpected(store.error());
    Result<access::KeyAdmin> keys =
        access::KeyAdmin::create(std::move(*store), tenant_limits(config_));
    if (!keys) return tl::unexpected(keys.error());
    keys_.emplace(std::move(*keys));
    const Result<std::string> webhook_key = state_->webhook_key();
    if (!webhook_key) return tl::unexpected(webhook_key.error());
    webhook_secrets_.emplace(*webhook_key);
    return {};
  }

  void record_traffic(const sim::TraceWorld& world) {
    traffic::RecorderOptions options;
    options.files = {state_->traffic_path(), config_.traffic.file_size, config_.traffic.total_size};
    recorder_ = std::make_unique<traffic::Recorder>(
        std::move(options), world, journal_->stats().appended,
        traffic::Recorder::Events{[this](const Error& error) {
                                    log_.warn("traffic_unwritten",
                                              {{"text", error.message}, {"fix", error.hint}});
                                  },
                                  [this](std::uint64_t lost) {
                                    log_.info("traffic_written_again", {{"lost_requests", lost}});
                                  }});
  }

  Result<void> make_orchestrator(std::vector<orchestrator::DeploymentPlan> plans,
                                 const std::vector<backend::Device>& devices,
                                 const gateway::DirectoryPtr& directory) {
    Result<std::unique_ptr<net::EventLoop>> loop = net::EventLoop::create();
    if (!loop) return tl::unexpected(loop.error());
    loop_ = std::move(*loop);
    backend::ProcessBackendConfig backend_config;
    backend_config.state_dir = std::filesystem::absolute(state_->path()).string();
    backend_config.life = std::to_string(state_->epoch().value);
    backend_config.sandbox = config_.sandbox != config::Sandbox::off;
    Result<std::unique_ptr<backend::InstanceBackend>> backend =
        backend::ProcessBackend::create(*loop_, backend_config);
    if (!backend) return tl::unexpected(backend.error());
    backend_ = std::move(*backend);
    for (const ledger::InstanceStart& open : journal_->recovered().open_instances) {
      instance_journal_->ended({open.instance, open.generation, open.epoch, net::wall_now(),
                                "gone before the next start"});
    }
    orchestrator::OrchestratorOptions options;
    options.epoch = state_->epoch();
    options.seed = state_->epoch().value;
    options.drain_timeout = config_.drain_timeout;
    if (!options_.record_events.empty()) {
      auto recorder = orchestrator::EventRecorder::create(options_.record_events);
      if (!recorder) return tl::unexpected(recorder.error());
      options.recorder = std::move(*recorder);
    }
    options.device_memory = device_memory_probe();
    options.keep_footprint = [this](const orchestrator::DeploymentPlan& plan, core::DeviceKind kind,
                                    const core::MemoryNeed& measured) {
      const Result<void> kept = footprints_->keep(plan, kind, measured);
      if (!kept) log_.warn("footprints_unwritten", {{"text", kept.error().message}});
    };
    orchestrator_ = std::make_unique<orchestrator::Orchestrator>(
        *loop_, *backend_, *instance_journal_, log_, events_, std::move(options));
    std::vector<backend::Device> devices_left = devices;
    const Bytes lent = lend_host_memory(config_, devices_left);
    if (lent > Bytes{}) orchestrator_->lend_host_memory(lent);
    for (const backend::Device& device : devices_left) {
      log_.info("device_found", {{"device", device.id},
                                 {"kind", backend::to_text(device.kind)},
                                 {"model", device.model},
                                 {"memory", to_text(device.memory)}});
      orchestrator_->add_device(device);
    }
    const auto weights = tenant_weights(config_, *keys_);
    if (!weights) return tl::unexpected(weights.error());
    for (const auto& [tenant, weight] : *weights) orchestrator_->weigh_tenant(tenant, weight);
    for (orchestrator::DeploymentPlan& plan : plans) {
      orchestrator_->add_deployment(std::move(plan));
    }
    orchestrator_->meter().set_keys(*keys_->ring());
    count_earlier_use();
    orchestrator::register_state_metrics(registry_, *orchestrator_);
    admin_.emplace(*orchestrator_, *backend_, *loop_, events_, *ledger_, *keys_, *webhook_secrets_,
                   directory, config_.currency);
    return {};
  }

  /// A limit is not new after a restart: what was used before it still counts.
  void count_earlier_use() {
    std::map<std::string, KeyId> limited;
    for (const access::KeyPtr& key : keys_->ring()->all()) {
      if (key->limited()) limited[key->public_id] = key->id;
    }
    if (limited.empty()) return;
    const WallTime now = net::wall_now();
    Result<void> known = ledger_->flush();
    if (known) {
      const auto uses = ledger_->uses({now.ns - minutes(24 * 60).ns}, {now.ns - minutes(2).ns});
      if (uses) {
        for (const ledger::KeyUse& use : *uses) {
          const auto key = limited.find(use.key);
          if (key == limited.end()) continue;
          orchestrator_->meter().count_again(
              key->second, Duration{std::max<std::int64_t>(0, now.ns - use.at.ns)},
              {use.input_tokens, use.output_tokens, use.cached_tokens}, use.device_ms);
        }
        return;
      }
      known = tl::unexpected(uses.error());
    }
    log_.warn("limits_begin_anew", {{"text", known.error().message}});
  }

  /// Memory of a process on a CUDA device, from NVML; nothing where there is none.
  std::function<std::optional<Bytes>(const backend::Device&, const std::vector<pid_t>&)>
  device_memory_probe() {
    Result<std::unique_ptr<backend::NvmlReader>> nvml = backend::NvmlReader::open();
    if (!nvml) return nullptr;
    nvml_ = std::move(*nvml);
    return [this](const backend::Device& device,
                  const std::vector<pid_t>& pids) -> std::optional<Bytes> {
      const Result<Bytes> held = nvml_->memory_of(device.index, pids);
      if (!held) return std::nullopt;
      return *held;
    };
  }

  Result<void> make_jobs(const gateway::DirectoryPtr& directory) {
    Result<jobs::JobStore> store = jobs::JobStore::open(state_->jobs_path());
    if (!store) return tl::unexpected(store.error());
    Result<std::unique_ptr<outbound::CurlPoster>> poster =
        outbound::CurlPoster::create(outbound::DestinationRule(config_.webhooks.allow));
    if (!poster) return tl::unexpected(poster.error());
    poster_ = std::move(*poster);
    Result<std::unique_ptr<jobs::JobService>> service = jobs::JobService::create(
        std::move(*store),
        {.most_open = static_cast<std::size_t>(config_.jobs.max_open),
         .retention = config_.jobs.retention,
         .webhooks = {.give_up_after = config_.webhooks.give_up_after}},
        {.new_request_id = [this] { return orchestrator_->new_request_id(); },
         .earlier_end = [this](RequestId request) { return earlier_end(request); },
         .workers = [this](const std::string& name) { return workers_of(name); },
         .window = [this](const std::string& name) { return job_window(name); },
         .directory = directory,
         .poster = *poster_,
         .webhook_secrets = *webhook_secrets_,
         .log = log_});
    if (!service) return tl::unexpected(service.error());
    jobs_ = std::move(*service);
    return {};
  }

  /// So many jobs may be with the gateway at a time: what all instances can run, and enough waiting
  /// ones that the scheduler sees that more instances are needed.
  std::size_t job_window(const std::string& name) {
    std::size_t window = 0;
    for (const auto& [id, plan] : *orchestrator_->plans()) {
      if (plan->spec.name != name) continue;
      const core::ScalePolicy& scale = plan->spec.scale;
      window = static_cast<std::size_t>(scale.max_instances) *
                   static_cast<std::size_t>(scale.concurrency) +
               static_cast<std::size_t>(scale.scale_up_threshold);
    }
    return window;
  }

  jobs::EarlierEnd earlier_end(RequestId request) {
    static_cast<void>(ledger_->flush());
    const Result<std::optional<ledger::RequestRow>> row = ledger_->find(request);
    if (!row) return jobs::EarlierEnd::ran;  // who cannot be asked may have run it
    if (!*row) return jobs::EarlierEnd::never_ran;
    const ledger::Usage& usage = (*row)->usage;
    const bool ran = usage.start != ledger::StartKind::none ||
                     usage.reason == ledger::interrupted_running_reason;
    return ran ? jobs::EarlierEnd::ran : jobs::EarlierEnd::never_ran;
  }

  jobs::Workers workers_of(const std::string& name) {
    jobs::Workers workers;
    const auto plans = orchestrator_->plans();
    for (const core::DeploymentSummary& each : orchestrator_->summary().deployments) {
      if (plans->at(each.id)->spec.name != name) continue;
      workers.ready = each.ready_instances;
      workers.starting = each.live_instances - each.ready_instances;
      workers.in_flight = each.running;
    }
    return workers;
  }

  Result<void> make_gateway(const gateway::DirectoryPtr& directory) {
    Result<answers::AnswerStore> kept = answers::AnswerStore::open(state_->answers_path());
    if (!kept) return tl::unexpected(kept.error());
    Result<std::unique_ptr<answers::KeptAnswers>> answers =
        answers::KeptAnswers::create(std::move(*kept), {}, log_);
    if (!answers) return tl::unexpected(answers.error());
    answers_ = std::move(*answers);
    gateway::GatewayOptions options;
    options.listen = address_;
    options.threads = gateway_threads(config_);
    options.auth.keys_required = config_.auth == config::Auth::keys;
    options.auth.origins = config_.cors.origins;
    options.http.max_connections = most_connections(options.threads);
    Result<std::unique_ptr<gateway::GatewayServer>> server = gateway::GatewayServer::create(
        options,
        {*orchestrator_, *records_, *admin_, *jobs_, registry_, log_, tls_.get(), answers_.get()},
        directory, keys_->ring(), std::move(*listeners_));
    listeners_.reset();
    if (!server) return tl::unexpected(server.error());
    gateway_ = std::move(*server);
    keys_->set_on_news([this](const access::KeyNews& news) {
      orchestrator_->meter().set_keys(*news.ring);
      gateway_->replace_keys(news.ring, news.cut_off);
      jobs_->replace_keys(news.ring);
    });
    return {};
  }

  void serve_until_signal() {
    Signals signals(*loop_, [this](int number) { on_signal(number); });
    orchestrator_->start();
    gateway_->start();
    jobs_->start(*gateway_, keys_->ring());
    if (tls_ != nullptr) watch_certificate();
    log_.info("server_listening", {{"address", gateway_->address()},
                                   {"tls", tls_ != nullptr},
                                   {"deployments", config_.deployments.size()},
                                   {"config", config::fingerprint(config_)}});
    if (options_.on_listening) options_.on_listening(gateway_->address());
    loop_->run();
    shutdown_.join();
    const Result<void> flushed = ledger_->flush();
    if (!flushed) log_.warn("ledger_behind", {{"text", flushed.error().message}});
    log_.info("server_stopped");
  }

  void on_signal(int number) {
    if (number == SIGHUP && options_.load_again) {
      if (!shutdown_.joinable()) reload_thread_.submit([this] { (void)reloader_->reload(); });
      return;
    }
    if (shutdown_.joinable()) {
      log_.warn("server_killed", {{"signal", number}});
      ::_exit(128 + number);  // workers end by themselves when their control channels close
    }
    log_.info("server_stopping",
              {{"signal", number}, {"at_most_s", whole_ms(config_.drain_timeout) / 1000}});
    shutdown_ = std::thread([this] {
      auto quiet = std::make_shared<std::promise<void>>();
      std::future<void> is_quiet = quiet->get_future();
      const Instant drained_by = net::monotonic_now() + config_.drain_timeout + seconds(1);
      jobs_->begin_drain();
      orchestrator_->shut_down([quiet] { quiet->set_value(); });
      if (!gateway_->drain(drained_by - net::monotonic_now())) {
        log_.warn("requests_cut", {{"text", "some requests did not end in time"}});
        gateway_->end_requests();
      }
      // What does not die is left to the next start; it holds no request any more.
      if (is_quiet.wait_for(std::chrono::seconds(15)) != std::future_status::ready) {
        log_.error("instances_left", {{"text", "some workers could not be stopped"}});
      }
      jobs_->stop();  // who waits for a job is told, while there are loops to tell it
      // Up to here whoever came was told that the server ends.
      gateway_->stop(std::max(drained_by - net::monotonic_now(), seconds(2)));
      loop_->stop();
    });
  }

  const config::ServerConfig& config_;
  const ServeOptions& options_;
  PlanIds ids_;
  net::ListenAddress address_;
  std::optional<gateway::Listeners> listeners_;  // until the gateway takes them
  obs::Logger log_;
  obs::Registry registry_;
  orchestrator::EventLog events_;
  std::unique_ptr<tls::TlsServer> tls_;  // null: plain HTTP
  std::optional<tls::CertificateWatch> certificate_watch_;
  std::optional<ledger::StateDir> state_;
  std::unique_ptr<ledger::Journal> journal_;
  std::unique_ptr<traffic::Recorder> recorder_;  // null: nothing is recorded
  std::unique_ptr<ledger::Ledger> ledger_;
  std::optional<JournalOfInstances> instance_journal_;
  std::optional<orchestrator::Footprints> footprints_;
  std::optional<gateway::JournalSink> records_;
  std::optional<access::KeyAdmin> keys_;
  std::optional<access::WebhookSecrets> webhook_secrets_;
  std::unique_ptr<outbound::Poster> poster_;  // to webhooks
  std::unique_ptr<backend::NvmlReader> nvml_;
  std::unique_ptr<net::EventLoop> loop_;
  std::unique_ptr<backend::InstanceBackend> backend_;
  std::unique_ptr<orchestrator::Orchestrator> orchestrator_;
  std::optional<orchestrator::AdminService> admin_;
  std::unique_ptr<jobs::JobService> jobs_;
  std::unique_ptr<gateway::GatewayServer> gateway_;
  std::unique_ptr<answers::KeptAnswers> answers_;  // ends first: it calls the gateway's loops
  std::optional<Reloader> reloader_;
  backend::SerialExecutor reload_thread_{"reload"};
  std::thread shutdown_;
};

}  // namespace

int serve(const config::ServerConfig& config, const ServeOptions& options) {
  ::signal(SIGPIPE, SIG_IGN);
  Signals::block();
  raise_descriptor_limit();
  Server server(config, options);
  return server.run();
}

}  // namespace stoker::app
