#include "region/ledger.h"

#include <cstdio>

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/position_codec.h"

namespace leeward::region {
namespace {

constexpr std::string_view kMagic = "LWLEDGR1";
constexpr std::uint8_t kLedgerFormat = 2;  // 1: all were complete
constexpr std::size_t kRecordHead = 8;  // length, CRC-32C of what follows
constexpr std::size_t kReadAhead = 256_KiB;
constexpr std::size_t kLongest = 256_MiB;  // beyond any entry

const Error kCutShort{Code::kCorrupt, "a ledger is cut short or damaged; another member of the group has the same one"};

void put_record(std::string& out, std::string_view body) {
  codec::put_u32(out, static_cast<std::uint32_t>(body.size()));
  codec::put_u32(out, crc32c(body));
  out.append(body);
}

}  // namespace

Path ledgers_dir(const Path& data_dir) { return data_dir + "/ledgers"; }

std::string ledger_name(Index follow) {
  char name[40];
  std::snprintf(name, sizeof name, "%020llu.ledger", static_cast<unsigned long long>(follow.value()));
  return name;
}

Path ledger_path(const Path& data_dir, const Ledger& ledger) {
  return ledgers_dir(data_dir) + "/" + ledger_name(ledger.follow);
}

Result<LedgerWriter> LedgerWriter::create(Disk& disk, const Path& data_dir, const Lineage& lineage, GroupId group,
                                          const Ledger& ledger) {
  LedgerWriter w;
  w.disk_ = &disk;
  w.path_ = ledger_path(data_dir, ledger);
  w.ledger_ = ledger;
  w.at_ = ledger.kept;
  LEEWARD_TRY(disk.make_dirs(ledgers_dir(data_dir)));
  LEEWARD_TRY(disk.sync_dir(data_dir));
  auto file = disk.open(w.path_ + std::string(kUnfinishedLedger), OpenMode::kCreateOrOpen);
  if (!file.ok()) return file.error();
  w.file_ = std::move(*file);
  LEEWARD_TRY(w.file_->truncate(0));
  std::string head, out(kMagic);
  codec::put_u8(head, kLedgerFormat);
  head.append(reinterpret_cast<const char*>(lineage.bytes.data()), lineage.bytes.size());
  codec::put_u64(head, group.value());
  codec::put_varint(head, ledger.follow.value());
  codec::put_varint(head, ledger.epoch.value());
  codec::put_varint(head, ledger.followed.value());
  codec::put_position(head, ledger.from);
  codec::put_position(head, ledger.to);
  codec::put_position(head, ledger.kept);
  codec::put_varint(head, ledger.survived_at.value());
  put_record(out, head);
  LEEWARD_TRY(w.file_->write(0, out));
  w.size_ = out.size();
  return w;
}

Result<void> LedgerWriter::add(std::span<const Entry> entries) {
  std::string out;
  for (const auto& e : entries) {
    if (!is_history(e.kind)) continue;
    if (!chains(at_, e)) return Error{Code::kCorrupt, "history that is to be put aside does not chain"};
    at_ = e.position;
    Entry kept = e;
    kept.envelope = {};  // who waited for it, and traces: nobody does any more
    std::string body;
    encode(kept, body);
    put_record(out, body);
  }
  if (out.empty()) return {};
  LEEWARD_TRY(file_->write(size_, out));
  size_ += out.size();
  return {};
}

Result<void> LedgerWriter::finish() {
  if (at_ != ledger_.to) return Error{Code::kCorrupt, "history that is to be put aside ends elsewhere than it should"};
  LEEWARD_TRY(file_->sync());
  file_.reset();
  LEEWARD_TRY(disk_->rename(path_ + std::string(kUnfinishedLedger), path_));
  return disk_->sync_dir(path_.substr(0, path_.rfind('/')));
}

Result<LedgerReader> LedgerReader::open(Disk& disk, const Path& path) {
  auto file = disk.open(path, OpenMode::kRead);
  if (!file.ok()) return file.error();
  LedgerReader r;
  r.file_ = std::move(*file);
  r.buffer_ = std::make_shared<std::string>();
  std::string magic;
  const auto got = r.file_->read(0, kMagic.size(), magic);
  if (!got.ok()) return got.error();
  if (magic != kMagic) return kCutShort;
  r.offset_ = kMagic.size();
  auto head = r.record();
  if (!head.ok()) return head.error();
  if (!*head) return kCutShort;
  auto in = **head;
  std::uint8_t format = 0;
  std::uint64_t group = 0, follow = 0, epoch = 0, followed = 0;
  auto& h = r.head_;
  if (!codec::get_u8(in, format) || format == 0) return kCutShort;
  if (format > kLedgerFormat) return Error{Code::kNewerFormat, "a ledger was written by a newer version; upgrade"};
  if (!codec::get_fixed(in, h.lineage.bytes) || !codec::get_u64(in, group) || !codec::get_varint(in, follow) ||
      !codec::get_varint(in, epoch) || !codec::get_varint(in, followed) || !codec::get_position(in, h.ledger.from) ||
      !codec::get_position(in, h.ledger.to))
    return kCutShort;
  std::uint64_t survived_at = 0;
  h.ledger.kept = h.ledger.from;
  if (format > 1 && (!codec::get_position(in, h.ledger.kept) || !codec::get_varint(in, survived_at))) return kCutShort;
  if (!in.empty()) return kCutShort;
  h.ledger.survived_at = HistoryIndex(survived_at);
  h.group = GroupId(group);
  h.ledger.follow = Index(follow);
  h.ledger.epoch = Epoch(epoch);
  h.ledger.followed = Epoch(followed);
  r.at_ = h.ledger.kept;
  return r;
}

// nullopt: the file ends here. What it returns is good until the next call.
Result<std::optional<std::string_view>> LedgerReader::record() {
  auto have = [&](std::size_t bytes) -> Result<bool> {
    if (buffer_->size() - read_ >= bytes) return true;
    // What was handed out keeps the buffer that it lies in.
    auto fresh = std::make_shared<std::string>(buffer_->substr(read_));
    const auto got = file_->read(offset_, std::max(bytes - fresh->size(), kReadAhead), *fresh);
    if (!got.ok()) return got.error();
    offset_ += *got;
    buffer_ = std::move(fresh);
    read_ = 0;
    return buffer_->size() >= bytes;
  };
  auto enough = have(kRecordHead);
  if (!enough.ok()) return enough.error();
  if (!*enough) {
    if (buffer_->size() > read_) return kCutShort;
    return std::optional<std::string_view>();
  }
  std::string_view in(buffer_->data() + read_, kRecordHead);
  std::uint32_t length = 0, crc = 0;
  if (!codec::get_u32(in, length) || !codec::get_u32(in, crc) || length > kLongest) return kCutShort;
  enough = have(kRecordHead + length);
  if (!enough.ok()) return enough.error();
  if (!*enough) return kCutShort;
  const std::string_view body(buffer_->data() + read_ + kRecordHead, length);
  if (crc32c(body) != crc) return kCutShort;
  read_ += kRecordHead + length;
  return std::optional(body);
}

Result<std::optional<Entry>> LedgerReader::next() {
  auto body = record();
  if (!body.ok()) return body.error();
  if (!*body) {
    if (at_ != head_.ledger.to) return kCutShort;
    return std::optional<Entry>();
  }
  auto in = **body;
  auto entry = decode_entry(in, buffer_);
  if (!entry.ok() || !in.empty() || !chains(at_, *entry)) return kCutShort;
  at_ = entry->position;
  return std::optional(std::move(*entry));
}

}  // namespace leeward::region
