#include "base/log_view.h"

#include <algorithm>

namespace leeward {

Result<LogPoint> last_point_at(const LogView& log, HistoryIndex index, Index from, Index upto) {
  LogPoint low = log.base();
  if (from > low.index) {
    const auto begin = log.point(from);
    if (!begin.ok()) return begin.error();
    low = *begin;
  }
  if (low.position.index > index)
    return Error{Code::kCompacted, "the log begins at history index " + std::to_string(low.position.index.value())};
  // Invariant: the point at `low` is at most `index`; the one at `high` is above, or beyond `upto`.
  Index high = std::max(upto, low.index) + 1;
  while (high - low.index > 1) {
    const auto middle = log.point(low.index + (high - low.index) / 2);
    if (!middle.ok()) return middle.error();
    if (middle->position.index <= index)
      low = *middle;
    else
      high = middle->index;
  }
  return low;
}

}  // namespace leeward
