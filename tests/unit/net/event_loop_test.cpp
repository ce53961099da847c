#include <sys/eventfd.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "loop_fixture.h"
#include "net/timer_heap.h"

namespace stoker::net {
namespace {

using EventLoopTest = LoopFixture;

struct CountingHandler final : FdHandler {
  std::function<void()> then;
  int calls = 0;
  void on_events(std::uint32_t) override {
    ++calls;
    if (then) then();
  }
};

UniqueFd readable_fd() {
  return UniqueFd(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
}

TEST_F(EventLoopTest, PostsRunInOrder) {
  std::vector<int> order;
  for (int i = 0; i < 3; ++i) loop.post([&order, i] { order.push_back(i); });
  ASSERT_TRUE(run_until([&] { return order.size() == 3; }));
  EXPECT_EQ(order, (std::vector{0, 1, 2}));
}

TEST_F(EventLoopTest, PostFromAnotherThreadWakes) {
  std::thread other([this] { loop.post([this] { loop.stop(); }); });
  loop.run();
  other.join();
}

TEST_F(EventLoopTest, ManyThreadsPost) {
  constexpr int threads = 4;
  constexpr int posts = 1000;
  int ran = 0;  // on the loop's thread only
  std::vector<std::thread> others;
  for (int t = 0; t < threads; ++t) {
    others.emplace_back([&] {
      for (int i = 0; i < posts; ++i) {
        loop.post([&] {
          if (++ran == threads * posts) loop.stop();
        });
      }
    });
  }
  loop.run();
  for (std::thread& other : others) other.join();
  EXPECT_EQ(ran, threads * posts);
}

TEST_F(EventLoopTest, StopBeforeRunReturnsAtOnce) {
  loop.stop();
  loop.run();
  loop.post([this] { loop.stop(); });
  loop.run();
}

TEST_F(EventLoopTest, RemovedHandlerIsNotCalledInTheSameRound) {
  const UniqueFd first = readable_fd();
  const UniqueFd second = readable_fd();
  CountingHandler a;
  CountingHandler b;
  // Whichever is called first removes both.
  a.then = b.then = [&] {
    loop.remove(first.get());
    loop.remove(second.get());
  };
  loop.add(first.get(), EPOLLIN, a);
  loop.add(second.get(), EPOLLIN, b);
  run_rounds(3);
  EXPECT_EQ(a.calls + b.calls, 1);
}

TEST_F(EventLoopTest, ReusedDescriptorDoesNotHearOldEvents) {
  UniqueFd first = readable_fd();
  UniqueFd second = readable_fd();
  CountingHandler a;
  CountingHandler b;
  CountingHandler fresh;
  const auto replace_other = [&](UniqueFd& other) {
    const int number = other.get();
    loop.remove(number);
    other.reset();                                          // so that the number is free
    other.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));  // not readable
    ASSERT_EQ(other.get(), number);
    loop.add(number, EPOLLIN, fresh);
  };
  a.then = [&] {
    if (b.calls == 0 && a.calls == 1) replace_other(second);
  };
  b.then = [&] {
    if (a.calls == 0 && b.calls == 1) replace_other(first);
  };
  loop.add(first.get(), EPOLLIN, a);
  loop.add(second.get(), EPOLLIN, b);
  run_rounds(1);
  EXPECT_EQ(fresh.calls, 0);
  EXPECT_EQ(a.calls == 0 || b.calls == 0, true);
  loop.remove(first.get());
  loop.remove(second.get());
}

TEST_F(EventLoopTest, TimersRunInOrderAndCancel) {
  std::vector<int> order;
  const Instant now = loop.now();
  loop.run_at(now + ms(3), [&] { order.push_back(3); });
  loop.run_at(now + ms(1), [&] { order.push_back(1); });
  const TimerId gone = loop.run_at(now + ms(2), [&] { order.push_back(2); });
  loop.cancel(gone);
  loop.cancel(gone);
  loop.cancel(0);
  ASSERT_TRUE(run_until([&] { return order.size() == 2; }));
  EXPECT_EQ(order, (std::vector{1, 3}));
}

TEST_F(EventLoopTest, TimerIsNeverEarly) {
  const Instant at = monotonic_now() + ms(2);
  Instant ran;
  loop.run_at(at, [&] {
    ran = loop.now();
    loop.stop();
  });
  loop.run();
  EXPECT_GE(ran, at);
}

struct CountingHook final : RoundEndHook {
  EventLoop* again_in = nullptr;
  int calls = 0;
  void on_round_end() override {
    ++calls;
    if (again_in != nullptr) again_in->at_round_end(*this);
  }
};

TEST_F(EventLoopTest, HooksRunOncePerRound) {
  CountingHook hook;
  loop.at_round_end(hook);
  loop.at_round_end(hook);
  run_rounds(2);
  EXPECT_EQ(hook.calls, 1);
  hook.again_in = &loop;
  loop.at_round_end(hook);
  run_rounds(4);
  EXPECT_GE(hook.calls, 4);
}

TEST_F(EventLoopTest, RoundsAreToldWithAllThatTheyDid) {
  struct SlowHook final : RoundEndHook {
    void on_round_end() override {
      const Instant begun = monotonic_now();
      while (monotonic_now() - begun < ms(1)) {
      }
    }
  } hook;
  std::vector<Duration> rounds;
  loop.observe_rounds([&](Duration took) { rounds.push_back(took); });
  const UniqueFd fd = readable_fd();
  CountingHandler handler;
  handler.then = [&] { loop.at_round_end(hook); };
  loop.add(fd.get(), EPOLLIN, handler);
  ASSERT_TRUE(run_until([&] { return !rounds.empty(); }));
  EXPECT_GE(rounds.back(), ms(1));
  loop.remove(fd.get());
}

TEST_F(EventLoopTest, DyingHookWithdraws) {
  {
    CountingHook hook;
    loop.at_round_end(hook);
  }
  run_rounds(1);
}

TEST_F(EventLoopTest, DisposedObjectLivesToTheEndOfTheRound) {
  std::weak_ptr<int> watched;
  loop.post([&] {
    auto object = std::make_shared<int>(7);
    watched = object;
    loop.dispose(std::move(object));
    EXPECT_FALSE(watched.expired());
  });
  ASSERT_TRUE(run_until([&] { return watched.expired() && watched.use_count() == 0; }));
}

TEST(TimerHeap, AgainstASortedList) {
  TimerHeap heap;
  std::vector<std::pair<std::int64_t, int>> expected;
  std::vector<int> ran;
  std::uint64_t state = 1;
  std::vector<std::uint64_t> cancelled;
  for (int i = 0; i < 500; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    const auto at = static_cast<std::int64_t>((state >> 33) % 100);
    const std::uint64_t id = heap.add(Instant{at}, [&ran, i] { ran.push_back(i); });
    if (i % 3 == 0) {
      cancelled.push_back(id);
    } else {
      expected.emplace_back(at, i);
    }
  }
  for (const std::uint64_t id : cancelled) heap.cancel(id);
  EXPECT_EQ(heap.size(), expected.size());
  std::ranges::stable_sort(expected, {}, &std::pair<std::int64_t, int>::first);
  while (const std::function<void()> action = heap.take_due(Instant{100})) action();
  std::vector<int> wanted;
  for (const auto& [at, i] : expected) wanted.push_back(i);
  EXPECT_EQ(ran, wanted);
  for (const std::uint64_t id : cancelled) heap.cancel(id);
  EXPECT_EQ(heap.earliest(), std::nullopt);
}

TEST(TimerHeap, OldIdDoesNotCancelTheNextUserOfItsSlot) {
  TimerHeap heap;
  const std::uint64_t old = heap.add(Instant{1}, [] {});
  heap.cancel(old);
  const std::uint64_t fresh = heap.add(Instant{2}, [] {});
  EXPECT_NE(old, fresh);
  heap.cancel(old);
  EXPECT_EQ(heap.earliest(), Instant{2});
}

}  // namespace
}  // namespace stoker::net
