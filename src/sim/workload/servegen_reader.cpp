// ServeGen: a folder of rate files, and the requests that are drawn from them.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>

#include "base/fnv1a.h"
#include "sim/workload/line_reader.h"
#include "sim/workload/min_heap.h"
#include "sim/workload/readers.h"
#include "sim/workload/servegen.h"

namespace stoker::sim {
namespace {

constexpr double default_window_s = 600;
constexpr double most_per_second = 1e7;

std::optional<double> parse_real(std::string_view text) {
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  // The two comparisons refuse NaN and infinity.
  if (error != std::errc{} || stop != end || !(number < 1e300) || !(number > -1e300)) {
    return std::nullopt;
  }
  return number;
}

/// t,rate,CV,law,shape,scale: one line.
struct Row {
  double at_s = 0;
  double per_second = 0;
  GapLaw law = GapLaw::exponential;
  double shape = 1;
};

Result<Row> parse_row(const LineReader& lines, std::string_view line) {
  constexpr std::string_view form = "t,rate,CV,distribution,shape,scale";
  std::array<std::string_view, 6> columns;
  std::size_t count = 0;
  std::string_view rest = line;
  for (; count < columns.size(); ++count) {
    const std::size_t comma = rest.find(',');
    columns[count] = rest.substr(0, comma);
    if (comma == std::string_view::npos) {
      ++count;
      break;
    }
    rest.remove_prefix(comma + 1);
  }
  const std::string hint = fmt::format("A line of a ServeGen rate file is {}.", form);
  if (count < 4) return lines.wrong(fmt::format("{} columns, at least 4 are needed", count), hint);
  const auto at = parse_real(columns[0]);
  const auto rate = parse_real(columns[1]);
  if (!at || *at < 0 || *at > 1e10) return lines.wrong("t must be a number of seconds", hint);
  if (!rate || *rate < 0 || *rate > most_per_second) {
    return lines.wrong("rate must be a number of requests a second", hint);
  }
  Row row{.at_s = *at, .per_second = *rate};
  const std::string_view law = columns[3];
  if (law.empty() || *rate == 0) return row;
  // Beyond these limits the law cannot be scaled to a mean.
  const bool gamma = law == "Gamma";
  if (!gamma && law != "Weibull") {
    return lines.wrong(fmt::format("the distribution {} is not known", law),
                       "Gamma, Weibull and nothing (exponential) are.");
  }
  const double least = gamma ? 0.001 : 0.02;
  const auto shape = parse_real(columns[4]);
  if (!shape || *shape < least || *shape > 10'000) {
    return lines.wrong(fmt::format("the shape must be a number from {} to 10000", least), hint);
  }
  row.law = gamma ? GapLaw::gamma : GapLaw::weibull;
  row.shape = *shape;
  return row;
}

Result<std::vector<Row>> read_rows(const std::string& path) {
  Result<LineReader> lines = LineReader::open(path);
  if (!lines) return tl::unexpected(lines.error());
  std::vector<Row> rows;
  std::string_view line;
  for (;;) {
    const Result<bool> any = lines->next(line);
    if (!any) return tl::unexpected(any.error());
    if (!*any) return rows;
    Result<Row> row = parse_row(*lines, line);
    if (!row) return tl::unexpected(row.error());
    if (!rows.empty() && row->at_s <= rows.back().at_s) {
      return lines->wrong("t must be more than on the line before", "Sort the lines by t.");
    }
    rows.push_back(*row);
  }
}

/// The rows as windows of what the options ask for: thinned, cut, moved to 0, without silence.
std::vector<RateWindow> windows_of(const std::vector<Row>& rows, const ServeGenOptions& options) {
  const std::int64_t cut = options.length ? options.length->ns : INT64_MAX;
  std::vector<RateWindow> windows;
  double length_s = default_window_s;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    // The last window is as long as the one before it.
    if (i + 1 < rows.size()) length_s = rows[i + 1].at_s - rows[i].at_s;
    const std::int64_t at = static_cast<std::int64_t>(rows[i].at_s * 1e9) - options.from.ns;
    const std::int64_t begin = std::max<std::int64_t>(at, 0);
    const std::int64_t end = std::min(at + static_cast<std::int64_t>(length_s * 1e9), cut);
    const double per_second = rows[i].per_second / options.thin;
    if (begin < end && per_second > 0) {
      windows.push_back({begin, end, per_second, rows[i].shape, rows[i].law});
    }
  }
  return windows;
}

/// chunk-2 before chunk-10: numbers within names by their value.
bool natural_less(std::string_view a, std::string_view b) {
  const auto number_at = [](std::string_view text) {
    return text.substr(0, std::min(text.find_first_not_of("0123456789"), text.size()));
  };
  while (!a.empty() && !b.empty()) {
    const std::string_view number_a = number_at(a);
    const std::string_view number_b = number_at(b);
    if (!number_a.empty() && !number_b.empty()) {
      if (number_a.size() != number_b.size()) return number_a.size() < number_b.size();
      if (number_a != number_b) return number_a < number_b;
      a.remove_prefix(number_a.size());
      b.remove_prefix(number_b.size());
    } else {
      if (a.front() != b.front()) return a.front() < b.front();
      a.remove_prefix(1);
      b.remove_prefix(1);
    }
  }
  return a.size() < b.size();
}

std::string client_name(const std::filesystem::path& file) {
  std::string name = file.stem().string();
  constexpr std::string_view ending = "-trace";
  if (name.ends_with(ending)) name.resize(name.size() - ending.size());
  return name;
}

class ServeGenSource final : public RequestSource {
 public:
  struct Client {
    std::string name;
    std::vector<RateWindow> windows;
  };
  ServeGenSource(std::vector<Client> clients, const TraceOptions& options)
      : clients_are_tenants_(options.servegen.clients == ServeGenOptions::Clients::are_tenants),
        input_(options.servegen.input),
        output_(options.servegen.output),
        lengths_prng_(options.servegen.seed ^ fnv1a("lengths")) {
    if (clients_are_tenants_) {
      world_.deployments.push_back(options.unknown_deployment);
    } else {
      world_.tenants.emplace_back("default");
    }
    for (Client& client : clients) {
      const auto index = static_cast<std::uint32_t>(arrivals_.size());
      // A seed for each name: with another client in the folder the others stay as they are.
      const std::uint64_t seed = Prng(options.servegen.seed ^ fnv1a(client.name)).next();
      arrivals_.emplace_back(std::move(client.windows), seed);
      if (clients_are_tenants_) {
        world_.tenants.push_back(std::move(client.name));
      } else {
        world_.deployments.push_back(options.unknown_deployment);
        world_.deployments.back().name = std::move(client.name);
      }
      std::int64_t at_ns = 0;
      if (arrivals_.back().next(at_ns)) heads_.push({at_ns, index});
    }
  }
  [[nodiscard]] const TraceWorld& world() const override { return world_; }

  [[nodiscard]] Result<bool> next(TraceRequest& out) override {
    if (heads_.empty()) return false;
    const Head head = heads_.top();
    out.clear();
    out.at = Duration{head.at_ns};
    (clients_are_tenants_ ? out.tenant : out.deployment) = head.client;
    out.stream = true;
    out.input_tokens = input_.draw(lengths_prng_);
    out.output_tokens = output_.draw(lengths_prng_);
    std::int64_t at_ns = 0;
    if (arrivals_[head.client].next(at_ns)) {
      heads_.replace_top({at_ns, head.client});
    } else {
      heads_.pop();
    }
    return true;
  }

 private:
  struct Head {
    std::int64_t at_ns = 0;
    std::uint32_t client = 0;
    auto operator<=>(const Head&) const = default;
  };
  bool clients_are_tenants_;
  TokenSampler input_;
  TokenSampler output_;
  Prng lengths_prng_;
  TraceWorld world_;
  std::vector<ClientArrivals> arrivals_;
  MinHeap<Head> heads_;
};

}  // namespace

OpenedSource open_servegen_trace(const std::string& path, const TraceOptions& options) {
  if (!(options.servegen.thin > 0.0) || !(options.servegen.thin < 1e12)) {
    return failure(ErrorCode::invalid,
                   fmt::format("a ServeGen folder cannot be thinned by {}", options.servegen.thin),
                   "1000 keeps a thousandth of the requests.");
  }
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".csv") files.push_back(entry->path());
  }
  if (error) {
    return failure(ErrorCode::unavailable, fmt::format("{}: {}", path, error.message()));
  }
  if (files.empty()) {
    return failure(ErrorCode::invalid, fmt::format("{}: no .csv file is in the folder", path),
                   "A ServeGen trace is a folder with one CSV a client.");
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) {
    const std::string left = a.filename().string();
    const std::string right = b.filename().string();
    return natural_less(left, right) || (!natural_less(right, left) && left < right);
  });
  std::vector<ServeGenSource::Client> clients;
  for (const std::filesystem::path& file : files) {
    const Result<std::vector<Row>> rows = read_rows(file.string());
    if (!rows) return tl::unexpected(rows.error());
    clients.push_back({client_name(file), windows_of(*rows, options.servegen)});
  }
  return std::make_unique<ServeGenSource>(std::move(clients), options);
}

}  // namespace stoker::sim
