#include "gateway/session_affinity.h"

#include <simdjson.h>

namespace stoker::gateway {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

/// FNV-1a over what is added, at most `left` bytes of it.   Source: as base/fnv1a.h.
class PrefixHash {
 public:
  PrefixHash(TenantId tenant, char kind) {
    for (std::uint64_t rest = tenant.value, i = 0; i < 8; ++i, rest >>= 8U) {
      mix(static_cast<unsigned char>(rest));
    }
    mix(static_cast<unsigned char>(kind));
  }
  void add(std::string_view text) {
    const std::string_view part = text.substr(0, left_);
    for (const char c : part) mix(static_cast<unsigned char>(c));
    mix(0xff);  // never in UTF-8: "ab", "c" is not "a", "bc"
    left_ -= part.size();
    is_empty_ = is_empty_ && part.empty();
  }
  [[nodiscard]] bool full() const { return left_ == 0; }
  /// 0 only if nothing was added.
  [[nodiscard]] std::uint64_t get() const {
    if (is_empty_) return 0;
    return hash_ == 0 ? 1 : hash_;
  }

 private:
  void mix(unsigned char byte) { hash_ = (hash_ ^ byte) * 0x100000001b3ULL; }

  std::uint64_t hash_ = 0xcbf29ce484222325ULL;
  std::size_t left_ = prefix_bytes;
  bool is_empty_ = true;
};

/// A text, or the texts of a list of parts as the dialects have them.
void add_content(PrefixHash& hash, const element& content) {
  std::string_view text;
  if (content.get(text) == simdjson::SUCCESS) return hash.add(text);
  array parts;
  if (content.get(parts) != simdjson::SUCCESS) return;
  for (const element part : parts) {
    if (hash.full()) return;
    if (part["text"].get(text) == simdjson::SUCCESS || part.get(text) == simdjson::SUCCESS) {
      hash.add(text);
    }
  }
}

/// Up to the end of the first user message.
void add_messages(PrefixHash& hash, const array& messages) {
  for (const element message : messages) {
    std::string_view role;
    const bool has_role = message["role"].get(role) == simdjson::SUCCESS;
    element content;
    if (message["content"].get(content) == simdjson::SUCCESS) add_content(hash, content);
    if (hash.full() || (has_role && role == "user")) return;
  }
}

std::uint64_t prefix_affinity(TenantId tenant, const object& body) {
  PrefixHash hash(tenant, 'p');
  for (const char* name : {"system", "instructions", "prompt"}) {
    element content;
    if (body[name].get(content) == simdjson::SUCCESS) add_content(hash, content);
  }
  for (const char* name : {"messages", "input"}) {
    element content;
    array messages;
    if (body[name].get(content) != simdjson::SUCCESS) continue;
    if (content.get(messages) == simdjson::SUCCESS) {
      add_messages(hash, messages);
    } else {
      add_content(hash, content);
    }
  }
  return hash.get();
}

std::string_view session_in(const object& body) {
  std::string_view text;
  for (const char* name : {"prompt_cache_key", "user"}) {
    if (body[name].get(text) == simdjson::SUCCESS && !text.empty()) return text;
  }
  if (body["metadata"]["user_id"].get(text) == simdjson::SUCCESS) return text;
  return {};
}

}  // namespace

bool keeps_prompts(Route route) {
  return route == Route::chat || route == Route::completions || route == Route::responses ||
         route == Route::messages;
}

std::uint64_t session_affinity(TenantId tenant, std::string_view session) {
  PrefixHash hash(tenant, 's');
  hash.add(session);
  return hash.get();
}

std::uint64_t body_affinity(TenantId tenant, const object& body) {
  const std::string_view session = session_in(body);
  return session.empty() ? prefix_affinity(tenant, body) : session_affinity(tenant, session);
}

}  // namespace stoker::gateway
