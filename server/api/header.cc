#include "api/header.h"

#include "base/check.h"
#include "base/codec.h"

namespace leeward::api {
namespace {

constexpr std::uint8_t kHeaderTag = 0x0a;  // field 1, length-delimited
constexpr std::size_t kFirstPiece = 64_KiB;

void put_number(std::string& out, std::uint8_t field, std::uint64_t value) {
  if (value == 0) return;
  codec::put_u8(out, static_cast<std::uint8_t>(field << 3));
  codec::put_varint(out, value);
}

class Joined final : public MessageSource {
 public:
  Joined(std::string head, Bytes rest) : head_(std::move(head)), rest_(std::move(rest)), size_(head_.size() + rest_.size()) {}
  std::uint64_t size() const override { return size_; }
  Result<Bytes> next(std::size_t max) override {
    if (!head_.empty()) return Bytes(std::exchange(head_, {}));
    Bytes piece = rest_.slice(0, max);
    rest_ = rest_.slice(piece.size());
    return piece;
  }

 private:
  std::string head_;
  Bytes rest_;
  std::uint64_t size_;
};

// The first piece is read before the size is known, for the header is in it.
class RangeMessage final : public MessageSource {
 public:
  RangeMessage(std::string head, Bytes first, std::unique_ptr<RangeReply> reply, std::uint64_t size)
      : head_(std::move(head)), first_(std::move(first)), reply_(std::move(reply)), size_(size) {}
  std::uint64_t size() const override { return size_; }
  Result<Bytes> next(std::size_t max) override {
    if (!head_.empty()) return Bytes(std::exchange(head_, {}));
    if (first_.empty()) return reply_->next(max);
    Bytes piece = first_.slice(0, max);
    first_ = first_.slice(piece.size());
    return piece;
  }

 private:
  std::string head_;
  Bytes first_;
  std::unique_ptr<RangeReply> reply_;
  std::uint64_t size_;
};

}  // namespace

std::uint64_t raft_term(Epoch epoch, Term term) { return (epoch.value() << 32) + term.value(); }

HeaderFields header_fields(const Core& core, Term term) {
  return {core.node.cluster_id(), core.self().value(), raft_term(core.node.state().applied().epoch, term)};
}

HeaderFields header_fields(const Core& core) {
  const AppliedState applied = core.node.state().applied();
  return {core.node.cluster_id(), core.self().value(), raft_term(applied.epoch, applied.point.term)};
}

Spliced splice(const HeaderFields& fields, std::string_view response) {
  std::string_view existing, rest = response;
  std::uint8_t tag = 0;
  Spliced out;
  if (codec::get_u8(rest, tag) && tag == kHeaderTag && codec::get_bytes(rest, existing))
    out.replaced = response.size() - rest.size();
  else
    existing = {};
  std::string body;
  put_number(body, 1, fields.cluster_id);
  put_number(body, 2, fields.member_id);
  body.append(existing);
  put_number(body, 4, fields.raft_term);
  out.head.reserve(body.size() + 4);
  codec::put_u8(out.head, kHeaderTag);
  codec::put_bytes(out.head, body);
  return out;
}

void put_header(std::string& out, const HeaderFields& fields, Revision revision) {
  std::string body;
  put_number(body, 1, fields.cluster_id);
  put_number(body, 2, fields.member_id);
  put_number(body, 3, static_cast<std::uint64_t>(revision.value()));
  put_number(body, 4, fields.raft_term);
  codec::put_u8(out, kHeaderTag);
  codec::put_bytes(out, body);
}

void fill(etcdserverpb::ResponseHeader* header, const HeaderFields& fields, Revision revision) {
  header->set_cluster_id(fields.cluster_id);
  header->set_member_id(fields.member_id);
  header->set_revision(revision.value());
  header->set_raft_term(fields.raft_term);
}

void fill(etcdserverpb::ResponseHeader* header, const Core& core) {
  const AppliedState applied = core.node.state().applied();
  fill(header, {core.node.cluster_id(), core.self().value(), raft_term(applied.epoch, applied.point.term)},
       applied.revision);
}

std::unique_ptr<MessageSource> joined(std::string head, Bytes rest) {
  return std::make_unique<Joined>(std::move(head), std::move(rest));
}

Result<std::unique_ptr<MessageSource>> range_message(const HeaderFields& fields, std::unique_ptr<RangeReply> reply,
                                                     Bytes& small) {
  auto first = reply->next(kFirstPiece);
  if (!first.ok()) return first.error();
  Spliced spliced = splice(fields, first->view());
  const std::uint64_t size = reply->size() - spliced.replaced + spliced.head.size();
  if (first->size() == reply->size()) {
    spliced.head.append(first->view().substr(spliced.replaced));
    small = Bytes(std::move(spliced.head));
    return std::unique_ptr<MessageSource>();
  }
  return std::unique_ptr<MessageSource>(std::make_unique<RangeMessage>(
      std::move(spliced.head), first->slice(spliced.replaced), std::move(reply), size));
}

}  // namespace leeward::api
