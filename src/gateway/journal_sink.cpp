#include "gateway/journal_sink.h"

#include <utility>

namespace stoker::gateway {

Result<void> JournalSink::admitted(const ledger::Admission& admission) {
  const Result<ledger::Sequence> written = journal_.append(admission);
  if (!written) return tl::unexpected(written.error());
  return {};
}

Result<void> JournalSink::dispatched(RequestId request) {
  const Result<ledger::Sequence> written = journal_.append(ledger::Dispatch{request});
  if (!written) return tl::unexpected(written.error());
  return {};
}

Recorded JournalSink::ended(const ledger::Usage& usage, std::shared_ptr<DurableListener> listener) {
  const Result<ledger::Sequence> written = journal_.append(usage);
  if (!written) return Recorded::failed;
  // In process mode an appended record is as safe as it gets at once.
  if (durability_ == ledger::Durability::process) return Recorded::durable;
  journal_.when_durable(*written, [listener = std::move(listener)](const Result<void>& synced) {
    listener->on_durable(synced.has_value());
  });
  return Recorded::pending;
}

}  // namespace stoker::gateway
