// Does the time in which a wrong key is refused depend on how much of a good one it agrees with
// (C1)? Welch's t-test between keys that agree in nothing and keys that agree in 8, 16, ...
// letters, in random order, as dudect does it: over all samples and over the fastest 50, 90 and 99
// %, since what else the machine does makes single ones slow. |t| < 4.5 everywhere: no dependence
// is seen. The same for a plain comparison of the keys, which must be seen: else the test proves
// nothing.
//
//   keys_bench [SAMPLES-PER-CLASS (default 1000000)]     exits 1 if a dependence is seen, or the
//   plain comparison's is not
// Source: Reparaz, Balasch, Verbauwhede: Dude, is my code constant time? (2017).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "access/key_ring.h"
#include "base/prng.h"

namespace stoker {
namespace {

constexpr double threshold = 4.5;
constexpr std::string_view letters = "abcdefghijkmnpqrstuvwxyz23456789";
constexpr std::size_t length = 62;  // "sk-stoker-" and 52 letters
// Not 61: there are 31 such keys, and one that is asked for often is warm in the CPU's caches.
constexpr std::array<std::size_t, 8> agreeing = {0, 8, 16, 24, 32, 40, 48, 56};

/// Running mean and variance.   Source: Welford 1962.
struct Moments {
  double count = 0;
  double mean = 0;
  double squares = 0;
  void add(double value) {
    count += 1;
    const double delta = value - mean;
    mean += delta / count;
    squares += delta * (value - mean);
  }
  [[nodiscard]] double error() const { return squares / (count - 1) / count; }
};

std::string random_key(Prng& random) {
  std::string text;
  while (text.size() < length) text += letters[random.below(letters.size())];
  return text;
}

/// Wrong in the letter after the first `same`, and random behind it.
std::string wrong_key(Prng& random, const std::string& good, std::size_t same) {
  std::string text = random_key(random);
  text.replace(0, same, good, 0, same);
  while (text[same] == good[same]) text[same] = letters[random.below(letters.size())];
  return text;
}

/// ns of each call of `refuse`, by class.
template <class Refuse>
std::vector<std::vector<float>> measure(const std::string& good, std::size_t samples,
                                        const Refuse& refuse) {
  Prng random(1);
  std::vector<std::vector<float>> times(agreeing.size());
  for (auto& of_class : times) of_class.reserve(samples + samples / 8);
  // Made beforehand, so that making one is not measured and its text is equally warm for all.
  constexpr std::size_t pool = 512;
  std::vector<std::pair<std::size_t, std::string>> keys(pool);
  for (std::size_t done = 0; done < samples * agreeing.size(); done += pool) {
    for (auto& [kind, key] : keys) {
      kind = random.below(agreeing.size());
      key = wrong_key(random, good, agreeing[kind]);
    }
    for (const auto& [kind, key] : keys) {
      const auto begun = std::chrono::steady_clock::now();
      const bool found = refuse(key);
      const auto ended = std::chrono::steady_clock::now();
      if (found) std::abort();
      times[kind].push_back(
          static_cast<float>(std::chrono::duration<double, std::nano>(ended - begun).count()));
    }
  }
  return times;
}

struct Difference {
  double t = 0;     // the one farthest from 0 of all crops
  double ns = 0;    // of the means of the fastest 90 %
  double seen = 0;  // ns that would have given |t| = 4.5 there
};

Difference compare(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<float> all = a;
  all.insert(all.end(), b.begin(), b.end());
  std::sort(all.begin(), all.end());
  Difference difference;
  for (const double share : {0.5, 0.9, 0.99, 1.0}) {
    const float most = all[static_cast<std::size_t>(share * static_cast<double>(all.size() - 1))];
    Moments first;
    Moments second;
    for (const float time : a) {
      if (time <= most) first.add(static_cast<double>(time));
    }
    for (const float time : b) {
      if (time <= most) second.add(static_cast<double>(time));
    }
    const double deviation = std::sqrt(first.error() + second.error());
    const double t = (second.mean - first.mean) / deviation;
    if (std::abs(t) > std::abs(difference.t)) difference.t = t;
    if (share == 0.9) {
      difference.ns = second.mean - first.mean;
      difference.seen = threshold * deviation;
    }
  }
  return difference;
}

/// Prints a line for each class. Gives the largest |t|.
double report(std::string_view title, const std::vector<std::vector<float>>& times) {
  fmt::print("{}\n  {:>15} {:>9} {:>9} {:>8} {:>18}\n", title, "letters agree", "samples", "t",
             "ns more", "seen from ns on");
  double largest = 0;
  for (std::size_t i = 1; i < times.size(); ++i) {
    const Difference difference = compare(times[0], times[i]);
    largest = std::max(largest, std::abs(difference.t));
    fmt::print("  {:>15} {:>9} {:>9.2f} {:>8.2f} {:>18.2f}\n", agreeing[i], times[i].size(),
               difference.t, difference.ns, difference.seen);
  }
  return largest;
}

int run(std::size_t samples) {
  Prng random(2);
  std::vector<access::Key> keys;
  std::string good;
  for (std::uint64_t id = 1; id <= 100; ++id) {
    good = random_key(random);
    access::Key key;
    key.id = KeyId{id};
    key.digest = access::Digest(good);
    keys.push_back(std::move(key));
  }
  const access::KeyRing ring(std::move(keys));
  const double ours = report("KeyRing::find", measure(good, samples, [&](const std::string& key) {
                               return ring.find(key) != nullptr;
                             }));
  const double plain = report("a comparison that stops at the first difference",
                              measure(good, samples, [&](const std::string& key) {
                                std::size_t at = 0;
                                const volatile char* stored = good.data();
                                while (at < length && stored[at] == key[at]) ++at;
                                return at == length;
                              }));
  fmt::print("largest |t|: {:.2f}, of the plain comparison {:.2f}; limit {}\n", ours, plain,
             threshold);
  return ours < threshold && plain > threshold ? 0 : 1;
}

}  // namespace
}  // namespace stoker

int main(int argc, char** argv) {
  return stoker::run(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1'000'000);
}
