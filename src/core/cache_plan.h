// Which models lie in the two fast tiers of one node's store: what to prefetch, to pin and to drop.
//
// The worth of a copy is what it is expected to save: uses per second, times the seconds that a
// start from there is shorter than one from the tier below. Copies are kept by worth per byte. One
// that comes must be worth more than those together that leave for it, by a margin, and no copy
// moves twice within the store's rest, so that equals do not take turns.
//
// What is pinned, in use or on its way stays. What is in host memory is on disk too. In a tier one
// thing goes on at a time: room is made and is really free before anything comes.
//
// It knows no clock and asks nobody: what is told to it decides. A round looks at the best that are
// not there and at the least that are, never at all.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/units.h"
#include "core/actions.h"
#include "core/spec.h"

namespace stoker::core {

/// Who comes must be worth so many times as much as those who leave together.
inline constexpr double cache_swap_margin = 1.25;
/// Host memory and disk; below them lies the remote store, which has everything.
inline constexpr std::size_t cached_tiers = 2;

/// What is known of a model on the node, by tier: host memory, disk.
struct CachedModel {
  Bytes bytes;
  std::array<double, cached_tiers> worth{};  // of a copy, in seconds saved per second; >= 0
  std::array<bool, cached_tiers> pinned{};   // in host memory only if on disk too
  bool operator==(const CachedModel&) const = default;
};

struct CacheOrder {
  enum class Kind : std::uint8_t { prefetch, drop, pin, unpin, refuse };
  Kind kind = Kind::prefetch;
  ModelId model;
  Tier tier = Tier::disk;
  MoveId move;                                           // of a prefetch or a drop
  PrefetchReason prefetched_for = PrefetchReason::room;  // each of the next three of its own kind
  DropReason dropped_for = DropReason::worth_less;
  CopyRefusal refused_for = CopyRefusal::larger_than_tier;
  Bytes bytes;
  double worth = 0;  // of the copy
};

class CachePlan {
 public:
  explicit CachePlan(const StoreSpec& store) : store_(store) {}

  /// It has another size from now on.
  void resize(const StoreSpec& store);
  /// What is known of the model now. Its size is only a guess where none of it is there or on its
  /// way.   Needs: bytes > 0.   Cost: O(log models), as the next ones.
  void update(ModelId model, const CachedModel& known, Instant now);
  /// A store told how large it is.
  void sized(ModelId model, Bytes bytes);
  /// A copy is there, or no longer, without an order of the plan.
  void found(ModelId model, Tier tier, Bytes bytes);
  void lost(ModelId model, Tier tier);
  /// One more reads it there, or one less.
  void used(ModelId model, Tier tier, std::int32_t by);

  enum class Move : std::uint8_t { none, fetch, drop };
  /// The end of a move: each has one.   Gives: what it was; none: it is of an old life, nothing
  /// changes.
  Move done(ModelId model, Tier tier, MoveId move, Instant now);
  Move failed(ModelId model, Tier tier, MoveId move, Instant now);

  /// Adds what is to be done now; moves are numbered from `next_move` on. All of it counts as
  /// begun. Gives: when to ask again if nothing else happens; nullopt: never.
  std::optional<Instant> decide(Instant now, std::uint64_t& next_move,
                                std::vector<CacheOrder>& orders);

  [[nodiscard]] Bytes capacity(Tier tier) const {
    return tier == Tier::host ? store_.host_memory : store_.disk;
  }
  /// There or on its way.
  [[nodiscard]] Bytes held(Tier tier) const { return tiers_[index(tier)].held; }
  /// Not being dropped.
  [[nodiscard]] bool is_there(ModelId model, Tier tier) const;
  /// There and not being dropped, or on its way.
  [[nodiscard]] bool is_promised(ModelId model, Tier tier) const;
  /// All that are there or on their way, ascending.
  [[nodiscard]] std::vector<ModelId> models_in(Tier tier) const;
  /// Counted anew; equals held().
  [[nodiscard]] Bytes recount(Tier tier) const;
  [[nodiscard]] std::int32_t uses(Tier tier) const;

 private:
  struct Place {
    MoveId move;
    Instant rests_until;  // neither fetched nor dropped before
    std::int32_t uses = 0;
    Move moving = Move::none;
    bool there = false;
    bool pin_told = false;
    bool too_large_told = false;
    bool no_room_told = false;
    [[nodiscard]] bool holds() const { return there || moving == Move::fetch; }
    [[nodiscard]] bool stays() const { return there && moving == Move::none; }
  };
  /// The least worth per byte first, or, by the negative of it, the most.
  struct Key {
    double density = 0;
    ModelId model;
    auto operator<=>(const Key&) const = default;
  };
  struct Listed {
    std::optional<Key> kept, wanted, pinned;
  };
  struct Entry {
    CachedModel known;
    std::array<Place, cached_tiers> at;
    std::array<Listed, cached_tiers> listed;
  };
  struct TierState {
    Bytes held;
    std::int32_t fetches = 0;  // that go on
    std::int32_t drops = 0;
    std::optional<ModelId> room_for;  // who comes first, because others left for it
    std::set<Key> kept;               // may leave, once rested: the least first
    std::set<Key> wanted;             // may come: the most first
    std::set<Key> pinned;             // must come
    std::set<ModelId> to_tell;        // pins that changed, and what never fits
    std::int32_t& going_on(Move move) { return move == Move::fetch ? fetches : drops; }
  };
  using Entries = std::map<ModelId, Entry>;

  static constexpr std::size_t index(Tier tier) { return static_cast<std::size_t>(tier); }
  [[nodiscard]] const Place* find(ModelId model, Tier tier) const;
  Place& place(Entry& entry, Tier tier) { return entry.at[index(tier)]; }
  template <class Change>
  void change(ModelId model, Change&& change);
  void list(Entries::iterator it);
  void list(Entry& entry, ModelId model, Tier tier);
  [[nodiscard]] static bool is_stray(const Entry& entry);
  [[nodiscard]] static double loss_of(const Entry& entry, Tier tier);
  Move end(ModelId model, Tier tier, MoveId move, Instant now, bool worked);

  /// One round.
  struct Round {
    Instant now;
    std::uint64_t& next_move;
    std::vector<CacheOrder>& orders;
    std::optional<Instant> again;
    void look_again(Instant at) { again = again && *again < at ? *again : at; }
  };
  void tell(Tier tier, Round& round);
  void refuse(ModelId model, Tier tier, CopyRefusal reason, Round& round);
  [[nodiscard]] bool is_making_room(Tier tier) const;
  void drop_strays(Round& round);
  void shrink(Tier tier, Round& round);
  void fill(Tier tier, Round& round);
  bool try_fetch(ModelId model, Tier tier, bool pinned, Round& round);
  std::optional<std::vector<ModelId>> who_leaves(ModelId model, Tier tier, bool pinned,
                                                 Round& round) const;
  void order_fetch(ModelId model, Tier tier, PrefetchReason reason, Round& round);
  void order_drop(ModelId model, Tier tier, DropReason reason, Round& round);
  void begin(CacheOrder order, Move move, Round& round);

  StoreSpec store_;
  Entries entries_;
  std::array<TierState, cached_tiers> tiers_;
  std::set<ModelId> strays_;  // in host memory and no longer on disk
};

}  // namespace stoker::core
