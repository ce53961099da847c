// A growable run of bytes that is filled at its end and emptied at its front. Unlike std::string it
// does not write zeros over memory that a read is about to fill.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

namespace stoker::net {

class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() { std::free(memory_); }

  [[nodiscard]] const char* data() const { return memory_ + begin_; }
  [[nodiscard]] std::size_t size() const { return end_ - begin_; }
  [[nodiscard]] bool empty() const { return begin_ == end_; }
  [[nodiscard]] std::size_t capacity() const { return capacity_; }
  /// How much it can hold, from its first byte on, without moving anything.
  [[nodiscard]] std::size_t space() const { return capacity_ - begin_; }
  [[nodiscard]] std::string_view view() const { return {memory_ + begin_, end_ - begin_}; }

  /// Where the next bytes go, and how many fit without moving anything.
  [[nodiscard]] char* free_space() { return memory_ + end_; }
  [[nodiscard]] std::size_t free_bytes() const { return capacity_ - end_; }
  /// `size` bytes have been put into free_space().
  void commit(std::size_t size) { end_ += size; }
  /// Takes bytes off the end again.
  void truncate(std::size_t size) { end_ = begin_ + size; }

  /// Makes room for `size` more bytes; what is held may move.
  void make_room(std::size_t size) {
    if (capacity_ - end_ >= size) return;
    if (begin_ > 0) {
      std::memmove(memory_, memory_ + begin_, end_ - begin_);
      end_ -= std::exchange(begin_, 0);
      if (capacity_ - end_ >= size) return;
    }
    std::size_t wanted = capacity_ * 2;
    if (wanted < end_ + size) wanted = end_ + size;
    void* moved = std::realloc(memory_, wanted);
    if (moved == nullptr) throw std::bad_alloc();  // ends the process
    memory_ = static_cast<char*>(moved);
    capacity_ = wanted;
  }
  void append(std::string_view bytes) {
    if (bytes.empty()) return;
    make_room(bytes.size());
    std::memcpy(memory_ + end_, bytes.data(), bytes.size());
    end_ += bytes.size();
  }
  void consume(std::size_t size) {
    begin_ += size;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  void clear() { begin_ = end_ = 0; }
  /// Gives the memory back.
  void release() { Buffer().swap(*this); }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(begin_, other.begin_);
    std::swap(end_, other.end_);
    std::swap(capacity_, other.capacity_);
  }

  char* memory_ = nullptr;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t capacity_ = 0;
};

/// Buffers of one size kept for the next user, so that an idle connection holds none and a busy one
/// allocates none. Threads: one.
class BufferPool {
 public:
  static constexpr std::size_t buffer_bytes = 16 << 10;

  Buffer take() {
    Buffer buffer;
    if (free_.empty()) {
      buffer.make_room(buffer_bytes);
    } else {
      buffer = std::move(free_.back());
      free_.pop_back();
    }
    return buffer;
  }
  void give_back(Buffer&& buffer) {
    Buffer owned = std::move(buffer);
    if (owned.capacity() != buffer_bytes || free_.size() >= max_free) return;
    owned.clear();
    free_.push_back(std::move(owned));
  }

 private:
  static constexpr std::size_t max_free = 128;  // 2 MiB
  std::vector<Buffer> free_;
};

}  // namespace stoker::net
