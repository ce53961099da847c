#include "access/key_ring.h"

#include <algorithm>
#include <utility>

namespace stoker::access {

KeyRing::KeyRing(std::vector<Key> keys) {
  for (Key& key : keys) {
    if (!key.enabled || key.revoked_at) continue;
    const std::uint64_t bucket = key.digest.bucket();
    keys_.push_back(std::make_shared<const Key>(std::move(key)));
    by_bucket_.emplace(bucket, keys_.back());
  }
  std::ranges::sort(keys_, {}, [](const KeyPtr& key) { return key->id; });
}

KeyPtr KeyRing::find(std::string_view secret) const {
  const Digest digest(secret);
  const auto [first, last] = by_bucket_.equal_range(digest.bucket());
  for (auto at = first; at != last; ++at) {
    if (at->second->digest.equals(digest)) return at->second;
  }
  return nullptr;
}

KeyPtr KeyRing::find(KeyId id) const {
  const auto at =
      std::ranges::lower_bound(keys_, id, {}, [](const KeyPtr& key) { return key->id; });
  return at != keys_.end() && (*at)->id == id ? *at : nullptr;
}

}  // namespace stoker::access
