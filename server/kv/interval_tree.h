// Ranges of keys with owners, asked "who covers this key". A treap ordered by
// the lower bound, each node knowing the highest upper bound below it.
//
// Not for several threads at once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace leeward::kv {

template <class Owner>
class IntervalTree {
 public:
  // [low, high), or from `low` on when `unbounded`.
  struct Bounds {
    std::string low, high;
    bool unbounded = false;

    bool empty() const { return !unbounded && high <= low; }
    bool operator==(const Bounds&) const = default;
    bool operator<(const Bounds& o) const {
      if (low != o.low) return low < o.low;
      if (unbounded != o.unbounded) return o.unbounded;
      return high < o.high;
    }
  };

  void insert(const Bounds& bounds, Owner owner) {
    if (bounds.empty()) return;
    if (Node* node = find(bounds)) {
      node->owners.push_back(owner);
      return;
    }
    auto node = std::make_unique<Node>();
    node->bounds = bounds;
    node->owners.push_back(owner);
    node->priority = mix(++inserted_);
    node->update();
    auto [left, right] = split(std::move(root_), bounds);
    root_ = merge(merge(std::move(left), std::move(node)), std::move(right));
  }

  void remove(const Bounds& bounds, Owner owner) {
    if (bounds.empty()) return;
    Node* node = find(bounds);
    if (!node) return;
    std::erase(node->owners, owner);
    if (node->owners.empty()) root_ = without(std::move(root_), bounds);
  }

  // Calls f(owner) for each range that covers `key`: by bounds, then in the
  // order of insertion.
  template <class F>
  void visit(std::string_view key, F&& f) const {
    visit(root_.get(), key, f);
  }

 private:
  struct Node {
    Bounds bounds;
    std::vector<Owner> owners;
    std::uint64_t priority = 0;
    std::unique_ptr<Node> left, right;
    // Highest upper bound in this subtree; points into a node of it.
    const Bounds* reach = nullptr;

    void update() {
      reach = &bounds;
      for (const Node* child : {left.get(), right.get()})
        if (child && !reach->unbounded && (child->reach->unbounded || child->reach->high > reach->high))
          reach = child->reach;
    }
  };
  using Link = std::unique_ptr<Node>;

  // Balance must not need a source of chance: the same inserts, the same tree.
  static std::uint64_t mix(std::uint64_t v) {
    v += 0x9e3779b97f4a7c15;
    v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9;
    v = (v ^ (v >> 27)) * 0x94d049bb133111eb;
    return v ^ (v >> 31);
  }

  Node* find(const Bounds& bounds) const {
    Node* node = root_.get();
    while (node && !(node->bounds == bounds)) node = (bounds < node->bounds ? node->left : node->right).get();
    return node;
  }

  static std::pair<Link, Link> split(Link node, const Bounds& at) {
    if (!node) return {};
    if (node->bounds < at) {
      auto [left, right] = split(std::move(node->right), at);
      node->right = std::move(left);
      node->update();
      return {std::move(node), std::move(right)};
    }
    auto [left, right] = split(std::move(node->left), at);
    node->left = std::move(right);
    node->update();
    return {std::move(left), std::move(node)};
  }

  static Link merge(Link left, Link right) {
    if (!left) return right;
    if (!right) return left;
    if (left->priority > right->priority) {
      left->right = merge(std::move(left->right), std::move(right));
      left->update();
      return left;
    }
    right->left = merge(std::move(left), std::move(right->left));
    right->update();
    return right;
  }

  static Link without(Link node, const Bounds& bounds) {
    if (node->bounds == bounds) return merge(std::move(node->left), std::move(node->right));
    Link& side = bounds < node->bounds ? node->left : node->right;
    side = without(std::move(side), bounds);
    node->update();
    return node;
  }

  template <class F>
  static void visit(const Node* node, std::string_view key, F& f) {
    while (node && (node->reach->unbounded || node->reach->high > key)) {
      visit(node->left.get(), key, f);
      if (node->bounds.low > key) return;
      if (node->bounds.unbounded || node->bounds.high > key)
        for (const Owner& owner : node->owners) f(owner);
      node = node->right.get();
    }
  }

  Link root_;
  std::uint64_t inserted_ = 0;
};

}  // namespace leeward::kv
