#include "ledger/sqlite/feed.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <variant>

#include "ledger/sqlite/schema.h"
#include "ledger/sqlite/sum_pico.h"

namespace stoker::ledger {

Result<Feed> Feed::open(const SqliteLedgerOptions& options, Journal& journal,
                        const std::function<void(const Error&)>& gap) {
  Result<Database> db = open_with_sum_pico(options.file, Database::Access::read_write);
  if (!db) return tl::unexpected(std::move(db.error()));
  // Written from the log into the file and synced: after a failed sync the kernel may hold pages of
  // the log that it takes for clean and that are not on the disk.
  const Result<std::int64_t> busy = db->integer("PRAGMA wal_checkpoint(TRUNCATE)");
  if (!busy) return tl::unexpected(busy.error());
  if (*busy != 0) {
    return failure(ErrorCode::in_use,
                   fmt::format("{} is being read by somebody else", options.file.native()),
                   "end the query of the other process");
  }
  if (Result<void> done = ensure_schema(*db); !done) return tl::unexpected(std::move(done.error()));
  const Result<Sequence> position = load_position(*db);
  if (!position) return tl::unexpected(position.error());
  Result<RowWriter> rows = RowWriter::open(*db);
  if (!rows) return tl::unexpected(std::move(rows.error()));
  Result<Statement> move = db->prepare("UPDATE journal_position SET applied_sequence = ?");
  if (!move) return tl::unexpected(std::move(move.error()));
  Result<JournalReader> reader = JournalReader::open(journal.directory());
  if (!reader) return tl::unexpected(std::move(reader.error()));

  const Sequence last = journal.stats().appended;
  if (*position > last) {
    return failure(ErrorCode::corrupt,
                   fmt::format("{} has seen journal record {}, but the journal in {} ends at {}",
                               options.file.native(), position->value, journal.directory().native(),
                               last.value),
                   "they do not belong together: restore both from one backup, or move both away");
  }
  if (reader->upcoming().value > position->value + 1) {
    gap({ErrorCode::not_found,
         fmt::format("{} lacks the journal records {} to {}, and the journal no longer has them",
                     options.file.native(), position->value + 1, reader->upcoming().value - 1),
         "restore ledger.db from a backup if their requests are still to be billed"});
  }
  Feed feed(options, journal, std::move(*db), std::move(*rows), std::move(*move),
            std::move(*reader));
  if (Result<void> skipped = feed.skip_to(*position); !skipped) {
    return tl::unexpected(std::move(skipped.error()));
  }
  journal.release(feed.position_);
  return feed;
}

Result<void> Feed::skip_to(Sequence position) {
  while (true) {
    const Result<bool> more = reader_.next(entry_, position);
    if (!more) return tl::unexpected(more.error());
    if (!*more) break;
    if (Result<void> applied = apply(false); !applied) return applied;
  }
  position_ = position;
  if (listener_ != nullptr) listener_->batch_ended();
  return {};
}

Result<void> Feed::store(Sequence last) {
  if (reader_.upcoming() > last) return {};
  if (Result<void> begun = db_.run("BEGIN IMMEDIATE"); !begun) return begun;
  if (Result<void> stored = store_batch(last); !stored) return stored;
  if (Result<void> committed = db_.run("COMMIT"); !committed) return committed;
  position_ = {reader_.upcoming().value - 1};
  journal_->release(position_);
  if (listener_ != nullptr) listener_->batch_ended();
  return {};
}

Result<void> Feed::store_batch(Sequence last) {
  for (std::uint32_t i = 0; i < max_batch_records_; ++i) {
    const Result<bool> more = reader_.next(entry_, last);
    if (!more) return tl::unexpected(more.error());
    if (!*more) break;
    if (Result<void> applied = apply(true); !applied) return applied;
  }
  if (Result<void> ended = rows_.end_batch(); !ended) return ended;
  move_position_.reset();
  move_position_.bind(static_cast<std::int64_t>(reader_.upcoming().value - 1));
  return move_position_.step().map([](bool) {});
}

Result<void> Feed::apply(bool with_rows) {
  if (auto* admission = std::get_if<Admission>(&entry_.record)) {
    if (listener_ != nullptr) listener_->admitted(entry_.sequence, *admission);
    open_.insert_or_assign(admission->request.value, std::move(*admission));
    return {};
  }
  const auto* usage = std::get_if<Usage>(&entry_.record);
  if (usage == nullptr) return {};
  // Not there: it is among the records that the journal no longer has, told as a gap already.
  const auto closed = open_.extract(usage->request.value);
  if (closed.empty()) return {};
  const Admission& admission = closed.mapped();
  if (listener_ != nullptr) listener_->ended(admission, *usage, !with_rows);
  if (!with_rows) return {};
  return rows_.write(admission, *usage);
}

}  // namespace stoker::ledger
