#include "core/metering/price_book.h"

#include "base/invariant.h"

namespace stoker::core::metering {

PriceVersion PriceBook::set(DeploymentId deployment, const Prices& prices) {
  STOKER_INVARIANT(prices.per_request.value >= 0 && prices.per_device_second.value >= 0 &&
                       prices.per_1k_input_tokens.value >= 0 &&
                       prices.per_1k_output_tokens.value >= 0,
                   "deployment {}", deployment.value);
  PriceList* list = lists_.find(deployment);
  if (list == nullptr) list = &lists_.insert(deployment, PriceList{});
  if (list->version && list->prices == prices) return list->version;
  ++last_.value;
  *list = {last_, prices};
  return last_;
}

PriceList PriceBook::in_force(DeploymentId deployment) const {
  const PriceList* list = lists_.find(deployment);
  return list == nullptr ? PriceList{} : *list;
}

}  // namespace stoker::core::metering
