// Price lists with versions. A request is priced by the list in force when it was admitted; a new
// list changes nothing that was admitted before it (M8).
#pragma once

#include "base/id_table.h"
#include "base/money.h"
#include "base/units.h"

namespace stoker::core::metering {

/// Grows over all deployments and lives of the server; zero: no prices were ever set.
using PriceVersion = Id<struct PriceVersionTag>;

struct PriceList {
  PriceVersion version;
  Prices prices;
};

class PriceBook {
 public:
  explicit PriceBook(PriceVersion last) : last_(last) {}
  /// Gives: its version; the old one if the prices are those in force.
  /// Needs: prices >= 0.
  PriceVersion set(DeploymentId deployment, const Prices& prices);
  /// Gives: all zero for a deployment without prices.
  [[nodiscard]] PriceList in_force(DeploymentId deployment) const;

 private:
  PriceVersion last_;
  IdTable<DeploymentId, PriceList> lists_;
};

}  // namespace stoker::core::metering
