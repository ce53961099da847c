// Secrets as types that cannot be printed: neither has a way to become text by accident (C14 in
// RELIABILITY.md), and comparing takes as long for a wrong one as for the right one (C1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace stoker::access {

/// SHA-256 of a secret: what is stored and compared.
class Digest {
 public:
  static constexpr std::size_t size = 32;

  Digest() = default;
  /// Needs: a secret with at least 128 bits of randomness; nothing slow protects a guessable one.
  explicit Digest(std::string_view secret);
  /// Gives: nullopt if `bytes` is not 32 bytes long.
  [[nodiscard]] static std::optional<Digest> from_bytes(std::string_view bytes);

  /// The time does not depend on how much of it is equal.
  [[nodiscard]] bool equals(const Digest& other) const;
  /// For a table's first step only: what is found is still compared whole.
  [[nodiscard]] std::uint64_t bucket() const;
  [[nodiscard]] std::string_view bytes() const;

 private:
  std::array<std::uint8_t, size> bytes_{};
};

/// The text of a new secret on its way to the one who asked for it; wiped when it is destroyed.
class SecretText {
 public:
  explicit SecretText(std::string text) : text_(std::move(text)) {}
  ~SecretText();
  SecretText(SecretText&& other) noexcept : text_(std::exchange(other.text_, {})) {}
  SecretText& operator=(SecretText&&) = delete;

  /// Called where the secret is shown, once, and nowhere else.
  [[nodiscard]] std::string_view reveal() const { return text_; }

 private:
  std::string text_;
};

/// `prefix` and 256 random bits in letters that need no escaping anywhere.
/// Errors: unavailable (the kernel gives no randomness).
[[nodiscard]] Result<SecretText> new_secret(std::string_view prefix);

}  // namespace stoker::access
