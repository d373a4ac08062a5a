#include "node/rewind.h"

namespace leeward::node {
namespace {

constexpr std::size_t kRewindStepBytes = 1_MiB;

}  // namespace

void Rewind::begin(Task task, Done done) {
  work_ = std::make_shared<Work>();
  work_->task = std::move(task);
  work_->at = work_->task.kept;
  done_ = std::move(done);
  phase_ = Phase::kLedger;
  at_ = work_->at;
  go_on();
}

void Rewind::go_on() {
  context_.run_on_files([this, work = work_]() -> Function<void()> {
    auto stepped = step(*work);
    if (!stepped.ok()) {
      work->state.reset();
      (void)context_.ports.disk.remove_all(work->task.directory);
    }
    return [this, work, stepped, phase = work->phase, at = work->at] {
      phase_ = phase;
      at_ = at;
      if (stepped.ok() && phase != Phase::kWhole) return go_on();
      work_.reset();
      auto done = std::move(done_);
      if (stepped.ok())
        done(std::move(work->state));
      else
        done(stepped.error());
    };
  });
}

Result<void> Rewind::step(Work& work) {
  switch (work.phase) {
    case Phase::kLedger: return write_ledger(work);
    case Phase::kState: return make_state(work);
    case Phase::kReplay: return replay(work);
    case Phase::kWhole: return {};
  }
  return {};
}

Result<void> Rewind::write_ledger(Work& work) {
  const auto& task = work.task;
  if (!work.ledger) {
    auto writer = region::LedgerWriter::create(context_.ports.disk, context_.options.data_dir, task.lineage, task.group, task.ledger);
    if (!writer.ok()) return writer.error();
    work.ledger = std::move(*writer);
  }
  if (work.at + 1 < task.follow.index) {
    const auto entries = context_.log->read(work.at + 1, task.follow.index, kRewindStepBytes);
    if (!entries.ok()) return entries.error();
    LEEWARD_TRY(work.ledger->add(*entries));
    work.at = entries->back().index;
    return {};
  }
  LEEWARD_TRY(work.ledger->finish());
  work.ledger.reset();
  work.phase = task.ledger_only ? Phase::kWhole : Phase::kState;
  return {};
}

Result<void> Rewind::make_state(Work& work) {
  const auto& task = work.task;
  auto& disk = context_.ports.disk;
  if (task.start) {
    LEEWARD_TRY(lay_out_checkpoint(disk, task.start->directory, task.start->manifest, task.directory));
  } else {
    LEEWARD_TRY(disk.remove_all(task.directory));
  }
  auto opened = context_.ports.open_state(task.directory);
  if (!opened.ok()) return opened.error();
  work.state = std::move(*opened);
  const auto found = work.state->applied();
  if (task.start && (found.point != task.start->manifest.state.point ||
                     found.state_hash != task.start->manifest.state.state_hash))
    return Error{Code::kCorrupt, "the checkpoint " + task.start->directory + " does not hold the state it announced"};
  work.at = found.point.index;
  work.phase = Phase::kReplay;
  return {};
}

Result<void> Rewind::replay(Work& work) {
  if (work.at >= work.task.cut) return complete(work);
  const auto entries = context_.log->read(work.at + 1, work.task.cut + 1, kRewindStepBytes);
  if (!entries.ok()) return entries.error();
  LEEWARD_TRY(work.state->apply(*entries, [](std::size_t, std::size_t) { return false; },
                                [](std::size_t, std::size_t, CommandResult) {}));
  work.at = entries->back().index;
  return {};
}

Result<void> Rewind::complete(Work& work) {
  const auto& task = work.task;
  work.state->set_group_state(task.group_state);
  LEEWARD_TRY(work.state->apply({&task.follow, 1}, [](std::size_t, std::size_t) { return false; },
                                [](std::size_t, std::size_t, CommandResult) {}));
  LEEWARD_TRY(work.state->flush());
  work.phase = Phase::kWhole;
  return {};
}

std::string Rewind::progress() const {
  if (!work_) return {};
  const auto& task = work_->task;
  switch (phase_) {
    case Phase::kLedger: return "writing the ledger of what was put aside";
    case Phase::kState: return "going back to the common position";
    case Phase::kReplay:
      return "going back to the common position: log entry " + std::to_string(at_.value()) + " of " + std::to_string(task.cut.value());
    case Phase::kWhole: return "taking the state at the common position into use";
  }
  return {};
}

}  // namespace leeward::node
