// The keys that are good now: an immutable snapshot, looked up on every request, replaced as a
// whole when a key is made or revoked.
#pragma once

#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "access/key.h"

namespace stoker::access {

using KeyPtr = std::shared_ptr<const Key>;

class KeyRing {
 public:
  /// Keeps those of `keys` that are enabled and not revoked.
  explicit KeyRing(std::vector<Key> keys);

  /// Gives: the key that `secret` is, nullptr if there is none. Whether it has expired is for the
  ///        caller to see: this knows no clock.
  /// Cost:  one SHA-256; the time tells nothing about the stored keys.
  [[nodiscard]] KeyPtr find(std::string_view secret) const;
  [[nodiscard]] KeyPtr find(KeyId id) const;
  /// Ascending by id.
  [[nodiscard]] const std::vector<KeyPtr>& all() const { return keys_; }

 private:
  std::vector<KeyPtr> keys_;
  std::unordered_multimap<std::uint64_t, KeyPtr> by_bucket_;
};
using KeyRingPtr = std::shared_ptr<const KeyRing>;

}  // namespace stoker::access
